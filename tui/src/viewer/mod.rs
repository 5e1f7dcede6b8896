//! The live viewer: shows on a terminal what becomes of the bytes while it happens.
//!
//! ```text
//!             poller.rs ── Arc<Report> ──▶ ┐
//!  (thread: polls the tracer,              │
//!   observes the tracee's end)             ▼
//!  keys, mouse ──▶ keys/ ── Action ──▶ state/ ──▶ rows/, layout.rs ──▶ view/ ──▶ terminal.rs
//!  child_terminal.rs (thread: pty) ──────▶ ┘ Effect ──▶ event_loop.rs ──▶ export.rs, child_terminal.rs, poller.rs
//! ```
//!
//! `event_loop.rs` waits for all of these, passes each event to [`state::State::apply`] as an
//! action, executes the effect, and draws a changed state at most 30 times a second. `state/` has
//! no clock and no terminal. `view/` is a pure function of the state and the size, and changes
//! nothing.
//!
//! [`run()`] shows a live trace and [`replay()`] a recording, which is a tracer too. Whatever can
//! fail fails before the terminal is acquired, and is printed to standard error as usual.

mod backend;
mod child_terminal;
pub(crate) mod config;
mod event_loop;
mod export;
pub(crate) mod keys;
pub(crate) mod layout;
mod poller;
pub(crate) mod rows;
mod signals;
pub(crate) mod state;
mod terminal;
pub(crate) mod theme;
pub(crate) mod view;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;
use zctrace_report::format::printable;

use self::child_terminal::ChildTerminal;
use self::config::{Config, ViewerOptions};
use self::event_loop::{EventLoop, ExitReason};
use self::layout::layout;
use self::poller::{Ended, Poller, PollerRequest, Update};
use self::signals::SignalEvent;
use self::state::{Level, State};
use self::terminal::TerminalGuard;
use crate::filter::Filter;
use crate::session::{self, Request, Session, Target};
use crate::signals::ReceivedSignal;
use crate::tracee::Tracee;
use crate::tracer::Tracer;
use crate::{defaults, exit_code, output, render, terminal_io};

/// Time between a signal that was forwarded to the command and the SIGKILL that follows.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// Lines of the log that are printed again after the terminal was released.
const REPRINTED_LINES: usize = 10;

/// Context of the error that the poller thread cannot be started.
const THREAD_ERROR: &str = "the poller thread cannot be started";

/// Returns whether there is a terminal that can show the viewer.
pub(crate) fn is_possible() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !dumb
}

/// Shows a live trace until the user quits, and returns the exit code.
pub(crate) fn run(request: &Request, options: &ViewerOptions, filter: &Filter) -> u8 {
    exit_code::from_result(run_live(request, options, filter))
}

/// Shows a replayed recording until the user quits, and returns the exit code.
pub(crate) fn replay(recording: Box<dyn Tracer>, options: &ViewerOptions, filter: &Filter) -> u8 {
    exit_code::from_result(run_replay(recording, options, filter))
}

fn print_io_error(context: &str, error: &std::io::Error) -> u8 {
    terminal_io::eprint(&format!("{context}: {error}"));
    exit_code::ERROR
}

fn run_live(request: &Request, options: &ViewerOptions, filter: &Filter) -> Result<u8, u8> {
    let config = load_config(options)?;
    let request = Request {
        rows: poller::SNAPSHOT_ROWS,
        ..request.clone()
    };
    let attached = session::attach(&request)?;
    let mut state = initial_state(&config, filter)?;
    let (terminal, child_end) = match request.target {
        Target::Command(_) => {
            state.pane.running = true;
            state.pane.screen = Some(Arc::new(vt100::Parser::<()>::default().screen().clone()));
            let (terminal, child_end) = ChildTerminal::open(layout(&state).pane.as_size(), attached.uid())
                .map_err(|error| print_io_error("a terminal for CMD cannot be opened", &error))?;
            state.pane.screen = Some(terminal.screen.borrow().clone());
            (Some(terminal), Some(child_end))
        }
        _ => (None, None),
    };
    let session = attached.start(&request, child_end.as_ref().map(AsFd::as_fd))?;
    // Only the command still holds its end of the pty, so that the end of the command is observed.
    drop(child_end);
    let poller = Poller::start(session, Some(request)).map_err(|error| print_io_error(THREAD_ERROR, &error))?;
    show(state, terminal, poller, &config)
}

fn run_replay(mut recording: Box<dyn Tracer>, options: &ViewerOptions, filter: &Filter) -> Result<u8, u8> {
    let config = load_config(options)?;
    let mut state = initial_state(&config, filter)?;
    state.playback = recording.playback().map(|playback| playback.state());
    let session = Session {
        tracer: recording,
        tracee: Tracee::Unbounded,
        identities: Vec::new(),
        recorder: None,
    };
    let poller = Poller::start(session, None).map_err(|error| print_io_error(THREAD_ERROR, &error))?;
    show(state, None, poller, &config)
}

fn load_config(options: &ViewerOptions) -> Result<Config, u8> {
    config::load(options).map_err(|error| {
        terminal_io::eprint(&error);
        exit_code::USAGE
    })
}

