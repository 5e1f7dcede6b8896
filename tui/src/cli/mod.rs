//! The command line: what can be asked, and how it is written.

#[cfg(test)]
mod docs;
mod health;
mod record;
mod trace;
pub(crate) mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::session::Request;
use crate::{assert, demo, doctor, exit, replay, run, saved, screen, selftest};

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// `zctrace run`, or its options without the word.
    Run(run::Options),
    /// `zctrace assert`.
    Assert(assert::Options),
    /// `zctrace record`.
    Record(Request),
    /// `zctrace report`.
    Report(saved::Options),
    /// `zctrace replay`.
    Replay(replay::Options),
    /// `zctrace demo`.
    Demo(demo::Options),
    /// `zctrace selftest`.
    Selftest(selftest::Options),
    /// `zctrace doctor`.
    Doctor(doctor::Options),
    /// `zctrace explain`.
    Explain {
        /// The codes, as given.
        codes: Vec<String>,
    },
    /// `zctrace` alone.
    Nothing,
}

/// Reads the command line. If it makes no sense, or asks for help, this says so and ends the program.
pub(crate) fn parse() -> Command {
    let matches = zctrace().get_matches_from(with_run(std::env::args_os()));
    understand(&matches).unwrap_or_else(|error| error.exit())
}

/// `zctrace` alone: the live viewer of the whole machine. Where there is no terminal, says what there is instead.
pub(crate) fn nothing() -> u8 {
    if crate::viewer::possible()
        && let Ok(Command::Run(options)) = zctrace()
            .try_get_matches_from(["zctrace", "run"])
            .and_then(|matches| understand(&matches))
    {
        return run::run(&options);
    }
    screen::complain(
        "the live viewer needs a terminal. Use one of\n\
         \x20 zctrace run --duration 10s -p PID    what became of the bytes of a program that runs (or: -- CMD)\n\
         \x20 zctrace assert --to socket --max-copied 1% -- CMD    the same as a test\n\
         \x20 zctrace doctor                       whether it can run here, and what it costs\n\
         \x20 zctrace demo                         real data over real files and sockets, without privileges\n\
         \x20 zctrace --help                       all there is",
    );
    exit::USAGE
}

/// The words of a command line, with `run` where its options stand without it.
fn with_run(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let about_zctrace = ["-h", "--help", "-V", "--version"];
    let option = |word: &OsString| {
        word.to_str()
            .is_none_or(|word| word.starts_with('-') && !about_zctrace.contains(&word))
    };
    if words.get(1).is_some_and(option) {
        words.insert(1, "run".into());
    }
    words
}

fn understand(matches: &ArgMatches) -> Result<Command, clap::Error> {
    Ok(match matches.subcommand() {
        Some(("run", asked)) => Command::Run(trace::understand_run(asked)?),
        Some(("assert", asked)) => Command::Assert(trace::understand_assert(asked)?),
        Some(("record", asked)) => Command::Record(record::understand_record(asked)?),
        Some(("report", asked)) => Command::Report(record::understand_report(asked)),
        Some(("replay", asked)) => Command::Replay(record::understand_replay(asked)?),
        Some(("demo", asked)) => Command::Demo(demo::Options {
            dir: asked.get_one("dir").cloned().unwrap_or_else(std::env::temp_dir),
            size: asked.get_one("size").copied().unwrap_or(demo::DEFAULT_SIZE),
            json: asked.get_flag("json"),
            matrix: asked.get_flag("matrix"),
            btf: asked.get_one("btf").cloned(),
        }),
        Some(("selftest", asked)) => Command::Selftest(health::understand_selftest(asked)),
        Some(("doctor", asked)) => Command::Doctor(health::understand_doctor(asked)),
        Some(("explain", asked)) => Command::Explain {
            codes: asked.get_many("code").into_iter().flatten().cloned().collect(),
        },
        // The parser accepts no other.
        _ => Command::Nothing,
    })
}

/// A mistake that the parser cannot see by itself.
fn mistake(text: &str) -> clap::Error {
    zctrace().error(ErrorKind::ArgumentConflict, text)
}

fn zctrace() -> clap::Command {
    clap::Command::new("zctrace")
        .version(health::version())
        .about("Which bytes of a Linux program moved without being copied, which were copied, where, and why")
        .subcommand(trace::run())
        .subcommand(trace::assert())
        .subcommand(record::record())
        .subcommand(record::report())
        .subcommand(record::replay())
        .subcommand(demo())
        .subcommand(health::doctor())
        .subcommand(health::selftest())
        .subcommand(explain())
        .after_help(
            "`run` is what is meant where its options stand alone: zctrace -p PID, zctrace -- CMD.\n\
             zctrace reads addresses and lengths, never contents.",
        )
}

