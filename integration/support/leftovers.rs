//! What a container must not leave behind: processes, cgroups, mounts, state.
#![forbid(unsafe_code)]

use super::Kind;
use super::orphans::is_dead;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Traces of a container found on the host.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    pub(crate) processes: Vec<(i32, String)>,
    pub(crate) cgroups: Vec<PathBuf>,
    pub(crate) mounts: Vec<PathBuf>,
    pub(crate) state: Vec<PathBuf>,
}

impl Leftovers {
    /// Looks for what the container `id`, its bundle and the state directory `root` left on the host.
    pub(crate) fn find(id: &str, bundle: &Path, root: &Path) -> Self {
        let state = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        // crun keeps an empty directory and a cache for all its containers.
        let shared = |path: &Path| {
            Kind::of_runtime() == Kind::Crun && path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.')
        };
        let state = state.filter(|path| !shared(path));
        Self {
            processes: processes_of(id),
            cgroups: cgroup_dirs(id),
            mounts: mounts_below(&[bundle, root]),
            state: state.filter(|path| path.to_string_lossy().contains(id)).collect(),
        }
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.cgroups.is_empty() && self.mounts.is_empty() && self.state.is_empty()
    }

    /// Removes what was found, as far as possible: a failing test must not spoil the next.
    pub(crate) fn remove(&self) {
        for (pid, _) in &self.processes {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).ok();
        }
        for cgroup in &self.cgroups {
            fs::write(cgroup.join("freezer.state"), "THAWED").ok();
            fs::write(cgroup.join("cgroup.freeze"), "0").ok();
        }
        for mount in self.mounts.iter().rev() {
            umount2(mount, MntFlags::MNT_DETACH).ok();
        }
        for cgroup in &self.cgroups {
            for _ in 0..50 {
                if fs::remove_dir(cgroup).is_ok() || !cgroup.is_dir() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pid, command) in &self.processes {
            writeln!(f, "process {pid}: {command}")?;
        }
        for (kind, paths) in [("cgroup", &self.cgroups), ("mount", &self.mounts), ("state", &self.state)] {
            for path in paths {
                writeln!(f, "{kind} {}", path.display())?;
            }
        }
        Ok(())
    }
}

/// Living processes in the container's cgroups, and those named after it on their command line (the runtime's own).
pub(crate) fn processes_of(id: &str) -> Vec<(i32, String)> {
    let own = std::process::id().cast_signed();
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own).filter_map(|pid| Some((pid, trace(pid, id)?))).collect()
}

/// The command line of a process that belongs to the container; a zombie does not count.
fn trace(pid: i32, id: &str) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if !contains_word(&command, id) && !contains_word(&cgroup, id) {
        return None;
    }
    (!is_dead(pid)).then_some(command)
}

/// Whether `id` occurs and does not go on with another digit (`…-1` is no trace of `…-12`).
fn contains_word(text: &str, id: &str) -> bool {
    text.match_indices(id).any(|(at, _)| !text[at + id.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// The container's cgroup directories in every hierarchy, deepest first.
pub(crate) fn cgroup_dirs(id: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
    let hierarchies = hierarchies.filter(|path| path.is_dir() && !path.is_symlink());
    let mut found = Vec::new();
    for dir in hierarchies.chain([base.to_owned()]).map(|hierarchy| hierarchy.join(id)) {
        descend(&dir, &mut found);
    }
    descend(&base.join(format!("system.slice/pt-{id}.scope")), &mut found);
    found
}

fn descend(dir: &Path, found: &mut Vec<PathBuf>) {
    if dir.is_dir() {
        for child in fs::read_dir(dir).into_iter().flatten().flatten() {
            if child.file_type().is_ok_and(|kind| kind.is_dir()) {
                descend(&child.path(), found);
            }
        }
        found.push(dir.to_owned());
    }
}

/// Mount points at or below one of `dirs`, in the order they were made.
fn mounts_below(dirs: &[&Path]) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| dirs.iter().any(|dir| point.starts_with(dir))).collect()
}
