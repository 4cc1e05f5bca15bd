//! Calling the runtime under test: with a time limit, and with its output kept.
#![forbid(unsafe_code)]

use super::seconds;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Which runtime is under test: what it lacks depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pent,
    Runc,
    Crun,
    Other,
}

impl Kind {
    /// Judged by the first word `--version` prints.
    pub(crate) fn of_runtime() -> Self {
        match version_line().split(' ').next() {
            Some("pent") => Self::Pent,
            Some("runc") => Self::Runc,
            Some("crun") => Self::Crun,
            _ => Self::Other,
        }
    }

    /// The name `--version` prints.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pent => "pent",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Other => "other",
        }
    }
}

/// The runtime's version: the third word of `NAME version X.Y.Z`.
pub(crate) fn version_of() -> &'static str {
    version_line().split(' ').nth(2).unwrap_or("unknown")
}

fn version_line() -> &'static str {
    static LINE: OnceLock<String> = OnceLock::new();
    LINE.get_or_init(|| {
        let output = Command::new(program()).arg("--version").output();
        let output = output.unwrap_or_else(|e| panic!("the runtime {} does not run: {e}", program().display()));
        String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
    })
}

/// The binary under test.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let given = ["RUNTIME", "PENT_BIN"].into_iter().filter_map(std::env::var_os).find(|v| !v.is_empty());
        given.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pent")), PathBuf::from)
    })
}

/// The runtime under test with a state directory.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    /// `--root`.
    pub(crate) root: PathBuf,
    /// The binary: the one under test, or a copy another user can reach.
    pub(crate) program: PathBuf,
    /// The ordinary user it runs as; `None` is the caller.
    pub(crate) user: Option<u32>,
    /// `--systemd-cgroup`.
    pub(crate) systemd: bool,
}

