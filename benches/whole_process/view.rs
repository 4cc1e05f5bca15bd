//! What the runtimes see of the machine's cgroups: one layout for all, in a mount namespace of its own.

use crate::config::{CGROUP, Limits};
use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// A layout of the cgroup hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// cgroup v1 alone: an empty v2 hierarchy beside it is hidden, because crun refuses such a hybrid.
    V1,
    /// cgroup v2 alone: where the machine has v1, with only those controllers that v1 does not hold.
    V2,
}

impl View {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        match name {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => bail!("VIEWS: there is no view {name}: it is v1 or v2"),
        }
    }

    /// Gives this process the view. It has one thread, as unshare(2) wants.
    pub(crate) fn enter(self) -> Result<()> {
        let native_v2 = is_v2(MOUNT)?;
        unshare(CloneFlags::CLONE_NEWNS).context("unshare the mount namespace")?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("make the mounts private")?;
        match self {
            Self::V1 if native_v2 => bail!("this machine has no cgroup v1"),
            Self::V1 => {
                // Covered, not unmounted: crun makes directories there as if it were a controller, which must not stay.
                if Path::new(UNIFIED).try_exists()? {
                    mount(Some("none"), UNIFIED, Some("tmpfs"), MsFlags::empty(), none)
                        .with_context(|| format!("mount a tmpfs on {UNIFIED}"))?;
                }
            }
            Self::V2 => {
                if !native_v2 {
                    mount(Some("cgroup2"), MOUNT, Some("cgroup2"), MsFlags::empty(), none)
                        .with_context(|| format!("mount cgroup2 on {MOUNT}"))?;
                }
                allow_memlock()?;
            }
        }
        Ok(())
    }

    /// Which limits this view can hold. Called inside it.
    pub(crate) fn limits(self) -> Result<Limits> {
        let has: Box<dyn Fn(&str) -> bool> = match self {
            Self::V1 => Box::new(|name| fs::metadata(Path::new(MOUNT).join(name)).is_ok()),
            Self::V2 => {
                let controllers = fs::read_to_string(format!("{MOUNT}/cgroup.controllers"))?;
                Box::new(move |name| controllers.split_ascii_whitespace().any(|c| c == name))
            }
        };
        Ok(Limits { cpu: has("cpu"), memory: has("memory"), pids: has("pids") })
    }

    /// Removes the cgroups that the runtimes made above their containers'.
    pub(crate) fn clean(self) -> Result<()> {
        let mut roots = vec![PathBuf::from(MOUNT)];
        if self == Self::V1 {
            for entry in fs::read_dir(MOUNT)? {
                roots.push(entry?.path());
            }
            roots.retain(|r| r.as_path() != Path::new(UNIFIED));
        }
        for root in roots {
            let dir = root.join(CGROUP);
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            let below = entries.flatten().map(|e| e.path()).filter(|p| fs::read_dir(p).is_ok());
            for dir in below.chain([dir.clone()]) {
                if let Err(e) = fs::remove_dir(&dir) {
                    eprintln!("bench: {} stays: {e}", dir.display());
                }
            }
        }
        Ok(())
    }
}

/// Makes raising RLIMIT_MEMLOCK succeed and do nothing, where this process may not raise it: crun 1.8 raises it before it
/// loads a device program, and gives up where it cannot, although kernels since 5.11 do not look at it. A filter of a few
/// instructions, inherited by all contenders alike.
fn allow_memlock() -> Result<()> {
    const RLIMIT_MEMLOCK: u64 = 8;
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|l| l.starts_with("Max locked memory"));
    if line.is_some_and(|l| l.split_ascii_whitespace().nth(4) == Some("unlimited")) {
        return Ok(());
    }
    let which = |index: u32| json!({"index": index, "value": RLIMIT_MEMLOCK, "op": "SCMP_CMP_EQ"});
    let new = json!({"index": 2, "value": 0, "op": "SCMP_CMP_NE"});
    let nothing =
        |name: &str, args: Value| json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 0, "args": args});
    let policy = serde_json::from_value(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [nothing("setrlimit", json!([which(0)])), nothing("prlimit64", json!([which(1), new]))],
    }))?;
    let program = pent::seccomp::compile(&policy).map_err(|why| anyhow::anyhow!("{why:?}"))?;
    let filter: Vec<u64> = program.insns.iter().map(|insn| insn.word()).collect();
    pent::sys::seccomp::load(&filter, program.flags)
        .context("load the filter that makes raising RLIMIT_MEMLOCK do nothing")?;
    Ok(())
}

fn is_v2(path: &str) -> Result<bool> {
    Ok(statfs(path).with_context(|| format!("statfs {path}"))?.filesystem_type() == CGROUP2_SUPER_MAGIC)
}
