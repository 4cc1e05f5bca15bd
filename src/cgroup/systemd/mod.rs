//! Transient scopes: systemd makes the container's cgroup, knows of it, and takes it away.
//!
//! A scope cannot be without a process, and the container's is to be born where it belongs (`CLONE_INTO_CGROUP`). So a
//! [`Holder`] is the first one in it, until the container is there. docs/decisions/0010 has the reasons.
#![forbid(unsafe_code)]

mod bus;
pub(super) mod unit;

pub use unit::{Properties, Scope};

use super::Error;
use super::layout::OwnCgroup;
use super::plan::Write;
use crate::sys::clone::{self, Fork};
use crate::sys::socket;
use bus::{Bus, MANAGER, PROPERTIES, Value};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd as _, OwnedFd};

/// The unit that a container's cgroup belongs to. Serialisable: it is part of the container's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `PREFIX-NAME.scope`.
    pub name: String,
    /// The cgroup of the user's own systemd that it is of; none when it is the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
}

/// A process that does nothing: it keeps a scope from being empty. Ends with its maker at the latest.
#[derive(Debug)]
pub(super) struct Holder {
    pid: i32,
    pidfd: OwnedFd,
    _end: OwnedFd,
}

impl Holder {
    fn start() -> nix::Result<Self> {
        let (ours, theirs) = socket::pair()?;
        match clone::fork(0, None)? {
            Fork::Child => {
                crate::alloc::forbid();
                drop(ours);
                // Until the other side is closed.
                let _gone = socket::receive(theirs.as_fd(), &mut [0]);
                clone::exit_group(0)
            }
            Fork::Parent { pid, pidfd } => Ok(Self { pid, pidfd, _end: ours }),
        }
    }

    /// Whether somebody has killed it, or it could not be known: the scope is gone then, or going.
    pub(super) fn has_died(&self) -> bool {
        clone::wait_readable(self.pidfd.as_fd(), 0).unwrap_or(true)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have been killed with its cgroup; a frozen one dies when it is let go.
        if clone::kill(self.pidfd.as_fd(), libc::SIGKILL).is_ok() {
            let _status = clone::wait(self.pidfd.as_fd());
        }
    }
}

impl Unit {
    pub(super) fn of(scope: &Scope) -> Self {
        Self { name: scope.unit.clone(), manager: scope.manager.clone() }
    }

