//! Namespaces, the network, names, kernel parameters and hooks.
#![forbid(unsafe_code)]

use super::{Cut, HookCheck};
use crate::plan::hardening::{Need, Requirement};
use crate::profile::format::{Mode, Reach, Rule};
use oci_spec::runtime::{Hook, LinuxNamespace, LinuxNamespaceType, Spec};

/// Variables with which a program loads code before or in the place of its own; a `*` at the end stands for anything.
const LOADS_CODE: [&str; 18] = [
    "LD_*",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "MALLOC_CHECK_",
    "BASH_ENV",
    "BASH_FUNC_*",
    "ENV",
    "SHELLOPTS",
    "PYTHON*",
    "PERL5*",
    "PERLLIB",
    "RUBYLIB",
    "RUBYOPT",
    "NODE_*",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "OPENSSL_*",
];

fn loads_code(name: &str) -> bool {
    LOADS_CODE.iter().any(|known| known.strip_suffix('*').map_or(name == *known, |start| name.starts_with(start)))
}

fn is_new(namespace: &LinuxNamespace) -> bool {
    namespace.path().as_ref().is_none_or(|path| path.as_os_str().is_empty())
}

fn new(kind: LinuxNamespaceType) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind);
    namespace
}

impl Cut<'_> {
    pub(super) fn namespaces(&mut self, spec: &mut Spec) {
        let rules = &self.profile.namespaces;
        let mut linux = spec.linux().clone().unwrap_or_default();
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        if let Some(joinable) = &rules.joinable {
            for (at, namespace) in namespaces.iter_mut().enumerate() {
                if is_new(namespace) || joinable.contains(&namespace.typ()) {
                    continue;
                }
                let path = format!("linux.namespaces[{at}].path");
                let requested = format!("the {} namespace of another", namespace.typ());
                if namespace.typ() == LinuxNamespaceType::User {
                    self.refuse(
                        Rule::Namespaces,
                        path,
                        format!("{requested} is asked for, only one of its own allowed"),
                    );
                } else if self.beyond(Rule::Namespaces, path, requested, "one of its own") {
                    namespace.set_path(None);
                }
            }
        }
        for &kind in rules.own.iter().flatten() {
            if let Some(at) = namespaces.iter().position(|namespace| namespace.typ() == kind) {
                self.not_the_hosts(Rule::Namespaces, at, &namespaces[at]);
                continue;
            }
            let path = "linux.namespaces";
            let requested = format!("the {kind} namespace of the host");
            if kind == LinuxNamespaceType::User {
                self.refuse(
                    Rule::Namespaces,
                    path,
                    "a user namespace of its own is missing, and its mappings are not known",
                );
            } else if kind == LinuxNamespaceType::Time && self.host.lacks_time_namespace {
                self.cannot(Rule::Namespaces, path, "this kernel has no time namespaces");
            } else if self.beyond(Rule::Namespaces, path, requested, "one of its own") {
                namespaces.push(new(kind));
            }
        }
        if !namespaces.is_empty() {
            linux.set_namespaces(Some(namespaces));
            spec.set_linux(Some(linux));
        }
    }

    /// Whose a namespace is that is joined by path, only the kernel can tell: it is compared before the program starts.
    fn not_the_hosts(&mut self, rule: Rule, at: usize, namespace: &LinuxNamespace) {
        if is_new(namespace) || self.profile.mode(rule) == Mode::Warn {
            return;
        }
        let from = format!("linux.namespaces[{at}].path, profile {}, rule {rule}", self.profile.name);
        let need = Need::Namespace(crate::plan::kind_of(namespace.typ()));
        let required = &mut self.done.hardening.require;
        if !required.iter().any(|known| known.need == need) {
            required.push(Requirement { need, from });
        }
    }

    pub(super) fn network(&mut self, spec: &mut Spec) {
        let reach = self.profile.network.reach.unwrap_or(Reach::Host);
        if reach == Reach::Host {
            return;
        }
        let mut linux = spec.linux().clone().unwrap_or_default();
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        let at = namespaces.iter().position(|namespace| namespace.typ() == LinuxNamespaceType::Network);
        match at {
            None => {
                if self.beyond(
                    Rule::Network,
                    "linux.namespaces",
                    "the host's network",
                    "a network namespace of its own",
                ) {
                    namespaces.push(new(LinuxNamespaceType::Network));
                }
            }
            Some(at) if reach == Reach::None && !is_new(&namespaces[at]) => {
                let path = format!("linux.namespaces[{at}].path");
                if self.beyond(Rule::Network, path, "the network of another", "no network but loopback") {
                    namespaces[at].set_path(None);
                }
            }
            Some(at) => self.not_the_hosts(Rule::Network, at, &namespaces[at]),
        }
        if !namespaces.is_empty() {
            linux.set_namespaces(Some(namespaces));
        }
        if linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
            let mut names: Vec<_> = linux.net_devices().iter().flatten().map(|(name, _)| name.clone()).collect();
            names.sort();
            if self.beyond(Rule::Network, "linux.netDevices", names.join(", "), "no device of the host") {
                linux.set_net_devices(None);
            }
        }
        spec.set_linux(Some(linux));
    }

    pub(super) fn hostname(&mut self, spec: &mut Spec) {
        let Some(default) = &self.profile.hostname.default else { return };
        let own = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
        // In a namespace that is joined, the name is what its first container has set.
        let is_own = own.into_iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Uts && is_new(namespace));
        let unnamed = spec.hostname().as_ref().is_none_or(String::is_empty);
        if is_own && unnamed && self.open(Rule::Hostname, "hostname", default) {
            spec.set_hostname(Some(default.clone()));
        }
    }

    pub(super) fn sysctls(&mut self, spec: &mut Spec) {
        let Some(allow) = &self.profile.sysctls.allow else { return };
        let Some(linux) = spec.linux_mut() else { return };
        let Some(mut values) = linux.sysctl().clone() else { return };
        let mut names: Vec<_> = values.keys().cloned().collect();
        names.sort();
        for name in names {
            // Both spellings of sysctl(8) are read: net/ipv4/ip_forward is net.ipv4.ip_forward.
            let dotted = crate::spec::sysctl::path(&name).map_or_else(|| name.clone(), |path| path.replace('/', "."));
            if allow.iter().any(|pattern| pattern.matches(&dotted)) {
                continue;
            }
            let requested = format!("{name}={}", values[&name]);
            if self.beyond(Rule::Sysctls, format!("linux.sysctl[{name:?}]"), requested, "the kernel's default") {
                values.remove(&name);
            }
        }
        linux.set_sysctl(Some(values));
    }

    #[allow(deprecated, reason = "prestart hooks are run, so they are checked")]
    pub(super) fn hooks(&mut self, spec: &mut Spec) {
        if self.profile.hooks.allow.is_none() {
            return;
        }
        let Some(hooks) = spec.hooks_mut() else { return };
        for (kind, get, set) in [
            ("prestart", oci_spec::runtime::Hooks::prestart as Get, oci_spec::runtime::Hooks::set_prestart as Set),
            ("createRuntime", oci_spec::runtime::Hooks::create_runtime, oci_spec::runtime::Hooks::set_create_runtime),
            (
                "createContainer",
                oci_spec::runtime::Hooks::create_container,
                oci_spec::runtime::Hooks::set_create_container,
            ),
            (
                "startContainer",
                oci_spec::runtime::Hooks::start_container,
                oci_spec::runtime::Hooks::set_start_container,
            ),
            ("poststart", oci_spec::runtime::Hooks::poststart, oci_spec::runtime::Hooks::set_poststart),
            ("poststop", oci_spec::runtime::Hooks::poststop, oci_spec::runtime::Hooks::set_poststop),
        ] {
            let Some(listed) = get(hooks).clone() else { continue };
            let mut kept = Vec::new();
            for (at, mut hook) in listed.iter().cloned().enumerate() {
                let path = format!("hooks.{kind}[{at}]");
                if self.hook(&path, &mut hook) {
                    kept.push(hook);
                }
            }
            if kept != listed {
                set(hooks, Some(kept).filter(|kept| !kept.is_empty()));
            }
        }
    }

    /// Whether a hook is kept.
    fn hook(&mut self, at: &str, hook: &mut Hook) -> bool {
        let path = hook.path().as_path();
        let allowed = self.profile.hooks.allow.iter().flatten().find(|hook| hook.path.path() == path);
        let Some(allowed) = allowed else {
            return !self.beyond(Rule::Hooks, format!("{at}.path"), path.display(), "no such hook");
        };
        if let Some(sha256) = &allowed.sha256 {
            self.done.hooks.push(HookCheck {
                path: path.to_owned(),
                sha256: sha256.clone(),
                at: format!("{at}.path"),
                profile: self.profile.name.clone(),
            });
        }
        self.hook_environment(at, hook);
        true
    }

    /// It is the program that the profile names only as long as it runs no other code.
    fn hook_environment(&mut self, at: &str, hook: &mut Hook) {
        let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        let names: Vec<_> = hook.env().iter().flatten().map(|variable| name(variable)).collect();
        let names: Vec<_> = names.into_iter().filter(|name| loads_code(name)).collect();
        if !names.is_empty()
            && self.beyond(Rule::Hooks, format!("{at}.env"), names.join(", "), "no variable that makes it load code")
        {
            let kept = hook.env().iter().flatten().filter(|variable| !loads_code(&name(variable))).cloned().collect();
            hook.set_env(Some(kept));
        }
    }
}

type Get = fn(&oci_spec::runtime::Hooks) -> &Option<Vec<Hook>>;
type Set = fn(&mut oci_spec::runtime::Hooks, Option<Vec<Hook>>) -> &mut oci_spec::runtime::Hooks;
