//! UNIX sockets that somebody listens at, by the inodes they are, whatever they were called when they were bound.
//!
//! A read-only mount does not keep a program from connecting to one. The kernel says of every bound socket which inode
//! it is (sock_diag(7), `UNIX_DIAG_VFS`), to anybody, in one network namespace. Most are where they were bound. The
//! others have been renamed or linked, or their names mean something only to their processes: those are looked for.
#![forbid(unsafe_code)]

use super::tree::{self, Budget, Next};
use super::{Hidden, HostMount, signs};
use crate::sandbox::absent::Doubts;
use crate::sys::clone;
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much is looked at when a socket is not where it was bound.
const MOST_ENTRIES: usize = 300_000;
const MOST_TIME: Duration = Duration::from_millis(400);
/// How many that were not found are named.
const MOST_NAMED: usize = 4;

/// A socket with a place in a file system, that takes connections or messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Bound {
    /// Its device, as the kernel has it, and the low half of its inode; nothing where only the name is known.
    pub(super) inode: Option<(u32, u32)>,
    /// As it was bound.
    pub(super) name: Vec<u8>,
    /// The inode that its descriptors have.
    pub(super) socket: u32,
}

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) hidden: Vec<Hidden>,
    pub(super) notes: Vec<String>,
}

/// Where sockets are looked for.
pub(super) struct Places<'a> {
    /// The most likely first.
    pub(super) trees: Vec<PathBuf>,
    pub(super) mounts: &'a [HostMount],
    /// Nothing of these is seen in a sandbox.
    pub(super) private: &'a [PathBuf],
    /// What is given of them all the same.
    pub(super) granted: &'a [PathBuf],
    /// Nothing is looked for in these.
    pub(super) skip: HashSet<PathBuf>,
}

/// Finds every link to every socket that somebody listens at.
pub(super) fn find(is_root: bool, places: &Places<'_>, doubts: &Doubts) -> io::Result<Found> {
    let processes = processes(doubts);
    let mut found = BTreeSet::new();
    let mut wanted = Wanted::default();
    for bound in all_bound(is_root, &processes, doubts)? {
        wanted.add(bound, places, doubts, &mut found);
    }
    let mut notes = Vec::new();
    if !wanted.is_empty() {
        wanted.search(places, &processes, doubts, &mut found);
        notes.extend(wanted.note());
    }
    let hidden = found.into_iter().map(|path| Hidden { path, directory: false }).collect();
    Ok(Found { hidden, notes })
}

fn processes(doubts: &Doubts) -> Vec<PathBuf> {
    let is_process = |path: &Path| path.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
    let proc = Path::new("/proc");
    let entries = doubts.see(proc, fs::read_dir(proc)).into_iter().flatten();
    let all = entries.filter_map(|entry| Some(doubts.see(proc, entry)?.path()));
    all.filter(|path| is_process(path)).collect()
}

/// The sockets of the caller's network namespace, and of those of the processes that it may look at.
fn all_bound(is_root: bool, processes: &[PathBuf], doubts: &Doubts) -> io::Result<BTreeSet<Bound>> {
    let table = |path: PathBuf| parse_table(&doubts.see(&path, fs::read(&path)).unwrap_or_default());
    let network = |path: &Path| doubts.see(path, fs::read_link(path));
    let mut all: BTreeSet<Bound> = match dump() {
        Ok(bound) => bound.into_iter().collect(),
        Err(errno) if !is_lacking(errno) => return Err(errno.into()),
        Err(_) => table("/proc/self/net/unix".into()).into_iter().collect(),
    };
    let mut seen: HashSet<PathBuf> = network(Path::new("/proc/self/ns/net")).into_iter().collect();
    for process in processes {
        let namespace = process.join("ns/net");
        if network(&namespace).is_some_and(|network| seen.insert(network)) {
            let there = if is_root { dump_in(&namespace)? } else { None };
            all.extend(there.unwrap_or_else(|| {
                let named = table(process.join("net/unix")).into_iter();
                named.map(|bound| Bound { inode: inode_by(&bound.name, process, doubts), ..bound }).collect()
            }));
        }
    }
    Ok(all)
}

