//! One file per verb, each thin: read the state, do one thing, print.
#![forbid(unsafe_code)]

mod attend;
mod cache;
mod checkpoint;
mod confined;
mod create;
pub mod delete;
mod doctor;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod make;
mod notify;
mod pause;
mod places;
mod plan;
mod profiles;
mod ps;
mod refusals;
mod restore;
mod run;
pub(crate) mod sandbox;
mod spec;
mod start;
mod state;
mod streams;
mod update;

use crate::cli::{Command, Global, Invocation, SPEC_VERSION};
use crate::report::{Failure, Hint, Reporter};
use crate::state::{Dir, Root, State};
use anyhow::Context as _;
use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Write};

/// What every verb is given.
#[derive(Debug)]
pub struct Session<'a> {
    /// The flags before the verb.
    pub global: &'a Global,
    /// Where warnings and progress go.
    pub report: &'a Reporter,
}

impl Session<'_> {
    /// The state directory of all containers: `--root`, or the default.
    ///
    /// # Errors
    ///
    /// When the default directory is somebody else's.
    pub fn root(&self) -> anyhow::Result<Root> {
        Root::find(self.global.root.as_deref()).explained()
    }

    /// The directory of an existing container, not locked.
    ///
    /// # Errors
    ///
    /// When there is none, or the id cannot be one.
    pub fn open(&self, id: &str) -> anyhow::Result<Dir> {
        Dir::open(&self.root()?, id).explained()
    }

    /// The directory and the state of an existing, completely created container.
    ///
    /// # Errors
    ///
    /// When there is none, or its create has not finished, or never will.
    pub fn load(&self, id: &str) -> anyhow::Result<(Dir, State)> {
        let dir = self.open(id)?;
        match dir.load().explained()? {
            Some(state) => Ok((dir, state)),
            None => Err(unfinished(&dir)),
        }
    }
}

/// Why a directory without a state is not a container.
fn unfinished(dir: &Dir) -> anyhow::Error {
    if dir.is_locked_by_another().unwrap_or(false) {
        return hinted("container is being created", "try again when its create has returned");
    }
    hinted(
        "container does not exist",
        &format!("an interrupted create left {}; `pent delete --force {}` removes it", dir.path().display(), dir.id()),
    )
}

/// Does what was typed, and returns the exit code.
///
/// # Errors
///
/// One message for the user; the exit code for it is in [`Invocation::failure_code`].
pub fn run(invocation: Invocation, report: &Reporter) -> Result<u8, Failure> {
    let Invocation { global, command, .. } = invocation;
    let session = Session { global: &global, report };
    command.explained().and_then(|command| dispatch(&session, command)).map_err(|error| render(&error))
}

fn dispatch(session: &Session<'_>, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Create(args) => apart(|| create::run(session, &args)),
        Command::Start(args) => apart(|| start::run(session, &args)),
        Command::Run(args) => apart(|| run::run(session, &args)),
        Command::Exec(args) => apart(|| exec::run(session, &args)),
        Command::Plan(args) => apart(|| plan::run(session, &args)),
        Command::State(args) => apart(|| state::run(session, &args)),
        Command::List(args) => apart(|| list::run(session, &args)),
        Command::Kill(args) => apart(|| kill::run(session, &args)),
        Command::Delete(args) => apart(|| delete::run(session, &args)),
        Command::Ps(args) => apart(|| ps::run(session, &args)),
        Command::Pause(args) => apart(|| pause::pause(session, &args)),
        Command::Resume(args) => apart(|| pause::resume(session, &args)),
        Command::Update(args) => apart(|| update::run(session, *args)),
        Command::Events(args) => apart(|| events::run(session, &args)),
        Command::Checkpoint(args) => apart(|| checkpoint::run(session, &args)),
        Command::Restore(args) => apart(|| restore::run(session, &args)),
        Command::Spec(args) => apart(|| spec::run(&args)),
        Command::Features => apart(features::run),
        Command::Cache(args) => apart(|| cache::run(session, &args)),
        Command::Sandbox(args) => apart(|| sandbox::run(session, &args)),
        Command::Doctor(args) => apart(|| doctor::run(&args)),
        Command::Version => print(&version()),
        Command::Help(text) => print(&text),
    }
}

/// A frame for each verb: one for all of them would be eight pages for even the smallest to touch.
#[inline(never)]
fn apart(verb: impl FnOnce() -> anyhow::Result<u8>) -> anyhow::Result<u8> {
    verb()
}

/// What `--version` prints. go-runc and others want `NAME version X.Y.Z` on the first line.
fn version() -> String {
    let commit = option_env!("PENT_COMMIT").filter(|commit| !commit.is_empty()).unwrap_or("unknown");
    format!("pent version {}\ncommit: {commit}\nspec: {SPEC_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

/// Writes to stdout in one go. A reader that has gone away (`pent list | head -1`) has seen what it wanted.
fn print(text: &str) -> anyhow::Result<u8> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(0),
    }
}

/// Turns a library's typed error into one that is only passed on, its hint kept.
pub trait Explained<T> {
    /// Keeps the hint of the error, if it is one.
    ///
    /// # Errors
    ///
    /// The same error.
    fn explained(self) -> anyhow::Result<T>;
}

impl<T, E: StdError + Hint + Send + Sync + 'static> Explained<T> for Result<T, E> {
    fn explained(self) -> anyhow::Result<T> {
        self.map_err(|error| match (error.hint(), error.code()) {
            (None, None) => error.into(),
            (hint, code) => Hinted { message: chain(&error), hint, code }.into(),
        })
    }
}

/// An error made here, with a hint.
pub fn hinted(message: &str, hint: &str) -> anyhow::Error {
    Hinted { message: message.to_owned(), hint: Some(hint.to_owned()), code: None }.into()
}

/// The same error with another hint.
pub fn with_hint(error: &anyhow::Error, hint: &str) -> anyhow::Error {
    let Failure { message, code, .. } = render(error);
    Hinted { message, hint: Some(hint.to_owned()), code }.into()
}

/// An error already rendered, together with its hint; found again under any `context`.
#[derive(Debug)]
struct Hinted {
    message: String,
    hint: Option<String>,
    code: Option<u8>,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Hinted {}

/// One line for the user: each error of the chain unless the one before already ends with its text.
fn chain(error: &dyn StdError) -> String {
    let mut message = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        next = cause.source();
    }
    message
}

fn render(error: &anyhow::Error) -> Failure {
    let known = error.downcast_ref::<Hinted>();
    Failure {
        message: chain(error.as_ref()),
        hint: known.and_then(|hinted| hinted.hint.clone()),
        code: known.and_then(|hinted| hinted.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Error;

    #[test]
    fn hints_survive_contexts_and_causes_are_said_once() {
        let missing: Result<(), Error> = Err(Error::Missing { path: "/run/pent/x".into() });
        let failure = render(&missing.explained().context("exec failed").unwrap_err());
        assert_eq!(failure.message, "exec failed: container does not exist");
        assert_eq!(failure.hint.as_deref(), Some("looked in /run/pent; was it created with another --root?"));

        let source = io::Error::from_raw_os_error(libc::EACCES);
        let io: Result<(), Error> = Err(Error::Io { doing: "open", path: "/x".into(), source });
        let failure = render(&io.explained().unwrap_err());
        assert_eq!(failure.message, "cannot open /x: Permission denied (os error 13)");
        assert_eq!(failure.hint, None);
    }
}
