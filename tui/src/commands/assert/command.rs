//! Runs the command, judges the report, and writes the result.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zctrace_report::format::printable;
use zctrace_report::{Assertion, AssertionOutcome, Flow, Report};

use super::baseline::Baseline;
use super::criteria::Criteria;
use super::files::Watch;
use super::judge::{Judgment, judge};
use super::render::judgment_text;
use crate::child::CommandStatus;
use crate::filter::Match;
use crate::output::{Output, note_violations};
use crate::progress::QuietObserver;
use crate::render::{Format, Placement, render_with};
use crate::session::{Request, run_to_end};
use crate::trace_loop::StopReason;
use crate::{exit_code, terminal_io};

/// Options of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The run. Its rows are not folded, because a folded row can hide a judged endpoint.
    pub(crate) request: Request,
    /// Criteria that the run is judged by.
    pub(crate) criteria: Criteria,
    /// Baseline to compare with.
    pub(crate) baseline: Option<PathBuf>,
    /// File to write the baseline of this run to.
    pub(crate) save_baseline: Option<PathBuf>,
    /// Maximum number of rows shown.
    pub(crate) rows: usize,
    /// Output format.
    pub(crate) format: Format,
    /// Output file; `None` for standard output.
    pub(crate) file: Option<PathBuf>,
}

/// Runs the subcommand and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    exit_code::from_result(run_and_judge(options.clone()))
}

fn run_and_judge(mut options: Options) -> Result<u8, u8> {
    let criteria = &options.criteria;
    let before = options
        .baseline
        .as_ref()
        .map(|path| read_baseline(path, criteria))
        .transpose()?;
    let mut output = Output::open(options.file.as_deref(), options.format)?;
    let new_baseline = options.save_baseline.as_deref().map(BaselineFile::open).transpose()?;
    let files = Watch::start(&criteria.to, &criteria.from);
    let mut finished = run_to_end(&options.request, &mut QuietObserver)?;
    note_violations(&mut finished.report);
    options.criteria.files = files
        .and_then(|files| files.resolve(&finished.report))
        .unwrap_or_default();
    let (options, criteria) = (&options, &options.criteria);
    let now = Baseline::from_report(&finished.report, criteria);
    let regressions = before.map(|before| before.regressions(&now));
    let judgment = judge(&finished.report, criteria, regressions.as_deref());
    let report = &mut finished.report;
    report.assertions.clone_from(&judgment.rules);
    report.assertions.extend(command_failure(finished.stop_reason));

    let mut remarks = Vec::new();
    if let Some(file) = new_baseline {
        remarks.push(file.save(&now, &judgment)?);
    } else if options.baseline.is_none() {
        remarks.push("no baseline to compare with (write one with --save-baseline FILE)".to_owned());
    }
    let text = render_judgment(report, options, &judgment, finished.stop_reason, &remarks);
    let code = output.write(&text, exit_code_of(&judgment, finished.stop_reason));
    Ok(finished.recording.and_then(Result::err).unwrap_or(code))
}

fn render_judgment(
    report: &mut Report,
    options: &Options,
    judgment: &Judgment,
    stop_reason: StopReason,
    remarks: &[String],
) -> String {
    // Folding renumbers the flows, and the judgment refers to them by number.
    let mut shown = judgment.clone();
    if report.flows.len() > options.rows {
        report.finish(options.rows);
        let is_judged = |flow: &&Flow| options.criteria.matches(flow) == Match::Yes;
        shown.flows = report.flows.iter().filter(is_judged).map(|flow| flow.id).collect();
    }
    render_with(report, options.format, Placement::Only, |report| {
        judgment_text(report, &options.criteria, &shown, command_status(stop_reason), remarks)
    })
}

/// Returns how the command ended by itself. A command that was ended because time was up counts as
/// successful.
fn command_status(stop_reason: StopReason) -> Option<CommandStatus> {
    match stop_reason {
        StopReason::CommandEnded { by_us: true, .. } => Some(CommandStatus::Exited(0)),
        StopReason::CommandEnded { status, .. } => Some(status),
        StopReason::CommandAbandoned(_) | StopReason::Finished => None,
    }
}

/// Returns a rule about the command if it failed, so that no format shows a run that may not have
/// reached the judged part as passed.
fn command_failure(stop_reason: StopReason) -> Option<Assertion> {
    let found = match stop_reason {
        StopReason::CommandEnded { by_us: true, .. } | StopReason::Finished => return None,
        StopReason::CommandEnded { status, .. } => match status {
            CommandStatus::Exited(0) => return None,
            CommandStatus::Exited(code) => format!("it exited with {code}"),
            CommandStatus::Signaled(signal) => format!("signal {signal} ended it"),
        },
        StopReason::CommandAbandoned(signal) => format!("signal {signal} ended the trace before it"),
    };
    let outcome = AssertionOutcome::Inconclusive;
    Some(Assertion::new("the command succeeded", outcome, found))
}

