//! `zctrace report`: shows a report that was saved as JSON, or one flow's certificate.

use std::fs::File;
use std::path::PathBuf;

use probes::report::Report;
use probes::report::text::printable;

use crate::filter::Filter;
use crate::output::{Format, Output, check};
use crate::{exit, screen, screens};

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The report; `-` is standard input.
    pub(crate) from: PathBuf,
    /// Only this flow.
    pub(crate) flow: Option<u64>,
    /// Only the flows that fit.
    pub(crate) filter: Filter,
    /// In which form the answer is given.
    pub(crate) format: Format,
    /// Where.
    pub(crate) file: Option<PathBuf>,
}

/// Shows it, and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    match answer(options) {
        Ok(code) | Err(code) => code,
    }
}

fn answer(options: &Options) -> Result<u8, u8> {
    let mut report = read(options)?;
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
            return Ok(Output::open(options.file.as_deref(), options.format)?.write(&text, exit::HELD));
        }
        only(&mut report, id);
    }
    options.filter.apply(&mut report);
    let text = match options.format {
        Format::Text => screens::report(&report),
        Format::Json => report.to_json_pretty() + "\n",
        Format::Junit => screens::junit(&report),
    };
    Ok(Output::open(options.file.as_deref(), options.format)?.write(&text, exit::HELD))
}

fn read(options: &Options) -> Result<Report, u8> {
    let report = if options.from.as_os_str() == "-" {
        Report::from_reader(std::io::stdin().lock())
    } else {
        match File::open(&options.from) {
            Ok(file) => Report::from_reader(std::io::BufReader::new(file)),
            Err(error) => Err(probes::report::ReadError::Io(error)),
        }
    };
    report.map_err(|error| {
        let (from, error) = (options.from.display().to_string(), error.to_string());
        screen::complain(&format!("{}: {}", printable(&from), printable(&error)));
        exit::USAGE
    })
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
