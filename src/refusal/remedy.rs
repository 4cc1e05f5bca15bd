//! What would allow what was refused: for `pent sandbox` the flag, for a bundle the change of config.json.
#![forbid(unsafe_code)]

use super::facts::is_below;
use super::record::{About, Layer, Refusal, Registers};
use super::text::shell_word;
use super::unwise;
use crate::fences::Fence;
use crate::sandbox::net::{CHOSEN, Destination, Host};
use crate::seccomp::{self, Program};
use crate::spec::capability;
use oci_spec::runtime::{LinuxSeccomp, LinuxSyscall, Mount, Spec};
use serde::Serialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;

/// What can be done about a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Remedy {
    /// More flags for the same command.
    Flags {
        /// As a shell takes them.
        flags: String,
        /// What is to be known before they are used.
        #[serde(skip_serializing_if = "Option::is_none")]
        caution: Option<&'static str>,
    },
    /// A change of config.json.
    Patch {
        /// RFC 6902.
        patch: Vec<Operation>,
    },
    /// It could be allowed, and should not be.
    NotRecommended {
        /// Why not.
        why: String,
    },
    /// Nothing that can be said in one line.
    None {
        /// Why, or where to look.
        why: String,
    },
}

/// One operation of JSON Patch (RFC 6902).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Inserts into an array, or sets a member.
    Add {
        /// JSON pointer (RFC 6901).
        path: String,
        /// What is added.
        value: Value,
    },
    /// Sets a member that is there.
    Replace {
        /// JSON pointer.
        path: String,
        /// The new value.
        value: Value,
    },
    /// Removes.
    Remove {
        /// JSON pointer.
        path: String,
    },
}

/// Who asked for the container, and so what they can change.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// The author of a bundle's config.json.
    Bundle(&'a Spec),
    /// Whoever typed `pent sandbox`.
    Sandbox(&'a Flags),
    /// Whoever chose these profiles, which decide whatever config.json asks for.
    Held(&'a str),
}

/// What `pent sandbox` was asked for already, as far as remedies depend on it.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// Directories in memory without execution.
    pub tmpfs: Vec<Vec<u8>>,
    /// Paths that are absent in the sandbox, and there on the host.
    pub hidden: Vec<Vec<u8>>,
    /// Where `--ro` and `--rw` have put something of the host.
    pub given: Vec<Vec<u8>>,
    /// The working directory: what is written there is meant to stay.
    pub own: Vec<u8>,
    /// The caller's home.
    pub home: Vec<u8>,
    /// Whether `--net HOST:PORT` is worth a try: not when the program did not use the proxy that it had.
    pub single_hosts: bool,
    /// What is kept read-only in what may be written to, as it would run later.
    pub kept: Vec<Vec<u8>>,
    /// Whether the root is an image's, of which the host's paths say nothing.
    pub image: bool,
    /// What is hidden, other people's homes and pent's own files: never advised to be opened.
    pub secret: Vec<Vec<u8>>,
    /// Directories that the caller's programs are started from (PATH), with what else starts programs later.
    pub starts: Vec<Vec<u8>>,
    /// Whether an address is this machine's, its own network's or a cloud's; without, every one is taken for that.
    pub is_private: Option<fn(std::net::IpAddr) -> bool>,
    /// The caller is root, whose files a flag makes the program's: without one it is a stranger to them.
    pub maps: bool,
}

impl Asker<'_> {
    /// What can be done about a refusal.
    #[must_use]
    pub fn remedy(&self, refusal: &Refusal) -> Remedy {
        if let Some(why) = unwise(refusal) {
            return Remedy::NotRecommended { why: why.into() };
        }
        match self {
            Self::Bundle(spec) => bundle(spec, refusal),
            Self::Sandbox(flags) => sandbox(flags, refusal),
            Self::Held(profiles) => none(format!("held to profile {profiles}")),
        }
    }
}

fn none(why: impl Into<String>) -> Remedy {
    Remedy::None { why: why.into() }
}

/// System calls that reach kernel code which contained programs do not need: most escapes of the last years began in one of them.
const SURFACE: &[&str] = &[
    "add_key",
    "bpf",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "finit_module",
    "delete_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "request_key",
    "setns",
    "umount2",
    "unshare",
    "userfaultfd",
    "vmsplice",
    "iopl",
    "ioperm",
    "modify_ldt",
    "quotactl",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "nfsservctl",
    "uselib",
    "kcmp",
    "lookup_dcookie",
];

