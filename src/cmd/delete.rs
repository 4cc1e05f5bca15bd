//! `pent delete`: everything a container left, and on `--force` the container before it.
//!
//! Each step may have been done by an earlier delete that was killed: none of them minds.
#![forbid(unsafe_code)]

use super::{Explained, Session, hinted};
use crate::cgroup::Cgroup;
use crate::cli::Delete;
use crate::launch::hooks;
use crate::plan::compile_hooks;
use crate::plan::op::HookKind;
use crate::report::Reporter;
use crate::state::{Dir, Error, Process, State, Status};
use crate::sys::regex::Regex;
use anyhow::{Context as _, Result, bail};
use oci_spec::runtime::Hook;
use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a killed first process may take to end.
const DYING: Duration = Duration::from_secs(10);

/// Deletes a stopped container; kills a created one first; with `--force` any. What an interrupted create left is wiped.
pub(super) fn run(session: &Session<'_>, args: &Delete) -> Result<u8> {
    if args.regex { all_that_match(session, args) } else { one(session, args) }
}

/// Each container whose id matches, as crun does it; other programs' are left alone. One that cannot be deleted keeps no other from it.
fn all_that_match(session: &Session<'_>, args: &Delete) -> Result<u8> {
    let regex = CString::new(args.id.as_str()).ok().and_then(|expression| Regex::new(&expression));
    let Some(regex) = regex else {
        let message = format!("--regex: {:?} is not a regular expression", args.id);
        return Err(hinted(&message, "extended ones are meant, as in regex(7)"));
    };
    let root = session.root()?;
    let mut failed = None;
    for id in Dir::list(&root).explained()? {
        let matches = CString::new(id.as_str()).is_ok_and(|id| regex.matches(&id));
        if !matches || matches!(Dir::open(&root, &id).map(|dir| dir.load()), Ok(Err(Error::Foreign { .. }))) {
            continue;
        }
        let args = Delete { id, ..args.clone() };
        match one(session, &args) {
            Ok(_) => {}
            Err(error) if failed.is_none() => failed = Some(error),
            Err(error) => session.report.warn(format!("{error:#}")),
        }
    }
    failed.map_or(Ok(0), Err)
}

fn one(session: &Session<'_>, args: &Delete) -> Result<u8> {
    let mut dir = match Dir::open(&session.root()?, &args.id) {
        Err(Error::Missing { .. }) if args.force => return Ok(0),
        dir => dir.explained()?,
    };
    if !dir.try_lock().explained()? {
        match dir.load() {
            // A create or start that waits for this process gives up when it ends, and with it the lock.
            Ok(Some(state)) if args.force => kill_init(&state)?,
            Ok(None) if !args.force => {
                let message = refusal(&args.id, Status::Creating);
                return Err(hinted(&message, "try again when its create has returned"));
            }
            _ => {}
        }
    }
    match dir.lock() {
        Err(Error::Missing { .. }) if args.force => return Ok(0),
        locked => locked.explained()?,
    }
    let state = match dir.load() {
        Ok(Some(state)) => state,
        Ok(None) => {
            let hint = format!("what an interrupted create had left in {} is removed", dir.path().display());
            wipe(dir)?;
            return if args.force { Ok(0) } else { Err(hinted("container does not exist", &hint)) };
        }
        Err(Error::Corrupt { .. }) if args.force => {
            // Another version's, or damaged: what can still be read of it must not live on unseen.
            let (init, cgroup) = dir.load_rest().explained()?;
            init.map_or(Ok(()), |init| kill_process(&init, &cgroup))?;
            if !cgroup.is_none() {
                cgroup.kill_all(libc::SIGKILL).explained()?;
                cgroup.delete().explained()?;
            }
            wipe(dir)?;
            return Ok(0);
        }
        Err(error) => return Err(error).explained(),
    };
    match state.status(&dir).explained()? {
        Status::Stopped => {}
        Status::Created => kill_init(&state)?,
        _ if args.force => kill_init(&state)?,
        status => return Err(hinted(&refusal(&args.id, status), "kill it first, or use --force")),
    }
    destroy(dir, &state, session.report)?;
    Ok(0)
}

/// The directories of sandboxes whose pent was killed, locked: those with an id of `prefix` and the pid of a pent that
/// is gone, and of this sandbox's own id, which an earlier process with the same pid may have left.
pub(super) fn abandoned(session: &Session<'_>, prefix: &str, own_id: &str) -> Result<Vec<Dir>> {
    let root = session.root()?;
    let own = pid_namespace();
    let mut found = Vec::new();
    for id in Dir::list(&root).explained()? {
        let Some((pid, namespace)) = id.strip_prefix(prefix).and_then(maker_of) else { continue };
        // Whoever has that pid now may be its pent, with another state directory. What is in another pid namespace
        // cannot be asked: its pent has the lock as long as it lives.
        if id != own_id && namespace == own && is_alive(pid) {
            continue;
        }
        let Ok(mut dir) = Dir::open(&root, &id) else { continue };
        if dir.is_own().unwrap_or(false) && dir.try_lock().unwrap_or(false) {
            found.push(dir);
        }
    }
    Ok(found)
}

