//! `pent update`: new limits for a container.
#![forbid(unsafe_code)]

use super::{Explained, Session, hinted};
use crate::cgroup::UpdateContext;
use crate::cli::{Rootless, Update};
use crate::report::Reporter;
use crate::state::{Error, Status};
use anyhow::{Context as _, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use std::io::Read;
use std::path::Path;

/// Applies the limits given as JSON, or else as flags.
pub(super) fn run(session: &Session<'_>, args: Update) -> Result<u8> {
    let (mut dir, state) = session.load(&args.id)?;
    refuse_rdt(&args)?;
    let resources = match &args.resources {
        Some(path) => read(path, session.report)?,
        None => from_flags(&args, session.report),
    };
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
    Ok(0)
}

fn refuse_rdt(args: &Update) -> Result<()> {
    let what = match (&args.l3_cache_schema, &args.mem_bw_schema) {
        (Some(schema), _) if !schema.is_empty() => "Intel RDT/CAT: l3 cache schema is not enabled",
        (_, Some(schema)) if !schema.is_empty() => "Intel RDT/MBA: memory bandwidth schema is not enabled",
        _ => return Ok(()),
    };
    Err(hinted(what, "resctrl is not supported by this runtime; leave the option out"))
}

/// Reads LinuxResources from a file, or from standard input for `-`. Fields that mean nothing are warned about.
fn read(path: &Path, report: &Reporter) -> Result<LinuxResources> {
    let mut bytes = Vec::new();
    let name = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
        "standard input".to_owned()
    } else {
        bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        path.display().to_string()
    };
    parse(&bytes, |unknown| report.warn(format!("{name}: {unknown} is not a field of LinuxResources: ignored")))
        .with_context(|| format!("cannot read resources from {name}"))
}

fn parse(bytes: &[u8], mut unknown: impl FnMut(String)) -> Result<LinuxResources> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let resources = serde_ignored::deserialize(tracked, |path| unknown(path.to_string()));
    match resources {
        Ok(resources) => json.end().map(|()| resources).map_err(Into::into),
        Err(error) => match track.path().to_string() {
            path if path == "." || path == "?" => Err(error.into()),
            path => Err(anyhow::Error::from(error).context(path)),
        },
    }
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
    fn containerd_s_json() {
        let none = |unknown: String| panic!("{unknown}");
        let json = br#"{"memory":{"limit":33554432,"swap":-1},"cpu":{"shares":2,"cpus":"0"},"pids":{"limit":100}}"#;
        let resources = parse(json, none).unwrap();
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(33_554_432));
        assert_eq!(resources.cpu().as_ref().unwrap().cpus().as_deref(), Some("0"));
        let mut ignored = Vec::new();
        parse(br#"{"memory":{"limt":1},"x":2}"#, |unknown| ignored.push(unknown)).unwrap();
        assert_eq!(ignored.len(), 2);
        assert!(ignored[0].contains("memory") && ignored[0].ends_with("limt"), "{ignored:?}");
        for (bad, want) in [
            (r#"{"memory":{"limit":"1"}}"#, "memory.limit: invalid type"),
            ("{", "EOF while parsing"),
            ("{} x", "trailing characters"),
        ] {
            let error = parse(bad.as_bytes(), |_| {}).unwrap_err();
            assert!(format!("{error:#}").starts_with(want), "{error:#}");
        }
    }
}
