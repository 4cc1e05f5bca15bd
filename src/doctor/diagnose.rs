//! From facts to findings. Nothing in here looks at the host.
#![forbid(unsafe_code)]

use super::{Attempt, Check, Facts, Grade, Report};
use crate::cgroup::Layout;
use crate::plan::landlock;
use nix::errno::Errno;

/// What limits need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// What `linux.seccomp` and refusals that explain themselves need, beside errno and kill.
const ACTIONS: [&str; 3] = ["kill_process", "log", "user_notif"];
/// What a root without rights does.
pub const OTHER_USER: &str = "start it as an ordinary user (docker run --user 1000, or setpriv --reuid=1000 --regid=1000 --clear-groups pent sandbox …), or give the container CAP_SYS_ADMIN";
/// As many ids as an image may use.
const USUAL_RANGE: u64 = 65_536;

/// What the facts mean for whoever asks.
#[must_use]
pub fn diagnose(facts: &Facts) -> Report {
    let checks = vec![
        kernel(facts),
        namespaces(facts),
        sandboxes(facts),
        own_binary(facts),
        cgroups(facts),
        subordinate_ids(facts),
        state(facts),
        seccomp(facts),
        landlock_rules(facts),
        labels(facts),
        criu(facts),
    ];
    let checks: Vec<Check> = checks.into_iter().flatten().collect();
    Report {
        version: 1,
        kernel: facts.release.clone(),
        user: facts.user.clone(),
        usable: checks.iter().all(|check| check.grade != Grade::Missing),
        checks,
    }
}

fn check(name: &'static str, grade: Grade, found: impl Into<String>) -> Check {
    Check { name, grade, found: found.into(), fix: None }
}

