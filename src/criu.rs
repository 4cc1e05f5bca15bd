//! Checkpoint and restore by CRIU (criu(8)): what it is told, and what of a container is not in its images.
//!
//! A container's processes and most of its mounts are CRIU's to save. Not the container's own are mounts that show something of the
//! host (bind mounts, cgroups, masks) and the three standard streams: those are named at checkpoint and supplied again at restore, from
//! the bundle and from the caller. Their names are kept beside the images.
#![forbid(unsafe_code)]

use crate::report::Hint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Beside CRIU's own images.
const FILE: &str = "pent.json";
/// CRIU's name for a network namespace that is not the container's own.
const NETWORK: &str = "pentNetwork";

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
    pub page_server: Option<(String, String)>,
    /// Told when lazy pages can be asked for.
    pub status_fd: Option<RawFd>,
}

/// What of a container is not in CRIU's images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Mount points of what is the host's.
    pub mounts: Vec<PathBuf>,
    /// CRIU's names of the standard streams.
    pub streams: [String; 3],
    /// The network namespace, if it is not the container's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<u64>,
    /// The container's cgroup in each hierarchy: controllers and path, as in /proc/PID/cgroup.
    pub cgroups: Vec<(String, String)>,
}

fn read(path: impl Into<PathBuf>) -> Result<Vec<u8>, Error> {
    let path = path.into();
    fs::read(&path).map_err(|source| Error::Read { path, source })
}

impl Image {
    /// Looks at a container's first process. `shares_network`: it was given a network namespace by path.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of(pid: i32, shares_network: bool) -> Result<Self, Error> {
        use std::os::unix::fs::MetadataExt as _;
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let stat = |path: PathBuf| fs::metadata(&path).map_err(|source| Error::Read { path, source });
        let mut streams = [const { String::new() }; 3];
        for (number, stream) in streams.iter_mut().enumerate() {
            let link = proc.join("fd").join(number.to_string());
            let target = match fs::read_link(&link) {
                Ok(target) => target.to_string_lossy().into_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::Read { path: link, source }),
            };
            *stream = if target.starts_with("pipe:") || target.starts_with("socket:") {
                target
            } else {
                let info = read(proc.join("fdinfo").join(number.to_string()))?;
                format!("file[{:x}:{:x}]", mount_id(&info), stat(link)?.ino())
            };
        }
        let network = if shares_network { Some(stat(proc.join("ns/net"))?.ino()) } else { None };
        let cgroups = own_cgroups(&String::from_utf8_lossy(&read(proc.join("cgroup"))?));
        Ok(Self { mounts: external_mounts(&read(proc.join("mountinfo"))?), streams, network, cgroups })
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

fn mount_id(fdinfo: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(fdinfo);
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok()).unwrap_or(0)
}

/// The lines of /proc/PID/cgroup as controllers and path.
pub fn own_cgroups(text: &str) -> Vec<(String, String)> {
    let line =
        |line: &str| line.split_once(':')?.1.split_once(':').map(|(names, path)| (names.to_owned(), path.to_owned()));
    text.lines().filter_map(line).collect()
}

/// The mount points of what a container's filesystems are not themselves: CRIU saves a filesystem only if the container sees all of it.
/// The root is given to CRIU by itself.
fn external_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    // proc_pid_mountinfo(5): id, parent, device, root, mount point …
    let mounts: Vec<_> = mountinfo
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|b| *b == b' ').skip(2);
            Some((fields.next()?, fields.next()?, unescape(fields.next()?)))
        })
        .collect();
    let whole: BTreeSet<_> = mounts
        .iter()
        .filter(|(_, root, at)| *root == b"/" && at.as_os_str() != "/")
        .map(|(device, ..)| *device)
        .collect();
    let host = mounts.iter().filter(|(device, _, at)| at.as_os_str() != "/" && !whole.contains(device));
    host.map(|(_, _, at)| at.clone()).collect()
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

