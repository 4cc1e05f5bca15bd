//! Checkpoint and restore by CRIU (criu(8)): what it is told, and what of a container is not in its images.
//!
//! A container's processes and most of its mounts are CRIU's to save. Not the container's own are mounts that show something of the
//! host (bind mounts, cgroups, masks) and the three standard streams: those are named at checkpoint and supplied again at restore, from
//! the bundle and from the caller. Their names are kept beside the images.
#![forbid(unsafe_code)]

pub mod mounts;
mod service;
mod wire;

pub use mounts::{External, Point};
pub use service::{Event, Request, Service, Verb, tell_ready};

use crate::report::Hint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use wire::Message;

/// Beside CRIU's own images.
const FILE: &str = "pent.json";
/// CRIU's names for namespaces that are not the container's own.
const NETWORK: &str = "pentNetwork";
const PIDS: &str = "pentPid";

/// Why a container cannot be checkpointed or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no criu.
    #[error("cannot execute criu: {0}")]
    Missing(io::Error),
    /// criu has failed.
    #[error("criu {what} failed: {reason}")]
    Failed {
        /// dump, pre-dump or restore.
        what: &'static str,
        /// The last error in its log.
        reason: String,
        /// The log.
        log: PathBuf,
    },
    /// A file beside the images, or of the process.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A mount that restore cannot supply.
    #[error("cannot restore what was mounted on {}: it is not among the mounts of config.json", .0.display())]
    UnknownMount(PathBuf),
    /// A mount that CRIU cannot be told of.
    #[error("cannot checkpoint what is mounted on {}: CRIU's option for it ends at the `]:` in that", .0.display())]
    Unnamable(PathBuf),
    /// A container that is not as it was.
    #[error("CRIU has not made again what was mounted on {}: it lacks {lacks}", at.display())]
    Mounts {
        /// The mount point.
        at: PathBuf,
        /// A flag, or the mount.
        lacks: String,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some("install CRIU (Debian package criu), and have it in PATH".into()),
            Self::Failed { log, .. } => {
                Some(format!("CRIU's log is {}; `criu check` says what the kernel lacks", log.display()))
            }
            Self::Read { .. } => {
                Some("it is written by `pent checkpoint`: images of other runtimes cannot be restored".into())
            }
            Self::Unnamable(_) => Some("mount it elsewhere".into()),
            Self::Mounts { .. } => Some("the root filesystem must be as it was, and CRIU 3.17 or newer".into()),
            Self::UnknownMount(_) => Some("restore with the mounts that the container was created with".into()),
        }
    }
}

/// What both directions can be told; each is CRIU's option of that name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Options {
    pub images: PathBuf,
    pub work: PathBuf,
    pub tcp_established: bool,
    pub tcp_close: bool,
    pub skip_in_flight: bool,
    pub link_remap: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub auto_dedup: bool,
    pub lazy_pages: bool,
    /// soft, full, strict or ignore.
    pub manage_cgroups: String,
    pub empty_ns: Vec<String>,
    pub lsm_profile: Option<String>,
    pub lsm_mount_context: Option<String>,
}

/// What only a checkpoint can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dump {
    /// Memory only, while the container goes on.
    pub pre_dump: bool,
    /// The container goes on afterwards.
    pub leave_running: bool,
    /// Where an earlier pre-dump is, relative to the images.
    pub parent: Option<PathBuf>,
    /// Where memory goes instead of the images.
    pub page_server: Option<(String, u16)>,
}

/// What of a container is not in CRIU's images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What is the host's.
    pub mounts: Vec<External>,
    /// All mount points, with what nobody can do there.
    #[serde(default)]
    pub points: Vec<Point>,
    /// CRIU's names of the standard streams that are the caller's.
    pub streams: [String; 3],
    /// The network namespace, if it is not the container's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<u64>,
    /// The pid namespace, if it is not the container's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Whether the container has a cgroup namespace of its own.
    #[serde(default)]
    pub cgroup_namespace: bool,
}

fn read(path: impl Into<PathBuf>) -> Result<Vec<u8>, Error> {
    let path = path.into();
    fs::read(&path).map_err(|source| Error::Read { path, source })
}

