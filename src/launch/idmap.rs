//! Id mappings of user namespaces: written directly where allowed, else by newuidmap(1) and newgidmap(1).
#![forbid(unsafe_code)]

use super::prepare::with_namespace_holder;
use super::wire::Failure;
use crate::plan::op::IdMap;
use nix::errno::Errno;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// The helper program is not installed.
pub(super) const NO_HELPER: u32 = 1;
/// The helper program refused: /etc/subuid or /etc/subgid do not allow it.
pub(super) const REFUSED: u32 = 2;
/// The kernel refused the mapping.
pub(super) const MAPPING: u32 = 3;

/// Writes both maps of process `pid`. `value` of a failure is 0 for uids and 1 for gids.
pub(super) fn write(pid: i32, uids: &IdMap, gids: &IdMap, deny_setgroups: bool) -> Result<(), Failure> {
    let uid = nix::unistd::geteuid().as_raw();
    let gid = nix::unistd::getegid().as_raw();
    if deny_setgroups {
        put(pid, "setgroups", "deny", 1)?;
    }
    let alone = |map: &IdMap, own: u32| matches!(map.as_slice(), [(_, host, 1)] if *host == own);
    let privileged = crate::sys::cred::caps().is_ok_and(|caps| caps.effective & 0b1100_0000 == 0b1100_0000);
    for (map, own, file, program, value) in
        [(uids, uid, "uid_map", "newuidmap", 0), (gids, gid, "gid_map", "newgidmap", 1)]
    {
        if privileged || (alone(map, own) && (value == 0 || deny_setgroups)) {
            put(pid, file, &lines(map), value)?;
        } else {
            by_helper(program, pid, map, value)?;
        }
    }
    Ok(())
}

fn lines(map: &IdMap) -> String {
    map.iter().fold(String::new(), |mut text, (inside, host, size)| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{inside} {host} {size}");
        text
    })
}

fn put(pid: i32, file: &str, text: &str, value: u64) -> Result<(), Failure> {
    std::fs::write(format!("/proc/{pid}/{file}"), text).map_err(|error| Failure {
        errno: error.raw_os_error().unwrap_or(libc::EIO),
        part: MAPPING,
        value,
    })
}

fn by_helper(program: &str, pid: i32, map: &IdMap, value: u64) -> Result<(), Failure> {
    let numbers = map.iter().flat_map(|(inside, host, size)| [inside, host, size]).map(ToString::to_string);
    let status = Command::new(program)
        .arg(pid.to_string())
        .args(numbers)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| Failure { errno: error.raw_os_error().unwrap_or(libc::EIO), part: NO_HELPER, value })?;
    if status.success() { Ok(()) } else { Err(Failure { errno: 0, part: REFUSED, value }) }
}

/// A user namespace with these mappings, held by nothing but its descriptor: for id-mapped mounts.
pub(super) fn namespace(uids: &IdMap, gids: &IdMap) -> Result<OwnedFd, Failure> {
    with_namespace_holder(|pid| {
        write(pid, uids, gids, false)?;
        let path = format!("/proc/{pid}/ns/user");
        let path = crate::plan::text::Text::new(path);
        crate::sys::fd::open(crate::sys::fd::CWD, &path, libc::O_RDONLY).map_err(|errno: Errno| errno.into())
    })
}
