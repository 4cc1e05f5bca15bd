//! What a containerd shim does for the processes a runtime leaves it: adopt, reap, remember how they ended.
//!
//! Without it the end of a pid namespace waits for its dead members whose parent is outside, such as a detached exec's.
#![forbid(unsafe_code)]

use super::seconds;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// Exit statuses of reaped orphans, by process id.
fn ended() -> MutexGuard<'static, HashMap<i32, i32>> {
    static ENDED: LazyLock<Mutex<HashMap<i32, i32>>> = LazyLock::new(Mutex::default);
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this process adopt the orphans below it, and reaps those that lived in a pid namespace: the others could be
/// commands a test waits for itself.
pub(super) fn adopt() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // libtest has no time limit of its own.
        std::thread::spawn(|| {
            std::thread::sleep(seconds(900));
            writeln!(std::io::stderr(), "a test target still runs after fifteen minutes: aborting").ok();
            std::process::abort();
        });
        nix::sys::prctl::set_child_subreaper(true).expect("child subreaper");
        std::thread::spawn(|| {
            loop {
                children().into_iter().filter(|pid| was_contained(*pid)).for_each(reap);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    });
}

fn children() -> Vec<i32> {
    let threads = fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Whether the process is a zombie with an id in a pid namespace below this one.
fn was_contained(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    field("State:\t").starts_with('Z') && field("NSpid:").split_whitespace().count() > 1
}

/// Reaps a child that has ended, and remembers how.
fn reap(pid: i32) {
    let mut ended = ended();
    match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => drop(ended.insert(pid, code)),
        Ok(WaitStatus::Signaled(_, signal, _)) => drop(ended.insert(pid, 128 + signal as i32)),
        Ok(_) | Err(Errno::ECHILD) => {}
        Err(e) => panic!("waitpid({pid}): {e}"),
    }
}

/// Waits for the end of an adopted process; its exit status, 128 + signal when killed.
#[track_caller]
pub(super) fn wait_exit(pid: i32) -> i32 {
    let end = Instant::now() + seconds(20);
    loop {
        reap(pid);
        if let Some(code) = ended().remove(&pid) {
            return code;
        }
        assert!(Instant::now() < end, "process {pid} does not end, or is not this process's child");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the process is gone or a zombie.
pub(super) fn is_dead(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}
