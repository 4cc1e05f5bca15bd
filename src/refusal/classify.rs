//! Why the kernel will refuse a call that the filter allows, if it will: looked at from outside, before the call goes on.
//!
//! This is a forecast, and the program may change what it rests on in the meantime: it is good for a report and for nothing else.
#![forbid(unsafe_code)]

use super::caller::{Caller, Found, Rights, inside, look_up};
use super::facts::{Facts, is_below};
use super::network::{self, Address, Reach};
use super::record::{About, Layer, Refusal};
use super::watch::{Change, Kind, Path, capability as cap};
use crate::sys::fd;
use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::cell::OnceCell;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

/// A call that goes on, and all that is needed to say what becomes of it.
pub(super) struct Look<'a> {
    pub(super) caller: &'a mut Caller,
    pub(super) facts: &'a Facts,
    pub(super) call: &'static str,
    pub(super) args: [u64; 6],
    /// The identity of the supervisor's own network namespace.
    pub(super) own_network: &'a [u8],
    root: OwnedFd,
    rights: OnceCell<Rights>,
}

const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;

impl<'a> Look<'a> {
    pub(super) fn new(
        caller: &'a mut Caller,
        root: OwnedFd,
        facts: &'a Facts,
        own_network: &'a [u8],
        call: &'static str,
        args: [u64; 6],
    ) -> Self {
        Self { caller, facts, call, args, own_network, root, rights: OnceCell::new() }
    }

    /// Read when first needed: most calls are explained, or allowed, without. A thread that is gone has none.
    fn rights(&self) -> &Rights {
        self.rights.get_or_init(|| self.caller.rights().unwrap_or_default())
    }

    /// The refusal to expect, if any.
    pub(super) fn classify(&mut self, kind: Kind) -> Option<Refusal> {
        match kind {
            Kind::Open(path, flags) => self.open(path, self.args[flags]),
            Kind::OpenHow(path, how) => {
                let mut flags = [0; 8];
                let read = self.caller.read(self.args[how], &mut flags);
                if read == flags.len() { self.open(path, u64::from_ne_bytes(flags)) } else { None }
            }
            Kind::Creat(path) => self.open(path, bits(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)),
            Kind::Change(path, change, follow) => self.change(path, change, follow),
            Kind::Move(from, to) => self.removal(from).or_else(|| self.creation(to)),
            Kind::Execute(path) => self.execute(path),
            Kind::Connect(address, len) => self.connect(address, len),
            Kind::Bind(address, len) => self.bind(address, len),
            Kind::Socket => self.socket(),
            Kind::Privileged(capability, initial) => self.privileged(capability, initial),
            Kind::Namespaces(flags) => {
                let user = self.args[flags] & bits(libc::CLONE_NEWUSER) != 0;
                if user { None } else { self.privileged(cap::SYS_ADMIN, false) }
            }
            Kind::SetIds(count, groups) => self.set_ids(count, groups),
        }
    }

    /// Rights are read only where owner, group and the others have not all the same.
    fn may(&self, st: &libc::stat, want: u32) -> bool {
        [6, 3, 0].iter().all(|shift| (st.st_mode >> shift) & want == want) || may(st, self.rights(), want)
    }

    fn refusal(&self, action: &str, subject: &[u8], layer: Layer, errno: i32, about: About) -> Refusal {
        Refusal {
            action: action.to_owned(),
            subject: subject.to_vec(),
            layer,
            detail: String::new(),
            errno,
            call: self.call,
            about,
        }
    }

    /// What a path of the call leads to; where that is hidden from the caller, the refusal; nothing when it cannot be said.
    fn find(&mut self, action: &str, path: Path, follow: bool) -> Result<Found, Option<Box<Refusal>>> {
        let name = self.caller.string(self.args[path.name]).filter(|name| !name.is_empty()).ok_or(None)?;
        self.find_name(action, path, name, follow)
    }

    fn find_name(&self, action: &str, path: Path, name: Vec<u8>, follow: bool) -> Result<Found, Option<Box<Refusal>>> {
        let full = self.absolute(path, name).ok_or(None)?;
        match look_up(self.root.as_fd(), &full, follow) {
            Ok(found) => self.hidden(action, &found.path).map_or(Ok(found), |hidden| Err(Some(Box::new(hidden)))),
            // The supervisor may be an ordinary user itself.
            Err(Errno::EACCES) => Err(self.hidden(action, &full).map(Box::new)),
            Err(_) => Err(None),
        }
    }

