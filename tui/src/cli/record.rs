//! `record`, `report` and `replay`: the commands that keep what was traced, and show it again.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use zctrace_report::MadeFor;

use super::{mistake, trace, values};
use crate::output::Format;
use crate::session::Request;
use crate::{filter, replay, saved};

/// Where a recording goes unless told otherwise.
const FILE: &str = "zctrace.zct";

pub(super) fn record() -> Command {
    Command::new("record")
        .about("Trace as `run` does, and keep all that is seen in a file instead of saying what it means")
        .override_usage("zctrace record [-o FILE] [OPTIONS] [-p PID… | --cgroup PATH | [--] CMD…]")
        .args(trace::targets())
        .group(trace::one_target())
        .args(trace::of_a_command())
        .arg(
            Arg::new("record")
                .short('o')
                .long("output")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(format!("Write the recording there [default: {FILE}]")),
        )
        .after_help(format!(
            "`zctrace report FILE` says what `run` would have said; `zctrace replay FILE` tells it as it happened. Only the owner\n\
             can read the file: it names programs, files and peers. It holds no contents, and no addresses of the kernel.\n\
             Exit codes: as `run`; 4 also if the recording could not be written to its end.\n\n{}",
            trace::HOW_CMD_RUNS
        ))
}

pub(super) fn report() -> Command {
    let [format, output, rows] = trace::of_an_answer("text, or json, or junit");
    Command::new("report")
        .about("Show what a recording says, or a report that was saved with --format json, or one flow's certificate")
        .arg(from("The recording or report; - is a report on standard input"))
        .arg(
            Arg::new("flow")
                .long("flow")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("Show the certificate of this flow, hop by hop; its number is in the JSON"),
        )
        .arg(until("Of a recording, what was known so long after watching began"))
        .arg(trace::filter().conflicts_with("flow"))
        .args([format, output, rows])
        .after_help(format!(
            "Exit codes: 0 shown, 1 the report contradicts itself, 2 it cannot be read, 3 shown as far as the recording can be\n\
             read, 4 it cannot be written.\n\n{}",
            filter::HELP
        ))
}

pub(super) fn replay() -> Command {
    let [format, output, rows] = trace::of_an_answer("text, or json (a line for each)");
    Command::new("replay")
        .about("Play a recording as it happened: on a terminal live, else again and again what was known so far")
        .arg(from("The recording"))
        .arg(
            Arg::new("speed")
                .long("speed")
                .value_name("N")
                .value_parser(values::speed)
                .help("So many times as fast as it happened, such as 10 or 0.5, or max: without waiting [default: 1]"),
        )
        .arg(
            Arg::new("every")
                .long("every")
                .value_name("T")
                .value_parser(values::time)
                .help("Say what is known this often, in the recording's time [default: 1s]"),
        )
        .arg(
            Arg::new("from-time")
                .long("from")
                .value_name("T")
                .value_parser(values::time)
                .help("Begin so long after watching began"),
        )
        .arg(until("End so long after watching began"))
        .arg(trace::filter())
        .args([format, output, rows])
        .args(trace::of_the_viewer())
        .after_help(format!(
            "On a terminal it is shown live, and `?` tells the keys, among them those for pause, speed and time; with --speed max\n\
             it begins at the end. With --format, --output or --every, or if standard output is no terminal, there are reports.\n\
             Exit codes: 0 played, 2 it cannot be read, 3 played as far as the recording can be read, 4 it cannot be written.\n\n{}",
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
        .value_parser(values::time)
        .help(help)
}

pub(super) fn understand_record(asked: &ArgMatches) -> Result<Request, clap::Error> {
    let request = trace::request(asked, trace::target(asked)?, MadeFor::Run);
    Ok(Request {
        record: request.record.or_else(|| Some(PathBuf::from(FILE))),
        ..request
    })
}

pub(super) fn understand_report(asked: &ArgMatches) -> saved::Options {
    saved::Options {
        from: asked.get_one("from").cloned().unwrap_or_default(),
        flow: asked.get_one("flow").copied(),
        rows: asked.contains_id("rows").then(|| trace::rows(asked)),
        until: asked.get_one("until").copied(),
        filter: asked.get_one("filter").cloned().unwrap_or_default(),
        format: trace::format(asked),
        file: asked.get_one("output").cloned(),
    }
}

pub(super) fn understand_replay(asked: &ArgMatches) -> Result<replay::Options, clap::Error> {
    let format = trace::format(asked);
    if format == Format::Junit {
        return Err(mistake(
            "a replay needs a form that can be said several times: text or json",
        ));
    }
    Ok(replay::Options {
        from: asked.get_one("from").cloned().unwrap_or_default(),
        speed: asked
            .get_one::<values::Speed>("speed")
            .map_or(Some(1.0), |speed| speed.0),
        every: asked
            .get_one("every")
            .copied()
            .unwrap_or(std::time::Duration::from_secs(1)),
        start: asked.get_one("from-time").copied().unwrap_or_default(),
        until: asked.get_one("until").copied(),
        rows: trace::rows(asked),
        filter: asked.get_one("filter").cloned().unwrap_or_default(),
        viewer: trace::viewer(asked, &["format", "output", "every"]),
        format,
        file: asked.get_one("output").cloned(),
    })
}
