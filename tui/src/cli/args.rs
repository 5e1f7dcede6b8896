//! Arguments that several subcommands share, and the values they are parsed to.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, value_parser};
use zctrace_report::{Level, Subcommand};

use super::usage_error;
use crate::defaults;
use crate::filter::Filter;
use crate::quantity::parse_duration;
use crate::render::{Format, OutputKind};
use crate::session::{Request, Target};
use crate::trace_loop::Schedule;
use crate::viewer::config::{THEMES, ViewerOptions};

/// Returns the arguments that select what to trace.
pub(super) fn target_args() -> [Arg; 3] {
    [
        command_arg(),
        Arg::new("pid")
            .short('p')
            .long("pid")
            .value_name("PID")
            .value_parser(value_parser!(u32).range(1..))
            .value_delimiter(',')
            .action(ArgAction::Append)
            .help("Trace running processes and their descendants"),
        Arg::new("cgroup")
            .long("cgroup")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help("Trace the processes of a control group, such as /system.slice/nginx.service"),
    ]
}

/// Returns the group that allows one target only.
pub(super) fn target_group() -> ArgGroup {
    ArgGroup::new("target").args(["command", "pid", "cgroup"])
}

/// Help on how a command runs, compared with running it directly.
pub(super) const COMMAND_HELP: &str = "\
CMD runs as the user who called sudo, else as the current one, or as --user NAME: with that user's groups, HOME, USER,
LOGNAME and SHELL; its directory, terminal and other environment stay. sudo sets a PATH of its own, so a CMD that is not
found in it is also searched in that user's ~/.cargo/bin and ~/.local/bin, with a notice if it is found there.
Signals are forwarded to CMD, and zctrace waits for the report. A second Ctrl-C within 2 s ends zctrace at once and leaves
CMD running.
With --duration, CMD gets SIGTERM when time is up, and SIGKILL 10 s later; ending by these counts as success.
CMD's output and the report share standard output; -o keeps them apart.";

pub(super) fn command_arg() -> Arg {
    Arg::new("command")
        .value_name("CMD")
        .value_parser(value_parser!(OsString))
        .num_args(1..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true)
        .help("The command to run, with its arguments; best after `--`")
}

/// Returns the arguments of `run`, `record` and `assert` for the trace.
pub(super) fn trace_args() -> [Arg; 5] {
    [
        Arg::new("user")
            .long("user")
            .value_name("NAME")
            .help("Run CMD as this user [default: the caller of sudo, else the current user]"),
        Arg::new("no-follow")
            .long("no-follow")
            .action(ArgAction::SetTrue)
            .help("Do not trace descendants"),
        Arg::new("level")
            .long("level")
            .value_name("LEVEL")
            .value_parser(["full", "digest", "counters"])
            .hide_possible_values(true)
            .help(
                "full: every page of every call. digest: what is sent over TCP, by page digests, with low overhead, and none for\n\
                 other programs. counters: bytes sent over TCP, without verdicts [default: full]",
            ),
        Arg::new("duration")
            .long("duration")
            .value_name("T")
            .value_parser(parse_duration)
            .help("Trace no longer than this: 10s, 500ms, 2m"),
        super::diagnostics::btf_arg(
            "Read the kernel's types from this BTF file if the kernel has none; the selftest must pass with them",
        ),
    ]
}

/// Returns the arguments of every report, with the formats for this kind of output.
pub(super) fn report_args(kind: OutputKind) -> [Arg; 3] {
    [
        Arg::new("format")
            .long("format")
            .value_name("FORMAT")
            .value_parser(Format::ALL.map(Format::name))
            .hide_possible_values(true)
            .help(format!(
                "Output format: {} [default: {}]",
                Format::list(kind),
                Format::ALL[0].name()
            )),
        Arg::new("output")
            .short('o')
            .long("output")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Write the report to this file [default: standard output]"),
        Arg::new("rows")
            .long("rows")
            .value_name("N")
            .value_parser(value_parser!(u64).range(2..=1_000_000))
            .help("Group similar flows into at most N rows [default: 30]"),
    ]
}

/// Returns the arguments of the viewer.
pub(super) fn viewer_args() -> [Arg; 4] {
    [
        Arg::new("theme")
            .long("theme")
            .value_name("NAME")
            .value_parser(THEMES)
            .hide_possible_values(true)
            .help(format!("Colors of the live view: {}", THEMES.join(", "))),
        Arg::new("ascii")
            .long("ascii")
            .action(ArgAction::SetTrue)
            .help("Use only ASCII in the live view"),
        Arg::new("mouse")
            .long("mouse")
            .action(ArgAction::SetTrue)
            .help("Enable the mouse in the live view"),
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Settings and keys of the live view [default: ~/.config/zctrace/config.toml]"),
    ]
}

pub(super) fn filter_arg() -> Arg {
    Arg::new("filter")
        .long("filter")
        .value_name("FILTER")
        .value_parser(|text: &str| Filter::parse(text).map_err(|error| error.to_string()))
        .help("Show matching flows only, such as 'to=tcp::443 and copied>0'; totals are of those")
}

pub(super) fn file_arg(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

/// Parses the options of the viewer. Returns `None` if one of the arguments in `for_report` is
/// given.
pub(super) fn parse_viewer_options(matches: &ArgMatches, for_report: &[&str]) -> Option<ViewerOptions> {
    let report = for_report.iter().any(|name| matches.contains_id(name));
    (!report).then(|| ViewerOptions {
        theme: matches.get_one("theme").cloned(),
        ascii: matches.get_flag("ascii"),
        mouse: matches.get_flag("mouse"),
        config: matches.get_one("config").cloned(),
    })
}

/// Parses what to trace.
pub(super) fn parse_target(matches: &ArgMatches) -> Result<Target, clap::Error> {
    let target = if let Some(command) = matches.get_many::<OsString>("command") {
        Target::Command(command.cloned().collect())
    } else if let Some(pids) = matches.get_many::<u32>("pid") {
        Target::Processes(pids.copied().collect())
    } else if let Some(path) = matches.get_one::<PathBuf>("cgroup") {
        Target::Cgroup(path.clone())
    } else {
        Target::Machine
    };
    if matches.contains_id("user") && !matches!(target, Target::Command(_)) {
        return Err(usage_error("--user needs a CMD to run as that user"));
    }
    Ok(target)
}

/// Parses a request, which folds no rows.
pub(super) fn parse_request(matches: &ArgMatches, target: Target, made_for: Subcommand) -> Request {
    Request {
        target,
        user: matches.get_one("user").cloned(),
        follow: !matches.get_flag("no-follow"),
        level: match matches.get_one::<String>("level").map(String::as_str) {
            Some("digest") => Level::Digest,
            Some("counters") => Level::Counters,
            _ => Level::Full,
        },
        schedule: Schedule {
            duration: matches.get_one("duration").copied(),
            ..Schedule::default()
        },
        rows: usize::MAX,
        btf: matches.get_one("btf").cloned(),
        made_for,
        record: matches.get_one("record").cloned(),
    }
}

pub(super) fn parse_format(matches: &ArgMatches) -> Format {
    let word = matches.get_one::<String>("format").map(String::as_str);
    word.and_then(Format::from_name).unwrap_or(Format::ALL[0])
}

pub(super) fn parse_rows(matches: &ArgMatches) -> usize {
    let rows = matches.get_one("rows").copied();
    rows.map_or(defaults::REPORT_ROWS, |rows: u64| {
        usize::try_from(rows).unwrap_or(usize::MAX)
    })
}

pub(super) fn values_of<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Vec<T> {
    matches.get_many(name).into_iter().flatten().cloned().collect()
}
