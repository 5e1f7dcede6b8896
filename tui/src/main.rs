//! `zctrace`: which bytes of a Linux program moved without being copied, which were copied, where,
//! and why.

#![forbid(unsafe_code)]

mod child;
mod cli;
mod commands;
mod defaults;
mod exit_code;
mod filter;
mod live_tracer;
mod output;
mod process_tree;
mod progress;
mod quantity;
mod recorder;
mod render;
mod replay_tracer;
mod session;
mod signals;
mod terminal_io;
mod trace_loop;
mod tracee;
mod tracer;
mod viewer;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == child::REEXEC_ARG) {
        return ExitCode::from(child::exec_main(arguments));
    }
    let code = match cli::parse() {
        cli::Command::Run(options) => commands::run::run(&options),
        cli::Command::Assert(options) => commands::assert::run(&options),
        cli::Command::Record(request) => commands::record::run(&request),
        cli::Command::Report(options) => commands::report::run(&options),
        cli::Command::Replay(options) => commands::replay::run(&options),
        cli::Command::Demo(options) => commands::demo::run(&options),
        cli::Command::Selftest(options) => commands::selftest::run(&options),
        cli::Command::Doctor(options) => commands::doctor::run(&options),
        cli::Command::Explain { codes } => commands::explain::run(&codes),
        cli::Command::Default => cli::default_command(),
    };
    ExitCode::from(code)
}
