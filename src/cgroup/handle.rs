//! The handle of a container's cgroup: make it, limit it, fill it, freeze it, kill it, remove it.
#![forbid(unsafe_code)]

use super::devices::DEFAULT_RULES;
use super::dir::Place;
use super::layout::OwnCgroup;
use super::plan::{CgroupPlan, Now, Write, compile_update};
use super::systemd::{Holder, Unit};
use super::{Error, Stats};
use crate::report::Diagnostic;
use crate::sys::process::PidFd;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// How long freezing may take.
const FREEZING: Duration = Duration::from_secs(10);
/// How long freezing may take when it only serves to kill.
const FREEZING_TO_KILL: Duration = Duration::from_secs(1);

/// A container's cgroup: its directory in each hierarchy. Serialisable: it is part of the container's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cgroup {
    pub(super) places: Vec<Place>,
    /// The unit of systemd's that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<Unit>,
    #[serde(skip)]
    holder: Option<Holder>,
}

/// What an update has to know beside the new limits.
#[derive(Debug, Clone, Copy)]
pub struct UpdateContext<'a> {
    /// The caller may lack rights: device rules are left alone.
    pub rootless: bool,
    /// The `ociVersion` of the container's configuration.
    pub oci_version: &'a str,
}

/// The way into one version 1 hierarchy.
#[derive(Debug)]
pub struct Membership {
    /// The file `tasks`, open for writing.
    pub tasks: OwnedFd,
    /// The process does without it when it is refused.
    pub optional: bool,
}

impl Cgroup {
    /// The cgroup that `plan` will make. Does nothing: it is written to the state file before anything is made.
    #[must_use]
    pub fn planned(plan: &CgroupPlan) -> Self {
        let place = |directory: &super::Directory| {
            let super::Directory { mount, path, controllers, optional } = directory.clone();
            Place::new(mount, path, controllers, optional)
        };
        let unit = plan.scope.as_ref().map(Unit::of);
        Self { places: plan.directories.iter().map(place).collect(), unit, holder: None }
    }

    /// Where the cgroup of another container would be, which differs in its id only.
    #[must_use]
    pub fn of_another(&self, own_id: &str, id: &str) -> Self {
        let renamed = |path: &str| {
            let (parent, name) = path.rsplit_once('/').map_or((None, path), |(parent, name)| (Some(parent), name));
            let name = name.replace(own_id, id);
            parent.map_or(name.clone(), |parent| format!("{parent}/{name}"))
        };
        let place = |place: &Place| {
            Place::new(place.mount.clone(), renamed(&place.path), place.controllers.clone(), place.optional)
        };
        let unit = self.unit.as_ref().map(|unit| Unit { name: unit.name.replace(own_id, id), ..unit.clone() });
        Self { places: self.places.iter().map(place).collect(), unit, holder: None }
    }

    /// What of it is exactly as in `expected`.
    #[must_use]
    pub fn only_as(self, expected: &Self) -> Self {
        if self.unit != expected.unit {
            return Self::default();
        }
        let is_expected = |place: &Place| {
            let same = |other: &Place| {
                (&other.mount, &other.path, &other.controllers) == (&place.mount, &place.path, &place.controllers)
            };
            expected.places.iter().any(same)
        };
        Self { places: self.places.into_iter().filter(is_expected).collect(), unit: self.unit, holder: None }
    }

