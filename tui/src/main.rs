//! `zctrace`: which bytes of a Linux program moved without being copied, which were copied, where, and why.

#![forbid(unsafe_code)]

mod cli;
mod demo;
mod exit;
mod explain;
mod screen;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = match cli::parse() {
        cli::Command::Demo(options) => demo::run(&options),
        cli::Command::Explain { codes } => explain::run(&codes),
    };
    ExitCode::from(code)
}
