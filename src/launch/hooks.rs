//! Hooks: prepared by the parent, run by the parent or, inside the container's namespaces, by the child.
//!
//! A hook gets its own environment and nothing else (CVE-2024-0132, CVE-2025-23266), the state on stdin, and what it
//! prints is kept for the message. Running one allocates nothing. State and output are files in memory: no pipe can fill up.
#![forbid(unsafe_code)]

use super::child::process_parts;
use super::wire::Failure;
use crate::plan;
use crate::plan::op::HookKind;
use crate::sys::clone::{self, Fork};
use crate::sys::exec::Argv;
use crate::sys::{fd, seccomp};
use nix::errno::Errno;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The hook could not be executed.
pub const NOT_EXECUTED: u32 = 1;
/// It ended with a status other than 0, which is `value`'s high half.
pub const FAILED: u32 = 2;
/// It was killed because it took longer than its timeout.
pub const TIMED_OUT: u32 = 3;

/// Room for the digits of a pid in the state.
const PID_WIDTH: usize = 10;

/// The state a hook reads (runtime.md, State), but for the pid, which depends on who looks, and the status, which depends on
/// when.
#[derive(Debug, Clone)]
pub struct State(serde_json::Map<String, serde_json::Value>);

impl State {
    /// From the state as a JSON object; for hooks its `pid` and `status` are replaced.
    pub fn new(state: serde_json::Map<String, serde_json::Value>) -> Self {
        Self(state)
    }

    /// The state for a seccomp agent: of the container that process `pid` is about to become, unless it says itself what it
    /// is already.
    pub fn seen_by_agent(&self, pid: i32) -> serde_json::Value {
        let mut fields = self.0.clone();
        fields.entry("status").or_insert_with(|| "created".into());
        fields.entry("pid").or_insert_with(|| pid.into());
        fields.into()
    }

    /// The text before and after the pid.
    fn around_pid(&self, kind: HookKind) -> (&'static str, String) {
        let status = match kind {
            HookKind::Prestart | HookKind::CreateRuntime | HookKind::CreateContainer => "creating",
            HookKind::StartContainer => "created",
            HookKind::Poststart => "running",
            HookKind::Poststop => "stopped",
        };
        let mut fields = self.0.clone();
        fields.remove("pid");
        fields.insert("status".to_owned(), status.into());
        let text = serde_json::Value::Object(fields).to_string();
        ("{\"pid\":", format!(",{}", text.strip_prefix('{').unwrap_or(&text)))
    }
}

/// A hook that can be run without allocating.
pub struct Prepared {
    path: CString,
    args: Argv,
    env: Argv,
    inherits: bool,
    timeout_ms: i32,
    directory: Option<CString>,
    state: OwnedFd,
    pid_at: i64,
    output: OwnedFd,
}

/// A seccomp filter as the kernel takes it, and flags of seccomp(2); no instructions are no filter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// The instructions.
    pub words: &'a [u64],
    /// Nobody listens to a hook: what would be asked about fails with ENOSYS.
    pub flags: u32,
}

impl Filter<'_> {
    fn load(self) -> crate::sys::Result<()> {
        if self.words.is_empty() { Ok(()) } else { seccomp::load(self.words, self.flags).map(drop) }
    }
}

/// Why a hook failed, for [`Failure`].
#[derive(Debug)]
pub struct HookFailure {
    errno: i32,
    part: u32,
    status: u64,
}

impl HookFailure {
    /// With the hook's number.
    pub fn at(self, index: usize) -> Failure {
        Failure { errno: self.errno, part: self.part, value: self.status << 32 | index as u64 }
    }
}

/// Makes hooks ready. `directory` is where they run; `None` leaves them where the process is.
///
/// # Errors
/// When there are no descriptors left.
pub fn prepare(
    kind: HookKind,
    hooks: &[plan::Hook],
    state: &State,
    directory: Option<&std::path::Path>,
) -> crate::sys::Result<Vec<Prepared>> {
    let strings = |texts: &[plan::text::Text]| Argv::new(texts.iter().map(|t| t.clone().into_inner()).collect());
    hooks
        .iter()
        .map(|hook| {
            let memory = fd::memfd(c"state")?;
            let (before, after) = state.around_pid(kind);
            let pid_at = i64::try_from(before.len()).unwrap_or(0);
            fd::write(memory.as_fd(), format!("{before}{:PID_WIDTH$}{after}", "").as_bytes())?;
            // The program's is for hooks that are programs of the image alone: to those of the host it would be a way to be told what to
            // load (CVE-2025-23266).
            let programs = hook.inherits && kind == HookKind::StartContainer;
            Ok(Prepared {
                path: hook.path.clone().into_inner(),
                args: strings(&hook.args),
                env: if hook.inherits && !programs { own_environment() } else { strings(&hook.env) },
                inherits: programs,
                timeout_ms: hook.timeout.map_or(-1, |s| i32::try_from(u64::from(s) * 1000).unwrap_or(i32::MAX)),
                directory: directory.map(|dir| plan::text::Text::path(dir).into_inner()),
                state: memory,
                pid_at,
                output: fd::memfd(c"output")?,
            })
        })
        .collect()
}

