//! The pure half: from a configuration to what will be done to the cgroup filesystems.
#![forbid(unsafe_code)]

use super::devices::{self, Policy, Rule};
use super::layout::{Hierarchy, Layout, OwnCgroup};
use super::path::{self, Inner};
use super::program::compile_program;
use super::systemd::{Scope, unit};
use super::{v1, v2};
use crate::report::{Diagnostic, Severity};
use crate::sys::bpf::Insn;
use oci_spec::runtime::LinuxResources;
use serde::Serialize;
use std::collections::HashMap;
use std::path::PathBuf;

/// Who makes the cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Driver {
    /// This runtime, by files.
    #[default]
    Cgroupfs,
    /// systemd, over D-Bus (`--systemd-cgroup`), on version 2.
    Systemd,
    /// Nobody (crun's `--cgroup-manager disabled`): the container stays in the caller's cgroup; limits are an error.
    Disabled,
}

/// Everything that [`compile`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// How the host mounts its cgroups.
    pub layout: &'a Layout,
    /// The caller's own cgroups; only looked at when the path is relative ([`super::is_relative`]).
    pub own: &'a OwnCgroup,
    /// Who makes the cgroup.
    pub driver: Driver,
    /// `linux.cgroupsPath`.
    pub cgroups_path: Option<&'a str>,
    /// The container's id.
    pub id: &'a str,
    /// `linux.resources`.
    pub resources: Option<&'a LinuxResources>,
    /// The device rules added after those of `resources`; [`super::DEFAULT_RULES`] unless there is a reason.
    pub default_devices: &'a [Rule],
    /// The caller may lack the right to make cgroups: without limits and without a path that is no error.
    pub rootless: bool,
    /// The configuration's `ociVersion`: decides what a pids limit of 0 means.
    pub oci_version: &'a str,
    /// The cgroup of the caller's own systemd, for [`Driver::Systemd`] without the rights to ask the system's.
    pub user_manager: Option<&'a str>,
    /// The configuration's annotations: with [`Driver::Systemd`] some are properties of the scope.
    pub annotations: Option<&'a HashMap<String, String>>,
    /// The host uid that shall own the version 2 cgroup: set when the container has its own cgroup namespace and a writable
    /// cgroup mount (runtime-spec, config-linux, Cgroup ownership).
    pub owner: Option<u32>,
}

/// What will be done to the cgroup filesystems, in order: [`super::Cgroup::create`] makes the directories,
/// [`super::Cgroup::apply`] does the rest. Plain data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CgroupPlan {
    /// The scope that systemd makes, and with it the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The directories to make, one per hierarchy.
    pub directories: Vec<Directory>,
    /// Version 2: the controllers that `limits` need in the cgroup, so in every ancestor's `cgroup.subtree_control`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
    /// Whether a directory that cannot be made is an error; otherwise the container stays in the caller's cgroup.
    pub required: bool,
    /// A rootless caller left the choice of the cgroup to the runtime: only its limits can need one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rootless: bool,
    /// The host uid that shall own the version 2 directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// The limits and device rules.
    #[serde(flatten)]
    pub limits: Limits,
    /// What is asked for and not done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
}

/// One directory to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Directory {
    /// The mount point of the hierarchy.
    pub mount: PathBuf,
    /// Below the mount point, without a leading `/`.
    pub path: String,
    /// The controllers of the hierarchy; none for version 2.
    pub controllers: Vec<String>,
    /// Joined when possible, and no error when not: named hierarchies, and the version 2 tree of a hybrid layout (as runc).
    pub optional: bool,
}

/// What is written to a cgroup that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Refuse to set a memory limit that is already exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_check: Option<MemoryCheck>,
    /// The writes, in order.
    pub writes: Vec<Write>,
    /// Which devices may be used.
    pub devices: DevicePlan,
}

/// A limit that must not be below what is used (`memory.checkBeforeUpdate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryCheck {
    /// The limit of memory in bytes, 0 for none.
    pub limit: i64,
    /// The limit of memory and swap in bytes, 0 for none.
    pub swap: i64,
}

/// One write to one control file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Write {
    /// The controller that the file belongs to; on version 1 it says which hierarchy.
    pub controller: String,
    /// The file's name.
    pub file: String,
    /// What is written, in one write(2).
    pub value: String,
    /// The JSON path of the setting that asks for it.
    pub spec_path: String,
    /// What to do when there is no such file.
    #[serde(skip_serializing_if = "IfMissing::is_fail")]
    pub if_missing: IfMissing,
    /// The kernel checks the value against another file that is written later (limit and swap, period and quota): when it
    /// answers EINVAL, try again after the controller's other writes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
}