/// Deletes what sandboxes have left whose pent was killed. What cannot be deleted is left to the next time.
///
/// What is in such a directory is not believed: no hook of its runs, and of cgroups only that is killed and removed
/// which pent makes for this id; `own_id` and `own` are this sandbox's, from which it is known.
pub(super) fn sweep(session: &Session<'_>, abandoned: Vec<Dir>, own_id: &str, own: &Cgroup) {
    for dir in abandoned {
        let id = dir.id().to_owned();
        if let Err(error) = sweep_one(dir, own, own_id) {
            session.report.debug(format_args!("cannot delete what is left of {id}: {error:#}"));
        }
    }
}

/// The first pid namespace of every machine (linux/proc_ns.h, PROC_PID_INIT_INO).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// The number of this process's pid namespace; nothing in the machine's own, and where /proc does not say.
fn pid_namespace() -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let about = std::fs::metadata("/proc/self/ns/pid").ok()?;
    Some(about.ino()).filter(|number| *number != FIRST_PID_NAMESPACE)
}

/// The id of this process's sandbox: `PREFIX PID`, and in a pid namespace other than the machine's own `-NAMESPACE`, as
/// others may use the same directory from elsewhere, with the same pid.
pub(super) fn own_id(prefix: &str) -> String {
    let pid = std::process::id();
    pid_namespace().map_or_else(|| format!("{prefix}{pid}"), |namespace| format!("{prefix}{pid}-{namespace}"))
}

/// Of the rest of an id: the pid of its pent, and in which namespace.
fn maker_of(text: &str) -> Option<(i32, Option<u64>)> {
    let Some((pid, namespace)) = text.split_once('-') else { return Some((pid_of(text)?, None)) };
    let number = namespace.parse().ok().filter(|number: &u64| number.to_string() == namespace)?;
    Some((pid_of(pid)?, Some(number)))
}

/// As pent writes it: one number has one id.
fn pid_of(text: &str) -> Option<i32> {
    text.parse().ok().filter(|pid: &i32| *pid > 0 && pid.to_string() == text)
}

fn is_alive(pid: i32) -> bool {
    !matches!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH))
}

fn sweep_one(dir: Dir, own: &Cgroup, own_id: &str) -> Result<()> {
    let kept = match dir.load() {
        // It ends by itself, and soon: whoever has started it is gone.
        Ok(Some(state)) if !state.status(&dir).is_ok_and(|status| status == Status::Stopped) => return Ok(()),
        Ok(Some(state)) => state.cgroup,
        Err(error @ Error::Foreign { .. }) => return Err(error).explained(),
        _ => dir.load_intent().unwrap_or_default(),
    };
    let expected = own.of_another(own_id, dir.id());
    let known = kept.places().len();
    let cgroup = kept.only_as(&expected);
    if cgroup.places().len() != known && dir.id() != own_id {
        // Made from somewhere else, or forged: from there it can be swept.
        return Ok(());
    }
    if !cgroup.is_none() {
        cgroup.kill_all(libc::SIGKILL).explained()?;
        cgroup.delete().explained()?;
    }
    dir.remove().explained()
}

fn refusal(id: &str, status: Status) -> String {
    format!("cannot delete container {id} that is not stopped: {status}")
}

/// SIGKILL to the first process, and its end awaited. One that has ended is fine.
fn kill_init(state: &State) -> Result<()> {
    kill_process(&state.init, &state.cgroup)
}

fn kill_process(init: &Process, cgroup: &Cgroup) -> Result<()> {
    let pidfd = match init.signal(libc::SIGKILL) {
        Err(Error::NotRunning) => return Ok(()),
        sent => sent.explained()?,
    };
    let until = Instant::now() + DYING;
    while Instant::now() < until {
        // Again and again: until the first process has ended, others in the container may freeze each other.
        cgroup.thaw_killed().explained()?;
        if pidfd.wait_end(DYING / 50).context("cannot wait for the container's first process")? {
            return Ok(());
        }
    }
    bail!("container init still running: process {} has not ended {} s after SIGKILL", init.pid, DYING.as_secs())
}

/// Removes all that belongs to a container whose first process has ended: remaining processes (in a pid namespace it
/// shares), the cgroup, at last the directory. Before the directory, poststop hooks run (runtime.md, Lifecycle, step 12): a
/// hook that fails is warned about, and the rest goes on.
///
/// # Errors
///
/// When the kernel refuses; what was not removed yet is still there to be deleted again.
pub fn destroy(dir: Dir, state: &State, report: &Reporter) -> Result<()> {
    if !state.cgroup.is_none() {
        // The end of the first process of a pid namespace was the end of all in it (pid_namespaces(7)).
        if !state.has_own_pid_namespace() {
            state.cgroup.kill_all(libc::SIGKILL).explained()?;
        }
        state.cgroup.delete().explained()?;
    }
    if state.rdt
        && let Some(rdt) = dir.load_rdt().explained()?
    {
        rdt.delete().explained()?;
    }
    after_stop(&dir, state, report);
    dir.remove().explained()
}

