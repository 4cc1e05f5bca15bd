//! A container of the runtime under test, deleted when dropped, with the proof that nothing of it is left.
#![forbid(unsafe_code)]

use super::bundle::SCOPE;
use super::orphans::{self, is_dead};
use super::{Bundle, Finish as _, Leftovers, Outcome, Runtime, seconds, wait_until};
use serde_json::Value;
use std::cell::RefCell;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A container (existing or not yet) of a bundle, with a state directory of its own.
pub(crate) struct Container {
    /// Its bundle.
    pub(crate) bundle: Bundle,
    /// The runtime, with this container's own state directory.
    pub(crate) runtime: Runtime,
    created: RefCell<Option<Outcome>>,
}

impl Container {
    /// Writes the bundle's config.json; nothing is created yet.
    pub(crate) fn new(bundle: Bundle) -> Self {
        orphans::adopt();
        bundle.write();
        let mut runtime = Runtime::new(bundle.dir("state"));
        let path = bundle.config.pointer("/linux/cgroupsPath").and_then(Value::as_str);
        runtime.systemd = path.is_some_and(|path| path == format!("{SCOPE}{}", bundle.id));
        Self { bundle, runtime, created: RefCell::new(None) }
    }

    /// The same, driven by an ordinary user who owns the bundle and the state directory.
    pub(crate) fn rootless(bundle: Bundle, uid: u32) -> Self {
        let mut container = Self::new(bundle);
        container.runtime.user = Some(uid);
        // The build's directory may be closed to others.
        if !is_on_readonly_mount(&container.runtime.program) {
            let program = container.bundle.path().join("runtime");
            super::copy_program(&container.runtime.program, &program);
            container.runtime.program = program;
        }
        container.bundle.chown(uid);
        container
    }

    /// The id.
    pub(crate) fn id(&self) -> &str {
        &self.bundle.id
    }

