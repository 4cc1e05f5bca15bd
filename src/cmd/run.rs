//! `pent run`: create, start, wait, delete.
#![forbid(unsafe_code)]

use super::delete::delete_ended;
use super::make::{Starter, check_descriptors, make, poststart};
use super::refusals::{Keeper, Reporting};
use super::{Explained as _, Session, attend, notify};
use crate::cli::Run;
use crate::launch;
use crate::refusal::{Asker, Watch};
use crate::sys::cred;
use anyhow::Context as _;

pub(super) fn run(session: &Session<'_>, args: &Run) -> anyhow::Result<u8> {
    check_descriptors(args.make.preserve_fds)?;
    let starter = if args.detach { Starter::ThisAndLeave } else { Starter::ThisAndWait };
    if !args.detach && !args.no_subreaper {
        cred::set_child_subreaper().context("cannot become a subreaper")?;
    }
    let reporting = Reporting::begin(args.report.as_deref(), Watch::Denied, !args.detach)?;
    let attendance = if args.detach { None } else { Some(attend::Attendance::begin()?) };
    let mut made = make(session, &args.make, &args.id, starter, reporting.watch())?;
    let mut supervisor = reporting.supervisor(&made.bundle);
    let notify = match notify::Proxy::open(&made.dir) {
        Ok(notify) => notify,
        Err(error) => {
            made.undo(session.report);
            return Err(error);
        }
    };
    let mut keeper = Keeper::new(session, &made.bundle, &args.id);
    let by: Option<&mut dyn launch::Supervisor> = match &mut supervisor {
        Some(_) if args.detach => Some(&mut keeper),
        Some(supervisor) => Some(supervisor),
        None => None,
    };
    if let Some(attendance) = &attendance {
        made.running.stop = attendance.stop().ok();
    }
    let started = made.running.start_supervised(&made.bundle.plan, by).explained();
    if let Err(error) = keeper.failed.map_or(started, Err) {
        made.undo(session.report);
        return Err(error);
    }
    // From here on others may use the container.
    let shared = made.dir.unlock().explained();
    if let Err(error) = shared.and_then(|()| poststart(&made.bundle.spec, &made.state)) {
        made.undo(session.report);
        return Err(error);
    }
    let Some(attendance) = attendance else {
        return notify.map_or(Ok(()), |notify| notify.wait(made.running.pid, session.report)).map(|()| 0);
    };
    let terminal = made.running.terminal.take().map(|(master, _)| master);
    let by = supervisor.as_mut().map(|supervisor| supervisor as &mut dyn launch::Supervisor);
    let (code, _) = attendance.until_end(&made.running.pidfd, terminal, notify, by, attend::Bounds::default(), None)?;
    let names = made.bundle.profile_names();
    let asker = if names.is_empty() { Asker::Bundle(&made.bundle.spec) } else { Asker::Held(&names) };
    session.report.speak();
    let report = reporting.conclude(&made, supervisor.as_ref(), &[], code, asker);
    let deleted = if args.keep { Ok(()) } else { delete_ended(made.dir, &made.state, session.report) };
    reporting.publish(&report, code, "pent run --report")?;
    deleted.map(|()| code)
}
