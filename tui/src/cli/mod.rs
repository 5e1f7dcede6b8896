//! The command line: definitions of the subcommands, and parsing.

mod args;
mod assert;
mod demo_and_explain;
mod diagnostics;
#[cfg(test)]
mod docs;
mod recordings;
mod run;

use std::ffi::OsString;

use clap::ArgMatches;
use clap::error::ErrorKind;

use crate::commands;
use crate::session::Request;
use crate::{exit_code, terminal_io};

/// Parsed command line.
#[derive(Debug)]
pub(crate) enum Command {
    /// `zctrace run`, or its options without the subcommand.
    Run(commands::run::Options),
    /// `zctrace assert`.
    Assert(commands::assert::Options),
    /// `zctrace record`.
    Record(Request),
    /// `zctrace report`.
    Report(commands::report::Options),
    /// `zctrace replay`.
    Replay(commands::replay::Options),
    /// `zctrace demo`.
    Demo(commands::demo::Options),
    /// `zctrace selftest`.
    Selftest(commands::selftest::Options),
    /// `zctrace doctor`.
    Doctor(commands::doctor::Options),
    /// `zctrace explain`.
    Explain {
        /// Codes, as given.
        codes: Vec<String>,
    },
    /// `zctrace` without arguments.
    Default,
}