    /// Whether a process is put into the scope by systemd: this one runs outside of what its user may rearrange.
    pub(super) fn joins_by_bus(&self, own: &OwnCgroup) -> bool {
        self.manager.as_ref().is_some_and(|manager| !unit::is_below(own, manager))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(bus::Error) -> Error {
        let (unit, user) = (self.name.clone(), self.manager.is_some());
        move |error| error_of(doing, unit.clone(), user, &error)
    }

    /// Starts the scope, in which the holder is then; systemd has made the cgroup when this returns.
    pub(super) fn start(&self, scope: &Scope, limits: &[Write]) -> Result<Holder, Error> {
        let failed = self.failed("start");
        let mut bus = connect(scope.manager.is_some()).map_err(&failed)?;
        let holder = Holder::start().map_err(|errno| failed(std::io::Error::from(errno).into()))?;
        let arguments = [
            Value::Text(self.name.clone()),
            Value::Text("replace".to_owned()),
            Value::Properties(known(&mut bus, properties(scope, limits, holder.pid.unsigned_abs())).map_err(&failed)?),
            Value::NoUnits,
        ];
        let job = match bus.call(MANAGER, "StartTransientUnit", &arguments) {
            // What failed stays known until somebody has looked at it.
            Err(error) if error.is("UnitExists") => {
                drop(bus.call(MANAGER, "ResetFailedUnit", &arguments[..1]));
                bus.call(MANAGER, "StartTransientUnit", &arguments)
            }
            started => started,
        };
        let job = job.and_then(|reply| reply.text()).map_err(&failed)?;
        match bus.wait_job(&job).map_err(&failed)?.as_str() {
            "done" => Ok(holder),
            result => {
                let cause = format!("its job ended with {result:?}");
                Err(Error::Systemd { doing: "start", unit: self.name.clone(), cause, hint: Some(STATUS) })
            }
        }
    }

    /// What cannot be done in a scope whose [`Holder`] has died.
    pub(super) fn lost(&self) -> Error {
        let cause = "the process that kept it for the container died".to_owned();
        Error::Systemd { doing: "keep", unit: self.name.clone(), cause, hint: Some(STATUS) }
    }

    /// Changes limits of a scope that runs.
    pub(super) fn set(&self, limits: &[Write]) -> Result<(), Error> {
        let properties = unit::limits(limits);
        if properties.is_empty() {
            return Ok(());
        }
        let failed = self.failed("set the limits of");
        let mut bus = connect(self.manager.is_some()).map_err(&failed)?;
        let properties = known(&mut bus, properties).map_err(&failed)?;
        let arguments = [Value::Text(self.name.clone()), Value::Bool(true), Value::Properties(properties)];
        bus.call(MANAGER, "SetUnitProperties", &arguments).map(drop).map_err(&failed)
    }

    /// Puts a process into the scope, in the cgroup `below` the scope's own (empty for that).
    pub(super) fn attach(&self, pid: u32, below: &str) -> Result<(), Error> {
        let failed = self.failed("add a process to");
        let mut bus = connect(self.manager.is_some()).map_err(&failed)?;
        let below = if below.is_empty() { String::new() } else { format!("/{below}") };
        let arguments = [Value::Text(self.name.clone()), Value::Text(below), Value::U32s(vec![pid])];
        bus.call(MANAGER, "AttachProcessesToUnit", &arguments).map(drop).map_err(&failed)
    }

    /// Stops the scope and waits until it is gone; one that is gone already is no error.
    pub(super) fn stop(&self) -> Result<(), Error> {
        let failed = self.failed("stop");
        let mut bus = connect(self.manager.is_some()).map_err(&failed)?;
        let arguments = [Value::Text(self.name.clone()), Value::Text("replace".to_owned())];
        match bus.call(MANAGER, "StopUnit", &arguments) {
            Ok(reply) => {
                let job = reply.text().map_err(&failed)?;
                bus.wait_job(&job).map_err(&failed)?;
                Ok(())
            }
            Err(error) if error.is("NoSuchUnit") => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// The part of a cgroup's path that is below the scope's own.
    pub(super) fn below<'a>(&self, path: &'a str) -> &'a str {
        let own = unit::cgroup_name(&self.name);
        path.split_once(&own).map_or("", |(_, below)| below.trim_start_matches('/'))
    }
}

const STATUS: &str = "`systemctl status` and the journal say why";

/// What every container's scope has, then its limits, then its own, which come in the place of the former.
fn properties(scope: &Scope, limits: &[Write], holder: u32) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = [
        ("Slice", Value::Text(scope.slice.clone())),
        ("PIDs", Value::U32s(vec![holder])),
        ("Delegate", Value::Bool(true)),
        ("DefaultDependencies", Value::Bool(false)),
        // A scope whose container ran out of memory is not kept for somebody to look at.
        ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
        ("CPUAccounting", Value::Bool(true)),
        ("IOAccounting", Value::Bool(true)),
        ("MemoryAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    all.extend(unit::limits(limits));
    for (name, value) in &scope.properties.0 {
        all.retain(|(own, _)| own != name);
        all.push((name.clone(), value.clone()));
    }
    all
}

/// Without what this systemd is too old to know: it is in the files then, until systemd reloads.
fn known(bus: &mut Bus, mut properties: Vec<(String, Value)>) -> Result<Vec<(String, Value)>, bus::Error> {
    if properties.iter().any(unit::is_idle) && unit::major(&ask(bus, "Version")?) < unit::IDLE_SINCE {
        properties.retain(|property| !unit::is_idle(property));
    }
    Ok(properties)
}

/// A property of systemd itself.
fn ask(bus: &mut Bus, property: &str) -> Result<String, bus::Error> {
    let arguments = ["org.freedesktop.systemd1.Manager", property].map(|text| Value::Text(text.to_owned()));
    bus.call(PROPERTIES, "Get", &arguments)?.text_in_variant()
}

/// The cgroup of the systemd of the user's session.
///
/// # Errors
/// When there is none that answers.
pub fn probe_user_manager() -> Result<String, Error> {
    let failed = |error: bus::Error| error_of("ask", "the user's systemd".to_owned(), true, &error);
    connect(true).and_then(|mut bus| ask(&mut bus, "ControlGroup")).map_err(failed)
}

fn error_of(doing: &'static str, unit: String, user: bool, error: &bus::Error) -> Error {
    let hint = match error {
        bus::Error::Connect { .. } if user => Some(
            "the user needs a systemd session: `loginctl enable-linger USER`, and XDG_RUNTIME_DIR in the environment",
        ),
        bus::Error::Connect { .. } => {
            Some("systemd and D-Bus must run here: leave out --systemd-cgroup where they do not")
        }
        _ if error.is("UnitExists") => Some("another container has the same linux.cgroupsPath, or one was not deleted"),
        bus::Error::Timeout => Some(STATUS),
        _ => None,
    };
    Error::Systemd { doing, unit, cause: error.to_string(), hint }
}

/// The bus; systemd's own socket where there is no bus (yet).
fn connect(user: bool) -> Result<Bus, bus::Error> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (bus, private) = if user {
        let runtime = set("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{}", outer_uid()));
        let bus = set("DBUS_SESSION_BUS_ADDRESS").unwrap_or_else(|| format!("unix:path={runtime}/bus"));
        (bus, format!("unix:path={runtime}/systemd/private"))
    } else {
        let bus = set("DBUS_SYSTEM_BUS_ADDRESS");
        (bus.unwrap_or_else(|| "unix:path=/run/dbus/system_bus_socket".into()), "unix:path=/run/systemd/private".into())
    };
    match Bus::connect(&bus, true) {
        Err(first @ bus::Error::Connect { .. }) => Bus::connect(&private, false).map_err(|_| first),
        result => result,
    }
}

/// This user's id outside of the user namespace that the caller may have made around this process.
pub(crate) fn outer_uid() -> u32 {
    let own = nix::unistd::geteuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let numbers = map.lines().map(|line| line.split_whitespace().map(str::parse::<u32>).collect::<Vec<_>>());
    let found = numbers.filter_map(|line| match line.as_slice() {
        [Ok(inside), Ok(outside), Ok(count)] => {
            own.checked_sub(*inside).filter(|at| at < count).and_then(|at| outside.checked_add(at))
        }
        _ => None,
    });
    found.into_iter().next().unwrap_or(own)
}