/// What to do when a control file does not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IfMissing {
    /// It is an error: the limit cannot be set.
    #[default]
    Fail,
    /// The kernel cannot do otherwise than what is asked for.
    Ignore,
    /// Another file has the same effect.
    Else {
        /// Its name.
        file: String,
        /// What to write to it.
        value: String,
    },
}

impl IfMissing {
    fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}

/// Which devices the container may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum DevicePlan {
    /// Left as they are: an update without device rules, or a rootless container, which can neither make nor be given
    /// devices that its user has not.
    #[default]
    Untouched,
    /// By `devices.allow` and `devices.deny`.
    Files {
        /// The rules in words, in order.
        rules: Vec<String>,
        /// What they come to.
        #[serde(skip)]
        policy: Policy,
    },
    /// By a program.
    Program {
        /// The rules in words, in order.
        rules: Vec<String>,
        /// Nothing when everything is allowed.
        instructions: Option<Vec<Insn>>,
    },
}

/// Limits under construction, with everything that is wrong about them.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    /// The JSON path of the resources: `linux.resources`, or empty for an update.
    pub(super) base: &'a str,
    /// The configuration's `ociVersion`.
    pub(super) oci_version: &'a str,
    /// What the cgroup has now.
    pub(super) now: Now,
    pub(super) limits: Limits,
    pub(super) findings: Vec<Diagnostic>,
}

/// What a version 2 cgroup has now, where an update says only one of two values that the kernel wants together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// `memory.max` in bytes; nothing when unlimited or unknown.
    pub memory_max: Option<i64>,
    /// The quota in `cpu.max` in microseconds; nothing when unlimited or unknown.
    pub cpu_quota: Option<u64>,
    /// The period in `cpu.max` in microseconds, where one that is not asked for has to be told.
    pub cpu_period: Option<u64>,
}

impl Draft<'_> {
    /// The JSON path of a setting below the resources.
    pub(super) fn at(&self, setting: &str) -> String {
        if self.base.is_empty() { setting.to_owned() } else { format!("{}.{setting}", self.base) }
    }

    /// Adds a write; returns it for changes.
    pub(super) fn write(
        &mut self,
        controller: &str,
        file: impl Into<String>,
        value: impl ToString,
        setting: &str,
    ) -> &mut Write {
        let write = Write {
            controller: controller.to_owned(),
            file: file.into(),
            value: value.to_string(),
            spec_path: self.at(setting),
            if_missing: IfMissing::Fail,
            retry: false,
        };
        let at = self.limits.writes.len();
        self.limits.writes.push(write);
        // The element was pushed one line above.
        &mut self.limits.writes[at]
    }

    pub(super) fn error(&mut self, setting: &str, message: impl Into<String>) {
        self.findings.push(Diagnostic::error(self.at(setting), message));
    }

    pub(super) fn warn(&mut self, setting: &str, message: impl Into<String>) {
        self.findings.push(Diagnostic::warning(self.at(setting), message));
    }

    /// What `pids.limit` means: a number for `pids.max`, or nothing for unset.
    ///
    /// Negative is no limit. 0 is a real limit since version 1.3 of the specification (written as 1, as runc 1.4 does: a
    /// cgroup cannot run with less than one task); before, it was what callers sent for "none", and unset.
    pub(super) fn pids_max(&self, limit: i64) -> Option<String> {
        match limit {
            ..=-1 => Some("max".to_owned()),
            0 if is_before_1_3(self.oci_version) => None,
            0 => Some("1".to_owned()),
            limit => Some(limit.to_string()),
        }
    }

    /// Reports a memory limit that is neither bytes nor -1; gives 0 for unset.
    pub(super) fn bytes(&mut self, setting: &str, value: Option<i64>) -> i64 {
        let value = value.unwrap_or(0);
        if value < -1 {
            self.error(setting, format!("invalid memory value: {value}: neither bytes nor -1 for unlimited"));
        }
        value
    }
}

/// Whether a version of the specification is older than 1.3; what cannot be parsed counts as old.
fn is_before_1_3(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (1, 3)
}