fn look(path: &Path) -> Result<fs::Metadata, Error> {
    fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// The number of a process's namespace; `kind` as in /proc/PID/ns.
///
/// # Errors
/// [`Error::Read`].
pub fn namespace(of: &str, kind: &str) -> Result<u64, Error> {
    Ok(look(Path::new(&format!("/proc/{of}/ns/{kind}")))?.ino())
}

impl Image {
    /// Looks at a container's first process. `joined`: whether it was given its network and pid namespaces by path.
    ///
    /// # Errors
    /// When the process is gone, or has what cannot be named.
    pub fn of(pid: i32, spec: &oci_spec::runtime::Spec, joined: (bool, bool)) -> Result<Self, Error> {
        let process = pid.to_string();
        let lines = mounts::seen_by(&process)?;
        let mut streams = [const { String::new() }; 3];
        for (number, stream) in streams.iter_mut().enumerate() {
            *stream = stream_name(&process, number, &lines)?;
        }
        let given = |given: bool, kind| given.then(|| namespace(&process, kind)).transpose();
        Ok(Self {
            mounts: mounts::external(pid, &lines, spec)?,
            points: mounts::points(&lines),
            streams,
            network: given(joined.0, "net")?,
            pids: given(joined.1, "pid")?,
            cgroup_namespace: namespace(&process, "cgroup")? != namespace("self", "cgroup")?,
        })
    }

    /// Writes what is not in the images beside them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, images: &Path) -> Result<(), crate::output::Error> {
        let path = images.join(FILE);
        let text = serde_json::to_vec(self)
            .map_err(|error| crate::output::Error::Io { path: path.clone(), source: error.into() })?;
        crate::output::write(&path, &text)
    }

    /// Reads what [`Image::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn load(images: &Path) -> Result<Self, Error> {
        let path = images.join(FILE);
        serde_json::from_slice(&read(&path)?).map_err(|error| Error::Read { path, source: error.into() })
    }
}

/// What CRIU calls a standard stream; empty when it is closed, or is in a filesystem that CRIU sees itself.
fn stream_name(process: &str, number: usize, lines: &[mounts::Line]) -> Result<String, Error> {
    let proc = PathBuf::from(format!("/proc/{process}"));
    let link = proc.join("fd").join(number.to_string());
    let target = match fs::read_link(&link) {
        Ok(target) => target.to_string_lossy().into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(source) => return Err(Error::Read { path: link, source }),
    };
    if target.starts_with("pipe:") || target.starts_with("socket:") {
        return Ok(target);
    }
    let found = look(&link)?;
    // On the container's /dev/console it is a pty of the container's, which is in its devpts under another name.
    let device = format!("{}:{}", nix::sys::stat::major(found.dev()), nix::sys::stat::minor(found.dev()));
    let id = mount_id(&read(proc.join("fdinfo").join(number.to_string()))?);
    if lines.iter().any(|line| line.id == id || line.kind == "devpts" && line.device == device) {
        return Ok(String::new());
    }
    // Ptys of Unix98 (Documentation/admin-guide/devices.txt).
    if found.file_type().is_char_device() && (136..144).contains(&nix::sys::stat::major(found.rdev())) {
        return Ok(format!("tty[{:x}:{:x}]", found.rdev(), found.dev()));
    }
    Ok(format!("file[{id:x}:{:x}]", found.ino()))
}

fn mount_id(fdinfo: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(fdinfo);
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok()).unwrap_or(0)
}

/// The lines of /proc/PID/cgroup as a controller and path each; the one of version 2 has no name.
#[must_use]
pub fn own_cgroups(text: &str) -> Vec<(String, String)> {
    let line =
        |line: &str| line.split_once(':')?.1.split_once(':').map(|(names, path)| (names.to_owned(), path.to_owned()));
    let each = |(names, path): (String, String)| {
        names.split(',').map(|name| (name.to_owned(), path.clone())).collect::<Vec<_>>()
    };
    text.lines().filter_map(line).flat_map(each).collect()
}

/// Octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(value) if byte == b'\\' => {
                bytes.push(value);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Numbers of `criu_opts` (images/rpc.proto).
