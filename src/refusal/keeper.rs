//! A process that answers for a container after `create` and `start` have ended, and writes refusals to a file.
//!
//! It holds the filter's listener and the file, and nothing else: no right, no other descriptor, and hardly a system call. What it
//! reads are numbers that the kernel made. It ends when nobody is left who could ask.
#![forbid(unsafe_code)]

use super::remedy::Asker;
use super::text::{Line, plain_json};
use super::{Counted, Supervisor, VERSION};
use crate::launch::Supervisor as _;
use crate::seccomp;
use crate::sys::clone::{self, Fork};
use crate::sys::cred::{self, CapSets};
use crate::sys::fd;
use nix::errno::Errno;
use oci_spec::runtime::Spec;
use serde::Serialize;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

/// nobody, on nearly every system: an id that owns nothing.
const NOBODY: u32 = 65_534;

/// What it still calls: to answer, to write, to wait, to allocate, to end.
const CALLS: &[&str] = &[
    "ioctl",
    "poll",
    "ppoll",
    "write",
    "close",
    "exit_group",
    "clock_gettime",
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "getrandom",
    "rt_sigreturn",
    "restart_syscall",
];

/// Starts it, in a process with one thread, and returns a descriptor of it: until the program is executed, nobody would answer in
/// its place. `log` gets a line for each refusal that is new.
///
/// # Errors
/// When no process can be made.
pub fn start(
    supervisor: Supervisor,
    listener: OwnedFd,
    log: Option<&OwnedFd>,
    id: &str,
    spec: &Spec,
) -> Result<OwnedFd, Errno> {
    clone::assert_single_threaded()?;
    // What it may do is decided before it is alone.
    let filter = own_filter().ok_or(Errno::EINVAL)?;
    let null = fd::open(fd::CWD, c"/dev/null", libc::O_RDWR)?;
    match clone::fork(0, None)? {
        Fork::Parent { pidfd, .. } => Ok(pidfd),
        Fork::Child => {
            let log = log.map(|log| log.as_fd());
            let kept = confine(&filter, &null, listener.as_raw_fd(), log.map(|log| log.as_raw_fd()));
            if kept.is_ok() {
                answer(supervisor, listener, log, id, spec);
            }
            clone::exit_group(i32::from(kept.is_err()))
        }
    }
}

fn own_filter() -> Option<Vec<u64>> {
    let policy = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": CALLS, "action": "SCMP_ACT_ALLOW" }]
    });
    let program = seccomp::compile(&serde_json::from_value(policy).ok()?).ok()?;
    Some(program.insns.iter().map(|insn| insn.word()).collect())
}

/// Leaves everything behind but the two descriptors.
fn confine(filter: &[u64], null: &OwnedFd, listener: i32, log: Option<i32>) -> Result<(), Errno> {
    cred::set_name(c"pent-report")?;
    cred::new_session()?;
    fd::chdir_path(c"/")?;
    for number in 0..=2 {
        fd::place(null.as_fd(), number)?;
    }
    let mut kept = [listener, log.unwrap_or(listener)];
    kept.sort_unstable();
    let mut next = 3;
    for number in kept {
        if number > next {
            fd::close_range(next, (number - 1).cast_unsigned())?;
        }
        next = next.max(number + 1);
    }
    fd::close_range(next, libc::c_uint::MAX)?;
    if nix::unistd::geteuid().is_root() {
        // In a user namespace there may be no such id, and nothing to give up by taking it.
        let _dropped = cred::set_groups(&[]).and_then(|()| cred::set_gid(NOBODY)).and_then(|()| cred::set_uid(NOBODY));
    }
    cred::set_caps(CapSets { effective: 0, permitted: 0, inheritable: 0 })?;
    cred::set_dumpable(false)?;
    cred::set_no_new_privs()?;
    crate::sys::seccomp::load(filter, 0).map(drop)
}

/// One line of the file.
#[derive(Serialize)]
struct Entry<'a> {
    version: u32,
    time: String,
    id: &'a str,
    #[serde(flatten)]
    refusal: Line,
}

fn answer(mut supervisor: Supervisor, listener: OwnedFd, log: Option<BorrowedFd<'_>>, id: &str, spec: &Spec) {
    supervisor.take(listener);
    while let Some(listener) = supervisor.fd() {
        if clone::wait_readable(listener, -1).is_err() {
            return;
        }
        supervisor.serve();
        for refusal in supervisor.take_news() {
            let refusal = Line::new(&Counted { refusal, count: 1 }, Asker::Bundle(spec));
            let time = crate::time::rfc3339_nano(std::time::SystemTime::now());
            let Ok(line) = serde_json::to_string(&Entry { version: VERSION, time, id, refusal }) else { continue };
            let mut line = plain_json(&line);
            line.push('\n');
            if let Some(log) = log {
                // A full disk is no reason to stop answering.
                let _written = fd::write(log, line.as_bytes());
            }
        }
    }
}
