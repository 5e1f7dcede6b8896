//! `assert`: definition and parsing.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use zctrace_contract::Reason;
use zctrace_report::{Level, Subcommand};

use super::args::{
    COMMAND_HELP, command_arg, file_arg, parse_format, parse_request, parse_rows, report_args, trace_args, values_of,
};
use super::usage_error;
use crate::commands::assert::{self, Criteria, Files, Limit};
use crate::defaults;
use crate::filter::Pattern;
use crate::quantity::{parse_bytes, parse_duration};
use crate::render::OutputKind;
use crate::session::Target;

/// Returns the definition of `assert`.
pub(super) fn command() -> Command {
    Command::new("assert")
        .about("Run a command, and fail if more bytes were copied on the path to some endpoints than allowed")
        .override_usage("zctrace assert --to KIND[:GLOB],… --max-copied BYTES|PERCENT [OPTIONS] [--] CMD…")
        .arg(command_arg().required(true))
        .arg(endpoint_arg("to", "Judge the bytes delivered to these endpoints, from any source").required(true))
        .arg(endpoint_arg("from", "Judge only bytes from these endpoints"))
        .arg(limit_arg("max-copied", "How much may be copied: 0, 64K, 1%. Peeks count as copies"))
        .arg(limit_arg(
            "max-unknown",
            "How much may be unknown [default: nothing that could change the verdict]",
        ))
        .arg(
            Arg::new("min-bytes")
                .long("min-bytes")
                .value_name("BYTES")
                .value_parser(parse_bytes)
                .help("How much must be delivered for a verdict [default: 1]"),
        )
        .arg(file_arg("baseline", "Compare with a good run; without --max-copied, additional copies fail"))
        .arg(file_arg("save-baseline", "Write the copies of this run, to compare later runs with"))
        .arg(
            Arg::new("allow")
                .long("allow")
                .value_name("CODE")
                .value_parser(parse_reason_code)
                .value_delimiter(',')
                .action(ArgAction::Append)
                .help("Do not count bytes that are copied or unknown for this reason, such as ZC10"),
        )
        .arg(
            Arg::new("wait")
                .long("wait")
                .value_name("T")
                .value_parser(parse_duration)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value(defaults::WAIT)
                .help(format!(
                    "After CMD has ended, wait for the processes that it started, at most this long [default with --wait: {}]",
                    defaults::WAIT
                )),
        )
        .group(
            ArgGroup::new("measure")
                .args(["max-copied", "baseline", "save-baseline"])
                .multiple(true)
                .required(true),
        )
        .args(trace_args())
        .arg(file_arg("record", "Also record every observation, for `zctrace report` and `zctrace replay`"))
        .args(report_args(OutputKind::Judgment))
        .after_help(format!(
            "An endpoint is KIND or KIND:GLOB: file, socket or device, or a single kind such as tcp, unix or direct_file; `*` and `?`\n\
             in GLOB. It is matched against the path or peer address, and against `:PORT` of both sides: --to file:/data/*, --to tcp::80.\n\
             A file is judged if its name matched when CMD started, when it was first used, or when CMD ended.\n\
             With --level digest only --to tcp can be judged, and peeks are not observed.\n\
             Processes of CMD that still run when it has ended leave the judgment open; Ctrl-C ends --wait.\n\
             Exit codes: 0 passed and CMD succeeded, 1 failed, 2 usage, 3 inconclusive (nothing delivered, too much unknown,\n\
             records lost, other bytes can have reached the endpoints unobserved), 4 tracing could not be set up and CMD was not\n\
             started, 5 CMD failed, 126 or 127 CMD cannot be run, 128+n signal n ended CMD. If several apply: 4, 5, 1, 3 in that order.\n\n{COMMAND_HELP}"
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
    Reason::from_code(text).ok_or_else(|| "unknown code; `zctrace explain` lists all codes".to_owned())
}

/// Parses the options of `assert`.
pub(super) fn parse(matches: &ArgMatches) -> Result<assert::Options, clap::Error> {
    let command: Vec<OsString> = values_of(matches, "command");
    if command.is_empty() {
        return Err(usage_error("no command to run"));
    }
    let mut request = parse_request(matches, Target::Command(command), Subcommand::Assert);
    request.schedule.wait = matches.get_one("wait").copied();
    let to: Vec<Pattern> = values_of(matches, "to");
    // Untraced bytes would be mistaken for bytes that were not transferred.
    match request.level {
        Level::Counters => return Err(usage_error("--level counters gives no verdicts to judge")),
        Level::Digest if !to.iter().all(Pattern::is_tcp) => {
            return Err(usage_error(
                "--level digest traces only what is sent over TCP: use --to tcp",
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
            files: Files::default(),
        },
        baseline: matches.get_one("baseline").cloned(),
        save_baseline: matches.get_one("save-baseline").cloned(),
        rows: parse_rows(matches),
        format: parse_format(matches),
        file: matches.get_one("output").cloned(),
    })
}