/// Decides what to do to the host's cgroup filesystems for a container. Pure.
///
/// # Errors
/// All that is wrong, each with its JSON path, with the warnings among them. On success the warnings are in the plan.
pub fn compile(input: &Input<'_>) -> Result<CgroupPlan, Vec<Diagnostic>> {
    let mut draft = Draft {
        base: "linux.resources",
        oci_version: input.oci_version,
        now: Now::default(),
        limits: Limits::default(),
        findings: Vec::new(),
    };
    let mut plan = CgroupPlan { owner: input.owner, ..CgroupPlan::default() };
    let by_systemd = input.driver == Driver::Systemd;
    let inner = match input.driver {
        Driver::Cgroupfs => {
            path::compile_path(input.cgroups_path, input.id).map_err(|found| draft.findings.push(found)).ok()
        }
        // Engines name a place in the form of the driver they would use otherwise.
        Driver::Systemd | Driver::Disabled => None,
    };

    let version2 = input.layout.is_v2();
    if let Some(resources) = input.resources {
        compile_limits(&mut draft, resources, version2);
    }
    let limited = !draft.limits.writes.is_empty();
    plan.rootless = input.rootless && path::is_default(input.cgroups_path);
    plan.required = limited || !plan.rootless;

    match input.layout {
        _ if input.driver == Driver::Disabled => {
            if limited {
                draft.error("", "limits need a cgroup, and cgroups are disabled");
            }
            plan.required = false;
        }
        Layout::Absent => {
            if plan.required {
                let message = "no cgroup filesystem is mounted";
                draft
                    .findings
                    .push(Diagnostic::error("linux.cgroupsPath", message).hint("mount cgroup2 at /sys/fs/cgroup"));
            }
        }
        Layout::V2 { mount } if by_systemd => match compile_scope(input, &mut draft.findings) {
            Ok((scope, path)) => {
                let directory = Directory { mount: mount.clone(), path, controllers: Vec::new(), optional: false };
                plan.directories = vec![directory];
                plan.scope = Some(scope);
                plan.required = true;
            }
            Err(found) => draft.findings.push(found),
        },
        Layout::V1 { .. } if by_systemd => {
            let message = "the systemd cgroup driver needs cgroup version 2, and this host has version 1";
            draft.findings.push(Diagnostic::error("", message).hint("run without --systemd-cgroup"));
        }
        layout => {
            if let Some(inner) = &inner {
                match place(layout, inner, input.own) {
                    Ok(directories) => plan.directories = directories,
                    Err(found) => draft.findings.push(found),
                }
            }
        }
    }

    if let Layout::V1 { hierarchies, .. } = input.layout
        && input.driver == Driver::Cgroupfs
    {
        check_mounted(&mut draft, hierarchies, !input.rootless);
    }
    if version2 {
        plan.controllers = needed(&draft.limits.writes);
    }

    // A rootless caller may load no program, and its version 1 devices cgroup (if any) is not its own: runc ignores the
    // failure; here it is not tried. Devices are guarded by the user namespace then.
    let enforceable = !input.rootless && !plan.directories.is_empty();
    let rules = input.resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    compile_devices(&mut draft, rules, input.default_devices, version2, enforceable);
    finish(plan, draft)
}

/// Decides what to write to an existing cgroup: `runc update`. `now` matters on version 2 only.
///
/// # Errors
/// As [`compile`]; JSON paths begin at the resources.
pub fn compile_update(
    version2: bool,
    resources: &LinuxResources,
    default_devices: &[Rule],
    rootless: bool,
    oci_version: &str,
    now: Now,
) -> Result<CgroupPlan, Vec<Diagnostic>> {
    let mut draft = Draft { base: "", oci_version, now, limits: Limits::default(), findings: Vec::new() };
    compile_limits(&mut draft, resources, version2);
    if let Some(rules) = resources.devices().as_deref().filter(|rules| !rules.is_empty()) {
        compile_devices(&mut draft, rules, default_devices, version2, !rootless);
    }
    let controllers = if version2 { needed(&draft.limits.writes) } else { Vec::new() };
    finish(CgroupPlan { controllers, required: true, ..CgroupPlan::default() }, draft)
}

/// The version 2 controllers that the files of `writes` belong to. Files of the core and pressure files need none.
fn needed(writes: &[Write]) -> Vec<String> {
    let mut controllers: Vec<String> = Vec::new();
    for Write { controller, file, if_missing, .. } in writes {
        let core = controller == "cgroup" || file.ends_with(".pressure") || *if_missing == IfMissing::Ignore;
        if !core && !controllers.contains(controller) {
            controllers.push(controller.clone());
        }
    }
    controllers
}

