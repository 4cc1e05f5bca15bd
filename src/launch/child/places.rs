//! Where the container's paths start: what is below a mount that this process made is reached from that mount's descriptor.
//!
//! A second look-up from the root could lead elsewhere. Whoever can rename in the root file system, because another container has
//! it as a volume, moves a mount point away while a path through it is looked up, and back before the program starts.
#![forbid(unsafe_code)]

use super::{Child, Done};
use crate::launch::wire::Failure;
use crate::path::{self, Leaf};
use crate::plan::op::Slot;
use crate::sys::fd::{self, resolve};
use crate::sys::mount::{self, Seen};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A link of the image leads to the root itself, or into /proc; `value` is 0 for the first.
pub(in crate::launch) const COVERS: u32 = 16;

pub(super) const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// File systems in which nobody renames or links anything: procfs, sysfs, cgroup, cgroup2, devpts, mqueue.
const KERNEL: [i64; 6] = [PROC_SUPER_MAGIC, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x1cd1, 0x1980_0202];

/// A mount that this process attached.
#[derive(Debug, Clone, Copy)]
pub(in crate::launch) struct Made<'a> {
    /// As the plan has it.
    path: &'a CStr,
    /// None for one that paths below are not looked up from: it is crossed on the way.
    slot: Option<Slot>,
    mount: u64,
    /// Of the kernel: no look-up in it leads out.
    kernel: bool,
    /// Its path has to lead to it when the program starts.
    check: bool,
    /// Another one is on top.
    covered: bool,
}

impl Made<'_> {
    pub(in crate::launch) const NONE: Self =
        Self { path: c"", slot: None, mount: 0, kernel: false, check: false, covered: false };
}

/// Where a look-up starts.
struct Start<'s> {
    dir: BorrowedFd<'s>,
    /// From there on; none when that is the root.
    rest: Option<&'s CStr>,
    kernel: bool,
}

/// What was found, and whether it is in a file system of the kernel's that was reached by its descriptor.
pub(super) struct Found {
    pub(super) at: OwnedFd,
    pub(super) in_kernels: bool,
}

impl<'a> Child<'a> {
    /// Opens a path of the container.
    pub(super) fn open_place(&self, path: &CStr, flags: i32) -> crate::sys::Result<Found> {
        self.open_place_with(path, flags, resolve::NO_MAGICLINKS)
    }

    /// The same, and no link on the way.
    pub(super) fn open_plain_place(&self, path: &CStr, flags: i32) -> crate::sys::Result<Found> {
        self.open_place_with(path, flags, resolve::NO_SYMLINKS)
    }

    fn open_place_with(&self, path: &CStr, flags: i32, links: u64) -> crate::sys::Result<Found> {
        let start = self.start(path)?;
        if let Some(rest) = start.rest {
            let rest = if rest.is_empty() { c"." } else { rest };
            match fd::open_in(start.dir, rest, flags, 0, resolve::BENEATH | links) {
                // A link to what is not below this mount: it is followed from the root, as the program would.
                Err(Errno::EXDEV) if !start.kernel => {}
                found => return found.map(|at| Found { at, in_kernels: start.kernel }),
            }
        }
        let path = if path.is_empty() { c"." } else { path };
        let at = fd::open_in(self.root_fd()?, path, flags, 0, resolve::IN_ROOT | links)?;
        Ok(Found { at, in_kernels: false })
    }

    /// Opens a path of the container (`O_PATH`), making what is missing of it.
    pub(super) fn ensure_place(&self, path: &CStr, leaf: Leaf) -> crate::sys::Result<Found> {
        let kind = if leaf == Leaf::Directory { libc::O_DIRECTORY } else { 0 };
        let start = self.start(path)?;
        let Some(rest) = start.rest else {
            return path::ensure(start.dir, path, leaf).map(|at| Found { at, in_kernels: false });
        };
        let first = if rest.is_empty() { c"." } else { rest };
        let inside = resolve::BENEATH | resolve::NO_MAGICLINKS;
        match fd::open_in(start.dir, first, libc::O_PATH | kind, 0, inside) {
            // No link led out of the mount as far as there is anything.
            Err(Errno::ENOENT) => path::ensure(start.dir, rest, leaf).map(|at| Found { at, in_kernels: start.kernel }),
            Err(Errno::EXDEV) if !start.kernel => {
                path::ensure(self.root_fd()?, path, leaf).map(|at| Found { at, in_kernels: false })
            }
            found => found.map(|at| Found { at, in_kernels: start.kernel }),
        }
    }