/// Arguments in the making.
struct Arguments(Vec<OsString>);

impl Arguments {
    fn new(verb: &str, options: &Options, log: &str, root: &Path) -> Self {
        let mut this = Self(vec![verb.into(), "-v4".into()]);
        this.pair("--images-dir", &options.images).pair("--work-dir", &options.work).pair("--log-file", log);
        this.pair("--root", root).pair("--manage-cgroups", mode(&options.manage_cgroups));
        for (flag, asked) in [
            ("--tcp-established", options.tcp_established),
            ("--tcp-close", options.tcp_close),
            ("--skip-in-flight", options.skip_in_flight),
            ("--link-remap", options.link_remap),
            ("--ext-unix-sk", options.ext_unix_sk),
            ("--shell-job", options.shell_job),
            ("--file-locks", options.file_locks),
            ("--auto-dedup", options.auto_dedup),
            ("--lazy-pages", options.lazy_pages),
        ] {
            if asked {
                this.0.push(flag.into());
            }
        }
        for kind in &options.empty_ns {
            this.pair("--empty-ns", if kind == "network" { "net" } else { kind });
        }
        this
    }

    /// `--flag=value` where CRIU takes nothing else, else as two words.
    fn pair(&mut self, flag: &str, value: impl Into<OsString>) -> &mut Self {
        let value = value.into();
        if matches!(flag, "--manage-cgroups") {
            let mut joined = OsString::from(format!("{flag}="));
            joined.push(value);
            self.0.push(joined);
        } else {
            self.0.extend([flag.into(), value]);
        }
        self
    }
}

fn mode(asked: &str) -> &str {
    if asked.is_empty() { "soft" } else { asked }
}

/// What `criu dump` or `pre-dump` is told. `freezer` is the container's freezer cgroup.
pub fn dump_arguments(
    pid: i32,
    root: &Path,
    freezer: Option<&Path>,
    image: &Image,
    options: &Options,
    dump: &Dump,
) -> Vec<OsString> {
    let mut all = Arguments::new(if dump.pre_dump { "pre-dump" } else { "dump" }, options, "dump.log", root);
    all.pair("--tree", pid.to_string());
    if let Some(freezer) = freezer {
        all.pair("--freeze-cgroup", freezer);
    }
    for mount in &image.mounts {
        all.pair("--external", external(mount, mount));
    }
    for stream in image.streams.iter().filter(|stream| stream.starts_with("file[")) {
        all.pair("--external", stream);
    }
    if let Some(inode) = image.network {
        all.pair("--external", format!("net[{inode}]:{NETWORK}"));
    }
    if dump.leave_running {
        all.0.push("--leave-running".into());
    }
    if dump.pre_dump || dump.parent.is_some() {
        all.0.push("--track-mem".into());
    }
    if let Some(parent) = &dump.parent {
        all.pair("--prev-images-dir", parent);
    }
    if let Some((address, port)) = &dump.page_server {
        all.0.push("--page-server".into());
        all.pair("--address", address).pair("--port", port);
    }
    if let Some(fd) = dump.status_fd {
        all.pair("--status-fd", fd.to_string());
    }
    all.0
}

/// `mnt[KEY]:VALUE`.
fn external(key: &Path, value: &Path) -> OsString {
    let mut text = OsString::from("mnt[");
    text.push(key);
    text.push("]:");
    text.push(value);
    text
}

/// What a restored container is given in place of what is not in its images.
#[derive(Debug, Clone, Default)]
pub struct Supplied {
    /// The root filesystem, a mount.
    pub root: PathBuf,
    /// Where CRIU writes which process it has made.
    pub pid_file: PathBuf,
    /// Mount points and host paths: [`sources`].
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Descriptors that CRIU inherits.
    pub streams: [RawFd; 3],
    /// A network namespace, for a container that was given one.
    pub network: Option<RawFd>,
    /// The container's cgroups now.
    pub cgroups: Vec<(String, String)>,
}

