//! What is said at the end of what a program was refused: `--report`, and in short on a terminal when it has failed.
#![forbid(unsafe_code)]

use super::make::{Bundle, Made};
use super::{Explained as _, Session, hinted};
use crate::launch;
use crate::output::{self, Links, Output};
use crate::refusal::keeper;
use crate::refusal::{About, Asker, Layer, Record, Refusal, Report, Supervisor, Watch};
use crate::sys::{clone, seccomp};
use anyhow::Context as _;
use oci_spec::runtime::Spec;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where the report goes.
pub(super) enum Reporting {
    /// Nowhere.
    None,
    /// To the terminal, in short, if the program fails.
    Short(Watch),
    /// To stderr.
    Full,
    /// To a file, as JSON; in short to the terminal, too.
    File(Output),
}

impl Reporting {
    /// By `--report[=FILE]`. Without it there is a terminal to say something on, or nobody to read it.
    /// On a terminal this much is heard of.
    pub(super) fn begin(report: Option<&Path>, on_terminal: Watch, attended: bool) -> anyhow::Result<Self> {
        let Some(path) = report else {
            // Under a filter that may have a listener there can be no second one: without a report nobody misses it.
            let alone = seccomp::mode() == Ok(0);
            let short = attended && alone && std::io::stderr().is_terminal();
            return Ok(if short { Self::Short(on_terminal) } else { Self::None });
        };
        if !attended {
            return Err(hinted(
                "--report cannot be used with --detach: nobody would be there to answer and to report",
                "leave out --detach; for containers of an engine, see the annotation run.pent.report in docs/report.md",
            ));
        }
        if path == Path::new("-") {
            return Ok(Self::Full);
        }
        // Before anything runs: a report that cannot be written is no report.
        Output::begin(path, Links::OfTheSystem).map(Self::File).explained().map_err(of_report)
    }

    /// The report of an earlier run that is where this one will be.
    pub(super) fn earlier(&self) -> anyhow::Result<Option<PathBuf>> {
        if let Self::File(output) = self { output.earlier().explained() } else { Ok(None) }
    }

    /// Whether somebody has asked for all of it.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Full | Self::File(_))
    }

    /// What is heard of.
    pub(super) fn watch(&self) -> Option<Watch> {
        match self {
            Self::None => None,
            Self::Short(watch) => Some(*watch),
            Self::Full | Self::File(_) => Some(Watch::Everything),
        }
    }

    /// Whoever answers for the filter of a bundle that was compiled for this report.
    pub(super) fn supervisor(&self, bundle: &Bundle) -> Option<Supervisor> {
        let supervised = bundle.plan.supervised.as_ref()?;
        Some(Supervisor::new(supervised, bundle.facts()))
    }

    /// What there is to say of a program that has ended, before its cgroup is removed.
    /// `others`: by whom the supervisor does not hear of.
    pub(super) fn conclude(
        &self,
        made: &Made,
        supervisor: Option<&Supervisor>,
        others: &[Refusal],
        code: u8,
        asker: Asker<'_>,
    ) -> Report {
        let mut record = supervisor.map(|supervisor| supervisor.record().clone()).unwrap_or_default();
        let mut notes = Vec::new();
        if matches!(self, Self::None) {
            return Report::new("", code, &record, asker, notes);
        }
        add_limits(made, &mut record);
        for refusal in others {
            record.add(refusal.clone());
        }
        if supervisor.is_none() && self.watch() > Some(Watch::Denied) {
            notes.push("only limits are reported: the filter of the container could not be made to ask".to_owned());
        }
        if supervisor.is_some_and(Supervisor::is_blind) {
            notes.push(
                "files are not reported on: the container has /dev/fuse, and could answer for them itself".to_owned(),
            );
        }
        if supervisor.is_some_and(launch::Supervisor::has_failed) {
            notes.push(
                "the kernel did not take an answer: from then on denied calls failed with ENOSYS, unseen".to_owned(),
            );
        }
        Report::new(&made.state.id, code, &record, asker, notes)
    }

    /// Says it. `more` is what says all of it.
    pub(super) fn publish(self, report: &Report, code: u8, more: &str) -> anyhow::Result<()> {
        let short = |report: &Report| if code == 0 { String::new() } else { report.short(more) };
        let text = match self {
            Self::None => return Ok(()),
            Self::Short(_) => short(report),
            Self::Full if report.is_empty() => "nothing was denied\n".to_owned(),
            Self::Full => report.full(),
            Self::File(output) => {
                output.write(report.json().as_bytes()).explained().map_err(of_report)?;
                if std::io::stderr().is_terminal() { short(report) } else { String::new() }
            }
        };
        // There is nobody left to tell when that fails.
        drop(std::io::stderr().write_all(text.as_bytes()));
        Ok(())
    }
}

