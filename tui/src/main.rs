//! `zctrace`: which bytes of a Linux program moved without being copied, which were copied, where, and why.

#![forbid(unsafe_code)]

mod assert;
mod cli;
mod command;
mod demo;
mod doctor;
mod exit;
mod explain;
mod filter;
mod output;
mod progress;
mod record;
mod replay;
mod run;
mod saved;
mod screen;
mod screens;
mod selftest;
mod session;
mod signals;
mod trace;
mod viewer;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == command::WORD) {
        return ExitCode::from(command::start(arguments));
    }
    let code = match cli::parse() {
        cli::Command::Run(options) => run::run(&options),
        cli::Command::Assert(options) => assert::run(&options),
        cli::Command::Record(request) => record::run(&request),
        cli::Command::Report(options) => saved::run(&options),
        cli::Command::Replay(options) => replay::run(&options),
        cli::Command::Demo(options) => demo::run(&options),
        cli::Command::Selftest(options) => selftest::run(&options),
        cli::Command::Doctor(options) => doctor::run(&options),
        cli::Command::Explain { codes } => explain::run(&codes),
        cli::Command::Nothing => cli::nothing(),
    };
    ExitCode::from(code)
}
