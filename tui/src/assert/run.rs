//! Running the command and judging it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zctrace_report::text::printable;
use zctrace_report::{Flow, Outcome, Report};

use super::baseline::Baseline;
use super::judge::{Judgement, judge};
use super::screen;
use super::terms::Terms;
use crate::command::Ended;
use crate::filter::Fit;
use crate::output::{Format, Output, check};
use crate::progress::Quiet;
use crate::session::{Request, observe};
use crate::watch::Stopped;
use crate::{exit, screens};

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The run. Its rows are not folded: a folded row may hide an end that is meant.
    pub(crate) request: Request,
    /// What it is judged by.
    pub(crate) terms: Terms,
    /// A good run's baseline.
    pub(crate) baseline: Option<PathBuf>,
    /// Where to write this run's.
    pub(crate) save_baseline: Option<PathBuf>,
    /// The most rows that are shown.
    pub(crate) rows: usize,
    /// In which form the answer is given.
    pub(crate) format: Format,
    /// Where.
    pub(crate) file: Option<PathBuf>,
}

/// Runs and judges. Returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    exit::of(answer(options))
}

fn answer(options: &Options) -> Result<u8, u8> {
    let terms = &options.terms;
    let before = options.baseline.as_ref().map(|path| read(path, terms)).transpose()?;
    let mut output = Output::open(options.file.as_deref(), options.format)?;
    let new_baseline = options.save_baseline.as_deref().map(NewBaseline::open).transpose()?;
    let mut observed = observe(&options.request, &mut Quiet)?;
    check(&observed.report)?;
    let now = Baseline::of(&observed.report, terms);
    let growth = before.map(|before| before.growth(&now));
    let judgement = judge(&observed.report, terms, growth.as_deref());
    let report = &mut observed.report;
    report.assertions.clone_from(&judgement.rules);

    let mut told = Vec::new();
    if let Some(file) = new_baseline {
        told.push(file.save(&now, &judgement)?);
    } else if options.baseline.is_none() {
        told.push("last good: no baseline given (write one with --save-baseline FILE)".to_owned());
    }
    let ended = ended(observed.stopped);
    let text = form(report, options, &judgement, ended, &told);
    let code = output.write(&text, code(&judgement, observed.stopped));
    Ok(observed.recorded.and_then(Result::err).unwrap_or(code))
}

fn form(
    report: &mut Report,
    options: &Options,
    judgement: &Judgement,
    ended: Option<Ended>,
    told: &[String],
) -> String {
    // Numbers of flows change where rows are folded, and the judgement knows them as they were.
    let mut shown = judgement.clone();
    if report.flows.len() > options.rows {
        report.finish(options.rows);
        let fit = |flow: &&Flow| options.terms.fit(&flow.from, &flow.to, flow.folded) == Fit::Yes;
        shown.flows = report.flows.iter().filter(fit).map(|flow| flow.id).collect();
    }
    match options.format {
        Format::Text => screen::screen(report, &options.terms, &shown, ended, told),
        Format::Json => report.to_json_pretty() + "\n",
        Format::Junit => screens::junit(report),
    }
}

/// How the command ended, as far as that is its own doing.
fn ended(stopped: Stopped) -> Option<Ended> {
    match stopped {
        Stopped::Command { by_us: true, .. } => Some(Ended::Code(0)),
        Stopped::Command { ended, .. } => Some(ended),
        Stopped::Left(_) | Stopped::Enough => None,
    }
}

/// The exit code. That the command failed comes before what was judged: its tests may not have come to what they test.
pub(crate) fn code(judgement: &Judgement, stopped: Stopped) -> u8 {
    match stopped {
        Stopped::Left(signal) => return 128_u8.saturating_add(signal as u8),
        Stopped::Command { by_us: false, ended } => match ended {
            Ended::Code(0) => {}
            Ended::Code(_) => return exit::COMMAND_FAILED,
            Ended::Signal(_) => return ended.code(),
        },
        Stopped::Command { by_us: true, .. } | Stopped::Enough => {}
    }
    match judgement.outcome() {
        Outcome::Held => exit::HELD,
        Outcome::Broken => exit::DISAGREED,
        _ => exit::INCONCLUSIVE,
    }
}