/// Returns the state before the first report. Also installs the panic hook, which releases the
/// terminal.
fn initial_state(config: &Config, filter: &Filter) -> Result<State, u8> {
    terminal::install_panic_hook();
    let size = terminal::size().map_err(|error| print_io_error("the terminal has no size", &error))?;
    let keys = Arc::new(config.keys.clone());
    let mut state = State::new(keys, config.appearance, size);
    state.filter_by(&filter.to_string());
    Ok(state)
}

/// Acquires the terminal, runs the event loop, releases the terminal, and waits for the end of the
/// trace. Returns the exit code.
fn show(state: State, child_terminal: Option<ChildTerminal>, poller: Poller, config: &Config) -> Result<u8, u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| print_io_error("the viewer cannot be started", &error))?;
    // Signals are caught before the terminal is acquired, so that it is released after any signal.
    let signals = {
        let _context = runtime.enter();
        signals::Signals::catch().map_err(|error| print_io_error("signals cannot be caught", &error))?
    };
    let (guard, stderr) = TerminalGuard::acquire(config.mouse)
        .map_err(|error| print_io_error("the terminal cannot be set up", &error))?;
    let mut event_loop = EventLoop {
        state,
        poller: &poller,
        child_terminal,
        fps: config.fps,
        guard: &guard,
        started: Instant::now(),
        truncation: None,
    };
    let exit_reason = runtime.block_on(event_loop.run(signals, stderr));
    let state = event_loop.state;
    drop(guard);

    reprint_log(&state);
    let exit_reason = exit_reason.unwrap_or_else(|error| {
        terminal_io::eprint(&format!("the terminal failed: {error}"));
        ExitReason::Hangup
    });
    let update = runtime.block_on(wait_for_end(poller, exit_reason, state.pane.running));
    Ok(print_result(exit_reason, &update))
}

/// Prints the last warnings and errors of the log again, for a user who did not open the log.
fn reprint_log(state: &State) {
    let lines: Vec<_> = state.log.lines().filter(|line| line.level > Level::Note).collect();
    let skipped = lines.len().saturating_sub(REPRINTED_LINES);
    if skipped > 0 {
        terminal_io::eprint(&format!("{skipped} earlier lines of the log are not repeated"));
    }
    for line in &lines[skipped..] {
        terminal_io::eprint(&printable(&line.text));
    }
}

/// Ends the trace and, before it, the command if there is one. Returns the last update.
async fn wait_for_end(poller: Poller, exit_reason: ExitReason, command_runs: bool) -> Update {
    let mut updates = poller.updates.clone();
    if updates.borrow().ended.is_none() {
        match exit_reason {
            ExitReason::Signal(signal) => poller.send(PollerRequest::Signal(signal)),
            ExitReason::Quit { .. } | ExitReason::Hangup => poller.send(PollerRequest::Stop),
        }
        if command_runs && matches!(exit_reason, ExitReason::Quit { .. }) {
            terminal_io::eprint("waiting for the command to end; Ctrl-C ends it at once");
        }
        let kill = PollerRequest::Signal(ReceivedSignal {
            signal: Signal::KILL.as_raw(),
            by_kernel: false,
        });
        let mut signals = signals::Signals::catch().ok();
        let timeout = tokio::time::sleep(KILL_AFTER);
        tokio::pin!(timeout);
        loop {
            tokio::select! {
                ended = updates.wait_for(|update| update.ended.is_some()) => {
                    let _ = ended;
                    break;
                }
                event = next_signal(&mut signals) => {
                    if let SignalEvent::End(_) = event {
                        poller.send(kill);
                    }
                }
                () = &mut timeout, if !timeout.is_elapsed() => poller.send(kill),
            }
        }
    }
    poller.join()
}

/// Waits for the next signal; forever if signals cannot be caught.
async fn next_signal(signals: &mut Option<signals::Signals>) -> SignalEvent {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Prints the errors and, if requested, the report. Returns the exit code.
fn print_result(exit_reason: ExitReason, update: &Update) -> u8 {
    let code = match &update.ended {
        Some(Ended::Stopped(stop_reason)) => stop_reason.exit_code(),
        Some(Ended::Failed(error)) => {
            terminal_io::eprint(error);
            exit_code::ERROR
        }
        None => exit_code::ERROR,
    };
    let code = match &update.truncation {
        Some(truncation) => {
            terminal_io::eprint(truncation);
            if code == exit_code::SUCCESS {
                exit_code::INCONCLUSIVE
            } else {
                code
            }
        }
        None => code,
    };
    // A failed recording is an error, whatever the exit code of the command.
    let code = match &update.recorded {
        Some(Err(error)) => {
            terminal_io::eprint(error);
            exit_code::ERROR
        }
        _ => code,
    };
    match &update.report {
        Some(report) if exit_reason == (ExitReason::Quit { print: true }) => {
            let mut report = report.as_ref().clone();
            report.fold(defaults::REPORT_ROWS);
            report.summarize();
            output::note_violations(&mut report);
            output::print_screen(&render::report_text(&report), code)
        }
        _ => code,
    }
}