    /// The same, but a link in the last place is taken for itself.
    pub(super) fn ensure_plain_place(&self, path: &CStr, leaf: Leaf) -> crate::sys::Result<Found> {
        let (dir, name) = self.ensure_parent_place(path)?;
        let at = match fd::open(dir.at.as_fd(), name, libc::O_PATH | libc::O_NOFOLLOW) {
            Err(Errno::ENOENT) => path::ensure(dir.at.as_fd(), name, leaf)?,
            found => found?,
        };
        Ok(Found { at, in_kernels: dir.in_kernels })
    }

    /// The directory that a path is in, made where it is missing, and what it is called there.
    pub(super) fn ensure_parent_place<'p>(&self, path: &'p CStr) -> crate::sys::Result<(Found, &'p CStr)> {
        let start = self.start(path)?;
        let (dir, below) = match start.rest {
            Some(rest) if !rest.is_empty() => (start.dir, rest),
            _ => (self.root_fd()?, path),
        };
        let (at, name) = path::ensure_parent(dir, below)?;
        let in_kernels = start.kernel;
        // What is left is the end of the path.
        let name = path.count_bytes() - (below.count_bytes() - name);
        let name = CStr::from_bytes_with_nul(&path.to_bytes_with_nul()[name..]).map_err(|_| Errno::EINVAL)?;
        Ok((Found { at, in_kernels }, name))
    }

    fn root_fd(&self) -> crate::sys::Result<BorrowedFd<'_>> {
        self.root().map_err(|_| Errno::EBADF)
    }

    /// The innermost mount of this process that a path leads through, by what it is called.
    fn start<'s>(&'s self, path: &'s CStr) -> crate::sys::Result<Start<'s>> {
        let mut best: Option<(&Made<'a>, Slot, &'s CStr)> = None;
        if !climbs(path) {
            for made in self.made.get(..self.made_count).unwrap_or_default() {
                if let (false, Some(slot), Some(rest)) = (made.covered, made.slot, below(path, made.path))
                    && best.is_none_or(|(_, _, shortest)| rest.count_bytes() <= shortest.count_bytes())
                {
                    best = Some((made, slot, rest));
                }
            }
        }
        match best {
            None => Ok(Start { dir: self.root_fd()?, rest: None, kernel: false }),
            Some((made, slot, rest)) => {
                let dir = self.slot(slot).map_err(|_| Errno::EBADF)?;
                Ok(Start { dir, rest: Some(rest), kernel: made.kernel })
            }
        }
    }

    /// Refuses a place that a link of the image has led to, and that a mount would hide from the runtime: the root, in which
    /// `exec` would find nothing but the mount, and the container's /proc.
    pub(super) fn refuse_to_cover(&self, target: &CStr, found: &Found, at: Seen) -> Done {
        if found.in_kernels {
            return Ok(());
        }
        if at.is_root && at.mount == self.root_mount {
            return Err(Failure::mismatch(COVERS, 0));
        }
        let named = below(target, c"/proc").is_some() && !climbs(target);
        if !named && self.proc_mount == Some(at.mount) {
            return Err(Failure::mismatch(COVERS, 1));
        }
        Ok(())
    }

    /// Remembers what was attached at a path of the container.
    pub(super) fn made(&mut self, path: &'a CStr, slot: Option<Slot>, mount: u64, check: bool) -> Done {
        let kernel = match slot {
            Some(slot) => KERNEL.contains(&fd::super_magic(self.slot(slot)?)?),
            None => false,
        };
        let (before, new) = self.made.split_at_mut_checked(self.made_count).ok_or(Errno::EOVERFLOW)?;
        for earlier in before {
            earlier.covered |= below(earlier.path, path).is_some();
        }
        *new.first_mut().ok_or(Errno::EOVERFLOW)? = Made { path, slot, mount, kernel, check, covered: false };
        self.made_count += 1;
        if slot.is_some() && below(c"/proc", path).is_some_and(CStr::is_empty) {
            self.proc_mount = Some(mount);
        }
        Ok(())
    }

    /// A mount that is put on the root of an earlier one, whatever both are called, covers it.
    pub(super) fn cover(&mut self, at: Seen) -> Done {
        if !at.is_root {
            return Ok(());
        }
        let made = self.made.get_mut(..self.made_count).ok_or(Errno::EOVERFLOW)?;
        let Some(path) = made.iter().find(|made| !made.covered && made.mount == at.mount).map(|made| made.path) else {
            return Ok(());
        };
        for earlier in made {
            earlier.covered |= below(earlier.path, path).is_some();
        }
        Ok(())
    }

    /// Whether something is hidden already, by another name.
    pub(super) fn is_made(&self, at: Seen, since: usize) -> bool {
        let made = self.made.get(since..self.made_count).unwrap_or_default();
        at.is_root && made.iter().any(|made| made.mount == at.mount)
    }

    /// Before the program starts: every path leads to the mount that was put there.
    pub(super) fn verify_places(&self, failed: u32) -> Done {
        let made = self.made.get(..self.made_count).unwrap_or_default();
        for (index, place) in made.iter().enumerate().filter(|(_, made)| made.check && !made.covered) {
            if self.mount_at(place.path) != Some(place.mount) && !self.is_behind(place.path, &made[index + 1..]) {
                return Err(Failure::mismatch(failed, index as u64));
            }
        }
        Ok(())
    }

    fn mount_at(&self, path: &CStr) -> Option<u64> {
        let at = path::open(self.root().ok()?, path, libc::O_PATH).ok()?;
        Some(mount::look(at.as_fd()).ok()?.mount)
    }

    /// Whether a later mount hides what is at a path, by another name (`/var/run` and `/run`).
    #[inline(never)]
    fn is_behind(&self, path: &CStr, later: &[Made<'_>]) -> bool {
        let mut prefix = [0u8; libc::PATH_MAX as usize + 1];
        let mut len = path.count_bytes();
        let Some(start) = prefix.get_mut(..len) else { return false };
        start.copy_from_slice(path.to_bytes());
        while len > 0 {
            let leads = CStr::from_bytes_until_nul(&prefix).ok().and_then(|prefix| self.mount_at(prefix));
            if leads.is_some_and(|mount| later.iter().any(|made| made.mount == mount)) {
                return true;
            }
            let cut = prefix[..len].iter().rposition(|&b| b == b'/').unwrap_or(0);
            prefix[cut..len].fill(0);
            len = cut;
        }
        false
    }
}