/// Capabilities that are the host's root by another name, or close to it.
const POWERFUL: &[&str] = &[
    "CAP_SYS_ADMIN",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_PTRACE",
    "CAP_SYS_BOOT",
    "CAP_SYS_TIME",
    "CAP_DAC_READ_SEARCH",
    "CAP_MKNOD",
    "CAP_BPF",
    "CAP_PERFMON",
    "CAP_NET_ADMIN",
    "CAP_SYSLOG",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
];

fn unwise(refusal: &Refusal) -> Option<&'static str> {
    match &refusal.about {
        About::Call { args, .. } if refusal.errno == libc::EPERM && outlasting(refusal, args).is_some() => {
            outlasting(refusal, args)
        }
        About::Call { .. } => {
            let family = refusal.action.strip_prefix("socket(").or_else(|| refusal.action.strip_prefix("socketpair("));
            let ordinary = ["AF_UNIX)", "AF_INET)", "AF_INET6)", "AF_NETLINK)"];
            let odd_family = family.is_some_and(|family| !ordinary.contains(&family));
            let namespaces = refusal.action.contains("CLONE_NEW");
            let surface = odd_family || namespaces || SURFACE.contains(&refusal.call);
            surface.then_some("kernel attack surface")
        }
        About::Capability(number, initial) => {
            let name = capability::names(1 << number).concat();
            if *initial {
                Some("needs the host's root")
            } else if POWERFUL.contains(&name.as_str()) {
                Some("close to the host's root")
            } else {
                None
            }
        }
        _ => None,
    }
}

/// Why nobody should allow what would be left when the program has ended.
fn outlasting(refusal: &Refusal, args: &Registers) -> Option<&'static str> {
    Fence::of(refusal.call, &args.0).map(Fence::why)
}

/// Room for what the program writes.
const TMPFS_SIZE: &str = "64m";

/// What takes more than reading.
const CHANGES: &[&str] = &["write", "remove", "change"];

/// Where programs find themselves: an empty directory in the place of one of these is of no use to them.
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt", "/boot"];

