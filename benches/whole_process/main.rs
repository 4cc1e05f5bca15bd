//! Whole-process benchmark: container runtimes side by side, called in random order as an engine would call them.
//!
//! Environment: `PENT_BIN` (the static binary), `RUNTIMES` (paths of more runtimes), `ROUNDS` (40), `VIEWS` (`v1 v2`),
//! `BUNDLES` (`plain sec k8s`). Needs root, busybox (static), and strace for the number of system calls.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod bundle;
mod config;
mod report;
mod runtime;
mod view;

use anyhow::{Context as _, Result, bail};
use bundle::Root;
use config::{Kind, Limits};
use report::{Operation, Table};
use runtime::Runtime;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use view::View;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["hold"] => {
            runtime::hold();
            Ok(())
        }
        ["view", name] => View::parse(name).and_then(measure_view),
        [] => every_view(),
        _ => Err(anyhow::anyhow!(
            "it takes no arguments, but the environment variables PENT_BIN, RUNTIMES, ROUNDS, VIEWS, BUNDLES"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The value of a variable, or what stands for an unset or empty one.
fn setting(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|v| !v.is_empty()).unwrap_or_else(|| default.to_owned())
}

/// One process for each view, so that each has a mount namespace of its own.
fn every_view() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this needs root");
    }
    let (name, kernel) = (cpu_name(), nix::sys::utsname::uname()?);
    println!("{name}, {} CPUs, Linux {}\n", std::thread::available_parallelism()?, kernel.release().to_string_lossy());
    for contender in contenders()? {
        println!("- {}: {}", contender.0, Runtime::version(&contender.1)?);
    }
    for view in setting("VIEWS", "v1 v2").split_ascii_whitespace() {
        let view = View::parse(view)?;
        // Real-time priority gives steady figures; a real-time process cannot enter a v1 cpu cgroup, so there it is nice.
        let first: &[&str] = match view {
            View::V1 => &["nice", "-n", "-15"],
            View::V2 => &["chrt", "--fifo", "20"],
        };
        let this = std::env::current_exe()?;
        let status = Command::new(first[0]).args(&first[1..]).arg(this).args(["view", view.name()]).status();
        let status = status.with_context(|| format!("run {}", first[0]))?;
        if !status.success() {
            bail!("the view {} was not measured: {status}", view.name());
        }
    }
    Ok(())
}

fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    line.map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.to_owned())
}

/// Names and paths: pent, crun and runc where they are, then what RUNTIMES lists.
fn contenders() -> Result<Vec<(String, PathBuf)>> {
    let mut all = vec![("pent".to_owned(), PathBuf::from(setting("PENT_BIN", env!("CARGO_BIN_EXE_pent"))))];
    let path = setting("PATH", "/usr/sbin:/usr/bin");
    for peer in ["crun", "runc"] {
        let found = std::env::split_paths(&path).map(|d| d.join(peer)).find(|p| std::fs::metadata(p).is_ok());
        all.extend(found.map(|p| (peer.to_owned(), p)));
    }
    for path in setting("RUNTIMES", "").split_ascii_whitespace() {
        let path = PathBuf::from(path);
        let file = path.file_name().with_context(|| format!("RUNTIMES: {} is no program", path.display()))?;
        let file = file.to_string_lossy().into_owned();
        let name = if all.iter().any(|(n, _)| *n == file) { path.display().to_string() } else { file };
        all.push((name, path));
    }
    Ok(all)
}

fn measure_view(view: View) -> Result<()> {
    view.enter()?;
    // Containers outlive `create`, and are left to this process.
    nix::sys::prctl::set_child_subreaper(true)?;
    let busybox = PathBuf::from(setting("BUSYBOX", "/bin/busybox"));
    let root = Root::make(&busybox)?;
    let limits = view.limits()?;
    let wanted = setting("BUNDLES", "plain sec k8s");
    let wanted: Vec<&str> = wanted.split_ascii_whitespace().collect();
    if let Some(unknown) = wanted.iter().find(|w| Kind::ALL.iter().all(|k| k.name() != **w)) {
        bail!("BUNDLES: there is no bundle {unknown}: it is plain, sec or k8s");
    }
    let kinds = Kind::ALL.into_iter().filter(|k| wanted.contains(&k.name()));
    let result = kinds.map(|k| measure_bundle(view, k, &root, limits, &busybox)).collect::<Result<Vec<bool>>>();
    view.clean()?;
    if result?.contains(&false) {
        bail!("pent was left out");
    }
    Ok(())
}

/// One contender with its two bundles: one whose process ends at once, one whose process stays.
struct Entry {
    runtime: Runtime,
    id: String,
    short: String,
    long: String,
    pid_file: PathBuf,
}

impl Entry {
    fn make(root: &Root, kind: Kind, limits: Limits, index: usize, (name, program): (String, PathBuf)) -> Result<Self> {
        let id = format!("bench-{}-{index}", kind.name());
        let state = root.run().join(format!("state-{index}"));
        let output = root.run().join(format!("output-{index}"));
        let text = |p: PathBuf| p.into_os_string().into_string().ok().context("a path is not UTF-8");
        Ok(Self {
            short: text(root.bundle(kind, &id, &["/bin/true"], limits)?)?,
            long: text(root.bundle(kind, &id, &["/bin/sleep", "1000"], limits)?)?,
            pid_file: root.run().join(format!("pid-{index}")),
            runtime: Runtime { name, program, state, output },
            id,
        })
    }

