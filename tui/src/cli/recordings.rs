//! `record`, `report` and `replay`: definitions and parsing.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use zctrace_report::Subcommand;

use super::{args, usage_error};
use crate::commands::{replay, report};
use crate::defaults::RECORDING_FILE;
use crate::filter;
use crate::quantity::{Speed, parse_duration, parse_speed};
use crate::render::{Format, OutputKind};
use crate::session::Request;

pub(super) fn record() -> Command {
    Command::new("record")
        .about("Trace as `run` does, and write every observation to a file instead of a report")
        .override_usage("zctrace record [-o FILE] [OPTIONS] [-p PID… | --cgroup PATH | [--] CMD…]")
        .args(args::target_args())
        .group(args::target_group())
        .args(args::trace_args())
        .arg(
            Arg::new("record")
                .short('o')
                .long("output")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(format!("Write the recording to this file [default: {RECORDING_FILE}]")),
        )
        .after_help(format!(
            "`zctrace report FILE` prints the report that `run` would have printed; `zctrace replay FILE` replays the trace. Only the\n\
             owner can read the file: it names programs, files and peers. It holds no contents, and no kernel addresses.\n\
             Exit codes: as `run`; 4 also if the recording could not be written completely.\n\n{}",
            args::COMMAND_HELP
        ))
}

pub(super) fn report() -> Command {
    let [format, output, rows] = args::report_args(OutputKind::Stored);
    Command::new("report")
        .about("Show the report of a recording, or a report saved with --format json, or the certificate of one flow")
        .arg(from("Recording or report; - is a report on standard input"))
        .arg(
            Arg::new("flow")
                .long("flow")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("Show the certificate of this flow, hop by hop"),
        )
        .arg(until("Replay the recording up to this time"))
        .arg(args::filter_arg().conflicts_with("flow"))
        .args([format, output, rows])
        .after_help(format!(
            "Exit codes: 0 shown, 1 the report is inconsistent, 2 it cannot be read, 3 shown as far as the recording can be\n\
             read, 4 it cannot be written.\n\n{}",
            filter::HELP
        ))
}

pub(super) fn replay() -> Command {
    let [format, output, rows] = args::report_args(OutputKind::Series);
    Command::new("replay")
        .about("Replay a recording: live on a terminal, else as periodic snapshots")
        .arg(from("Recording"))
        .arg(
            Arg::new("speed")
                .long("speed")
                .value_name("N")
                .value_parser(parse_speed)
                .help("Speed as a multiple of real time, such as 10 or 0.5, or max: without waiting [default: 1]"),
        )
        .arg(
            Arg::new("every")
                .long("every")
                .value_name("T")
                .value_parser(parse_duration)
                .help("Report at this interval, in the recording's time [default: 1s]"),
        )
        .arg(
            Arg::new("from-time")
                .long("from")
                .value_name("T")
                .value_parser(parse_duration)
                .help("Start at this time in the recording"),
        )
        .arg(until("End at this time in the recording"))
        .arg(args::filter_arg())
        .args([format, output, rows])
        .args(args::viewer_args())
        .after_help(format!(
            "On a terminal the replay is shown live, and `?` lists the keys, among them pause, speed and seek; with --speed max it\n\
             starts at the end. With --format, --output or --every, or if standard output is not a terminal, reports are printed.\n\
             Exit codes: 0 replayed, 2 it cannot be read, 3 replayed as far as the recording can be read, 4 it cannot be written.\n\n{}",
            filter::HELP
        ))
}

fn from(help: &'static str) -> Arg {
    Arg::new("from")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .required(true)
        .help(help)
}

fn until(help: &'static str) -> Arg {
    Arg::new("until")
        .long("until")
        .value_name("T")
        .value_parser(parse_duration)
        .help(help)
}

pub(super) fn parse_record(matches: &ArgMatches) -> Result<Request, clap::Error> {
    let request = args::parse_request(matches, args::parse_target(matches)?, Subcommand::Run);
    Ok(Request {
        record: request.record.or_else(|| Some(PathBuf::from(RECORDING_FILE))),
        ..request
    })
}

pub(super) fn parse_report(matches: &ArgMatches) -> report::Options {
    report::Options {
        from: matches.get_one("from").cloned().unwrap_or_default(),
        flow: matches.get_one("flow").copied(),
        rows: matches.contains_id("rows").then(|| args::parse_rows(matches)),
        until: matches.get_one("until").copied(),
        filter: matches.get_one("filter").cloned().unwrap_or_default(),
        format: args::parse_format(matches),
        file: matches.get_one("output").cloned(),
    }
}

pub(super) fn parse_replay(matches: &ArgMatches) -> Result<replay::Options, clap::Error> {
    let format = args::parse_format(matches);
    if !format.allows_series() {
        return Err(usage_error(&format!(
            "a replay needs a format for several reports: {}",
            Format::list_for_series()
        )));
    }
    Ok(replay::Options {
        from: matches.get_one("from").cloned().unwrap_or_default(),
        speed: matches.get_one::<Speed>("speed").map_or(Some(1.0), |speed| speed.0),
        report_interval: matches
            .get_one("every")
            .copied()
            .unwrap_or(std::time::Duration::from_secs(1)),
        start: matches.get_one("from-time").copied().unwrap_or_default(),
        until: matches.get_one("until").copied(),
        rows: args::parse_rows(matches),
        filter: matches.get_one("filter").cloned().unwrap_or_default(),
        viewer: args::parse_viewer_options(matches, &["format", "output", "every"]),
        format,
        file: matches.get_one("output").cloned(),
    })
}
