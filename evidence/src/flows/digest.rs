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
mod tests {
    use super::*;
    use crate::decode::endpoints::EndpointId;
    use proptest::prelude::*;
    use zctrace_records::{CHECKPOINT_BYTES, mix};

    const SECRET: u64 = 0x1234_5678_9abc_def0;
    const BASE: u64 = (1 << 32) + 77;

    const EDGE: EdgeKey = EdgeKey {
        tgid: 7,
        nr: 40,
        from: EndpointId::MEMORY,
        to: EndpointId::PIPE,
    };

    /// Adds `len` consecutive bytes at `location`, or in no page, as the eBPF programs do.
    fn add(sum: &mut DigestSum, location: Option<u64>, len: u64) -> Option<DigestSum> {
        let (start, end) = (sum.position, sum.position + len);
        let term = location.map_or(0, |location| mix(location.wrapping_sub(start), SECRET));
        let mark = end & !(CHECKPOINT_BYTES - 1);
        let checkpoint = (mark > start).then(|| DigestSum {
            position: mark,
            sum: sum.sum.wrapping_add((mark - start).wrapping_mul(term)),
            paged_bytes: sum.paged_bytes + if location.is_some() { mark - start } else { 0 },
        });
        sum.sum = sum.sum.wrapping_add(len.wrapping_mul(term));
        sum.paged_bytes += if location.is_some() { len } else { 0 };
        sum.position = end;
        checkpoint
    }

    fn start() -> DigestSum {
        DigestSum {
            position: BASE,
            ..DigestSum::default()
        }
    }

    fn event(event: u32, at: DigestSum, row: DigestState) -> DigestEvent {
        DigestEvent {
            header: zctrace_records::RecordHeader {
                sequence: 0,
                timestamp_ns: 0,
                tgid: 7,
                tid: 7,
                cpu: 0,
                kind: DigestEvent::KIND,
                len: 0,
            },
            sock: 1,
            event,
            reserved: 0,
            sum: at,
            state: row,
        }
    }

    fn row(sent: DigestSum, transmitted: DigestSum, span: DigestSpan) -> DigestState {
        DigestState {
            connection_id: 1,
            base_position: BASE,
            flags: digest_flag::ANCHORED,
            sent,
            transmitted,
            span,
            ..DigestState::default()
        }
    }

    /// Locations of the source: page `n` of the file is page `n * 7 + 1` of memory.
    fn location(at: u64) -> u64 {
        (at / 4096 * 7 + 1) * 4096 + at % 4096
    }

    /// Returns all records of a connection that sends `len` bytes of a file. Calls cut them at
    /// `calls`, packets at `packets`, and `in_packets` is the location of each byte in packets.
    fn records(len: u64, calls: &[u64], packets: &[u64], in_packets: &dyn Fn(u64) -> u64) -> Vec<DigestEvent> {
        let cuts = |sizes: &[u64]| {
            let mut cuts: Vec<u64> = (1..=len.div_ceil(4096)).map(|page| (page * 4096).min(len)).collect();
            let mut at = 0;
            for size in sizes.iter().cycle().take(4000) {
                at += size;
                if at >= len {
                    break;
                }
                cuts.push(at);
            }
            cuts.sort_unstable();
            cuts.dedup();
            cuts
        };
        let mut all = Vec::new();
        let (mut sent, mut transmitted) = (start(), start());
        let mut span = DigestSpan {
            start: BASE,
            calls: 1,
            ..DigestSpan::default()
        };
        let (mut from, mut before) = (0, 0);
        for cut in cuts(calls) {
            if let Some(mark) = add(&mut sent, Some(location(from)), cut - from) {
                span.paged_bytes = mark.paged_bytes - before;
                all.push(event(digest_event_kind::SENT, mark, row(sent, transmitted, span)));
                (span.start, before) = (mark.position, mark.paged_bytes);
            }
            from = cut;
        }
        span.paged_bytes = sent.paged_bytes - before;
        let mut from = 0;
        for cut in cuts(packets) {
            if let Some(mark) = add(&mut transmitted, Some(in_packets(from)), cut - from) {
                all.push(event(
                    digest_event_kind::TRANSMITTED,
                    mark,
                    row(sent, transmitted, span),
                ));
            }
            from = cut;
        }
        all.push(event(digest_event_kind::CLOSED, sent, row(sent, transmitted, span)));
        all
    }

    fn moved_and_unknown(digests: &mut Digests, records: &[DigestEvent]) -> (u64, u64) {
        let (mut moved, mut unknown) = (0, 0);
        for verdicts in records.iter().flat_map(|record| digests.event(record, EDGE)) {
            match verdicts.finding {
                Finding::Equal => moved += verdicts.bytes,
                Finding::Unknown(_) => unknown += verdicts.bytes,
                Finding::FromMemory => panic!("nothing is"),
            }
        }
        (moved, unknown)
    }

