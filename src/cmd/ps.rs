//! `pent ps`: the processes of a container.
#![forbid(unsafe_code)]

use super::{Explained, Session, print};
use crate::cli::{Ps, TableFormat};
use crate::state::State;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

/// Prints the process ids as JSON, or the lines of ps(1) about them.
pub(super) fn run(session: &Session<'_>, args: &Ps) -> Result<u8> {
    let (_dir, state) = session.load(&args.id)?;
    let pids = if state.cgroup.is_none() { in_pid_namespace(&state)? } else { state.cgroup.pids(true).explained()? };
    if args.format == TableFormat::Json {
        return print(&(serde_json::to_string(&pids)? + "\n"));
    }
    let default = [OsString::from("-ef")];
    let options = if args.options.is_empty() { &default[..] } else { &args.options };
    let output = Command::new("ps").args(options).output().context("cannot run ps")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ps: {}: {}", output.status, said.trim().lines().next().unwrap_or_default());
    }
    print(&select(&text, &pids)?)
}

/// Without a cgroup: the processes in the container's own pid namespace.
fn in_pid_namespace(state: &State) -> Result<Vec<u32>> {
    if !state.has_own_pid_namespace() {
        return Err(super::hinted(
            "the container has neither a cgroup nor a pid namespace of its own to tell its processes by",
            "give it one of them",
        ));
    }
    // The namespace of a process that may not be looked at is none of the caller's containers.
    let namespace = |pid: &str| std::fs::metadata(format!("/proc/{pid}/ns/pid")).map(|found| found.ino()).ok();
    if !state.init.is_alive().explained()? {
        return Ok(Vec::new());
    }
    let Some(own) = namespace(&state.init.pid.to_string()) else { return Ok(Vec::new()) };
    let processes = std::fs::read_dir("/proc").context("cannot read /proc")?;
    let names = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| namespace(name) == Some(own)).filter_map(|name| name.parse().ok()).collect())
}

/// The title and the lines whose PID column is one of `pids`.
fn select(output: &str, pids: &[u32]) -> Result<String> {
    let mut lines = output.lines().filter(|line| !line.is_empty());
    let title = lines.next().unwrap_or_default();
    let Some(column) = title.split_ascii_whitespace().position(|name| name == "PID") else {
        return Err(super::hinted("couldn't find PID field in ps output", "choose options of ps(1) that print it"));
    };
    let mut selected = format!("{title}\n");
    for line in lines {
        let field = line.split_ascii_whitespace().nth(column).unwrap_or_default();
        let pid = field.parse::<u32>().with_context(|| format!("unable to parse pid {field:?} in ps output"))?;
        if pids.contains(&pid) {
            selected.push_str(line);
            selected.push('\n');
        }
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_by_their_pid_column() {
        let output = "UID        PID  PPID CMD\nroot         1     0 init 42\nroot        42     1 sleep 1\n\n";
        assert_eq!(select(output, &[42, 7]).unwrap(), "UID        PID  PPID CMD\nroot        42     1 sleep 1\n");
        assert_eq!(select(output, &[]).unwrap(), "UID        PID  PPID CMD\n");
        for broken in ["", "UID CMD\n0 x\n", "UID PID\n0 x\n", "UID PID\n0\n"] {
            assert!(select(broken, &[1]).is_err(), "{broken:?}");
        }
    }
}
