//! A limit of memory without a control group: what the sandbox's processes use is added up again and again, and a sandbox that uses
//! more than its limit is ended.
//!
//! No limit of setrlimit(2) bites on memory that is used: RLIMIT_RSS does nothing since Linux 2.4, RLIMIT_AS and RLIMIT_DATA count
//! address space, of which threads (8 MiB of stack each), JavaScript engines and Java take far more than they use. So it is
//! counted, by proc_pid_status(5), and before anything is ended by smaps_rollup, where a page that two processes share
//! is counted once. What grows within `REST` can be more than the limit for that long; files in memory that nobody has
//! mapped (memfd_create(2)) are not counted, those of a sandbox's tmpfs have a size.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "reads the host's /proc about processes of this one's")]

use crate::sys::clone;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest time between two looks.
const REST: Duration = Duration::from_millis(250);
/// The shortest, while there is little left.
const HURRY: Duration = Duration::from_millis(10);
/// What one processor writes to new pages in a millisecond, at most, and roughly.
const GROWTH: u64 = 2 << 20;
/// How many looks have to agree that there is too much.
const LOOKS: usize = 3;
/// Processes that are looked at: more than a sandbox may have.
const MOST: usize = 1 << 16;

/// Whether the memory of processes can be found out here: /proc is this process's own, and tells of children.
#[must_use]
pub fn can_watch() -> bool {
    let own = nix::unistd::getpid().to_string();
    fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == own.as_str())
        && fs::read(format!("/proc/{own}/task/{own}/children")).is_ok()
        && usage_of(&own).is_some()
}

/// A thread that looks.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: Mutex<bool>,
    wake: Condvar,
    /// Bytes in use when it was ended for them; 0 before.
    beyond: AtomicU64,
}

impl Watch {
    /// Begins to look after the process `init` and all below it. `pidfd` is that process's, and ends all when it ends.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn begin(init: i32, pidfd: &OwnedFd, limit: u64) -> io::Result<Self> {
        let (shared, pidfd) = (Arc::new(Shared::default()), pidfd.try_clone()?);
        let theirs = Arc::clone(&shared);
        let look = move || theirs.look(init, &pidfd, limit);
        let thread = std::thread::Builder::new().name("memory".to_owned()).stack_size(128 << 10).spawn(look)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ends it: how many bytes were in use when the sandbox was ended for them.
    #[must_use]
    pub fn finish(self) -> Option<u64> {
        let shared = Arc::clone(&self.shared);
        drop(self);
        Some(shared.beyond.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.shared.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Shared {
    fn look(&self, init: i32, pidfd: &OwnedFd, limit: u64) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            // Processes that begin and end meanwhile are counted in part, or twice: one look proves nothing.
            let mut used = used_by(init, limit);
            for _ in 1..LOOKS {
                if used > limit {
                    std::thread::sleep(HURRY);
                    used = used.min(used_by(init, limit));
                }
            }
            // Its processes end with the first one: nobody is left who could go on with half of its workers gone.
            if used > limit && clone::kill(pidfd.as_fd(), libc::SIGKILL).is_ok() {
                self.beyond.store(used, Ordering::Relaxed);
                return;
            }
            (over, _) =
                self.wake.wait_timeout(over, rest(limit.saturating_sub(used))).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Until it could have used up the rest.
fn rest(left: u64) -> Duration {
    Duration::from_millis(left / GROWTH).clamp(HURRY, REST)
}

/// What one process uses, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Usage {
    /// Its own pages, those of files in memory that it has mapped, and what of it is in swap.
    used: u64,
    /// Its address space.
    size: u64,
}

/// Bytes that a process and all below it use: not less than they do, and exactly when that would be too much.
fn used_by(init: i32, limit: u64) -> u64 {
    let all: Vec<(i32, i32, Usage)> = processes(init)
        .into_iter()
        .filter_map(|(pid, parent)| Some((pid, parent, usage_of(&pid.to_string())?)))
        .collect();
    let sum = |bytes: &mut dyn Iterator<Item = u64>| bytes.fold(0, u64::saturating_add);
    let most = sum(&mut all.iter().map(|(_, _, usage)| usage.used));
    if most <= limit {
        return most;
    }
    // Between vfork(2) and execve(2), two processes have one memory.
    let is_twin = |(pid, parent, usage): &(i32, i32, Usage)| {
        let same_size = all.iter().any(|(other, _, others)| other == parent && others.size == usage.size);
        same_size && clone::shares_memory(*pid, *parent).unwrap_or(false)
    };
    let apart = all.iter().filter(|process| !is_twin(process));
    sum(&mut apart.map(|(pid, _, _)| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        // Of one that has ended meanwhile, others may have all that was shared.
        let now = || usage_of(&pid.to_string()).map_or(0, |usage| usage.used);
        proportional(&rollup).unwrap_or_else(now)
    }))
}

/// A process and all below it, each with its parent.
fn processes(init: i32) -> Vec<(i32, i32)> {
    let mut all = vec![(init, 0)];
    let mut next = 0;
    while next < all.len() && all.len() < MOST {
        let pid = all[next].0;
        next += 1;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(children.split_ascii_whitespace().filter_map(|child| Some((child.parse().ok()?, pid))));
        }
    }
    all
}

fn usage_of(pid: &str) -> Option<Usage> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The value of a line `NAME:  N kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Nothing for a process that has ended.
fn parse_status(text: &str) -> Option<Usage> {
    let of = |name| kilobytes(text, name);
    let used = of("RssAnon")?.saturating_add(of("RssShmem")?).saturating_add(of("VmSwap").unwrap_or(0));
    Some(Usage { used, size: of("VmSize")? })
}

/// The same of smaps_rollup, with a share of what is shared.
fn proportional(text: &str) -> Option<u64> {
    let of = |name| kilobytes(text, name);
    Some(of("Pss_Anon")?.saturating_add(of("Pss_Shmem")?).saturating_add(of("SwapPss").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_added_up() {
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmSize:\t    900 kB\nRssAnon:\t     300 kB\nRssFile:\t 5 kB\nRssShmem:\t       20 kB\nVmSwap:\t        1 kB\n";
        assert_eq!(parse_status(status), Some(Usage { used: 321 << 10, size: 900 << 10 }));
        assert_eq!(parse_status("Name:\tx\nState:\tZ (zombie)\n"), None);
        let rollup = "5500-7ff [rollup]\nRss: 100 kB\nPss: 90 kB\nPss_Anon:      40 kB\nPss_File: 7 kB\nPss_Shmem:  2 kB\nSwap: 9 kB\nSwapPss:  1 kB\n";
        assert_eq!(proportional(rollup), Some(43 << 10));
        assert_eq!(proportional("Rss: 1 kB\n"), None);
    }

    #[test]
    fn looks_are_closer_when_little_is_left() {
        assert_eq!(rest(u64::MAX), REST);
        assert_eq!(rest(0), HURRY);
        assert_eq!(rest(200 << 20), Duration::from_millis(100));
    }

    #[test]
    fn this_process_uses_memory() {
        if can_watch() {
            let own = nix::unistd::getpid().as_raw();
            let before = used_by(own, u64::MAX);
            let more = vec![1u8; 64 << 20];
            let (most, exact) = (used_by(own, u64::MAX), used_by(own, 0));
            assert!(most >= before + (60 << 20), "{before} {most} {}", more.len());
            assert!(exact >= 60 << 20, "{exact}");
        }
    }
}
