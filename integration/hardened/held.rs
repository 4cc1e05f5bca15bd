//! Containers under `restricted` or a profile that extends it, run by root or by an ordinary user.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, Outcome};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

/// nobody: owns nothing but the bundle.
pub(crate) const USER: u32 = 65_534;

/// Skips the test without root, and for runtimes without profiles.
macro_rules! held {
    () => {
        crate::support::privileged!();
        if crate::support::Kind::of_runtime() != crate::support::Kind::Pent {
            return crate::support::skip("profiles are pent's");
        }
    };
}
pub(crate) use held;

/// Who runs the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// Root, for a program that is uid 1000.
    Root,
    /// An ordinary user, for a program that is root of a user namespace: the most that it can be.
    User,
}

/// Both.
pub(crate) const EACH: [As; 2] = [As::Root, As::User];

impl As {
    /// The uid and gid of the program, inside.
    pub(crate) fn uid(self) -> u32 {
        if self == Self::Root { 1000 } else { 0 }
    }

    /// A container of the bundle for this user.
    pub(crate) fn container(self, bundle: Bundle) -> Container {
        self.container_with(bundle, |_| {})
    }

    /// The same, with a change to the files of the bundle that the user does not own afterwards.
    pub(crate) fn container_with(self, bundle: Bundle, change: impl Fn(&Bundle)) -> Container {
        let bundle = bundle.set("/process/user/uid", self.uid()).set("/process/user/gid", self.uid());
        if self == Self::Root {
            change(&bundle);
            return Container::new(bundle);
        }
        let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
        let bundle = bundle.rootless(&map, &map);
        let container = Container::rootless(bundle, USER);
        fs::set_permissions(container.bundle.path(), fs::Permissions::from_mode(0o777)).expect("mode");
        change(&container.bundle);
        container
    }
}

/// The command of pent with a profile before its verb.
pub(crate) fn under(profile: &str, command: &Command) -> Command {
    let mut with = Command::new(command.get_program());
    let args: Vec<_> = command.get_args().collect();
    let at = args.iter().position(|arg| *arg == OsStr::new("--root")).expect("--root");
    with.args(&args[..at]).args(["--profile", profile]).args(&args[at..]).stdin(Stdio::null());
    if let Some(directory) = command.get_current_dir() {
        with.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => with.env(name, value),
            None => with.env_remove(name),
        };
    }
    with
}

/// `--profile PROFILE run`, to its end.
pub(crate) fn run(container: &Container, profile: &str) -> Outcome {
    under(profile, &container.run_command(&[])).finish()
}

/// `--profile PROFILE run --detach`.
#[track_caller]
pub(crate) fn start(container: &Container, profile: &str) {
    let pid_file = container.pid_file();
    let command = container.run_command(&["--detach", "--pid-file", &pid_file.to_string_lossy()]);
    container.keep(under(profile, &command).finish()).ok();
}

/// A profile that extends `restricted`, for anybody to read; its path.
pub(crate) fn extended(bundle: &Bundle, keys: &str) -> String {
    let path =
        bundle.file("extended.toml", &format!("version = 1\nname = \"extended\"\nextends = \"restricted\"\n{keys}\n"));
    path.to_string_lossy().into_owned()
}

/// Where every refusal of the profile's filter is an error that no system call used here fails with by itself.
pub(crate) const TELLING: &str = "[seccomp]\ndenied = \"ENETUNREACH\"\nother_family = \"ENETUNREACH\"
[seccomp.answers]\nsetxattr = \"ENETUNREACH\"\nsplice = \"ENETUNREACH\"\ntee = \"ENETUNREACH\"";

/// The words as one line of a shell.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}