    proptest! {
        /// All bytes are moved, for every division into calls and packets.
        #[test]
        fn division_into_calls_and_packets_does_not_matter(
            len in 1_u64..3_500_000,
            calls in prop::collection::vec(1_u64..200_000, 1..8),
            packets in prop::collection::vec(1_u64..70_000, 1..8),
        ) {
            let all = records(len, &calls, &packets, &location);
            prop_assert_eq!(moved_and_unknown(&mut Digests::new(false), &all), (len, 0));
        }

        /// One page was replaced, or two exchanged their positions: their MiB is not moved, all
        /// others are.
        #[test]
        fn replaced_page_makes_its_mebibyte_unknown(
            megabytes in 2_u64..4,
            page in 0_u64..512,
            with in prop::option::of(0_u64..512),
            packets in prop::collection::vec(1_u64..70_000, 1..8),
        ) {
            prop_assume!(with != Some(page));
            let len = megabytes << 20;
            let swapped = |at: u64| match (at / 4096, with) {
                (this, None) if this == page => 0xdead_0000 + at % 4096,
                (this, Some(with)) if this == page => location(with * 4096 + at % 4096),
                (this, Some(with)) if this == with => location(page * 4096 + at % 4096),
                _ => location(at),
            };
            let all = records(len, &[65_536], &packets, &swapped);
            let mut touched: Vec<u64> = [Some(page), with]
                .into_iter()
                .flatten()
                .flat_map(|page| [BASE + page * 4096, BASE + page * 4096 + 4095])
                .map(|at| at / CHECKPOINT_BYTES)
                .collect();
            touched.sort_unstable();
            touched.dedup();
            let unknown: u64 = touched
                .iter()
                .map(|mark| ((mark + 1) * CHECKPOINT_BYTES).min(BASE + len) - (mark * CHECKPOINT_BYTES).max(BASE))
                .sum();
            prop_assert_eq!(moved_and_unknown(&mut Digests::new(false), &all), (len - unknown, unknown));
        }

        /// With lost records, only moved bytes are reported as moved, and no byte is reported twice.
        #[test]
        fn lost_records_cause_no_false_moved(
            lost in prop::collection::vec(any::<bool>(), 16),
            wrong in any::<bool>(),
        ) {
            let len = 4 << 20;
            let page = 600;
            let carries = |at: u64| if wrong && at / 4096 == page { 0xdead_0000 } else { location(at) };
            let mut all = records(len, &[65_536], &[16_384], &carries);
            let mut lost = lost.into_iter().cycle();
            all.retain(|_| !lost.next().unwrap_or(false));
            let (moved, unknown) = moved_and_unknown(&mut Digests::new(false), &all);
            prop_assert!(moved + unknown <= len);
            if wrong {
                prop_assert!(moved <= len - CHECKPOINT_BYTES, "{moved}");
            }
        }
    }

    #[test]
    fn connection_traced_from_its_middle_is_judged_from_the_first_checkpoint() {
        let len = 3 << 20;
        let mut all = records(len, &[65_536], &[16_384], &location);
        for record in &mut all {
            record.state.flags = 0;
        }
        let first = CHECKPOINT_BYTES - BASE % CHECKPOINT_BYTES;
        assert_eq!(moved_and_unknown(&mut Digests::new(false), &all), (len - first, first));
    }

    #[test]
    fn bytes_in_flight_are_reported_as_such_and_stay_in_flight() {
        let mut digests = Digests::new(false);
        let mut sent = start();
        add(&mut sent, Some(location(0)), 4096);
        let span = DigestSpan {
            start: BASE,
            paged_bytes: 4096,
            calls: 1,
            ..DigestSpan::default()
        };
        digests.open(1, &row(sent, start(), span), EDGE);
        assert!(digests.has_data_in_flight());
        let finding = |digests: &Digests| digests.so_far().0.iter().map(|one| one.finding).collect::<Vec<_>>();
        assert_eq!(finding(&digests), [Finding::Unknown(Reason::StillQueued)]);
        digests.open(1, &row(sent, sent, span), EDGE);
        assert!(!digests.has_data_in_flight());
        assert_eq!(finding(&digests), [Finding::Equal]);
        assert_eq!(finding(&digests), [Finding::Equal], "asking changes nothing");
        let once = Comparisons { compared: 1, equal: 1 };
        assert_eq!(digests.so_far().1, once, "what made it equal is counted");
        let other = DigestSum {
            sum: sent.sum + 1,
            ..sent
        };
        digests.open(1, &row(sent, other, span), EDGE);
        assert_eq!(finding(&digests), [Finding::Unknown(Reason::DigestMismatch)]);
    }

    #[test]
    fn new_socket_at_a_reused_address_is_distinguished() {
        let mut digests = Digests::new(false);
        let all = records(4096, &[4096], &[4096], &location);
        assert_eq!(moved_and_unknown(&mut digests, &all), (4096, 0));
        let mut again = all;
        for record in &mut again {
            record.state.connection_id = 2;
        }
        assert_eq!(moved_and_unknown(&mut digests, &again), (4096, 0));
        assert!(digests.tracks.is_empty(), "what has ended is forgotten");
    }
}
