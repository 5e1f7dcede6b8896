//! `doctor`, `selftest` and the version: definitions and parsing.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::commands::{doctor, selftest};

/// Returns the version, with the ID of the eBPF object.
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
        .about("Check whether tracing works here, what it costs, what it does not cover, and how to fix problems")
        .arg(
            Arg::new("all")
                .long("all")
                .alias("verbose")
                .action(ArgAction::SetTrue)
                .help("Show every row, and the verifier log of a rejected program"),
        )
        .arg(json_arg())
        .arg(btf_arg(
            "Check the types of this BTF file, such as another kernel's, and load nothing",
        ))
        .after_help(
            "Exit codes: 0 ready, 1 not ready: the problems come first, 2 usage.\n\
             With privileges it attaches the probes for about a second to measure their cost.",
        )
}

pub(super) fn selftest() -> Command {
    Command::new("selftest")
        .about("Perform known moves and known copies here, and check how each is classified")
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Directory of its files [default: the temporary directory or, if that is not on a disk, /var/tmp]"),
        )
        .arg(json_arg())
        .arg(btf_arg("Read the kernel's types from this BTF file, and store no result"))
        .after_help(
            "Exit codes: 0 nothing failed, 1 something was not observed or was misclassified, 2 usage, 4 tracing could not be\n\
             set up. The result is stored until the next boot, and `run` and `assert` run the selftest by themselves.\n\
             The files have no names, so that nothing is left behind, however it ends.",
        )
}

/// Returns the argument of a BTF file.
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
        .help("Print the result as JSON")
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
