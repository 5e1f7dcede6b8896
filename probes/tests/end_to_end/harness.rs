//! Traces the body of a test, and queries the report.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zctrace_probes::probe::{DigestMode, Hooks, SetupError, SetupErrorKind, announce};
use zctrace_probes::trace::{Options, Tracer};
use zctrace_recording::{Replay, Writer};
use zctrace_report::{Account, EndpointKind, Flow, Report, Subcommand};

use crate::network_namespace::own_network;
use test_support::skip;

/// One at a time: a trace follows a process, and all tests here share one.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) fn exclusive() -> MutexGuard<'static, ()> {
    own_network();
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the attached tracer; reports a skip and returns `None` if this machine cannot trace.
pub(crate) fn started_or_skip<T>(test: &str, begun: Result<T, SetupError>) -> Option<T> {
    match begun {
        Ok(begun) => Some(begun),
        Err(error) if matches!(error.kind, SetupErrorKind::NoPrivilege { .. }) => {
            skip!(test, "{error}");
            None
        }
        Err(error) => panic!("{error}\n{}", error.hint()),
    }
}

/// Runs `body` under a trace of this process, and returns the report. `None` if this machine cannot
/// trace.
pub(crate) fn traced(test: &str, body: impl FnOnce() + Send) -> Option<Report> {
    traced_child(test, |cookie| {
        announce(cookie);
        body();
    })
}

/// Runs `body` like [`traced`], at level `digest`.
pub(crate) fn traced_digests(test: &str, body: impl FnOnce() + Send) -> Option<Report> {
    traced_with(test, Hooks::digest_only(DigestMode::Pages), |cookie, _| {
        announce(cookie);
        body();
    })
}

/// Runs `body` under a trace of every process that announces the cookie passed to `body`.
pub(crate) fn traced_child(test: &str, body: impl FnOnce(u64) + Send) -> Option<Report> {
    traced_with(test, Hooks::default(), |cookie, _| body(cookie))
}

/// The reader of the records, as seen by the traced code.
#[derive(Default)]
pub(crate) struct Reader {
    catch_up_requested: AtomicBool,
}

impl Reader {
    /// Waits until every record so far has been read and processed, including queries that need the
    /// process to be alive.
    pub(crate) fn catch_up(&self) {
        self.catch_up_requested.store(true, Ordering::SeqCst);
        while self.catch_up_requested.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs `body` with access to the reader.
pub(crate) fn traced_with_reader(test: &str, body: impl FnOnce(u64, &Reader) + Send) -> Option<Report> {
    traced_with(test, Hooks::default(), body)
}

fn traced_with(test: &str, hooks: Hooks, body: impl FnOnce(u64, &Reader) + Send) -> Option<Report> {
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
    let mut tracer = started_or_skip(test, started)?;
    let cookie = tracer.cookie();
    let reader = Reader::default();
    std::thread::scope(|scope| {
        let body = scope.spawn(|| body(cookie, &reader));
        while !body.is_finished() {
            tracer.poll();
            if reader.catch_up_requested.load(Ordering::SeqCst) {
                tracer.report(1000);
                reader.catch_up_requested.store(false, Ordering::SeqCst);
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
    assert_replay_equals(file.path(), &report);
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{}", report.to_json_pretty());
    }
    assert!(!report.loss.any(), "{:?}", report.loss);
    if let Err(violations) = report.check() {
        panic!("{violations:?}");
    }
    Some(report)
}

/// The report is computed again from the recording and must be the same.
fn assert_replay_equals(path: &Path, live: &Report) {
    let mut replay = Replay::open(path).expect("a recording");
    replay.play_to_end();
    assert_eq!(replay.truncation(), None);
    let mut live = live.clone();
    live.provenance.command = Some(Subcommand::Report);
    assert_eq!(replay.report(10_000).to_json_pretty(), live.to_json_pretty());
}

/// Verdicts of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) moved: u64,
    pub(crate) copied: u64,
    pub(crate) unknown: u64,
    pub(crate) zero: u64,
    pub(crate) discarded: u64,
    pub(crate) cloned: u64,
}

impl std::fmt::Debug for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            moved,
            copied,
            unknown,
            zero,
            discarded,
            cloned,
        } = self;
        write!(
            f,
            "{moved} moved, {copied} copied, {unknown} unknown, {zero} zero, {discarded} discarded, {cloned} cloned"
        )
    }
}

impl Totals {
    pub(crate) fn total(&self) -> u64 {
        self.moved + self.copied + self.unknown + self.zero + self.discarded + self.cloned
    }