/// The scope, and the directory of its cgroup.
fn compile_scope(input: &Input<'_>, findings: &mut Vec<Diagnostic>) -> Result<(Scope, String), Diagnostic> {
    let manager = input.user_manager;
    let place = unit::place(input.cgroups_path, input.id, manager.is_some(), manager.unwrap_or("/"))?;
    let scope = Scope {
        unit: place.unit,
        slice: place.slice,
        manager: manager.map(str::to_owned),
        joined_by_bus: manager.is_some_and(|manager| !unit::is_below(input.own, manager)),
        properties: unit::properties(input.id, input.annotations, findings),
    };
    Ok((scope, place.path))
}

fn compile_limits(draft: &mut Draft<'_>, resources: &LinuxResources, version2: bool) {
    if version2 {
        v2::compile_limits(draft, resources);
    } else {
        v1::compile_limits(draft, resources);
    }
}

fn compile_devices(
    draft: &mut Draft<'_>,
    rules: &[oci_spec::runtime::LinuxDeviceCgroup],
    defaults: &[Rule],
    version2: bool,
    enforceable: bool,
) {
    // Wrong rules are reported even where none can be enforced.
    let (policy, rules) = match devices::compile_policy(rules, defaults, &draft.at("devices")) {
        Ok(found) => found,
        Err(findings) => return draft.findings.extend(findings),
    };
    if !enforceable {
        return;
    }
    let rules = rules.iter().map(ToString::to_string).collect();
    draft.limits.devices = if !version2 {
        DevicePlan::Files { rules, policy }
    } else if policy.allows_everything() {
        DevicePlan::Program { rules, instructions: None }
    } else {
        let instructions = compile_program(&policy);
        if instructions.is_none() {
            draft.error("devices", "too many device rules for one program");
        }
        DevicePlan::Program { rules, instructions }
    };
}

/// The directory of the container in each hierarchy.
fn place(layout: &Layout, inner: &Inner, own: &OwnCgroup) -> Result<Vec<Directory>, Diagnostic> {
    let (hierarchies, unified) = match layout {
        Layout::Absent => return Ok(Vec::new()),
        Layout::V2 { mount } => {
            let path = path::compile_v2(inner, own, "/")?;
            let directory = Directory { mount: mount.clone(), path, controllers: Vec::new(), optional: false };
            return Ok(vec![directory]);
        }
        Layout::V1 { hierarchies, unified } => (hierarchies, unified),
    };
    let mut directories = Vec::with_capacity(hierarchies.len() + 1);
    for hierarchy in hierarchies {
        let Some(first) = hierarchy.controllers.first() else { continue };
        let optional = first.starts_with("name=") || first == "misc";
        match path::compile_v1(inner, own, first, &hierarchy.root) {
            Ok(path) => directories.push(Directory {
                mount: hierarchy.mount.clone(),
                path,
                controllers: hierarchy.controllers.clone(),
                optional,
            }),
            Err(_) if optional => {}
            Err(found) => return Err(found),
        }
    }
    if let Some(unified) = unified
        && let Ok(path) = path::compile_unified(inner, own, &unified.root)
    {
        directories.push(Directory { mount: unified.mount.clone(), path, controllers: Vec::new(), optional: true });
    }
    Ok(directories)
}

/// Version 1: every limit needs its controller's hierarchy, and so do device rules where they are enforced.
fn check_mounted(draft: &mut Draft<'_>, hierarchies: &[Hierarchy], devices: bool) {
    let mounted = |name: &str| hierarchies.iter().any(|hierarchy| hierarchy.controllers.iter().any(|own| own == name));
    let mut missing = Vec::new();
    for Write { controller, file, spec_path, .. } in &draft.limits.writes {
        // Some settings are two files.
        if !mounted(controller) && !missing.iter().any(|known: &Diagnostic| known.path == *spec_path) {
            let message =
                format!("cannot set {controller} limit: the {controller} controller is not mounted (file {file})");
            missing.push(Diagnostic::error(spec_path, message));
        }
    }
    draft.findings.extend(missing);
    if devices && !mounted("devices") {
        draft.error("devices", "the devices controller is not mounted, so device rules cannot be enforced");
    }
}

fn finish(mut plan: CgroupPlan, draft: Draft<'_>) -> Result<CgroupPlan, Vec<Diagnostic>> {
    if draft.findings.iter().any(|found| found.severity == Severity::Error) {
        return Err(draft.findings);
    }
    plan.limits = draft.limits;
    plan.warnings = draft.findings;
    Ok(plan)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
