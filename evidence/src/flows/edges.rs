//! Edges: sums of calls per process, system call and pair of endpoints. The outcomes of an edge add
//! up to what its calls returned.

use super::report_flows::{Symbols, add_to_account};
use super::stations::{call_of, station};
use crate::collections::cached_map::CachedIndexMap;
use crate::decode::endpoints::{EndpointId, Endpoints};
use crate::history::Outcome;
use crate::sender::EdgeKey;
use zctrace_report::{self as report, Account, Cause, Edge};

#[derive(Clone, Debug, Default)]
struct EdgeSum {
    calls: u64,
    failed: u64,
    /// Bytes by outcome and call site, of which there are few.
    outcomes: Vec<OutcomeSum>,
}

#[derive(Clone, Copy, Debug)]
struct OutcomeSum {
    outcome: Outcome,
    user_ip: u64,
    bytes: u64,
    calls: u64,
    latest_call: u64,
}

impl EdgeSum {
    fn bytes(&mut self, outcome: Outcome, user_ip: u64, call_id: u64, bytes: u64) {
        self.bytes_of(outcome, user_ip, call_id, bytes, 1);
    }

    /// Adds bytes of several calls, which share one call ID.
    fn bytes_of(&mut self, outcome: Outcome, user_ip: u64, call_id: u64, bytes: u64, calls: u64) {
        // Beyond this number call sites are not distinguished.
        let full = self.outcomes.len() >= MAX_CALL_SITES;
        let at = |ip| {
            let same = |part: &OutcomeSum| part.outcome == outcome && part.user_ip == ip;
            self.outcomes.iter().rposition(same)
        };
        let at = at(user_ip).or_else(|| if full { at(0) } else { None });
        if let Some(part) = at.map(|at| &mut self.outcomes[at]) {
            part.bytes = part.bytes.saturating_add(bytes);
            let more = if part.latest_call == call_id { 0 } else { calls };
            part.calls = part.calls.saturating_add(more);
            part.latest_call = call_id;
        } else {
            self.outcomes.push(OutcomeSum {
                outcome,
                user_ip: if full { 0 } else { user_ip },
                bytes,
                calls,
                latest_call: call_id,
            });
        }
    }
}

/// Bytes that only a report adds to an edge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) edge: EdgeKey,
    pub(crate) outcome: Outcome,
    pub(crate) user_ip: u64,
    pub(crate) call_id: u64,
    pub(crate) bytes: u64,
    /// Calls that the bytes belong to.
    pub(crate) calls: u64,
    /// Calls that the edge does not count yet.
    pub(crate) new_calls: u64,
}

/// All edges.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    sums: CachedIndexMap<EdgeKey, EdgeSum>,
}

/// Edges that are kept apart.
const MAX_EDGES: usize = 100_000;
/// Call sites that are kept apart per edge.
const MAX_CALL_SITES: usize = 64;

impl Edges {
    fn sum(&mut self, key: EdgeKey) -> &mut EdgeSum {
        let key = if self.sums.len() >= MAX_EDGES && !self.sums.has(&key) {
            EdgeKey {
                tgid: 0,
                from: EndpointId::PIPE,
                to: EndpointId::PIPE,
                ..key
            }
        } else {
            key
        };
        self.sums.row(key)
    }

    /// Counts a call that returned bytes.
    pub(crate) fn call(&mut self, key: EdgeKey) {
        self.sum(key).calls += 1;
    }

    /// Counts a call that returned none.
    pub(crate) fn failed(&mut self, key: EdgeKey) {
        self.sum(key).failed += 1;
    }

    /// Adds the outcome of bytes that a call returned. `user_ip` is kept for bytes that did not
    /// move.
    pub(crate) fn bytes(&mut self, key: EdgeKey, outcome: Outcome, user_ip: u64, call_id: u64, bytes: u64) {
        let user_ip = match outcome {
            Outcome::Copied(_) | Outcome::Unknown(_) => user_ip,
            _ => 0,
        };
        self.sum(key).bytes(outcome, user_ip, call_id, bytes);
    }

    /// Moves bytes from one outcome of an edge to another. The edge may be named differently where
    /// there are too many; then the row for all of them changes.
    pub(crate) fn reclassify(&mut self, key: EdgeKey, from: Outcome, to: Outcome, bytes: u64) {
        let sum = self.sum(key);
        let Some(part) = sum.outcomes.iter_mut().find(|part| part.outcome == from) else {
            return;
        };
        let bytes = bytes.min(part.bytes);
        part.bytes -= bytes;
        let call_id = part.latest_call;
        sum.bytes(to, 0, call_id, bytes);
    }

    /// Adds the edges to a report, with bytes in flight as unknown.
    pub(crate) fn fill(
        &self,
        report: &mut report::Report,
        in_flight: &[InFlight],
        ends: &Endpoints,
        symbols: &Symbols<'_>,
    ) {
        let mut all = self.sums.clone();
        for one in in_flight {
            let row = all.row(one.edge);
            row.bytes_of(one.outcome, one.user_ip, one.call_id, one.bytes, one.calls);
            row.calls = row.calls.saturating_add(one.new_calls);
        }
        let mut rows: Vec<_> = all.iter().collect();
        rows.sort_by_key(|(key, _)| **key);
        for (key, sum) in rows {
            let mut edge = Edge::new(call_of(key.nr), station(ends, key.from), station(ends, key.to));
            edge.pid = Some(key.tgid).filter(|&pid| pid != 0);
            edge.calls = sum.calls;
            edge.failed_calls = sum.failed;
            let mut account = Account::default();
            for part in &sum.outcomes {
                add_to_account(&mut account, part.outcome, part.bytes);
                if let Outcome::Copied(reason) | Outcome::Unknown(reason) = part.outcome {
                    edge.reasons.push(Cause {
                        call_site: symbols(key.tgid, part.user_ip),
                        ..Cause::new(reason, part.bytes, part.calls)
                    });
                }
            }
            edge.set_account(account);
            report.edges.push(edge);
        }
    }
}