/// This process's environment.
fn own_environment() -> Argv {
    let variable = |(name, value): (OsString, OsString)| {
        let mut bytes = name.into_encoded_bytes();
        bytes.push(b'=');
        bytes.extend(value.into_encoded_bytes());
        CString::new(bytes).ok()
    };
    Argv::new(std::env::vars_os().filter_map(variable).collect())
}

impl Prepared {
    /// Runs the hook and waits for it. `pid` is the container's as the hook sees it.
    ///
    /// # Errors
    /// When it cannot be executed, fails, or takes too long.
    pub fn run(&self, pid: i32) -> Result<(), HookFailure> {
        self.run_with(pid, &self.env, Filter::default())
    }

    /// The same in the container; `program` is the environment that the program will have. A hook that is a file of the image gets
    /// no more of the kernel than the program does: `filter`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_inside(&self, pid: i32, program: &Argv, filter: Filter<'_>) -> Result<(), HookFailure> {
        self.run_with(pid, if self.inherits { program } else { &self.env }, filter)
    }

    fn run_with(&self, pid: i32, env: &Argv, filter: Filter<'_>) -> Result<(), HookFailure> {
        let failed = |errno: Errno| HookFailure { errno: errno as i32, part: NOT_EXECUTED, status: 0 };
        let mut digits = [b' '; PID_WIDTH];
        process_parts::pid_digits(pid, &mut digits);
        fd::write_at(self.state.as_fd(), &digits, self.pid_at).map_err(failed)?;
        fd::rewind(self.state.as_fd()).map_err(failed)?;
        let (ours, theirs) = crate::sys::socket::pair().map_err(failed)?;
        match clone::fork(0, None).map_err(failed)? {
            Fork::Child => self.execute(theirs.as_fd(), env, filter),
            Fork::Parent { pidfd, .. } => {
                drop(theirs);
                self.wait(pidfd.as_fd(), ours.as_fd())
            }
        }
    }

    /// What the hook printed.
    pub fn output(&self) -> String {
        let mut text = vec![0; 4096];
        let read = fd::rewind(self.output.as_fd()).and_then(|()| fd::read(self.output.as_fd(), &mut text));
        text.truncate(read.unwrap_or(0));
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// The descriptors that have to stay open until the hook has run.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.state.as_raw_fd(), self.output.as_raw_fd()]
    }

    fn wait(&self, pidfd: BorrowedFd<'_>, report: BorrowedFd<'_>) -> Result<(), HookFailure> {
        let failed = |errno: Errno| HookFailure { errno: errno as i32, part: NOT_EXECUTED, status: 0 };
        let in_time = clone::wait_readable(pidfd, self.timeout_ms).map_err(failed)?;
        if !in_time {
            clone::kill(pidfd, libc::SIGKILL).map_err(failed)?;
        }
        let status = clone::wait(pidfd).map_err(failed)?;
        if !in_time {
            return Err(HookFailure { errno: 0, part: TIMED_OUT, status: 0 });
        }
        let mut errno = [0u8; 4];
        if let Ok((4, _)) = crate::sys::socket::receive(report, &mut errno) {
            return Err(HookFailure { errno: i32::from_ne_bytes(errno), part: NOT_EXECUTED, status: 0 });
        }
        if status == 0 {
            return Ok(());
        }
        Err(HookFailure { errno: 0, part: FAILED, status: u64::from(status.unsigned_abs()) })
    }

    /// In the hook's own process.
    fn execute(&self, report: BorrowedFd<'_>, env: &Argv, filter: Filter<'_>) -> ! {
        let errno = match self.become_hook().and_then(|()| filter.load()) {
            Ok(()) => self.args.exec(&self.path, env),
            Err(errno) => errno,
        };
        // The socket closes on exec: a message means that there was none.
        let _sent = crate::sys::socket::send(report, &(errno as i32).to_ne_bytes(), None);
        clone::exit_group(127)
    }

    fn become_hook(&self) -> crate::sys::Result<()> {
        process_parts::reset_signals(u64::MAX)?;
        if let Some(directory) = &self.directory {
            fd::chdir_path(directory)?;
        }
        fd::place(self.state.as_fd(), 0)?;
        fd::place(self.output.as_fd(), 1)?;
        fd::place(self.output.as_fd(), 2)
    }
}