/// Which flag named the file.
fn of_report(error: anyhow::Error) -> anyhow::Error {
    error.context("--report")
}

/// The annotation that has refusals of a container written down that an engine runs.
pub(super) const ANNOTATION: &str = "run.pent.report";
/// Beside the runtime's log.
const FILE: &str = "refusals.json";

/// What the annotation of a configuration asks for.
pub(super) fn annotated(spec: &Spec) -> anyhow::Result<Option<Watch>> {
    match spec.annotations().as_ref().and_then(|annotations| annotations.get(ANNOTATION)).map(String::as_str) {
        None => Ok(None),
        Some("log") => Ok(Some(Watch::Denied)),
        Some(other) => Err(hinted(
            &format!("annotation {ANNOTATION}: {other:?} is not known"),
            "log: a line for each kind of refusal, in refusals.json beside the runtime's --log",
        )),
    }
}

/// Answers for a container whose starter does not stay: a process of its own does.
pub(super) struct Keeper<'a> {
    session: &'a Session<'a>,
    bundle: &'a Bundle,
    id: &'a str,
    /// Readable when it has ended.
    process: Option<OwnedFd>,
    /// Why there is none.
    pub(super) failed: Option<anyhow::Error>,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(session: &'a Session<'a>, bundle: &'a Bundle, id: &'a str) -> Self {
        Self { session, bundle, id, process: None, failed: None }
    }

    /// Starts it: a descriptor of the process that answers.
    pub(super) fn start(&self, listener: OwnedFd) -> anyhow::Result<OwnedFd> {
        let supervised = self.bundle.plan.supervised.as_ref().context("the filter asks, and nobody is to answer")?;
        let supervisor = Supervisor::new(supervised, self.bundle.facts());
        let log = match &self.session.global.log {
            Some(log) => Some(open_beside(log)?),
            None => {
                self.session.report.warn(format!("{ANNOTATION}: there is no --log: refusals are written nowhere"));
                None
            }
        };
        keeper::start(supervisor, listener, log.as_ref(), self.id, &self.bundle.spec)
            .context("cannot start the process that answers for the seccomp filter")
    }
}

impl launch::Supervisor for Keeper<'_> {
    fn take(&mut self, listener: OwnedFd) {
        match self.start(listener) {
            Ok(process) => self.process = Some(process),
            Err(error) => self.failed = Some(error),
        }
    }

    /// It answers by itself; that it ends before the program runs is what has to be heard of.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(AsFd::as_fd)
    }

    fn serve(&mut self) {
        let ended =
            self.process.as_ref().is_some_and(|process| clone::wait_readable(process.as_fd(), 0).unwrap_or(true));
        if ended {
            self.failed = Some(anyhow::anyhow!(launch::KEEPER_ENDED));
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.is_some()
    }
}

/// The file of refusals in the directory of the log.
fn open_beside(log: &Path) -> anyhow::Result<OwnedFd> {
    let path = log.with_file_name(FILE);
    output::append(&path, false).map(OwnedFd::from).explained()
}

/// What the cgroup refused.
fn add_limits(made: &Made, record: &mut Record) {
    let cgroup = &made.state.cgroup;
    if cgroup.is_none() {
        return;
    }
    let (forks, kills) = (cgroup.refused_forks().unwrap_or(0), cgroup.oom_kill_count().unwrap_or(0));
    if forks == 0 && kills == 0 {
        return;
    }
    let stats = cgroup.stats().unwrap_or_default();
    let limit = |layer, action: &str, detail: String, errno, limit: u64| Refusal {
        action: action.to_owned(),
        subject: Vec::new(),
        layer,
        detail,
        errno,
        call: "unknown",
        about: About::Limit((limit > 0 && limit < u64::MAX / 2).then_some(limit)),
    };
    if forks > 0 {
        // Pent's init counts for the cgroup, and not for whoever set the limit.
        let pids = stats.pids.limit.saturating_sub(made.state.own_init.into());
        record.add_many(limit(Layer::PidsLimit, "fork", format!("{pids} processes"), libc::EAGAIN, pids), forks);
    }
    if kills > 0 {
        let usage = &stats.memory.usage;
        let detail = format!("{} bytes", usage.limit);
        record.add_many(limit(Layer::MemoryLimit, "memory", detail, libc::ENOMEM, usage.limit), kills);
    }
}
