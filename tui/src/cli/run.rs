//! `run`: definition and parsing.

use clap::{Arg, ArgMatches, Command};
use zctrace_report::MadeFor;

use super::args::{
    COMMAND_HELP, file_arg, filter_arg, parse_format, parse_request, parse_rows, parse_target, parse_viewer_options,
    report_args, target_args, target_group, trace_args, viewer_args,
};
use super::usage_error;
use crate::commands::run;
use crate::filter::{self, Filter};
use crate::quantity::parse_duration;
use crate::session::Request;
use crate::trace_loop::Schedule;

/// Returns the definition of `run`.
pub(super) fn command() -> Command {
    Command::new("run")
        .about("Trace a command, processes, a control group or the machine, and say what became of the bytes")
        .override_usage("zctrace [run] [OPTIONS] [-p PID… | --cgroup PATH | [--] CMD…]")
        .args(target_args())
        .group(target_group())
        .args(trace_args())
        .arg(file_arg("record", "Also record all that is seen, for `zctrace report` and `zctrace replay`"))
        .arg(
            Arg::new("every")
                .long("every")
                .value_name("T")
                .value_parser(parse_duration)
                .help("Also say what is known so far this often; as JSON one line each"),
        )
        .arg(filter_arg())
        .args(report_args("text, or json, or junit (a case for each row)"))
        .args(viewer_args())
        .after_help(format!(
            "Without a target it is the whole machine. On a terminal it is shown live, and `?` tells the keys; with --format,\n\
             --output or --every, or if standard output is no terminal, there is a report at the end. Exit codes: CMD's own,\n\
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
        return Err(usage_error(
            "--every needs a form that can be said several times: text or json",
        ));
    }
    Ok(run::Options {
        viewer: parse_viewer_options(matches, &["format", "output", "every"]),
        request: Request {
            schedule: Schedule {
                duration: matches.get_one("duration").copied(),
                report_interval,
            },
            // What is folded has given up names that the filter may ask for.
            rows: if filter.is_empty() { rows } else { usize::MAX },
            ..parse_request(matches, target, MadeFor::Run)
        },
        format,
        file: matches.get_one("output").cloned(),
        filter,
        rows,
    })
}
