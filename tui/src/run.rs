//! `zctrace run`: watches a command, processes, a control group or the machine, and says what became of the bytes.

use std::path::PathBuf;

use zctrace_report::Report;

use crate::filter::Filter;
use crate::output::{Format, Output, check};
use crate::progress::{Progress, say_waiting};
use crate::session::{Request, Target, observe, sign};
use crate::trace::Tracer;
use crate::viewer::config::Choice;
use crate::watch::{Audience, Stopped};
use crate::{exit, screens, viewer};

/// Rows of the lists beside the flows, where a report is not already bounded: as the tracer bounds them.
const LISTS: usize = 200;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The run.
    pub(crate) request: Request,
    /// In which form the answer is given.
    pub(crate) format: Format,
    /// Where.
    pub(crate) file: Option<PathBuf>,
    /// How the viewer is to look, if nothing was said that only the report can do.
    pub(crate) viewer: Option<Choice>,
    /// Which flows are told of.
    pub(crate) filter: Filter,
    /// The most rows that are told of.
    pub(crate) rows: usize,
}

/// Rows of a report unless told otherwise: a screen's worth.
pub(crate) const ROWS: usize = 30;

/// Runs, and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    if let Some(choice) = &options.viewer
        && viewer::possible()
    {
        return viewer::run(&options.request, choice, &options.filter);
    }
    exit::of(answer(options))
}

fn answer(options: &Options) -> Result<u8, u8> {
    let output = Output::open(options.file.as_deref(), options.format)?;
    let mut listener = Listener {
        // A command has the terminal for itself.
        progress: Progress::new(!matches!(options.request.target, Target::Command(_))),
        output,
        options,
        failed: None,
    };
    let observed = observe(&options.request, &mut listener)?;
    listener.progress.clear();
    let mut report = observed.report;
    pick(&mut report, options);
    check(&report)?;
    let text = form(&report, options);
    let code = listener.output.write(&text, code(observed.stopped));
    if let Some(Err(code)) = observed.recorded {
        return Ok(code);
    }
    Ok(listener.failed.unwrap_or(code))
}

/// Writes what is known meanwhile.
struct Listener<'a> {
    progress: Progress,
    output: Output,
    options: &'a Options,
    /// What an interim report failed with: the run goes on, and ends with it.
    failed: Option<u8>,
}

impl Audience for Listener<'_> {
    fn interim(&mut self, mut report: Report) {
        sign(&mut report, &self.options.request);
        pick(&mut report, self.options);
        if let Err(code) = check(&report) {
            self.failed = Some(code);
            return;
        }
        self.progress.clear();
        let mut text = form(&report, self.options);
        if self.options.format == Format::Text {
            text.push('\n');
        }
        if self.output.write(&text, exit::HELD) != exit::HELD {
            self.failed = Some(exit::FAILED);
        }
    }

    fn step(&mut self, tracer: &mut dyn Tracer) {
        self.progress.step(tracer);
    }

    fn waiting(&mut self) {
        say_waiting();
    }
}

/// Leaves what is asked for, in as many rows as are asked for.
fn pick(report: &mut Report, options: &Options) {
    if !options.filter.is_all() {
        options.filter.apply(report);
        report.finish(options.rows);
        report.bound_lists(options.rows.max(LISTS));
    }
}

fn form(report: &Report, options: &Options) -> String {
    match options.format {
        Format::Text => screens::report(report),
        // A line for each of several.
        Format::Json if options.request.times.every.is_some() => report.to_json() + "\n",
        Format::Json => report.to_json_pretty() + "\n",
        Format::Junit => screens::junit(report),
    }
}

/// The command's own code. One that was ended because time was up has done what it was to do.
pub(crate) fn code(stopped: Stopped) -> u8 {
    match stopped {
        Stopped::Command { by_us: false, ended } => ended.code(),
        Stopped::Command { by_us: true, .. } | Stopped::Enough => exit::HELD,
        Stopped::Left(signal) => 128_u8.saturating_add(signal as u8),
    }
}