/// What is left of a path below another one; empty when they are the same.
fn below<'p>(path: &'p CStr, mount: &CStr) -> Option<&'p CStr> {
    let leading = |path: &CStr| path.to_bytes().iter().take_while(|&&b| b == b'/').count();
    let (whole, from) = (path.to_bytes_with_nul(), leading(path));
    let mount = &mount.to_bytes()[leading(mount)..];
    let rest = whole[from..].strip_prefix(mount)?;
    let rest = match rest {
        [0] => rest,
        _ if mount.is_empty() => rest,
        [b'/', rest @ ..] => rest,
        _ => return None,
    };
    CStr::from_bytes_with_nul(rest).ok()
}

/// Whether a path has a `..`, which is the parent of what the link before it leads to.
fn climbs(path: &CStr) -> bool {
    path.to_bytes().split(|&b| b == b'/').any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_a_mount() {
        assert_eq!(below(c"/proc/kcore", c"/proc"), Some(c"kcore"));
        assert_eq!(below(c"proc/a/b", c"/proc"), Some(c"a/b"));
        assert_eq!(below(c"/proc", c"/proc"), Some(c""));
        assert_eq!(below(c"/proc", c"/"), Some(c"proc"));
        for (path, mount) in [(c"/proc2", c"/proc"), (c"/pro", c"/proc"), (c"/", c"/proc"), (c"/a/proc/x", c"/proc")] {
            assert_eq!(below(path, mount), None, "{path:?} {mount:?}");
        }
        assert!(climbs(c"/proc/../etc") && !climbs(c"/proc/..a"));
    }
}
