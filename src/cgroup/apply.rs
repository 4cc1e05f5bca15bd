//! Setting limits: writes in order, device rules by files or by a program.
#![forbid(unsafe_code)]

use super::devices::Policy;
use super::dir::{Place, is_gone};
use super::plan::{DevicePlan, IfMissing, Limits, MemoryCheck, Write};
use super::{Cgroup, Error};
use crate::sys::bpf::{self, Insn};
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl Cgroup {
    pub(super) fn apply_limits(&self, limits: &Limits) -> Result<(), Error> {
        if let Some(check) = limits.memory_check {
            self.check_memory(check)?;
        }
        Writer { cgroup: self, open: None, deferred: Vec::new() }.run(&limits.writes)
    }

    pub(super) fn apply_device_rules(&self, devices: &DevicePlan) -> Result<(), Error> {
        match devices {
            DevicePlan::Untouched => Ok(()),
            DevicePlan::Files { policy, .. } => self.apply_device_files(policy),
            DevicePlan::Program { instructions, .. } => self.apply_device_program(instructions.as_deref()),
        }
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
        let fresh = place.take_fresh();
        let current = if fresh { all } else { Policy::parse_list(&place.read_if_any("devices.list")?).unwrap_or(all) };
        let mut writes = current.transition(policy);
        if !fresh && current.default_allow && policy.default_allow {
            reset(place)?;
            writes.remove(0);
        }
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
        let fresh = place.take_fresh();
        if instructions.is_none() && fresh {
            return Ok(());
        }
        let failed = |step| move |source| Error::Program { step, path: place.directory(), source };
        let dir = place.dir()?;
        let program = instructions.map(bpf::load_device_program).transpose().map_err(failed("load"))?;
        // Another update may replace the same program at the same time: look again then.
        for _ in 0..20 {
            let old = if fresh { Vec::new() } else { attached(dir).map_err(failed("query"))? };
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

/// Resets a cgroup that allows by default to just that. The kernel refuses where there are cgroups below (EINVAL), which may hold
/// exceptions of their own: those that this one has stay then.
fn reset(place: &Place) -> Result<(), Error> {
    let (file, value) = ("devices.allow", "a");
    match place.write(file, value) {
        Err(source) if source.raw_os_error() != Some(libc::EINVAL) => Err(Error::Write {
            path: place.directory().join(file),
            value: value.to_owned(),
            setting: String::new(),
            source,
        }),
        _ => Ok(()),
    }
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