/// The same for the command that has waited for the end, during which others may have used the container.
///
/// # Errors
///
/// As [`destroy`]; when another command does not let go of the container.
pub fn delete_ended(mut dir: Dir, state: &State, report: &Reporter) -> Result<()> {
    match dir.lock() {
        // Another delete, or a checkpoint, was faster.
        Err(Error::Missing { .. }) => Ok(()),
        locked => locked.explained().and_then(|()| destroy(dir, state, report)),
    }
}

/// Removes all but the directory of a container whose create or start has failed. Its poststop hooks run: those before may have
/// made what these undo (runtime.md, Lifecycle: after a failure it goes on at step 12). Nothing fails: the first error is the one to
/// show, and what cannot be removed now, `delete --force` finds.
pub fn abandon(dir: &Dir, state: &State, report: &Reporter) {
    drop(state.cgroup.kill_all(libc::SIGKILL));
    drop(state.cgroup.delete());
    drop(dir.load_rdt().map(|rdt| rdt.map(|rdt| rdt.delete())));
    after_stop(dir, state, report);
}

/// The specification: warn of hooks that fail, and go on with the remaining hooks and the rest.
fn after_stop(dir: &Dir, state: &State, report: &Reporter) {
    if !state.poststop {
        return;
    }
    match poststop(dir, state) {
        Ok(failures) => failures.into_iter().for_each(|failure| report.warn(failure)),
        Err(error) => report.warn(format!("cannot run poststop hooks: {error:#}")),
    }
}

/// Removes what a create that was killed left: its cgroup with everybody in it, and the directory.
fn wipe(dir: Dir) -> Result<()> {
    let cgroup = dir.load_intent().explained()?;
    if !cgroup.is_none() {
        cgroup.kill_all(libc::SIGKILL).explained()?;
        cgroup.delete().explained()?;
    }
    if let Some(rdt) = dir.load_rdt().explained()? {
        rdt.delete().explained()?;
    }
    dir.remove().explained()
}

/// Runs the configuration's poststop hooks with the state of a stopped container on their standard input; the messages of
/// those that failed.
fn poststop(dir: &Dir, state: &State) -> Result<Vec<String>> {
    let config = dir.load_config().explained()?;
    let hooks = compile_hooks(Some(&poststop_hooks(&config)?));
    let serde_json::Value::Object(fields) = serde_json::to_value(state.report(Status::Stopped))? else {
        bail!("the state is not an object");
    };
    // An engine may have removed the bundle; the hooks are for what is elsewhere.
    let place = if state.bundle.is_dir() { &state.bundle } else { Path::new("/") };
    let hooks = hooks::prepare(HookKind::Poststop, &hooks, &hooks::State::new(fields), Some(place))?;
    let run = |(index, hook): (usize, &hooks::Prepared)| {
        let failure = hook.run(0).err()?.at(index);
        Some(hooks::describe(HookKind::Poststop, &failure, &hooks))
    };
    Ok(hooks.iter().enumerate().filter_map(run).collect())
}

/// Only this part of the configuration is read: the rest was checked when it was used.
fn poststop_hooks(config: &[u8]) -> serde_json::Result<Vec<Hook>> {
    #[derive(serde::Deserialize)]
    struct Config {
        hooks: Option<Hooks>,
    }
    #[derive(serde::Deserialize)]
    struct Hooks {
        #[serde(default)]
        poststop: Option<Vec<Hook>>,
    }
    let config: Config = serde_json::from_slice(config)?;
    Ok(config.hooks.and_then(|hooks| hooks.poststop).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_who_made_it() {
        assert_eq!(maker_of("4711"), Some((4711, None)));
        assert_eq!(maker_of("1-4026532000"), Some((1, Some(4_026_532_000))));
        for other in ["1-", "1-01", "1-x", "-1", "1-2-3", "01-2", "1-+2"] {
            assert_eq!(maker_of(other), None, "{other}");
        }
        assert!(own_id("x-").starts_with(&format!("x-{}", std::process::id())));
    }

    #[test]
    fn an_id_has_a_pid() {
        assert_eq!(pid_of("4711"), Some(4711));
        for other in ["", "0", "-1", "+1", "01", "1x", "4711-old", "99999999999"] {
            assert_eq!(pid_of(other), None, "{other}");
        }
    }

    #[test]
    fn hooks_of_a_configuration() {
        let hooks =
            poststop_hooks(br#"{"hooks":{"poststop":[{"path":"/bin/a"},{"path":"/bin/b","timeout":3}]}}"#).unwrap();
        assert_eq!(hooks.len(), 2);
        for none in [r#"{}"#, r#"{"hooks":null}"#, r#"{"hooks":{}}"#, r#"{"hooks":{"poststop":null}}"#] {
            assert!(poststop_hooks(none.as_bytes()).unwrap().is_empty(), "{none}");
        }
        assert!(poststop_hooks(b"{").is_err());
    }
}
