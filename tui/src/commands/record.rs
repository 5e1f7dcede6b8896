//! `zctrace record`: traces as `run` does, and writes every observation to a file instead of a
//! report.

use zctrace_report::Report;
use zctrace_report::format::{count, size};

use crate::progress::{ProgressLine, print_waiting};
use crate::recorder::printable_path;
use crate::session::{Request, Target, run_to_end};
use crate::trace_loop::Observer;
use crate::tracer::Tracer;
use crate::{exit_code, terminal_io};

/// Observer that only shows the progress line.
struct ProgressObserver(ProgressLine);

impl Observer for ProgressObserver {
    fn on_interim_report(&mut self, _: Report) {}

    fn on_poll(&mut self, tracer: &mut dyn Tracer) {
        self.0.update(tracer);
    }

    fn on_waiting_for_command(&mut self) {
        print_waiting();
    }
}

/// Runs the subcommand and returns the exit code.
pub(crate) fn run(request: &Request) -> u8 {
    let is_alone = !matches!(request.target, Target::Command(_));
    let mut observer = ProgressObserver(ProgressLine::new(is_alone));
    let finished = match run_to_end(request, &mut observer) {
        Ok(finished) => finished,
        Err(code) => return code,
    };
    observer.0.clear();
    match (&finished.recording, &request.record) {
        (Some(Ok(summary)), Some(path)) => {
            let overhead = &finished.report.overhead;
            let path = printable_path(path);
            terminal_io::eprint(&format!(
                "recorded {:.1} s, {} records in {}: {path}; `zctrace report {path}` shows the report",
                finished.report.provenance.duration_ns as f64 / 1e9,
                count(overhead.records),
                size(summary.bytes),
            ));
            finished.stop_reason.exit_code()
        }
        (Some(Err(code)), _) => *code,
        _ => exit_code::ERROR,
    }
}