fn sandbox(flags: &Flags, refusal: &Refusal) -> Remedy {
    let give = |flag: &str, path: &[u8]| given(format!("{flag} {}", shell_word(path)));
    let write = |path: &[u8]| match unwise::to_write(path, flags) {
        Some(why) => not_recommended(why),
        None => give("--rw", path),
    };
    let subject = refusal.subject.as_slice();
    // Advised only where root is at work.
    let would_map = flags.maps && !flags.own.is_empty() && is_below(subject, &flags.own);
    let about = match refusal.about.clone() {
        About::Directory { empty, .. } if would_map => About::Directory { empty, permitted: true },
        About::File { .. } if would_map => About::File { permitted: true },
        about => about,
    };
    match (refusal.layer, about) {
        (Layer::ReadOnlyMount, _) if flags.kept.iter().any(|kept| is_below(subject, kept)) => {
            Remedy::NotRecommended { why: format!("it would run later; --allow-later-code {}", shell_word(subject)) }
        }
        (Layer::ReadOnlyRoot | Layer::ReadOnlyMount, About::Directory { .. }) if flags.image && subject != b"/" => {
            give("--tmpfs", subject)
        }
        (Layer::ReadOnlyRoot | Layer::ReadOnlyMount, _) if flags.image => {
            none("of the image, which is never written; a copy of yours takes its place with --rw FILE:PATH")
        }
        // To make a name in it is no reason to let a program at everything that is read at the next login.
        (Layer::ReadOnlyRoot | Layer::ReadOnlyMount, About::Directory { .. })
            if subject == flags.home && flags.own != flags.home =>
        {
            given("--home tmpfs")
        }
        (Layer::ReadOnlyRoot | Layer::ReadOnlyMount, About::Directory { empty: false, permitted: false })
            if SYSTEM.iter().any(|system| is_below(subject, system.as_bytes())) =>
        {
            none("the directory is somebody else's on the host as well")
        }
        // In memory where that is as good, or where the host's own directory would refuse as well.
        (Layer::ReadOnlyRoot | Layer::ReadOnlyMount, About::Directory { empty, permitted }) => {
            // What is given by itself is no place for memory.
            let given = flags.given.iter().any(|given| subject == given);
            if given && !permitted {
                return none("the directory is somebody else's on the host as well");
            }
            let stays = given || permitted && (!empty || (!flags.own.is_empty() && is_below(subject, &flags.own)));
            let kernel = ["/proc", "/sys", "/dev"].iter().any(|place| is_below(subject, place.as_bytes()));
            if stays || kernel || subject == b"/" { write(subject) } else { give("--tmpfs", subject) }
        }
        (Layer::ReadOnlyRoot | Layer::ReadOnlyMount, About::File { permitted: true }) => {
            // Of several that are removed, with the directory they are in, this is one.
            let in_own = !flags.own.is_empty() && subject != flags.own && is_below(subject, &flags.own);
            let from = if in_own { &flags.own } else { parent(subject) };
            // Whatever is given in its place, what is to be removed must not be what is never given itself.
            match unwise::to_write(subject, flags) {
                Some(why) => not_recommended(why),
                None => write(if refusal.action == "remove" { from } else { subject }),
            }
        }
        (Layer::ReadOnlyRoot | Layer::ReadOnlyMount, _) => none("the file is somebody else's on the host as well"),
        (Layer::MaskedPath, _) if CHANGES.contains(&refusal.action.as_str()) => not_recommended(
            unwise::to_write(subject, flags).unwrap_or("hidden: holds credentials, or is somebody else's"),
        ),
        // Of the kernel, which tells of the machine, and nobody's secret.
        (Layer::AbsentPath, _) if subject == b"/sys" && flags.hidden.iter().any(|hidden| subject == hidden) => {
            give("--ro", subject)
        }
        (Layer::MaskedPath, _) => not_recommended(unwise::to_show(subject, flags)),
        (Layer::AbsentPath, _) if flags.hidden.iter().any(|hidden| subject == hidden) => {
            not_recommended(unwise::to_show(subject, flags))
        }
        // Of one in another, it is in the inner one.
        (Layer::NoExec, _) => match flags.tmpfs.iter().filter(|place| is_below(subject, place)).max_by_key(|p| p.len())
        {
            Some(place) => {
                let mut place = place.clone();
                place.extend_from_slice(b":exec");
                give("--tmpfs", &place)
            }
            None => none("put the program where programs may be executed"),
        },
        // The proxy is for connections.
        (Layer::NoNetwork | Layer::NoRoute, About::Address(address))
            if flags.single_hosts && refusal.action == "connect" =>
        {
            chosen(flags, &address.to_string(), Some(address.ip()))
        }
        (Layer::NoNetwork | Layer::NoRoute, _) => {
            not_recommended("only the whole network of the host has it, with its local services and a cloud's metadata")
        }
        (Layer::Proxy, About::Place { could_be_asked: true }) => {
            let place = String::from_utf8_lossy(subject);
            match place.parse::<Destination>() {
                Ok(Destination { host: Host::Address(address), .. }) => chosen(flags, &place, Some(address)),
                Ok(_) => chosen(flags, &place, None),
                Err(_) => none("not under this name"),
            }
        }
        (Layer::Proxy, _) if refusal.detail.contains("--net ") => {
            not_recommended("the name leads to this machine, or into its own network")
        }
        (Layer::Proxy, _) => none("not under this name"),
        (Layer::Seccomp, About::Call { profile: Some(profile), .. }) if unwise::is_weak(&profile) => {
            not_recommended("of the profiles, only one that forbids next to nothing has it")
        }
        (Layer::Seccomp, About::Call { profile: Some(profile), .. }) => {
            given(format!("--profile {}", shell_word(profile.as_bytes())))
        }
        (Layer::PidsLimit, About::Limit(Some(limit))) => given(format!("--pids {}", limit.saturating_mul(2))),
        (Layer::MemoryLimit, About::Limit(Some(limit))) => {
            given(format!("--memory {}M", (limit.saturating_mul(2) >> 20).max(1)))
        }
        (Layer::Seccomp, _) => none("the profile does not have it"),
        (Layer::Capability, _) => none("a sandbox has no capabilities"),
        (Layer::Permissions, _) if would_map => {
            give(if CHANGES.contains(&refusal.action.as_str()) { "--rw" } else { "--ro" }, subject)
        }
        (Layer::Permissions, _) => none("owner and mode of the file"),
        (Layer::AbsentPath, _) => none("there is no such file"),
        _ => none("the profile does not have it"),
    }
}

fn given(flags: impl Into<String>) -> Remedy {
    Remedy::Flags { flags: flags.into(), caution: None }
}

fn not_recommended(why: impl Into<String>) -> Remedy {
    Remedy::NotRecommended { why: why.into() }
}

/// A host that the program has chosen: what it sees it can send there.
fn chosen(flags: &Flags, place: &str, address: Option<IpAddr>) -> Remedy {
    let is_private = |address| flags.is_private.is_none_or(|is_private| is_private(address));
    if address.is_some_and(is_private) {
        return not_recommended("an address of this machine, its own network or a cloud");
    }
    Remedy::Flags { flags: format!("--net {place}"), caution: Some(CHOSEN) }
}

fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) | None => b"/",
        Some(at) => &path[..at],
    }
}

fn add(path: impl Into<String>, value: Value) -> Operation {
    Operation::Add { path: path.into(), value }
}

fn remove(path: impl Into<String>) -> Operation {
    Operation::Remove { path: path.into() }
}

