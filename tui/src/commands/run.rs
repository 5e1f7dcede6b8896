//! `zctrace run`: traces a command, processes, a control group or the machine, and reports what
//! became of the bytes.

use std::path::PathBuf;

use zctrace_report::Report;

use crate::filter::Filter;
use crate::output::{Output, note_violations};
use crate::progress::{ProgressLine, print_waiting};
use crate::render::{Format, Placement, render};
use crate::session::{Request, Target, run_to_end, stamp};
use crate::trace_loop::Observer;
use crate::tracer::Tracer;
use crate::viewer::config::ViewerOptions;
use crate::{defaults, exit_code, viewer};

/// Options of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The run.
    pub(crate) request: Request,
    /// Output format.
    pub(crate) format: Format,
    /// Output file; `None` for standard output.
    pub(crate) file: Option<PathBuf>,
    /// Options of the viewer; `None` if an option asks for reports.
    pub(crate) viewer: Option<ViewerOptions>,
    /// Filter of the reported flows.
    pub(crate) filter: Filter,
    /// Maximum number of rows in a report.
    pub(crate) rows: usize,
}

/// Runs the subcommand and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    if let Some(viewer_options) = &options.viewer
        && viewer::is_possible()
    {
        return viewer::run(&options.request, viewer_options, &options.filter);
    }
    exit_code::from_result(trace_and_report(options))
}

fn trace_and_report(options: &Options) -> Result<u8, u8> {
    let output = Output::open(options.file.as_deref(), options.format)?;
    let mut reporter = Reporter {
        // A command has the terminal for itself.
        progress: ProgressLine::new(!matches!(options.request.target, Target::Command(_))),
        output,
        options,
        failed: None,
    };
    let finished = run_to_end(&options.request, &mut reporter)?;
    reporter.progress.clear();
    let mut report = finished.report;
    apply_filter(&mut report, options);
    note_violations(&mut report);
    let placement = if options.request.schedule.report_interval.is_some() {
        Placement::Last
    } else {
        Placement::Only
    };
    let text = render(&report, options.format, placement);
    let code = reporter.output.write(&text, finished.stop_reason.exit_code());
    if let Some(Err(code)) = finished.recording {
        return Ok(code);
    }
    Ok(reporter.failed.unwrap_or(code))
}

/// Observer that writes the interim reports and the progress line.
struct Reporter<'a> {
    progress: ProgressLine,
    output: Output,
    options: &'a Options,
    /// Exit code of an interim report that failed. The run continues, and returns it at its end.
    failed: Option<u8>,
}

impl Observer for Reporter<'_> {
    fn on_interim_report(&mut self, mut report: Report) {
        stamp(&mut report, &self.options.request);
        apply_filter(&mut report, self.options);
        note_violations(&mut report);
        self.progress.clear();
        let text = render(&report, self.options.format, Placement::Interim);
        if self.output.write(&text, exit_code::SUCCESS) != exit_code::SUCCESS {
            self.failed = Some(exit_code::ERROR);
        }
    }

    fn on_poll(&mut self, tracer: &mut dyn Tracer) {
        self.progress.update(tracer);
    }

    fn on_waiting_for_command(&mut self) {
        print_waiting();
    }
}

/// Applies the filter, and folds the remaining flows to the requested number of rows.
fn apply_filter(report: &mut Report, options: &Options) {
    if !options.filter.is_empty() {
        options.filter.apply(report);
        report.finish(options.rows);
        report.bound_lists(options.rows.max(defaults::LIST_ROWS));
    }
}
