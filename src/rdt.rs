//! linux.intelRdt: classes of service and monitoring groups in the resctrl filesystem (config-linux.md, IntelRdt).
//!
//! What will be done is decided by [`compile()`], which is pure. What was done is kept on disk before it is, so that delete finds it
//! whatever happened in between.
#![forbid(unsafe_code)]

use crate::report::{Diagnostic, Hint};
use oci_spec::runtime::LinuxIntelRdt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where the JSON is.
const PATH: &str = "linux.intelRdt";
/// Where resctrl belongs.
const USUAL: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC` of linux/magic.h.
const MAGIC: i64 = 0x0765_5821;

/// What a container asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RdtPlan {
    /// The class's directory below the mount; empty for the default class, which is the mount itself.
    pub class: String,
    /// The class is the container's own: named for it, made for it, removed with it.
    pub own: bool,
    /// Lines for the class's `schemata`, in order.
    pub schemata: Vec<String>,
    /// The name of a monitoring group of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
}

/// The groups of a container, as they are kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rdt {
    class: PathBuf,
    /// The class goes with the container.
    own: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    monitor: Option<PathBuf>,
}

/// Why a container cannot have its class of service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no resctrl filesystem.
    #[error("{PATH}: resctrl is not mounted")]
    NotMounted,
    /// A class that was to be there.
    #[error("{PATH}.closID: there is no class of service {0:?}")]
    NoClass(String),
    /// A class that is there has other limits.
    #[error("{PATH}: the class of service {} has other limits than {asked:?}", class.display())]
    Mismatch {
        /// Its directory.
        class: PathBuf,
        /// The line of the configuration that does not match.
        asked: String,
    },
    /// The kernel refused.
    #[error("{PATH}: cannot {doing} {}: {source}{}", path.display(), because(status))]
    Io {
        /// make, write, read or remove.
        doing: &'static str,
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What resctrl says of it in `info/last_cmd_status`.
        status: Option<String>,
    },
}

fn because(status: &Option<String>) -> String {
    status.as_ref().map_or_else(String::new, |status| format!(" ({status})"))
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotMounted => {
                format!("the processor must have Intel RDT or AMD QoS, then: mount -t resctrl resctrl {USUAL}")
            }
            Self::NoClass(_) => "make it first, or say what it shall be with schemata".into(),
            Self::Mismatch { class, .. } => {
                format!("compare with {}, or use another closID", class.join("schemata").display())
            }
            Self::Io { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => {
                "the processor has no free class of service or monitoring group left".into()
            }
            Self::Io { .. } => return None,
        })
    }
}

/// Decides what a container's groups are. `id` names them when the configuration does not.
pub fn compile(rdt: &LinuxIntelRdt, id: &str, warnings: &mut Vec<Diagnostic>) -> RdtPlan {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    #[allow(deprecated)]
    for (name, asked) in [("enableCMT", rdt.enable_cmt()), ("enableMBM", rdt.enable_mbm())] {
        if *asked == Some(true) {
            let message = "ignored: version 1.3 of the specification has enableMonitoring in its place";
            warnings.push(Diagnostic::warning(format!("{PATH}.{name}"), message));
        }
    }
    let class = set(rdt.clos_id());
    let schemata = set(rdt.l3_cache_schema()).into_iter().chain(set(rdt.mem_bw_schema()));
    RdtPlan {
        own: class.is_none(),
        class: class.map_or_else(|| id.to_owned(), |class| if class == "/" { String::new() } else { class }),
        schemata: schemata.chain(rdt.schemata().iter().flatten().cloned()).collect(),
        monitor: (*rdt.enable_monitoring() == Some(true)).then(|| id.to_owned()),
    }
}

/// Where resctrl is mounted.
///
/// # Errors
/// [`Error::NotMounted`].
fn find_mount() -> Result<PathBuf, Error> {
    use std::os::fd::AsFd as _;
    let is_resctrl = |dir: &fs::File| crate::sys::fd::super_magic(dir.as_fd()) == Ok(MAGIC);
    if fs::File::open(USUAL).is_ok_and(|dir| is_resctrl(&dir)) {
        return Ok(USUAL.into());
    }
    // proc_pid_mountinfo(5): the mount point is the fifth field, the type the first after the dash.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let found = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("resctrl ").then(|| before.split(' ').nth(4).map(PathBuf::from))?
    });
    found.ok_or(Error::NotMounted)
}

impl Rdt {
    /// What [`Rdt::make`] will make, to be kept on disk before it does.
    ///
    /// # Errors
    /// [`Error::NotMounted`]; [`Error::NoClass`].
    pub fn planned(plan: &RdtPlan) -> Result<Self, Error> {
        Self::planned_in(&find_mount()?, plan)
    }

    fn planned_in(root: &Path, plan: &RdtPlan) -> Result<Self, Error> {
        let class = if plan.class.is_empty() { root.to_owned() } else { root.join(&plan.class) };
        let exists = class.is_dir();
        if !exists && !plan.own && plan.schemata.is_empty() {
            return Err(Error::NoClass(plan.class.clone()));
        }
        let monitor = plan.monitor.as_ref().map(|name| class.join("mon_groups").join(name));
        // What was there before is not the container's, whatever its name.
        Ok(Self { class, own: plan.own && !exists, monitor })
    }

    /// Makes the directories that are missing; true when the class itself was.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn make(&self) -> Result<bool, Error> {
        let new = match fs::create_dir(&self.class) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(source) => return Err(self.failed("make", &self.class, source)),
        };
        if let Some(monitor) = &self.monitor {
            fs::create_dir(monitor).map_err(|source| self.failed("make", monitor, source))?;
        }
        Ok(new)
    }

    /// Gives a new class its limits; one that was there must have them already, unless it was named for the container.
    ///
    /// # Errors
    /// [`Error::Mismatch`]; [`Error::Io`].
    pub fn configure(&self, plan: &RdtPlan, new: bool) -> Result<(), Error> {
        if new || plan.own {
            return self.limit(&plan.schemata);
        }
        let path = self.class.join("schemata");
        let has = if plan.schemata.is_empty() {
            String::new()
        } else {
            fs::read_to_string(&path).map_err(|source| self.failed("read", &path, source))?
        };
        match plan.schemata.iter().find(|line| !has_limits(&has, line)) {
            Some(asked) => Err(Error::Mismatch { class: self.class.clone(), asked: asked.clone() }),
            None => Ok(()),
        }
    }

    /// Writes lines to the class's schemata, each by itself: the kernel says which one is wrong.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn limit(&self, schemata: &[String]) -> Result<(), Error> {
        schemata.iter().try_for_each(|line| self.write(&self.class.join("schemata"), &format!("{line}\n")))
    }

    /// Puts a process, and all it will start, into the groups.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(&self, pid: i32) -> Result<(), Error> {
        for group in [Some(&self.class), self.monitor.as_ref()].into_iter().flatten() {
            self.write(&group.join("tasks"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Removes what goes with the container. What is gone already is fine.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn delete(&self) -> Result<(), Error> {
        for group in self.monitor.iter().chain(self.own.then_some(&self.class)) {
            match fs::remove_dir(group) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.failed("remove", group, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Error> {
        let written =
            fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|source| self.failed("write", path, source))
    }

    fn failed(&self, doing: &'static str, path: &Path, source: io::Error) -> Error {
        let status = self.class.ancestors().find_map(|dir| fs::read_to_string(dir.join("info/last_cmd_status")).ok());
        let status =
            status.map(|status| status.trim().to_owned()).filter(|status| !status.is_empty() && status != "ok");
        Error::Io { doing, path: path.to_owned(), source, status }
    }
}

/// `L3:0=7f0;1=1f` as resource and limit by cache; capacity masks are hexadecimal, with or without leading zeros.
fn parse_schema(line: &str) -> Option<(&str, BTreeMap<&str, &str>)> {
    let (resource, limits) = line.trim().split_once(':')?;
    let limits = limits.split(';').map(|limit| {
        let (cache, value) = limit.split_once('=')?;
        let value = value.trim();
        let bare = value.trim_start_matches('0');
        Some((cache.trim(), if bare.is_empty() && !value.is_empty() { "0" } else { bare }))
    });
    Some((resource.trim(), limits.collect::<Option<_>>()?))
}

/// Whether a class's schemata have all that a line asks for.
fn has_limits(schemata: &str, asked: &str) -> bool {
    let Some((resource, asked)) = parse_schema(asked) else { return false };
    let own = schemata.lines().filter_map(parse_schema).find(|(name, _)| *name == resource);
    own.is_some_and(|(_, own)| {
        asked.iter().all(|(cache, limit)| own.get(cache).is_some_and(|own| own.eq_ignore_ascii_case(limit)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(rdt: Value) -> RdtPlan {
        compile(&serde_json::from_value(rdt).expect("a configuration"), "c1", &mut Vec::new())
    }

    /// A class as the kernel makes it.
    fn class(root: &Path, name: &str, schemata: &str) -> PathBuf {
        let dir = root.join(name);
        for dir in [dir.clone(), dir.join("mon_groups")] {
            if !dir.is_dir() {
                fs::create_dir(dir).expect("a class");
            }
        }
        fs::write(dir.join("schemata"), schemata).expect("schemata");
        fs::write(dir.join("tasks"), "").expect("tasks");
        dir
    }

    #[test]
    fn what_is_asked_for() {
        let all =
            json!({ "closID": "gold", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=1"] });
        assert_eq!(plan(all).schemata, ["L3:0=f", "MB:0=20", "L2:0=1"]);
        let own = plan(json!({ "enableMonitoring": true }));
        assert_eq!((own.class.as_str(), own.own, own.monitor.as_deref()), ("c1", true, Some("c1")));
        let default = plan(json!({ "closID": "/" }));
        assert_eq!((default.class.as_str(), default.own, default.monitor), ("", false, None));
        let mut warnings = Vec::new();
        compile(&serde_json::from_value(json!({ "enableCmt": true })).expect("old"), "c1", &mut warnings);
        assert_eq!(warnings[0].path, "linux.intelRdt.enableCMT");
    }

    #[test]
    fn a_class_of_its_own_is_made_limited_and_removed() {
        let root = tempfile::tempdir().expect("a directory");
        let plan = plan(json!({ "schemata": ["L3:0=f"], "enableMonitoring": true }));
        let rdt = Rdt::planned_in(root.path(), &RdtPlan { monitor: None, ..plan.clone() }).expect("planned");
        assert!(rdt.make().expect("made"));
        let dir = class(root.path(), "c1", "");
        rdt.configure(&plan, true).expect("limited");
        assert_eq!(fs::read_to_string(dir.join("schemata")).expect("schemata"), "L3:0=f\n");
        rdt.add(42).expect("joined");
        assert_eq!(fs::read_to_string(dir.join("tasks")).expect("tasks"), "42");
        // What the kernel removes by itself.
        for file in ["schemata", "tasks"] {
            fs::remove_file(dir.join(file)).expect("removed");
        }
        fs::remove_dir(dir.join("mon_groups")).expect("removed");
        rdt.delete().expect("deleted");
        rdt.delete().expect("twice");
        assert!(!dir.is_dir());
    }

    #[test]
    fn a_named_class_stays_and_must_match() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = class(root.path(), "gold", "    L3:0=00f;1=fff\n    MB:0= 20;1=100\n");
        let with = |schemata: Value| plan(json!({ "closID": "gold", "schemata": schemata, "enableMonitoring": true }));
        let same = with(json!(["L3:0=F", "MB:0=20;1=100"]));
        let rdt = Rdt::planned_in(root.path(), &same).expect("planned");
        assert!(!rdt.make().expect("made"));
        rdt.configure(&same, false).expect("the same");
        let monitor = dir.join("mon_groups/c1");
        fs::write(monitor.join("tasks"), "").expect("tasks");
        rdt.add(7).expect("joined");
        assert_eq!(fs::read_to_string(monitor.join("tasks")).expect("tasks"), "7");
        fs::remove_file(monitor.join("tasks")).expect("removed");
        rdt.delete().expect("deleted");
        assert!(dir.is_dir() && !monitor.is_dir());
        for other in ["L3:0=ff", "L3:2=f", "L2:0=f", "nonsense"] {
            let error = rdt.configure(&with(json!([other])), false).unwrap_err().to_string();
            assert!(error.contains("has other limits") && error.contains(other), "{error}");
        }
    }

    #[test]
    fn a_class_that_is_not_there_is_an_error_unless_it_is_described() {
        let root = tempfile::tempdir().expect("a directory");
        let missing = Rdt::planned_in(root.path(), &plan(json!({ "closID": "gold" }))).unwrap_err();
        assert_eq!(missing.to_string(), "linux.intelRdt.closID: there is no class of service \"gold\"");
        let described = Rdt::planned_in(root.path(), &plan(json!({ "closID": "gold", "schemata": ["L3:0=f"] })));
        assert!(!described.expect("planned").own, "named classes stay");
        let taken = class(root.path(), "c1", "");
        assert!(!Rdt::planned_in(root.path(), &plan(json!({}))).expect("planned").own, "{} was there", taken.display());
    }

    #[test]
    fn the_kernels_word_for_a_refusal_is_passed_on() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("info")).expect("info");
        fs::write(root.path().join("info/last_cmd_status"), "Mask out of range\n").expect("status");
        let rdt = Rdt { class: root.path().join("c1"), own: true, monitor: None };
        let error = rdt.limit(&["L3:0=0".to_owned()]).unwrap_err().to_string();
        assert!(error.ends_with("(Mask out of range)"), "{error}");
    }
}