fn demo() -> clap::Command {
    clap::Command::new("demo")
        .about("Move real data over real files and sockets, and show which paths move and which copy (no privileges)")
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help(
                    "Where the files lie; what is shown is true of its filesystem [default: the temporary directory]",
                ),
        )
        .arg(
            Arg::new("size")
                .long("size")
                .value_name("SIZE")
                .value_parser(size)
                .help("What each path carries: 64MiB, 10M, 4096 [default: 64MiB]"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print the report as JSON, and nothing else"),
        )
        .arg(
            Arg::new("matrix")
                .long("matrix")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["json", "size"])
                .help("Only ask the oracle which pairs of ends share pages on this kernel"),
        )
        .arg(health::btf(
            "Take the kernel's types from here, for the kernel's own evidence; the selftest must pass with them",
        ))
        .after_help(
            "Exit codes: 0 all held, 1 content or oracle disagreed, 2 usage, 3 a path could not run here.\n\
             The files have no names, so nothing stays behind, however it ends.",
        )
}

fn explain() -> clap::Command {
    clap::Command::new("explain")
        .about("What a reason code means, and what to do about it")
        .arg(
            Arg::new("code")
                .value_name("CODE")
                .action(ArgAction::Append)
                .help("Such as ZC03; without one all are listed"),
        )
}

/// What each path carries.
fn size(text: &str) -> Result<u64, String> {
    match values::bytes(text)? {
        0 => Err("nothing cannot be moved; take one byte at least".to_owned()),
        bytes if bytes > demo::MOST => Err("that is more than 64 GiB".to_owned()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::session::Target;

    fn parsed(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("zctrace")
            .chain(line.split_whitespace())
            .map(OsString::from);
        let matches = zctrace().try_get_matches_from(with_run(words))?;
        understand(&matches)
    }

    #[test]
    fn the_parser_is_made_without_contradictions() {
        zctrace().debug_assert();
    }

    #[test]
    fn a_demo_carries_something_and_not_everything() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        for text in ["0", "0K", "65G", "x"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn run_is_what_is_meant_where_no_command_is_named() {
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
        assert!(matches!(parsed(""), Ok(Command::Nothing)));
        assert!(parsed("--help").is_err() && parsed("-V").is_err() && parsed("demoo").is_err());
    }

    #[test]
    fn health_is_asked_for_by_name() {
        let Ok(Command::Doctor(options)) = parsed("doctor --verbose --btf /b") else {
            panic!("a doctor")
        };
        assert!(options.all && !options.json && options.btf.is_some());
        let Ok(Command::Selftest(options)) = parsed("selftest --dir /d --json") else {
            panic!("a selftest")
        };
        assert!(options.json && options.dir.is_some());
        assert!(parsed("doctor x").is_err() && parsed("selftest --all").is_err());
        assert!(health::version().starts_with(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn a_command_keeps_its_own_options() {
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
    fn what_a_level_does_not_watch_it_does_not_judge() {
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
    fn targets_are_one_of_several() {
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
    fn a_recording_is_made_shown_and_played() {
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
        assert_eq!((options.speed, options.every.as_secs()), (None, 1));
        assert!(options.viewer.is_some() && options.filter.is_all());
        let Ok(Command::Replay(options)) = parsed("replay a.zct --theme light --ascii --filter to=file") else {
            panic!("a replay")
        };
        let choice = options.viewer.expect("a viewer");
        assert!(choice.theme.as_deref() == Some("light") && choice.ascii && !choice.mouse && !options.filter.is_all());
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
    fn an_assertion_needs_ends_a_limit_and_a_command() {
        let line = "assert --to file,socket --to tcp:1,2:80 --max-copied 1% --allow zc14,ZC90 -- a b";
        // A comma separates, so a name with one must be written with a `?`.
        assert!(parsed(line).is_err());
        let line = "assert --to file,socket --to tcp:*:80 --max-copied 1% --allow zc14,ZC90 --min-bytes 1K -- a b";
        let Ok(Command::Assert(options)) = parsed(line) else {
            panic!("an assertion")
        };
        assert_eq!(options.terms.ends(), "file, socket, tcp:*:80");
        assert_eq!(options.terms.allow.len(), 2);
        assert_eq!((options.terms.min_bytes, options.terms.max_unknown), (1024, None));
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
