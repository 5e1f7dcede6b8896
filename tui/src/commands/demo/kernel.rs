//! The kernel's evidence for the demo's paths (tier T0), if this process may trace.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zctrace_contract::Reason;
use zctrace_contract::reason::Class;
use zctrace_probes::probe::{SetupError, announce};
use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::{Account, Agreement, Cause, Endpoint, EndpointKind, Flow, Peek, Report, Segment, Tier};

use super::judge::{Judgment, Leg};
use super::paths::PathResult;

/// Interval at which the ring is drained while a path runs.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Maximum number of rows in a report. One path makes a few.
const ROWS: usize = 1000;

/// Tracer of this process.
pub(crate) struct KernelTrace {
    tracer: Tracer,
}

impl KernelTrace {
    /// Attaches the probes. `btf` is a BTF file to use instead of the kernel's own.
    pub(crate) fn start(btf: Option<&Path>) -> Result<Self, SetupError> {
        let tracer = Tracer::start(Options {
            btf: btf.map(Path::to_owned),
            ..Options::default()
        })?;
        // The journal would be created with the first pipe. It must exist before the first path
        // runs, so that the tracer finds it.
        bufferlist::journal::init();
        announce(tracer.cookie());
        Ok(Self { tracer })
    }

    /// Runs `run`, and returns its result with the kernel's report of it.
    pub(crate) fn observe<T>(&mut self, run: impl FnOnce() -> T) -> (T, Report) {
        // Discards what was done between two paths.
        self.tracer.interval_report(ROWS);
        let over = AtomicBool::new(false);
        let tracer = &mut self.tracer;
        let result = std::thread::scope(|threads| {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    tracer.poll();
                    std::thread::sleep(POLL_INTERVAL);
                }
            });
            let result = run();
            over.store(true, Ordering::Relaxed);
            result
        });
        (result, self.tracer.interval_report(ROWS))
    }

    /// Returns the cost, loss and coverage of the whole trace.
    pub(crate) fn finish(self) -> Report {
        self.tracer.finish(ROWS)
    }
}

/// Replaces the library's account of a path by the kernel's evidence, and compares the two.
pub(crate) fn merge_evidence(result: &mut PathResult, observed: &Report) {
    let candidates: Vec<&Flow> = observed
        .flows
        .iter()
        .filter(|flow| is_last_leg(&result.flow, flow))
        .collect();
    // The oracle tries paths of the same kinds with its canaries. Those end at other endpoints.
    let of_same_end = |end: &Endpoint| {
        let flows: Vec<&Flow> = candidates.iter().copied().filter(|flow| flow.to == *end).collect();
        let payload: u64 = flows.iter().map(|flow| flow.payload).sum();
        (payload == result.flow.payload).then_some(flows)
    };
    let Some(last) = candidates.iter().find_map(|flow| of_same_end(&flow.to)) else {
        return;
    };
    let mut account = Account::default();
    let mut flow = result.flow.clone();
    flow.reasons.clear();
    flow.copy_bytes = 0;
    flow.calls = 0;
    for leg in &last {
        account += &leg.account;
        flow.copy_bytes += leg.copy_bytes;
        flow.calls += leg.calls;
        flow.reasons.extend(leg.reasons.iter().cloned());
    }
    // Only the certificate maps bytes of an earlier leg to this one, and only moved bytes.
    flow.certificate = last.iter().find_map(|leg| leg.certificate.clone());
    flow.set_account(account);
    flow.tier = Some(Tier::T0);
    add_segments_and_peeks(result, &last, observed);
    if let Some(bytes) = copied_in_small_packets(&flow) {
        result.note = Some(format!(
            "{}: the kernel copied {bytes} of {} bytes: it appends small packets to the free space of the previous packet \
             (net/core/skbuff.c, skb_try_coalesce). Neither receipts nor the oracle can observe that.",
            flow.name.as_deref().unwrap_or_default(),
            flow.payload
        ));
        result.flow = flow;
        return;
    }
    if let Some(why) = contradiction(&flow, &result.legs) {
        result.judgment = Judgment::Failed(why);
        return;
    }
    if result.judgment == Judgment::Passed && flow.agreement() == Some(Agreement::Disagrees) {
        result.judgment = Judgment::Failed(format!(
            "the oracle says {}, but the kernel's pages say {} moved and {} copied",
            flow.oracle.as_ref().map_or("", |word| word.as_str()),
            flow.account.moved,
            flow.account.copied
        ));
    }
    result.flow = flow;
}

/// Maximum number of segments reported of a path, the largest first.
const MAX_SEGMENTS: usize = 8;

/// Adds the segments of the last leg, and details of the peeks. A peek of the library and one of
/// the tracer are the same if they have the same call site and size.
fn add_segments_and_peeks(result: &mut PathResult, last: &[&Flow], observed: &Report) {
    let of_leg = |row: &&Segment| last.iter().any(|leg| row.flow == Some(leg.id));
    result.segments = observed.segments.iter().filter(of_leg).cloned().collect();
    result
        .segments
        .sort_by_key(|row| (std::cmp::Reverse(row.bytes), row.id));
    result.segments.truncate(MAX_SEGMENTS);
    for look in &mut result.peeks {
        let same = |other: &&Peek| other.call_site == look.call_site && other.bytes == look.bytes;
        if let Some(more) = observed.peeks.iter().find(same) {
            look.segment = more.segment;
            look.range = more.range;
            look.first_unix_ms = more.first_unix_ms;
        }
    }
}

/// Returns the copied bytes if they are few and the kernel copied all of them, as it does with
/// small packets.
fn copied_in_small_packets(flow: &Flow) -> Option<u64> {
    let copied = flow.account.copied;
    let by_kernel = |cause: &Cause| cause.code == Reason::KernelCopies.into();
    let explains = |cause: &&Cause| cause.code.class() == Some(Class::Copy);
    let all = flow.reasons.iter().filter(explains).all(by_kernel);
    (copied > 0 && all && flow.from.kind == EndpointKind::Tcp && copied < flow.payload / 100).then_some(copied)
}

/// Returns whether an observed flow is the last leg of a path: from the last endpoint but one to
/// the last.
fn is_last_leg(path: &Flow, observed: &Flow) -> bool {
    let mut ends = path.path.iter().rev().filter(|kind| **kind != EndpointKind::Pipe);
    let (Some(to), Some(from)) = (ends.next(), ends.next()) else {
        return false;
    };
    let same_socket = observed.to.kind != EndpointKind::Tcp || observed.to.name == path.to.name;
    observed.to.kind == *to && observed.from.kind == *from && same_socket
}

/// Describes a contradiction between the library and the kernel's evidence, if there is one.
fn contradiction(observed: &Flow, legs: &[Leg]) -> Option<String> {
    let last = legs.last()?;
    if last.copied > 0 && observed.account.copied < last.copied && observed.account.unknown == 0 {
        return Some(format!(
            "the receipt says {} bytes copied, the kernel's pages say {}",
            last.copied, observed.account.copied
        ));
    }
    if last.moved > 0 && observed.account.moved < last.moved && observed.account.unknown == 0 {
        return Some(format!(
            "the receipt says {} bytes moved, the kernel's pages say {}",
            last.moved, observed.account.moved
        ));
    }
    None
}