/// What a name leads to for a process.
fn inode_by(name: &[u8], process: &Path, doubts: &Doubts) -> Option<(u32, u32)> {
    let text = Path::new(OsStr::from_bytes(name));
    let path = match text.strip_prefix("/") {
        Ok(below) => process.join("root").join(below),
        Err(_) => process.join("cwd").join(text),
    };
    let st = doubts.see(&path, fs::metadata(&path)).filter(|st| st.file_type().is_socket())?;
    let device = libc::major(st.dev()) << 20 | libc::minor(st.dev());
    Some((device, low(st.ino())))
}

/// Another network namespace's: its socket stays there. Nothing where this process may not go, an error where it cannot
/// come back.
fn dump_in(namespace: &Path) -> io::Result<Option<Vec<Bound>>> {
    let (Ok(own), Ok(other)) = (File::open("/proc/self/ns/net"), File::open(namespace)) else { return Ok(None) };
    if clone::setns(other.as_fd(), libc::CLONE_NEWNET).is_err() {
        return Ok(None);
    }
    let socket = open();
    clone::setns(own.as_fd(), libc::CLONE_NEWNET)?;
    match socket.and_then(|socket| ask(&socket)) {
        Ok(bound) => Ok(Some(bound)),
        Err(errno) if is_lacking(errno) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The kernel has no sock_diag(7) for these sockets, or a filter keeps it from the caller: then there are their names.
fn is_lacking(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENOENT
            | Errno::EPROTONOSUPPORT
            | Errno::EAFNOSUPPORT
            | Errno::ESOCKTNOSUPPORT
            | Errno::EOPNOTSUPP
            | Errno::EINVAL
            | Errno::EPERM
            | Errno::EACCES
            | Errno::ENOSYS
    )
}

fn dump() -> nix::Result<Vec<Bound>> {
    ask(&open()?)
}

fn open() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag)?;
    socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// `struct nlmsghdr` and `struct unix_diag_req` (linux/unix_diag.h): everything of AF_UNIX, with names and inodes.