/// Returns the exit code. A failure of the command takes precedence over the judgment, because the
/// command may not have reached the part that is judged.
pub(crate) fn exit_code_of(judgment: &Judgment, stop_reason: StopReason) -> u8 {
    match stop_reason {
        StopReason::CommandAbandoned(signal) => return exit_code::from_signal(signal as u8),
        StopReason::CommandEnded { by_us: false, status } => match status {
            CommandStatus::Exited(0) => {}
            CommandStatus::Exited(_) => return exit_code::COMMAND_FAILED,
            CommandStatus::Signaled(_) => return status.exit_code(),
        },
        StopReason::CommandEnded { by_us: true, .. } | StopReason::Finished => {}
    }
    match judgment.outcome() {
        AssertionOutcome::Passed => exit_code::SUCCESS,
        AssertionOutcome::Failed => exit_code::CHECK_FAILED,
        _ => exit_code::INCONCLUSIVE,
    }
}

fn read_baseline(path: &PathBuf, criteria: &Criteria) -> Result<Baseline, u8> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    text.and_then(|text| Baseline::from_json(&text, criteria))
        .map_err(|why| {
            let path = path.display().to_string();
            terminal_io::eprint(&format!("--baseline {}: {why}", printable(&path)));
            exit_code::USAGE
        })
}

/// File that the baseline will be written to. It is opened before the command starts, because
/// zctrace drops its privileges then. Its content is kept until the baseline is written.
struct BaselineFile {
    path: PathBuf,
    file: File,
    /// `true` if the file did not exist before.
    is_new: bool,
    is_written: bool,
}

impl BaselineFile {
    fn open(path: &Path) -> Result<Self, u8> {
        let mut options = File::options();
        options.write(true);
        let made = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path).map(|file| (file, false)),
            made => made.map(|file| (file, true)),
        };
        let (file, is_new) = made.map_err(|error| print_save_error(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            is_new,
            is_written: false,
        })
    }

    /// Writes the baseline, unless the judgment is inconclusive. Returns a sentence about it.
    fn save(mut self, now: &Baseline, judgment: &Judgment) -> Result<String, u8> {
        let shown = self.path.display().to_string();
        let shown = printable(&shown);
        if judgment.outcome() == AssertionOutcome::Inconclusive {
            return Ok(format!(
                "baseline: {shown} is not written, because the run is inconclusive"
            ));
        }
        let text = now.to_json();
        // Only a regular file has a length that can be set; /dev/stdout has none.
        let is_file = self.file.metadata().is_ok_and(|data| data.is_file());
        let truncated = if is_file { self.file.set_len(0) } else { Ok(()) };
        let written = truncated.and_then(|()| self.file.write_all(text.as_bytes()));
        written.map_err(|error| print_save_error(&self.path, &error))?;
        self.is_written = true;
        Ok(format!("baseline: written to {shown}"))
    }
}

impl Drop for BaselineFile {
    fn drop(&mut self) {
        // A later run would reject an empty file as damaged.
        if self.is_new && !self.is_written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn print_save_error(path: &Path, error: &io::Error) -> u8 {
    let path = path.display().to_string();
    terminal_io::eprint(&format!("--save-baseline {}: {error}", printable(&path)));
    exit_code::ERROR
}

#[cfg(test)]
mod tests {
    use super::*;
    use AssertionOutcome::{Failed, Inconclusive, Passed};

    #[test]
    fn failed_command_is_a_rule_that_did_not_pass() {
        let ended = |status, by_us| command_failure(StopReason::CommandEnded { status, by_us });
        assert_eq!(ended(CommandStatus::Exited(0), false), None);
        assert_eq!(ended(CommandStatus::Signaled(15), true), None, "time was up");
        let failed = ended(CommandStatus::Exited(9), false).expect("a rule");
        assert_eq!(
            (failed.outcome, failed.finding.as_str()),
            (Inconclusive, "it exited with 9")
        );
        assert!(command_failure(StopReason::CommandAbandoned(2)).is_some());
    }

    #[test]
    fn exit_codes_have_an_order_of_precedence() {
        let judgment = |outcomes: &[AssertionOutcome]| Judgment {
            bytes_judged: crate::commands::assert::judge::JudgedBytes::default(),
            flows: Vec::new(),
            rules: outcomes
                .iter()
                .map(|outcome| Assertion::new("", outcome.clone(), ""))
                .collect(),
            open: None,
        };
        let ended = |status, by_us| StopReason::CommandEnded { status, by_us };
        for (outcomes, stop_reason, expected) in [
            (&[Passed][..], ended(CommandStatus::Exited(0), false), 0),
            (
                &[Passed, Failed, Inconclusive],
                ended(CommandStatus::Exited(0), false),
                1,
            ),
            (&[Passed, Inconclusive], ended(CommandStatus::Exited(0), false), 3),
            (&[Passed], ended(CommandStatus::Exited(101), false), 5),
            (&[Failed, Inconclusive], ended(CommandStatus::Exited(1), false), 5),
            (&[Inconclusive], ended(CommandStatus::Exited(1), false), 5),
            (&[Failed], ended(CommandStatus::Signaled(9), false), 137),
            (&[Passed], ended(CommandStatus::Signaled(15), true), 0),
            (&[Failed], ended(CommandStatus::Signaled(15), true), 1),
            (&[Passed], StopReason::CommandAbandoned(2), 130),
            (&[Passed], StopReason::Finished, 0),
        ] {
            assert_eq!(
                exit_code_of(&judgment(outcomes), stop_reason),
                expected,
                "{outcomes:?} {stop_reason:?}"
            );
        }
    }
}
