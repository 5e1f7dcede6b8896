//! How far a long run has come: one line on standard error, only if that is a terminal, and gone when the answer comes.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use zctrace_report::Report;
use zctrace_report::text::{count, percent, size};

use crate::trace::Tracer;
use crate::watch::Audience;

/// How often the line is written.
const EVERY: Duration = Duration::from_secs(1);

/// Rows that are asked for where only sums are shown.
const NO_ROWS: usize = 2;

/// Says nothing.
pub(crate) struct Quiet;

impl Audience for Quiet {
    fn interim(&mut self, _: Report) {}

    fn step(&mut self, _: &mut dyn Tracer) {}

    fn waiting(&mut self) {
        say_waiting();
    }
}

/// Where the user can see it, says how to stop waiting for a command.
pub(crate) fn say_waiting() {
    if io::stderr().is_terminal() {
        crate::screen::complain("waiting for the command to end; again within 2 s to leave it alone");
    }
}

/// The line.
pub(crate) struct Progress {
    shown: bool,
    started: Instant,
    next: Instant,
}

impl Progress {
    /// `alone` says that nothing else writes to the terminal, as a command would.
    pub(crate) fn new(alone: bool) -> Self {
        // A dumb terminal cannot take a line back.
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let now = Instant::now();
        Self {
            shown: alone && !dumb && io::stderr().is_terminal(),
            started: now,
            next: now + EVERY,
        }
    }

    /// Writes the line if it is time.
    pub(crate) fn step(&mut self, tracer: &mut dyn Tracer) {
        let now = Instant::now();
        if self.shown && now >= self.next {
            self.next = now + EVERY;
            let text = line(&tracer.report(NO_ROWS), self.started.elapsed());
            write(&format!("\r\x1b[K{text}"));
        }
    }

    /// Takes the line away, for something else is written.
    pub(crate) fn clear(&self) {
        if self.shown {
            write("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    // Whoever closed it does not want to know.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// What is known after so long. Short enough for 80 columns.
fn line(report: &Report, passed: Duration) -> String {
    let account = &report.totals().account;
    let calls: u64 = report.flows.iter().map(|flow| flow.calls).sum();
    let lost = match report.loss.records() {
        0 => String::new(),
        some => format!(", {} LOST", count(some)),
    };
    format!(
        "{} s: {}, {} moved, {} calls, {} records{lost}",
        passed.as_secs(),
        size(account.arrived()),
        percent(account.moved, account.arrived()),
        count(calls),
        count(report.overhead.records),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_bytes_calls_records_and_loss() {
        let mut report = crate::screens::samples::nginx();
        let text = line(&report, Duration::from_secs(3));
        assert_eq!(text, "3 s: 9.3 GiB, 70.9 % moved, 30 996 calls, 123 456 records");
        report.loss.reserve_failures = 7;
        assert!(line(&report, Duration::ZERO).ends_with("records, 7 LOST"));
    }
}