fn request() -> Vec<u8> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const REQUEST_DUMP: u16 = 0x301;
    const SHOW_NAME_AND_VFS: u32 = 3;
    let mut message = Vec::with_capacity(40);
    message.extend(40u32.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST_DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([1, 0, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(SHOW_NAME_AND_VFS.to_ne_bytes());
    message.extend([0; 8]);
    message
}

fn ask(socket: &OwnedFd) -> nix::Result<Vec<Bound>> {
    let request = request();
    socket::send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut buffer = vec![0; 64 << 10];
    let mut all = Vec::new();
    loop {
        let len = match socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        if parse_answer(&buffer[..len], &mut all)? {
            return Ok(all);
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Messages of a dump; whether it was the last.
fn parse_answer(mut rest: &[u8], all: &mut Vec<Bound>) -> nix::Result<bool> {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    while let (Some(len), Some(kind)) = (word(rest, 0), half(rest, 4)) {
        let Some(body) = usize::try_from(len).ok().and_then(|len| rest.get(16..len)) else {
            return Err(nix::errno::Errno::EBADMSG);
        };
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = word(body, 0).unwrap_or_default().cast_signed();
                return Err(nix::errno::Errno::from_raw(code.wrapping_neg()));
            }
            _ => all.extend(parse_socket(body)),
        }
        rest = rest.get((16 + body.len()).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct unix_diag_msg` and its attributes: a socket that has an inode and takes something, now or when it will
/// listen.
fn parse_socket(body: &[u8]) -> Option<Bound> {
    const ESTABLISHED: u8 = 1;
    const NAME: u16 = 0;
    const VFS: u16 = 1;
    let (kind, state, socket) = (*body.get(1)?, *body.get(2)?, word(body, 4)?);
    let (mut name, mut inode) = (Vec::new(), None);
    let mut rest = body.get(16..)?;
    while let (Some(len), Some(attribute)) = (half(rest, 0), half(rest, 2)) {
        let value = rest.get(4..usize::from(len))?;
        match attribute {
            NAME => name = value.strip_suffix(b"\0").unwrap_or(value).to_vec(),
            // First the inode, then the device.
            VFS => inode = Some((word(value, 4)?, word(value, 0)?)),
            _ => {}
        }
        rest = rest.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
    }
    let connected = state == ESTABLISHED && i32::from(kind) != libc::SOCK_DGRAM;
    (inode.is_some() && !connected).then_some(Bound { inode, name, socket })
}

/// The same from `/proc/PID/net/unix` (proc(5)), where inodes are not told. A name may have any bytes, and a newline
/// makes the rest of it look like another line: what is left of the name then leads nowhere, and the socket is looked
/// for.
pub(super) fn parse_table(table: &[u8]) -> Vec<Bound> {
    const ACCEPTS_CONNECTIONS: u32 = 1 << 16;
    const DATAGRAMS: u32 = 2;
    let sockets = table.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let number = |field: Option<&[u8]>, radix| u32::from_str_radix(std::str::from_utf8(field?).ok()?, radix).ok();
        let mut fields = line.splitn(7, |byte| *byte == b' ');
        let flags = number(fields.nth(3), 16)?;
        let kind = number(fields.next(), 16)?;
        let rest = fields.nth(1)?.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let socket = number(rest.get(..end), 10)?;
        // What begins with @ is abstract, or is called so.
        let name = rest.get(end + 1..).filter(|name| !name.is_empty())?;
        let takes = flags & ACCEPTS_CONNECTIONS != 0 || kind == DATAGRAMS;
        takes.then(|| Bound { inode: None, name: name.to_vec(), socket })
    });
    sockets.collect()
}

/// A device's number in the kernel, from `major:minor`.
fn device_number(text: &str) -> Option<u32> {
    let (major, minor) = text.split_once(':')?;
    Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
}

#[allow(clippy::cast_possible_truncation, reason = "the kernel tells the low half of it")]
fn low(number: u64) -> u32 {
    number as u32
}

/// Sockets of which not every link is known.
#[derive(Default)]
struct Wanted {
    /// By the low half of the inode: the socket, and how many links are not known; nothing when it was never met.
    by_inode: HashMap<u32, (Bound, Option<u64>)>,
    /// Of which the kernel tells only names.
    by_name: Vec<Bound>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.by_inode.is_empty() && self.by_name.is_empty()
    }

    /// A socket that is where it was bound is found; any other is wanted, if its file system can be seen in a sandbox.
    fn add(&mut self, bound: Bound, places: &Places<'_>, doubts: &Doubts, found: &mut BTreeSet<PathBuf>) {
        let name = Path::new(OsStr::from_bytes(&bound.name));
        let mut links = None;
        if name.is_absolute()
            && !name.starts_with("/proc")
            && let Some(st) = doubts.see(name, fs::metadata(name))
            && st.file_type().is_socket()
            && let Some(path) = doubts.see(name, fs::canonicalize(name))
            && is_same(&bound, &st, &path, places.mounts)
        {
            found.insert(path);
            if st.nlink() == 1 {
                return;
            }
            links = Some(st.nlink() - 1);
        }
        match bound.inode {
            Some((device, number)) if places.shows(device) => {
                self.by_inode.insert(number, (bound, links));
            }
            Some(_) => {}
            // Abstract ones are in no file system; the profile has its say on them.
            None if bound.name.starts_with(b"@") => {}
            None => self.by_name.push(bound),
        }
    }

    /// Goes through what there is, the likeliest places first, until every link is known or enough was looked at.
    fn search(&mut self, places: &Places<'_>, processes: &[PathBuf], doubts: &Doubts, found: &mut BTreeSet<PathBuf>) {
        let bound = self.by_inode.values().map(|(bound, _)| bound).chain(&self.by_name);
        let nearest = near(&bound.cloned().collect::<Vec<_>>(), processes);
        let devices: HashSet<u32> = self.by_inode.values().filter_map(|(bound, _)| Some(bound.inode?.0)).collect();
        let shown = places.mounts.iter().filter(|mount| {
            device_number(&mount.device).is_some_and(|device| devices.contains(&device)) || !self.by_name.is_empty()
        });
        let mut stages = [nearest, places.trees.clone(), shown.map(|mount| mount.point.clone()).collect()];
        let mut seen = HashSet::new();
        for roots in &mut stages {
            roots.retain(|root| places.is_shown(root) && seen.insert(root.clone()));
        }
        // What is a root itself is not gone into from above.
        let skip: HashSet<PathBuf> = places.skip.iter().chain(places.private).chain(&seen).cloned().collect();
        // One after the other, since a walk leaves repositories and directories of builds to its end: a socket in one of
        // these, right where it was bound, would be looked for after everything else on the machine.
        let (mut entries, end) = (MOST_ENTRIES, Instant::now() + MOST_TIME);
        let count = u32::try_from(stages.len()).unwrap_or(1);
        for (roots, left) in stages.into_iter().zip((1..=count).rev()) {
            let time = end.saturating_duration_since(Instant::now()) / left;
            let share = entries / usize::try_from(left).unwrap_or(1);
            let mut budget = Budget { entries: share, until: Instant::now() + time };
            self.walk(roots, &mut budget, &skip, doubts, found);
            entries -= share - budget.entries;
            if self.is_known() {
                break;
            }
        }
        self.by_inode.retain(|_, (_, links)| *links != Some(0));
    }

    /// Whether every link of every socket is known.
    fn is_known(&self) -> bool {
        self.by_name.is_empty() && self.by_inode.values().all(|(_, links)| *links == Some(0))
    }

    fn walk(
        &mut self,
        roots: Vec<PathBuf>,
        budget: &mut Budget,
        skip: &HashSet<PathBuf>,
        doubts: &Doubts,
        found: &mut BTreeSet<PathBuf>,
    ) {
        tree::walk(roots, budget, skip, doubts, |entry| {
            if entry.kind == libc::DT_DIR {
                return if signs::is_of_packages(entry.bytes()) { Next::Last } else { Next::Enter };
            }
            if entry.kind == libc::DT_SOCK
                && let Some(st) = entry.look()
            {
                let links = self.by_inode.get_mut(&low(st.st_ino)).map(|(_, links)| links);
                // Of which one only the name is known, any may be it.
                if links.is_some() || !self.by_name.is_empty() {
                    let is_new = found.insert(entry.path());
                    if let (Some(links), true) = (links, is_new) {
                        #[allow(clippy::useless_conversion, reason = "of another size on other processors")]
                        let all = u64::from(st.st_nlink);
                        *links = Some(links.unwrap_or(all).saturating_sub(1));
                    }
                    if self.is_known() {
                        return Next::Enough;
                    }
                }
            }
            Next::Pass
        });
    }

    /// What was not found. Of those that only their names are known of, nobody can say.
    fn note(&self) -> Option<String> {
        let mut names: Vec<String> = self.by_inode.values().map(|(bound, _)| describe(bound)).collect();
        names.sort();
        let more = names.len().saturating_sub(MOST_NAMED);
        names.truncate(MOST_NAMED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| {
            format!(
                "sockets that somebody listens at were not found by all their names, and are not hidden there: {}{more}",
                names.join(", ")
            )
        })
    }
}

fn describe(bound: &Bound) -> String {
    let name = bound.name.escape_ascii();
    match bound.inode {
        Some((_, number)) => format!("{name} (inode {number})"),
        None => name.to_string(),
    }
}

impl Places<'_> {
    /// Whether a file system is in the sandbox.
    fn shows(&self, device: u32) -> bool {
        let mounts = self.mounts.iter().filter(|mount| device_number(&mount.device) == Some(device));
        let mut points = mounts.map(|mount| mount.point.as_path());
        points.any(|point| self.is_shown(point) || self.granted.iter().any(|granted| granted.starts_with(point)))
    }

    fn is_shown(&self, path: &Path) -> bool {
        let is_private = self.private.iter().any(|private| path.starts_with(private));
        let granted = self.granted.iter().any(|granted| path.starts_with(granted) || granted.starts_with(path));
        !is_private || granted
    }
}

/// Whether what a name leads to is the socket. On a stacked file system, inodes have other numbers for those who look
/// from above.
fn is_same(bound: &Bound, st: &fs::Metadata, path: &Path, mounts: &[HostMount]) -> bool {
    let Some((device, number)) = bound.inode else { return true };
    let stacked = || {
        let mount = super::mount_of(path, mounts);
        mount.is_some_and(|mount| mount.kind == "overlay" && device_number(&mount.device) == Some(device))
    };
    low(st.ino()) == number || stacked()
}

/// Directories in which sockets may be, from their names and their processes: nearest first.
fn near(wanted: &[Bound], processes: &[PathBuf]) -> Vec<PathBuf> {
    let sockets: HashMap<Vec<u8>, &Bound> =
        wanted.iter().map(|bound| (format!("socket:[{}]", bound.socket).into_bytes(), bound)).collect();
    let mut found: Vec<PathBuf> = Vec::new();
    let mut above = Vec::new();
    let parent = |name: &[u8]| Path::new(OsStr::from_bytes(name)).parent().map(Path::to_owned);
    for bound in wanted.iter().filter(|bound| bound.name.starts_with(b"/") && !bound.name.starts_with(b"/proc/")) {
        let directory = parent(&bound.name);
        above.extend(directory.as_deref().and_then(Path::parent).map(Path::to_owned));
        found.extend(directory);
    }
    for process in processes {
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let links: Vec<PathBuf> = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        let own: Vec<&&Bound> = links.iter().filter_map(|link| sockets.get(link.as_os_str().as_bytes())).collect();
        if own.is_empty() && !wanted.iter().any(|bound| bound.inode.is_none() && !bound.name.starts_with(b"/")) {
            continue;
        }
        let working = fs::read_link(process.join("cwd")).ok();
        for bound in own {
            let below = parent(&bound.name).unwrap_or_default();
            found.extend(working.iter().map(|working| working.join(&below)));
        }
        above.extend(working.as_deref().and_then(Path::parent).map(Path::to_owned));
        found.extend(working);
        // Directories that it has open: a name may begin with one of their descriptors.
        found.extend(links.into_iter().filter(|link| link.is_absolute() && !link.starts_with("/dev")));
    }
    found.extend(above);
    // The walk takes no links.
    let mut real: Vec<PathBuf> = Vec::new();
    for path in found.iter().filter_map(|path| fs::canonicalize(path).ok()).filter(|path| path.is_dir()) {
        if path.parent().is_some() && !real.contains(&path) {
            real.push(path);
        }
    }
    real
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    fn places(tree: &Path, mounts: &[HostMount]) -> Found {
        let places = Places { trees: vec![tree.to_owned()], mounts, private: &[], granted: &[], skip: HashSet::new() };
        find(false, &places, &Doubts::default()).expect("found out")
    }

    #[test]
    fn every_link_of_what_listens_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = fs::canonicalize(dir.path()).expect("itself").join("deep/er");
        fs::create_dir_all(&dir).expect("directories");
        let (one, two) = (dir.join("one"), dir.join("two"));
        let _renamed = UnixListener::bind(&one).expect("a socket");
        fs::rename(&one, dir.join("renamed")).expect("renamed");
        let _linked = UnixDatagram::bind(&two).expect("a socket");
        fs::create_dir(dir.join("in")).expect("a directory");
        fs::hard_link(&two, dir.join("in/linked")).expect("a link");
        drop(UnixListener::bind(dir.join("nobody")).expect("a socket"));
        let mounts = super::super::parse_mounts(&fs::read("/proc/self/mountinfo").expect("mounts"));
        let found = places(&dir, &mounts);
        let has = |name: &str| found.hidden.iter().any(|hidden| hidden.path == dir.join(name));
        assert!(has("renamed") && has("two") && has("in/linked") && !has("nobody"), "{found:?}");
    }

    #[test]
    fn sockets_of_a_table_are_those_that_take_something() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 21339 /var/lib/mysql/mysql.sock
0000000000000000: 00000003 00000000 00000000 0001 03 21340 /var/lib/other
0000000000000000: 00000002 00000000 00010000 0005 01 21342 /srv/a b\xe9
0000000000000000: 00000002 00000000 00000000 0002 01 21344 /var/spool/postfix/dev/log
0000000000000000: 00000002 00000000 00010000 0001 01    43 run/of it/s
0000000000000000: 00000002 00000000 00010000 0001 01 21343
";
        let found: Vec<_> = parse_table(table).into_iter().map(|bound| (bound.name, bound.socket)).collect();
        assert_eq!(
            found,
            [
                (b"/var/lib/mysql/mysql.sock".to_vec(), 21339),
                (b"/srv/a b\xe9".to_vec(), 21342),
                (b"/var/spool/postfix/dev/log".to_vec(), 21344),
                (b"run/of it/s".to_vec(), 43),
            ]
        );
    }

    #[test]
    fn answers_that_are_cut_short_are_no_answers() {
        let mut all = Vec::new();
        for len in 0..64 {
            let mut message = vec![0xff; len];
            if len >= 4 {
                message[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
            }
            assert!(!parse_answer(&message, &mut all).unwrap_or_default());
            assert_eq!(parse_socket(&message), None);
        }
        assert!(all.is_empty());
        assert_eq!(device_number("254:16"), Some(254 << 20 | 16));
    }
}