    /// Makes the directories of `plan`, enables version 2 controllers, inherits version 1 cpusets.
    ///
    /// With systemd, it makes the cgroup, and something is in it until [`Self::settle`].
    ///
    /// What cannot be made and is not required is left out of the handle: keep the one that is returned.
    ///
    /// # Errors
    /// When a required directory cannot be made, a controller that a limit needs is not there, or the cgroup exists and has
    /// processes or is frozen. What was made is removed again.
    pub fn create(plan: &CgroupPlan) -> Result<Self, Error> {
        let mut cgroup = Self::planned(plan);
        if let (Some(unit), Some(scope)) = (&cgroup.unit, &plan.scope) {
            cgroup.holder = Some(unit.start(scope, &with_room(&plan.limits.writes))?);
        }
        match cgroup.make(plan) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                let error = cgroup.explained(error);
                cgroup.holder = None;
                if let Some(unit) = &cgroup.unit {
                    // As below.
                    drop(unit.stop());
                }
                let deadline = Place::deadline();
                for place in cgroup.places.iter().filter(|place| place.is_fresh()) {
                    // The first error is the one that matters; what stays behind is empty.
                    drop(place.remove(deadline));
                }
                Err(error)
            }
        }
    }

    /// Sets the limits and device rules of `plan`.
    ///
    /// # Errors
    /// The first that is refused, with its control file and JSON path.
    pub fn apply(&self, plan: &CgroupPlan) -> Result<(), Error> {
        self.limit(plan)?;
        self.limit_devices(plan)
    }

    /// Sets the limits of `plan` only.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub fn limit(&self, plan: &CgroupPlan) -> Result<(), Error> {
        if self.holder.is_some() {
            let limits = super::Limits { writes: with_room(&plan.limits.writes), ..plan.limits.clone() };
            return self.apply_limits(&limits).map_err(|error| self.explained(error));
        }
        self.apply_limits(&plan.limits)
    }

    /// The container's process is there: with systemd, what has kept its place goes.
    ///
    /// # Errors
    /// When the limit on tasks that made room for it cannot be set.
    pub fn settle(&mut self, plan: &CgroupPlan) -> Result<(), Error> {
        if self.holder.take().is_none() {
            return Ok(());
        }
        let narrow: Vec<Write> = plan.limits.writes.iter().filter(|write| has_no_room(write)).cloned().collect();
        if narrow.is_empty() {
            return Ok(());
        }
        if let Some(unit) = &self.unit {
            unit.set(&narrow)?;
        }
        self.apply_limits(&super::Limits { writes: narrow, ..super::Limits::default() })
    }

    /// Whether [`Self::attach`] is how a process gets into this cgroup, instead of [`Self::clone_dir`].
    ///
    /// # Errors
    /// When `/proc/self/cgroup` cannot be read.
    pub fn joins_by_bus(&self) -> Result<bool, Error> {
        match &self.unit {
            Some(unit) if unit.manager.is_some() => Ok(unit.joins_by_bus(&OwnCgroup::probe()?)),
            _ => Ok(false),
        }
    }

    /// Has systemd put a process into this cgroup, where [`Self::joins_by_bus`]; nothing otherwise.
    ///
    /// # Errors
    /// When systemd does not.
    pub fn attach(&self, pid: i32) -> Result<(), Error> {
        match &self.unit {
            Some(unit) if self.joins_by_bus()? => {
                let path = self.primary()?.path.as_str();
                unit.attach(pid.unsigned_abs(), unit.below(path))
            }
            _ => Ok(()),
        }
    }

    /// Sets the device rules of `plan` only: they may forbid making the nodes that the container is to have.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub fn limit_devices(&self, plan: &CgroupPlan) -> Result<(), Error> {
        self.apply_device_rules(&plan.limits.devices).map_err(|error| self.explained(error))
    }

    /// An error that is only what follows when nothing keeps the scope any more, which systemd then removes.
    fn explained(&self, error: Error) -> Error {
        match (&self.unit, &self.holder) {
            (Some(unit), Some(holder)) if holder.has_died() => unit.lost(),
            _ => error,
        }
    }

    /// Changes the limits of a running container. Device rules are replaced when `resources` has any.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the settings are wrong; otherwise as [`Self::apply`]. What was set before stays set.
    pub fn update(&self, resources: &LinuxResources, context: UpdateContext<'_>) -> Result<Vec<Diagnostic>, Error> {
        let primary = self.primary()?;
        let mut now = Now::default();
        if primary.is_v2() {
            // Engines send 0 for what was not given.
            let given = |value: Option<i64>| value.is_some_and(|value| value != 0);
            if resources.memory().as_ref().is_some_and(|memory| given(memory.swap()) && !given(memory.limit())) {
                now.memory_max = Some(match primary.read_if_any("memory.max")?.trim() {
                    "max" => -1,
                    text => text.parse().unwrap_or(0),
                });
            }
            if resources.cpu().as_ref().is_some_and(|cpu| cpu.period().unwrap_or(0) != 0 && !given(cpu.quota())) {
                now.cpu_quota = primary.read_if_any("cpu.max")?.split(' ').next().and_then(|quota| quota.parse().ok());
            }
            if self.unit.is_some() && resources.cpu().as_ref().is_some_and(|cpu| given(cpu.quota())) {
                let max = primary.read_if_any("cpu.max")?;
                now.cpu_period = max.split_whitespace().nth(1).and_then(|period| period.parse().ok());
            }
        }
        let UpdateContext { rootless, oci_version } = context;
        let plan = compile_update(primary.is_v2(), resources, DEFAULT_RULES, rootless, oci_version, now)
            .map_err(Error::Invalid)?;
        if primary.is_v2() && !plan.controllers.is_empty() {
            super::make::enable_controllers(primary, &plan)?;
        }
        if let Some(unit) = &self.unit {
            unit.set(&plan.limits.writes)?;
        }
        self.apply_limits(&plan.limits)?;
        self.apply_device_rules(&plan.limits.devices)?;
        Ok(plan.warnings)
    }

    /// Whether the container has no cgroup of its own.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether limits are in a version 2 tree.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.primary().is_ok_and(Place::is_v2)
    }

    /// The directories, one per hierarchy; each can be joined on its own ([`Place::add`]), so that the grace periods of
    /// version 1 can overlap other work.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The directory of `controller` on version 1, the only one on version 2.
    #[must_use]
    pub fn place(&self, controller: &str) -> Option<&Place> {
        match self.primary() {
            Ok(primary) if primary.is_v2() => Some(primary),
            _ => self.places.iter().find(|place| place.controllers.iter().any(|name| name == controller)),
        }
    }

    /// The directory whose list of processes is taken as the container's: one that the container must be in.
    pub(super) fn primary(&self) -> Result<&Place, Error> {
        let known = ["devices", "memory", "pids", "freezer", "cpu"];
        let rank = |place: &&Place| {
            let name = known.iter().position(|name| place.controllers.iter().any(|own| own == name));
            (place.optional, name.unwrap_or(known.len()))
        };
        self.places.iter().min_by_key(rank).ok_or(Error::None)
    }

    /// The version 2 directory, of a hybrid layout too.
    fn unified(&self) -> Option<&Place> {
        self.places.iter().find(|place| place.is_v2())
    }

    /// The version 2 directory for clone3's `CLONE_INTO_CGROUP`, which places the child without a grace period; on a hybrid
    /// layout follow with [`Self::open_tasks_v1`]. Nothing on pure version 1, and where systemd has to move processes.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn clone_dir(&self) -> Result<Option<BorrowedFd<'_>>, Error> {
        if self.joins_by_bus()? {
            return Ok(None);
        }
        match self.unified() {
            Some(place) => match place.dir() {
                // A sub-cgroup that exists in the hierarchies of version 1 alone. Anything else than its absence is no reason to stay outside.
                Err(error) if place.optional && is_missing(&error) => Ok(None),
                dir => dir.map(Some).map_err(|error| self.explained(error)),
            },
            None => Ok(None),
        }
    }

    /// Why a process could not be born in the version 2 directory.
    #[must_use]
    pub fn no_birth(&self, errno: Errno) -> Error {
        self.explained(Error::Birth { path: self.unified().map(Place::directory).unwrap_or_default(), errno })
    }

    /// Moves a process into the cgroup, in every hierarchy.
    ///
    /// # Errors
    /// The first hierarchy that refuses; optional ones may.
    pub fn add(&self, pid: u32) -> Result<(), Error> {
        self.places.iter().try_for_each(|place| add_to(place, pid))
    }

    /// The `tasks` files of the version 1 hierarchies, open for writing: a process with one thread that writes `0` joins,
    /// without a path, without an allocation, and without the kernel's wait for a grace period. Optional hierarchies that have no such
    /// cgroup are left out.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open_tasks_v1(&self) -> Result<Vec<Membership>, Error> {
        let mut files = Vec::new();
        for place in self.places.iter().filter(|place| !place.is_v2()) {
            match place.open("tasks", OFlag::O_WRONLY) {
                Ok(tasks) => files.push(Membership { tasks: tasks.into(), optional: place.optional }),
                Err(error) if place.optional && error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
                    return Err(Error::Birth { path: place.directory(), errno });
                }
            }
        }
        Ok(files)
    }

    /// The handle of a cgroup below this one (`exec --cgroup`), or of this one for `/`.
    ///
    /// # Errors
    /// [`Error::BadSubPath`] when `path` leads elsewhere.
    pub fn sub(&self, path: &str) -> Result<Self, Error> {
        let below = beneath(path)?;
        let places = self.places.iter().map(|place| descend(place, &below)).collect();
        Ok(Self { places, unit: self.unit.clone(), holder: None })
    }

    /// The same with a path for each of some controllers (version 1); the others stay where they are.
    ///
    /// # Errors
    /// [`Error::BadSubPath`]; [`Error::UnknownController`] when the container has no cgroup for one.
    pub fn sub_by_controller(&self, paths: &[(&str, &str)]) -> Result<Self, Error> {
        let has = |place: &Place, name: &str| place.controllers.iter().any(|own| own == name);
        if let Some((name, _)) = paths.iter().find(|(name, _)| !self.places.iter().any(|place| has(place, name))) {
            return Err(Error::UnknownController((*name).to_owned()));
        }
        let place = |place: &Place| {
            let path = paths.iter().find(|(name, _)| has(place, name)).map_or("", |(_, path)| path);
            Ok(descend(place, &beneath(path)?))
        };
        let places = self.places.iter().map(place).collect::<Result<_, Error>>()?;
        Ok(Self { places, unit: self.unit.clone(), holder: None })
    }

    /// Where in this cgroup a process is. A container that manages cgroups itself (systemd in it) moves its processes into
    /// cgroups below; on version 2 nothing can join the container's own cgroup then (EBUSY), and an exec joins the
    /// first process where it is, as in runc.
    ///
    /// # Errors
    /// [`Error::BadSubPath`] when the process is not in this cgroup; [`Error::Read`] when it is gone.
    pub fn holding(&self, pid: u32) -> Result<Self, Error> {
        let path = Path::new("/proc").join(pid.to_string()).join("cgroup");
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        let own = OwnCgroup::parse(&text);
        let mut places = Vec::with_capacity(self.places.len());
        for place in &self.places {
            let found = path_in(&own, place);
            match found.map(|found| below(found, &place.path)) {
                Some(Some(path)) => {
                    places.push(Place::new(place.mount.clone(), path, place.controllers.clone(), place.optional));
                }
                _ if place.optional => {}
                _ => return Err(Error::BadSubPath(found.cloned().unwrap_or_default())),
            }
        }
        Ok(Self { places, unit: self.unit.clone(), holder: None })
    }

    /// The processes in the cgroup; `recursive` those below it too. None when the cgroup is gone.
    ///
    /// # Errors
    /// When a list cannot be read, or there is no cgroup.
    pub fn pids(&self, recursive: bool) -> Result<Vec<u32>, Error> {
        let primary = self.primary()?;
        if recursive { primary.all_pids() } else { primary.pids() }
    }

    /// Stops every process in the cgroup and below it, and waits until they are stopped.
    ///
    /// # Errors
    /// When there is no freezer, or a process does not stop in time: then all run again.
    pub fn freeze(&self) -> Result<(), Error> {
        self.freeze_within(FREEZING)
    }

    fn freeze_within(&self, limit: Duration) -> Result<(), Error> {
        let (place, file) = self.freezer()?;
        let (value, undo) = if file == V2_FREEZER { ("1", "0") } else { ("FROZEN", "THAWED") };
        let started = Instant::now();
        let mut pause = Duration::from_micros(20);
        let mut round = 0_u32;
        let result = loop {
            // Version 1 cannot stop processes that keep appearing: it has to be told again, and let go now and then.
            if round == 0 || (file == V1_FREEZER && round.is_multiple_of(8)) {
                if round != 0 && round.is_multiple_of(64) {
                    place.set(file, undo)?;
                }
                place.set(file, value)?;
            }
            match frozen(place, file) {
                Ok(true) => return Ok(()),
                Ok(false) if started.elapsed() < limit => {}
                Ok(false) => break Error::Freeze { path: place.directory(), seconds: limit.as_secs() },
                Err(error) => break error,
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
            round += 1;
        };
        // Half frozen is worse than not frozen. The first error is the one to report.
        drop(place.set(file, undo));
        Err(result)
    }

    /// Lets every process run again.
    ///
    /// # Errors
    /// When there is no freezer.
    pub fn thaw(&self) -> Result<(), Error> {
        let (place, file) = self.freezer()?;
        place.set(file, if file == V2_FREEZER { "0" } else { "THAWED" })
    }

    /// Lets killed processes die, which version 1 does not while they are frozen: by the runtime, or below by the container itself.
    ///
    /// # Errors
    /// When the state cannot be read or changed.
    pub fn thaw_killed(&self) -> Result<(), Error> {
        if self.is_frozen()? {
            self.thaw()?;
        }
        match self.freezer() {
            Ok((place, V1_FREEZER)) => place.set_below(V1_FREEZER, "THAWED"),
            _ => Ok(()),
        }
    }

    /// Whether the cgroup is frozen, or being frozen. A cgroup that is gone or has no freezer is not.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        match self.freezer() {
            Ok((place, file)) => Ok(matches!(place.read_if_any(file)?.trim(), "1" | "FROZEN" | "FREEZING")),
            Err(Error::NoFreezer | Error::None) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The freezer's directory and file.
    fn freezer(&self) -> Result<(&Place, &'static str), Error> {
        let v1 = self.places.iter().find(|place| place.controllers.iter().any(|name| name == "freezer"));
        match (v1, self.unified()) {
            (Some(place), _) => Ok((place, V1_FREEZER)),
            (None, Some(place)) => Ok((place, V2_FREEZER)),
            (None, None) => Err(Error::NoFreezer),
        }
    }

    /// Sends `signal` to every process in the cgroup and below it. Does not wait for their end; [`Self::delete`] does.
    ///
    /// SIGKILL goes by `cgroup.kill` where there is one (kernel 5.14, hybrid layouts too), and then to whom that has missed. Otherwise
    /// the cgroup is frozen for the time of the signals, so that none is forked past them. After SIGKILL nothing stays frozen: the dead must be able
    /// to leave.
    ///
    /// # Errors
    /// When a list cannot be read or a process cannot be signalled.
    pub fn kill_all(&self, signal: i32) -> Result<(), Error> {
        let primary = self.primary()?;
        let fatal = signal == libc::SIGKILL;
        let all_killed = fatal && self.kill_by_kernel(primary)?;
        let was_frozen = !all_killed && self.is_frozen()?;
        let frozen = was_frozen || !all_killed && self.freeze_within(FREEZING_TO_KILL).is_ok();
        let mut known = Vec::new();
        let result = loop {
            let new = primary.all_pids().and_then(|pids| {
                let new: Vec<u32> = pids.into_iter().filter(|pid| !known.contains(pid)).collect();
                new.iter().try_for_each(|pid| signal_member(primary, *pid, signal)).map(|()| new)
            });
            match new {
                // What does not stand still may fork in the meantime: until nobody is new.
                Ok(new) if !frozen && fatal && !new.is_empty() => known.extend(new),
                result => break result.map(drop),
            }
        };
        if fatal {
            self.thaw_killed()?;
        } else if frozen && !was_frozen {
            self.thaw()?;
        }
        result
    }

    /// Writes `cgroup.kill`; whether that reached all of the container. Those who have lost their first thread, and live on in
    /// others, are left out by it (Linux 6.18): the signal goes to that thread alone.
    fn kill_by_kernel(&self, primary: &Place) -> Result<bool, Error> {
        let Some(unified) = self.unified() else { return Ok(false) };
        // A hybrid container may have processes that were moved out of its version 2 cgroup.
        let members = if primary.is_v2() { Vec::new() } else { unified.all_pids()? };
        if unified.write("cgroup.kill", "1").is_err() {
            return Ok(false);
        }
        if primary.is_v2() {
            return Ok(true);
        }
        self.thaw_killed()?;
        Ok(primary.all_pids()?.iter().all(|pid| members.contains(pid)))
    }

    /// Removes the cgroup with everything below it. Waits two seconds at most for dying processes; what is gone is removed.
    ///
    /// # Errors
    /// EBUSY when processes are left ([`Self::kill_all`] first). The other hierarchies are removed all the same.
    pub fn delete(&self) -> Result<(), Error> {
        // Without systemd to ask, the empty cgroup can still be removed.
        let stopped = self.unit.as_ref().map_or(Ok(()), Unit::stop);
        let deadline = Place::deadline();
        let mut failed = Ok(());
        for place in &self.places {
            if let Err(error) = place.remove(deadline)
                && !place.optional
            {
                failed = failed.and(Err(error));
            }
        }
        // What systemd said is the cause.
        if failed.is_err() { stopped.and(failed) } else { failed }
    }

    /// Usage of every resource, in the shape of `runc events --stats`.
    ///
    /// # Errors
    /// When a file that exists cannot be read or understood.
    pub fn stats(&self) -> Result<Stats, Error> {
        Stats::read(self)
    }

    /// How many of the container's processes the OOM killer has killed. 0 when nobody counts.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn oom_kill_count(&self) -> Result<u64, Error> {
        let Some(place) = self.place("memory") else { return Ok(0) };
        let text = place.read_if_any(if place.is_v2() { "memory.events" } else { "memory.oom_control" })?;
        Ok(text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0))
    }

    /// How many processes could not be made because of the limit on them (`pids.events`). 0 when nobody counts.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn refused_forks(&self) -> Result<u64, Error> {
        let Some(place) = self.place("pids") else { return Ok(0) };
        let text = place.read_if_any("pids.events")?;
        Ok(text.lines().find_map(|line| line.strip_prefix("max ")?.trim().parse().ok()).unwrap_or(0))
    }
}