fn patch(operation: Operation) -> Remedy {
    Remedy::Patch { patch: vec![operation] }
}

fn bundle(spec: &Spec, refusal: &Refusal) -> Remedy {
    let subject = refusal.subject.as_slice();
    match (refusal.layer, &refusal.about) {
        (Layer::Seccomp, About::Call { arch, nr, args, .. }) if refusal.detail.is_empty() => {
            let meets = |filter: &Program| filter.verdict(*arch, *nr, args.0);
            allow_call(spec, refusal, meets)
        }
        (Layer::Seccomp, _) => none(format!("profile {}", refusal.detail)),
        (Layer::Capability, About::Capability(number, false)) => {
            give_capability(spec, &capability::names(1 << number).concat())
        }
        (Layer::ReadOnlyRoot | Layer::ReadOnlyMount, about) => make_writable(spec, refusal, about),
        (Layer::MaskedPath, _) => match position(spec, "maskedPaths", subject) {
            Some(path) => patch(remove(path)),
            None => none("linux.maskedPaths"),
        },
        (Layer::NoExec, _) => match mount_over(spec, subject).and_then(|(at, mount)| option_of(at, mount, "noexec")) {
            Some(path) => patch(remove(path)),
            None => none("a mount option noexec"),
        },
        (Layer::NoNetwork, _) => match network_namespace(spec) {
            Some(at) => patch(remove(format!("/linux/namespaces/{at}"))),
            None => none("the network namespace of /linux/namespaces leads nowhere"),
        },
        (Layer::NoRoute, _) => none("the network namespace has no route to there"),
        (Layer::PidsLimit, About::Limit(Some(limit))) => patch(Operation::Replace {
            path: "/linux/resources/pids/limit".into(),
            value: json!(limit.saturating_mul(2)),
        }),
        (Layer::MemoryLimit, About::Limit(Some(limit))) => patch(Operation::Replace {
            path: "/linux/resources/memory/limit".into(),
            value: json!(limit.saturating_mul(2)),
        }),
        (Layer::Permissions, _) => none("owner and mode of the file, for /process/user"),
        (Layer::AbsentPath, _) => none("not in the root file system, nor in /mounts"),
        _ => none("config.json does not decide this"),
    }
}

/// Every rule that has denied the call loses its name, and where the default denies, a rule allows it. `verdict`: of a filter, for the
/// call as it was made.
fn allow_call(spec: &Spec, refusal: &Refusal, verdict: impl Fn(&Program) -> u32) -> Remedy {
    use oci_spec::runtime::LinuxSeccompAction as Action;
    const RULES: &str = "/linux/seccomp/syscalls";
    let policy = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let Some(policy) = policy.filter(|_| refusal.call != "unknown") else {
        return none("the filter is not config.json's");
    };
    let name = refusal.call.to_owned();
    let allows = |action: Action| matches!(action, Action::ScmpActAllow | Action::ScmpActLog);
    let is_conditional = |rule: &LinuxSyscall| rule.args().as_ref().is_some_and(|args| !args.is_empty());
    let mut patch = Vec::new();
    // From the last to the first, so that the places of the others stay what they are.
    let rules = policy.syscalls().as_deref().unwrap_or_default();
    // What is allowed on conditions would be allowed without.
    let excepted = |rule: &LinuxSyscall| allows(rule.action()) && is_conditional(rule) && rule.names().contains(&name);
    if let Some(at) = rules.iter().position(excepted).filter(|_| !allows(policy.default_action())) {
        return none(format!("a rule with conditions: {RULES}/{at}"));
    }
    // Rules for other arguments have not denied this one, and stay.
    let denies =
        |rule: &LinuxSyscall| !allows(rule.action()) && (!is_conditional(rule) || holds(rule, policy, &verdict));
    for (at, rule) in rules.iter().enumerate().rev().filter(|(_, rule)| denies(rule)) {
        let named: Vec<_> = rule.names().iter().enumerate().filter(|(_, name)| *name == refusal.call).collect();
        if !named.is_empty() && named.len() == rule.names().len() {
            patch.push(remove(format!("{RULES}/{at}")));
        } else {
            patch.extend(named.iter().rev().map(|(name, _)| remove(format!("{RULES}/{at}/names/{name}"))));
        }
    }
    if !allows(policy.default_action()) {
        let rule = json!({ "names": [refusal.call], "action": "SCMP_ACT_ALLOW" });
        patch.push(match policy.syscalls() {
            Some(_) => add(format!("{RULES}/0"), rule),
            None => add(RULES, json!([rule])),
        });
    }
    if patch.is_empty() { none("the filter is not config.json's") } else { Remedy::Patch { patch } }
}

