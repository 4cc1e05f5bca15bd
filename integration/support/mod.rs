//! What every privileged test needs: a bundle to edit, a runtime to call, and the proof that nothing is left behind.
//!
//! The runtime under test is `RUNTIME` (a path), else `PENT_BIN`, else the `pent` Cargo built beside the tests.
//! Every container has its own id, cgroup, state directory and bundle, so tests run in parallel.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test target uses its own part of this module")]

mod bundle;
mod container;
pub(crate) mod inject;
mod leftovers;
mod orphans;
mod runtime;

pub(crate) use bundle::{Bundle, busybox, copy_program, probe};
pub(crate) use container::Container;
pub(crate) use leftovers::{Leftovers, cgroup_dirs, processes_of};
pub(crate) use runtime::{Finish, Kind, Outcome, Runtime, program, version_of};

use std::io::Write as _;
use std::time::{Duration, Instant};

/// Skips the test with a printed reason when it does not run as root.
macro_rules! privileged {
    () => {
        if !crate::support::is_root() {
            return crate::support::skip("needs root");
        }
    };
}
pub(crate) use privileged;

/// Skips the test when the runtime under test is one named here in a version before the one named:
/// `lacks!("runc" < "1.2": "time namespaces")`. `"never"` is a version no release reaches.
macro_rules! lacks {
    ($($name:literal < $version:literal : $what:literal),+ $(,)?) => {
        $(if crate::support::is_older($name, $version) {
            return crate::support::skip(&format!("{} {} lacks {}", $name, crate::support::version_of(), $what));
        })+
    };
}
pub(crate) use lacks;

/// Skips the test when it does not run as root, or when the host cannot limit with one of these controllers.
macro_rules! controllers {
    ($($name:literal),+) => {
        crate::support::privileged!();
        $(if !crate::support::has_controller($name) {
            return crate::support::skip(concat!("the host has no cgroup controller ", $name));
        })+
    };
}
pub(crate) use controllers;

/// Whether the host's cgroups can limit with this controller.
pub(crate) fn has_controller(name: &str) -> bool {
    let base = std::path::Path::new("/sys/fs/cgroup");
    if !cgroup2_only() {
        return base.join(name).is_dir();
    }
    let name = if name == "blkio" { "io" } else { name };
    // Freezing is part of version 2 itself.
    name == "freezer" || read(base.join("cgroup.controllers")).split(' ').any(|controller| controller == name)
}

/// True when the runtime under test is `name` before `version`.
pub(crate) fn is_older(name: &str, version: &str) -> bool {
    let numbers = |v: &str| -> Vec<u32> { v.split(['.', '+', '-', '~']).map_while(|part| part.parse().ok()).collect() };
    Kind::of_runtime().name() == name && (version == "never" || numbers(version_of()) < numbers(version))
}

/// Says on the real standard error (libtest hides the captured one) that a test did not run.
///
/// # Panics
///
/// With `PENT_CI=1` and pent under test, unless a comma-separated part of `PENT_ALLOW_SKIP` occurs in the reason.
pub(crate) fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    writeln!(std::io::stderr(), "skip: {reason} ({test})").expect("standard error is open");
    if Kind::of_runtime() == Kind::Pent && std::env::var_os("PENT_CI").is_some_and(|v| v == "1") {
        let allowed = std::env::var("PENT_ALLOW_SKIP").unwrap_or_default();
        let allowed = allowed.split(',').any(|part| !part.is_empty() && reason.contains(part));
        assert!(allowed, "unexpected skip in CI: {reason}");
    }
}

/// Whether this process is root in the first user namespace's sense: uid 0.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A time limit, stretched by `PENT_TIMEOUT_SCALE` (emulated machines are up to ten times slower).
pub(crate) fn seconds(n: u64) -> Duration {
    let scale = std::env::var("PENT_TIMEOUT_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    Duration::from_secs(n * scale)
}

/// Waits until `done` holds; panics with `what` after `limit`.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The value of a host file such as a cgroup's, without its newline; empty when it cannot be read.
pub(crate) fn read(path: impl AsRef<std::path::Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}

/// Whether containers get their cgroups from systemd, unless a test says where they are: `PENT_DRIVER=systemd`.
pub(crate) fn by_systemd() -> bool {
    std::env::var_os("PENT_DRIVER").is_some_and(|driver| driver == "systemd")
}

/// Whether the host's cgroups are version 2 only (the layout decides which files a limit is found in).
pub(crate) fn cgroup2_only() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").try_exists().unwrap_or(false)
}