/// The components of a path below a cgroup.
fn beneath(path: &str) -> Result<Vec<&str>, Error> {
    let bad = || Error::BadSubPath(path.to_owned());
    let mut below = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => below.push(name.to_str().ok_or_else(bad)?),
            Component::ParentDir | Component::Prefix(_) => return Err(bad()),
        }
    }
    Ok(below)
}

fn descend(place: &Place, below: &[&str]) -> Place {
    let path = std::iter::once(place.path.as_str()).chain(below.iter().copied()).collect::<Vec<_>>().join("/");
    Place::new(place.mount.clone(), path, place.controllers.clone(), place.optional)
}

/// A limit of a single task leaves no room for what holds the scope's place.
fn has_no_room(write: &Write) -> bool {
    write.file == "pids.max" && write.value == "1"
}

fn with_room(writes: &[Write]) -> Vec<Write> {
    let mut writes = writes.to_vec();
    writes.iter_mut().filter(|write| has_no_room(write)).for_each(|write| "2".clone_into(&mut write.value));
    writes
}

pub(super) const V1_FREEZER: &str = "freezer.state";
pub(super) const V2_FREEZER: &str = "cgroup.freeze";

/// The path below the mount of a process that /proc says is in `found`, when that is the cgroup `path` or below it. The mount
/// may show a part of the hierarchy only, so `found` may have more in front.
fn below(found: &str, path: &str) -> Option<String> {
    let found = found.strip_suffix(" (deleted)").unwrap_or(found).trim_start_matches('/');
    let starts = std::iter::once(0).chain(found.match_indices('/').map(|(at, _)| at + 1));
    for start in starts {
        let rest = found.get(start..)?;
        if let Some(tail) = rest.strip_prefix(path)
            && (tail.is_empty() || tail.starts_with('/'))
            && !tail.split('/').any(|component| component == "..")
        {
            return Some(rest.to_owned());
        }
    }
    None
}

