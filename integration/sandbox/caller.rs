//! Somebody with a home, secrets in it and a project, who starts sandboxes.
#![forbid(unsafe_code)]

use crate::support::{self, Finish as _, Kind, Outcome, cgroup_dirs, program};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub(crate) fn has_sandboxes() -> bool {
    Kind::of_runtime() == Kind::Pent
}

/// Owns nothing on any machine; has no name, no groups and no ranges of ids.
const USER: u32 = 48_137;

/// A caller of `pent sandbox`: its directory is `DIR`, its home `DIR/home`, where it stands `DIR/home/project`.
pub(crate) struct Caller {
    dir: TempDir,
    /// Nothing for root.
    pub(crate) user: Option<u32>,
    program: PathBuf,
}

/// Files with secrets in a home; each holds its own name.
const SECRETS: &[&str] = &[
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".gnupg/private-keys-v1.d/key",
    ".kube/config",
    ".docker/config.json",
    ".config/gcloud/credentials.db",
    ".netrc",
    ".git-credentials",
    ".npmrc",
    ".cargo/credentials.toml",
    ".mozilla/firefox/cookies.sqlite",
    ".config/chromium/Default/Cookies",
    ".local/share/keyrings/login.keyring",
    ".bash_history",
];

/// Runs the test as root and as an ordinary user, and asserts that nothing is left after each.
pub(crate) fn as_each(test: impl Fn(&Caller)) {
    if !has_sandboxes() {
        return support::skip("sandboxes are pent's");
    }
    for user in [None, Some(USER)] {
        let caller = Caller::new(user);
        test(&caller);
        caller.left_nothing();
    }
}

impl Caller {
    pub(crate) fn new(user: Option<u32>) -> Self {
        // Neither /tmp nor /home, which are special in a sandbox.
        let base = ["/srv", "/opt", "/var/lib"].iter().find(|path| Path::new(path).is_dir()).expect("a place");
        let dir = tempfile::Builder::new().prefix("pent-sandbox-").tempdir_in(base).expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
        let caller = Self { program: reachable(dir.path()), dir, user };
        for secret in SECRETS {
            caller.file(&format!("home/{secret}"), &format!("{secret} is secret\n"), 0o600);
        }
        caller.file("home/notes", "notes\n", 0o600);
        // What root's program sees without being told is what anybody may.
        let (readable, executable) = if user.is_none() { (0o644, 0o755) } else { (0o600, 0o700) };
        caller.file("home/project/data", "data\n", readable);
        caller.file("home/project/x", "#!/bin/sh\necho \"x ran with $*\"\n", executable);
        fs::set_permissions(caller.path("home"), fs::Permissions::from_mode(0o700)).expect("closed to others");
        caller
    }

    /// Below the caller's directory.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn home(&self) -> String {
        self.path("home").to_string_lossy().into_owned()
    }

    /// A file of the caller's, and the directories to it.
    pub(crate) fn file(&self, below: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, content).expect("a file");
        self.own(&path, mode);
        path
    }

    pub(crate) fn directory(&self, below: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(&path).expect("a directory");
        self.own(&path, 0o755);
        path
    }

    /// A program built for the test, in the project.
    pub(crate) fn probe(&self, name: &str) {
        let path = self.path(&format!("home/project/{name}"));
        support::copy_program(support::probe(name), &path);
        self.own(&path, 0o755);
    }

    fn own(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
        let mut each = path;
        while each != self.dir.path() {
            chown(each, self.user, self.user).expect("an owner");
            each = each.parent().expect("below the directory");
        }
    }

    /// `pent sandbox ARGS`, typed in the project, with little in the environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_of("sandbox", args)
    }

    /// The same for another verb.
    pub(crate) fn command_of(&self, verb: &str, args: &[&str]) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(user) = self.user {
            words.extend([
                "setpriv".into(),
                format!("--reuid={user}"),
                format!("--regid={user}"),
                "--clear-groups".into(),
            ]);
        }
        words.extend([self.program.to_string_lossy().into_owned(), "--root".into()]);
        words.extend([self.path("state").to_string_lossy().into_owned(), verb.into()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args).stdin(Stdio::null()).current_dir(self.path("home/project"));
        command.env_clear().env("HOME", self.home()).env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command.env("SECRET_TOKEN", "of the caller");
        // The state directory is the caller's.
        self.directory("state");
        command
    }

    /// The same, to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.command(args).finish()
    }

    /// `pent sandbox FLAGS -- sh -c SCRIPT`, to its end.
    pub(crate) fn shell(&self, flags: &[&str], script: &str) -> Outcome {
        self.run(&[flags, &["--", "sh", "-c", script]].concat())
    }

    /// Asserts that the host has nothing of any sandbox of this caller: no process, no cgroup, no mount, no state.
    #[track_caller]
    pub(crate) fn left_nothing(&self) {
        support::wait_until("nothing is left", support::seconds(5), || self.leftovers().is_empty());
    }

    /// What there is of this caller's sandboxes on the host.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("state")).into_iter().flatten().flatten();
        let states: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let mut found: Vec<String> =
            states.iter().flat_map(|id| cgroup_dirs(id)).map(|path| path.display().to_string()).collect();
        found.extend(states);
        let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let own = self.dir.path().to_string_lossy().into_owned();
        found.extend(table.lines().filter(|line| line.contains(&own)).map(str::to_owned));
        let name = self.dir.path().file_name().expect("a name").to_string_lossy().into_owned();
        found.extend(support::processes_of(&name).into_iter().map(|(pid, command)| format!("{pid}: {command}")));
        found
    }

    /// Processes of this caller's whose command line contains `text`.
    pub(crate) fn processes(text: &str) -> usize {
        support::processes_of(text).len()
    }
}

/// The program where everybody can execute it: the build's directory may be closed to others, and a copy is not on the read-only
/// mount that some kernels need.
fn reachable(dir: &Path) -> PathBuf {
    let open = |path: &Path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o005 == 0o005);
    // Tests cover these with others of their own.
    let covered = ["/tmp", "/run", "/var/tmp", "/var/cache", "/dev"].iter().any(|place| program().starts_with(place));
    if !covered && program().ancestors().all(open) {
        return program().to_owned();
    }
    let copy = dir.join("pent");
    support::copy_program(program(), &copy);
    copy
}

/// What was said on standard error, but for what is said of every sandbox on a kernel without Landlock.
pub(crate) fn said(seen: &Outcome) -> String {
    let text = seen.stderr();
    if pent::sys::landlock::abi().is_ok_and(|abi| abi > 0) {
        return text;
    }
    let warning = "warning: landlock: not enforced";
    assert!(text.contains(warning), "silent about it: {seen:?}");
    text.lines().filter(|line| !line.starts_with(warning)).map(|line| format!("{line}\n")).collect()
}

/// The files with secrets, below the home.
pub(crate) fn secrets() -> &'static [&'static str] {
    SECRETS
}
