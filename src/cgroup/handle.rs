//! The handle of a container's cgroup: make it, limit it, fill it, freeze it, kill it, remove it.
#![forbid(unsafe_code)]

use super::devices::{DEFAULT_RULES, Policy};
use super::dir::{Place, is_gone};
use super::plan::{CgroupPlan, DevicePlan, IfMissing, Limits, MemoryCheck, Now, Write, compile_update};
use super::{Error, Stats};
use crate::report::Diagnostic;
use crate::sys::bpf::{self, Insn};
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

/// Version 2 controllers that are enabled for their accounting (stats, OOM events) even when no limit needs them.
const ACCOUNTING: [&str; 4] = ["cpu", "io", "memory", "pids"];
/// How long freezing may take.
const FREEZING: Duration = Duration::from_secs(10);
/// How long killed processes may take to disappear from the lists.
const KILLING: Duration = Duration::from_secs(5);

/// A container's cgroup: its directory in each hierarchy. Serialisable: it is part of the container's state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cgroup {
    places: Vec<Place>,
}

/// What an update has to know beside the new limits.
#[derive(Debug, Clone, Copy)]
pub struct UpdateContext<'a> {
    /// The caller may lack rights: device rules are left alone.
    pub rootless: bool,
    /// The `ociVersion` of the container's configuration.
    pub oci_version: &'a str,
}

impl Cgroup {
    /// The cgroup that `plan` will make. Does nothing: it is written to the state file before anything is made.
    #[must_use]
    pub fn planned(plan: &CgroupPlan) -> Self {
        let place = |directory: &super::Directory| {
            let super::Directory { mount, path, controllers, optional } = directory.clone();
            Place::new(mount, path, controllers, optional)
        };
        Self { places: plan.directories.iter().map(place).collect() }
    }

