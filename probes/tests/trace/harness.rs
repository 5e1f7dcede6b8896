//! Tracing what a test does, and asking the report about it.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zctrace_probes::probe::{Hooks, SetupError, SetupErrorKind, Sums, announce};
use zctrace_probes::trace::{Options, Tracer};
use zctrace_recording::{Replay, Writer};
use zctrace_report::{EndKind, Flow, MadeFor, Report};

use crate::net::own_network;
use test_support::skip;

/// One at a time: a trace follows a process, and all tests here are one.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    own_network();
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What tracing began with; `None`, and a report of it, if this machine cannot trace.
pub(crate) fn begun<T>(test: &str, begun: Result<T, SetupError>) -> Option<T> {
    match begun {
        Ok(begun) => Some(begun),
        Err(error) if matches!(error.kind, SetupErrorKind::NoPrivilege { .. }) => {
            skip!(test, "{error}");
            None
        }
        Err(error) => panic!("{error}\n{}", error.mend()),
    }
}

/// Runs `body` under a trace of this process, and returns the report. `None` if this machine cannot trace.
pub(crate) fn traced(test: &str, body: impl FnOnce() + Send) -> Option<Report> {
    watched(test, |cookie| {
        announce(cookie);
        body();
    })
}

/// The same at the level `digest`.
pub(crate) fn summed(test: &str, body: impl FnOnce() + Send) -> Option<Report> {
    watched_by(test, Hooks::only(Sums::Pages), |cookie, _| {
        announce(cookie);
        body();
    })
}

/// Runs `body` under a trace of whoever announces itself with the cookie that `body` is given.
pub(crate) fn watched(test: &str, body: impl FnOnce(u64) + Send) -> Option<Report> {
    watched_by(test, Hooks::default(), |cookie, _| body(cookie))
}

/// Whoever reads what is recorded, as seen by what is traced.
#[derive(Default)]
pub(crate) struct Reader {
    is_asked: AtomicBool,
}

impl Reader {
    /// Waits until all is read and known that was recorded so far: what must be asked of a process while it lives, for one.
    pub(crate) fn catch_up(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        while self.is_asked.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The same, with a word to whoever reads what is recorded.
pub(crate) fn watched_closely(test: &str, body: impl FnOnce(u64, &Reader) + Send) -> Option<Report> {
    watched_by(test, Hooks::default(), body)
}

fn watched_by(test: &str, hooks: Hooks, body: impl FnOnce(u64, &Reader) + Send) -> Option<Report> {
    let options = Options {
        hooks,
        ..Options::default()
    };
    let file = tempfile::NamedTempFile::new().expect("a file to record to");
    let mut recording = None;
    let started = Tracer::start_recorded(options, |preamble| {
        let to = Writer::create(file.path()).expect("it can be written");
        let (writer, handle) = Writer::start(to, preamble, "test").expect("a head");
        recording = Some(handle);
        Ok(Box::new(writer))
    });
    let mut tracer = begun(test, started)?;
    let cookie = tracer.cookie();
    let reader = Reader::default();
    std::thread::scope(|scope| {
        let body = scope.spawn(|| body(cookie, &reader));
        while !body.is_finished() {
            tracer.poll();
            if reader.is_asked.load(Ordering::SeqCst) {
                tracer.report(1000);
                reader.is_asked.store(false, Ordering::SeqCst);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Err(panic) = body.join() {
            resume_unwind(panic);
        }
    });
    let report = tracer.finish(10_000);
    recording
        .expect("a recording")
        .finish()
        .expect("all of it could be written");
    assert_recorded(file.path(), &report);
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{}", report.to_json_pretty());
    }
    assert!(!report.loss.any(), "{:?}", report.loss);
    if let Err(violations) = report.check() {
        panic!("{violations:?}");
    }
    Some(report)
}

/// The report is made again from what was recorded: it must be the same.
fn assert_recorded(path: &Path, live: &Report) {
    let mut replay = Replay::open(path).expect("a recording");
    replay.play_to_end();
    assert_eq!(replay.cut(), None);
    let mut live = live.clone();
    live.made_by.command = Some(MadeFor::Report);
    assert_eq!(replay.report(10_000).to_json_pretty(), live.to_json_pretty());
}

/// What became of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum {
    pub(crate) moved: u64,
    pub(crate) copied: u64,
    pub(crate) unknown: u64,
    pub(crate) zero: u64,
    pub(crate) discarded: u64,
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            moved,
            copied,
            unknown,
            zero,
            discarded,
        } = self;
        write!(
            f,
            "{moved} moved, {copied} copied, {unknown} unknown, {zero} zero, {discarded} discarded"
        )
    }
}

impl Sum {
    pub(crate) fn total(&self) -> u64 {
        self.moved + self.copied + self.unknown + self.zero + self.discarded
    }

    fn add(&mut self, flow: &Flow) {
        self.moved += flow.account.moved;
        self.copied += flow.account.copied;
        self.unknown += flow.account.unknown;
        self.zero += flow.account.neither.zero;
        self.discarded += flow.account.neither.discarded;
        assert_eq!(flow.account.neither.cloned, 0, "{flow:#?}");
    }
}

pub(crate) fn moved(bytes: usize) -> Sum {
    Sum {
        moved: bytes as u64,
        ..Sum::default()
    }
}

pub(crate) fn copied(bytes: usize) -> Sum {
    Sum {
        copied: bytes as u64,
        ..Sum::default()
    }
}

pub(crate) fn unknown(bytes: usize) -> Sum {
    Sum {
        unknown: bytes as u64,
        ..Sum::default()
    }
}

pub(crate) fn discarded(bytes: usize) -> Sum {
    Sum {
        discarded: bytes as u64,
        ..Sum::default()
    }
}

/// The flows between two kinds of ends.
pub(crate) fn flows<'a>(report: &'a Report, from: &EndKind, to: &EndKind) -> Vec<&'a Flow> {
    report
        .flows
        .iter()
        .filter(|flow| flow.from.kind == *from && flow.to.kind == *to)
        .collect()
}

/// The one flow between two kinds of ends.
pub(crate) fn flow<'a>(report: &'a Report, from: &EndKind, to: &EndKind) -> &'a Flow {
    match flows(report, from, to)[..] {
        [flow] => flow,
        ref all => panic!("{} flows {from} → {to}: {:#?}", all.len(), report.flows),
    }
}

/// What became of all bytes between two kinds of ends.
pub(crate) fn sum(report: &Report, from: &EndKind, to: &EndKind) -> Sum {
    let mut sum = Sum::default();
    for flow in flows(report, from, to) {
        sum.add(flow);
    }
    sum
}

/// Why: bytes by reason, of all flows between two kinds of ends.
pub(crate) fn why(report: &Report, from: &EndKind, to: &EndKind) -> BTreeMap<String, u64> {
    let mut why = BTreeMap::new();
    for cause in flows(report, from, to).iter().flat_map(|flow| &flow.reasons) {
        *why.entry(cause.code.as_str().to_owned()).or_default() += cause.bytes;
    }
    why
}

/// Reasons as [`why`] tells them.
pub(crate) fn because<const N: usize>(reasons: [(&str, usize); N]) -> BTreeMap<String, u64> {
    reasons
        .into_iter()
        .map(|(code, bytes)| (code.to_owned(), bytes as u64))
        .collect()
}

/// How many calls the report says it knows nothing of, for the reason that begins so.
pub(crate) fn not_observed(report: &Report, what: &str) -> u64 {
    let rows = report
        .coverage
        .not_observed
        .iter()
        .filter(|row| row.what.starts_with(what));
    rows.filter_map(|row| row.calls).sum()
}
