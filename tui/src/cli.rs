//! The command line: what can be asked, and how it is written.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::demo;

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// `zctrace demo`.
    Demo(demo::Options),
    /// `zctrace explain`.
    Explain {
        /// The codes, as given.
        codes: Vec<String>,
    },
}

/// Reads the command line. If it makes no sense, or asks for help, this says so and ends the program.
pub(crate) fn parse() -> Command {
    understand(&zctrace().get_matches())
}

fn understand(matches: &ArgMatches) -> Command {
    if let Some(asked) = matches.subcommand_matches("demo") {
        return Command::Demo(demo::Options {
            dir: asked.get_one("dir").cloned().unwrap_or_else(std::env::temp_dir),
            size: asked.get_one("size").copied().unwrap_or(demo::DEFAULT_SIZE),
            json: asked.get_flag("json"),
            matrix: asked.get_flag("matrix"),
        });
    }
    // The parser accepts no third one, and none at all is an error of its own.
    let asked = matches.subcommand_matches("explain");
    let codes = asked.and_then(|asked| asked.get_many("code")).into_iter().flatten();
    Command::Explain {
        codes: codes.cloned().collect(),
    }
}

fn zctrace() -> clap::Command {
    clap::Command::new("zctrace")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Which bytes of a Linux program moved without being copied, which were copied, where, and why")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(demo())
        .subcommand(explain())
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

/// A number of bytes: digits, and K, M or G for binary units, with or without `iB`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "a size is a number and a unit, such as 64MiB".to_owned())?;
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(format!("`{unit}` is no unit; take KiB, MiB or GiB, or none for bytes")),
    };
    let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes <= demo::MOST);
    match bytes {
        Some(0) => Err("nothing cannot be moved; take one byte at least".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("that is more than 64 GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_made_without_contradictions() {
        zctrace().debug_assert();
    }

    #[test]
    fn sizes_are_read_in_binary_units() {
        for (text, bytes) in [
            ("4096", 4096),
            ("1", 1),
            ("10M", 10 << 20),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1g", 1 << 30),
            ("5000b", 5000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5M",
            "64MB",
            "0",
            "0K",
            "99999999999G",
            "18446744073709551616",
            "7 x",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