mod field {
    pub(super) const IMAGES: u32 = 1;
    pub(super) const PID: u32 = 2;
    pub(super) const LEAVE_RUNNING: u32 = 3;
    pub(super) const EXT_UNIX_SK: u32 = 4;
    pub(super) const TCP_ESTABLISHED: u32 = 5;
    pub(super) const EVASIVE_DEVICES: u32 = 6;
    pub(super) const SHELL_JOB: u32 = 7;
    pub(super) const FILE_LOCKS: u32 = 8;
    pub(super) const LOG_LEVEL: u32 = 9;
    pub(super) const LOG_FILE: u32 = 10;
    pub(super) const PAGE_SERVER: u32 = 11;
    pub(super) const NOTIFY_SCRIPTS: u32 = 12;
    pub(super) const ROOT: u32 = 13;
    pub(super) const PARENT: u32 = 14;
    pub(super) const TRACK_MEM: u32 = 15;
    pub(super) const AUTO_DEDUP: u32 = 16;
    pub(super) const WORK: u32 = 17;
    pub(super) const LINK_REMAP: u32 = 18;
    pub(super) const CGROUP_ROOT: u32 = 25;
    pub(super) const SIBLING: u32 = 26;
    pub(super) const INHERIT_FD: u32 = 27;
    pub(super) const CGROUPS: u32 = 34;
    pub(super) const EXTERNAL: u32 = 37;
    pub(super) const EMPTY_NS: u32 = 38;
    pub(super) const JOIN_NS: u32 = 39;
    pub(super) const FREEZER: u32 = 44;
    pub(super) const SKIP_IN_FLIGHT: u32 = 46;
    pub(super) const LAZY_PAGES: u32 = 48;
    pub(super) const ORPHAN_PTS_MASTER: u32 = 50;
    pub(super) const TCP_CLOSE: u32 = 52;
    pub(super) const LSM_PROFILE: u32 = 53;
    pub(super) const LSM_MOUNT_CONTEXT: u32 = 63;
}

/// Where CRIU reads and writes: descriptors of this process, so that no path is looked up again.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The images.
    pub images: BorrowedFd<'a>,
    /// The log, and what else CRIU keeps.
    pub work: BorrowedFd<'a>,
}

fn number(fd: RawFd) -> u64 {
    u64::from(fd.unsigned_abs())
}

fn common(verb: Verb, options: &Options, places: Places<'_>, root: &Path, cgroup_namespace: bool) -> Message {
    let mut all = Message::default();
    all.number(field::IMAGES, number(places.images.as_raw_fd())).number(field::WORK, number(places.work.as_raw_fd()));
    all.number(field::LOG_LEVEL, 4).text(field::LOG_FILE, verb.log()).number(field::NOTIFY_SCRIPTS, 1);
    all.text(field::ROOT, root.as_os_str().as_bytes());
    all.number(field::CGROUPS, mode(&options.manage_cgroups, cgroup_namespace));
    all.flag(field::ORPHAN_PTS_MASTER, true);
    all.flag(field::TCP_ESTABLISHED, options.tcp_established).flag(field::TCP_CLOSE, options.tcp_close);
    all.flag(field::SKIP_IN_FLIGHT, options.skip_in_flight).flag(field::LINK_REMAP, options.link_remap);
    all.flag(field::EXT_UNIX_SK, options.ext_unix_sk).flag(field::SHELL_JOB, options.shell_job);
    all.flag(field::FILE_LOCKS, options.file_locks).flag(field::AUTO_DEDUP, options.auto_dedup);
    all.flag(field::LAZY_PAGES, options.lazy_pages);
    if !options.empty_ns.is_empty() {
        // The only kind there is.
        all.number(field::EMPTY_NS, u64::from(libc::CLONE_NEWNET.unsigned_abs()));
    }
    all
}

/// `criu_cg_mode`. Whoever asks CRIU to ignore cgroups gets none but the container's, in which CRIU itself is; but it would not make
/// the container's cgroup namespace either, so that where there is one it is asked for as little as makes one.
fn mode(asked: &str, cgroup_namespace: bool) -> u64 {
    const IGNORE: u64 = 0;
    const SOFT: u64 = 3;
    match asked {
        "ignore" if !cgroup_namespace => IGNORE,
        "full" => 4,
        "strict" => 5,
        _ => SOFT,
    }
}

