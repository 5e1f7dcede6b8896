//! `zctrace replay`: replays a recording in the viewer or as a series of reports.

use std::path::PathBuf;
use std::time::Duration;

use zctrace_report::Report;

use crate::commands::report::{check_complete, print_read_error};
use crate::filter::Filter;
use crate::output::{Output, note_violations};
use crate::render::{Format, Placement, render};
use crate::replay_tracer::{ReplayTracer, nanoseconds};
use crate::signals::Signals;
use crate::tracer::Tracer as _;
use crate::viewer::config::ViewerOptions;
use crate::{exit_code, terminal_io, viewer};

/// Options of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// File of the recording.
    pub(crate) from: PathBuf,
    /// Speed as a multiple of real time; `None` for replaying without waiting.
    pub(crate) speed: Option<f64>,
    /// Interval between reports, in the recording's time.
    pub(crate) report_interval: Duration,
    /// Time in the recording at which the replay starts.
    pub(crate) start: Duration,
    /// Time in the recording at which the replay ends, if it is before the end.
    pub(crate) until: Option<Duration>,
    /// Maximum number of rows in a report.
    pub(crate) rows: usize,
    /// Filter of the reported flows.
    pub(crate) filter: Filter,
    /// Options of the viewer; `None` if an option asks for reports.
    pub(crate) viewer: Option<ViewerOptions>,
    /// Output format.
    pub(crate) format: Format,
    /// Output file; `None` for standard output.
    pub(crate) file: Option<PathBuf>,
}

/// Longest sleep, so that a signal is handled.
const MAX_SLEEP: Duration = Duration::from_millis(50);

/// Runs the subcommand and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    let result = match &options.viewer {
        Some(viewer_options) if viewer::is_possible() => replay_in_viewer(options, viewer_options),
        _ => replay_to_reports(options),
    };
    exit_code::from_result(result)
}

/// Replays the recording in the viewer.
fn replay_in_viewer(options: &Options, viewer_options: &ViewerOptions) -> Result<u8, u8> {
    let failed = |error: &dyn std::fmt::Display| print_read_error(&options.from, error);
    let mut replay = ReplayTracer::open(&options.from, options.speed.unwrap_or(1.0)).map_err(|error| failed(&error))?;
    replay.set_end(options.until);
    let start = if options.speed.is_none() {
        replay.end()
    } else {
        options.start
    };
    replay.seek(start).map_err(|error| failed(&error))?;
    Ok(viewer::replay(Box::new(replay), viewer_options, &options.filter))
}

/// Replays the recording as a series of reports.
fn replay_to_reports(options: &Options) -> Result<u8, u8> {
    let failed = |error: &dyn std::fmt::Display| print_read_error(&options.from, error);
    let mut replay = ReplayTracer::open(&options.from, options.speed.unwrap_or(1.0)).map_err(|error| failed(&error))?;
    let mut output = Output::open(options.file.as_deref(), options.format)?;
    let mut signals = Signals::catch().map_err(|error| {
        terminal_io::eprint(&format!("signals cannot be caught: {error}"));
        exit_code::ERROR
    })?;
    replay.set_end(options.until);
    let end = replay.end();
    let mut next = options.start;
    replay.seek(next).map_err(|error| failed(&error))?;
    loop {
        next = next.saturating_add(options.report_interval).min(end);
        while let Some(wait) = options.speed.and_then(|_| replay.time_until(next))
            && !wait.is_zero()
        {
            std::thread::sleep(wait.min(MAX_SLEEP));
            if !signals.take().is_empty() {
                return Ok(exit_code::SUCCESS);
            }
        }
        if next >= end && options.until.is_none() {
            // The last inputs have no timestamps.
            next = Duration::MAX;
        }
        replay.recording().play_until(nanoseconds(next));
        let mut report = filtered_report(&mut replay, options);
        note_violations(&mut report);
        let code = output.write(&render(&report, options.format, Placement::Interim), exit_code::SUCCESS);
        if code != exit_code::SUCCESS {
            return Ok(code);
        }
        if next >= end || replay.recording().is_at_end() {
            return Ok(check_complete(replay.recording(), &options.from));
        }
    }
}

/// Returns the report at the current time, filtered and in the requested number of rows.
fn filtered_report(replay: &mut ReplayTracer, options: &Options) -> Report {
    if options.filter.is_empty() {
        return replay.report(options.rows);
    }
    // Folding would discard names that the filter can test.
    let mut report = replay.report(usize::MAX);
    options.filter.apply(&mut report);
    report.finish(options.rows);
    report
}
