//! The thread that watches: polls the tracer, sees how the subject ends, and makes a report a few times a second.
//!
//! Reports go through a channel that keeps only the newest: a screen that is slow to draw sees fewer of them, never old ones.
//! A report of very many flows takes time in which nothing is polled, so the next one is made the later the longer it took.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use zctrace_report::Report;

use super::rows::Keys;
use super::terminal::panic_if_asked;
use crate::recorder::{Recorder, RecordingProgress};
use crate::session::{Request, Session, set_process_names, stamp};
use crate::signals::ReceivedSignal;
use crate::trace_loop::{self, Observer, StopReason};
use crate::tracee::ProcessIdentity;
use crate::tracer::{PlayControl, Playback, PlaybackState, Tracer};

/// Rows of a snapshot; beyond that like flows are folded, and the smallest. Sorting and filtering so many takes some
/// milliseconds in the thread that draws. A row takes 1 to 2 KiB, and four snapshots are kept at most: 40 MiB.
pub(crate) const ROWS: usize = 5_000;

/// A report is not made more often than this.
const FASTEST: Duration = Duration::from_millis(200);

/// Making reports takes at most one part in so many of the thread's time.
const SHARE: u32 = 10;

/// What the thread has to tell: always the newest.
#[derive(Clone, Default, Debug)]
pub(crate) struct News {
    /// The newest report.
    pub(crate) report: Option<Arc<Report>>,
    /// The identities of its flows: made here, for it takes time.
    pub(crate) keys: Option<Arc<Keys>>,
    /// Where a replay is.
    pub(crate) playback: Option<PlaybackState>,
    /// What of a recording is not used, once that is known.
    pub(crate) cut: Option<String>,
    /// How the recording goes that is made, if one is.
    pub(crate) recording: Option<RecordingProgress>,
    /// What became of it once it has ended: bytes of the file, or why it ended before its time.
    pub(crate) recorded: Option<Result<u64, String>>,
    /// How it ended; then the report is the last.
    pub(crate) ended: Option<End>,
    /// What the last report broke of a report's own rules, if anything.
    pub(crate) broken: Option<String>,
    /// Whether the command was asked to end and is waited for.
    pub(crate) waiting: bool,
}

/// How watching ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// As it should.
    Stopped(StopReason),
    /// Watching failed, for this cause.
    Failed(String),
}

/// What the thread is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// A signal came, which a command may want to know of.
    Signal(ReceivedSignal),
    /// It is enough: the command is asked to end, and made to if it does not.
    Enough,
    /// A replay is to do something else.
    Play(PlayControl),
}

/// The thread, as the others see it.
#[derive(Debug)]
pub(crate) struct Feed {
    /// The newest.
    pub(crate) news: watch::Receiver<News>,
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Starts the thread. What was not asked for now, but is played, was signed when it was made.
    pub(crate) fn start(begun: Session, request: Option<Request>) -> io::Result<Self> {
        let (tell, news) = watch::channel(News::default());
        let (orders, ordered) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || watch_on(begun, request.as_ref(), &tell, &ordered))?;
        Ok(Self {
            news,
            orders,
            thread: Some(thread),
        })
    }

    /// Tells the thread something. One that has ended has no use for it.
    pub(crate) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Waits until the thread has detached the probes. It must have been told that it is enough, or have ended.
    pub(crate) fn join(mut self) -> News {
        if let Some(thread) = self.thread.take() {
            // A panic of it ended the program.
            let _ = thread.join();
        }
        self.news.borrow().clone()
    }
}

/// What the thread was told and has not done yet.
#[derive(Default)]
struct Inbox {
    signals: Vec<ReceivedSignal>,
    plays: Vec<PlayControl>,
    enough: bool,
}

