//! A runtime under measurement: calling it, timing it, and counting what it costs.

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One of the contenders.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    /// What the tables call it.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// Its `--root`.
    pub(crate) state: PathBuf,
    /// Its output: one file, so that opening it is not measured.
    pub(crate) output: PathBuf,
}

impl Runtime {
    /// The first line of `--version`.
    pub(crate) fn version(program: &Path) -> Result<String> {
        let output = Command::new(program).arg("--version").output();
        let output = output.with_context(|| format!("run {}", program.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    }

    /// `RUNTIME --root STATE ARGS…` after the words of `before`.
    fn command(&self, before: &[&str], args: &[&str]) -> Result<Command> {
        let (program, rest) = match before.split_first() {
            Some((first, rest)) => (Path::new(first), rest),
            None => (self.program.as_path(), before),
        };
        let mut command = Command::new(program);
        command.args(rest);
        if !before.is_empty() {
            command.arg(&self.program);
        }
        let output = File::create(&self.output)?;
        command.arg("--root").arg(&self.state).args(args);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(command)
    }

    /// Time from before the spawn until after the wait.
    pub(crate) fn time(&self, args: &[&str]) -> Result<Duration> {
        let mut command = self.command(&[], args)?;
        let start = Instant::now();
        let status = command.status();
        let took = start.elapsed();
        let status = status.with_context(|| format!("run {}", self.program.display()))?;
        ensure!(status.success(), "{} {}: {status}: {}", self.name, args.join(" "), self.said());
        Ok(took)
    }

    /// What the last call printed.
    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default().trim().to_owned()
    }

    /// `delete --force`, whatever there is.
    pub(crate) fn clear(&self, id: &str) {
        if let Err(e) = self.command(&[], &["delete", "--force", id]).and_then(|mut c| Ok(c.status()?)) {
            eprintln!("bench: {} delete --force {id}: {e:#}", self.name);
        }
    }

    /// Largest resident set of a process of the call's tree, in KiB. busybox spawns it, since a process starts with the
    /// peak of the process that spawned it, and this one is large. `scale` comes from [`busybox_scale`].
    pub(crate) fn peak(&self, busybox: &Path, scale: u64, args: &[&str]) -> Result<u64> {
        let busybox = busybox.to_str().context("the path of busybox is not UTF-8")?;
        let status = self.command(&[busybox, "time", "-v"], args)?.status()?;
        ensure!(status.success(), "{} {}: {status}: {}", self.name, args.join(" "), self.said());
        Ok(reported_peak(&self.said())? / scale)
    }

    /// How many system calls a command and all its children make to the end.
    pub(crate) fn calls(&self, log: &Path, args: &[&str]) -> Result<usize> {
        let path = log.to_str().context("the path of the log is not UTF-8")?;
        let status = self.command(&["strace", "-f", "-qq", "-o", path], args)?.status().context("run strace")?;
        ensure!(status.success(), "{} {}: {status}: {}", self.name, args.join(" "), self.said());
        Ok(fs::read_to_string(log)?.lines().filter(|l| is_call(l)).count())
    }

    /// System calls of `create` until it returns, and of `start`: its own, and those of the waiting process up to its exec.
    pub(crate) fn create_start_calls(&self, dir: &Path, create: &[&str], id: &str) -> Result<(usize, usize)> {
        let (log, start_log) = (dir.join("create.strace"), dir.join("start.strace"));
        let path = log.to_str().context("the path of the log is not UTF-8")?;
        // What the contender before left there would look like a `create` that has returned.
        fs::write(&log, "")?;
        // strace stays as long as the container's process: it is the one that waits for everything.
        let mut tracer = self.command(&["strace", "-f", "-o", path], create)?.spawn().context("run strace")?;
        let end = Instant::now() + Duration::from_secs(20);
        let returned = |text: &str| {
            let first = text.split_ascii_whitespace().next().map(str::to_owned);
            first.and_then(|pid| {
                text.lines().position(|l| l.starts_with(&format!("{pid} ")) && l.contains("+++ exited"))
            })
        };
        loop {
            if returned(&fs::read_to_string(&log).unwrap_or_default()).is_some() {
                break;
            }
            if Instant::now() > end || tracer.try_wait()?.is_some() {
                bail!("{} create under strace did not return: {}", self.name, self.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let started = self.calls(&start_log, &["start", id]);
        std::thread::sleep(Duration::from_millis(200));
        self.clear(id);
        tracer.wait()?;
        let text = fs::read_to_string(&log)?;
        let at = returned(&text).context("the end of create is gone from the log")?;
        let create_calls = text.lines().take(at).filter(|l| is_call(l)).count();
        let after = text.lines().skip(at).take_while(|l| !l.contains("execve(\"/bin/sleep\""));
        Ok((create_calls, started? + after.filter(|l| is_call(l)).count()))
    }
}

/// A line of strace that is the start of a system call: not the rest of an interrupted one, an exit or a signal.
fn is_call(line: &str) -> bool {
    !line.contains(" resumed>") && !line.contains("+++ ") && !line.contains("--- ")
}

/// The peak that `busybox time -v` printed.
fn reported_peak(text: &str) -> Result<u64> {
    let line = text.lines().find(|l| l.contains("Maximum resident set size"));
    let number = line.and_then(|l| l.rsplit(' ').next()).context("busybox time printed no peak")?;
    Ok(number.parse()?)
}

/// busybox takes the kernel's KiB for pages in some versions: what it prints for a process of known size.
pub(crate) fn busybox_scale(busybox: &Path) -> Result<u64> {
    const SIZE: u64 = 64 << 10;
    let output = Command::new(busybox).args(["time", "-v"]).arg(std::env::current_exe()?).arg("hold").output()?;
    ensure!(output.status.success(), "busybox time: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok((reported_peak(&String::from_utf8_lossy(&output.stderr))? / SIZE).max(1))
}

/// Touches 64 MiB: the process of known size.
pub(crate) fn hold() {
    let block = vec![1_u8; 64 << 20];
    std::hint::black_box(&block);
}

/// Waits for the container's first process, which the runtime has left to this one.
pub(crate) fn reap(pid_file: &Path) -> Result<()> {
    let pid: i32 = fs::read_to_string(pid_file)?.trim().parse().context("the pid file holds no number")?;
    waitpid(Pid::from_raw(pid), None).context("wait for the container's process")?;
    Ok(())
}
