//! Mounts in the rootfs: made detached, attached by descriptor.
#![forbid(unsafe_code)]

use super::places::Found;
use super::{Child, Done, MountCheck};
use crate::launch::sources;
use crate::launch::wire::Failure;
use crate::path::Leaf;
use crate::plan::op::{Filesystem, MountPoint, Slot, Source};
use crate::plan::text::Text;
use crate::spec::mount_options::{Attributes, Propagation, attr};
use crate::sys::fd::{self, CWD, resolve};
use crate::sys::mount::{self, MountAttr};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The mount point cannot be found or made.
pub(in crate::launch) const TARGET: u32 = 1;
/// An option was refused; `value` is its index.
pub(in crate::launch) const OPTION: u32 = 2;
/// The filesystem type is unknown to the kernel.
pub(in crate::launch) const FILESYSTEM: u32 = 3;
/// The mount point must be an ordinary directory.
pub(in crate::launch) const NOT_PLAIN: u32 = 4;
/// The item of a list; `value` is its index.
pub(in crate::launch) const ITEM: u32 = 5;
/// Directories are nested deeper than `value`.
pub(in crate::launch) const TOO_DEEP: u32 = 6;

/// The attributes that protect, of those that can be set.
const CHECKED: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;

impl<'a> Child<'a> {
    /// The rootfs; for a process that joins a container, the root it is in.
    pub(super) fn root(&self) -> Result<BorrowedFd<'_>, Failure> {
        match self.root {
            Some(slot) => self.slot(slot),
            None => Err(Errno::EBADF.into()),
        }
    }

    pub(super) fn make_filesystem(&mut self, filesystem: &Filesystem) -> Done {
        let context = mount::fsopen(&filesystem.kind).map_err(Failure::in_part(FILESYSTEM))?;
        let context = context.as_fd();
        if let Some(source) = &filesystem.source {
            mount::fsconfig_string(context, c"source", source)?;
        }
        for (index, (name, value)) in filesystem.options.iter().enumerate() {
            let set = match value {
                Some(value) => mount::fsconfig_string(context, name, value),
                None => mount::fsconfig_flag(context, name),
            };
            set.map_err(|errno| Failure { errno: errno as i32, part: OPTION, value: index as u64 })?;
        }
        if let Some(covered) = &filesystem.mode_of
            && let Ok(directory) = self.open_place(covered, libc::O_PATH | libc::O_DIRECTORY)
        {
            let mut octal = *b"0000\0";
            let mode = fd::stat(directory.at.as_fd())?.st_mode;
            for (place, digit) in octal.iter_mut().zip([9, 6, 3, 0]) {
                *place = b"01234567"[(mode >> digit & 7) as usize];
            }
            let text = CStr::from_bytes_with_nul(&octal).map_err(|_| Errno::EINVAL)?;
            mount::fsconfig_string(context, c"mode", text)?;
        }
        if let Some(namespace) = filesystem.pid_namespace {
            mount::fsconfig_fd(context, c"pidns", self.slot(namespace)?)?;
        }
        mount::fsconfig_create(context)?;
        let made = mount::fsmount(context, filesystem.attributes)?;
        sources::spread(made.as_fd(), &filesystem.propagation)?;
        self.fill(filesystem.slot, made);
        Ok(())
    }

    pub(super) fn attach(&mut self, slot: Slot, target: &'a CStr, point: MountPoint, expect: u64) -> Done {
        let source = self.slot(slot)?;
        let seen = mount::look(source)?;
        if point == MountPoint::CopiedLink && is_link(source)? {
            return self.copy_link(source, target).map_err(Failure::in_part(TARGET));
        }
        let found = self.mount_point(seen.is_directory, target, point)?;
        let at = mount::look(found.at.as_fd())?;
        self.refuse_to_cover(target, &found, at)?;
        self.cover(at)?;
        let to = found.at;
        match mount::attach(self.slot(slot)?, to.as_fd()) {
            // A file does not go on a directory, and the other way round the target could not have been opened.
            Err(Errno::EINVAL) if !seen.is_directory && is_directory(to.as_fd())? => {
                return Err(Failure { errno: Errno::ENOTDIR as i32, part: TARGET, value: 0 });
            }
            other => other?,
        }
        // What is on a link is not what its path leads to.
        let check = !found.in_kernels && point != MountPoint::LinkItself;
        self.made(target, Some(slot), seen.mount, check)?;
        self.remember(seen.id, expect)
    }

    /// Makes the link again at `target`; the same link is fine there, and anything else is not. Not inlined: its buffers would
    /// be part of the frame that every operation runs in.
    #[inline(never)]
    fn copy_link(&self, link: BorrowedFd<'_>, target: &CStr) -> crate::sys::Result<()> {
        let mut to = [0u8; libc::PATH_MAX as usize + 1];
        let len = fd::readlink(link, c"", &mut to[..libc::PATH_MAX as usize])?;
        to[len] = 0;
        let to = CStr::from_bytes_until_nul(&to).unwrap_or_default();
        let (dir, name) = self.ensure_parent_place(target)?;
        match fd::symlink(to, dir.at.as_fd(), name) {
            Err(Errno::EEXIST) => {
                let mut there = [0u8; libc::PATH_MAX as usize + 1];
                match fd::readlink(dir.at.as_fd(), name, &mut there[..libc::PATH_MAX as usize]) {
                    Ok(len) if there.get(..len) == Some(to.to_bytes()) => Ok(()),
                    _ => Err(Errno::EEXIST),
                }
            }
            made => made,
        }
    }

    /// Opens what is mounted on, or makes it.
    fn mount_point(&self, directory: bool, target: &CStr, point: MountPoint) -> Result<Found, Failure> {
        if point == MountPoint::PlainDirectory {
            match self.open_plain_place(target, libc::O_PATH | libc::O_DIRECTORY) {
                Ok(found) => return Ok(found),
                Err(Errno::ENOENT) => {}
                Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                    return Err(Failure { errno: errno as i32, part: NOT_PLAIN, value: 0 });
                }
                Err(errno) => return Err(Failure::in_part(TARGET)(errno)),
            }
        }
        let like_source = matches!(point, MountPoint::LikeSource | MountPoint::CopiedLink | MountPoint::LinkItself);
        let leaf = if like_source && !directory { Leaf::File } else { Leaf::Directory };
        if point == MountPoint::LinkItself {
            return self.ensure_plain_place(target, leaf).map_err(Failure::in_part(TARGET));
        }
        self.ensure_place(target, leaf).map_err(Failure::in_part(TARGET))
    }

    /// Remembers the mount in `slot` for the check before the program starts.
    pub(super) fn check_later(&mut self, slot: Slot, expect: u64) -> Done {
        let seen = mount::look(self.slot(slot)?)?;
        self.remember(seen.id, expect)
    }

    pub(super) fn remember(&mut self, id: Option<u64>, expect: u64) -> Done {
        // Kernels before 6.8 have no statmount: the attributes were set before attaching, which is all there is to say.
        let Some(id) = id.filter(|_| expect != 0) else { return Ok(()) };
        *self.checks.get_mut(self.checked).ok_or(Errno::EOVERFLOW)? = MountCheck { id, expect };
        self.checked += 1;
        Ok(())
    }

    pub(super) fn mount_legacy(
        &mut self,
        kind: &CStr,
        source: &CStr,
        target: &'a CStr,
        flags: u64,
        data: &CStr,
        propagation: &[Propagation],
    ) -> Done {
        let found = self.ensure_place(target, Leaf::Directory).map_err(Failure::in_part(TARGET))?;
        let at = mount::look(found.at.as_fd())?;
        self.refuse_to_cover(target, &found, at)?;
        let to = found.at;
        let mut name = [0u8; 32];
        mount::mount(source, proc_fd(to.as_fd(), &mut name), kind, flags, data)?;
        // The descriptor is of the directory below; what is on it now is looked up once more, and must be a mount that was not there.
        let made = self.open_place(target, libc::O_PATH | libc::O_DIRECTORY)?.at;
        let seen = mount::look(made.as_fd())?;
        if !seen.is_root || seen.mount == at.mount || self.is_made(seen, 0) {
            return Err(Failure::in_part(TARGET)(Errno::ESTALE));
        }
        self.cover(at)?;
        self.made(target, None, seen.mount, !found.in_kernels)?;
        Ok(sources::spread(made.as_fd(), propagation)?)
    }

    pub(super) fn remount(&mut self, target: &CStr, attributes: Attributes, tree: Attributes) -> Done {
        let found = self.open_place(target, libc::O_PATH).map_err(Failure::in_part(TARGET))?;
        if target != c"/" {
            self.refuse_to_cover(target, &found, mount::look(found.at.as_fd())?)?;
        }
        let at = found.at;
        for (change, recursive) in [(tree, true), (attributes, false)] {
            if !change.is_empty() {
                let change = MountAttr { set: change.set, clear: change.clear, ..MountAttr::default() };
                mount::set_attr(at.as_fd(), recursive, &change)?;
            }
        }
        // What a later mount covers stays as it is here.
        let seen = mount::look(at.as_fd())?;
        self.remember(seen.id, (attributes.set | tree.set) & CHECKED)
    }

    pub(super) fn set_readonly(&mut self, slot: Slot) -> Done {
        let readonly = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        mount::set_attr(self.slot(slot)?, false, &readonly)?;
        self.check_later(slot, attr::RDONLY)
    }

    /// Directories get one shared, empty, read-only tmpfs; everything else /dev/null (CVE-2025-31133: checked before).
    pub(super) fn mask_paths(&mut self, null: Slot, paths: &'a [Text], as_program: bool) -> Done {
        let first = self.made_count;
        let mut empty: Option<OwnedFd> = None;
        for (index, masked) in paths.iter().enumerate() {
            let failed = move |errno: Errno| Failure { errno: errno as i32, part: ITEM, value: index as u64 };
            let found = match self.open_place(masked, libc::O_PATH) {
                Ok(found) => found,
                Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                // The program has the same user, and fewer rights.
                Err(Errno::EACCES) if as_program => continue,
                Err(errno) => return Err(failed(errno)),
            };
            let at = mount::look(found.at.as_fd()).map_err(failed)?;
            if self.is_made(at, first) {
                continue;
            }
            self.refuse_to_cover(masked, &found, at)?;
            let target = &found.at;
            self.cover(at)?;
            let mask;
            if at.is_directory {
                let cover = match &empty {
                    None => empty_tmpfs().map_err(failed)?,
                    Some(first) => mount::clone_mount(first.as_fd(), false).map_err(failed)?,
                };
                mount::attach(cover.as_fd(), target.as_fd()).map_err(failed)?;
                let seen = mount::look(cover.as_fd())?;
                self.remember(seen.id, attr::RDONLY)?;
                mask = seen.mount;
                empty = Some(cover);
            } else {
                let cover = mount::clone_mount(self.slot(null)?, false).map_err(failed)?;
                mount::attach(cover.as_fd(), target.as_fd()).map_err(failed)?;
                mask = mount::look(cover.as_fd())?.mount;
            }
            // Below a mount of the kernel's nothing is renamed: the mount's own check does.
            self.made(masked, None, mask, !found.in_kernels)?;
        }
        Ok(())
    }

    /// Each by a copy of the mount that it is on, with the flags and the mapping of that.
    pub(super) fn keep_paths(&mut self, paths: &'a [(Text, bool)]) -> Done {
        let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        for (index, (kept, readonly)) in paths.iter().enumerate() {
            let failed = move |errno: Errno| Failure { errno: errno as i32, part: ITEM, value: index as u64 };
            let target = match self.open_place(kept, libc::O_PATH | libc::O_NOFOLLOW) {
                Ok(found) => found.at,
                // Gone since it was found; or where the program, which has the same user and fewer rights, cannot go
                // either.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => continue,
                Err(errno) => return Err(failed(errno)),
            };
            let cover = mount::clone_mount(target.as_fd(), true).map_err(failed)?;
            if *readonly {
                mount::set_attr(cover.as_fd(), true, &change).map_err(failed)?;
            }
            mount::attach(cover.as_fd(), target.as_fd()).map_err(failed)?;
            let expect = if *readonly { attr::RDONLY } else { 0 };
            let seen = mount::look(cover.as_fd())?;
            self.cover(mount::look(target.as_fd())?)?;
            // What it is was looked at by whoever asked for it; that may be renamed since.
            self.made(kept, None, seen.mount, false)?;
            self.remember(seen.id, expect)?;
        }
        Ok(())
    }

    pub(super) fn readonly_paths(&mut self, paths: &'a [Text]) -> Done {
        let readonly = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        for (index, closed) in paths.iter().enumerate() {
            let failed = move |errno: Errno| Failure { errno: errno as i32, part: ITEM, value: index as u64 };
            let found = match self.open_place(closed, libc::O_PATH) {
                Ok(found) => found,
                Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                Err(errno) => return Err(failed(errno)),
            };
            let target = &found.at;
            let seen = mount::look(target.as_fd())?;
            if seen.is_root && seen.mount == self.root_mount {
                // A copy on top of the root would not be what the program has as its root.
                mount::set_attr(self.root()?, true, &readonly).map_err(failed)?;
                self.remember(seen.id, attr::RDONLY)?;
                continue;
            }
            let cover = mount::clone_mount(target.as_fd(), true).map_err(failed)?;
            mount::set_attr(cover.as_fd(), true, &readonly).map_err(failed)?;
            self.cover(seen)?;
            mount::attach(cover.as_fd(), target.as_fd()).map_err(failed)?;
            let seen = mount::look(cover.as_fd())?;
            self.made(closed, None, seen.mount, !found.in_kernels)?;
            self.remember(seen.id, attr::RDONLY)?;
        }
        Ok(())
    }

    pub(super) fn copy_up(&mut self, slot: Slot, target: &CStr) -> Done {
        let from = match self.open_place(target, libc::O_RDONLY | libc::O_DIRECTORY) {
            Ok(found) => found.at,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let st = fd::stat(from.as_fd())?;
        let to = self.slot(slot)?;
        fd::chown(to, c"", st.st_uid, st.st_gid)?;
        fd::chmod(to, c".", st.st_mode & 0o7777)?;
        copy_directory(from.as_fd(), to, 0)
    }

    pub(super) fn symlink(&mut self, dir: &CStr, name: &CStr, target: &CStr) -> Done {
        let dir = self.open_place(dir, libc::O_PATH | libc::O_DIRECTORY)?.at;
        match fd::symlink(target, dir.as_fd(), name) {
            Err(Errno::EEXIST) => Ok(()),
            other => Ok(other?),
        }
    }

    pub(super) fn make_directory(&mut self, path: &CStr) -> Done {
        match self.ensure_place(path, Leaf::Directory) {
            // Left to the change of directory, which says it better.
            // ELOOP: by way of /proc/self/cwd and the like, which lead somewhere only once the root has changed.
            Ok(_) | Err(Errno::ENOTDIR | Errno::EACCES | Errno::EROFS | Errno::EPERM | Errno::ELOOP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What an earlier mount has put into the container's root, to be seen at another place, too.
    pub(super) fn clone_inside(&mut self, source: &Source) -> Done {
        let failed = Failure::in_part(sources::CLONE);
        let flags = libc::O_PATH | if source.nofollow { libc::O_NOFOLLOW } else { 0 };
        let found = self.open_place(&source.path, flags).map_err(&failed)?;
        let tree = mount::clone_mount(found.at.as_fd(), source.recursive).map_err(&failed)?;
        let tree = sources::settle(tree, source, None)?;
        self.fill(source.slot, tree);
        Ok(())
    }

    /// The offsets of clocks can be set only while nobody is in the namespace (time_namespaces(7)); setns(2) by its own file then moves
    /// this process itself, not only its children. Before it becomes the container's root: until then the files are its own.
    pub(super) fn set_time_offsets(lines: &CStr) -> Done {
        let flag = super::clone_flag(crate::plan::op::Namespace::Time.flag());
        crate::sys::clone::unshare(flag)?;
        let offsets = fd::open(CWD, c"/proc/self/timens_offsets", libc::O_WRONLY)?;
        fd::write(offsets.as_fd(), lines.to_bytes())?;
        let namespace = fd::open(CWD, c"/proc/self/ns/time_for_children", libc::O_RDONLY)?;
        Ok(crate::sys::clone::setns(namespace.as_fd(), flag)?)
    }

    pub(super) fn write_sysctls(&mut self, proc: Slot, values: &[(Text, Text)]) -> Done {
        for (index, (name, value)) in values.iter().enumerate() {
            let failed = move |errno: Errno| Failure { errno: errno as i32, part: ITEM, value: index as u64 };
            let inside = resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_XDEV;
            let file = fd::open_in(self.slot(proc)?, name, libc::O_WRONLY, 0, inside).map_err(failed)?;
            fd::write(file.as_fd(), value.to_bytes()).map_err(failed)?;
        }
        Ok(())
    }
}

pub(super) fn is_directory(at: BorrowedFd<'_>) -> crate::sys::Result<bool> {
    Ok(fd::stat(at)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn is_link(at: BorrowedFd<'_>) -> crate::sys::Result<bool> {
    Ok(fd::stat(at)?.st_mode & libc::S_IFMT == libc::S_IFLNK)
}

fn empty_tmpfs() -> crate::sys::Result<OwnedFd> {
    let context = mount::fsopen(c"tmpfs")?;
    for (name, value) in [(c"nr_blocks", c"1"), (c"nr_inodes", c"1"), (c"mode", c"0555")] {
        mount::fsconfig_string(context.as_fd(), name, value)?;
    }
    mount::fsconfig_create(context.as_fd())?;
    mount::fsmount(context.as_fd(), attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)
}

/// `/proc/self/fd/N` of the host's procfs: for mount(2), and to open what was only looked at.
pub(super) fn proc_fd<'b>(fd: BorrowedFd<'_>, name: &'b mut [u8; 32]) -> &'b CStr {
    use std::os::fd::AsRawFd;
    const PREFIX: &[u8] = b"/proc/self/fd/";
    name[..PREFIX.len()].copy_from_slice(PREFIX);
    let end = super::process::decimal(u64::from(fd.as_raw_fd().unsigned_abs()), name, PREFIX.len());
    name[end] = 0;
    CStr::from_bytes_until_nul(name).unwrap_or_default()
}

/// Copies everything in one directory into another; bounded depth, buffers on the stack.
fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> Done {
    const MAX_DEPTH: u32 = 128;
    if depth == MAX_DEPTH {
        return Err(Failure::mismatch(TOO_DEEP, MAX_DEPTH.into()));
    }
    let mut buf = [0u8; 4096];
    loop {
        let len = fd::read_dir(from, &mut buf)?;
        if len == 0 {
            return Ok(());
        }
        for (name, _) in fd::entries(&buf[..len]) {
            copy_entry(from, to, name, depth)?;
        }
    }
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: u32) -> Done {
    // Looked up once: in a volume that others write to, a second look could find a device of the host's in a file's place.
    let entry = fd::open(from, name, libc::O_PATH | libc::O_NOFOLLOW)?;
    let st = fd::stat(entry.as_fd())?;
    let mode = st.st_mode & 0o7777;
    match st.st_mode & libc::S_IFMT {
        libc::S_IFDIR => {
            fd::mkdir(to, name, 0o700)?;
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let (source, copy) = (fd::open(entry.as_fd(), c".", flags)?, fd::open(to, name, flags)?);
            copy_directory(source.as_fd(), copy.as_fd(), depth + 1)?;
        }
        libc::S_IFREG => {
            let source = fd::open(CWD, proc_fd(entry.as_fd(), &mut [0; 32]), libc::O_RDONLY)?;
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            let copy = fd::open_in(to, name, flags, 0o600, resolve::BENEATH)?;
            fd::copy(source.as_fd(), copy.as_fd())?;
        }
        libc::S_IFLNK => {
            let mut target = [0u8; libc::PATH_MAX as usize + 1];
            let len = fd::readlink(entry.as_fd(), c"", &mut target[..libc::PATH_MAX as usize])?;
            target[len] = 0;
            fd::symlink(CStr::from_bytes_until_nul(&target).unwrap_or_default(), to, name)?;
            return Ok(fd::chown(to, name, st.st_uid, st.st_gid)?);
        }
        _ => fd::mknod(to, name, st.st_mode, st.st_rdev)?,
    }
    fd::chown(to, name, st.st_uid, st.st_gid)?;
    Ok(fd::chmod(to, name, mode)?)
}

impl Child<'_> {
    pub(super) fn open_null(&mut self, slot: Slot) -> Done {
        let null = fd::open(CWD, c"/dev/null", libc::O_PATH | libc::O_NOFOLLOW)?;
        let st = fd::stat(null.as_fd())?;
        if st.st_mode & libc::S_IFMT != libc::S_IFCHR || st.st_rdev != libc::makedev(1, 3) {
            return Err(Failure::mismatch(1, st.st_rdev));
        }
        self.fill(slot, null);
        Ok(())
    }
}