/// Parses the command line. If it is invalid or asks for help, prints that and exits.
pub(crate) fn parse() -> Command {
    let matches = zctrace().get_matches_from(insert_default_subcommand(std::env::args_os()));
    parse_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Runs `zctrace` without arguments: the live viewer of the whole machine. Without a terminal,
/// prints an overview of the commands.
pub(crate) fn default_command() -> u8 {
    if crate::viewer::is_possible()
        && let Ok(Command::Run(options)) = zctrace()
            .try_get_matches_from(["zctrace", "run"])
            .and_then(|matches| parse_matches(&matches))
    {
        return commands::run::run(&options);
    }
    terminal_io::eprint(
        "the live viewer needs a terminal. Use one of\n\
         \x20 zctrace run --duration 10s -p PID    report the flows of a running program (or: -- CMD)\n\
         \x20 zctrace assert --to socket --max-copied 1% -- CMD    fail if too much is copied\n\
         \x20 zctrace doctor                       check whether tracing works here, and what it costs\n\
         \x20 zctrace demo                         show paths that move and paths that copy, without privileges\n\
         \x20 zctrace --help                       list all commands",
    );
    exit_code::USAGE
}

/// Inserts `run` if the command line starts with one of its options.
fn insert_default_subcommand(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let global_options = ["-h", "--help", "-V", "--version"];
    let is_run_option = |word: &OsString| {
        word.to_str()
            .is_none_or(|word| word.starts_with('-') && !global_options.contains(&word))
    };
    if args.get(1).is_some_and(is_run_option) {
        args.insert(1, "run".into());
    }
    args
}

fn parse_matches(matches: &ArgMatches) -> Result<Command, clap::Error> {
    Ok(match matches.subcommand() {
        Some(("run", matches)) => Command::Run(run::parse(matches)?),
        Some(("assert", matches)) => Command::Assert(assert::parse(matches)?),
        Some(("record", matches)) => Command::Record(recordings::parse_record(matches)?),
        Some(("report", matches)) => Command::Report(recordings::parse_report(matches)),
        Some(("replay", matches)) => Command::Replay(recordings::parse_replay(matches)?),
        Some(("demo", matches)) => Command::Demo(demo_and_explain::parse_demo(matches)),
        Some(("selftest", matches)) => Command::Selftest(diagnostics::parse_selftest(matches)),
        Some(("doctor", matches)) => Command::Doctor(diagnostics::parse_doctor(matches)),
        Some(("explain", matches)) => Command::Explain {
            codes: matches.get_many("code").into_iter().flatten().cloned().collect(),
        },
        // clap accepts no other subcommand.
        _ => Command::Default,
    })
}

/// Returns an error that the parser cannot detect by itself.
fn usage_error(text: &str) -> clap::Error {
    zctrace().error(ErrorKind::ArgumentConflict, text)
}

fn zctrace() -> clap::Command {
    clap::Command::new("zctrace")
        .version(diagnostics::version())
        .about("Show which bytes a Linux program moves without copying, which it copies, where, and why")
        .subcommand(run::command())
        .subcommand(assert::command())
        .subcommand(recordings::record())
        .subcommand(recordings::report())
        .subcommand(recordings::replay())
        .subcommand(demo_and_explain::demo())
        .subcommand(diagnostics::doctor())
        .subcommand(diagnostics::selftest())
        .subcommand(demo_and_explain::explain())
        .after_help(
            "If no subcommand is given, `run` is assumed: zctrace -p PID, zctrace -- CMD.\n\
             zctrace reads addresses and lengths, never contents.",
        )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::render::Format;
    use crate::session::Target;

    fn parsed(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("zctrace")
            .chain(line.split_whitespace())
            .map(OsString::from);
        let matches = zctrace().try_get_matches_from(insert_default_subcommand(words))?;
        parse_matches(&matches)
    }

    #[test]
    fn command_line_definition_is_consistent() {
        zctrace().debug_assert();
    }

    #[test]
    fn run_is_the_default_subcommand() {
        for line in [
            "-p 1",
            "--pid 1",
            "-- true",
            "--cgroup /a",
            "--duration 1s",
            "run true",
            "run -- true",
        ] {
            assert!(matches!(parsed(line), Ok(Command::Run(_))), "{line}");
        }
        assert!(matches!(parsed(""), Ok(Command::Default)));
        assert!(parsed("--help").is_err() && parsed("-V").is_err() && parsed("demoo").is_err());
    }

    #[test]
    fn parses_doctor_and_selftest() {
        let Ok(Command::Doctor(options)) = parsed("doctor --verbose --btf /b") else {
            panic!("a doctor")
        };
        assert!(options.all && !options.json && options.btf.is_some());
        let Ok(Command::Selftest(options)) = parsed("selftest --dir /d --json") else {
            panic!("a selftest")
        };
        assert!(options.json && options.dir.is_some());
        assert!(parsed("doctor x").is_err() && parsed("selftest --all").is_err());
        assert!(diagnostics::version().starts_with(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn command_keeps_its_own_options() {
        let Ok(Command::Run(options)) = parsed("run --no-follow --rows 7 -- ls -l --format json") else {
            panic!("a run");
        };
        assert_eq!(
            options.request.target,
            Target::Command(["ls", "-l", "--format", "json"].map(OsString::from).to_vec())
        );
        assert!(!options.request.follow && options.request.rows == 7 && options.format == Format::Text);
    }

    #[test]
    fn assert_rejects_endpoints_that_the_level_does_not_trace() {
        for (line, is_told) in [
            ("assert --level digest --to tcp,tcp::80 --max-copied 0 true", true),
            ("assert --level digest --to socket --max-copied 0 true", false),
            ("assert --level digest --to tcp,unix --max-copied 0 true", false),
            ("assert --level counters --to tcp --max-copied 0 true", false),
            ("assert --level full --to socket --max-copied 0 true", true),
        ] {
            assert_eq!(parsed(line).is_ok(), is_told, "{line}");
        }
    }

    #[test]
    fn targets_are_mutually_exclusive() {
        let Ok(Command::Run(options)) = parsed("-p 12 -p 13,14") else {
            panic!("a run")
        };
        assert_eq!(options.request.target, Target::Processes(vec![12, 13, 14]));
        let Ok(Command::Run(options)) = parsed("run --duration 1s") else {
            panic!("a run")
        };
        assert_eq!(options.request.target, Target::Machine);
        for line in [
            "-p 1 --cgroup /a",
            "-p 1 -- true",
            "-p 0",
            "-p x",
            "--user root -p 1",
            "run --format xml true",
            "run --every 1s --format junit true",
            "run --rows 0 true",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn parses_record_report_and_replay() {
        let Ok(Command::Record(request)) = parsed("record -p 7") else {
            panic!("a recording")
        };
        assert_eq!(request.record, Some(PathBuf::from("zctrace.zct")));
        let Ok(Command::Record(request)) = parsed("record -o a.zct -- cp -o b") else {
            panic!("a recording")
        };
        assert_eq!(request.record, Some(PathBuf::from("a.zct")));
        let Ok(Command::Run(options)) = parsed("--record a.zct -- true") else {
            panic!("a run")
        };
        assert!(options.request.record.is_some());
        let Ok(Command::Report(options)) = parsed("report a.zct --until 2s --rows 5") else {
            panic!("a report")
        };
        assert_eq!((options.rows, options.until.map(|t| t.as_secs())), (Some(5), Some(2)));
        let Ok(Command::Replay(options)) = parsed("replay a.zct --speed max --from 1s") else {
            panic!("a replay")
        };
        assert_eq!((options.speed, options.report_interval.as_secs()), (None, 1));
        assert!(options.viewer.is_some() && options.filter.is_empty());
        let Ok(Command::Replay(options)) = parsed("replay a.zct --theme light --ascii --filter to=file") else {
            panic!("a replay")
        };
        let choice = options.viewer.expect("a viewer");
        assert!(
            choice.theme.as_deref() == Some("light") && choice.ascii && !choice.mouse && !options.filter.is_empty()
        );
        for line in ["--every 1s", "--format text", "-o b"] {
            let Ok(Command::Replay(options)) = parsed(&format!("replay a.zct {line}")) else {
                panic!("a replay")
            };
            assert_eq!(options.viewer, None, "{line}");
        }
        for line in [
            "report",
            "replay",
            "replay a --format junit",
            "replay a --speed 0",
            "record --user root",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn assert_requires_endpoints_a_limit_and_a_command() {
        let line = "assert --to file,socket --to tcp:1,2:80 --max-copied 1% --allow zc14,ZC90 -- a b";
        // A comma separates endpoints, so that a name with a comma must be written with a `?`.
        assert!(parsed(line).is_err());
        let line = "assert --to file,socket --to tcp:*:80 --max-copied 1% --allow zc14,ZC90 --min-bytes 1K -- a b";
        let Ok(Command::Assert(options)) = parsed(line) else {
            panic!("an assertion")
        };
        assert_eq!(options.criteria.endpoints(), "file, socket, tcp:*:80");
        assert_eq!(options.criteria.allow.len(), 2);
        assert_eq!((options.criteria.min_bytes, options.criteria.max_unknown), (1024, None));
        for line in [
            "assert --max-copied 0 -- a",
            "assert --to file -- a",
            "assert --to file --max-copied 0",
            "assert --to files --max-copied 0 -- a",
            "assert --to file --max-copied 0 --allow ZC999 -- a",
            "assert --to file --max-copied 1x -- a",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert!(parsed("assert --to file --save-baseline b -- a").is_ok());
    }
}