    /// Makes the directories of `plan`, enables version 2 controllers, inherits version 1 cpusets.
    ///
    /// What cannot be made and is not required is left out of the handle: keep the one that is returned.
    ///
    /// # Errors
    /// When a required directory cannot be made, a controller that a limit needs is not there, or the cgroup exists and has
    /// processes or is frozen. What was made is removed again.
    pub fn create(plan: &CgroupPlan) -> Result<Self, Error> {
        let mut cgroup = Self::planned(plan);
        match cgroup.make(plan) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                let deadline = Place::deadline();
                for place in cgroup.places.iter().filter(|place| place.fresh) {
                    // The first error is the one that matters; what stays behind is empty.
                    drop(place.remove(deadline));
                }
                Err(error)
            }
        }
    }

    fn make(&mut self, plan: &CgroupPlan) -> Result<(), Error> {
        let mut failed = None;
        self.places.retain_mut(|place| {
            if failed.is_some() {
                return true;
            }
            match make_place(place, plan) {
                Ok(()) => true,
                Err(_) if place.optional => false,
                Err(error) if is_refused(&error) && !plan.required => false,
                Err(error) => {
                    failed = Some(error);
                    true
                }
            }
        });
        match failed {
            // Without a path of its own, a rootless container fails because of its limits: say so.
            Some(error @ Error::Make { .. }) if is_refused(&error) && !nix::unistd::geteuid().is_root() => {
                Err(Error::Rootless { source: Box::new(error) })
            }
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Sets the limits and device rules of `plan`.
    ///
    /// # Errors
    /// The first that is refused, with its control file and JSON path.
    pub fn apply(&self, plan: &CgroupPlan) -> Result<(), Error> {
        self.apply_limits(&plan.limits)
    }

    fn apply_limits(&self, limits: &Limits) -> Result<(), Error> {
        if let Some(check) = limits.memory_check {
            self.check_memory(check)?;
        }
        Writer { cgroup: self, open: None, deferred: Vec::new() }.run(&limits.writes)?;
        match &limits.devices {
            DevicePlan::Untouched => Ok(()),
            DevicePlan::Files { policy, .. } => self.apply_device_files(policy),
            DevicePlan::Program { instructions, .. } => self.apply_device_program(instructions.as_deref()),
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
            if resources.memory().as_ref().is_some_and(|memory| memory.swap().is_some() && memory.limit().is_none()) {
                now.memory_max = Some(match primary.read_if_any("memory.max")?.trim() {
                    "max" => -1,
                    text => text.parse().unwrap_or(0),
                });
            }
            if resources.cpu().as_ref().is_some_and(|cpu| cpu.period().is_some() && cpu.quota().is_none()) {
                now.cpu_quota = primary.read_if_any("cpu.max")?.split(' ').next().and_then(|quota| quota.parse().ok());
            }
        }
        let UpdateContext { rootless, oci_version } = context;
        let plan = compile_update(primary.is_v2(), resources, DEFAULT_RULES, rootless, oci_version, now)
            .map_err(Error::Invalid)?;
        if primary.is_v2() && !plan.controllers.is_empty() {
            enable_controllers(primary, &plan)?;
        }
        self.apply_limits(&plan.limits)?;
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
    fn primary(&self) -> Result<&Place, Error> {
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
    /// layout follow with [`Self::add_v1`]. Nothing on pure version 1.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn clone_dir(&self) -> Result<Option<BorrowedFd<'_>>, Error> {
        self.unified().map(Place::dir).transpose()
    }

    /// Moves a process into the cgroup, in every hierarchy.
    ///
    /// # Errors
    /// The first hierarchy that refuses; optional ones may.
    pub fn add(&self, pid: u32) -> Result<(), Error> {
        self.places.iter().try_for_each(|place| add_to(place, pid))
    }

    /// Moves a process into the version 1 hierarchies only: it was born in the version 2 one.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_v1(&self, pid: u32) -> Result<(), Error> {
        self.places.iter().filter(|place| !place.is_v2()).try_for_each(|place| add_to(place, pid))
    }

    /// The `cgroup.procs` files of the version 1 hierarchies, open for writing: whoever writes `0` joins, without a path and
    /// without an allocation. Files of optional hierarchies that cannot be opened are left out.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open_procs_v1(&self) -> Result<Vec<OwnedFd>, Error> {
        let mut files = Vec::new();
        for place in self.places.iter().filter(|place| !place.is_v2()) {
            match place.open("cgroup.procs", OFlag::O_WRONLY) {
                Ok(file) => files.push(OwnedFd::from(file)),
                Err(_) if place.optional => {}
                Err(source) => return Err(Error::Open { path: place.directory().join("cgroup.procs"), source }),
            }
        }
        Ok(files)
    }

    /// The handle of a cgroup below this one (`exec --cgroup`), or of this one for `/`.
    ///
    /// # Errors
    /// [`Error::BadSubPath`] when `path` leads elsewhere.
    pub fn sub(&self, path: &str) -> Result<Self, Error> {
        let mut below = Vec::new();
        for component in Path::new(path).components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => below.push(name.to_str().ok_or_else(|| Error::BadSubPath(path.to_owned()))?),
                Component::ParentDir | Component::Prefix(_) => return Err(Error::BadSubPath(path.to_owned())),
            }
        }
        let place = |place: &Place| {
            let path = std::iter::once(place.path.as_str()).chain(below.iter().copied()).collect::<Vec<_>>().join("/");
            Place::new(place.mount.clone(), path, place.controllers.clone(), place.optional)
        };
        Ok(Self { places: self.places.iter().map(place).collect() })
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
                Ok(false) if started.elapsed() < FREEZING => {}
                Ok(false) => break Error::Freeze { path: place.directory(), seconds: FREEZING.as_secs() },
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

    /// Sends `signal` to every process in the cgroup and below it.
    ///
    /// SIGKILL goes by `cgroup.kill` where there is one (kernel 5.14, hybrid layouts too). Otherwise the cgroup is frozen for
    /// the time of the signals, so that none is forked past them. After SIGKILL the processes are gone from the lists, or
    /// it is an error.
    ///
    /// # Errors
    /// When a list cannot be read, a process cannot be signalled, or one survives SIGKILL.
    pub fn kill_all(&self, signal: Signal) -> Result<(), Error> {
        let primary = self.primary()?;
        if signal == Signal::SIGKILL
            && let Some(unified) = self.unified()
            && unified.write("cgroup.kill", "1").is_ok()
        {
            // Version 1 keeps frozen processes from dying.
            if !primary.is_v2() && self.is_frozen()? {
                self.thaw()?;
            }
            if self.is_empty_before(primary, Instant::now() + KILLING / 10)? {
                return Ok(());
            }
            // Some may have left the version 2 tree of a hybrid layout: signal what is still listed.
        }
        let deadline = Instant::now() + KILLING;
        loop {
            let was_frozen = self.is_frozen()?;
            // Without a freezer the loop has to do.
            let frozen = was_frozen || self.freeze().is_ok();
            let pids = primary.all_pids();
            let result = pids.and_then(|pids| signal_all(&pids, signal).map(|()| pids.len()));
            if frozen && (!was_frozen || signal == Signal::SIGKILL) {
                self.thaw()?;
            }
            let count = result?;
            if signal != Signal::SIGKILL || count == 0 {
                return Ok(());
            }
            if self.is_empty_before(primary, (Instant::now() + KILLING / 10).min(deadline))? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let count = primary.all_pids()?.len();
                return Err(Error::Unkillable { count, path: primary.directory() });
            }
        }
    }

    /// Waits until `place` lists no process, at most until `deadline`.
    fn is_empty_before(&self, place: &Place, deadline: Instant) -> Result<bool, Error> {
        let mut pause = Duration::from_micros(50);
        loop {
            if place.all_pids()?.is_empty() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Removes the cgroup with everything below it. Waits two seconds at most for dying processes; what is gone is removed.
    ///
    /// # Errors
    /// EBUSY when processes are left ([`Self::kill_all`] first). The other hierarchies are removed all the same.
    pub fn delete(&self) -> Result<(), Error> {
        let deadline = Place::deadline();
        let mut failed = Ok(());
        for place in &self.places {
            if let Err(error) = place.remove(deadline)
                && !place.optional
            {
                failed = failed.and(Err(error));
            }
        }
        failed
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

    /// A descriptor that tells when the container runs out of memory: for `events`.
    ///
    /// # Errors
    /// [`Error::None`] when nobody accounts its memory; otherwise when the files cannot be opened.
    pub fn oom_watch(&self) -> Result<OomWatch<'_>, Error> {
        let place = self.place("memory").ok_or(Error::None)?;
        let failed = |file: &str, source| Error::Read { path: place.directory().join(file), source };
        if place.is_v2() {
            let file =
                place.open("memory.events", OFlag::O_RDONLY).map_err(|source| failed("memory.events", source))?;
            let watch = OomWatch { cgroup: self, source: Source::Events(file), last: 0 };
            return Ok(OomWatch { last: self.oom_kill_count()?, ..watch });
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let eventfd = EventFd::from_value_and_flags(0, flags).map_err(|errno| failed("eventfd", errno.into()))?;
        let control =
            place.open("memory.oom_control", OFlag::O_RDONLY).map_err(|source| failed("memory.oom_control", source))?;
        place.set("cgroup.event_control", &format!("{} {}", eventfd.as_raw_fd(), control.as_raw_fd()))?;
        Ok(OomWatch { cgroup: self, source: Source::Counter(eventfd), last: 0 })
    }

    fn check_memory(&self, check: MemoryCheck) -> Result<(), Error> {
        let Some(place) = self.place("memory") else { return Ok(()) };
        let number = |file: &str| place.read(file).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let (memory, both) = if place.is_v2() {
            let memory = number("memory.current");
            (memory, memory.map(|memory| memory.saturating_add(number("memory.swap.current").unwrap_or(0))))
        } else {
            (number("memory.usage_in_bytes"), number("memory.memsw.usage_in_bytes"))
        };
        // A usage that cannot be read rejects nothing, as in runc.
        for (what, limit, usage) in [("memory+swap", check.swap, both), ("memory", check.limit, memory)] {
            if let Some(usage) = usage
                && limit > 0
                && limit.unsigned_abs() <= usage
            {
                return Err(Error::BelowUsage { what, limit, usage });
            }
        }
        Ok(())
    }

    fn apply_device_files(&self, policy: &Policy) -> Result<(), Error> {
        let Some(place) = self.place("devices") else {
            return Err(Error::NotJoined { controller: "devices".to_owned(), setting: String::new() });
        };
        // A new cgroup has its parent's rules; whatever they are, a reset begins.
        let all = Policy { default_allow: true, ..Policy::default() };
        let current =
            if place.fresh { all } else { Policy::parse_list(&place.read_if_any("devices.list")?).unwrap_or(all) };
        let writes = current.transition(policy);
        let as_write = |(allow, value): (bool, String)| Write {
            controller: "devices".to_owned(),
            file: if allow { "devices.allow" } else { "devices.deny" }.to_owned(),
            value,
            spec_path: String::new(),
            if_missing: IfMissing::Fail,
            retry: false,
        };
        let writes: Vec<_> = writes.into_iter().map(as_write).collect();
        Writer { cgroup: self, open: None, deferred: Vec::new() }.run(&writes)
    }

    /// Attaches the program in the place of the one that is there; with `None`, leaves none.
    fn apply_device_program(&self, instructions: Option<&[Insn]>) -> Result<(), Error> {
        let place = self.primary()?;
        if instructions.is_none() && place.fresh {
            return Ok(());
        }
        let failed = |step| move |source| Error::Program { step, path: place.directory(), source };
        let dir = place.dir()?;
        let program = instructions.map(bpf::load_device_program).transpose().map_err(failed("load"))?;
        // Another update may replace the same program at the same time: look again then.
        for _ in 0..20 {
            let old = if place.fresh { Vec::new() } else { attached(dir).map_err(failed("query"))? };
            let replaced = if let [only] = old.as_slice() { Some(only.as_fd()) } else { None };
            let result = match &program {
                Some(program) => match bpf::attach_device_program(dir, program.as_fd(), replaced) {
                    Ok(()) if replaced.is_some() => return Ok(()),
                    Err(error) if replaced.is_some() && error.raw_os_error() == Some(libc::ENOENT) => continue,
                    // Before 5.6 there is no replacing: attach, then detach.
                    Err(error) if replaced.is_some() && error.raw_os_error() == Some(libc::EINVAL) => {
                        bpf::attach_device_program(dir, program.as_fd(), None)
                    }
                    result => result,
                },
                None => Ok(()),
            };
            result.map_err(failed("attach"))?;
            for old in &old {
                match bpf::detach_device_program(dir, old.as_fd()) {
                    Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(failed("detach")(error)),
                    _ => {}
                }
            }
            return Ok(());
        }
        Err(failed("replace")(io::Error::from_raw_os_error(libc::EAGAIN)))
    }
}

const V1_FREEZER: &str = "freezer.state";
const V2_FREEZER: &str = "cgroup.freeze";

/// Whether the cgroup has come to rest.
fn frozen(place: &Place, file: &str) -> Result<bool, Error> {
    if file == V1_FREEZER {
        return Ok(place.read_if_any(file)?.trim() == "FROZEN");
    }
    Ok(place.read_if_any("cgroup.events")?.lines().any(|line| line == "frozen 1"))
}

/// The device programs attached to a directory.
fn attached(dir: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut programs = Vec::new();
    for id in bpf::device_program_ids(dir)? {
        match bpf::program_by_id(id) {
            Ok(program) => programs.push(program),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(programs)
}

fn signal_all(pids: &[u32], signal: Signal) -> Result<(), Error> {
    for &pid in pids {
        let number = i32::try_from(pid).unwrap_or_default();
        // 0 and negative numbers would mean groups of processes.
        if number <= 0 {
            continue;
        }
        match kill(Pid::from_raw(number), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(errno) => return Err(Error::Signal { pid, signal: signal.as_str(), source: errno.into() }),
        }
    }
    Ok(())
}

fn add_to(place: &Place, pid: u32) -> Result<(), Error> {
    match place.add(pid) {
        Err(_) if place.optional => Ok(()),
        result => result,
    }
}

/// Whether an error means that this user may not: then a container without limits does without a cgroup.
fn is_refused(error: &Error) -> bool {
    let (Error::Make { source, .. } | Error::Write { source, .. } | Error::Open { source, .. }) = error else {
        return false;
    };
    matches!(source.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

fn make_place(place: &mut Place, plan: &CgroupPlan) -> Result<(), Error> {
    place.make()?;
    if !place.fresh && !place.optional {
        check_unused(place)?;
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
fn enable_controllers(place: &Place, plan: &CgroupPlan) -> Result<(), Error> {
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
    use nix::fcntl::AtFlags;
    use nix::unistd::{Uid, fchownat};
    let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned());
    let owner = Some(Uid::from_raw(owner));
    let dir = place.dir()?;
    let failed =
        |name: &str, errno: nix::errno::Errno| Error::Make { path: place.directory().join(name), source: errno.into() };
    fchownat(dir, "", owner, None, AtFlags::AT_EMPTY_PATH).map_err(|errno| failed("", errno))?;
    for name in list.lines().filter(|name| !name.is_empty() && !name.contains('/')) {
        match fchownat(dir, name, owner, None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) | Err(nix::errno::Errno::ENOENT) => {}
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
            let own = if place.fresh && depth == components.len() { String::new() } else { child.read_if_any(file)? };
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

/// Does writes in order: opens each file once for writes in a row, repeats what has to wait for another.
struct Writer<'a> {
    cgroup: &'a Cgroup,
    open: Option<(&'a str, &'a str, File)>,
    deferred: Vec<&'a Write>,
}

impl<'a> Writer<'a> {
    fn run(mut self, writes: &'a [Write]) -> Result<(), Error> {
        for (index, write) in writes.iter().enumerate() {
            match self.write(write) {
                Err(Error::Write { source, .. }) if write.retry && source.raw_os_error() == Some(libc::EINVAL) => {
                    self.deferred.push(write);
                }
                result => result?,
            }
            if writes.get(index + 1).is_none_or(|next| next.controller != write.controller) {
                for write in std::mem::take(&mut self.deferred) {
                    self.write(write)?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, write: &'a Write) -> Result<(), Error> {
        let Write { controller, file, value, spec_path, .. } = write;
        let Some(place) = self.cgroup.place(controller) else {
            return Err(Error::NotJoined { controller: controller.clone(), setting: spec_path.clone() });
        };
        let failed = |file: &str, value: &str, source| Error::Write {
            path: place.directory().join(file),
            value: value.to_owned(),
            setting: spec_path.clone(),
            source,
        };
        let known = self.open.take().filter(|(same, name, _)| same == controller && name == file);
        let mut opened = match known {
            Some((_, _, opened)) => opened,
            // A directory with limits has several files to open: relative to its descriptor.
            None => match place.dir().map(|_| place.open(file, OFlag::O_WRONLY))? {
                Ok(opened) => opened,
                Err(error) if is_gone(&error) => match &write.if_missing {
                    IfMissing::Ignore => return Ok(()),
                    IfMissing::Else { file, value } => {
                        return place.write(file, value).map_err(|source| failed(file, value, source));
                    }
                    IfMissing::Fail => return Err(missing(place, write, error)),
                },
                Err(error) => return Err(failed(file, value, error)),
            },
        };
        opened.write_all(value.as_bytes()).map_err(|source| failed(file, value, source))?;
        self.open = Some((controller, file, opened));
        Ok(())
    }
}

/// Why a control file is not there.
fn missing(place: &Place, write: &Write, source: io::Error) -> Error {
    let Write { controller, file, value, spec_path, .. } = write;
    let has = |text: String| text.split_whitespace().any(|known| known == controller);
    if place.is_v2() && controller != "cgroup" && !place.read("cgroup.controllers").is_ok_and(has) {
        return Error::Controller {
            controller: controller.clone(),
            file: file.clone(),
            path: place.directory(),
            setting: spec_path.clone(),
        };
    }
    Error::Write { path: place.directory().join(file), value: value.clone(), setting: spec_path.clone(), source }
}

/// Tells when a container runs out of memory. [`AsFd`] for poll(2): wait for `POLLPRI` or `POLLIN` (version 2 gives the
/// first, version 1 the second), then ask [`OomWatch::occurred`].
#[derive(Debug)]
pub struct OomWatch<'a> {
    cgroup: &'a Cgroup,
    source: Source,
    last: u64,
}

#[derive(Debug)]
enum Source {
    /// `memory.events`, which the kernel marks when it changes.
    Events(File),
    /// An eventfd that version 1 counts up, and once more when the cgroup is removed.
    Counter(EventFd),
}

impl OomWatch<'_> {
    /// Whether the OOM killer was at work since the last question; nothing when the cgroup is gone.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn occurred(&mut self) -> Result<Option<bool>, Error> {
        let path = || self.cgroup.place("memory").map(Place::directory).unwrap_or_default();
        if self.cgroup.place("memory").is_none_or(|place| place.dir().is_err() || !place.directory().is_dir()) {
            return Ok(None);
        }
        match &self.source {
            Source::Events(file) => {
                // poll(2) reports a change only after the file was read from its beginning.
                let mut text = [0_u8; 512];
                match std::os::unix::fs::FileExt::read_at(file, &mut text, 0) {
                    Err(error) if is_gone(&error) => return Ok(None),
                    Err(source) => return Err(Error::Read { path: path(), source }),
                    Ok(_) => {}
                }
                let count = self.cgroup.oom_kill_count()?;
                let more = count > self.last;
                self.last = count;
                Ok(Some(more))
            }
            Source::Counter(eventfd) => match eventfd.read() {
                Ok(count) => Ok(Some(count > 0)),
                Err(nix::errno::Errno::EAGAIN) => Ok(Some(false)),
                Err(errno) => Err(Error::Read { path: path(), source: errno.into() }),
            },
        }
    }
}

impl AsFd for OomWatch<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Events(file) => file.as_fd(),
            Source::Counter(eventfd) => eventfd.as_fd(),
        }
    }
}
