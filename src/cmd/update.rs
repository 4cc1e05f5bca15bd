//! `pent update`: new limits for a container.
#![forbid(unsafe_code)]

use super::{Explained, Session, hinted};
use crate::cgroup::UpdateContext;
use crate::cli::{Rootless, Update};
use crate::host::Host;
use crate::profile;
use crate::rdt::Rdt;
use crate::report::{Reporter, Severity};
use crate::spec;
use crate::state::{Dir, Error, Status};
use anyhow::{Context as _, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use std::io::Read;
use std::path::Path;

/// Applies the limits given as JSON, or else as flags.
pub(super) fn run(session: &Session<'_>, args: Update) -> Result<u8> {
    let (mut dir, state) = session.load(&args.id)?;
    let rdt = rdt(&args, &dir)?;
    let mut resources = match &args.resources {
        Some(path) => read(path, session.report)?,
        None => {
            let resources = from_flags(&args, session.report);
            check("options", &resources, session.report)?;
            resources
        }
    };
    if !state.profiles.is_empty() {
        hold(&dir, &mut resources, session.report)?;
    }
    dir.lock().explained()?;
    if state.status(&dir).explained()? == Status::Stopped {
        return Err(Error::NotRunning).explained();
    }
    let rootless = match session.global.rootless {
        Rootless::Yes => true,
        Rootless::No => false,
        Rootless::Auto => !nix::unistd::geteuid().is_root(),
    };
    let context = UpdateContext { rootless, oci_version: &state.config_version };
    for warning in state.cgroup.update(&resources, context).explained()? {
        session.report.warn(warning.to_string());
    }
    if let Some((rdt, schemata)) = rdt {
        rdt.limit(&schemata).explained()?;
    }
    Ok(0)
}

/// Holds new limits to the profiles of the container.
fn hold(dir: &Dir, resources: &mut LinuxResources, report: &Reporter) -> Result<()> {
    let config = dir.load_config().explained()?;
    let invalid = |diagnostics| spec::Error::Invalid { path: dir.path().join(spec::FILE_NAME), diagnostics };
    let spec = spec::parse(&config).map_err(invalid).explained()?.spec;
    let memory = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()?.memory().as_ref()?.limit());
    let host = Host::probe(false).explained()?;
    for profile in dir.load_profiles().explained()? {
        let held = profile::tighten_limits(&profile, resources, memory, &host);
        let held =
            held.map_err(|diagnostics| spec::Error::Invalid { path: "resources".into(), diagnostics }).explained()?;
        report.warn_of(&held.warnings);
        for change in held.changes {
            report.warn(change.to_string());
        }
    }
    Ok(())
}

/// The container's class of service with the lines it shall have, if any are given.
fn rdt(args: &Update, dir: &Dir) -> Result<Option<(Rdt, Vec<String>)>> {
    let given = |schema: &Option<String>| schema.clone().filter(|schema| !schema.is_empty());
    let (cache, bandwidth) = (given(&args.l3_cache_schema), given(&args.mem_bw_schema));
    let what = match (&cache, &bandwidth) {
        (None, None) => return Ok(None),
        (Some(_), _) => "Intel RDT/CAT: l3 cache schema is not enabled",
        (None, Some(_)) => "Intel RDT/MBA: memory bandwidth schema is not enabled",
    };
    match dir.load_rdt().explained()? {
        Some(rdt) => Ok(Some((rdt, cache.into_iter().chain(bandwidth).collect()))),
        None => Err(hinted(what, "the container was made without linux.intelRdt; leave the option out")),
    }
}

/// Reads LinuxResources from a file, or from standard input for `-`.
fn read(path: &Path, report: &Reporter) -> Result<LinuxResources> {
    let mut bytes = Vec::new();
    let name = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
        "standard input".to_owned()
    } else {
        bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        path.display().to_string()
    };
    let loaded = match spec::parse_resources(&bytes) {
        Ok(loaded) => loaded,
        Err(found) => return Err(spec::Error::Invalid { path: name.into(), diagnostics: found }).explained(),
    };
    loaded.warnings.iter().for_each(|warning| report.warn(format!("{name}: {warning}")));
    check(&name, &loaded.spec, report)?;
    Ok(loaded.spec)
}

/// The rules that hold for any resources, given as JSON or as flags.
fn check(name: &str, resources: &LinuxResources, report: &Reporter) -> Result<()> {
    let found = spec::validate_resources(resources);
    if found.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(spec::Error::Invalid { path: name.into(), diagnostics: found }).explained();
    }
    found.iter().for_each(|warning| report.warn(format!("{name}: {warning}")));
    Ok(())
}

fn from_flags(args: &Update, report: &Reporter) -> LinuxResources {
    for (flag, given) in [("kernel-memory", args.kernel_memory), ("kernel-memory-tcp", args.kernel_memory_tcp)] {
        if given.is_some() {
            report.warn(format!("setting --{flag} is ignored: the kernel no longer has it"));
        }
    }
    let mut memory = LinuxMemory::default();
    memory.set_limit(args.memory);
    memory.set_reservation(args.memory_reservation);
    memory.set_swap(args.memory_swap);
    let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(args.cpu_share);
    cpu.set_quota(args.cpu_quota);
    cpu.set_burst(args.cpu_burst);
    cpu.set_period(args.cpu_period);
    cpu.set_realtime_period(args.cpu_rt_period);
    cpu.set_realtime_runtime(args.cpu_rt_runtime);
    cpu.set_idle(args.cpu_idle);
    cpu.set_cpus(text(&args.cpuset_cpus));
    cpu.set_mems(text(&args.cpuset_mems));
    let mut resources = LinuxResources::default();
    resources.set_devices(None);
    resources.set_memory(Some(memory));
    resources.set_cpu(Some(cpu));
    if args.blkio_weight.is_some_and(|weight| weight != 0) {
        let mut block = LinuxBlockIo::default();
        block.set_weight(args.blkio_weight);
        resources.set_block_io(Some(block));
    }
    if let Some(limit) = args.pids_limit {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_set() {
        let report = Reporter::new(&crate::cli::Global::default());
        let given =
            Update { memory: Some(-1), cpuset_cpus: Some(String::new()), blkio_weight: Some(0), ..Update::default() };
        let resources = from_flags(&given, &report);
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(-1));
        assert_eq!(resources.memory().as_ref().unwrap().swap(), None);
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.cpus(), cpu.mems(), cpu.shares(), cpu.idle()), (&None, &None, None, None));
        assert!(resources.block_io().is_none() && resources.pids().is_none() && resources.devices().is_none());
        let given = Update { pids_limit: Some(0), blkio_weight: Some(10), cpu_quota: Some(-1), ..Update::default() };
        let resources = from_flags(&given, &report);
        assert_eq!(resources.pids().as_ref().unwrap().limit(), 0);
        assert_eq!(resources.block_io().as_ref().unwrap().weight(), Some(10));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(-1));
    }
}
