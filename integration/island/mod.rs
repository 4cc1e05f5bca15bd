//! A place of its own for a container engine: namespaces in which a daemon, its shims and its containers live, and with
//! which they end. Nothing an engine does there touches the host's /run, /dev/shm or process list.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "each test target uses its own part of this module")]

use crate::support::{Finish as _, Kind, Outcome, Runtime, cgroup_dirs, seconds};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Skips the test with a printed reason when it does not run as root or one of these programs is not installed.
macro_rules! needs {
    ($($program:literal),+) => {
        crate::support::privileged!();
        for program in [$($program),+] {
            if !crate::island::is_installed(program) {
                return crate::support::skip(&format!("{program} is not installed (see integration/packages.txt)"));
            }
        }
    };
}
pub(crate) use needs;

/// Whether a program is found on PATH.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The absolute path of the runtime under test, for engines that take one.
pub(crate) fn runtime() -> PathBuf {
    let given = Runtime::new("/nonexistent").program;
    fs::canonicalize(&given).unwrap_or_else(|e| panic!("no runtime at {}: {e}", given.display()))
}

/// Runs a command to its end on a terminal of 33 rows and 77 columns, whose other end script(1) holds.
pub(crate) fn on_a_terminal(command: &Command) -> Outcome {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")));
    // The environment is script's, so what Island::command takes away is said again.
    let line = format!("unset XDG_RUNTIME_DIR; stty rows 33 cols 77; {}", words.collect::<Vec<_>>().join(" "));
    Command::new("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]).finish()
}

/// A mount and a process namespace with private /run and /dev/shm, and a directory on the host.
///
/// Dropping it ends every process in it, removes its directory and its cgroups and, unless the test fails anyway,
/// asserts first that the test's containers left no process, mount or cgroup.
pub(crate) struct Island {
    /// Names the engine's namespace or parent cgroup: every cgroup made here lies below a cgroup of this name.
    pub(crate) name: String,
    dir: Option<TempDir>,
    first: Child,
    pid: i32,
    daemons: Vec<Child>,
    own_cgroups: &'static [&'static str],
    processes: BTreeSet<i32>,
    mounts: BTreeSet<String>,
}