/// Whether the conditions of a rule hold: whether a filter that has no other denies the call.
fn holds(rule: &LinuxSyscall, policy: &LinuxSeccomp, verdict: impl Fn(&Program) -> u32) -> bool {
    use oci_spec::runtime::LinuxSeccompAction as Action;
    let mut alone = rule.clone();
    alone.set_action(Action::ScmpActErrno);
    let mut only = policy.clone();
    only.set_default_action(Action::ScmpActAllow).set_syscalls(Some(vec![alone]));
    seccomp::compile(&only).is_ok_and(|filter| verdict(&filter) != libc::SECCOMP_RET_ALLOW)
}

fn give_capability(spec: &Spec, name: &str) -> Remedy {
    let Some(process) = spec.process() else { return none("process.capabilities") };
    let root = process.user().uid() == 0;
    // Without being root, only what is ambient survives execve.
    let sets: &[&str] = if root {
        &["bounding", "effective", "permitted"]
    } else {
        &["bounding", "effective", "permitted", "inheritable", "ambient"]
    };
    let Some(capabilities) = process.capabilities() else {
        let all: serde_json::Map<_, _> = sets.iter().map(|set| ((*set).to_owned(), json!([name]))).collect();
        return patch(add("/process/capabilities", all.into()));
    };
    let has = |set: &str| match set {
        "bounding" => capabilities.bounding().is_some(),
        "effective" => capabilities.effective().is_some(),
        "permitted" => capabilities.permitted().is_some(),
        "inheritable" => capabilities.inheritable().is_some(),
        _ => capabilities.ambient().is_some(),
    };
    let operation = |set: &&str| {
        let path = format!("/process/capabilities/{set}");
        if has(set) { add(format!("{path}/-"), json!(name)) } else { add(path, json!([name])) }
    };
    Remedy::Patch { patch: sets.iter().map(operation).collect() }
}

fn make_writable(spec: &Spec, refusal: &Refusal, about: &About) -> Remedy {
    let subject = refusal.subject.as_slice();
    let (directory, permitted, replaceable) = match about {
        About::Directory { empty, permitted } => (subject, *permitted, *empty || !*permitted),
        About::File { permitted } => (subject, *permitted, false),
        _ => return none("config.json does not decide this"),
    };
    if let Some(path) = position(spec, "readonlyPaths", subject) {
        return if permitted { patch(remove(path)) } else { none("owner and mode of the file") };
    }
    if replaceable && directory != b"/" {
        let Ok(destination) = std::str::from_utf8(directory) else { return none("a mount in /mounts") };
        let size = format!("size={TMPFS_SIZE}");
        let options = json!(["nosuid", "nodev", "noexec", "mode=1777", size]);
        let mount = json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options });
        return match spec.mounts() {
            Some(_) => patch(add("/mounts/-", mount)),
            None => patch(add("/mounts", json!([mount]))),
        };
    }
    if !permitted {
        return none("owner and mode of the file");
    }
    if refusal.layer == Layer::ReadOnlyRoot {
        return patch(Operation::Replace { path: "/root/readonly".into(), value: json!(false) });
    }
    match mount_over(spec, subject).and_then(|(at, mount)| option_of(at, mount, "ro")) {
        Some(path) => patch(remove(path)),
        None => none("a read-only mount that config.json does not name"),
    }
}

/// The longest entry of a list of paths that covers a path.
fn position(spec: &Spec, list: &str, path: &[u8]) -> Option<String> {
    let linux = spec.linux().as_ref()?;
    let paths = if list == "maskedPaths" { linux.masked_paths() } else { linux.readonly_paths() };
    let covering = paths.iter().flatten().enumerate().filter(|(_, own)| is_below(path, own.as_bytes()));
    let (at, _) = covering.max_by_key(|(_, own)| own.len())?;
    Some(format!("/linux/{list}/{at}"))
}

/// The mount that a path is on; of several at the same place the last.
fn mount_over<'a>(spec: &'a Spec, path: &[u8]) -> Option<(usize, &'a Mount)> {
    let mounts = spec.mounts().iter().flatten().enumerate();
    let covering = mounts.filter(|(_, mount)| is_below(path, mount.destination().as_os_str().as_bytes()));
    covering.max_by_key(|(at, mount)| (mount.destination().as_os_str().len(), *at))
}

fn option_of(at: usize, mount: &Mount, name: &str) -> Option<String> {
    let option = mount.options().iter().flatten().position(|option| option == name)?;
    Some(format!("/mounts/{at}/options/{option}"))
}