/// What CRIU is asked to save. `freezer` is the container's freezer cgroup.
pub fn dump_request(
    pid: i32,
    root: &Path,
    freezer: Option<&Path>,
    image: &Image,
    options: &Options,
    dump: &Dump,
    places: Places<'_>,
) -> Request {
    let verb = if dump.pre_dump { Verb::PreDump } else { Verb::Dump };
    let mut all = common(verb, options, places, root, image.cgroup_namespace);
    all.number(field::PID, u64::from(pid.unsigned_abs()));
    if let Some(freezer) = freezer {
        all.text(field::FREEZER, freezer.as_os_str().as_bytes());
    }
    for External { at, name, .. } in &image.mounts {
        all.text(field::EXTERNAL, external(at.as_os_str().as_bytes(), name.as_bytes()));
    }
    for stream in image.streams.iter().filter(|stream| stream.ends_with(']') && stream.contains(":")) {
        if stream.starts_with("file[") || stream.starts_with("tty[") {
            all.text(field::EXTERNAL, stream);
        }
    }
    for (kind, inode, name) in [("net", image.network, NETWORK), ("pid", image.pids, PIDS)] {
        if let Some(inode) = inode {
            all.text(field::EXTERNAL, format!("{kind}[{inode}]:{name}"));
        }
    }
    all.flag(field::LEAVE_RUNNING, dump.leave_running);
    all.flag(field::TRACK_MEM, dump.pre_dump || dump.parent.is_some());
    if let Some(parent) = &dump.parent {
        all.text(field::PARENT, parent.as_os_str().as_bytes());
    }
    if let Some((address, port)) = &dump.page_server {
        let mut server = Message::default();
        server.text(1, address).number(2, u64::from(*port));
        all.message(field::PAGE_SERVER, &server);
    }
    Request { verb, options: all }
}

/// `mnt[KEY]:VALUE`.
fn external(key: &[u8], value: &[u8]) -> Vec<u8> {
    [b"mnt[", key, b"]:", value].concat()
}

