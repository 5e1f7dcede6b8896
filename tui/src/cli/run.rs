//! `run`: definition and parsing.

use clap::{Arg, ArgMatches, Command};
use zctrace_report::Subcommand;

use super::args::{
    COMMAND_HELP, file_arg, filter_arg, parse_format, parse_request, parse_rows, parse_target, parse_viewer_options,
    report_args, target_args, target_group, trace_args, viewer_args,
};
use super::usage_error;
use crate::commands::run;
use crate::filter::{self, Filter};
use crate::quantity::parse_duration;
use crate::render::{Format, OutputKind};
use crate::session::Request;
use crate::trace_loop::Schedule;

/// Returns the definition of `run`.
pub(super) fn command() -> Command {
    Command::new("run")
        .about("Trace a command, processes, a control group or the machine, and report what became of the bytes")
        .override_usage("zctrace [run] [OPTIONS] [-p PID… | --cgroup PATH | [--] CMD…]")
        .args(target_args())
        .group(target_group())
        .args(trace_args())
        .arg(file_arg("record", "Also record every observation, for `zctrace report` and `zctrace replay`"))
        .arg(
            Arg::new("every")
                .long("every")
                .value_name("T")
                .value_parser(parse_duration)
                .help("Also report at this interval; as JSON, one line each"),
        )
        .arg(filter_arg())
        .args(report_args(OutputKind::Flows))
        .args(viewer_args())
        .after_help(format!(
            "Without a target the whole machine is traced. On a terminal the trace is shown live, and `?` lists the keys; with --format,\n\
             --output or --every, or if standard output is not a terminal, a report is printed at the end. Exit codes: CMD's own,\n\
             or 128+n if signal n ended it; 126 or 127 if it cannot be run; 4 if zctrace itself failed, and then CMD was not\n\
             started; without CMD 0.\n\n{COMMAND_HELP}\n\n{}",
            filter::HELP
        ))
}

/// Parses the options of `run`.
pub(super) fn parse(matches: &ArgMatches) -> Result<run::Options, clap::Error> {
    let target = parse_target(matches)?;
    let (format, rows) = (parse_format(matches), parse_rows(matches));
    let filter: Filter = matches.get_one("filter").cloned().unwrap_or_default();
    let report_interval = matches.get_one("every").copied();
    if report_interval.is_some() && !format.allows_series() {
        return Err(usage_error(&format!(
            "--every needs a format for several reports: {}",
            Format::list_for_series()
        )));
    }
    Ok(run::Options {
        viewer: parse_viewer_options(matches, &["format", "output", "every"]),
        request: Request {
            schedule: Schedule {
                duration: matches.get_one("duration").copied(),
                report_interval,
                wait: None,
            },
            // Folding would discard names that the filter can test.
            rows: if filter.is_empty() { rows } else { usize::MAX },
            ..parse_request(matches, target, Subcommand::Run)
        },
        format,
        file: matches.get_one("output").cloned(),
        filter,
        rows,
    })
}
