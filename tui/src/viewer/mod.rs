//! The live viewer: what becomes of the bytes, on a terminal, while it happens.
//!
//! ```text
//!             feed.rs ── Arc<Report> ──▶ ┐
//!  (thread: polls the tracer,            │
//!   watches what is traced)              ▼
//!  keys, mouse ──▶ keys/ ── Action ──▶ state/ ──▶ rows.rs, layout.rs ──▶ view/ ──▶ terminal.rs
//!  pane.rs (thread: CMD's pty) ────────▶ ┘ Effect ──▶ event_loop.rs ──▶ export.rs, pane.rs, feed.rs
//! ```
//!
//! `event_loop.rs` waits for all of this, gives it to [`state::State::apply`] as an action, does what the effect says, and
//! has the state drawn if it changed, 30 times a second at most. `state/` has no clock and no terminal; `view/` is a pure
//! function of the state and the size and changes nothing.
//!
//! [`run()`] is called by `run.rs` where a person sits at a terminal, and [`replay()`] by `replay.rs`: a recording that plays is
//! a tracer, too. What can fail fails before the terminal is taken, and is told on standard error as ever.

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
use zctrace_report::text::printable;

use self::child_terminal::Pane;
use self::config::{Config, ViewerOptions};
use self::event_loop::{Left, Loop};
use self::layout::layout;
use self::poller::{End, Feed, News, Order};
use self::signals::Heard;
use self::state::{Level, State};
use self::terminal::Guard;
use crate::filter::Filter;
use crate::session::{self, Request, Session, Target};
use crate::signals::ReceivedSignal;
use crate::tracee::Tracee;
use crate::tracer::Tracer;
use crate::{defaults, exit_code, output, render, terminal_io};

/// A command that was passed a signal gets this long to end, as one whose time is up.
const GRACE: Duration = Duration::from_secs(10);

/// Lines of the log that are told again when the screen is gone.
const LAST_LINES: usize = 10;

/// Whether there is a terminal that can show it.
pub(crate) fn is_possible() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !dumb
}

/// Shows it until it is left, and returns the exit code.
pub(crate) fn run(request: &Request, choice: &ViewerOptions, filter: &Filter) -> u8 {
    exit_code::from_result(live(request, choice, filter))
}

/// Shows a recording that plays until it is left, and returns the exit code.
pub(crate) fn replay(recording: Box<dyn Tracer>, choice: &ViewerOptions, filter: &Filter) -> u8 {
    exit_code::from_result(played(recording, choice, filter))
}

fn failed(what: &str, error: &std::io::Error) -> u8 {
    terminal_io::eprint(&format!("{what}: {error}"));
    exit_code::ERROR
}

fn live(request: &Request, choice: &ViewerOptions, filter: &Filter) -> Result<u8, u8> {
    let config = load(choice)?;
    let request = Request {
        rows: poller::ROWS,
        ..request.clone()
    };
    let prepared = session::attach(&request)?;
    let mut state = begin(&config, filter)?;
    let (pane, theirs) = match request.target {
        Target::Command(_) => {
            state.pane.running = true;
            state.pane.screen = Some(Arc::new(vt100::Parser::<()>::default().screen().clone()));
            let (pane, theirs) = Pane::open(layout(&state).pane.as_size(), prepared.uid())
                .map_err(|error| failed("a terminal for CMD cannot be opened", &error))?;
            state.pane.screen = Some(pane.screen.borrow().clone());
            (Some(pane), Some(theirs))
        }
        _ => (None, None),
    };
    let begun = prepared.start(&request, theirs.as_ref().map(AsFd::as_fd))?;
    // From here on only CMD holds it, so that its end is seen.
    drop(theirs);
    let feed = Feed::start(begun, Some(request)).map_err(|error| failed(NO_THREAD, &error))?;
    show(state, pane, feed, &config)
}

fn played(mut recording: Box<dyn Tracer>, choice: &ViewerOptions, filter: &Filter) -> Result<u8, u8> {
    let config = load(choice)?;
    let mut state = begin(&config, filter)?;
    state.playback = recording.playback().map(|playback| playback.state());
    let begun = Session {
        tracer: recording,
        tracee: Tracee::Unbounded,
        identities: Vec::new(),
        recorder: None,
    };
    let feed = Feed::start(begun, None).map_err(|error| failed(NO_THREAD, &error))?;
    show(state, None, feed, &config)
}

const NO_THREAD: &str = "the thread that watches cannot be started";

fn load(choice: &ViewerOptions) -> Result<Config, u8> {
    config::load(choice).map_err(|why| {
        terminal_io::eprint(&why);
        exit_code::USAGE
    })
}

