//! How far unpacking is: a line on a terminal, when it takes longer than a second.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

/// Nothing is shown before.
const PATIENCE: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

/// A bar on stderr.
#[derive(Debug)]
pub struct Progress {
    on_terminal: bool,
    next: Instant,
    shown: bool,
    what: &'static str,
    done: u64,
    total: u64,
}

impl Progress {
    /// A bar that is shown if stderr is a terminal and the work takes longer than a second.
    #[must_use]
    pub fn on_stderr() -> Self {
        Self::new(io::stderr().is_terminal())
    }

    /// No bar.
    #[must_use]
    pub fn none() -> Self {
        Self::new(false)
    }

    fn new(on_terminal: bool) -> Self {
        Self { on_terminal, next: Instant::now() + PATIENCE, shown: false, what: "", done: 0, total: 0 }
    }

    /// Begins to count towards `total` bytes.
    pub(super) fn begin(&mut self, what: &'static str, total: u64) {
        (self.what, self.done, self.total) = (what, 0, total);
    }

    /// Counts.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        if !self.on_terminal || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + BETWEEN;
        self.shown = true;
        // A terminal that is gone is no reason to fail.
        write!(io::stderr(), "\r{}\x1b[K", self.line()).unwrap_or_default();
    }

    fn line(&self) -> String {
        let (done, total) = (self.done.min(self.total), self.total.max(1));
        let full = usize::try_from(done * WIDTH / total).unwrap_or_default();
        let rest = usize::try_from(WIDTH).unwrap_or_default() - full;
        let percent = done * 100 / total;
        format!(
            "{} [{}{}] {percent:3}% of {} MB",
            self.what,
            "=".repeat(full),
            " ".repeat(rest),
            total.div_ceil(1_000_000)
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            write!(io::stderr(), "\r\x1b[K").unwrap_or_default();
        }
    }
}

/// Counts what is read.
pub(super) struct Counted<'a, R> {
    pub(super) inner: R,
    pub(super) progress: &'a mut Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_it_is() {
        let mut progress = Progress::none();
        progress.begin("unpacking", 10_000_000);
        progress.advance(5_000_000);
        assert_eq!(progress.line(), "unpacking [===============               ]  50% of 10 MB");
        progress.advance(50_000_000);
        assert_eq!(progress.line(), "unpacking [==============================] 100% of 10 MB");
    }
}
