//! The level `digest`: sums over pages, made where calls send them and where packets carry them.
//!
//! Equal sums over one part of a stream show that packets carried the pages that calls sent, each
//! at its position (see [`zctrace_records::mix`]). Sums are compared at positions where both are
//! known: at checkpoints, and where both are at rest. The bytes between two such positions get one
//! verdict: all of them moved, or all are unknown.

use std::collections::{BTreeMap, VecDeque};
use std::ops::AddAssign;

use zctrace_contract::Reason;
use zctrace_records::{
    DigestEvent, DigestSpan, DigestState, DigestSum, digest_event_kind, digest_flag, digest_span_flag,
};

use crate::collections::fast_map::FastMap;
use crate::sender::EdgeKey;

/// Maximum number of connections that are followed at the same time.
const MAX_CONNECTIONS: usize = 65_536;
/// Positions of one connection at which a sum is kept until the other sum is known. With one
/// position per MiB this exceeds every send buffer by far (`tcp_wmem`).
const MAX_SUMS: usize = 4096;
/// Maximum number of spans of one connection that wait for a verdict.
const MAX_PENDING_SPANS: usize = 16_384;

/// Verdict about bytes that were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// The sums are equal, so packets carried these pages.
    Equal,
    /// The call copies from the program's memory by contract.
    FromMemory,
    /// Unknown, with this reason.
    Unknown(Reason),
}

/// Bytes that were sent, with their verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DigestVerdict {
    pub(crate) edge: EdgeKey,
    pub(crate) span: DigestSpan,
    /// Bytes of the span.
    pub(crate) bytes: u64,
    pub(crate) finding: Finding,
}

/// Number of comparisons of sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Comparisons {
    /// Positions at which sums were compared.
    pub(crate) compared: u64,
    /// Positions at which they were equal.
    pub(crate) equal: u64,
}

impl AddAssign for Comparisons {
    fn add_assign(&mut self, more: Self) {
        self.compared += more.compared;
        self.equal += more.equal;
    }
}

/// Digests of all connections.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    tracks: FastMap<(u64, u64), ConnectionDigest>,
    comparisons: Comparisons,
    /// Pages are not in the sums (level `counters`).
    only_counted: bool,
}

/// A complete span, with its end.
#[derive(Clone, Copy, Debug)]
struct PendingSpan {
    span: DigestSpan,
    end: u64,
    edge: EdgeKey,
}

/// Sum, and bytes in pages, at a position.
type At = (u64, u64);

/// Digests of one connection.
#[derive(Clone, Debug, Default)]
struct ConnectionDigest {
    sent: BTreeMap<u64, At>,
    transmitted: BTreeMap<u64, At>,
    /// Latest position at which both sums were known, and the two sums.
    known: Option<(u64, At, At)>,
    pending: VecDeque<PendingSpan>,
    /// Latest state in the kernel, and the edge of its open span.
    row: Option<(DigestState, EdgeKey)>,
}

impl Digests {
    /// Creates an empty account. `only_counted` states that pages are not in the sums.
    pub(crate) fn new(only_counted: bool) -> Self {
        Self {
            only_counted,
            ..Self::default()
        }
    }

    fn if_unobserved(&self) -> Finding {
        Finding::Unknown(if self.only_counted {
            Reason::CountedOnly
        } else {
            Reason::NotObserved
        })
    }

    /// Processes a change of a connection's sums. `edge` is the edge of its span. Returns the
    /// verdicts that follow.
    pub(crate) fn event(&mut self, sums: &DigestEvent, edge: EdgeKey) -> Vec<DigestVerdict> {
        let ended = PendingSpan {
            span: sums.state.span,
            end: sums.sum.position,
            edge,
        };
        let if_unobserved = self.if_unobserved();
        let key = (sums.sock, sums.state.connection_id);
        if self.tracks.len() >= MAX_CONNECTIONS && !self.tracks.contains_key(&key) {
            return unfollowed(sums, ended);
        }
        let track = self.tracks.entry(key).or_default();
        track.set_origin(&sums.state);
        let mut verdicts = Vec::new();
        match sums.event {
            digest_event_kind::SENT => track.add_span(ended, &sums.sum, if_unobserved, &mut verdicts),
            digest_event_kind::TRANSMITTED => keep(&mut track.transmitted, &sums.sum),
            digest_event_kind::CLOSED => {
                if sums.state.span.calls > 0 {
                    track.add_span(ended, &sums.sum, if_unobserved, &mut verdicts);
                }
                keep(&mut track.transmitted, &sums.state.transmitted);
            }
            _ => return verdicts,
        }
        self.comparisons += track.compare(&mut verdicts);
        if sums.event == digest_event_kind::CLOSED
            && let Some(track) = self.tracks.remove(&key)
        {
            let reason = if track.known.is_some() {
                Reason::DigestMismatch
            } else {
                Reason::NotObserved
            };
            verdicts.extend(track.pending.iter().map(|one| classify(one, Finding::Unknown(reason))));
        }
        verdicts
    }

    /// Replaces the state of an open connection.
    pub(crate) fn open(&mut self, sock: u64, row: &DigestState, edge: EdgeKey) {
        let key = (sock, row.connection_id);
        if self.tracks.len() < MAX_CONNECTIONS || self.tracks.contains_key(&key) {
            let track = self.tracks.entry(key).or_default();
            track.set_origin(row);
            track.row = Some((*row, edge));
        }
    }

