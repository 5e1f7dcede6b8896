//! `assert`: definition and parsing.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use zctrace_contract::Reason;
use zctrace_report::{Level, MadeFor};

use super::args::{
    COMMAND_HELP, command_arg, file_arg, parse_format, parse_request, parse_rows, report_args, trace_args, values_of,
};
use super::usage_error;
use crate::commands::assert::{self, Criteria, Limit};
use crate::filter::Pattern;
use crate::quantity::parse_bytes;
use crate::session::Target;

/// Returns the definition of `assert`.
pub(super) fn command() -> Command {
    Command::new("assert")
        .about("Run a command, and fail if more was copied on the way to some ends than is allowed")
        .override_usage("zctrace assert --to KIND[:GLOB],… --max-copied BYTES|PERCENT [OPTIONS] [--] CMD…")
        .arg(command_arg().required(true))
        .arg(endpoint_arg("to", "Judge the bytes that arrive at these ends, from wherever they come").required(true))
        .arg(endpoint_arg("from", "Judge only bytes that come from these ends"))
        .arg(limit_arg("max-copied", "How much may be copied: 0, 64K, 1%. Looks count as copies"))
        .arg(limit_arg(
            "max-unknown",
            "How much may be unknown [default: none that could decide the verdict]",
        ))
        .arg(
            Arg::new("min-bytes")
                .long("min-bytes")
                .value_name("BYTES")
                .value_parser(parse_bytes)
                .help("How much must arrive for there to be something to judge [default: 1]"),
        )
        .arg(file_arg("baseline", "Compare with a good run; without --max-copied more copies than there fail"))
        .arg(file_arg("save-baseline", "Write what this run copied, to compare later runs with"))
        .arg(
            Arg::new("allow")
                .long("allow")
                .value_name("CODE")
                .value_parser(parse_reason_code)
                .value_delimiter(',')
                .action(ArgAction::Append)
                .help("Do not count what is copied or unknown for this reason, such as ZC10"),
        )
        .group(
            ArgGroup::new("measure")
                .args(["max-copied", "baseline", "save-baseline"])
                .multiple(true)
                .required(true),
        )
        .args(trace_args())
        .arg(file_arg("record", "Also record all that is seen, for `zctrace report` and `zctrace replay`"))
        .args(report_args("text, or json, or junit (a case for each rule)"))
        .after_help(format!(
            "An end is KIND or KIND:GLOB: file, socket or device, or a single kind such as tcp, unix or direct_file; `*` and `?`\n\
             in GLOB. It is matched with the path or address, and with `:PORT`: --to file:/data/*, --to tcp::80.\n\
             With --level digest only --to tcp can be judged, and looks are not seen.\n\
             Exit codes: 0 held and CMD succeeded, 1 copied, 2 usage, 3 inconclusive (nothing arrived, too much unknown, records\n\
             lost), 4 tracing could not be set up and CMD was not started, 5 CMD failed, 126 or 127 it cannot be run, 128+n\n\
             signal n ended it. Several apply: 4, 5, 1, 3 in that order.\n\n{COMMAND_HELP}"
        ))
}

fn endpoint_arg(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("KIND[:GLOB]")
        .value_parser(Pattern::parse)
        .value_delimiter(',')
        .action(ArgAction::Append)
        .help(help)
}

fn limit_arg(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("BYTES|PERCENT")
        .value_parser(Limit::parse)
        .help(help)
}

fn parse_reason_code(text: &str) -> Result<Reason, String> {
    Reason::from_code(text).ok_or_else(|| "there is no such code; `zctrace explain` lists them all".to_owned())
}

/// Parses the options of `assert`.
pub(super) fn parse(matches: &ArgMatches) -> Result<assert::Options, clap::Error> {
    let command: Vec<OsString> = values_of(matches, "command");
    if command.is_empty() {
        return Err(usage_error("there is no command to run"));
    }
    let request = parse_request(matches, Target::Command(command), MadeFor::Assert);
    let to: Vec<Pattern> = values_of(matches, "to");
    // What is not watched would be taken for what did not happen.
    match request.level {
        Level::Counters => return Err(usage_error("--level counters shows nothing that could be judged")),
        Level::Digest if !to.iter().all(Pattern::is_tcp) => {
            return Err(usage_error(
                "--level digest watches nothing but what is sent over TCP: take --to tcp",
            ));
        }
        _ => {}
    }
    Ok(assert::Options {
        request,
        criteria: Criteria {
            to,
            from: values_of(matches, "from"),
            max_copied: matches.get_one::<Limit>("max-copied").copied(),
            max_unknown: matches.get_one::<Limit>("max-unknown").copied(),
            min_bytes: matches.get_one("min-bytes").copied().unwrap_or(0),
            allow: values_of(matches, "allow"),
        },
        baseline: matches.get_one("baseline").cloned(),
        save_baseline: matches.get_one("save-baseline").cloned(),
        rows: parse_rows(matches),
        format: parse_format(matches),
        file: matches.get_one("output").cloned(),
    })
}