impl Runtime {
    /// The runtime under test with its state below `root`.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), program: program().to_owned(), user: None, systemd: false }
    }

    /// `RUNTIME --root ROOT ARGS…`, standard input empty.
    pub(crate) fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = self.bare();
        command.arg("--root").arg(&self.root).args(self.systemd.then_some("--systemd-cgroup")).args(args);
        command
    }

    /// The runtime without any argument, standard input empty.
    pub(crate) fn bare(&self) -> Command {
        let mut words: Vec<&OsStr> = Vec::new();
        // crun before 1.9 or so refuses cgroup v1 with an unused v2 beside it: show it v1 alone. Same process id: exec.
        if Kind::of_runtime() == Kind::Crun && Path::new("/sys/fs/cgroup/unified/cgroup.procs").is_file() {
            let hide = "umount /sys/fs/cgroup/unified; exec \"$@\"";
            words.extend(["unshare", "--mount", "sh", "-c", hide, "sh"].map(OsStr::new));
        }
        let (uid, gid);
        if let Some(user) = self.user {
            (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
            words.extend(["setpriv", &uid, &gid, "--clear-groups"].map(OsStr::new));
        }
        words.push(self.program.as_os_str());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// Calls `RUNTIME --root ROOT ARGS…` to its end.
    pub(crate) fn call<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Outcome {
        self.command(args).finish()
    }
}

/// Running a command to its end with a time limit.
pub(crate) trait Finish {
    /// Runs to the end, for at most 30 seconds.
    fn finish(&mut self) -> Outcome;
    /// The same, with standard input.
    fn finish_with(&mut self, input: &str) -> Outcome;
    /// The same, killed with KILL after `limit`; such an outcome has `timed_out` set.
    fn finish_within(&mut self, limit: Duration) -> Outcome;
}

impl Finish for Command {
    #[track_caller]
    fn finish(&mut self) -> Outcome {
        let outcome = self.finish_within(seconds(30));
        assert!(!outcome.timed_out, "still running after the time limit: {outcome:?}");
        outcome
    }

    #[track_caller]
    fn finish_with(&mut self, input: &str) -> Outcome {
        let mut file = tempfile::tempfile().expect("a file for standard input");
        file.write_all(input.as_bytes()).expect("write standard input");
        file.rewind().expect("rewind standard input");
        self.stdin(file).finish()
    }

    fn finish_within(&mut self, limit: Duration) -> Outcome {
        // Files, not pipes: `create` hands its output to a container that outlives it, so a pipe has no end to wait for.
        let (out, err) = (capture(), capture());
        self.stdout(out.try_clone().expect("duplicate")).stderr(err.try_clone().expect("duplicate"));
        let end = Instant::now() + limit;
        let mut child = loop {
            match self.spawn() {
                Ok(child) => break child,
                // A program just written is still open for writing in a process another thread is forking.
                Err(e) if e.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => panic!("{self:?} does not start: {e}"),
            }
        };
        let (status, timed_out) = loop {
            if let Some(status) = child.try_wait().expect("wait for the runtime") {
                break (status, false);
            }
            if Instant::now() >= end {
                child.kill().expect("kill the runtime");
                break (child.wait().expect("wait for the runtime"), true);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Outcome { command: format!("{self:?}"), status, timed_out, out, err }
    }
}

/// A nameless file that several writers can append to.
fn capture() -> File {
    tempfile::Builder::new().append(true).tempfile().expect("a file for output").into_file()
}

/// How a command ended and what it printed. What a container it left running prints later is seen too.
pub(crate) struct Outcome {
    /// The command, for messages.
    pub(crate) command: String,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Whether it had to be killed.
    pub(crate) timed_out: bool,
    out: File,
    err: File,
}

impl Outcome {
    /// Standard output so far.
    pub(crate) fn stdout(&self) -> String {
        text(&self.out)
    }

    /// Standard error so far.
    pub(crate) fn stderr(&self) -> String {
        text(&self.err)
    }

    /// Standard output without blanks around it.
    pub(crate) fn trimmed(&self) -> String {
        self.stdout().trim().to_owned()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout()).unwrap_or_else(|e| panic!("not JSON: {e}: {self:?}"))
    }

    /// The exit status, as a shell reports it: 128 + signal when killed.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Asserts exit status 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts the exit status.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self:?}");
        self
    }

    /// Asserts exit status 1 and a message on standard error.
    #[track_caller]
    pub(crate) fn refused(self) -> Self {
        assert!(!self.stderr().trim().is_empty(), "fails without a message: {self:?}");
        if Kind::of_runtime() == Kind::Crun {
            assert_ne!(self.code(), 0, "{self:?}"); // 255 in some cases
            return self;
        }
        self.exits(1)
    }

    /// Asserts that standard error contains `text`, whatever its letters' case. The texts callers match on are runc's;
    /// crun has its own, so of crun only some message is asked.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        if Kind::of_runtime() == Kind::Crun {
            assert!(!self.stderr().trim().is_empty(), "no message: {self:?}");
            return self;
        }
        assert!(self.stderr().to_lowercase().contains(&text.to_lowercase()), "no '{text}' in {self:?}");
        self
    }

    /// Asserts that pent's message contains `text`: what it says beyond what callers rely on.
    #[track_caller]
    pub(crate) fn explains(self, text: &str) -> Self {
        if Kind::of_runtime() == Kind::Pent { self.says(text) } else { self }
    }

    /// Asserts that standard output, without blanks around it, is `text`.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert_eq!(self.trimmed(), text, "{self:?}");
        self
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} ({})", self.command, self.status)?;
        writeln!(f, "--- stdout\n{}--- stderr\n{}---", self.stdout(), self.stderr())
    }
}

/// The whole file from its start; read_at leaves the offset that the writers share alone.
fn text(file: &File) -> String {
    let length = file.metadata().expect("length of the output").len();
    let mut bytes = vec![0; usize::try_from(length).expect("output fits in memory")];
    file.read_exact_at(&mut bytes, 0).expect("read the output");
    String::from_utf8_lossy(&bytes).into_owned()
}