    /// Returns the verdicts that would follow if no more records came, without changing anything,
    /// and how often sums would then have been compared, and been equal.
    pub(crate) fn so_far(&self) -> (Vec<DigestVerdict>, Comparisons) {
        let mut verdicts = Vec::new();
        let mut comparisons = self.comparisons;
        for track in self.tracks.values() {
            comparisons += track.so_far(self.if_unobserved(), &mut verdicts);
        }
        (verdicts, comparisons)
    }

    /// Returns whether bytes that were sent are not yet in a packet.
    pub(crate) fn has_data_in_flight(&self) -> bool {
        let mut rows = self.tracks.values().filter_map(|track| track.row.as_ref());
        rows.any(|(row, _)| row.transmitted.position < row.sent.position)
    }

    /// Resets the counts of comparisons. Waiting spans and sums stay.
    pub(crate) fn reset(&mut self) {
        self.comparisons = Comparisons::default();
    }
}

/// Returns the verdict for bytes of a connection that is not followed.
fn unfollowed(sums: &DigestEvent, ended: PendingSpan) -> Vec<DigestVerdict> {
    if sums.event == digest_event_kind::TRANSMITTED || ended.span.calls == 0 {
        return Vec::new();
    }
    vec![classify(&ended, Finding::Unknown(Reason::NotObserved))]
}

fn keep(places: &mut BTreeMap<u64, At>, sum: &DigestSum) {
    places.insert(sum.position, (sum.sum, sum.paged_bytes));
    while places.len() > MAX_SUMS {
        places.pop_first();
    }
}

impl ConnectionDigest {
    /// Sets the first position at which both sums are known: both are zero where summing began, if
    /// they began at the same byte.
    fn set_origin(&mut self, row: &DigestState) {
        if self.known.is_none() && row.flags & digest_flag::ANCHORED != 0 {
            self.known = Some((row.base_position, (0, 0), (0, 0)));
        }
    }

    /// Adds a complete span.
    fn add_span(
        &mut self,
        one: PendingSpan,
        at: &DigestSum,
        if_unobserved: Finding,
        verdicts: &mut Vec<DigestVerdict>,
    ) {
        keep(&mut self.sent, at);
        if one.span.paged_bytes == 0 {
            // No byte of the span is in the sums, so they cannot decide.
            verdicts.push(classify(&one, if_unobserved));
            return;
        }
        if self.pending.len() >= MAX_PENDING_SPANS
            && let Some(first) = self.pending.pop_front()
        {
            verdicts.push(classify(&first, Finding::Unknown(Reason::NotObserved)));
        }
        self.pending.push_back(one);
    }

    /// Compares the sums at all positions where both are known. Returns how often, and how often
    /// they were equal.
    fn compare(&mut self, verdicts: &mut Vec<DigestVerdict>) -> Comparisons {
        let mut comparisons = Comparisons::default();
        loop {
            let from = self.known.map_or(0, |(position, ..)| position);
            let next = self.sent.range(from + 1..).find_map(|(position, sent)| {
                let transmitted = self.transmitted.get(position)?;
                Some((*position, *sent, *transmitted))
            });
            let Some((position, sent, transmitted)) = next else {
                return comparisons;
            };
            let same = self
                .known
                .map(|(_, before, behind)| difference(sent, before) == difference(transmitted, behind));
            comparisons.compared += u64::from(same.is_some());
            comparisons.equal += u64::from(same == Some(true));
            let finding = finding_of(same);
            while let Some(one) = self.pending.front().filter(|one| one.end <= position) {
                verdicts.push(classify(one, finding));
                self.pending.pop_front();
            }
            self.known = Some((position, sent, transmitted));
            self.sent = self.sent.split_off(&(position + 1));
            self.transmitted = self.transmitted.split_off(&(position + 1));
        }
    }

    fn so_far(&self, if_unobserved: Finding, verdicts: &mut Vec<DigestVerdict>) -> Comparisons {
        let mut now = self.clone();
        let Some((row, edge)) = &self.row else {
            let queued = Finding::Unknown(Reason::StillQueued);
            verdicts.extend(now.pending.iter().map(|one| classify(one, queued)));
            return Comparisons::default();
        };
        // The state may be older than the latest event. Then its span is among the complete ones
        // already.
        let known = self.sent.last_key_value().map_or(0, |(position, _)| *position);
        let known = known.max(self.known.map_or(0, |(position, ..)| position));
        if row.span.calls > 0 && row.span.start >= known {
            let one = PendingSpan {
                span: row.span,
                end: row.sent.position,
                edge: *edge,
            };
            now.add_span(one, &row.sent, if_unobserved, verdicts);
        }
        keep(&mut now.transmitted, &row.transmitted);
        let comparisons = now.compare(verdicts);
        let reason = if row.transmitted.position < row.sent.position {
            Reason::StillQueued
        } else if now.known.is_some() {
            Reason::DigestMismatch
        } else {
            Reason::NotObserved
        };
        verdicts.extend(now.pending.iter().map(|one| classify(one, Finding::Unknown(reason))));
        comparisons
    }
}

fn classify(one: &PendingSpan, finding: Finding) -> DigestVerdict {
    let plain = one.span.flags & digest_span_flag::FROM_MEMORY != 0;
    DigestVerdict {
        edge: one.edge,
        span: one.span,
        bytes: one.end.saturating_sub(one.span.start),
        finding: if plain { Finding::FromMemory } else { finding },
    }
}

fn difference(now: At, before: At) -> At {
    (now.0.wrapping_sub(before.0), now.1.wrapping_sub(before.1))
}

fn finding_of(same: Option<bool>) -> Finding {
    match same {
        Some(true) => Finding::Equal,
        Some(false) => Finding::Unknown(Reason::DigestMismatch),
        None => Finding::Unknown(Reason::NotObserved),
    }
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
