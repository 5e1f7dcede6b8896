//! The poller thread: polls the tracer, observes the end of the tracee, and publishes a report a
//! few times a second.
//!
//! Reports go through a channel that keeps only the newest one, so that a screen that is slow to
//! draw shows fewer reports instead of old ones. The tracer is not polled while a report is made,
//! so the longer a report took, the later the next one is made.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use zctrace_report::Report;

use super::rows::FlowKeys;
use super::terminal::panic_if_asked;
use crate::recorder::{Recorder, RecordingProgress};
use crate::session::{Request, Session, set_process_names, stamp};
use crate::signals::ReceivedSignal;
use crate::trace_loop::{self, Observer, StopReason};
use crate::tracee::ProcessIdentity;
use crate::tracer::{PlayControl, Playback, PlaybackState, Tracer};

/// Maximum number of rows in a snapshot. Beyond that, similar flows are folded, and then the
/// smallest ones. Sorting and filtering this many takes a few milliseconds in the thread that
/// draws. A row takes 1 to 2 KiB, and at most four snapshots are kept: 40 MiB.
pub(crate) const SNAPSHOT_ROWS: usize = 5_000;

/// Minimum interval between two reports.
const MIN_INTERVAL: Duration = Duration::from_millis(200);

/// Making reports takes at most one part in this many of the thread's time.
const MAX_SHARE: u32 = 10;

/// Everything that the thread publishes. Readers see the newest value only.
#[derive(Clone, Default, Debug)]
pub(crate) struct Update {
    /// The newest report.
    pub(crate) report: Option<Arc<Report>>,
    /// Row keys of its flows, computed here because that takes time.
    pub(crate) keys: Option<Arc<FlowKeys>>,
    /// Position and speed of a replay.
    pub(crate) playback: Option<PlaybackState>,
    /// Sentence about the part of a replayed recording that cannot be used.
    pub(crate) truncation: Option<String>,
    /// Progress of a recording that is being made.
    pub(crate) recording: Option<RecordingProgress>,
    /// Result of that recording: size of the file in bytes, or why it ended early.
    pub(crate) recorded: Option<Result<u64, String>>,
    /// How the trace ended. The report is then the last one.
    pub(crate) ended: Option<Ended>,
    /// First rule of the report format that the report violates, if any.
    pub(crate) violation: Option<String>,
    /// `true` if the command was asked to end and has not ended.
    pub(crate) waiting: bool,
}

/// How the trace ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// Normally.
    Stopped(StopReason),
    /// With this error.
    Failed(String),
}

/// Request to the thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PollerRequest {
    /// Forward a signal to the command, if there is one.
    Signal(ReceivedSignal),
    /// Stop: ask the command to end, and kill it if it does not.
    Stop,
    /// Control a replay.
    Play(PlayControl),
}

/// Handle of the thread.
#[derive(Debug)]
pub(crate) struct Poller {
    /// Receiver of the updates.
    pub(crate) updates: watch::Receiver<Update>,
    requests: mpsc::Sender<PollerRequest>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    /// Starts the thread. `request` is `None` for a replay, whose reports are already stamped.
    pub(crate) fn start(session: Session, request: Option<Request>) -> io::Result<Self> {
        let (sender, updates) = watch::channel(Update::default());
        let (requests, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("poller".to_owned())
            .spawn(move || poll_loop(session, request.as_ref(), &sender, &received))?;
        Ok(Self {
            updates,
            requests,
            thread: Some(thread),
        })
    }

    /// Sends a request. A thread that has ended ignores it.
    pub(crate) fn send(&self, request: PollerRequest) {
        let _ = self.requests.send(request);
    }

    /// Waits until the thread has detached the probes, and returns the last update.
    ///
    /// The trace must have ended, or [`PollerRequest::Stop`] must have been sent.
    pub(crate) fn join(mut self) -> Update {
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has already ended the program.
            let _ = thread.join();
        }
        self.updates.borrow().clone()
    }
}

/// Requests that were received and are not handled yet.
#[derive(Default)]
struct PendingRequests {
    signals: Vec<ReceivedSignal>,
    controls: Vec<PlayControl>,
    stop: bool,
}