/// What is known before anything was reported. From here on a panic gives the terminal back.
fn begin(config: &Config, filter: &Filter) -> Result<State, u8> {
    terminal::catch_panics();
    let size = terminal::size().map_err(|error| failed("the terminal has no size", &error))?;
    let keys = Arc::new(config.keys.clone());
    let mut state = State::new(keys, config.appearance, size);
    state.filter_by(&filter.to_string());
    Ok(state)
}

/// Takes the terminal, and gives it back when it is left.
fn show(state: State, pane: Option<Pane>, feed: Feed, config: &Config) -> Result<u8, u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("the viewer cannot be started", &error))?;
    // Before the terminal is taken: what comes from here on must find it given back.
    let caught = {
        let _within = runtime.enter();
        signals::Signals::catch().map_err(|error| failed("signals cannot be caught", &error))?
    };
    let (guard, stderr) = Guard::take(config.mouse).map_err(|error| failed("the terminal cannot be taken", &error))?;
    let mut events = Loop {
        state,
        feed: &feed,
        pane,
        fps: config.fps,
        guard: &guard,
        started: Instant::now(),
        cut: None,
    };
    let left = runtime.block_on(events.run(caught, stderr));
    let state = events.state;
    drop(guard);

    tell_again(&state);
    let left = left.unwrap_or_else(|error| {
        terminal_io::eprint(&format!("the terminal failed: {error}"));
        Left::Hangup
    });
    let news = runtime.block_on(end(feed, left, state.pane.running));
    Ok(answer(left, &news))
}

/// Says what was said in the log, for who did not look: warnings and errors, the last of them.
fn tell_again(state: &State) {
    let said: Vec<_> = state.log.lines().filter(|line| line.level > Level::Note).collect();
    let skipped = said.len().saturating_sub(LAST_LINES);
    if skipped > 0 {
        terminal_io::eprint(&format!("{skipped} earlier lines of the log are not told again"));
    }
    for line in &said[skipped..] {
        terminal_io::eprint(&printable(&line.text));
    }
}

/// Ends watching, once CMD has ended if there is one.
async fn end(feed: Feed, left: Left, command_runs: bool) -> News {
    let mut news = feed.news.clone();
    if news.borrow().ended.is_none() {
        match left {
            Left::Signal(caught) => feed.order(Order::Signal(caught)),
            Left::Asked { .. } | Left::Hangup => feed.order(Order::Enough),
        }
        if command_runs && matches!(left, Left::Asked { .. }) {
            terminal_io::eprint("waiting for the command to end; Ctrl-C ends it at once");
        }
        let kill = Order::Signal(ReceivedSignal {
            signal: Signal::KILL.as_raw(),
            by_kernel: false,
        });
        let mut signals = signals::Signals::catch().ok();
        let late = tokio::time::sleep(GRACE);
        tokio::pin!(late);
        loop {
            tokio::select! {
                ended = news.wait_for(|news| news.ended.is_some()) => {
                    let _ = ended;
                    break;
                }
                heard = async { match &mut signals { Some(signals) => signals.next().await, None => std::future::pending().await } } => {
                    if let Heard::End(_) = heard {
                        feed.order(kill);
                    }
                }
                () = &mut late, if !late.is_elapsed() => feed.order(kill),
            }
        }
    }
    feed.join()
}

/// Prints what is to be printed, and says the exit code.
fn answer(left: Left, news: &News) -> u8 {
    let code = match &news.ended {
        Some(End::Stopped(stopped)) => stopped.exit_code(),
        Some(End::Failed(why)) => {
            terminal_io::eprint(why);
            exit_code::ERROR
        }
        None => exit_code::ERROR,
    };
    let code = match &news.cut {
        Some(cut) => {
            terminal_io::eprint(cut);
            if code == exit_code::SUCCESS {
                exit_code::INCONCLUSIVE
            } else {
                code
            }
        }
        None => code,
    };
    // What was asked for besides and did not come about is a failure, whatever CMD's code.
    let code = match &news.recorded {
        Some(Err(why)) => {
            terminal_io::eprint(why);
            exit_code::ERROR
        }
        _ => code,
    };
    match &news.report {
        Some(report) if left == (Left::Asked { print: true }) => {
            if let Err(code) = output::check(report) {
                return code;
            }
            let mut report = report.as_ref().clone();
            report.fold(defaults::REPORT_ROWS);
            report.summarize();
            output::print_screen(&render::report_text(&report), code)
        }
        _ => code,
    }
}