fn network_namespace(spec: &Spec) -> Option<usize> {
    use oci_spec::runtime::LinuxNamespaceType;
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    namespaces.iter().position(|namespace| namespace.typ() == LinuxNamespaceType::Network && namespace.path().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::record::{Registers, tests::refusal};
    use super::*;

    fn spec() -> Spec {
        serde_json::from_value(json!({
            "ociVersion": "1.0.2",
            "process": {
                "cwd": "/", "args": ["x"], "user": { "uid": 1000, "gid": 0 },
                "capabilities": { "bounding": ["CAP_KILL"], "effective": [] }
            },
            "root": { "path": "rootfs", "readonly": true },
            "mounts": [
                { "destination": "/proc", "type": "proc" },
                { "destination": "/data", "type": "bind", "source": "/srv", "options": ["bind", "ro", "noexec"] }
            ],
            "linux": {
                "namespaces": [{ "type": "pid" }, { "type": "network" }],
                "maskedPaths": ["/proc/kcore", "/proc/keys"],
                "readonlyPaths": ["/proc/sys"],
                "seccomp": { "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [] }
            }
        }))
        .expect("a configuration")
    }

    fn of_bundle(refusal: &Refusal) -> Value {
        serde_json::to_value(Asker::Bundle(&spec()).remedy(refusal)).expect("JSON")
    }

    fn about(action: &str, subject: &str, layer: Layer, about: About) -> Refusal {
        Refusal { about, ..refusal(action, subject, layer) }
    }

    #[test]
    fn a_bundle_is_changed_where_it_decides() {
        let empty = About::Directory { empty: true, permitted: false };
        let full = About::Directory { empty: false, permitted: true };
        let mount = of_bundle(&about("write", "/var/x", Layer::ReadOnlyRoot, empty));
        assert_eq!(mount["patch"][0]["path"], "/mounts/-");
        assert_eq!(mount["patch"][0]["value"]["destination"], "/var/x");
        let root = of_bundle(&about("write", "/var", Layer::ReadOnlyRoot, full.clone()));
        assert_eq!(root["patch"], json!([{ "op": "replace", "path": "/root/readonly", "value": false }]));
        let data = of_bundle(&about("write", "/data/x", Layer::ReadOnlyMount, full.clone()));
        assert_eq!(data["patch"], json!([{ "op": "remove", "path": "/mounts/1/options/1" }]));
        let sys =
            of_bundle(&about("write", "/proc/sys/kernel/x", Layer::ReadOnlyMount, About::File { permitted: true }));
        assert_eq!(sys["patch"], json!([{ "op": "remove", "path": "/linux/readonlyPaths/0" }]));
        let keys = of_bundle(&refusal("read", "/proc/keys", Layer::MaskedPath));
        assert_eq!(keys["patch"], json!([{ "op": "remove", "path": "/linux/maskedPaths/1" }]));
        let program = of_bundle(&refusal("execute", "/data/bin/x", Layer::NoExec));
        assert_eq!(program["patch"], json!([{ "op": "remove", "path": "/mounts/1/options/2" }]));
        let address = "192.0.2.1:80".parse().expect("an address");
        let network = of_bundle(&about("connect", "192.0.2.1:80", Layer::NoNetwork, About::Address(address)));
        assert_eq!(network["patch"], json!([{ "op": "remove", "path": "/linux/namespaces/1" }]));
        let pids = of_bundle(&about("fork", "", Layer::PidsLimit, About::Limit(Some(10))));
        assert_eq!(pids["patch"], json!([{ "op": "replace", "path": "/linux/resources/pids/limit", "value": 20 }]));
    }

    #[test]
    fn capabilities_go_into_every_set_that_they_need() {
        let chown = of_bundle(&about("chown()", "", Layer::Capability, About::Capability(0, false)));
        let paths: Vec<_> = chown["patch"].as_array().expect("a patch").iter().map(|op| op["path"].clone()).collect();
        let expected = ["bounding/-", "effective/-", "permitted", "inheritable", "ambient"];
        assert_eq!(paths, expected.map(|set| json!(format!("/process/capabilities/{set}"))));
        let admin = of_bundle(&about("mount()", "", Layer::Capability, About::Capability(21, false)));
        assert_eq!(admin["kind"], "not-recommended");
        let initial = of_bundle(&about("acct()", "", Layer::Capability, About::Capability(0, true)));
        assert_eq!(initial["why"], "needs the host's root");
    }

    #[test]
    fn calls_are_allowed_unless_that_is_unwise() {
        let call = |action: &str, call: &'static str| Refusal {
            call,
            ..about(
                action,
                "",
                Layer::Seccomp,
                About::Call { arch: 0, nr: 0, args: Registers::default(), profile: None },
            )
        };
        let chroot = of_bundle(&call("chroot()", "chroot"));
        assert_eq!(
            chroot["patch"],
            json!([{ "op": "add", "path": "/linux/seccomp/syscalls/0",
                     "value": { "names": ["chroot"], "action": "SCMP_ACT_ALLOW" } }])
        );
        for (action, name) in [("socket(AF_ALG)", "socket"), ("bpf()", "bpf"), ("clone(CLONE_NEWUSER)", "clone")] {
            assert_eq!(of_bundle(&call(action, name))["why"], "kernel attack surface", "{action}");
        }
        assert_eq!(of_bundle(&call("socket(AF_INET)", "socket"))["kind"], "patch");
    }

    /// Rules about other arguments are not given up with those that were met.
    #[test]
    fn rules_that_have_not_denied_a_call_stay() {
        let deny = |value: u64| json!({ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }] });
        let with = |default: &str, rules: Value| {
            let mut spec = serde_json::to_value(spec()).expect("JSON");
            spec["linux"]["seccomp"] = json!({ "defaultAction": default, "syscalls": rules });
            let spec: Spec = serde_json::from_value(spec).expect("a configuration");
            let abi = seccomp::Abi::NATIVE.expect("an architecture with seccomp");
            let (_, nr) = seccomp::syscalls::on(abi).find(|(name, _)| *name == "socket").expect("socket");
            let args = Registers([libc::AF_INET.unsigned_abs().into(), 1, 0, 0, 0, 0]);
            let call = About::Call { arch: abi.audit_arch(), nr, args, profile: None };
            let refused = Refusal { call: "socket", ..about("socket(AF_INET)", "", Layer::Seccomp, call) };
            serde_json::to_value(Asker::Bundle(&spec).remedy(&refused)).expect("JSON")
        };
        let (inet, alg) = (libc::AF_INET.unsigned_abs().into(), libc::AF_ALG.unsigned_abs().into());
        let remedy = with("SCMP_ACT_ALLOW", json!([deny(alg), deny(inet)]));
        assert_eq!(remedy["patch"], json!([{ "op": "remove", "path": "/linux/seccomp/syscalls/1" }]));
        let unix = json!({ "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] });
        let remedy = with("SCMP_ACT_ERRNO", json!([unix]));
        assert_eq!(remedy["why"], "a rule with conditions: /linux/seccomp/syscalls/0");
    }

    #[test]
    fn a_sandbox_is_given_flags() {
        let flags = Flags {
            tmpfs: [&b"/dev"[..], b"/tmp", b"/dev/shm"].map(<[u8]>::to_vec).to_vec(),
            hidden: vec![b"/home/u/.ssh/key".to_vec()],
            given: vec![b"/srv/given".to_vec()],
            own: b"/home/u/code".to_vec(),
            home: b"/home/u".to_vec(),
            single_hosts: true,
            secret: vec![b"/home/u/.ssh".to_vec(), b"/home/v".to_vec()],
            is_private: Some(|address| address.is_loopback()),
            ..Flags::default()
        };
        let of_root = Flags { maps: true, ..flags.clone() };
        let to_root = |path: &str, layer, about_it| match Asker::Sandbox(&of_root)
            .remedy(&about("read", path, layer, about_it))
        {
            Remedy::Flags { flags, .. } => flags,
            other => format!("{other:?}"),
        };
        // What root types is made the program's, where root is at work and nowhere else.
        let closed = About::File { permitted: false };
        assert_eq!(to_root("/home/u/code/f", Layer::Permissions, closed.clone()), "--ro /home/u/code/f");
        assert!(to_root("/etc/shadow", Layer::Permissions, closed).contains("owner and mode"));
        let some_profile = About::Call { arch: 0, nr: 0, args: Registers::default(), profile: Some("build".into()) };
        let remedy = |refusal: Refusal| match Asker::Sandbox(&flags).remedy(&refusal) {
            Remedy::Flags { flags, caution } => {
                assert_eq!(caution.is_some(), flags.starts_with("--net"), "{flags}");
                flags
            }
            other => format!("{other:?}"),
        };
        let directory = |empty, permitted| About::Directory { empty, permitted };
        let write = |path: &str, about_it| remedy(about("write", path, Layer::ReadOnlyRoot, about_it));
        assert_eq!(write("/var/cache/app", directory(true, true)), "--tmpfs /var/cache/app");
        assert_eq!(write("/home/u/code/out", directory(true, true)), "--rw /home/u/code/out");
        assert_eq!(write("/var/cache", directory(false, false)), "--tmpfs /var/cache");
        assert_eq!(write("/srv/given", directory(true, true)), "--rw /srv/given");
        assert!(write("/srv/given", directory(true, false)).contains("somebody else's"));
        assert_eq!(write("/srv/given/cache", directory(true, true)), "--tmpfs /srv/given/cache");
        assert_eq!(write("/home/u/it's mine", directory(false, true)), r"--rw '/home/u/it'\''s mine'");
        assert_eq!(write("/home/u", directory(false, true)), "--home tmpfs");
        assert!(write("/usr/share/app", directory(false, false)).contains("somebody else's"));
        assert_eq!(write("/usr/share/app", directory(true, false)), "--tmpfs /usr/share/app");
        assert_eq!(write("/home/u/f", About::File { permitted: true }), "--rw /home/u/f");
        assert_eq!(
            remedy(about("remove", "/home/u/d/f", Layer::ReadOnlyRoot, About::File { permitted: true })),
            "--rw /home/u/d"
        );
        assert_eq!(
            remedy(about("remove", "/home/u/code/d/f", Layer::ReadOnlyRoot, About::File { permitted: true })),
            "--rw /home/u/code"
        );
        // Whatever a program tries: nothing that only has to be pasted opens what is hidden, or what starts programs
        // later.
        for (action, path, layer, about_it) in [
            ("read", "/home/u/.ssh/key", Layer::AbsentPath, About::Nothing),
            ("read", "/home/u/.ssh", Layer::MaskedPath, About::Nothing),
            ("write", "/home/u/.ssh", Layer::MaskedPath, About::Nothing),
            ("write", "/home/u/.bashrc", Layer::ReadOnlyRoot, About::File { permitted: true }),
            ("remove", "/home/u/.bashrc", Layer::ReadOnlyRoot, About::File { permitted: true }),
            ("remove", "/home/u/file", Layer::ReadOnlyRoot, About::File { permitted: true }),
            ("write", "/home/u/code/.git/hooks", Layer::ReadOnlyMount, directory(false, true)),
            ("write", "/home/u/code/.git/config", Layer::ReadOnlyMount, About::File { permitted: true }),
            ("write", "/etc/profile.d", Layer::ReadOnlyRoot, directory(false, true)),
            ("write", "/", Layer::ReadOnlyRoot, directory(false, true)),
            ("write", "/proc/sys/kernel/core_pattern", Layer::ReadOnlyMount, About::File { permitted: true }),
            ("write", "/proc/sys/kernel", Layer::ReadOnlyMount, directory(true, true)),
            ("write", "/home/v/x", Layer::ReadOnlyRoot, About::File { permitted: true }),
        ] {
            let found = Asker::Sandbox(&flags).remedy(&about(action, path, layer, about_it));
            assert!(matches!(found, Remedy::NotRecommended { .. }), "{action} {path}: {found:?}");
        }
        let weak = About::Call { arch: 0, nr: 0, args: Registers::default(), profile: Some("baseline".into()) };
        assert!(
            remedy(Refusal { call: "chown", ..about("chown()", "", Layer::Seccomp, weak) }).contains("next to nothing")
        );
        let own = "127.0.0.1:80".parse().expect("an address");
        assert!(remedy(about("connect", "", Layer::NoNetwork, About::Address(own))).contains("of this machine"));
        let place = About::Place { could_be_asked: true };
        assert!(remedy(about("connect", "[::1]:80", Layer::Proxy, place)).contains("of this machine"));
        let image = Flags { image: true, ..flags.clone() };
        let root = about("write", "/", Layer::ReadOnlyRoot, directory(false, true));
        assert!(matches!(Asker::Sandbox(&image).remedy(&root), Remedy::None { .. }));
        assert_eq!(
            remedy(Refusal { call: "chown", ..about("chown()", "", Layer::Seccomp, some_profile) }),
            "--profile build"
        );
        assert_eq!(remedy(refusal("execute", "/tmp/x", Layer::NoExec)), "--tmpfs /tmp:exec");
        assert_eq!(remedy(refusal("execute", "/dev/shm/x", Layer::NoExec)), "--tmpfs /dev/shm:exec");
        let place =
            |could_be_asked| remedy(about("connect", "example.org:443", Layer::Proxy, About::Place { could_be_asked }));
        assert_eq!(place(true), "--net example.org:443");
        assert!(!place(false).contains("--net"));
        let address = "[2001:db8::1]:443".parse().expect("an address");
        assert_eq!(remedy(about("connect", "", Layer::NoNetwork, About::Address(address))), "--net [2001:db8::1]:443");
        assert!(
            remedy(about("send", "", Layer::NoNetwork, About::Address(address))).contains("only the whole network")
        );
        assert_eq!(remedy(about("fork", "", Layer::PidsLimit, About::Limit(Some(32)))), "--pids 64");
        assert_eq!(remedy(about("use", "", Layer::MemoryLimit, About::Limit(Some(16 << 20)))), "--memory 32M");
    }
}
