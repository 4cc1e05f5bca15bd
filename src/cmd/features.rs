//! `pent features`: the features document of the specification (features.md, features-linux.md), from the tables of the code.
#![forbid(unsafe_code)]

use super::print;
use crate::seccomp::Abi;
use crate::spec::{VERSION_MAX, VERSION_MIN, known};
use anyhow::{Context as _, Result};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    ApparmorBuilder, Arch, CgroupBuilder, Features, FeaturesBuilder, IDMapBuilder, IntelRdtBuilder,
    LinuxFeatureBuilder, LinuxNamespaceType, LinuxSeccompAction, MemoryPolicyBuilder, MountExtensionsBuilder,
    NetDevicesBuilder, SeccompBuilder, SelinuxBuilder,
};
use std::collections::HashMap;

/// What is beyond the specification, by an annotation as features.md wants: the newest ABI of Landlock that rules are written for. One
/// only, as the type has no order for several.
const LANDLOCK: &str = "run.pent.landlock.abi";

/// Prints the document, and nothing else: callers take any word on stderr for a failure.
pub(super) fn run() -> Result<u8> {
    let features = features().context("cannot put the features together")?;
    let mut text = serde_json::to_string_pretty(&features)?;
    text.push('\n');
    print(&text)
}

/// What this version understands, whatever the host can do. Every property is given, so that none of them is `null`, which
/// would mean that it is not known.
fn features() -> Result<Features, OciSpecError> {
    let linux = LinuxFeatureBuilder::default()
        .namespaces(typed::<LinuxNamespaceType>(&known::namespaces()))
        .capabilities(owned(known::capabilities()))
        .cgroup(CgroupBuilder::default().v1(true).v2(true).systemd(true).systemd_user(true).rdma(true).build()?)
        .seccomp(
            SeccompBuilder::default()
                .enabled(Abi::NATIVE.is_some())
                .actions(typed::<LinuxSeccompAction>(&known::seccomp_actions()))
                .operators(owned(known::seccomp_operators()))
                .archs(architectures())
                .known_flags(owned(known::seccomp_flags()))
                .supported_flags(owned(known::seccomp_flags()))
                .build()?,
        )
        .apparmor(ApparmorBuilder::default().enabled(true).build()?)
        .selinux(SelinuxBuilder::default().enabled(true).build()?)
        .intel_rdt(IntelRdtBuilder::default().enabled(true).schemata(true).monitoring(true).build()?)
        .memory_policy(
            MemoryPolicyBuilder::default()
                .modes(owned(known::memory_policy_modes()))
                .flags(owned(known::memory_policy_flags()))
                .build()?,
        )
        .mount_extensions(
            MountExtensionsBuilder::default().idmap(IDMapBuilder::default().enabled(true).build()?).build()?,
        )
        .net_devices(NetDevicesBuilder::default().enabled(true).build()?)
        .build()?;
    FeaturesBuilder::default()
        .oci_version_min(VERSION_MIN)
        .oci_version_max(VERSION_MAX)
        .hooks(owned(known::hooks()))
        .mount_options(owned(known::mount_options()))
        .linux(linux)
        .annotations(HashMap::from([(LANDLOCK.to_owned(), crate::plan::landlock::newest_abi().to_string())]))
        .potentially_unsafe_config_annotations(unsafe_annotations())
        .build()
}

/// Those that change what the runtime does: an engine does not let just anybody set them. A prefix ends in a dot.
fn unsafe_annotations() -> Vec<String> {
    use crate::spec::{FAIL_UNKNOWN_SYSCALL, KEEP_GROUPS};
    let of_crun = [KEEP_GROUPS, FAIL_UNKNOWN_SYSCALL];
    owned([crate::cgroup::SYSTEMD_PROPERTY].into_iter().chain(of_crun).chain([super::refusals::ANNOTATION]).collect())
}

fn owned(names: Vec<&'static str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// Names as the types have them. All of them are among the types: a test of [`crate::spec`] sees to it.
fn typed<T: serde::de::DeserializeOwned>(names: &[&str]) -> Vec<T> {
    names.iter().filter_map(|name| serde_json::from_value((*name).into()).ok()).collect()
}

/// The architectures whose system calls the filter generator knows.
fn architectures() -> Vec<Arch> {
    typed::<Arch>(&known::seccomp_architectures()).into_iter().filter(|arch| Abi::from_oci(*arch).is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn nothing_is_lost_on_the_way_to_the_types() {
        let features = features().expect("features");
        let linux = features.linux().clone().expect("linux");
        let seccomp = linux.seccomp().clone().expect("seccomp");
        assert_eq!(linux.namespaces().as_ref().map(Vec::len), Some(8));
        assert_eq!(seccomp.actions().as_ref().map(Vec::len), Some(known::seccomp_actions().len()));
        assert_eq!(seccomp.archs().as_ref().map(Vec::len), Some(Abi::ALL.len()));
    }

    #[test]
    fn callers_find_what_they_look_for() {
        let json = serde_json::to_value(features().expect("features")).expect("JSON");
        let has = |pointer: &str, name: &str| {
            json.pointer(pointer).and_then(Value::as_array).is_some_and(|names| names.iter().any(|n| n == name))
        };
        // containerd's CRI plugin: recursive read-only mounts, and user namespaces.
        assert!(has("/mountOptions", "rro"));
        assert!(has("/linux/namespaces", "user"));
        assert_eq!(json.pointer("/linux/mountExtensions/idmap/enabled"), Some(&Value::Bool(true)));
        // CRI-O.
        assert_eq!(json["ociVersionMin"], "1.0.0");
        assert_eq!(json["ociVersionMax"], "1.3.0");
        // The names of the specification, where the types derive theirs.
        assert!(has("/linux/seccomp/archs", "SCMP_ARCH_X86_64"));
        assert!(has("/linux/seccomp/archs", "SCMP_ARCH_MIPSEL64N32"));
        assert!(has("/linux/seccomp/actions", "SCMP_ACT_KILL_PROCESS"));
        assert!(has("/linux/seccomp/knownFlags", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"));
        assert!(has("/linux/capabilities", "CAP_CHECKPOINT_RESTORE"));
        assert!(!json.to_string().contains("null"), "{json}");
    }

    #[test]
    fn document() {
        insta::assert_json_snapshot!(features().expect("features"));
    }
}