/// What a restored container is given in place of what is not in its images.
#[derive(Debug, Clone, Default)]
pub struct Supplied {
    /// The root filesystem, a mount.
    pub root: PathBuf,
    /// CRIU's names of mounts, and host paths: [`mounts::sources`].
    pub mounts: Vec<(String, PathBuf)>,
    /// Descriptors that CRIU inherits.
    pub streams: [RawFd; 3],
    /// A network namespace, for a container that was given one.
    pub network: Option<RawFd>,
    /// A pid namespace, in the same way.
    pub pids: Option<RawFd>,
    /// Other namespaces that the container was given, as CRIU calls them, by path.
    pub joined: Vec<(&'static str, PathBuf)>,
    /// The container's cgroups now: [`own_cgroups`].
    pub cgroups: Vec<(String, String)>,
}

/// What CRIU is asked to make.
pub fn restore_request(image: &Image, supplied: &Supplied, options: &Options, places: Places<'_>) -> Request {
    let mut all = common(Verb::Restore, options, places, &supplied.root, image.cgroup_namespace);
    all.flag(field::SIBLING, true).flag(field::EVASIVE_DEVICES, true);
    for (name, source) in &supplied.mounts {
        all.text(field::EXTERNAL, external(name.as_bytes(), source.as_os_str().as_bytes()));
    }
    let mut inherit = |name: &str, fd: RawFd| {
        let mut inherited = Message::default();
        inherited.text(1, name).number(2, number(fd));
        all.message(field::INHERIT_FD, &inherited);
    };
    let mut known = BTreeSet::new();
    for (fd, stream) in supplied.streams.iter().zip(&image.streams) {
        if !stream.is_empty() && known.insert(stream) {
            inherit(stream, *fd);
        }
    }
    supplied.network.into_iter().for_each(|fd| inherit(NETWORK, fd));
    supplied.pids.into_iter().for_each(|fd| inherit(PIDS, fd));
    for (kind, path) in &supplied.joined {
        let mut joined = Message::default();
        joined.text(1, kind).text(2, path.as_os_str().as_bytes());
        all.message(field::JOIN_NS, &joined);
    }
    for (controller, path) in &supplied.cgroups {
        let mut root = Message::default();
        root.text(1, controller).text(2, path);
        all.message(field::CGROUP_ROOT, &root);
    }
    if let Some(profile) = &options.lsm_profile {
        all.text(field::LSM_PROFILE, profile);
    }
    if let Some(context) = &options.lsm_mount_context {
        all.text(field::LSM_MOUNT_CONTEXT, context);
    }
    Request { verb: Verb::Restore, options: all }
}

/// The first real error of a log is what the later ones come from; the others say what failed by that.
fn log_says(log: &Path) -> Option<String> {
    first_error(&String::from_utf8_lossy(&fs::read(log).ok()?))
}

fn first_error(log: &str) -> Option<String> {
    // Raising its own limits is tried, and not needed.
    let mut errors = log.lines().filter(|line| line.contains("Error (") && !line.contains("RLIMIT_NOFILE"));
    errors.next().and_then(|line| line.split_once("Error (")).map(|(_, rest)| format!("({rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    fn image() -> Image {
        Image {
            mounts: vec![External { at: "/mnt/a b".into(), name: "mount0".into(), from: "/mnt/a b".into() }],
            streams: ["file[18:3]".into(), "pipe:[77]".into(), "pipe:[77]".into()],
            network: Some(4026),
            cgroup_namespace: true,
            ..Image::default()
        }
    }

    /// The fields of a request as text, those of the descriptors left out.
    fn said(request: &Request) -> Vec<String> {
        let fields = wire::fields(request.options.as_bytes()).expect("a message");
        let kept = fields.into_iter().filter(|(field, _)| !matches!(*field, field::IMAGES | field::WORK));
        let text = |value: wire::Value<'_>| match value {
            wire::Value::Number(number) => number.to_string(),
            wire::Value::Bytes(bytes) => bytes.escape_ascii().to_string(),
        };
        kept.map(|(field, value)| format!("{field}={}", text(value))).collect()
    }

    fn in_place<T>(f: impl FnOnce(Places<'_>) -> T) -> T {
        let file = fs::File::open("/").expect("the root");
        f(Places { images: file.as_fd(), work: file.as_fd() })
    }

    #[test]
    fn a_dump_in_fields() {
        let options = Options { tcp_established: true, empty_ns: vec!["network".into()], ..Options::default() };
        let dump = Dump { leave_running: true, page_server: Some(("h".into(), 1)), ..Dump::default() };
        let (root, freezer) = (Path::new("/r"), Some(Path::new("/f")));
        let request = in_place(|places| dump_request(7, root, freezer, &image(), &options, &dump, places));
        assert_eq!(request.verb, Verb::Dump);
        assert_eq!(
            said(&request),
            [
                "9=4",
                "10=dump.log",
                "12=1",
                "13=/r",
                "34=3",
                "50=1",
                "5=1",
                "38=1073741824",
                "2=7",
                "44=/f",
                "37=mnt[/mnt/a b]:mount0",
                "37=file[18:3]",
                "37=net[4026]:pentNetwork",
                "3=1",
                r"11=\n\x01h\x10\x01",
            ]
        );
        let dump = Dump { pre_dump: true, parent: Some("../1".into()), ..Dump::default() };
        let request = in_place(|places| dump_request(7, root, None, &Image::default(), &options, &dump, places));
        assert_eq!(request.verb, Verb::PreDump);
        assert!(said(&request).ends_with(&["2=7".into(), "15=1".into(), "14=../1".into()]), "{:?}", said(&request));
    }

    #[test]
    fn a_restore_in_fields() {
        let options = Options { manage_cgroups: "full".into(), ..Options::default() };
        let supplied = Supplied {
            root: "/r".into(),
            mounts: vec![("mount0".into(), "/h/x]:y".into())],
            streams: [10, 11, 12],
            network: Some(13),
            joined: vec![("ipc", "/p".into())],
            cgroups: own_cgroups("4:cpu,cpuacct:/o\n0::/ck1\n"),
            ..Supplied::default()
        };
        let request = in_place(|places| restore_request(&image(), &supplied, &options, places));
        assert_eq!(
            said(&request),
            [
                "9=4",
                "10=restore.log",
                "12=1",
                "13=/r",
                "34=4",
                "50=1",
                "26=1",
                "6=1",
                "37=mnt[mount0]:/h/x]:y",
                r"27=\n\nfile[18:3]\x10\n",
                r"27=\n\tpipe:[77]\x10\x0b",
                r"27=\n\x0bpentNetwork\x10\r",
                r"39=\n\x03ipc\x12\x02/p",
                r"25=\n\x03cpu\x12\x02/o",
                r"25=\n\x07cpuacct\x12\x02/o",
                r"25=\n\x00\x12\x04/ck1",
            ]
        );
    }

    #[test]
    fn to_ignore_cgroups_is_not_to_lose_their_namespace() {
        assert_eq!(mode("ignore", false), 0);
        assert_eq!([mode("ignore", true), mode("", true), mode("soft", false)], [3; 3]);
        assert_eq!([mode("full", true), mode("strict", false)], [4, 5]);
    }

    #[test]
    fn the_log_says_why() {
        let log = "(00.1) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self\n(00.2) Error (criu/a.c:7): a: no\n(00.3) Error (b): c\n";
        assert_eq!(first_error(log).as_deref(), Some("(criu/a.c:7): a: no"));
        assert_eq!(first_error("fine\n"), None);
    }
}