    fn add(&mut self, account: &Account) {
        self.moved += account.moved;
        self.copied += account.copied;
        self.unknown += account.unknown;
        self.zero += account.excluded.zero;
        self.discarded += account.excluded.discarded;
        self.cloned += account.excluded.cloned;
    }
}

pub(crate) fn moved(bytes: usize) -> Totals {
    Totals {
        moved: bytes as u64,
        ..Totals::default()
    }
}

pub(crate) fn copied(bytes: usize) -> Totals {
    Totals {
        copied: bytes as u64,
        ..Totals::default()
    }
}

pub(crate) fn unknown(bytes: usize) -> Totals {
    Totals {
        unknown: bytes as u64,
        ..Totals::default()
    }
}

pub(crate) fn discarded(bytes: usize) -> Totals {
    Totals {
        discarded: bytes as u64,
        ..Totals::default()
    }
}

pub(crate) fn cloned(bytes: usize) -> Totals {
    Totals {
        cloned: bytes as u64,
        ..Totals::default()
    }
}

/// Returns the verdicts of all calls that took bytes from one kind of endpoint to another, which
/// are also those of bytes that go on from there.
pub(crate) fn edge_totals(report: &Report, from: &EndpointKind, to: &EndpointKind) -> Totals {
    let mut sum = Totals::default();
    let edges = report.edges.iter();
    for edge in edges.filter(|edge| edge.from.endpoint.kind == *from && edge.to.endpoint.kind == *to) {
        sum.add(&edge.account);
    }
    sum
}

/// Returns the flows between two kinds of endpoints.
pub(crate) fn flows<'a>(report: &'a Report, from: &EndpointKind, to: &EndpointKind) -> Vec<&'a Flow> {
    report
        .flows
        .iter()
        .filter(|flow| flow.from.kind == *from && flow.to.kind == *to)
        .collect()
}

/// Returns the only flow between two kinds of endpoints.
pub(crate) fn flow<'a>(report: &'a Report, from: &EndpointKind, to: &EndpointKind) -> &'a Flow {
    match flows(report, from, to)[..] {
        [flow] => flow,
        ref all => panic!("{} flows {from} → {to}: {:#?}", all.len(), report.flows),
    }
}

/// Returns the verdicts of all bytes between two kinds of endpoints.
pub(crate) fn totals(report: &Report, from: &EndpointKind, to: &EndpointKind) -> Totals {
    let mut sum = Totals::default();
    for flow in flows(report, from, to) {
        sum.add(&flow.account);
    }
    sum
}

/// Returns the bytes by reason, of all flows between two kinds of endpoints.
pub(crate) fn reasons(report: &Report, from: &EndpointKind, to: &EndpointKind) -> BTreeMap<String, u64> {
    let mut why = BTreeMap::new();
    for cause in flows(report, from, to).iter().flat_map(|flow| &flow.reasons) {
        *why.entry(cause.code.as_str().to_owned()).or_default() += cause.bytes;
    }
    why
}

/// Formats reasons as [`reasons`] returns them.
pub(crate) fn reasons_of<const N: usize>(reasons: [(&str, usize); N]) -> BTreeMap<String, u64> {
    reasons
        .into_iter()
        .map(|(code, bytes)| (code.to_owned(), bytes as u64))
        .collect()
}

/// Returns the number of calls that the report lists as not observed, for the reason with this
/// prefix.
pub(crate) fn not_observed(report: &Report, what: &str) -> u64 {
    let rows = report
        .coverage
        .not_covered
        .iter()
        .filter(|row| row.operation.starts_with(what));
    rows.filter_map(|row| row.calls).sum()
}