/// Runs the trace loop until the trace has ended.
fn poll_loop(
    session: Session,
    request: Option<&Request>,
    updates: &watch::Sender<Update>,
    received: &mpsc::Receiver<PollerRequest>,
) {
    let Session {
        mut tracer,
        mut tracee,
        identities,
        recorder,
    } = session;
    let pending = RefCell::new(PendingRequests::default());
    let mut signals = || {
        let mut pending = pending.borrow_mut();
        for request in received.try_iter() {
            match request {
                PollerRequest::Signal(signal) => pending.signals.push(signal),
                PollerRequest::Stop => pending.stop = true,
                PollerRequest::Play(control) => pending.controls.push(control),
            }
        }
        std::mem::take(&mut pending.signals)
    };
    let mut publisher = Publisher {
        request,
        updates,
        pending: &pending,
        identities,
        recorder,
        next: Instant::now(),
    };
    let schedule = request.map(|request| request.schedule).unwrap_or_default();
    let result = trace_loop::run(
        tracer.as_mut(),
        &mut tracee,
        &schedule,
        SNAPSHOT_ROWS,
        &mut signals,
        &mut publisher,
    );
    let ended = match result {
        Ok(stop_reason) => Ended::Stopped(stop_reason),
        Err(error) => Ended::Failed(format!("tracing failed: {error}")),
    };
    let playback = tracer.playback().map(|playback| PlaybackUpdate::new(playback));
    let report = tracer.finish(SNAPSHOT_ROWS);
    // The finished tracer has handed over the last of its records.
    publisher.finish_recording();
    publisher.publish(report, Some(ended), playback);
}

/// Part of an update that describes a replay.
struct PlaybackUpdate {
    state: PlaybackState,
    truncation: Option<String>,
}

impl PlaybackUpdate {
    fn new(playback: &dyn Playback) -> Self {
        Self {
            state: playback.state(),
            truncation: playback.truncation(),
        }
    }
}

/// Observer that makes and publishes the reports.
struct Publisher<'a> {
    request: Option<&'a Request>,
    updates: &'a watch::Sender<Update>,
    pending: &'a RefCell<PendingRequests>,
    identities: Vec<ProcessIdentity>,
    recorder: Option<Recorder>,
    /// Time of the next report.
    next: Instant,
}

impl Publisher<'_> {
    fn publish(&self, mut report: Report, ended: Option<Ended>, playback: Option<PlaybackUpdate>) {
        if let Some(request) = self.request {
            stamp(&mut report, request);
            set_process_names(&mut report, &self.identities);
        }
        let violations = report.check().err();
        let violation = violations.and_then(|all| all.first().map(ToString::to_string));
        let keys = Arc::new(FlowKeys::from_report(&report));
        self.updates.send_modify(|update| {
            update.report = Some(Arc::new(report));
            update.keys = Some(keys);
            update.playback = playback.as_ref().map(|playback| playback.state);
            update.truncation = playback.and_then(|playback| playback.truncation);
            if let Some(recorder) = &self.recorder {
                update.recording = Some(recorder.progress());
            }
            update.ended = ended;
            update.violation = violation;
        });
    }

    /// Waits until the recording is written, if there is one, and publishes its result.
    fn finish_recording(&mut self) {
        let Some(recorder) = self.recorder.take() else {
            return;
        };
        let progress = recorder.progress();
        let result = recorder.try_finish().map(|summary| summary.bytes);
        self.updates.send_modify(|update| {
            update.recording = Some(RecordingProgress {
                bytes: result.as_ref().map_or(progress.bytes, |bytes| *bytes),
                has_failed: result.is_err(),
                ..progress
            });
            update.recorded = Some(result);
        });
    }
}

impl Observer for Publisher<'_> {
    fn on_interim_report(&mut self, _: Report) {}

    fn on_poll(&mut self, tracer: &mut dyn Tracer) {
        panic_if_asked("poller");
        if let Some(recorder) = &mut self.recorder {
            // Standard error is redirected to the log.
            recorder.check();
        }
        let start = Instant::now();
        let controls = std::mem::take(&mut self.pending.borrow_mut().controls);
        let is_controlled = !controls.is_empty();
        let playback = tracer.playback().map(|playback| {
            for control in controls {
                playback.control(control);
            }
            PlaybackUpdate::new(playback)
        });
        // A seek must show its result at once.
        if start < self.next && !is_controlled {
            return;
        }
        let report = tracer.report(SNAPSHOT_ROWS);
        self.publish(report, None, playback);
        let elapsed = start.elapsed();
        self.next = start + (elapsed * MAX_SHARE).max(MIN_INTERVAL);
    }

    fn on_waiting_for_command(&mut self) {
        self.updates.send_modify(|update| update.waiting = true);
    }

    fn should_stop(&mut self) -> bool {
        self.pending.borrow().stop
    }
}
