//! What the level `digest` found, by process, call and pair of ends.

use std::collections::HashMap;

use zctrace_records::{DigestEvent, DigestSpan, DigestState, EndpointState, FileId, digest_span_flag, endpoint_kind};

use zctrace_contract::Reason;

use crate::Evidence;
use crate::decode::endpoints::EndpointId;
use crate::flows::digest::{DigestVerdict, Finding};
use crate::flows::edges::{EdgeKey, InFlight};
use crate::flows::flow_stats::{Arrival, Flows};
use crate::history::{Histories, Hop, Outcome};
use crate::mirror::pipe_position::PipePosition;
use crate::span::{Location, Span};
use zctrace_report::{Digest, Level, Report};

/// What bytes have in common that are one row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    edge: EdgeKey,
    user_ip: u64,
    outcome: Outcome,
}

/// Bytes and calls of a row.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Found {
    bytes: u64,
    calls: u64,
}

/// Rows that are kept apart; what comes beyond is a row of its edge and outcome without its place.
const MAX_ROWS: usize = 100_000;

impl Evidence {
    /// Something happened to the sums of a connection.
    pub fn digest_event(&mut self, sums: &DigestEvent) {
        let edge = self.edge_of(&sums.state);
        for verdicts in self.digests.event(sums, edge) {
            add_judged(&mut self.found, &verdicts);
        }
    }

    /// Takes the sums of connections as the kernel has them now, by the address of the socket.
    pub fn open_digests(&mut self, rows: &[(u64, DigestState)]) {
        for (sock, row) in rows {
            let edge = self.edge_of(row);
            self.digests.open(*sock, row, edge);
        }
    }

    fn edge_of(&mut self, row: &DigestState) -> EdgeKey {
        let stretch = &row.span;
        let sink = EndpointState {
            kind: endpoint_kind::TCP,
            ino: stretch.socket_ino,
            dev: stretch.socket_dev,
            pair: row.pair,
            ..EndpointState::default()
        };
        EdgeKey {
            tgid: stretch.tgid,
            nr: stretch.nr,
            from: self.source_of(stretch),
            to: self.ends.of(&sink),
        }
    }

    fn source_of(&mut self, stretch: &DigestSpan) -> EndpointId {
        if stretch.flags & digest_span_flag::FROM_MEMORY != 0 || (stretch.paged_bytes > 0 && stretch.file.mapping == 0)
        {
            return EndpointId::MEMORY;
        }
        if stretch.file.mapping == 0 {
            return EndpointId::PIPE;
        }
        let file = if stretch.flags & digest_span_flag::MULTIPLE_FILES == 0 {
            stretch.file
        } else {
            FileId::default()
        };
        self.ends.of(&EndpointState {
            kind: endpoint_kind::FILE,
            object: file.mapping,
            ino: file.ino,
            dev: file.dev,
            generation: file.generation,
            ..EndpointState::default()
        })
    }

    /// Adds what was found to the flows and edges of a report, with what would be found if nothing came any more.
    pub(crate) fn add_found(&self, flows: &mut Flows, histories: &mut Histories, in_flight: &mut Vec<InFlight>) {
        let mut found = self.found.clone();
        for verdicts in self.digests.so_far() {
            add_judged(&mut found, &verdicts);
        }
        let mut rows: Vec<_> = found.into_iter().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        for (number, (key, found)) in (1..).zip(rows) {
            in_flight.push(InFlight {
                edge: key.edge,
                outcome: key.outcome,
                user_ip: key.user_ip,
                serial: number,
                bytes: found.bytes,
                calls: found.calls,
                new_calls: found.calls,
            });
            let step = Hop {
                nr: key.edge.nr,
                tgid: key.edge.tgid,
                user_ip: key.user_ip,
                to: key.edge.to,
                outcome: key.outcome,
            };
            let span = Span {
                len: found.bytes,
                origin: key.edge.from,
                position: 0,
                stream: 0,
                pipe_position: PipePosition::default(),
                location: Location::Unknown,
                history: histories.with(Histories::START, step),
            };
            let at = Arrival {
                serial: number,
                more_calls: found.calls.saturating_sub(1),
                ..Arrival::default()
            };
            flows.arrive(&span, key.edge.to, at);
        }
    }

    /// Writes into certificates how often sums were compared.
    pub(crate) fn fill_digests(&self, report: &mut Report) {
        if self.config.level != Level::Digest {
            return;
        }
        let digest = Digest {
            checkpoints: self.digests.compared,
            equal: self.digests.equal,
            every_bytes: zctrace_records::CHECKPOINT_BYTES,
            full_records_one_in: 0,
        };
        let certificates = report.flows.iter_mut().filter_map(|flow| flow.certificate.as_mut());
        for certificate in certificates {
            certificate.digest = Some(digest.clone());
            certificate.not_proved.push(THE_WHOLE.to_owned());
        }
    }

    pub(crate) fn reset_digest_rows(&mut self) {
        self.found.clear();
        self.digests.reset();
    }
}

fn add_judged(found: &mut HashMap<Key, Found>, verdicts: &DigestVerdict) {
    let stretch = &verdicts.stretch;
    let paged = stretch.paged_bytes.min(verdicts.bytes);
    let parts = match verdicts.finding {
        Finding::FromMemory => [
            (Outcome::Copied(Reason::FromMemory), verdicts.bytes),
            (Outcome::Identity, 0),
        ],
        // What lay in no page with a name is in no sum.
        Finding::Equal => [
            (Outcome::Identity, paged),
            (Outcome::Unknown(Reason::NotObserved), verdicts.bytes - paged),
        ],
        Finding::Unknown(reason) => [(Outcome::Unknown(reason), verdicts.bytes), (Outcome::Identity, 0)],
    };
    let mut calls = stretch.calls;
    for (outcome, bytes) in parts {
        if bytes == 0 {
            continue;
        }
        let mut key = Key {
            edge: verdicts.edge,
            user_ip: if outcome == Outcome::Identity {
                0
            } else {
                stretch.user_ip
            },
            outcome,
        };
        if found.len() >= MAX_ROWS && !found.contains_key(&key) {
            key.user_ip = 0;
        }
        let row = found.entry(key).or_default();
        row.bytes += bytes;
        row.calls += std::mem::take(&mut calls);
    }
}

/// What a digest does not say.
const THE_WHOLE: &str = "Which page was where: sums over all of them were equal at both stations; the counts of checkpoints \
                         are those of all connections together.";