    /// The file `create` and `run` write the first process's id to.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.bundle.path().join("init.pid")
    }

    /// `create --bundle B --pid-file F ID`, to be extended.
    pub(crate) fn create_command(&self, options: &[&str]) -> Command {
        let mut command = self.runtime.command(["create", "--bundle"]);
        command.arg(self.bundle.path()).arg("--pid-file").arg(self.pid_file()).args(options).arg(self.id());
        command
    }

    /// `run --bundle B OPTIONS ID`, to be extended.
    pub(crate) fn run_command(&self, options: &[&str]) -> Command {
        let mut command = self.runtime.command(["run", "--bundle"]);
        command.arg(self.bundle.path()).args(options).arg(self.id());
        command
    }

    /// `exec OPTIONS ID ARGS…`, to be extended.
    pub(crate) fn exec_command(&self, options: &[&str], args: &[&str]) -> Command {
        let mut command = self.runtime.command(["exec"]);
        command.args(options).arg(self.id()).args(args);
        command
    }

    /// `create`; what the container prints later is in [`Container::stdout`].
    pub(crate) fn create(&self) -> &Self {
        self.keep(self.create_command(&[]).finish())
    }

    /// Keeps the outcome of a create or a detached run, whose output files the container goes on writing to.
    pub(crate) fn keep(&self, outcome: Outcome) -> &Self {
        self.created.replace(Some(outcome));
        self
    }

    /// Asserts that the last create succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) {
        let created = self.created.borrow();
        let outcome = created.as_ref().expect("a create");
        assert_eq!(outcome.code(), 0, "{outcome:?}");
    }

    /// `start`.
    pub(crate) fn start(&self) -> Outcome {
        self.call("start", &[])
    }

    /// `run` in the foreground, to the end.
    pub(crate) fn run(&self) -> Outcome {
        self.run_command(&[]).finish()
    }

    /// `exec ID ARGS…` to the end.
    pub(crate) fn exec<const N: usize>(&self, args: [&str; N]) -> Outcome {
        self.exec_command(&[], &args).finish()
    }

    /// `exec ID sh -c SCRIPT` to the end.
    pub(crate) fn sh(&self, script: &str) -> Outcome {
        self.exec(["sh", "-c", script])
    }

    /// `kill ID SIGNAL`.
    pub(crate) fn kill(&self, signal: &str) -> Outcome {
        self.call("kill", &[signal])
    }

    /// `delete ID`.
    pub(crate) fn delete(&self) -> Outcome {
        self.call("delete", &[])
    }

    /// `delete --force ID`.
    pub(crate) fn delete_force(&self) -> Outcome {
        self.runtime.call(["delete", "--force", self.id()])
    }

    /// `VERB ID ARGS…`.
    pub(crate) fn call(&self, verb: &str, args: &[&str]) -> Outcome {
        self.runtime.call([&[verb, self.id()], args].concat())
    }

    /// What `state` prints.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        self.call("state", &[]).ok().json()
    }

    /// The status `state` reports.
    #[track_caller]
    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    /// The host's id of the first process, from the pid file.
    #[track_caller]
    pub(crate) fn pid(&self) -> i32 {
        fs::read_to_string(self.pid_file()).expect("the pid file").parse().expect("digits only")
    }

    /// Standard output of the container since create.
    pub(crate) fn stdout(&self) -> String {
        self.created.borrow().as_ref().map(Outcome::stdout).unwrap_or_default()
    }

    /// Standard error of create and of the container.
    pub(crate) fn stderr(&self) -> String {
        self.created.borrow().as_ref().map(Outcome::stderr).unwrap_or_default()
    }

    /// Waits until standard output contains `text`.
    #[track_caller]
    pub(crate) fn wait_output(&self, text: &str) {
        wait_until(&format!("the container prints {text:?}"), seconds(20), || self.stdout().contains(text));
    }

    /// Waits until `state` reports this status.
    #[track_caller]
    pub(crate) fn wait_status(&self, status: &str) {
        wait_until(&format!("the container is {status}"), seconds(20), || self.status() == status);
    }

    /// Waits for the end of the first process, a child of this process by now; its exit status, 128 + signal when killed.
    #[track_caller]
    pub(crate) fn wait_exit(&self) -> i32 {
        orphans::wait_exit(self.pid())
    }

    /// A file of the container's cgroup: in `controller`'s hierarchy on v1, in the only one on v2.
    pub(crate) fn cgroup_file(&self, controller: &str, file: &str) -> PathBuf {
        let base = PathBuf::from("/sys/fs/cgroup");
        let base = if super::cgroup2_only() { base } else { base.join(controller) };
        let scope = PathBuf::from(format!("system.slice/pt-{}.scope", self.id()));
        base.join(if self.runtime.systemd { &scope } else { Path::new(self.id()) }).join(file)
    }

    /// What is on the host because of this container.
    pub(crate) fn leftovers(&self) -> Leftovers {
        Leftovers::find(self.id(), self.bundle.path(), &self.runtime.root)
    }

    /// Asserts that the container left nothing on the host: no process, cgroup, mount or state.
    #[track_caller]
    pub(crate) fn leaves_nothing(&self) {
        let end = Instant::now() + seconds(5);
        loop {
            let found = self.leftovers();
            if found.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left behind:\n{found}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A panic here, on top of the test's own, would abort the whole target.
        let deleted = std::panic::catch_unwind(AssertUnwindSafe(|| self.delete_force()));
        if let Ok(pid) = fs::read_to_string(self.pid_file()).unwrap_or_default().parse() {
            let end = Instant::now() + Duration::from_secs(2);
            while !is_dead(pid) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        // The bundle's directory goes next: clean up in any case, and complain only when the test has not failed already.
        let mut found = self.leftovers();
        for _ in 0..100 {
            if found.is_empty() || std::thread::panicking() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            found = self.leftovers();
        }
        found.remove();
        if !std::thread::panicking() {
            let deleted = deleted.expect("delete --force runs");
            assert_eq!(deleted.code(), 0, "delete --force: {deleted:?}");
            assert!(found.is_empty(), "left behind after delete --force:\n{found}");
        }
    }
}

/// Whether a program must stay where it is: on kernels that cannot shield it, pent asks for a read-only mount.
fn is_on_readonly_mount(program: &Path) -> bool {
    nix::sys::statvfs::statvfs(program).is_ok_and(|found| found.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
}
