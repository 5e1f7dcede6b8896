//! `run` and `assert`: the commands that trace.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use zctrace_contract::Reason;
use zctrace_report::{Level, MadeFor};

use super::{mistake, values};
use crate::assert::{self, Limit, Terms};
use crate::filter::{self, Filter, Pattern};
use crate::output::Format;
use crate::run;
use crate::session::{Request, Target};
use crate::viewer::config::{Choice, THEMES};
use crate::watch::Times;

pub(super) fn run() -> Command {
    Command::new("run")
        .about("Trace a command, processes, a control group or the machine, and say what became of the bytes")
        .override_usage("zctrace [run] [OPTIONS] [-p PID… | --cgroup PATH | [--] CMD…]")
        .args(targets())
        .group(one_target())
        .args(of_a_command())
        .arg(file("record", "Also record all that is seen, for `zctrace report` and `zctrace replay`"))
        .arg(
            Arg::new("every")
                .long("every")
                .value_name("T")
                .value_parser(values::time)
                .help("Also say what is known so far this often; as JSON one line each"),
        )
        .arg(filter())
        .args(of_an_answer("text, or json, or junit (a case for each row)"))
        .args(of_the_viewer())
        .after_help(format!(
            "Without a target it is the whole machine. On a terminal it is shown live, and `?` tells the keys; with --format,\n\
             --output or --every, or if standard output is no terminal, there is a report at the end. Exit codes: CMD's own,\n\
             or 128+n if signal n ended it; 126 or 127 if it cannot be run; 4 if zctrace itself failed, and then CMD was not\n\
             started; without CMD 0.\n\n{HOW_CMD_RUNS}\n\n{}",
            filter::HELP
        ))
}

/// What can be watched.
pub(super) fn targets() -> [Arg; 3] {
    [
        command_to_run(),
        Arg::new("pid")
            .short('p')
            .long("pid")
            .value_name("PID")
            .value_parser(value_parser!(u32).range(1..))
            .value_delimiter(',')
            .action(ArgAction::Append)
            .help("Processes that run already, and their descendants"),
        Arg::new("cgroup")
            .long("cgroup")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help("The processes of a control group, such as /system.slice/nginx.service"),
    ]
}

/// Only one of it.
pub(super) fn one_target() -> ArgGroup {
    ArgGroup::new("target").args(["command", "pid", "cgroup"])
}

/// How a command runs: what differs from running it by hand, and what does not.
pub(super) const HOW_CMD_RUNS: &str = "\
CMD runs as the user who called sudo, else as the current one, or as --user NAME: with that user's groups, HOME, USER,
LOGNAME and SHELL; its directory, terminal and other environment stay. sudo sets a PATH of its own, so a CMD that is not
found in it is looked for in that user's ~/.cargo/bin and ~/.local/bin, and it is said if it was found there.
Signals are passed on to CMD; zctrace stays for the report. A second Ctrl-C within 2 s leaves CMD alone and ends at once.
With --duration CMD gets SIGTERM when time is up, and SIGKILL 10 s later; ending by these counts as success.
CMD's output and the report share standard output; -o keeps them apart.";

fn command_to_run() -> Arg {
    Arg::new("command")
        .value_name("CMD")
        .value_parser(value_parser!(OsString))
        .num_args(1..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true)
        .help("The command to run, with its arguments; best after `--`")
}

/// What `run` and `assert` can be told of a command.
pub(super) fn of_a_command() -> [Arg; 5] {
    [
        Arg::new("user")
            .long("user")
            .value_name("NAME")
            .help("Run CMD as this user [default: who called sudo, else the current one]"),
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
                "full: every page of every call. digest: what is sent over TCP, by sums over its pages, at a small part of the\n\
                 cost and at none for other programs. counters: bytes sent over TCP, without what became of them [default: full]",
            ),
        Arg::new("duration")
            .long("duration")
            .value_name("T")
            .value_parser(values::time)
            .help("Trace no longer than this: 10s, 500ms, 2m"),
        super::health::btf(
            "Take the kernel's types from here, if it does not tell them itself; the selftest must pass with them",
        ),
    ]
}

