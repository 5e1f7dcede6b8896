//! Flows of a report: one row per path and process, made of the sums of its histories.

use std::collections::BTreeMap;

use zctrace_contract::Reason;

use super::certificates::{Senders, certificate};
use super::flow_stats::{FlowKey, FlowStats, FlowTable};
use super::stations::call_of;
use crate::decode::endpoints::{EndpointId, Endpoints};
use crate::history::{Histories, Hop, Outcome};
use crate::journal::{FlowsOf, Journals};
use zctrace_report::{self as report, Account, Cause, EndpointKind, Flow, Peek, Report};

/// Resolves an instruction pointer of a process to a call site.
pub type Symbols<'a> = dyn Fn(u32, u64) -> Option<report::CallSite> + 'a;

/// The endpoints that bytes passed, and the process that brought them to the last: what
/// distinguishes the rows of a report.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FlowPath {
    pub(super) from: EndpointId,
    /// Endpoints after the first.
    pub(super) hops: Vec<EndpointId>,
    pub(super) tgid: u32,
}

/// The sums of one path.
#[derive(Default, Debug)]
pub(super) struct FlowRow<'a> {
    pub(super) parts: Vec<(&'a FlowKey, &'a FlowStats)>,
    /// The moved parts, as one sum.
    pub(super) moved: FlowStats,
    /// Evidence of the moved parts at each hop.
    pub(super) hops: Vec<HopEvidence>,
}

/// Evidence at one hop of a path.
#[derive(Clone, Default, Debug)]
pub(super) struct HopEvidence {
    /// Moved bytes whose page was observed at the hop, or transferred there by a device.
    pub(super) bytes: u64,
    /// `true` if a device transferred some of the bytes.
    pub(super) has_dma: bool,
    /// The sums of the bytes, for the positions that they were sent to.
    parts: Vec<usize>,
}

impl<'a> FlowRow<'a> {
    /// Adds a sum to the row.
    pub(super) fn add(&mut self, key: &'a FlowKey, stats: &'a FlowStats, histories: &Histories) {
        self.parts.push((key, stats));
        if !matches!(histories.outcome(key.history), Outcome::Identity | Outcome::Dma) {
            return;
        }
        let mut outcomes: Vec<Outcome> = histories.hops(key.history).map(|hop| hop.outcome).collect();
        outcomes.reverse();
        if self.hops.len() < outcomes.len() {
            self.hops.resize(outcomes.len(), HopEvidence::default());
        }
        for (hop, outcome) in self.hops.iter_mut().zip(outcomes) {
            if matches!(outcome, Outcome::Identity | Outcome::Dma) {
                hop.bytes = hop.bytes.saturating_add(stats.bytes);
                hop.has_dma |= outcome == Outcome::Dma;
                hop.parts.push(self.parts.len() - 1);
            }
        }
        self.moved.merge(stats);
    }

    /// Returns how many of the bytes that a receiver consumed were observed at a hop on their way
    /// into the stream.
    pub(super) fn bytes_sent_through(&self, hop: usize, consumer: &FlowStats) -> u64 {
        let Some(evidence) = self.hops.get(hop) else { return 0 };
        let ranges = &consumer.consumed.1;
        let (mut observed, mut all) = (0_u64, 0_u64);
        for (start, end) in ranges.parts() {
            all += end - start;
            for &part in &evidence.parts {
                observed += self.parts[part].1.produced.1.covered(start, end - start);
            }
        }
        // A byte that was consumed once and passed on twice (tee) counts twice.
        if observed >= all {
            consumer.bytes
        } else {
            observed.min(consumer.bytes)
        }
    }
}

impl FlowTable {
    /// Adds flows and peeks to a report.
    pub(crate) fn fill(
        &self,
        report: &mut Report,
        endpoints: &Endpoints,
        histories: &Histories,
        symbols: &Symbols<'_>,
        (journals, flows_of): (&Journals, &mut FlowsOf),
    ) {
        let mut rows: BTreeMap<FlowPath, FlowRow<'_>> = BTreeMap::new();
        for (key, stats) in self.iter() {
            let Some(last) = histories.hops(key.history).next() else {
                continue;
            };
            if *endpoints.kind(key.to) == EndpointKind::Memory && histories.is_teed(key.history) {
                let peek = peek(stats, last, symbols);
                report.peeks.extend(journals.peeks(&stats.pipe_positions, peek));
                continue;
            }
            if *endpoints.kind(key.to) == EndpointKind::Null && histories.is_teed(key.history) {
                // A discarded duplicate: nothing was delivered, and nothing is missing.
                continue;
            }
            let mut hops: Vec<EndpointId> = histories.hops(key.history).map(|hop| hop.to).collect();
            hops.reverse();
            let path = FlowPath {
                from: key.from,
                hops,
                tgid: last.tgid,
            };
            rows.entry(path).or_default().add(key, stats, histories);
        }
        let senders = Senders::new(&rows);
        for (path, row) in &rows {
            let mut flow = flow(path, row, endpoints, histories, symbols);
            flow.certificate = certificate(self, (path, row), &senders, endpoints, journals);
            let number = report.append_flow(flow);
            for (_, stats) in &row.parts {
                journals.note_flow(&stats.pipe_positions, number, flows_of);
            }
        }
    }
}

