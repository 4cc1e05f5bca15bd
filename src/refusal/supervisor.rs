//! Answers what a filter asks, and writes down why.
#![forbid(unsafe_code)]

use super::caller::{Caller, look_up};
use super::classify::Look;
use super::facts::Facts;
use super::record::{About, Layer, Record, Refusal, Registers};
use super::{decode, watch};
use crate::launch;
use crate::plan::Supervised;
use crate::profile;
use crate::seccomp::Program;
use crate::sys::seccomp::{self, Notification};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// How many calls are answered before others get their turn: signals, the terminal.
const AT_ONCE: usize = 64;
const ACTION: u32 = 0xffff_0000;
const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;

/// Answers the calls that a filter asks about. As long as it lives: without it they fail with ENOSYS.
#[derive(Debug)]
pub struct Supervisor {
    program: Program,
    facts: Facts,
    listener: Option<OwnedFd>,
    record: Record,
    own_network: Vec<u8>,
    /// Whether files are looked at; not known before the first call.
    looks: Option<bool>,
    /// Refusals that were written down since they were last taken.
    news: Vec<Refusal>,
    /// Whether the kernel did not take an answer; nothing is answered since.
    failed: bool,
    /// The filters of other profiles, once one was asked for.
    others: Option<Vec<(String, Program)>>,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Refuse(i32),
    Continue,
}

/// What the filter says of these numbers and register values, and nothing else, is the answer. The filter asks only where it denies
/// with an error number or allows; anything else is a mistake, and denied.
fn judge(program: &Program, call: &Notification) -> Answer {
    let verdict = program.verdict_at(call.arch, call.nr, call.instruction_pointer, call.args);
    match verdict & ACTION {
        ERRNO => Answer::Refuse((verdict & !ACTION).cast_signed()),
        ALLOW => Answer::Continue,
        _ => Answer::Refuse(libc::ENOSYS),
    }
}

impl Supervisor {
    /// For the filter of a plan.
    #[must_use]
    pub fn new(supervised: &Supervised, facts: Facts) -> Self {
        let own_network =
            std::fs::read_link("/proc/self/ns/net").map(|link| link.into_os_string().into_encoded_bytes());
        Self {
            program: supervised.program.clone(),
            facts,
            listener: None,
            record: Record::default(),
            own_network: own_network.unwrap_or_default(),
            looks: None,
            news: Vec::new(),
            failed: false,
            others: None,
        }
    }