/// What every report can be told.
pub(super) fn of_an_answer(formats: &'static str) -> [Arg; 3] {
    [
        Arg::new("format")
            .long("format")
            .value_name("FORMAT")
            .value_parser(Format::WORDS)
            .hide_possible_values(true)
            .help(format!("How to say it: {formats} [default: text]")),
        Arg::new("output")
            .short('o')
            .long("output")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Write the report there [default: standard output]"),
        Arg::new("rows")
            .long("rows")
            .value_name("N")
            .value_parser(value_parser!(u64).range(2..=1_000_000))
            .help("Fold like flows into at most so many rows [default: 30]"),
    ]
}

/// What the viewer can be told.
pub(super) fn of_the_viewer() -> [Arg; 4] {
    [
        Arg::new("theme")
            .long("theme")
            .value_name("NAME")
            .value_parser(THEMES)
            .hide_possible_values(true)
            .help(format!("Colours of the live view: {}", THEMES.join(", "))),
        Arg::new("ascii")
            .long("ascii")
            .action(ArgAction::SetTrue)
            .help("Only ASCII in the live view"),
        Arg::new("mouse")
            .long("mouse")
            .action(ArgAction::SetTrue)
            .help("Listen to the mouse in the live view"),
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Settings and keys of the live view [default: ~/.config/zctrace/config.toml]"),
    ]
}

pub(super) fn filter() -> Arg {
    Arg::new("filter")
        .long("filter")
        .value_name("FILTER")
        .value_parser(|text: &str| Filter::parse(text).map_err(|mistake| mistake.to_string()))
        .help("Tell only of the flows that fit, such as 'to=tcp::443 and copied>0'; totals are of those")
}

