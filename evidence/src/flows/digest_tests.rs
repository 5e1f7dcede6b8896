//! Tests of the level `digest`: verdicts for random calls, packets, replaced pages and lost
//! records.

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
    assert_eq!(digests.so_far().1, once, "the comparison is counted");
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
