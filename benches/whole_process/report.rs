//! The tables, in Markdown: they go into docs/performance.md as they are.

use std::fmt;
use std::time::Duration;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Run,
    IsolatedRun,
    Create,
    Start,
    State,
    Exec,
    Kill,
    Delete,
}

impl Operation {
    const ALL: [Self; 8] =
        [Self::Run, Self::IsolatedRun, Self::Create, Self::Start, Self::State, Self::Exec, Self::Kill, Self::Delete];

    fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::IsolatedRun => "run, after 150 ms idle",
            Self::Create => "create",
            Self::Start => "start",
            Self::State => "state",
            Self::Exec => "exec",
            Self::Kill => "kill",
            Self::Delete => "delete",
        }
    }
}

/// All samples of one bundle in one view.
pub(crate) struct Table {
    names: Vec<String>,
    /// Operation, contender, samples.
    samples: Vec<Vec<Vec<Duration>>>,
}

impl Table {
    pub(crate) fn new(names: Vec<String>) -> Self {
        let samples = vec![vec![Vec::new(); names.len()]; Operation::ALL.len()];
        Self { names, samples }
    }

    pub(crate) fn record(&mut self, contender: usize, operation: Operation, took: Duration) {
        self.samples[operation as usize][contender].push(took);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reference = self.names.iter().position(|n| n == "crun");
        writeln!(f, "Minimum / median in ms{}.\n", if reference.is_some() { " (ratios to crun)" } else { "" })?;
        f.write_str(&header(&self.names))?;
        for operation in Operation::ALL {
            let figures: Vec<_> = self.samples[operation as usize].iter().map(|s| minimum_and_median(s)).collect();
            if figures.iter().all(Option::is_none) {
                continue;
            }
            write!(f, "| {} |", operation.name())?;
            for (i, figure) in figures.iter().enumerate() {
                let Some((minimum, median)) = figure else {
                    write!(f, " |")?;
                    continue;
                };
                write!(f, " {minimum:.2} / {median:.2}")?;
                if let Some((least, middle)) = reference.filter(|r| *r != i).and_then(|r| figures[r]) {
                    write!(f, " ({:.2} / {:.2})", minimum / least, median / middle)?;
                }
                write!(f, " |")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// In milliseconds; `None` without samples.
fn minimum_and_median(samples: &[Duration]) -> Option<(f64, f64)> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let millis = |d: &Duration| d.as_secs_f64() * 1e3;
    Some((millis(sorted.first()?), millis(sorted.get(sorted.len() / 2)?)))
}

fn header(names: &[String]) -> String {
    format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()))
}

/// What one contender costs apart from time.
pub(crate) struct Costs {
    pub(crate) name: String,
    /// KiB: run, create, exec.
    pub(crate) peak: [u64; 3],
    /// System calls: run, create, start, state, exec, kill, delete.
    pub(crate) calls: [usize; 7],
}

/// Peak memory and system calls, side by side.
pub(crate) fn costs(all: &[Costs]) -> String {
    let names: Vec<String> = all.iter().map(|c| c.name.clone()).collect();
    let mut text = header(&names);
    let mut row = |label: &str, cells: Vec<String>| text += &format!("| {label} | {} |\n", cells.join(" | "));
    for (i, label) in ["run", "create", "exec"].into_iter().enumerate() {
        row(&format!("{label}: peak memory, MiB"), all.iter().map(|c| mebibytes(c.peak[i])).collect());
    }
    for (i, label) in ["run", "create", "start", "state", "exec", "kill", "delete"].into_iter().enumerate() {
        row(&format!("{label}: system calls"), all.iter().map(|c| c.calls[i].to_string()).collect());
    }
    text
}

fn mebibytes(kib: u64) -> String {
    format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024)
}