fn read(path: &PathBuf, terms: &Terms) -> Result<Baseline, u8> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    text.and_then(|text| Baseline::from_json(&text, terms)).map_err(|why| {
        let path = path.display().to_string();
        crate::screen::complain(&format!("--baseline {}: {why}", printable(&path)));
        exit::USAGE
    })
}

/// Where a baseline is to be written: open before the command starts, for later zctrace may write nowhere else. What is in
/// it stays until then.
struct NewBaseline {
    path: PathBuf,
    file: File,
    /// Whether nothing was there before.
    is_new: bool,
    is_written: bool,
}

impl NewBaseline {
    fn open(path: &Path) -> Result<Self, u8> {
        let mut options = File::options();
        options.write(true);
        let made = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path).map(|file| (file, false)),
            made => made.map(|file| (file, true)),
        };
        let (file, is_new) = made.map_err(|error| cannot_save(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            is_new,
            is_written: false,
        })
    }

    /// Writes the baseline of a run of which all is known. Says what was done.
    fn save(mut self, now: &Baseline, judgement: &Judgement) -> Result<String, u8> {
        let shown = self.path.display().to_string();
        let shown = printable(&shown);
        if judgement.outcome() == Outcome::Open {
            return Ok(format!(
                "baseline: {shown} is not written, since not all is known of this run"
            ));
        }
        let text = now.to_json();
        // What is no file, such as /dev/stdout, has no length to be set.
        let is_file = self.file.metadata().is_ok_and(|data| data.is_file());
        let emptied = if is_file { self.file.set_len(0) } else { Ok(()) };
        let written = emptied.and_then(|()| self.file.write_all(text.as_bytes()));
        written.map_err(|error| cannot_save(&self.path, &error))?;
        self.is_written = true;
        Ok(format!("baseline: written to {shown}"))
    }
}

impl Drop for NewBaseline {
    fn drop(&mut self) {
        // An empty file would be taken for a damaged baseline.
        if self.is_new && !self.is_written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn cannot_save(path: &Path, error: &io::Error) -> u8 {
    let path = path.display().to_string();
    crate::screen::complain(&format!("--save-baseline {}: {error}", printable(&path)));
    exit::FAILED
}

#[cfg(test)]
mod tests {
    use Outcome::{Broken, Held, Open};
    use zctrace_report::Assertion;

    use super::*;

    #[test]
    fn several_that_apply_have_an_order() {
        let judgement = |outcomes: &[Outcome]| Judgement {
            sums: super::super::judge::Sums::default(),
            flows: Vec::new(),
            rules: outcomes
                .iter()
                .map(|outcome| Assertion::new("", outcome.clone(), ""))
                .collect(),
        };
        let ended = |ended, by_us| Stopped::Command { ended, by_us };
        for (outcomes, stopped, expected) in [
            (&[Held][..], ended(Ended::Code(0), false), 0),
            (&[Held, Broken, Open], ended(Ended::Code(0), false), 1),
            (&[Held, Open], ended(Ended::Code(0), false), 3),
            (&[Held], ended(Ended::Code(101), false), 5),
            (&[Broken, Open], ended(Ended::Code(1), false), 5),
            (&[Open], ended(Ended::Code(1), false), 5),
            (&[Broken], ended(Ended::Signal(9), false), 137),
            (&[Held], ended(Ended::Signal(15), true), 0),
            (&[Broken], ended(Ended::Signal(15), true), 1),
            (&[Held], Stopped::Left(2), 130),
            (&[Held], Stopped::Enough, 0),
        ] {
            assert_eq!(
                code(&judgement(outcomes), stopped),
                expected,
                "{outcomes:?} {stopped:?}"
            );
        }
    }
}