/// Runs hooks of the runtime's namespace that are not part of a plan (poststart, poststop), one after the other.
///
/// # Errors
/// The message about the first that failed, with its number; those after it have not run.
pub fn run(
    kind: HookKind,
    hooks: &[plan::Hook],
    state: &State,
    directory: &std::path::Path,
    pid: i32,
) -> Result<(), (usize, String)> {
    let prepared = prepare(kind, hooks, state, Some(directory))
        .map_err(|errno| (0, format!("error running {} hook #0: {}", kind.name(), errno.desc().to_lowercase())))?;
    for (index, hook) in prepared.iter().enumerate() {
        hook.run(pid).map_err(|failure| (index, describe(kind, &failure.at(index), &prepared)))?;
    }
    Ok(())
}

/// The message for a hook that failed, in runc's words, which callers match.
pub fn describe(kind: HookKind, failure: &Failure, hooks: &[Prepared]) -> String {
    let index = usize::try_from(failure.value & u64::from(u32::MAX)).unwrap_or(0);
    let what = match failure.part {
        FAILED => match failure.value >> 32 {
            159 => "killed by signal 31: bad system call".to_owned(),
            status @ 129.. => format!("killed by signal {}", status - 128),
            status => format!("exit status {status}"),
        },
        TIMED_OUT => "timed out".to_owned(),
        _ => {
            let errno = Errno::from_raw(failure.errno);
            match hooks.get(index) {
                Some(hook) => format!("{}: {}", hook.path.to_string_lossy(), errno.desc().to_lowercase()),
                None => errno.desc().to_lowercase(),
            }
        }
    };
    let output = hooks.get(index).map(Prepared::output).filter(|text| !text.is_empty());
    let output = output.map(|text| format!(", output: {text}")).unwrap_or_default();
    format!("error running {} hook #{index}: {what}{output}", kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::text::Text;

    fn hook(script: &str, timeout: Option<u32>) -> Prepared {
        let args = ["sh", "-c", script].map(Text::new).to_vec();
        let hook = plan::Hook {
            path: Text::new("/bin/sh"),
            args,
            env: vec![Text::new("ONLY=this")],
            inherits: false,
            timeout,
        };
        let state =
            State::new(serde_json::Map::from_iter([("id".to_owned(), "x".into()), ("pid".to_owned(), 1.into())]));
        prepare(HookKind::Prestart, &[hook], &state, None).expect("prepared").remove(0)
    }

    #[test]
    fn state_has_the_pid_of_the_moment() {
        let state =
            State::new(serde_json::Map::from_iter([("id".to_owned(), "x".into()), ("pid".to_owned(), 1.into())]));
        let hooks = [plan::Hook {
            path: Text::new("/bin/cat"),
            args: vec![Text::new("cat")],
            env: vec![],
            inherits: false,
            timeout: None,
        }];
        let hook = prepare(HookKind::StartContainer, &hooks, &state, None).expect("prepared").remove(0);
        assert!(hook.run(4711).is_ok());
        let read: serde_json::Value = serde_json::from_str(&hook.output()).expect("JSON");
        assert_eq!(read, serde_json::json!({"pid": 4711, "id": "x", "status": "created"}));
    }

    #[test]
    fn failures_say_what_happened() {
        let hook = hook("echo oops; exit 3", None);
        let failure = hook.run(1).expect_err("a failure").at(2);
        assert_eq!(failure.part, FAILED);
        let all: Vec<Prepared> = vec![];
        assert_eq!(describe(HookKind::Prestart, &failure, &all), "error running prestart hook #2: exit status 3");
        let failure = hook.run(1).expect_err("a failure").at(0);
        assert!(describe(HookKind::Poststop, &failure, &[hook]).contains("output: oops"));
    }

    #[test]
    fn only_its_own_environment() {
        let hook = hook("env | grep -v -e ^PWD= -e ^SHLVL= -e ^_=", None);
        assert!(hook.run(1).is_ok());
        assert_eq!(hook.output(), "ONLY=this");
    }

    #[test]
    fn a_timeout_kills() {
        let failure = hook("sleep 60", Some(1)).run(1).expect_err("a failure");
        assert_eq!(failure.part, TIMED_OUT);
    }
}