impl Check {
    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Without rights over the host's own namespaces.
fn is_ordinary(facts: &Facts) -> bool {
    !facts.host.is_privileged()
}

/// The command that installs a package, by the distribution.
fn install(facts: &Facts, debian: &str, others: &str) -> String {
    let is = |names: &[&str]| facts.distribution.iter().any(|id| names.contains(&id.as_str()));
    if is(&["debian", "ubuntu"]) {
        format!("sudo apt-get install {debian}")
    } else if is(&["fedora", "rhel", "centos"]) {
        format!("sudo dnf install {others}")
    } else if is(&["suse", "opensuse"]) {
        format!("sudo zypper install {others}")
    } else if is(&["arch"]) {
        format!("sudo pacman -S {others}")
    } else if is(&["alpine"]) {
        format!("sudo apk add {others}")
    } else {
        format!("install {others} (Debian package {debian})")
    }
}

fn kernel(facts: &Facts) -> Option<Check> {
    let essential: Vec<&str> =
        facts.missing_calls.iter().map(String::as_str).filter(|call| *call != "statmount").collect();
    let release = &facts.release;
    Some(if !essential.is_empty() {
        let check = check(
            "kernel",
            Grade::Missing,
            format!("{release} lacks {}, or a filter around pent hides it", essential.join(", ")),
        );
        check.fix("boot Linux 5.12 or newer; in a container, allow these calls in its seccomp profile")
    } else if facts.missing_calls.is_empty() {
        check("kernel", Grade::Ok, format!("{release}: the mount API, clone3, pidfds and statmount"))
    } else {
        let check = check(
            "kernel",
            Grade::Weaker,
            format!("{release} lacks statmount: the flags of mounts are set, but not verified"),
        );
        check.fix("boot Linux 6.8 or newer")
    })
}

fn namespaces(facts: &Facts) -> Option<Check> {
    let missing = &facts.missing_namespaces;
    let essential =
        |kind: &&String| !matches!(kind.as_str(), "time" | "cgroup") && (is_ordinary(facts) || *kind != "user");
    Some(if missing.is_empty() {
        check("namespaces", Grade::Ok, "all eight types")
    } else if missing.iter().any(|kind| essential(&kind)) {
        check("namespaces", Grade::Missing, format!("the kernel has none of type {}", missing.join(", ")))
            .fix("boot a kernel with CONFIG_NAMESPACES and all below it")
    } else {
        check("namespaces", Grade::Weaker, format!("the kernel has none of type {}", missing.join(", ")))
            .fix("boot Linux 5.6 or newer, with CONFIG_TIME_NS")
    })
}

/// The attempt decides; the settings only say why it went wrong.
fn sandboxes(facts: &Facts) -> Option<Check> {
    let name = if is_ordinary(facts) { "user namespaces" } else { "making namespaces" };
    let missing = |found: String, fix: String| Some(check(name, Grade::Missing, found).fix(fix));
    let sysctl = |setting: &str, value: u32| {
        format!("sudo sysctl -w {setting}={value}; echo {setting}={value} | sudo tee /etc/sysctl.d/90-pent.conf")
    };
    let errno = match facts.attempt {
        // A profile refuses to run an untrusted program as the machine's root, however few rights it has.
        Attempt::Made if is_ordinary(facts) && facts.host.euid == 0 && !facts.host.in_user_namespace => {
            let found =
                "can be made, but this root has no rights over others, as in a container: sandboxes do not start";
            return Some(check(name, Grade::Weaker, found).fix(OTHER_USER));
        }
        Attempt::Made if is_ordinary(facts) => {
            return Some(check(name, Grade::Ok, "an ordinary user can make them, with rights in them"));
        }
        Attempt::Made => return Some(check(name, Grade::Ok, "tried, with a procfs of their own")),
        Attempt::NoProc => {
            return missing(
                "no procfs can be made in them: parts of this /proc are covered, as in a container".into(),
                "let pent run outside, or start the container around it with an unmasked /proc \
                 (docker run --security-opt systempaths=unconfined)"
                    .into(),
            );
        }
        Attempt::NoRights if facts.apparmor_restricts == Some(true) && is_ordinary(facts) => {
            return missing(
                "AppArmor takes the rights in them from programs without a profile (Ubuntu 23.10 and newer)".into(),
                apparmor_profile(facts),
            );
        }
        Attempt::NoRights => {
            return missing(
                "they can be made, but give no rights: a security module forbids it".into(),
                "look for denials in `sudo journalctl -k`, and allow pent what they name".into(),
            );
        }
        Attempt::Clone(errno) => Errno::from_raw(errno),
    };
    let said = errno.desc().to_lowercase();
    if facts.max_user_namespaces == Some(0) {
        return missing("user.max_user_namespaces is 0".into(), sysctl("user.max_user_namespaces", 15_000));
    }
    if facts.userns_clone == Some(false) {
        return missing(
            "kernel.unprivileged_userns_clone is 0 (Debian)".into(),
            sysctl("kernel.unprivileged_userns_clone", 1),
        );
    }
    if facts.apparmor_restricts == Some(true) && is_ordinary(facts) {
        return missing(
            format!("AppArmor forbids them to programs without a profile: {said}"),
            apparmor_profile(facts),
        );
    }
    let fix = if errno == Errno::ENOSPC {
        "too many are in use: end some, or raise user.max_user_namespaces and its kin".to_owned()
    } else {
        "a filter around pent forbids it: in a container, allow clone3, unshare and mount in its seccomp profile"
            .to_owned()
    };
    missing(format!("they cannot be made: {said}"), fix)
}

/// What gives one program the rights back, and no other.
fn apparmor_profile(facts: &Facts) -> String {
    let program = facts.program.display();
    format!(
        "printf 'abi <abi/4.0>,\\nprofile pent {program} flags=(unconfined) {{\\n  userns,\\n}}\\n' | sudo tee /etc/apparmor.d/pent\n\
         sudo apparmor_parser --replace /etc/apparmor.d/pent"
    )
}

fn own_binary(facts: &Facts) -> Option<Check> {
    let binary = &facts.host.binary;
    if binary.readonly || binary.switchable {
        return Some(check("pent's own binary", Grade::Ok, "containers cannot reach it"));
    }
    let check = check(
        "pent's own binary",
        Grade::Missing,
        "the kernel cannot keep containers from it (no CONFIG_CHECKPOINT_RESTORE)",
    );
    let program = facts.program.display();
    Some(check.fix(format!("sudo mount --bind {program} {program} && sudo mount -o remount,bind,ro {program}")))
}

fn cgroups(facts: &Facts) -> Option<Check> {
    let name = "cgroup limits";
    let ordinary = is_ordinary(facts) || facts.host.in_user_namespace;
    Some(match &facts.host.cgroup {
        Layout::Absent => {
            check(name, Grade::Weaker, "no cgroup filesystem is mounted: nothing can be limited but by rlimits")
                .fix("sudo mount -t cgroup2 none /sys/fs/cgroup")
        }
        Layout::V1 { .. } if ordinary => {
            check(name, Grade::Weaker, "version 1 cannot be delegated: an ordinary user has rlimits only").fix(UNIFIED)
        }
        Layout::V1 { .. } if !facts.cgroup_writable => read_only(name),
        Layout::V1 { .. } => check(name, Grade::Ok, "version 1; version 2 is better kept and faster").fix(UNIFIED),
        Layout::V2 { .. } => {
            let missing: Vec<&str> =
                CONTROLLERS.into_iter().filter(|name| !facts.controllers.iter().any(|own| own == name)).collect();
            if !ordinary {
                return Some(if !facts.cgroup_writable {
                    read_only(name)
                } else if missing.is_empty() {
                    check(name, Grade::Ok, "version 2, all controllers")
                } else {
                    check(name, Grade::Weaker, format!("version 2 without {}", missing.join(", ")))
                        .fix("boot without cgroup_disable=; some need CONFIG_CFS_BANDWIDTH, CONFIG_MEMCG or CONFIG_CGROUP_PIDS")
                });
            }
            match (facts.cgroup_writable, missing.is_empty()) {
                (true, true) => check(name, Grade::Ok, "version 2, delegated to this user with cpu, memory and pids"),
                (true, false) => {
                    check(name, Grade::Weaker, format!("delegated to this user without {}", missing.join(", ")))
                        .fix(DELEGATE)
                }
                (false, _) if facts.user_manager => {
                    check(name, Grade::Ok, "version 2, by the user's own systemd: pass --systemd-cgroup")
                }
                (false, _) => check(name, Grade::Weaker, "no cgroup is delegated to this user: rlimits only")
                    .fix(format!("sudo loginctl enable-linger {}\n{DELEGATE}", facts.user)),
            }
        }
    })
}

const UNIFIED: &str = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line";
/// Beside memory and pids, which systemd delegates by itself; it takes a new session.
const DELEGATE: &str = "sudo mkdir -p /etc/systemd/system/user@.service.d\n\
     printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf\n\
     sudo systemctl daemon-reload && sudo systemctl restart user@$(id -u).service";

fn read_only(name: &'static str) -> Check {
    check(
        name,
        Grade::Weaker,
        "the cgroup filesystem cannot be written to: containers need `disabled`, and have no limits",
    )
    .fix("in a container: start it with its cgroup mounted writable; else: sudo mount -o remount,rw /sys/fs/cgroup")
}

/// Only an ordinary user needs them.
fn subordinate_ids(facts: &Facts) -> Option<Check> {
    let name = "subordinate ids";
    if !is_ordinary(facts) {
        return None;
    }
    let (uids, gids) = facts.subordinate;
    let add = format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}", facts.user);
    Some(if uids < USUAL_RANGE || gids < USUAL_RANGE {
        let found = match uids.min(gids) {
            0 => "none in /etc/subuid and /etc/subgid: containers have one user only".to_owned(),
            some => format!("{some} only: images use up to {USUAL_RANGE}"),
        };
        check(name, Grade::Weaker, found).fix(add)
    } else if facts.id_helpers {
        check(name, Grade::Ok, format!("{uids} uids and {gids} gids, newuidmap and newgidmap"))
    } else {
        check(name, Grade::Weaker, "newuidmap and newgidmap are not there: containers have one user only")
            .fix(install(facts, "uidmap", "shadow"))
    })
}

