//! Making a cgroup: directories, version 2 controllers, version 1 cpusets, ownership.
#![forbid(unsafe_code)]

use super::dir::Place;
use super::handle::{V1_FREEZER, V2_FREEZER};
use super::plan::CgroupPlan;
use super::{Cgroup, Error};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::unistd::{Uid, fchownat};
use std::collections::BTreeMap;

/// Version 2 controllers that are enabled for their accounting (stats, OOM events) even when no limit needs them.
const ACCOUNTING: [&str; 4] = ["cpu", "io", "memory", "pids"];

impl Cgroup {
    pub(super) fn make(&mut self, plan: &CgroupPlan) -> Result<(), Error> {
        let made = self.unit.is_some();
        let mut failed = None;
        self.places.retain(|place| {
            if failed.is_some() {
                return true;
            }
            match make_place(place, plan, made) {
                Ok(()) => true,
                Err(error) if place.optional && !is_failure(&error) => false,
                Err(error) if is_refused(&error) && !plan.required => false,
                Err(error) => {
                    failed = Some(error);
                    true
                }
            }
        });
        match failed {
            // A rootless container without a path of its own fails because of its limits: say so.
            Some(error) if is_refused(&error) && plan.rootless => Err(Error::Rootless { source: Box::new(error) }),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Whether an error means that this user may not: then a container without limits does without a cgroup.
fn is_refused(error: &Error) -> bool {
    let (Error::Make { source, .. } | Error::Write { source, .. } | Error::Open { source, .. }) = error else {
        return false;
    };
    matches!(source.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

/// Whether an error means that something is wrong, and not that an optional hierarchy is none for this user, or is not there.
pub(super) fn is_failure(error: &Error) -> bool {
    let (Error::Make { source, .. } | Error::Write { source, .. } | Error::Open { source, .. }) = error else {
        return false;
    };
    let known = matches!(
        source.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::EOPNOTSUPP | libc::EINVAL)
    );
    !known && !is_refused(error)
}

/// `made`: systemd has made it, and it is not empty.
fn make_place(place: &Place, plan: &CgroupPlan, made: bool) -> Result<(), Error> {
    if made {
        place.dir()?;
    } else {
        place.make()?;
        if !place.is_fresh() && !place.is_v2() {
            // Somebody else's of that name: it is as if none could be made.
            let joined = place.open("tasks", OFlag::O_WRONLY);
            joined.map_err(|source| Error::Open { path: place.directory(), source })?;
        }
        // Others may be in an optional one of version 1, as in a session of systemd's; in one of version 2 they would be killed.
        if !place.is_fresh() && (!place.optional || place.is_v2()) {
            check_unused(place)?;
        }
    }
    if place.is_v2() {
        if !place.optional {
            enable_controllers(place, plan)?;
        }
        if let Some(owner) = plan.owner {
            delegate(place, owner)?;
        }
    } else if place.controllers.iter().any(|name| name == "cpuset") {
        inherit_cpuset(place)?;
    }
    Ok(())
}

/// A cgroup that was there already must be empty and running.
fn check_unused(place: &Place) -> Result<(), Error> {
    let count = place.all_pids()?.len();
    if count > 0 {
        return Err(Error::NotEmpty { count, path: place.directory() });
    }
    let state = if place.is_v2() {
        place.read_if_any(V2_FREEZER)?
    } else if place.controllers.iter().any(|name| name == "freezer") {
        place.read_if_any(V1_FREEZER)?
    } else {
        return Ok(());
    };
    match state.trim() {
        "1" | "FROZEN" | "FREEZING" => Err(Error::Frozen { path: place.directory() }),
        _ => Ok(()),
    }
}

/// Makes sure that the controllers that `plan` needs, and where possible those for accounting, are in the cgroup.
///
/// Nothing is written where they are there already: a write to `cgroup.subtree_control` costs time for every cgroup below.
pub(super) fn enable_controllers(place: &Place, plan: &CgroupPlan) -> Result<(), Error> {
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let present = words(place.read_if_any("cgroup.controllers")?);
    let wanted = plan.controllers.iter().map(String::as_str).chain(ACCOUNTING);
    let mut missing: Vec<&str> = wanted.filter(|name| !present.iter().any(|known| known == name)).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let root = Place::new(place.mount.clone(), String::new(), Vec::new(), false);
    let available = words(root.read_if_any("cgroup.controllers")?);
    missing.retain(|name| available.iter().any(|known| known == name));
    if !missing.is_empty() {
        let mut path = String::new();
        let parents = place.path.rsplit_once('/').map_or("", |(parents, _)| parents);
        enable_in(&root, &missing);
        for component in parents.split('/').filter(|component| !component.is_empty()) {
            path = if path.is_empty() { component.to_owned() } else { format!("{path}/{component}") };
            enable_in(&Place::new(place.mount.clone(), path.clone(), Vec::new(), false), &missing);
        }
    }
    let lacking = |present: &[String]| plan.controllers.iter().find(|name| !present.contains(name)).cloned();
    if lacking(&present).is_some() {
        let present = words(place.read_if_any("cgroup.controllers")?);
        if let Some(controller) = lacking(&present) {
            let write = plan.limits.writes.iter().find(|write| write.controller == controller);
            return Err(Error::Controller {
                file: write.map(|write| write.file.clone()).unwrap_or_default(),
                setting: write.map(|write| write.spec_path.clone()).unwrap_or_default(),
                path: place.directory(),
                controller,
            });
        }
    }
    Ok(())
}

/// Enables controllers for the children of `parent`, each on its own when not all can be. What limits need is checked
/// afterwards, in the cgroup itself.
fn enable_in(parent: &Place, missing: &[&str]) {
    let enabled = parent.read("cgroup.subtree_control").unwrap_or_default();
    let missing = missing.iter().filter(|name| !enabled.split_whitespace().any(|known| known == **name));
    let words: Vec<String> = missing.map(|name| format!("+{name}")).collect();
    if words.is_empty() || parent.write("cgroup.subtree_control", &words.join(" ")).is_ok() {
        return;
    }
    for word in words {
        drop(parent.write("cgroup.subtree_control", &word));
    }
}

/// Gives the cgroup to the user of the container: the directory and the files that the kernel says are safe to give away
/// (`/sys/kernel/cgroup/delegate`, cgroups(7)).
fn delegate(place: &Place, owner: u32) -> Result<(), Error> {
    let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned());
    let owner = Some(Uid::from_raw(owner));
    let dir = place.dir()?;
    let failed = |name: &str, errno: Errno| Error::Make { path: place.directory().join(name), source: errno.into() };
    fchownat(dir, "", owner, None, AtFlags::AT_EMPTY_PATH).map_err(|errno| failed("", errno))?;
    for name in list.lines().filter(|name| !name.is_empty() && !name.contains('/')) {
        match fchownat(dir, name, owner, None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(failed(name, errno)),
        }
    }
    Ok(())
}

/// A version 1 cpuset is made without processors and memory, and holds no process until it has some: those of its parent.
fn inherit_cpuset(place: &Place) -> Result<(), Error> {
    let mut path = String::new();
    let mut parent: BTreeMap<&str, String> = BTreeMap::new();
    let files = ["cpuset.cpus", "cpuset.mems"];
    let components: Vec<&str> = place.path.split('/').collect();
    // Usually only the last one is new, and its parent has what it needs.
    let mut from = components.len().saturating_sub(1);
    let at = |depth: usize| {
        let path = components.get(..depth).unwrap_or_default().join("/");
        Place::new(place.mount.clone(), path, place.controllers.clone(), false)
    };
    loop {
        let above = at(from);
        for file in files {
            parent.insert(file, above.read_if_any(file)?.trim().to_owned());
        }
        if from == 0 || parent.values().all(|value| !value.is_empty()) {
            break;
        }
        from -= 1;
    }
    for depth in from + 1..=components.len() {
        path.clone_from(&components.get(..depth).unwrap_or_default().join("/"));
        let child = at(depth);
        for file in files {
            let Some(value) = parent.get_mut(file) else { continue };
            let own =
                if place.is_fresh() && depth == components.len() { String::new() } else { child.read_if_any(file)? };
            if own.trim().is_empty() {
                if !value.is_empty() {
                    child.set(file, value)?;
                }
            } else {
                own.trim().clone_into(value);
            }
        }
    }
    Ok(())
}