pub(super) fn assert() -> Command {
    Command::new("assert")
        .about("Run a command, and fail if more was copied on the way to some ends than is allowed")
        .override_usage("zctrace assert --to KIND[:GLOB],… --max-copied BYTES|PERCENT [OPTIONS] [--] CMD…")
        .arg(command_to_run().required(true))
        .arg(ends("to", "Judge the bytes that arrive at these ends, from wherever they come").required(true))
        .arg(ends("from", "Judge only bytes that come from these ends"))
        .arg(limit("max-copied", "How much may be copied: 0, 64K, 1%. Looks count as copies"))
        .arg(limit(
            "max-unknown",
            "How much may be unknown [default: none that could decide the verdict]",
        ))
        .arg(
            Arg::new("min-bytes")
                .long("min-bytes")
                .value_name("BYTES")
                .value_parser(values::bytes)
                .help("How much must arrive for there to be something to judge [default: 1]"),
        )
        .arg(file("baseline", "Compare with a good run; without --max-copied more copies than there fail"))
        .arg(file("save-baseline", "Write what this run copied, to compare later runs with"))
        .arg(
            Arg::new("allow")
                .long("allow")
                .value_name("CODE")
                .value_parser(code)
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
        .args(of_a_command())
        .arg(file("record", "Also record all that is seen, for `zctrace report` and `zctrace replay`"))
        .args(of_an_answer("text, or json, or junit (a case for each rule)"))
        .after_help(format!(
            "An end is KIND or KIND:GLOB: file, socket or device, or a single kind such as tcp, unix or direct_file; `*` and `?`\n\
             in GLOB. It is matched with the path or address, and with `:PORT`: --to file:/data/*, --to tcp::80.\n\
             With --level digest only --to tcp can be judged, and looks are not seen.\n\
             Exit codes: 0 held and CMD succeeded, 1 copied, 2 usage, 3 inconclusive (nothing arrived, too much unknown, records\n\
             lost), 4 tracing could not be set up and CMD was not started, 5 CMD failed, 126 or 127 it cannot be run, 128+n\n\
             signal n ended it. Several apply: 4, 5, 1, 3 in that order.\n\n{HOW_CMD_RUNS}"
        ))
}

fn ends(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("KIND[:GLOB]")
        .value_parser(Pattern::parse)
        .value_delimiter(',')
        .action(ArgAction::Append)
        .help(help)
}

fn limit(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("BYTES|PERCENT")
        .value_parser(values::limit)
        .help(help)
}

fn file(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

fn code(text: &str) -> Result<Reason, String> {
    Reason::from_code(text).ok_or_else(|| "there is no such code; `zctrace explain` lists them all".to_owned())
}

pub(super) fn understand_run(asked: &ArgMatches) -> Result<run::Options, clap::Error> {
    let target = target(asked)?;
    let (format, rows) = (format(asked), rows(asked));
    let filter: Filter = asked.get_one("filter").cloned().unwrap_or_default();
    let every = asked.get_one("every").copied();
    if every.is_some() && format == Format::Junit {
        return Err(mistake(
            "--every needs a form that can be said several times: text or json",
        ));
    }
    Ok(run::Options {
        viewer: viewer(asked, &["format", "output", "every"]),
        request: Request {
            times: Times {
                duration: asked.get_one("duration").copied(),
                every,
            },
            // What is folded has given up names that the filter may ask for.
            rows: if filter.is_all() { rows } else { usize::MAX },
            ..request(asked, target, MadeFor::Run)
        },
        format,
        file: asked.get_one("output").cloned(),
        filter,
        rows,
    })
}

/// How the viewer is to look, unless something was said that is for a report.
pub(super) fn viewer(asked: &ArgMatches, for_report: &[&str]) -> Option<Choice> {
    let report = for_report.iter().any(|name| asked.contains_id(name));
    (!report).then(|| Choice {
        theme: asked.get_one("theme").cloned(),
        ascii: asked.get_flag("ascii"),
        mouse: asked.get_flag("mouse"),
        config: asked.get_one("config").cloned(),
    })
}

/// What is to be watched.
pub(super) fn target(asked: &ArgMatches) -> Result<Target, clap::Error> {
    let target = if let Some(command) = asked.get_many::<OsString>("command") {
        Target::Command(command.cloned().collect())
    } else if let Some(pids) = asked.get_many::<u32>("pid") {
        Target::Processes(pids.copied().collect())
    } else if let Some(path) = asked.get_one::<PathBuf>("cgroup") {
        Target::Cgroup(path.clone())
    } else {
        Target::Machine
    };
    if asked.contains_id("user") && !matches!(target, Target::Command(_)) {
        return Err(mistake("--user says as whom CMD runs, and there is no CMD"));
    }
    Ok(target)
}

pub(super) fn understand_assert(asked: &ArgMatches) -> Result<assert::Options, clap::Error> {
    let command: Vec<OsString> = many(asked, "command");
    if command.is_empty() {
        return Err(mistake("there is no command to run"));
    }
    let request = request(asked, Target::Command(command), MadeFor::Assert);
    let to: Vec<Pattern> = many(asked, "to");
    // What is not watched would be taken for what did not happen.
    match request.level {
        Level::Counters => return Err(mistake("--level counters shows nothing that could be judged")),
        Level::Digest if !to.iter().all(Pattern::is_tcp) => {
            return Err(mistake(
                "--level digest watches nothing but what is sent over TCP: take --to tcp",
            ));
        }
        _ => {}
    }
    Ok(assert::Options {
        request,
        terms: Terms {
            to,
            from: many(asked, "from"),
            max_copied: asked.get_one::<Limit>("max-copied").copied(),
            max_unknown: asked.get_one::<Limit>("max-unknown").copied(),
            min_bytes: asked.get_one("min-bytes").copied().unwrap_or(0),
            allow: many(asked, "allow"),
        },
        baseline: asked.get_one("baseline").cloned(),
        save_baseline: asked.get_one("save-baseline").cloned(),
        rows: rows(asked),
        format: format(asked),
        file: asked.get_one("output").cloned(),
    })
}

/// A request that folds nothing.
pub(super) fn request(asked: &ArgMatches, target: Target, made_for: MadeFor) -> Request {
    Request {
        target,
        user: asked.get_one("user").cloned(),
        follow: !asked.get_flag("no-follow"),
        level: match asked.get_one::<String>("level").map(String::as_str) {
            Some("digest") => Level::Digest,
            Some("counters") => Level::Counters,
            _ => Level::Full,
        },
        times: Times {
            duration: asked.get_one("duration").copied(),
            every: None,
        },
        rows: usize::MAX,
        btf: asked.get_one("btf").cloned(),
        made_for,
        record: asked.get_one("record").cloned(),
    }
}

pub(super) fn format(asked: &ArgMatches) -> Format {
    let word = asked.get_one::<String>("format").map(String::as_str);
    word.and_then(Format::parse).unwrap_or(Format::Text)
}

pub(super) fn rows(asked: &ArgMatches) -> usize {
    let rows = asked.get_one("rows").copied();
    rows.map_or(run::ROWS, |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX))
}

fn many<T: Clone + Send + Sync + 'static>(asked: &ArgMatches, name: &str) -> Vec<T> {
    asked.get_many(name).into_iter().flatten().cloned().collect()
}