/// What `criu restore` is told.
pub fn restore_arguments(image: &Image, supplied: &Supplied, options: &Options) -> Vec<OsString> {
    let Supplied { root, pid_file, mounts, streams, network, cgroups } = supplied;
    let mut all = Arguments::new("restore", options, "restore.log", root);
    all.0.extend(["--restore-detached".into(), "--restore-sibling".into()]);
    all.pair("--pidfile", pid_file);
    for (at, source) in mounts {
        all.pair("--external", external(at, source));
    }
    let mut known = BTreeSet::new();
    for (fd, stream) in streams.iter().zip(&image.streams) {
        if !stream.is_empty() && known.insert(stream) {
            all.pair("--inherit-fd", format!("fd[{fd}]:{stream}"));
        }
    }
    if let Some(fd) = network {
        all.pair("--inherit-fd", format!("fd[{fd}]:{NETWORK}"));
    }
    for (names, path) in cgroups {
        let before = image.cgroups.iter().find(|(own, _)| own == names);
        if before.is_some_and(|(_, before)| before != path) {
            all.pair("--cgroup-root", if names.is_empty() { path.clone() } else { format!("{names}:{path}") });
        }
    }
    if let Some(profile) = &options.lsm_profile {
        all.pair("--lsm-profile", profile);
    }
    if let Some(context) = &options.lsm_mount_context {
        all.pair("--lsm-mount-context", context);
    }
    all.0
}

/// Runs criu to its end. What it prints itself is in its log; `what` names the log.
///
/// # Errors
/// [`Error::Missing`]; [`Error::Failed`].
pub fn run(what: &'static str, arguments: &[OsString], options: &Options) -> Result<(), Error> {
    let mut command = Command::new("criu");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().map_err(Error::Missing)?;
    if status.success() {
        return Ok(());
    }
    let log = options.work.join(if what == "restore" { "restore.log" } else { "dump.log" });
    let text = fs::read(&log).unwrap_or_default();
    let reason = last_error(&String::from_utf8_lossy(&text)).unwrap_or_else(|| status.to_string());
    Err(Error::Failed { what, reason, log })
}

/// The first real error of a log is what the later ones come from.
fn last_error(log: &str) -> Option<String> {
    // Raising its own limits is tried, and not needed.
    let mut errors = log.lines().filter(|line| line.contains("Error (") && !line.contains("RLIMIT_NOFILE"));
    errors.next().and_then(|line| line.split_once("Error (")).map(|(_, rest)| format!("({rest}"))
}

/// Host paths for the mounts of an image: a mask is /dev/null, the rest `known` knows by its mount point.
///
/// # Errors
/// [`Error::UnknownMount`].
pub fn sources(
    image: &Image,
    masks: &[String],
    known: impl Fn(&Path) -> Option<PathBuf>,
) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let masked = |at: &Path| masks.iter().any(|mask| Path::new(mask) == at);
    let source = |at: &PathBuf| {
        let source = known(at).or_else(|| masked(at).then(|| "/dev/null".into()));
        source.map(|source| (at.clone(), source)).ok_or_else(|| Error::UnknownMount(at.clone()))
    };
    image.mounts.iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "74 75 254:0 /b/rootfs / ro - ext4 /dev/vda rw
