//! Rules of landlock(7): made while the places can be opened, in force when there is nothing left to do that they forbid.
#![forbid(unsafe_code)]

use super::mounts::is_directory;
use super::{Child, Done};
use crate::launch::wire::Failure;
use crate::path;
use crate::plan::landlock::{At, Rule, Ruleset};
use crate::sys::fd::{self, CWD};
use crate::sys::landlock::{self, access};
use crate::sys::mount;
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A rule on a file was refused; `value` is its index.
pub(in crate::launch) const RULE: u32 = 1;
/// A rule on a port was refused; `value` is its index.
pub(in crate::launch) const PORT: u32 = 2;
/// What is outside can still be reached, or could not be before.
pub(in crate::launch) const IN_FORCE: u32 = 3;

impl Child<'_> {
    pub(super) fn make_ruleset(&mut self, ruleset: &Ruleset) -> Done {
        let made = landlock::create_ruleset(&ruleset.handled())?;
        let root = match self.root {
            Some(_) => path::open(self.root()?, c".", libc::O_PATH | libc::O_DIRECTORY)?,
            // A process that joins a container is in its root already.
            None => fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?,
        };
        let mut count = 0;
        for (index, rule) in ruleset.rules.iter().enumerate() {
            let failed = move |errno: Errno| Failure { errno: errno as i32, part: RULE, value: index as u64 };
            count += u32::from(self.allow(made.as_fd(), root.as_fd(), rule).map_err(failed)?);
        }
        for (index, (port, right)) in ruleset.ports.iter().enumerate() {
            landlock::allow_port(made.as_fd(), *port, *right).map_err(|errno| Failure {
                errno: errno as i32,
                part: PORT,
                value: index as u64,
            })?;
            count += 1;
        }
        self.rules = count;
        self.ruleset = Some(made);
        Ok(())
    }

    /// Whether there is something that the rule can be about.
    fn allow(&self, ruleset: BorrowedFd<'_>, root: BorrowedFd<'_>, rule: &Rule) -> crate::sys::Result<bool> {
        let opened: OwnedFd;
        let (at, allowed) = match rule.at {
            At::Mount(slot) => (self.slot(slot).map_err(|_| Errno::EBADF)?, rule.access),
            At::MountPoint | At::Path => {
                let found = match self.root {
                    Some(_) => self.open_place(&rule.place, libc::O_PATH).map(|found| found.at),
                    None => path::open(root, &rule.place, libc::O_PATH),
                };
                opened = match found {
                    Ok(at) => at,
                    Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(false),
                    Err(errno) => return Err(errno),
                };
                if rule.at == At::MountPoint && !mount::is_mount_root(opened.as_fd())? {
                    return Ok(false);
                }
                (opened.as_fd(), rule.access)
            }
            At::Stdio(number) => match fd::stdio(number) {
                // A directory of the host would bring all that is below it.
                Some(at) if !is_directory(at)? => (at, rule.access & rights_of(at)?),
                _ => return Ok(false),
            },
        };
        let of_this_kind = if is_directory(at)? { allowed } else { allowed & access::FILE };
        if of_this_kind == 0 {
            return Ok(false);
        }
        match landlock::allow_beneath(ruleset, at, of_this_kind) {
            Ok(()) => Ok(true),
            // Pipes, sockets and the like are nowhere in the tree, and Landlock lets them be.
            Err(Errno::EBADFD) if matches!(rule.at, At::Stdio(_)) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn restrict_self(&mut self, flags: u32, verify: bool) -> Done {
        let ruleset = self.ruleset.take().ok_or(Errno::EBADF)?;
        let outside = if verify { Some(landlock::Outside::new()?) } else { None };
        let reachable = || outside.as_ref().map(landlock::Outside::is_reachable).transpose();
        let before = reachable()?;
        landlock::restrict_self(ruleset.as_fd(), flags)?;
        let after = reachable()?;
        if before == Some(false) || after == Some(true) {
            return Err(Failure::mismatch(IN_FORCE, u64::from(after == Some(true))));
        }
        Ok(())
    }
}

/// What a descriptor may do already may be done by opening it once more.
fn rights_of(at: BorrowedFd<'_>) -> crate::sys::Result<u64> {
    let commands = access::IOCTL_DEV;
    Ok(match fd::access_mode(at)? {
        libc::O_RDONLY => access::READ_FILE | commands,
        libc::O_WRONLY => access::WRITE_FILE | access::TRUNCATE | commands,
        libc::O_RDWR => access::READ_FILE | access::WRITE_FILE | access::TRUNCATE | commands,
        _ => 0,
    })
}
