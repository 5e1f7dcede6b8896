//! `zctrace report`: shows a report from a JSON file or a recording, or the certificate of one
//! flow.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zctrace_recording::{MAGIC, OpenError, Replay};
use zctrace_report::format::printable;
use zctrace_report::{ReadError, Report};

use crate::filter::Filter;
use crate::output::{Output, check};
use crate::render::{Format, Placement, certificate, render, render_with};
use crate::replay_tracer::truncation;
use crate::{defaults, exit_code, terminal_io};

/// Options of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// File of the report or recording; `-` for standard input.
    pub(crate) from: PathBuf,
    /// Number of the only flow to show.
    pub(crate) flow: Option<u64>,
    /// Maximum number of rows. A recording has a default, a saved report keeps its own rows.
    pub(crate) rows: Option<usize>,
    /// Time in the recording up to which it is replayed.
    pub(crate) until: Option<Duration>,
    /// Filter of the shown flows.
    pub(crate) filter: Filter,
    /// Output format.
    pub(crate) format: Format,
    /// Output file; `None` for standard output.
    pub(crate) file: Option<PathBuf>,
}

/// Runs the subcommand and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    exit_code::from_result(show(options))
}

fn show(options: &Options) -> Result<u8, u8> {
    let (mut report, code) = read(options)?;
    check(&report)?;
    if let Some(id) = options.flow {
        let Some(flow) = report.flow(id).cloned() else {
            let ids: Vec<String> = report.flows.iter().map(|flow| flow.id.to_string()).collect();
            terminal_io::eprint(&format!("there is no flow {id}; there are {}", ids.join(", ")));
            return Err(exit_code::USAGE);
        };
        let mut only_flow = report.clone();
        retain_flow(&mut only_flow, id);
        let text = render_with(&only_flow, options.format, Placement::Only, |_| {
            certificate(&report, &flow)
        });
        return Ok(Output::open(options.file.as_deref(), options.format)?.write(&text, code));
    }
    if !options.filter.is_empty() {
        options.filter.apply(&mut report);
        // `read` has folded nothing, so that matching flows are not folded with others.
        report.finish(options.rows.unwrap_or(defaults::REPORT_ROWS));
    }
    let text = render(&report, options.format, Placement::Only);
    Ok(Output::open(options.file.as_deref(), options.format)?.write(&text, code))
}

/// Reads the report. Returns it with the exit code of showing it.
fn read(options: &Options) -> Result<(Report, u8), u8> {
    let from = &options.from;
    let failed = |error: &dyn std::fmt::Display| print_read_error(from, error);
    let mut report = if from.as_os_str() == "-" {
        let mut stdin = std::io::stdin().lock();
        if stdin.fill_buf().is_ok_and(|bytes| bytes.starts_with(&MAGIC)) {
            return Err(failed(
                &"a recording cannot be read from standard input; give its file name",
            ));
        }
        Report::from_reader(stdin)
    } else {
        match Replay::open(from) {
            Ok(replay) => return Ok(replay_to_report(replay, options)),
            Err(OpenError::NotARecording) => {}
            // A report can also come from a pipe.
            Err(OpenError::Io(error)) if error.kind() == std::io::ErrorKind::NotSeekable => {}
            Err(error) => return Err(failed(&error)),
        }
        match File::open(from) {
            Ok(file) => Report::from_reader(BufReader::new(file)),
            Err(error) => Err(ReadError::Io(error)),
        }
    }
    .map_err(|error| failed(&error))?;
    if options.until.is_some() {
        return Err(failed(&"--until is for recordings, and this file is a report"));
    }
    if let Some(rows) = options.rows {
        report.finish(rows);
    }
    Ok((report, exit_code::SUCCESS))
}

/// Replays a recording and returns its report. If part of the recording cannot be used, prints
/// that, and the exit code says so.
fn replay_to_report(mut replay: Replay, options: &Options) -> (Report, u8) {
    let until = options.until.map_or(u64::MAX, |until| until.as_nanos() as u64);
    replay.play_until(until);
    let rows = if options.filter.is_empty() {
        options.rows.unwrap_or(defaults::REPORT_ROWS)
    } else {
        usize::MAX
    };
    let mut report = replay.report(rows);
    env!("CARGO_PKG_VERSION").clone_into(&mut report.provenance.zctrace_version);
    report.note_violations();
    (report, check_complete(&replay, &options.from))
}

/// Returns the exit code of a replay. Prints which part of the recording cannot be used, if any.
pub(crate) fn check_complete(replay: &Replay, path: &Path) -> u8 {
    let Some(text) = truncation(replay, path) else {
        return exit_code::SUCCESS;
    };
    terminal_io::eprint(&text);
    exit_code::INCONCLUSIVE
}

/// Prints why a file cannot be read. Returns the exit code.
pub(crate) fn print_read_error(path: &Path, error: &dyn std::fmt::Display) -> u8 {
    let (from, error) = (path.display().to_string(), error.to_string());
    terminal_io::eprint(&format!("{}: {}", printable(&from), printable(&error)));
    exit_code::USAGE
}

/// Removes everything that does not belong to one flow.
fn retain_flow(report: &mut Report, id: u64) {
    report.flows.retain(|flow| flow.id == id);
    report.edges.retain(|edge| edge.flow == Some(id));
    report.peeks.retain(|look| look.flow == Some(id));
    report.segments.retain(|segment| segment.flow == Some(id));
    report.processes.clear();
    report.assertions.clear();
    report.summarize();
}