    /// What was refused so far.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// For what is refused by others than the filter.
    pub fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Whether files were not looked at, because the container has a file system that answers by itself.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.looks == Some(false)
    }

    /// Refusals that are new since this was last asked.
    pub fn take_news(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.news)
    }

    /// Answers one call, if one waits.
    ///
    /// # Errors
    /// When the kernel does not take the answer, though its caller waits for one.
    fn serve_one(&mut self, listener: BorrowedFd<'_>) -> Result<(), Errno> {
        let call = match seccomp::receive(listener) {
            Ok(call) => call,
            // Its caller is gone.
            Err(Errno::ENOENT | Errno::EINTR | Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        // An answer that does not arrive is for a caller that is gone, or the caller would wait for ever.
        let arrived = |answered| match answered {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        };
        match judge(&self.program, &call) {
            Answer::Refuse(errno) => {
                let answered = arrived(seccomp::refuse(listener, call.id, errno));
                let refusal = self.denied(&call, errno);
                self.write_down(refusal);
                answered
            }
            Answer::Continue => {
                let refusal = self.forecast(listener, &call);
                let answered = arrived(seccomp::let_continue(listener, call.id));
                if let Some(refusal) = refusal {
                    self.write_down(refusal);
                }
                answered
            }
        }
    }

    fn write_down(&mut self, refusal: Refusal) {
        if self.record.add(refusal.clone()) {
            self.news.push(refusal);
        }
    }

    fn denied(&mut self, call: &Notification, errno: i32) -> Refusal {
        let allows = |filter: &Program| filter.verdict(call.arch, call.nr, call.args) & ACTION == ALLOW;
        let by_profile = self.facts.profile_filter.as_ref().is_some_and(|filter| !allows(filter));
        let detail =
            if by_profile { self.facts.profile.clone().unwrap_or_else(|| "profile".into()) } else { String::new() };
        let mut profile = None;
        if by_profile && self.facts.own_filter.as_ref().is_some_and(allows) {
            let others = self.others.get_or_insert_with(filters_of_profiles);
            profile = others.iter().find(|(_, filter)| allows(filter)).map(|(name, _)| name.clone());
        }
        let (action, name) = decode::describe(&self.program.abis, call.arch, call.nr, call.args);
        Refusal {
            action,
            subject: Vec::new(),
            layer: Layer::Seccomp,
            detail,
            errno,
            call: name,
            about: About::Call { arch: call.arch, nr: call.nr, args: Registers(call.args), profile },
        }
    }

    /// Why the kernel will refuse a call that goes on, if it will.
    fn forecast(&mut self, listener: BorrowedFd<'_>, call: &Notification) -> Option<Refusal> {
        let native = *self.program.abis.first()?;
        let (name, kind) = watch::find(call.nr, native).filter(|_| call.arch == native.audit_arch())?;
        let mut caller = Caller::open(call.pid).ok()?;
        // From here on it is this thread, or nobody.
        if !seccomp::is_waiting(listener, call.id) {
            return None;
        }
        // Before it executes the program, an ordinary user's container cannot be looked at.
        let root = caller.root().ok()?;
        if !*self.looks.get_or_insert_with(|| has_no_own_files(root.as_fd())) {
            return None;
        }
        let mut look = Look::new(&mut caller, root, &self.facts, &self.own_network, name, call.args);
        let refusal = look.classify(kind)?;
        // What was read belongs to a call that was never made, if that is not so.
        seccomp::is_waiting(listener, call.id).then_some(refusal)
    }
}

/// What each shipped profile allows.
fn filters_of_profiles() -> Vec<(String, Program)> {
    let filter = |(name, _): &(&str, &str)| {
        let profile = profile::load(name).ok()?;
        Some(((*name).to_owned(), profile::compile_seccomp(&profile).ok()??))
    };
    // Of several, the one that forbids most is found first: those that others extend come after them.
    let mut found: Vec<_> = profile::SHIPPED.iter().filter_map(filter).collect();
    found.sort_by_key(|(name, _)| super::unwise::is_weak(name));
    found
}

/// Whether the container cannot answer for files itself: with FUSE it could keep whoever looks at them waiting for ever. Asked of its
/// first call, so that it has not opened the device by then.
fn has_no_own_files(root: BorrowedFd<'_>) -> bool {
    matches!(look_up(root, b"/dev/fuse", true), Ok(found) if found.target.is_none())
}

impl launch::Supervisor for Supervisor {
    fn take(&mut self, listener: OwnedFd) {
        // Older kernels do without.
        let _faster = seccomp::take_turns(listener.as_fd());
        self.listener = Some(listener);
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(|listener| listener.as_fd())
    }

    /// From then on denied calls of a running program fail with ENOSYS, and nothing is seen.
    fn has_failed(&self) -> bool {
        self.failed
    }

    fn serve(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        for _ in 0..AT_ONCE {
            let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            let events = match poll(&mut fds, PollTimeout::ZERO) {
                Err(Errno::EINTR) => continue,
                Err(_) | Ok(0) => break,
                Ok(_) => fds[0].revents().unwrap_or(PollFlags::empty()),
            };
            if events.contains(PollFlags::POLLIN) {
                if self.serve_one(listener.as_fd()).is_err() {
                    // Closing it is an answer to all who wait: ENOSYS.
                    self.failed = true;
                    return;
                }
            } else {
                // Nobody is left who could ask.
                return;
            }
        }
        self.listener = Some(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{Abi, compile_for, syscalls};

    #[test]
    fn the_answer_is_what_the_filter_says() {
        let policy = serde_json::from_str(
            r#"{ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "syscalls": [
                { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["write"], "action": "SCMP_ACT_LOG" },
                { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 },
                { "names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS" },
                { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] }
            ] }"#,
        )
        .expect("a policy");
        let program = compile_for(Abi::X86_64, &policy).expect("a program");
        let judge = |name: &str, arch: Abi, args: [u64; 6]| {
            let nr = syscalls::number(name, Abi::X86_64).expect("a call");
            judge(&program, &Notification { nr, arch: arch.audit_arch(), args, ..Notification::default() })
        };
        let native = |name, args| judge(name, Abi::X86_64, args);
        assert_eq!(native("read", [9; 6]), Answer::Continue);
        assert_eq!(native("chmod", [9; 6]), Answer::Refuse(libc::EACCES));
        assert_eq!(native("mkdir", [9; 6]), Answer::Refuse(0));
        assert_eq!(native("socket", [1, 0, 0, 0, 0, 0]), Answer::Continue);
        // The kernel looks at 32 bits of this argument.
        assert_eq!(native("socket", [0x1_0000_0001, 0, 0, 0, 0, 0]), Answer::Continue);
        assert_eq!(native("socket", [2, 0, 0, 0, 0, 0]), Answer::Refuse(libc::EACCES));
        // What the filter never asks of is not let through.
        assert_eq!(native("write", [9; 6]), Answer::Refuse(libc::ENOSYS));
        assert_eq!(native("ptrace", [9; 6]), Answer::Refuse(libc::ENOSYS));
        assert_eq!(judge("read", Abi::Aarch64, [0; 6]), Answer::Refuse(libc::ENOSYS));
    }
}