97 74 0:42 / /proc rw - proc proc rw
98 74 0:43 / /dev rw - tmpfs tmpfs rw
104 74 0:29 /ck1 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu
115 97 0:6 /null /proc/keys rw - devtmpfs devtmpfs rw
118 97 0:42 /bus /proc/bus ro - proc proc rw
119 74 254:0 /data\\040set /mnt/a\\040b rw - ext4 /dev/vda rw
";

    fn image() -> Image {
        Image {
            mounts: external_mounts(MOUNTS.as_bytes()),
            streams: ["file[18:3]".into(), "pipe:[77]".into(), "pipe:[77]".into()],
            network: Some(4026),
            cgroups: own_cgroups("4:memory:/ck1\n0::/ck1\n"),
        }
    }

    fn words(arguments: &[OsString]) -> String {
        arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_shows_the_host_is_external() {
        let paths: Vec<_> = external_mounts(MOUNTS.as_bytes()).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(paths, ["/sys/fs/cgroup/cpu", "/proc/keys", "/mnt/a b"]);
    }

    #[test]
    fn a_dump_in_words() {
        let options = Options { images: "/i".into(), work: "/w".into(), tcp_established: true, ..Options::default() };
        let options = Options { empty_ns: vec!["network".into()], ..options };
        let dump = Dump { leave_running: true, page_server: Some(("h".into(), "1".into())), ..Dump::default() };
        assert_eq!(
            words(&dump_arguments(7, Path::new("/r"), Some(Path::new("/f")), &image(), &options, &dump)),
            "dump -v4 --images-dir /i --work-dir /w --log-file dump.log --root /r --manage-cgroups=soft --tcp-established \
             --empty-ns net --tree 7 --freeze-cgroup /f --external mnt[/sys/fs/cgroup/cpu]:/sys/fs/cgroup/cpu \
             --external mnt[/proc/keys]:/proc/keys --external mnt[/mnt/a b]:/mnt/a b --external file[18:3] \
             --external net[4026]:pentNetwork --leave-running --page-server --address h --port 1"
        );
        let dump = Dump { pre_dump: true, parent: Some("../1".into()), status_fd: Some(5), ..Dump::default() };
        let said = words(&dump_arguments(7, Path::new("/r"), None, &Image::default(), &options, &dump));
        assert!(
            said.starts_with("pre-dump ") && said.ends_with("--track-mem --prev-images-dir ../1 --status-fd 5"),
            "{said}"
        );
    }

    #[test]
    fn a_restore_in_words() {
        let options =
            Options { images: "/i".into(), work: "/w".into(), manage_cgroups: "full".into(), ..Options::default() };
        let known = |at: &Path| {
            (at != Path::new("/proc/keys")).then(|| Path::new("/h").join(at.strip_prefix("/").expect("absolute")))
        };
        let sources = sources(&image(), &["/proc/keys".to_owned()], known).expect("all are known");
        let cgroups = own_cgroups("4:memory:/other\n0::/ck1\n");
        let image = image();
        let supplied = Supplied {
            root: "/r".into(),
            pid_file: "/p".into(),
            mounts: sources,
            streams: [10, 11, 12],
            network: Some(13),
            cgroups,
        };
        assert_eq!(
            words(&restore_arguments(&image, &supplied, &options)),
            "restore -v4 --images-dir /i --work-dir /w --log-file restore.log --root /r --manage-cgroups=full \
             --restore-detached --restore-sibling --pidfile /p --external mnt[/sys/fs/cgroup/cpu]:/h/sys/fs/cgroup/cpu \
             --external mnt[/proc/keys]:/dev/null --external mnt[/mnt/a b]:/h/mnt/a b --inherit-fd fd[10]:file[18:3] \
             --inherit-fd fd[11]:pipe:[77] --inherit-fd fd[13]:pentNetwork --cgroup-root memory:/other"
        );
        let lost = super::sources(&image, &[], |_| None).unwrap_err().to_string();
        assert!(lost.starts_with("cannot restore what was mounted on /sys/fs/cgroup/cpu"), "{lost}");
    }

    #[test]
    fn the_log_says_why() {
        let log = "(00.1) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self\n(00.2) Error (criu/a.c:7): a: no\n(00.3) Error (b): c\n";
        assert_eq!(last_error(log).as_deref(), Some("(criu/a.c:7): a: no"));
        assert_eq!(last_error("fine\n"), None);
    }
}