fn state(facts: &Facts) -> Option<Check> {
    (is_ordinary(facts) && !facts.runtime_dir).then(|| {
        check(
            "state directory",
            Grade::Weaker,
            "XDG_RUNTIME_DIR is not set to a directory: pass --root, best on a tmpfs",
        )
        .fix(format!("sudo loginctl enable-linger {}; then log in again", facts.user))
    })
}

fn seccomp(facts: &Facts) -> Option<Check> {
    let Some(actions) = &facts.seccomp else {
        let check =
            check("seccomp", Grade::Weaker, "the kernel has no filters: profiles with system calls cannot be applied");
        return Some(check.fix("boot a kernel with CONFIG_SECCOMP_FILTER"));
    };
    let missing: Vec<&str> = ACTIONS.into_iter().filter(|action| !actions.iter().any(|own| own == action)).collect();
    Some(if missing.is_empty() {
        check("seccomp", Grade::Ok, "filters, and notifications for refusals that explain themselves")
    } else {
        check("seccomp", Grade::Weaker, format!("filters, without {}", missing.join(", ")))
            .fix("boot Linux 5.0 or newer")
    })
}

fn landlock_rules(facts: &Facts) -> Option<Check> {
    const NEWEST: u32 = 6;
    let abi = facts.host.landlock_abi;
    let modules = &facts.modules;
    Some(match abi {
        0 if !modules.is_empty() && !modules.iter().any(|module| module == "landlock") => {
            check("Landlock", Grade::Weaker, "it is not among the kernel's active security modules").fix(format!(
                "boot with lsm=landlock,{} on the kernel's command line (/etc/default/grub, then sudo update-grub)",
                modules.join(",")
            ))
        }
        0 => check(
            "Landlock",
            Grade::Weaker,
            "the kernel has none: profiles are applied without it, or refused where they require it",
        )
        .fix("boot Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK and landlock in lsm="),
        abi if abi < NEWEST => {
            let since = landlock::kernel_of(NEWEST).unwrap_or_default();
            let lacks =
                [(3, "truncation"), (4, "TCP ports"), (5, "commands to devices"), (6, "abstract sockets and signals")];
            let lacks: Vec<&str> = lacks.iter().filter(|(since, _)| *since > abi).map(|(_, what)| *what).collect();
            check("Landlock", Grade::Weaker, format!("ABI {abi}: no rules for {}", lacks.join(", ")))
                .fix(format!("boot Linux {since} or newer"))
        }
        abi => check("Landlock", Grade::Ok, format!("ABI {abi}")),
    })
}

fn labels(facts: &Facts) -> Option<Check> {
    let enabled: Vec<&str> = [(facts.host.apparmor, "AppArmor"), (facts.host.selinux, "SELinux")]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| *name)
        .collect();
    Some(if enabled.is_empty() {
        check("security modules", Grade::Absent, "neither AppArmor nor SELinux: labels in config.json are refused")
    } else {
        check("security modules", Grade::Ok, enabled.join(", "))
    })
}

fn criu(facts: &Facts) -> Option<Check> {
    Some(match &facts.criu {
        Some(path) => {
            check("CRIU", Grade::Ok, format!("{}; `criu check` tells whether it fits the kernel", path.display()))
        }
        None => check("CRIU", Grade::Absent, "not installed: checkpoint and restore cannot be used")
            .fix(install(facts, "criu", "criu")),
    })
}
