//! Progress of a long run: one line on standard error if that is a terminal, removed before the
//! report is printed.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use zctrace_report::format::{count, percent, size};
use zctrace_report::{Report, StillRunning};

use crate::render::still_running_line;
use crate::trace_loop::Observer;
use crate::tracer::Tracer;

/// Interval between updates of the line.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// Rows of a report of which only the totals are shown.
const TOTALS_ONLY: usize = 2;

/// Observer that shows no progress.
pub(crate) struct QuietObserver;

impl Observer for QuietObserver {
    fn on_interim_report(&mut self, _: Report) {}

    fn on_poll(&mut self, _: &mut dyn Tracer) {}

    fn on_waiting_for_command(&mut self) {
        print_waiting();
    }

    fn on_waiting_for_processes(&mut self, processes: &[StillRunning]) {
        if io::stderr().is_terminal() {
            let line = still_running_line(processes);
            crate::terminal_io::eprint(&format!("{line}; waiting for them to end; Ctrl-C ends the wait"));
        }
    }
}

/// Prints how to stop waiting for a command, if standard error is a terminal.
pub(crate) fn print_waiting() {
    if io::stderr().is_terminal() {
        crate::terminal_io::eprint("waiting for the command to end; press Ctrl-C again within 2 s to leave it running");
    }
}

/// The progress line.
pub(crate) struct ProgressLine {
    is_visible: bool,
    started: Instant,
    next: Instant,
}

impl ProgressLine {
    /// Returns a hidden line. `is_alone` states that nothing else, such as a command, writes to the
    /// terminal.
    pub(crate) fn new(is_alone: bool) -> Self {
        // A dumb terminal cannot erase a line.
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let now = Instant::now();
        Self {
            is_visible: is_alone && !dumb && io::stderr().is_terminal(),
            started: now,
            next: now + UPDATE_INTERVAL,
        }
    }

    /// Writes the line if an update is due.
    pub(crate) fn update(&mut self, tracer: &mut dyn Tracer) {
        let now = Instant::now();
        if self.is_visible && now >= self.next {
            self.next = now + UPDATE_INTERVAL;
            let text = format_line(&tracer.report(TOTALS_ONLY), self.started.elapsed());
            write(&format!("\r\x1b[K{text}"));
        }
    }

    /// Erases the line, before something else is printed.
    pub(crate) fn clear(&self) {
        if self.is_visible {
            write("\r\x1b[K");
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    // A closed standard error is not an error.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Formats the line, in at most 80 columns.
fn format_line(report: &Report, elapsed: Duration) -> String {
    let account = &report.totals().account;
    let calls: u64 = report.flows.iter().map(|flow| flow.calls).sum();
    let lost = match report.loss.records() {
        0 => String::new(),
        some => format!(", {} LOST", count(some)),
    };
    format!(
        "{} s: {}, {} moved, {} calls, {} records{lost}",
        elapsed.as_secs(),
        size(account.delivered()),
        percent(account.moved, account.delivered()),
        count(calls),
        count(report.overhead.records),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_shows_bytes_calls_records_and_loss() {
        let mut report = crate::render::fixtures::nginx();
        let text = format_line(&report, Duration::from_secs(3));
        assert_eq!(text, "3 s: 9.3 GiB, 70.9 % moved, 30 996 calls, 123 456 records");
        report.loss.reserve_failures = 7;
        assert!(format_line(&report, Duration::ZERO).ends_with("records, 7 LOST"));
    }
}
