//! The tracer interface of the command line. A live trace and a replayed recording implement it.

use std::path::PathBuf;
use std::time::Duration;

use zctrace_report::{Level, Report, Scope, StillRunning};

/// Parameters of a live trace.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Scope that the report states.
    pub(crate) scope: Scope,
    /// Which processes the probes select.
    pub(crate) selector: TargetSelector,
    /// `true` to trace descendants too, both existing and future ones.
    pub(crate) follow: bool,
    /// Level of detail.
    pub(crate) level: Level,
    /// BTF file to use instead of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
}

/// How the eBPF programs select processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TargetSelector {
    /// The given processes, and every process that announces the tracer's cookie, as a command does
    /// that zctrace starts.
    ProcessTrees(Vec<u32>),
    /// The processes of a control group and of its descendants.
    Cgroup(PathBuf),
    /// Every process.
    Machine,
}

/// Why tracing could not be set up, and what the user can do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SetupError {
    /// Cause, as a sentence without its full stop.
    pub(crate) cause: String,
    /// Hint, as a command where there is one.
    pub(crate) hint: String,
}

impl From<&zctrace_probes::probe::SetupError> for SetupError {
    fn from(error: &zctrace_probes::probe::SetupError) -> Self {
        Self {
            cause: error.to_string(),
            hint: error.hint(),
        }
    }
}

/// An attached tracer. Dropping it detaches it. It can be created in one thread and polled in
/// another.
pub(crate) trait Tracer: Send {
    /// Returns the cookie that a command announces just before execve(2) in order to be traced. A
    /// PID would not do, because it can be one of another PID namespace.
    fn cookie(&self) -> u64;

    /// Reads what the kernel has recorded. To be called every 5 ms.
    fn poll(&mut self);

    /// Returns a report of everything known so far, in at most `max_rows` rows.
    fn report(&mut self, max_rows: usize) -> Report;

    /// Returns the traced processes that have not exited. Empty if a control group or the machine
    /// is traced, or a recording is replayed.
    fn running_processes(&self) -> Vec<StillRunning> {
        Vec::new()
    }

    /// Returns the controls of a replayed recording, and `None` for a live trace.
    fn playback(&mut self) -> Option<&mut dyn Playback> {
        None
    }

    /// Detaches, waits at most half a second for data in flight, and returns the last report.
    fn finish(self: Box<Self>, max_rows: usize) -> Report;
}

/// Position and speed of a replay.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct PlaybackState {
    /// Current time in the recording.
    pub(crate) position: Duration,
    /// Length of the recording.
    pub(crate) length: Duration,
    /// Speed, as a multiple of real time.
    pub(crate) speed: f64,
    /// `true` if the replay is paused or at its end.
    pub(crate) paused: bool,
}

/// Command to a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PlayControl {
    /// Pause or continue.
    TogglePause,
    /// Double the speed.
    Faster,
    /// Halve the speed.
    Slower,
    /// Seek back by this much.
    Back(Duration),
    /// Seek ahead by this much.
    Ahead(Duration),
}

/// A replayed recording, as the viewer controls it.
pub(crate) trait Playback {
    /// Executes a command.
    fn control(&mut self, control: PlayControl);

    /// Returns position and speed.
    fn state(&self) -> PlaybackState;

    /// Returns a sentence for the user about the part of the recording that cannot be used, once
    /// that is known.
    fn truncation(&self) -> Option<String>;
}