/// What the thread does.
fn watch_on(begun: Session, request: Option<&Request>, tell: &watch::Sender<News>, ordered: &mpsc::Receiver<Order>) {
    let Session {
        mut tracer,
        mut tracee,
        identities,
        recorder,
    } = begun;
    let inbox = RefCell::new(Inbox::default());
    let mut signals = || {
        let mut inbox = inbox.borrow_mut();
        for order in ordered.try_iter() {
            match order {
                Order::Signal(caught) => inbox.signals.push(caught),
                Order::Enough => inbox.enough = true,
                Order::Play(play) => inbox.plays.push(play),
            }
        }
        std::mem::take(&mut inbox.signals)
    };
    let mut reporter = Reporter {
        request,
        tell,
        inbox: &inbox,
        identities,
        recorder,
        next: Instant::now(),
    };
    let schedule = request.map(|request| request.schedule).unwrap_or_default();
    let watched = trace_loop::run(
        tracer.as_mut(),
        &mut tracee,
        &schedule,
        ROWS,
        &mut signals,
        &mut reporter,
    );
    let ended = match watched {
        Ok(stopped) => End::Stopped(stopped),
        Err(error) => End::Failed(format!("watching failed: {error}")),
    };
    let played = tracer.playback().map(|playback| Played::of(playback));
    let report = tracer.finish(ROWS);
    // The tracer is gone, and with it what was still to be written.
    let recorded = reporter.recorder.take().map(|recorder| {
        let progress = recorder.progress();
        let result = recorder.try_finish().map(|summary| summary.bytes);
        (progress, result)
    });
    if let Some((progress, result)) = recorded {
        tell.send_modify(|news| {
            news.recording = Some(RecordingProgress {
                bytes: result.as_ref().map_or(progress.bytes, |bytes| *bytes),
                has_failed: result.is_err(),
                ..progress
            });
            news.recorded = Some(result);
        });
    }
    reporter.publish(report, Some(ended), played);
}

/// What there is to tell of a recording beside its report.
struct Played {
    playback: PlaybackState,
    cut: Option<String>,
}

impl Played {
    fn of(playback: &dyn Playback) -> Self {
        Self {
            playback: playback.state(),
            cut: playback.truncation(),
        }
    }
}

/// Makes reports while it is watched.
struct Reporter<'a> {
    request: Option<&'a Request>,
    tell: &'a watch::Sender<News>,
    inbox: &'a RefCell<Inbox>,
    identities: Vec<ProcessIdentity>,
    recorder: Option<Recorder>,
    next: Instant,
}

impl Reporter<'_> {
    fn publish(&self, mut report: Report, ended: Option<End>, played: Option<Played>) {
        if let Some(request) = self.request {
            stamp(&mut report, request);
            set_process_names(&mut report, &self.identities);
        }
        let broken = report.check().err();
        let broken = broken.and_then(|all| all.first().map(ToString::to_string));
        let keys = Arc::new(Keys::of(&report));
        self.tell.send_modify(|news| {
            news.report = Some(Arc::new(report));
            news.keys = Some(keys);
            news.playback = played.as_ref().map(|played| played.playback);
            news.cut = played.and_then(|played| played.cut);
            if let Some(recorder) = &self.recorder {
                news.recording = Some(recorder.progress());
            }
            news.ended = ended;
            news.broken = broken;
        });
    }
}

impl Observer for Reporter<'_> {
    fn on_interim_report(&mut self, _: Report) {}

    fn on_poll(&mut self, tracer: &mut dyn Tracer) {
        panic_if_asked("feed");
        if let Some(recorder) = &mut self.recorder {
            // Standard error is the log.
            recorder.check();
        }
        let began = Instant::now();
        let plays = std::mem::take(&mut self.inbox.borrow_mut().plays);
        let asked = !plays.is_empty();
        let played = tracer.playback().map(|playback| {
            for play in plays {
                playback.control(play);
            }
            Played::of(playback)
        });
        // Who seeks wants to see where it is now.
        if began < self.next && !asked {
            return;
        }
        let report = tracer.report(ROWS);
        self.publish(report, None, played);
        let took = began.elapsed();
        self.next = began + (took * SHARE).max(FASTEST);
    }

    fn on_waiting_for_command(&mut self) {
        self.tell.send_modify(|news| news.waiting = true);
    }

    fn should_stop(&mut self) -> bool {
        self.inbox.borrow().enough
    }
}
