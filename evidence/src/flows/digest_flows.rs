//! Flows and edges of the level `digest`, summed by process, call and pair of endpoints.

use std::collections::HashMap;

use zctrace_contract::Reason;
use zctrace_records::{DigestEvent, DigestSpan, DigestState, FileId, digest_span_flag};

use super::digest::{Comparisons, DigestVerdict, Digests, Finding};
use super::edges::InFlight;
use super::flow_stats::{Arrival, FlowTable};
use crate::decode::endpoints::{EndpointId, EndpointIdentity, Endpoints};
use crate::history::{Histories, Hop, Outcome};
use crate::mirror::pipe_position::PipePosition;
use crate::sender::EdgeKey;
use crate::span::{Location, Span};
use zctrace_report::{Digest, Level, Report, Verdict};

/// Maximum number of distinct rows. Further bytes are added to a row without a call site.
const MAX_ROWS: usize = 100_000;

/// Common properties of the bytes of one row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct RowKey {
    edge: EdgeKey,
    user_ip: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy, Default, Debug)]
struct Row {
    bytes: u64,
    calls: u64,
}

/// Digests of connections, with their verdicts so far.
#[derive(Debug)]
pub(crate) struct DigestFlows {
    digests: Digests,
    rows: HashMap<RowKey, Row>,
}

impl DigestFlows {
    /// Creates an empty account. At level `counters` pages are not in the digests.
    pub(crate) fn new(counts_only: bool) -> Self {
        Self {
            digests: Digests::new(counts_only),
            rows: HashMap::new(),
        }
    }

    /// Processes a change of a connection's digests.
    pub(crate) fn event(&mut self, event: &DigestEvent, endpoints: &mut Endpoints) {
        let edge = edge_of(&event.state, endpoints);
        for verdict in self.digests.event(event, edge) {
            add_verdict(&mut self.rows, &verdict);
        }
    }

    /// Replaces the digests of an open connection.
    pub(crate) fn open(&mut self, sock: u64, state: &DigestState, endpoints: &mut Endpoints) {
        let edge = edge_of(state, endpoints);
        self.digests.open(sock, state, edge);
    }

    /// Returns whether bytes that were sent are still in flight.
    pub(crate) fn has_data_in_flight(&self) -> bool {
        self.digests.has_data_in_flight()
    }

    /// Removes all rows. Spans that wait for a verdict, and the digests, stay.
    pub(crate) fn reset(&mut self) {
        self.rows.clear();
        self.digests.reset();
    }

    /// Adds the rows to the flows and edges of a report, with the verdicts that would follow if no
    /// more records came. Returns how often digests were compared for them.
    pub(crate) fn add_to(
        &self,
        flows: &mut FlowTable,
        histories: &mut Histories,
        in_flight: &mut Vec<InFlight>,
    ) -> Comparisons {
        let mut rows = self.rows.clone();
        let (so_far, comparisons) = self.digests.so_far();
        for verdict in so_far {
            add_verdict(&mut rows, &verdict);
        }
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        for (number, (key, row)) in (1..).zip(rows) {
            in_flight.push(InFlight {
                edge: key.edge,
                outcome: key.outcome,
                user_ip: key.user_ip,
                call_id: number,
                bytes: row.bytes,
                calls: row.calls,
                new_calls: row.calls,
            });
            let hop = Hop {
                nr: key.edge.nr,
                tgid: key.edge.tgid,
                user_ip: key.user_ip,
                to: key.edge.to,
                outcome: key.outcome,
            };
            let span = Span {
                len: row.bytes,
                origin: key.edge.from,
                position: 0,
                stream: 0,
                pipe_position: PipePosition::default(),
                location: Location::Unknown,
                history: histories.with(Histories::START, hop),
            };
            let at = Arrival {
                call_id: number,
                more_calls: row.calls.saturating_sub(1),
                ..Arrival::default()
            };
            flows.add(&span, key.edge.to, at);
        }
        comparisons
    }

    /// Adds to each certificate how often digests were compared.
    pub(crate) fn fill(report: &mut Report, level: &Level, comparisons: Comparisons) {
        if *level != Level::Digest {
            return;
        }
        for flow in &mut report.flows {
            // Sums that differed are those of other bytes, if all bytes of the flow moved.
            let checkpoints = match flow.verdict() {
                Verdict::Moved => comparisons.equal,
                _ => comparisons.compared,
            };
            let Some(certificate) = &mut flow.certificate else {
                continue;
            };
            certificate.digest = Some(Digest {
                checkpoints,
                equal: comparisons.equal,
                interval_bytes: zctrace_records::CHECKPOINT_BYTES,
                full_records_one_in: 0,
            });
            certificate.not_proved.push(NOT_PROVED.to_owned());
        }
    }
}

fn edge_of(state: &DigestState, endpoints: &mut Endpoints) -> EdgeKey {
    let span = &state.span;
    let sink = EndpointIdentity::of_tcp(span.socket_ino, span.socket_dev, state.pair);
    EdgeKey {
        tgid: span.tgid,
        nr: span.nr,
        from: source_of(span, endpoints),
        to: endpoints.id_of(&sink),
    }
}

fn source_of(span: &DigestSpan, endpoints: &mut Endpoints) -> EndpointId {
    let is_owned = span.file.mapping != 0;
    if span.flags & digest_span_flag::FROM_MEMORY != 0 || (span.paged_bytes > 0 && !is_owned) {
        return EndpointId::MEMORY;
    }
    if !is_owned {
        return EndpointId::PIPE;
    }
    let file = if span.flags & digest_span_flag::MULTIPLE_FILES == 0 {
        span.file
    } else {
        FileId::default()
    };
    endpoints.id_of(&EndpointIdentity::of_file(file))
}

fn add_verdict(rows: &mut HashMap<RowKey, Row>, verdict: &DigestVerdict) {
    let span = &verdict.span;
    let paged = span.paged_bytes.min(verdict.bytes);
    let parts = match verdict.finding {
        Finding::FromMemory => [
            (Outcome::Copied(Reason::FromMemory), verdict.bytes),
            (Outcome::Identity, 0),
        ],
        // Bytes outside of owned pages are in no sum.
        Finding::Equal => [
            (Outcome::Identity, paged),
            (Outcome::Unknown(Reason::NotObserved), verdict.bytes - paged),
        ],
        Finding::Unknown(reason) => [(Outcome::Unknown(reason), verdict.bytes), (Outcome::Identity, 0)],
    };
    let mut calls = span.calls;
    for (outcome, bytes) in parts {
        if bytes == 0 {
            continue;
        }
        let mut key = RowKey {
            edge: verdict.edge,
            user_ip: if outcome == Outcome::Identity { 0 } else { span.user_ip },
            outcome,
        };
        if rows.len() >= MAX_ROWS && !rows.contains_key(&key) {
            key.user_ip = 0;
        }
        let row = rows.entry(key).or_default();
        row.bytes += bytes;
        row.calls += std::mem::take(&mut calls);
    }
}

/// Claims that a digest does not prove.
const NOT_PROVED: &str = "Which page was where: sums over all of them were equal at both stations; the counts of checkpoints \
                         are those of all connections together.";