/// The cgroup of a process in the hierarchy of a place.
fn path_in<'a>(cgroups: &'a OwnCgroup, place: &Place) -> Option<&'a String> {
    match place.controllers.first() {
        Some(controller) => cgroups.v1.get(controller),
        None => cgroups.unified.as_ref(),
    }
}

/// Whether the cgroup has come to rest.
fn frozen(place: &Place, file: &str) -> Result<bool, Error> {
    if file == V1_FREEZER {
        return Ok(place.read_if_any(file)?.trim() == "FROZEN");
    }
    Ok(place.read_if_any("cgroup.events")?.lines().any(|line| line == "frozen 1"))
}

/// The id of a process that was listed may be another's by now, when it comes and goes fast: the signal is sent through a
/// descriptor, of what is in the cgroup still. A process that has ended needs none.
fn signal_member(place: &Place, pid: u32, signal: i32) -> Result<(), Error> {
    let process = match PidFd::open(i32::try_from(pid).unwrap_or_default()) {
        Ok(process) => process,
        // Gone; or one of several threads, in a threaded cgroup.
        Err(Errno::ESRCH | Errno::EINVAL) => return Ok(()),
        Err(errno) => return Err(Error::Signal { pid, signal, source: errno.into() }),
    };
    if !is_member(place, pid) {
        return Ok(());
    }
    match process.send_signal(signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::Signal { pid, signal, source: errno.into() }),
    }
}

