//! `doctor`, `selftest` and the version: whether it works here, and what exactly.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::commands::{doctor, selftest};

/// The version, and which eBPF object is inside.
pub(super) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let object = zctrace_probes::probe::object_id();
        let short = object.get(..12).unwrap_or(&object);
        format!("{} (eBPF object {short})", env!("CARGO_PKG_VERSION"))
    });
    &VERSION
}

pub(super) fn doctor() -> Command {
    Command::new("doctor")
        .about("Say whether it can run here, what it costs here, what it cannot see, and what mends that")
        .arg(
            Arg::new("all")
                .long("all")
                .alias("verbose")
                .action(ArgAction::SetTrue)
                .help("Show every row, and what the kernel said of a program that it refused"),
        )
        .arg(json_arg())
        .arg(btf_arg(
            "Look for what is needed in these types, of another kernel say; nothing is loaded then",
        ))
        .after_help(
            "Exit codes: 0 ready, 1 not ready: what is to be mended is said first, 2 usage.\n\
             With privileges it attaches its probes to measure what they cost, for about a second.",
        )
}

pub(super) fn selftest() -> Command {
    Command::new("selftest")
        .about("Make known moves and known copies here, and see whether each is seen as what it is")
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Where its files lie [default: the temporary directory or, if that is on no disk, /var/tmp]"),
        )
        .arg(json_arg())
        .arg(btf_arg("Take the kernel's types from here, and remember nothing"))
        .after_help(
            "Exit codes: 0 nothing failed, 1 something was not seen or was taken for something else, 2 usage, 4 tracing could\n\
             not be set up. The answer is remembered until the next boot, and `run` and `assert` ask for it by themselves.\n\
             The files have no names, so nothing stays behind, however it ends.",
        )
}

/// A file of types.
pub(super) fn btf_arg(help: &'static str) -> Arg {
    Arg::new("btf")
        .long("btf")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

fn json_arg() -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print the answer as JSON, and nothing else")
}

pub(super) fn parse_selftest(matches: &ArgMatches) -> selftest::Options {
    selftest::Options {
        dir: matches.get_one("dir").cloned(),
        json: matches.get_flag("json"),
        btf: matches.get_one("btf").cloned(),
    }
}

pub(super) fn parse_doctor(matches: &ArgMatches) -> doctor::Options {
    doctor::Options {
        all: matches.get_flag("all"),
        json: matches.get_flag("json"),
        btf: matches.get_one("btf").cloned(),
    }
}