    fn run(&self) -> [&str; 4] {
        ["run", "--bundle", &self.short, &self.id]
    }

    fn create(&self) -> Result<[&str; 6]> {
        let pid_file = self.pid_file.to_str().context("a path is not UTF-8")?;
        Ok(["create", "--bundle", &self.long, "--pid-file", pid_file, &self.id])
    }

    /// Every operation once but `run`, each timed.
    fn lifecycle(&self, mut record: impl FnMut(Operation, Duration)) -> Result<()> {
        let (runtime, id) = (&self.runtime, self.id.as_str());
        record(Operation::Create, runtime.time(&self.create()?)?);
        record(Operation::Start, runtime.time(&["start", id])?);
        record(Operation::State, runtime.time(&["state", id])?);
        record(Operation::Exec, runtime.time(&["exec", id, "/bin/true"])?);
        record(Operation::Kill, runtime.time(&["kill", id, "KILL"])?);
        runtime::reap(&self.pid_file)?;
        record(Operation::Delete, runtime.time(&["delete", id])?);
        Ok(())
    }
}

/// Returns whether pent was among those measured.
fn measure_bundle(view: View, kind: Kind, root: &Root, limits: Limits, busybox: &Path) -> Result<bool> {
    let rounds: usize = setting("ROUNDS", "40").parse().context("ROUNDS is not a number")?;
    let mut entries = Vec::new();
    for (index, contender) in contenders()?.into_iter().enumerate() {
        let entry = Entry::make(root, kind, limits, index, contender)?;
        // The first time is not measured: it fills caches, and shows whether the contender works here at all.
        match entry.runtime.time(&entry.run()).and_then(|_| entry.lifecycle(|_, _| {})) {
            Ok(()) => entries.push(entry),
            Err(e) => {
                println!("\nleft out of {} {}: {e:#}", view.name(), kind.name());
                entry.runtime.clear(&entry.id);
            }
        }
    }
    if entries.is_empty() {
        bail!("no runtime works in the view {} with the bundle {}", view.name(), kind.name());
    }

    let outcome = measure(rounds, &entries).and_then(|table| {
        println!("\n### cgroup {}, {}\n\n{table}", view.name(), kind.name());
        let costs = entries.iter().map(|e| costs(e, root.path(), busybox)).collect::<Result<Vec<_>>>()?;
        println!("{}", report::costs(&costs));
        Ok(entries.iter().any(|e| e.runtime.name == "pent"))
    });
    if outcome.is_err() {
        for entry in &entries {
            entry.runtime.clear(&entry.id);
        }
    }
    outcome
}

fn measure(rounds: usize, entries: &[Entry]) -> Result<Table> {
    let mut table = Table::new(entries.iter().map(|e| e.runtime.name.clone()).collect());
    let mut order: Vec<usize> = (0..entries.len()).collect();
    let mut chance = Chance::new();
    for round in 0..rounds {
        chance.shuffle(&mut order);
        for &i in &order {
            table.record(i, Operation::Run, entries[i].runtime.time(&entries[i].run())?);
        }
        chance.shuffle(&mut order);
        for &i in &order {
            entries[i].lifecycle(|operation, took| table.record(i, operation, took))?;
        }
        // Back-to-back starts hide what a start after a quiet moment costs (grace periods).
        if round % 3 == 0 {
            chance.shuffle(&mut order);
            for &i in &order {
                std::thread::sleep(Duration::from_millis(150));
                table.record(i, Operation::IsolatedRun, entries[i].runtime.time(&entries[i].run())?);
            }
        }
    }
    Ok(table)
}

/// Peak memory in KiB, and system calls, by operation.
fn costs(entry: &Entry, dir: &Path, busybox: &Path) -> Result<report::Costs> {
    let (runtime, id) = (&entry.runtime, entry.id.as_str());
    let log = dir.join("strace");
    let scale = runtime::busybox_scale(busybox)?;
    let run_peak = runtime.peak(busybox, scale, &entry.run())?;
    let create_peak = runtime.peak(busybox, scale, &entry.create()?)?;
    runtime.time(&["start", id])?;
    let exec_peak = runtime.peak(busybox, scale, &["exec", id, "/bin/true"])?;
    let exec = runtime.calls(&log, &["exec", id, "/bin/true"])?;
    let state = runtime.calls(&log, &["state", id])?;
    let kill = runtime.calls(&log, &["kill", id, "KILL"])?;
    runtime::reap(&entry.pid_file)?;
    let delete = runtime.calls(&log, &["delete", id])?;
    let run = runtime.calls(&log, &entry.run())?;
    let (create, start) = runtime.create_start_calls(dir, &entry.create()?, id)?;
    Ok(report::Costs {
        name: runtime.name.clone(),
        peak: [run_peak, create_peak, exec_peak],
        calls: [run, create, start, state, exec, kill, delete],
    })
}

/// A small generator: the order must differ from round to round, and nothing else is asked of it.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        Self(std::hash::RandomState::new().build_hasher().finish() | 1)
    }

    fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let bound = u64::try_from(last + 1).unwrap_or(u64::MAX);
            items.swap(last, usize::try_from(self.0 % bound).unwrap_or(0));
        }
    }
}