/// By any of its threads: version 1 shows one that has ended, the first of a process that lives on, at the root.
fn is_member(place: &Place, pid: u32) -> bool {
    let is_below = |file: PathBuf| {
        std::fs::read_to_string(file).is_ok_and(|text| {
            path_in(&OwnCgroup::parse(&text), place).is_some_and(|path| below(path, &place.path).is_some())
        })
    };
    let process = PathBuf::from(format!("/proc/{pid}"));
    if is_below(process.join("cgroup")) {
        return true;
    }
    let threads = std::fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    threads.map(|thread| thread.path().join("cgroup")).any(is_below)
}

/// Whether there is no such cgroup.
fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Open { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

fn add_to(place: &Place, pid: u32) -> Result<(), Error> {
    match place.add(pid) {
        Err(error) if place.optional && !super::make::is_failure(&error) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_below_its_container() {
        assert_eq!(below("/default/web", "default/web").as_deref(), Some("default/web"));
        assert_eq!(below("/default/web/init.scope", "default/web").as_deref(), Some("default/web/init.scope"));
        assert_eq!(below("/docker/abc/web/x", "web").as_deref(), Some("web/x"), "a mount of a part");
        for elsewhere in ["/", "/default", "/default/web2", "/default/web/../x", "/other"] {
            assert_eq!(below(elsewhere, "default/web"), None, "{elsewhere}");
        }
    }

    #[test]
    fn the_cgroup_of_an_exec_stays_below() {
        let place = Place::new("/sys/fs/cgroup".into(), "default/web".to_owned(), Vec::new(), false);
        let cgroup = Cgroup { places: vec![place], ..Cgroup::default() };
        assert_eq!(cgroup.sub("/a//./b/").unwrap().places[0].path, "default/web/a/b");
        assert_eq!(cgroup.sub("/").unwrap().places[0].path, "default/web");
        for path in ["..", "a/../..", "/../x"] {
            assert_eq!(
                cgroup.sub(path).unwrap_err().to_string(),
                format!("bad sub cgroup path: {path} is not a sub cgroup path")
            );
        }
    }

    #[test]
    fn the_cgroup_of_an_exec_may_differ_by_controller() {
        let place = |names: &[&str]| {
            let controllers = names.iter().map(ToString::to_string).collect();
            Place::new("/sys/fs/cgroup".into(), "web".to_owned(), controllers, false)
        };
        let places = vec![place(&["cpu", "cpuacct"]), place(&["memory"]), place(&["pids"])];
        let cgroup = Cgroup { places, ..Cgroup::default() };
        let paths = |asked: &[(&str, &str)]| {
            cgroup
                .sub_by_controller(asked)
                .map(|sub| sub.places.into_iter().map(|place| place.path).collect::<Vec<_>>())
        };
        assert_eq!(paths(&[("memory", "a"), ("cpuacct", "/b/c")]).unwrap(), ["web/b/c", "web/a", "web"]);
        assert_eq!(paths(&[("whaaat", "/")]).unwrap_err().to_string(), "unknown controller whaaat");
        assert_eq!(
            paths(&[("cpu", "../x")]).unwrap_err().to_string(),
            "bad sub cgroup path: ../x is not a sub cgroup path"
        );
    }

    #[test]
    fn the_state_is_small_and_survives() {
        let place = Place::new("/sys/fs/cgroup/cpu".into(), "web".to_owned(), vec!["cpu".to_owned()], false);
        let json = serde_json::to_string(&Cgroup { places: vec![place], ..Cgroup::default() }).unwrap();
        assert_eq!(json, r#"{"places":[{"mount":"/sys/fs/cgroup/cpu","path":"web","controllers":["cpu"]}]}"#);
        let back: Cgroup = serde_json::from_str(&json).unwrap();
        assert!(!back.is_v2() && !back.is_none());
        assert!(serde_json::from_str::<Cgroup>(r#"{"places":[]}"#).unwrap().is_none());
    }

    #[test]
    fn another_s_cgroup_is_known_by_its_id() {
        let place = |path: &str| Place::new("/sys/fs/cgroup".into(), path.to_owned(), Vec::new(), false);
        let unit = |name: &str| Some(Unit { name: name.to_owned(), manager: None });
        let own = Cgroup {
            places: vec![place("system.slice/pent-sandbox-7.scope")],
            unit: unit("pent-sandbox-7.scope"),
            holder: None,
        };
        let expected = own.of_another("sandbox-7", "sandbox-12");
        let kept = |path, name| Cgroup { places: vec![place(path)], unit: unit(name), holder: None }.only_as(&expected);
        assert_eq!(kept("system.slice/pent-sandbox-12.scope", "pent-sandbox-12.scope").places.len(), 1);
        for (path, name) in [
            ("system.slice/pent-sandbox-12.scope", "sshd.service"),
            ("system.slice/sshd.service", "pent-sandbox-12.scope"),
            ("system.slice", "pent-sandbox-12.scope"),
            ("system.slice/pent-sandbox-7.scope", "pent-sandbox-7.scope"),
        ] {
            assert!(kept(path, name).is_none(), "{path} {name}");
        }
        let here = Cgroup { places: vec![place("a/sandbox-7")], ..Cgroup::default() };
        assert_eq!(here.of_another("sandbox-7", "sandbox-8").places[0].path, "a/sandbox-8");
    }

    #[test]
    fn no_cgroup_is_no_error_where_nothing_is_asked() {
        let none = Cgroup::create(&CgroupPlan::default()).unwrap();
        none.apply(&CgroupPlan::default()).unwrap();
        none.add(1).unwrap();
        none.delete().unwrap();
        assert!(!none.is_frozen().unwrap() && none.clone_dir().unwrap().is_none());
        assert!(matches!(none.pids(true), Err(Error::None)) && matches!(none.stats(), Err(Error::None)));
        assert!(matches!(none.freeze(), Err(Error::NoFreezer)));
    }
}
