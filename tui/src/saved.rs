//! `zctrace report`: shows a report that was saved as JSON or that a recording gives, or one flow's certificate.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zctrace_recording::{MAGIC, OpenError, Replay};
use zctrace_report::text::printable;
use zctrace_report::{ReadError, Report};

use crate::filter::Filter;
use crate::output::{Format, Output, check};
use crate::{exit, screen, screens};

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The report or recording; `-` is standard input.
    pub(crate) from: PathBuf,
    /// Only this flow.
    pub(crate) flow: Option<u64>,
    /// The most rows; what is asked of a recording has a default, a saved report has its own.
    pub(crate) rows: Option<usize>,
    /// Of a recording only what was known at this time.
    pub(crate) until: Option<Duration>,
    /// Only the flows that fit.
    pub(crate) filter: Filter,
    /// In which form the answer is given.
    pub(crate) format: Format,
    /// Where.
    pub(crate) file: Option<PathBuf>,
}

/// Rows of what a recording gives, unless told otherwise: as of a run.
pub(crate) const ROWS: usize = 30;

/// Shows it, and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    exit::of(answer(options))
}

fn answer(options: &Options) -> Result<u8, u8> {
    let (mut report, code) = read(options)?;
    if check(&report).is_err() {
        // It is not ours: what it says may be anything.
        return Err(exit::DISAGREED);
    }
    if let Some(id) = options.flow {
        let Some(flow) = report.flow(id).cloned() else {
            let ids: Vec<String> = report.flows.iter().map(|flow| flow.id.to_string()).collect();
            screen::complain(&format!("there is no flow {id}; there are {}", ids.join(", ")));
            return Err(exit::USAGE);
        };
        if options.format == Format::Text {
            let text = screens::certificate(&report, &flow);
            return Ok(Output::open(options.file.as_deref(), options.format)?.write(&text, code));
        }
        only(&mut report, id);
    }
    if !options.filter.is_all() {
        options.filter.apply(&mut report);
        // A recording was asked for all, so that what fits is not folded with what does not.
        report.finish(options.rows.unwrap_or(ROWS));
    }
    let text = match options.format {
        Format::Text => screens::report(&report),
        Format::Json => report.to_json_pretty() + "\n",
        Format::Junit => screens::junit(&report),
    };
    Ok(Output::open(options.file.as_deref(), options.format)?.write(&text, code))
}

/// The report, and the exit code of having shown it.
fn read(options: &Options) -> Result<(Report, u8), u8> {
    let from = &options.from;
    let failed = |error: &dyn std::fmt::Display| cannot_read(from, error);
    let mut report = if from.as_os_str() == "-" {
        let mut stdin = std::io::stdin().lock();
        if stdin.fill_buf().is_ok_and(|bytes| bytes.starts_with(&MAGIC)) {
            return Err(failed(&"a recording cannot be read from standard input; name its file"));
        }
        Report::from_reader(stdin)
    } else {
        match Replay::open(from) {
            Ok(replay) => return Ok(of_recording(replay, options)),
            Err(OpenError::NotARecording) => {}
            // A report may come from what cannot be sought in, too.
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
        return Err(failed(&"--until is for recordings, and this is a report"));
    }
    if let Some(rows) = options.rows {
        report.finish(rows);
    }
    Ok((report, exit::HELD))
}

/// The report that a recording gives. If not all of it could be used that is said, and in the exit code.
fn of_recording(mut replay: Replay, options: &Options) -> (Report, u8) {
    let until = options.until.map_or(u64::MAX, |until| until.as_nanos() as u64);
    replay.play_until(until);
    let rows = if options.filter.is_all() {
        options.rows.unwrap_or(ROWS)
    } else {
        usize::MAX
    };
    let mut report = replay.report(rows);
    env!("CARGO_PKG_VERSION").clone_into(&mut report.made_by.zctrace);
    (report, whole(&replay, &options.from))
}

/// Says what of a recording is not used, and what its exit code is for that.
pub(crate) fn whole(replay: &Replay, path: &Path) -> u8 {
    let Some(cut) = cut(replay, path) else {
        return exit::HELD;
    };
    screen::complain(&cut);
    exit::INCONCLUSIVE
}

/// What of a recording is not used, in words for the user.
pub(crate) fn cut(replay: &Replay, path: &Path) -> Option<String> {
    let (path, cut) = (path.display().to_string(), replay.cut()?.to_string());
    Some(format!("{}: {}", printable(&path), printable(&cut)))
}

/// Says why a file cannot be read.
pub(crate) fn cannot_read(path: &Path, error: &dyn std::fmt::Display) -> u8 {
    let (from, error) = (path.display().to_string(), error.to_string());
    screen::complain(&format!("{}: {}", printable(&from), printable(&error)));
    exit::USAGE
}

/// Leaves only what belongs to one flow.
fn only(report: &mut Report, id: u64) {
    report.flows.retain(|flow| flow.id == id);
    report.edges.retain(|edge| edge.flow == Some(id));
    report.looks.retain(|look| look.flow == Some(id));
    report.segments.retain(|segment| segment.flow == Some(id));
    report.processes.clear();
    report.assertions.clear();
    report.summarize();
}