/// Returns a path's flow, without certificate.
fn flow(
    path: &FlowPath,
    row: &FlowRow<'_>,
    endpoints: &Endpoints,
    histories: &Histories,
    symbols: &Symbols<'_>,
) -> Flow {
    let to = path.hops.last().copied().unwrap_or(EndpointId::MEMORY);
    let mut flow = Flow::new(endpoints.report(path.from), endpoints.report(to));
    flow.pid = Some(path.tgid).filter(|&pid| pid != 0);
    let ids = std::iter::once(&path.from).chain(&path.hops);
    flow.path = ids.map(|id| endpoints.kind(*id).clone()).collect();
    let mut account = Account::default();
    for (key, stats) in &row.parts {
        add_to_account(&mut account, histories.outcome(key.history), stats.bytes);
        flow.calls = flow.calls.saturating_add(stats.calls);
        let copies = add_reasons(&mut flow.reasons, key, stats, histories, symbols);
        flow.copy_bytes = flow.copy_bytes.saturating_add(stats.bytes.saturating_mul(copies));
        for hop in histories.hops(key.history) {
            let call = call_of(hop.nr);
            if !flow.call_names.contains(&call) {
                flow.call_names.insert(0, call);
            }
        }
    }
    flow.set_account(account);
    flow
}

/// Adds bytes to the part of an account that an outcome belongs to. Saturates, because the numbers
/// of a recording are not trusted.
pub(super) fn add_to_account(account: &mut Account, outcome: Outcome, bytes: u64) {
    let part = match outcome {
        Outcome::Identity | Outcome::Dma => &mut account.moved,
        Outcome::Zero => &mut account.excluded.zero,
        Outcome::Discarded => &mut account.excluded.discarded,
        Outcome::Cloned => &mut account.excluded.cloned,
        Outcome::Copied(_) => &mut account.copied,
        Outcome::Unknown(_) => &mut account.unknown,
    };
    *part = part.saturating_add(bytes);
}

/// Adds the reasons of a history and returns how often its bytes were copied.
fn add_reasons(
    reasons: &mut Vec<Cause>,
    key: &FlowKey,
    stats: &FlowStats,
    histories: &Histories,
    symbols: &Symbols<'_>,
) -> u64 {
    let mut copies = 0;
    for hop in histories.hops(key.history) {
        if let Outcome::Copied(reason) = hop.outcome {
            copies += 1;
            add_cause(reasons, reason, hop, stats, symbols);
        }
    }
    if let Outcome::Unknown(reason) = histories.outcome(key.history)
        && let Some(hop) = histories
            .hops(key.history)
            .find(|hop| hop.outcome == Outcome::Unknown(reason))
    {
        add_cause(reasons, reason, hop, stats, symbols);
    }
    copies
}

fn add_cause(reasons: &mut Vec<Cause>, reason: Reason, hop: Hop, stats: &FlowStats, symbols: &Symbols<'_>) {
    let call_site = symbols(hop.tgid, hop.user_ip);
    let is_same = |cause: &&mut Cause| cause.code == reason.into() && cause.call_site == call_site;
    if let Some(cause) = reasons.iter_mut().find(is_same) {
        cause.bytes = cause.bytes.saturating_add(stats.bytes);
        cause.calls = cause.calls.saturating_add(stats.calls);
    } else {
        reasons.push(Cause {
            call_site,
            ..Cause::new(reason, stats.bytes, stats.calls)
        });
    }
}

/// Returns a peek: bytes that were duplicated by tee and read.
fn peek(stats: &FlowStats, last: Hop, symbols: &Symbols<'_>) -> Peek {
    let mut peek = Peek::new(stats.bytes, stats.calls);
    peek.call_site = symbols(last.tgid, last.user_ip);
    "tee(2), then read(2)".clone_into(&mut peek.method);
    peek.pid = Some(last.tgid);
    peek
}
