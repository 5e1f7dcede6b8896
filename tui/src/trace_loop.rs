//! The trace loop: polls the tracer and forwards signals until the tracee has ended or a stop
//! condition is met.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use signal_hook::consts::SIGINT;
use zctrace_report::{Report, StillRunning};

use crate::child::{CommandStatus, RunningCommand};
use crate::exit_code;
use crate::signals::ReceivedSignal;
use crate::tracee::{Tracee, remove_exited};
use crate::tracer::Tracer;

/// Interval between polls of the tracer. Its buffers are sized for twice that.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A second SIGINT within this time ends the trace at once.
const DOUBLE_INTERRUPT: Duration = Duration::from_secs(2);

/// Time between the SIGTERM that a command gets when time is up and the SIGKILL that follows.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// How long to trace, and how often to report meanwhile.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Schedule {
    /// Longest duration of the trace.
    pub(crate) duration: Option<Duration>,
    /// Interval between interim reports.
    pub(crate) report_interval: Option<Duration>,
    /// How long to trace on after the command has ended while processes that it started run.
    pub(crate) wait: Option<Duration>,
}

/// Why the trace ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StopReason {
    /// The command ended.
    CommandEnded {
        /// Exit code or signal.
        status: CommandStatus,
        /// `true` if the signal that zctrace sent when time was up ended it.
        by_us: bool,
    },
    /// A signal, given here, ended the trace while the command continues to run.
    CommandAbandoned(i32),
    /// The tracee has ended, time is up, or a signal was received. The normal end of a trace
    /// without a command.
    Finished,
}

impl StopReason {
    /// Returns the exit code of a trace that judges nothing: the command's own. A command that was
    /// ended because time was up has succeeded.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::CommandEnded { by_us: false, status } => status.exit_code(),
            Self::CommandEnded { by_us: true, .. } | Self::Finished => exit_code::SUCCESS,
            Self::CommandAbandoned(signal) => exit_code::from_signal(signal as u8),
        }
    }
}

/// Callbacks of the trace loop.
pub(crate) trait Observer {
    /// Receives an interim report when it is due.
    fn on_interim_report(&mut self, report: Report);

    /// Called after every poll.
    fn on_poll(&mut self, tracer: &mut dyn Tracer);

    /// Called when the user interrupts a trace that still waits for the command.
    fn on_waiting_for_command(&mut self);

    /// Called when the command has ended, and the trace goes on because of processes that it
    /// started.
    fn on_waiting_for_processes(&mut self, processes: &[StillRunning]) {
        let _ = processes;
    }

    /// Returns whether to stop, as if time were up.
    fn should_stop(&mut self) -> bool {
        false
    }
}

/// Traces until the tracee has ended or a stop condition is met.
///
/// `signals` returns the signals received since its last call.
pub(crate) fn run(
    tracer: &mut dyn Tracer,
    tracee: &mut Tracee,
    schedule: &Schedule,
    rows: usize,
    signals: &mut dyn FnMut() -> Vec<ReceivedSignal>,
    observer: &mut dyn Observer,
) -> io::Result<StopReason> {
    let start = Instant::now();
    let mut next_interim = schedule.report_interval.map(|interval| start + interval);
    let mut terminated_at: Option<Instant> = None;
    let mut last_interrupt: Option<Instant> = None;
    loop {
        tracer.poll();
        for signal in signals() {
            if let Some(stopped) = handle_signal(signal, tracee, &mut last_interrupt, observer) {
                return Ok(stopped);
            }
        }
        let is_time_up = observer.should_stop() || schedule.duration.is_some_and(|limit| start.elapsed() >= limit);
        match tracee {
            Tracee::Command(command) => {
                if let Some(stopped) = check_command(command, is_time_up, &mut terminated_at)? {
                    let left = schedule.duration.map(|limit| limit.saturating_sub(start.elapsed()));
                    if let Some(longest) = schedule.wait {
                        wait_for_processes(tracer, longest.min(left.unwrap_or(longest)), signals, observer);
                    }
                    return Ok(stopped);
                }
            }
            Tracee::Processes(processes) => {
                remove_exited(processes)?;
                if is_time_up || processes.is_empty() {
                    return Ok(StopReason::Finished);
                }
            }
            Tracee::Unbounded if is_time_up => return Ok(StopReason::Finished),
            Tracee::Unbounded => {}
        }
        if let (Some(next), Some(interval)) = (next_interim, schedule.report_interval)
            && Instant::now() >= next
        {
            observer.on_interim_report(tracer.report(rows));
            // A report that took long delays the next one instead of causing two in a row.
            next_interim = Some((next + interval).max(Instant::now()));
        }
        observer.on_poll(tracer);
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Traces on until no traced process runs, for at most `longest`. Any signal ends the wait.
fn wait_for_processes(
    tracer: &mut dyn Tracer,
    longest: Duration,
    signals: &mut dyn FnMut() -> Vec<ReceivedSignal>,
    observer: &mut dyn Observer,
) {
    let start = Instant::now();
    let mut is_first = true;
    loop {
        tracer.poll();
        let running = tracer.running_processes();
        if running.is_empty() || start.elapsed() >= longest || observer.should_stop() || !signals().is_empty() {
            return;
        }
        if std::mem::take(&mut is_first) {
            observer.on_waiting_for_processes(&running);
        }
        observer.on_poll(tracer);
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns why the trace ends, if the command has ended. Once time is up, sends the command SIGTERM
/// and later SIGKILL; `terminated_at` is the time of the SIGTERM.
fn check_command(
    command: &mut RunningCommand,
    is_time_up: bool,
    terminated_at: &mut Option<Instant>,
) -> io::Result<Option<StopReason>> {
    if let Some(status) = command.status()? {
        let our_signals = [
            CommandStatus::Signaled(Signal::TERM.as_raw() as u8),
            CommandStatus::Signaled(Signal::KILL.as_raw() as u8),
        ];
        let by_us = terminated_at.is_some() && our_signals.contains(&status);
        return Ok(Some(StopReason::CommandEnded { status, by_us }));
    }
    match *terminated_at {
        None if is_time_up => {
            command.send_signal(Signal::TERM);
            *terminated_at = Some(Instant::now());
        }
        Some(since) if since.elapsed() >= KILL_AFTER => command.send_signal(Signal::KILL),
        _ => {}
    }
    Ok(None)
}

/// Handles a signal to zctrace. Returns the reason if the signal ends the trace.
fn handle_signal(
    received: ReceivedSignal,
    tracee: &mut Tracee,
    last_interrupt: &mut Option<Instant>,
    observer: &mut dyn Observer,
) -> Option<StopReason> {
    let Tracee::Command(command) = tracee else {
        return Some(StopReason::Finished);
    };
    if received.signal == SIGINT {
        if last_interrupt.is_some_and(|last| last.elapsed() <= DOUBLE_INTERRUPT) {
            return Some(StopReason::CommandAbandoned(received.signal));
        }
        *last_interrupt = Some(Instant::now());
        observer.on_waiting_for_command();
    }
    // The kernel sends the signals of terminal keys to the whole process group.
    if !received.by_kernel
        && let Some(signal) = Signal::from_named_raw(received.signal)
    {
        command.send_signal(signal);
    }
    None
}