    fn absolute(&self, path: Path, name: Vec<u8>) -> Option<Vec<u8>> {
        let mut full = if name.starts_with(b"/") {
            name
        } else {
            let mut base = self.caller.base(path.directory.map(|at| self.args[at]))?;
            base.push(b'/');
            base.extend_from_slice(&name);
            base
        };
        while full.len() > 1 && full.ends_with(b"/") {
            full.pop();
        }
        // These are the looking process's own, not the caller's.
        let own: [&[u8]; 6] =
            [b"/proc/self", b"/proc/thread-self", b"/dev/fd", b"/dev/stdin", b"/dev/stdout", b"/dev/stderr"];
        (!own.iter().any(|own| is_below(&full, own))).then_some(full)
    }

    /// The directory on the way that may not be searched.
    fn unsearchable(&self, path: &[u8]) -> Option<Vec<u8>> {
        let slashes = path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0).map(|(at, _)| at);
        slashes.take(40).map(|at| &path[..at]).find_map(|directory| {
            let found = look_up(self.root.as_fd(), directory, true).ok()?;
            let st = fd::stat(found.target?.as_fd()).ok()?;
            (!self.may(&st, EXECUTE)).then(|| directory.to_vec())
        })
    }

    /// Hidden by a mask, or behind a directory that may not be searched.
    fn hidden(&self, action: &str, path: &[u8]) -> Option<Refusal> {
        if let Some(mask) = self.facts.mask_of(path) {
            let part = self.facts.part_of(mask, path);
            return Some(self.refusal(action, part, Layer::MaskedPath, libc::EACCES, About::Nothing));
        }
        let directory = self.unsearchable(path)?;
        Some(self.refusal(action, &directory, Layer::Permissions, libc::EACCES, About::Nothing))
    }

    fn open(&mut self, path: Path, flags: u64) -> Option<Refusal> {
        let has = |flag: i32| flags & bits(flag) == bits(flag);
        let access = flags & bits(libc::O_ACCMODE);
        let writes = access != bits(libc::O_RDONLY) || has(libc::O_TRUNC);
        let action = if writes || has(libc::O_CREAT) { "write" } else { "read" };
        if has(libc::O_PATH) {
            return None;
        }
        let exclusive = has(libc::O_CREAT | libc::O_EXCL);
        let found = match self.find(action, path, !has(libc::O_NOFOLLOW) && !exclusive) {
            Ok(found) => found,
            Err(hidden) => return hidden.map(|hidden| *hidden),
        };
        let Some(target) = &found.target else {
            return if has(libc::O_CREAT) {
                self.in_directory("write", &found)
            } else {
                self.absent(action, &found.path)
            };
        };
        if has(libc::O_TMPFILE) && writes {
            return self.write_directory("write", target.as_fd(), &found.path);
        }
        if exclusive {
            return None;
        }
        let st = fd::stat(target.as_fd()).ok()?;
        if writes && st.st_mode & libc::S_IFMT == libc::S_IFREG {
            return self.write_file(action, target.as_fd(), &found.path, &st);
        }
        let want = match access {
            _ if st.st_mode & libc::S_IFMT == libc::S_IFDIR => READ,
            access if access == bits(libc::O_WRONLY) => WRITE,
            access if access == bits(libc::O_RDWR) => READ | WRITE,
            _ => READ,
        };
        (!self.may(&st, want)).then(|| {
            self.refusal(action, &found.path, Layer::Permissions, libc::EACCES, About::File { permitted: false })
        })
    }

    fn absent(&self, action: &str, path: &[u8]) -> Option<Refusal> {
        let emptied = self.facts.emptied.iter().map(|emptied| emptied.as_bytes());
        let path = emptied.into_iter().find(|emptied| is_below(path, emptied)).unwrap_or(path);
        Some(self.refusal(action, path, Layer::AbsentPath, libc::ENOENT, About::Nothing))
    }

    /// A name is made where there is none.
    fn in_directory(&self, action: &str, found: &Found) -> Option<Refusal> {
        let Some(parent) = &found.parent else { return self.absent(action, &found.path) };
        self.write_directory(action, parent.as_fd(), parent_of(&found.path))
    }

    fn write_directory(&self, action: &str, directory: BorrowedFd<'_>, path: &[u8]) -> Option<Refusal> {
        let st = fd::stat(directory).ok()?;
        let permitted = self.may(&st, WRITE | EXECUTE);
        if let Some(layer) = self.read_only(directory) {
            let about = About::Directory { empty: is_empty(directory), permitted };
            return Some(self.refusal(action, path, layer, libc::EROFS, about));
        }
        let about = || About::Directory { empty: is_empty(directory), permitted };
        (!permitted).then(|| self.refusal(action, path, Layer::Permissions, libc::EACCES, about()))
    }

    fn write_file(&self, action: &str, file: BorrowedFd<'_>, path: &[u8], st: &libc::stat) -> Option<Refusal> {
        let permitted = self.may(st, WRITE);
        let about = About::File { permitted };
        match self.read_only(file) {
            Some(layer) => Some(self.refusal(action, path, layer, libc::EROFS, about)),
            None if !permitted => Some(self.refusal(action, path, Layer::Permissions, libc::EACCES, about)),
            None => None,
        }
    }

    /// Which mount keeps it from being written to.
    fn read_only(&self, place: BorrowedFd<'_>) -> Option<Layer> {
        if !fstatvfs(place).ok()?.flags().contains(FsFlags::ST_RDONLY) {
            return None;
        }
        let same = mount_id(place).is_some_and(|id| mount_id(self.root.as_fd()) == Some(id));
        Some(if same { Layer::ReadOnlyRoot } else { Layer::ReadOnlyMount })
    }

    fn change(&mut self, path: Path, change: Change, follow: bool) -> Option<Refusal> {
        match change {
            Change::Create => return self.creation(path),
            Change::Remove => return self.removal(path),
            Change::Device(mode) => {
                let kind = u32::try_from(self.args[mode] & 0xffff).unwrap_or(0) & libc::S_IFMT;
                let device = kind == libc::S_IFCHR || kind == libc::S_IFBLK;
                return self.creation(path).or_else(|| if device { self.privileged(cap::MKNOD, true) } else { None });
            }
            Change::Write | Change::Attributes | Change::Owner => {}
        }
        let action = if change == Change::Write { "write" } else { "change" };
        let found = match self.find(action, path, follow) {
            Ok(found) => found,
            Err(hidden) => return hidden.map(|hidden| *hidden),
        };
        let Some(target) = &found.target else { return self.absent(action, &found.path) };
        let st = fd::stat(target.as_fd()).ok()?;
        if change == Change::Write {
            return self.write_file(action, target.as_fd(), &found.path, &st);
        }
        let owns = self.rights().uids[3] == st.st_uid;
        if let Some(layer) = self.read_only(target.as_fd()) {
            let about = About::File { permitted: owns || self.rights().has(cap::FOWNER) };
            return Some(self.refusal(action, &found.path, layer, libc::EROFS, about));
        }
        if change == Change::Owner {
            return self.change_owner(path, &st);
        }
        let now = self.call.contains("time") && self.args[path.name + 1] == 0;
        let privileged = self.rights().has(cap::FOWNER) && self.rights().covers(st.st_uid, st.st_gid);
        let permitted = owns || privileged || self.call.contains("xattr") || (now && self.may(&st, WRITE));
        let about = About::File { permitted: false };
        (!permitted).then(|| self.refusal(action, &found.path, Layer::Permissions, libc::EPERM, about))
    }

    fn change_owner(&self, path: Path, st: &libc::stat) -> Option<Refusal> {
        let asked = |at: usize| u32::try_from(self.args.get(path.name + at)? & 0xffff_ffff).ok();
        let differs = |id: u32, map: &[[u32; 3]], now: u32| id != u32::MAX && inside(map, now) != Some(id);
        let (uid, gid) = (asked(1)?, asked(2)?);
        let other_owner = differs(uid, &self.rights().uid_map, st.st_uid);
        let other_group = differs(gid, &self.rights().gid_map, st.st_gid);
        let own_groups = self.rights().groups.iter().chain([&self.rights().gids[3]]);
        let own_group = own_groups.into_iter().any(|own| inside(&self.rights().gid_map, *own) == Some(gid));
        let owns = self.rights().uids[3] == st.st_uid;
        if !other_owner && (!other_group || (owns && own_group)) {
            return None;
        }
        if self.rights().has(cap::CHOWN) && self.rights().covers(st.st_uid, st.st_gid) {
            return None;
        }
        Some(self.lacking(cap::CHOWN, false))
    }

    fn creation(&mut self, path: Path) -> Option<Refusal> {
        match self.find("write", path, false) {
            Ok(found) if found.target.is_some() => None,
            Ok(found) => self.in_directory("write", &found),
            Err(hidden) => hidden.map(|hidden| *hidden),
        }
    }

    fn removal(&mut self, path: Path) -> Option<Refusal> {
        let found = match self.find("remove", path, false) {
            Ok(found) => found,
            Err(hidden) => return hidden.map(|hidden| *hidden),
        };
        found.target.as_ref()?;
        let directory = look_up(self.root.as_fd(), parent_of(&found.path), true).ok()?.target?;
        let refusal = self.write_directory("remove", directory.as_fd(), &found.path)?;
        let About::Directory { permitted, .. } = refusal.about else { return Some(refusal) };
        Some(Refusal { about: About::File { permitted }, ..refusal })
    }

    fn execute(&mut self, path: Path) -> Option<Refusal> {
        let found = match self.find("execute", path, true) {
            Ok(found) => found,
            Err(hidden) => return hidden.map(|hidden| *hidden),
        };
        let Some(target) = &found.target else { return self.absent("execute", &found.path) };
        let st = fd::stat(target.as_fd()).ok()?;
        if st.st_mode & libc::S_IFMT != libc::S_IFREG {
            return None;
        }
        if fstatvfs(target).ok()?.flags().contains(FsFlags::ST_NOEXEC) {
            return Some(self.refusal("execute", &found.path, Layer::NoExec, libc::EACCES, About::Nothing));
        }
        if !self.may(&st, EXECUTE) {
            let about = About::File { permitted: false };
            return Some(self.refusal("execute", &found.path, Layer::Permissions, libc::EACCES, about));
        }
        let places = self.facts.landlock.as_ref()?.execute.as_ref()?;
        // A place may be a link, as many programs of /usr/bin are.
        let real = |place: &[u8]| look_up(self.root.as_fd(), place, true).ok().filter(|at| at.target.is_some());
        let allowed = places.iter().map(|place| place.to_bytes()).any(|place| {
            is_below(&found.path, place) || real(place).is_some_and(|real| is_below(&found.path, &real.path))
        });
        (!allowed).then(|| self.refusal("execute", &found.path, Layer::Landlock, libc::EACCES, About::Nothing))
    }

    fn address(&mut self, address: usize, len: usize) -> Option<Address> {
        let mut bytes = [0; 128];
        let len = usize::try_from(self.args[len] & 0xffff_ffff).ok()?.min(bytes.len());
        let read = self.caller.read(self.args[address], &mut bytes[..len]);
        network::parse(&bytes[..read])
    }

    /// Whether the caller has another network namespace than the supervisor.
    fn is_apart(&self) -> bool {
        self.caller.link(c"ns/net").is_ok_and(|its| its != self.own_network)
    }

    fn connect(&mut self, address: usize, len: usize) -> Option<Refusal> {
        let to = match self.address(address, len)? {
            Address::Inet(to) => to,
            Address::Unix(path) => return self.connect_unix(path),
        };
        let action = if self.call == "connect" { "connect" } else { "send" };
        let refused = |layer, errno| self.refusal(action, to.to_string().as_bytes(), layer, errno, About::Address(to));
        if !network::is_local(to.ip()) && self.is_apart() {
            let table = |name| self.caller.text(name, 1 << 16).unwrap_or_default();
            let (ipv4, ipv6) = (table(c"net/route"), table(c"net/ipv6_route"));
            match network::reach(to.ip(), &String::from_utf8_lossy(&ipv4), &String::from_utf8_lossy(&ipv6)) {
                Reach::There => {}
                Reach::Elsewhere => return Some(refused(Layer::NoRoute, libc::ENETUNREACH)),
                Reach::Nowhere => return Some(refused(Layer::NoNetwork, libc::ENETUNREACH)),
            }
        }
        let ports = self.facts.landlock.as_ref()?.connect_tcp.as_ref()?;
        (self.call == "connect" && !ports.contains(&to.port())).then(|| refused(Layer::Landlock, libc::EACCES))
    }

    fn connect_unix(&mut self, name: Vec<u8>) -> Option<Refusal> {
        let found = match self.find_name("connect", Path { directory: None, name: 0 }, name, true) {
            Ok(found) => found,
            Err(hidden) => return hidden.map(|hidden| *hidden),
        };
        let Some(target) = &found.target else { return self.absent("connect", &found.path) };
        let st = fd::stat(target.as_fd()).ok()?;
        let about = About::File { permitted: false };
        (!self.may(&st, WRITE)).then(|| self.refusal("connect", &found.path, Layer::Permissions, libc::EACCES, about))
    }

    fn bind(&mut self, address: usize, len: usize) -> Option<Refusal> {
        let to = match self.address(address, len)? {
            Address::Inet(to) => to,
            Address::Unix(name) => {
                return match self.find_name("write", Path { directory: None, name: 0 }, name, false) {
                    Ok(found) if found.target.is_some() => None,
                    Ok(found) => self.in_directory("write", &found),
                    Err(hidden) => hidden.map(|hidden| *hidden),
                };
            }
        };
        let apart = self.is_apart();
        let first = self.facts.first_free_port.filter(|_| apart).unwrap_or(1024);
        let initial = self.rights().is_contained() && !apart;
        if to.port() != 0 && to.port() < first && (initial || !self.rights().has(cap::NET_BIND_SERVICE)) {
            let refusal = self.lacking(cap::NET_BIND_SERVICE, initial);
            return Some(Refusal {
                action: "bind".into(),
                subject: to.to_string().into_bytes(),
                errno: libc::EACCES,
                ..refusal
            });
        }
        let ports = self.facts.landlock.as_ref()?.bind_tcp.as_ref()?;
        (to.port() != 0 && !ports.contains(&to.port()))
            .then(|| self.refusal("bind", to.to_string().as_bytes(), Layer::Landlock, libc::EACCES, About::Address(to)))
    }

    fn socket(&self) -> Option<Refusal> {
        const SOCK_RAW: u64 = 3;
        let family = self.args[0] & 0xffff_ffff;
        let inet = family == bits(libc::AF_INET) || family == bits(libc::AF_INET6);
        let raw = family == bits(libc::AF_PACKET) || (inet && self.args[1] & 0xf == SOCK_RAW);
        let initial = self.rights().is_contained() && !self.is_apart();
        (raw && (initial || !self.rights().has(cap::NET_RAW))).then(|| self.lacking(cap::NET_RAW, initial))
    }

    fn privileged(&self, capability: u8, initial: bool) -> Option<Refusal> {
        let initial = initial && self.rights().is_contained();
        (initial || !self.rights().has(capability)).then(|| self.lacking(capability, initial))
    }

    fn lacking(&self, capability: u8, initial: bool) -> Refusal {
        let about = About::Capability(capability, initial);
        let refusal = self.refusal(&format!("{}()", self.call), b"", Layer::Capability, libc::EPERM, about);
        Refusal { detail: crate::spec::capability::names(1 << capability).concat(), ..refusal }
    }

    fn set_ids(&self, count: usize, groups: bool) -> Option<Refusal> {
        let (capability, ids, map) = if groups {
            (cap::SETGID, &self.rights().gids, &self.rights().gid_map)
        } else {
            (cap::SETUID, &self.rights().uids, &self.rights().uid_map)
        };
        let own = |id: u32| id == u32::MAX || ids[..3].iter().any(|own| inside(map, *own) == Some(id));
        let asked = self.args[..count].iter().map(|arg| u32::try_from(arg & 0xffff_ffff).unwrap_or(u32::MAX));
        (!self.rights().has(capability) && !asked.into_iter().all(own)).then(|| self.lacking(capability, false))
    }
}