impl Island {
    /// Makes the namespaces and the directory; `own_cgroups` are what the engine itself makes beside its containers' and
    /// keeps.
    pub(crate) fn new(engine: &str, own_cgroups: &'static [&'static str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pent-test-{engine}-{}-{number}", std::process::id());
        // Short: engines make unix sockets below it, whose paths end at 108 bytes.
        let dir = tempfile::Builder::new().prefix("pent-").tempdir_in("/tmp").expect("a directory for the island");

        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/island/setup.sh");
        let script = fs::read_to_string(&script).unwrap_or_else(|e| panic!("{}: {e}", script.display()));
        let view = if Kind::of_runtime() == Kind::Crun { "legacy" } else { "host" };
        let mut first = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script, "sh", view])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (Debian package util-linux) is installed");
        let mut line = String::new();
        let output = first.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("the island's answer");
        let pid = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("the island could not be set up: its first process says '{line}'"));

        let mut island = Self {
            name,
            dir: Some(dir),
            first,
            pid,
            daemons: Vec::new(),
            own_cgroups,
            processes: BTreeSet::new(),
            mounts: BTreeSet::new(),
        };
        island.settle();
        island
    }

    /// The island's directory, the same path on both sides.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().expect("kept until dropped").path()
    }

    /// A path inside the island, as seen from outside.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid)).join(path.trim_start_matches('/'))
    }

    /// A program to run in the island, in its directory, standard input empty.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--target", &self.pid.to_string()]);
        // With "=", because the argument is optional.
        command.arg(format!("--wd={}", self.dir().display())).arg("--").arg(program);
        // A session's own directory is below the /run that the island does not have.
        command.env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
        command
    }

    /// Starts a program that stays as long as the island; what it prints goes to a file of this name in its directory.
    pub(crate) fn start(&mut self, log: &str, command: &mut Command) {
        let file = File::create(self.dir().join(log)).expect("a log file");
        let both = file.try_clone().expect("duplicate");
        self.daemons.push(command.stdout(file).stderr(both).spawn().expect("nsenter (util-linux) is installed"));
    }

    /// What a program begun with [`Island::start`] has printed so far.
    pub(crate) fn log(&self, log: &str) -> String {
        fs::read_to_string(self.dir().join(log)).unwrap_or_default()
    }

    /// What runs and is mounted now is the engine's own; what more there is at the end is left over.
    pub(crate) fn settle(&mut self) {
        self.processes = self.processes();
        self.mounts = self.mounts();
    }

    /// The living processes of the island and of the containers in it, by their ids there.
    pub(crate) fn processes(&self) -> BTreeSet<i32> {
        let pids = fs::read_dir(self.inside("/proc")).expect("the island's /proc").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|&pid| !matches!(self.process(pid).as_str(), "" | "Z" | "X")).collect()
    }

    /// The state letter of a process of the island, as in ps(1); empty when there is none of this id.
    pub(crate) fn process(&self, pid: i32) -> String {
        let stat = fs::read_to_string(self.inside(&format!("/proc/{pid}/stat"))).unwrap_or_default();
        // After the name, which is in parentheses and may contain some.
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default().to_owned()
    }

    /// Ends what lives here and removes directory and cgroups.
    fn sink(&mut self) {
        if std::thread::panicking() {
            for log in fs::read_dir(self.dir()).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if log.extension().is_some_and(|ending| ending == "log") {
                    eprintln!("--- {}\n{}", log.display(), fs::read_to_string(&log).unwrap_or_default());
                }
            }
        }
        // Killed by unshare's death, and the kernel kills the rest of the namespace with its first process.
        drop(self.first.kill());
        for child in self.daemons.iter_mut().chain([&mut self.first]) {
            drop(child.wait());
        }
        let end = Instant::now() + seconds(10);
        while cgroup_dirs(&self.name).iter().filter(|dir| fs::remove_dir(dir).is_err()).count() > 0
            && Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Some(dir) = self.dir.take() {
            let path = dir.path().to_owned();
            if let Err(e) = dir.close() {
                eprintln!("{} could not be removed: {e}", path.display());
            }
        }
    }

    fn mounts(&self) -> BTreeSet<String> {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid)).unwrap_or_default();
        table.lines().map(str::to_owned).collect()
    }

    /// Asserts that the test's containers are gone without a trace.
    fn assert_clean(&self) {
        let mut left = self.leftovers();
        let end = Instant::now() + seconds(10);
        while !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            left = self.leftovers();
        }
        assert!(left.is_empty(), "left behind by the containers:\n{}", left.join("\n"));
    }

    /// Processes, mounts and cgroups there were not when the island was settled, described one a line.
    fn leftovers(&self) -> Vec<String> {
        let command = |pid| fs::read_to_string(self.inside(&format!("/proc/{pid}/cmdline"))).unwrap_or_default();
        let processes = self.processes().into_iter().filter(|pid| !self.processes.contains(pid));
        let processes = processes.map(|pid| format!("process {pid}: {}", command(pid).replace('\0', " ")));
        let mounts = self.mounts().into_iter().filter(|line| !self.mounts.contains(line));
        let mounts = mounts.map(|line| format!("mount {line}"));
        let own =
            |path: &PathBuf| path.ends_with(&self.name) || self.own_cgroups.iter().any(|name| path.ends_with(name));
        let cgroups = cgroup_dirs(&self.name).into_iter().filter(|path| !own(path));
        let cgroups = cgroups.map(|path| format!("cgroup {}", path.display()));
        processes.chain(mounts).chain(cgroups).collect()
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        // A panic while panicking would hide the first one's message.
        let verdict =
            (!std::thread::panicking()).then(|| std::panic::catch_unwind(AssertUnwindSafe(|| self.assert_clean())));
        self.sink();
        if let Some(Err(panic)) = verdict {
            std::panic::resume_unwind(panic);
        }
    }
}
