//! `demo` and `explain`: definitions and parsing.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::diagnostics::btf_arg;
use crate::commands::demo;
use crate::defaults;
use crate::quantity::parse_bytes;

/// Returns the definition of `demo`.
pub(super) fn demo() -> Command {
    Command::new("demo")
        .about(
            "Send real data through real files and sockets, and show which paths move and which copy (no privileges)",
        )
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Directory of the files; the results hold for its filesystem [default: the temporary directory]"),
        )
        .arg(
            Arg::new("size")
                .long("size")
                .value_name("SIZE")
                .value_parser(parse_size)
                .help("Bytes that each path carries: 64MiB, 10M, 4096 [default: 64MiB]"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print the report as JSON"),
        )
        .arg(
            Arg::new("matrix")
                .long("matrix")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["json", "size"])
                .help("Only ask the oracle which pairs of endpoints share pages on this kernel"),
        )
        .arg(btf_arg(
            "Read the kernel's types from this BTF file, for the kernel's evidence; the selftest must pass with them",
        ))
        .after_help(
            "Exit codes: 0 all passed, 1 content or oracle disagreed, 2 usage, 3 a path could not run here.\n\
             The files have no names, so that nothing is left behind, however it ends.",
        )
}

/// Returns the definition of `explain`.
pub(super) fn explain() -> Command {
    Command::new("explain").about("Explain a reason code, with a hint").arg(
        Arg::new("code")
            .value_name("CODE")
            .action(ArgAction::Append)
            .help("Reason code, such as ZC03; all are listed if none is given"),
    )
}

/// Parses the options of `demo`.
pub(super) fn parse_demo(matches: &ArgMatches) -> demo::Options {
    demo::Options {
        dir: matches.get_one("dir").cloned().unwrap_or_else(std::env::temp_dir),
        size: matches.get_one("size").copied().unwrap_or(defaults::DEMO_SIZE),
        json: matches.get_flag("json"),
        matrix: matches.get_flag("matrix"),
        btf: matches.get_one("btf").cloned(),
    }
}

/// Parses the number of bytes that each path carries.
fn parse_size(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err("the minimum is one byte".to_owned()),
        bytes if bytes > demo::MAX_SIZE => Err("more than 64 GiB".to_owned()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_size_has_a_lower_and_an_upper_limit() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        for text in ["0", "0K", "65G", "x"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