fn bits(flags: i32) -> u64 {
    u64::from(flags.cast_unsigned())
}

fn parent_of(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) | None => b"/",
        Some(at) => &path[..at],
    }
}

/// Owner, group and mode, and the capabilities that override them (`generic_permission`); access control lists are not looked at.
fn may(st: &libc::stat, rights: &Rights, want: u32) -> bool {
    let shift = if rights.uids[3] == st.st_uid {
        6
    } else if rights.in_group(st.st_gid) {
        3
    } else {
        0
    };
    if (st.st_mode >> shift) & want == want {
        return true;
    }
    let directory = st.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if !rights.covers(st.st_uid, st.st_gid) {
        return false;
    }
    if rights.has(cap::DAC_OVERRIDE) && (directory || want & EXECUTE == 0 || st.st_mode & 0o111 != 0) {
        return true;
    }
    rights.has(cap::DAC_READ_SEARCH) && (want == READ || (directory && want & WRITE == 0))
}

/// The mount that a descriptor is on, by its `fdinfo` (proc_pid_fdinfo(5)).
fn mount_id(place: BorrowedFd<'_>) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", place.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

fn is_empty(directory: BorrowedFd<'_>) -> bool {
    let Ok(opened) = fd::open(directory, c".", libc::O_RDONLY | libc::O_DIRECTORY) else { return false };
    let mut entries = [0; 1024];
    let Ok(read) = fd::read_dir(opened.as_fd(), &mut entries) else { return false };
    fd::entries(&entries[..read]).next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_the_kernels() {
        let file = tempfile::tempfile().expect("a file");
        let mut st = fd::stat(file.as_fd()).expect("its status");
        let user = Rights {
            uids: [10; 4],
            gids: [20; 4],
            groups: vec![30],
            uid_map: vec![[0, 0, 1000]],
            gid_map: vec![[0, 0, 1000]],
            ..Rights::default()
        };
        let mut case = |mode: u32, uid: u32, gid: u32, rights: &Rights, want: u32| {
            (st.st_mode, st.st_uid, st.st_gid) = (mode, uid, gid);
            may(&st, rights, want)
        };
        let file = libc::S_IFREG;
        assert!(case(file | 0o640, 10, 0, &user, READ | WRITE) && !case(file | 0o640, 10, 0, &user, EXECUTE));
        assert!(case(file | 0o640, 0, 30, &user, READ) && !case(file | 0o640, 0, 30, &user, WRITE));
        assert!(!case(file | 0o077, 10, 0, &user, READ), "the owner's bits count for the owner");
        assert!(case(file | 0o004, 1, 1, &user, READ) && !case(file | 0o640, 1, 1, &user, READ));
        let root = Rights { capabilities: 1 << cap::DAC_OVERRIDE, ..user.clone() };
        assert!(case(file, 1, 1, &root, READ | WRITE) && !case(file, 1, 1, &root, EXECUTE));
        assert!(case(file | 0o100, 1, 1, &root, EXECUTE) && case(libc::S_IFDIR, 1, 1, &root, EXECUTE | WRITE));
        assert!(!case(file, 1, 5000, &root, READ), "not mapped");
        let reader = Rights { capabilities: 1 << cap::DAC_READ_SEARCH, ..user };
        assert!(case(file, 1, 1, &reader, READ) && !case(file, 1, 1, &reader, WRITE));
        assert!(case(libc::S_IFDIR, 1, 1, &reader, READ | EXECUTE) && !case(libc::S_IFDIR, 1, 1, &reader, WRITE));
    }

    #[test]
    fn parents_of_paths() {
        assert_eq!(parent_of(b"/a/b"), b"/a");
        assert_eq!(parent_of(b"/a"), b"/");
        assert_eq!(parent_of(b"/"), b"/");
    }

    #[test]
    fn directories_are_empty_or_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || {
            fd::open(
                fd::CWD,
                &super::super::caller::c_string(directory.path().as_os_str().as_encoded_bytes().to_vec())
                    .expect("a path"),
                libc::O_PATH,
            )
            .expect("opened")
        };
        assert!(is_empty(open().as_fd()));
        std::fs::write(directory.path().join("x"), "").expect("a file");
        assert!(!is_empty(open().as_fd()));
        assert!(mount_id(open().as_fd()).is_some());
    }
}
