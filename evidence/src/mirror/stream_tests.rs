//! Tests of streams: matching of sent spans with observations, in either order.

use super::*;
use crate::decode::endpoints::EndpointId;
use crate::decode::observation::SlotKind;
use crate::decode::page_address::{Owner, PageAddress};
use crate::history::Histories;
use crate::mirror::pipe_position::PipePosition;
use crate::span::Location;
use proptest::prelude::*;

fn run(at: u64, len: u64) -> Observation {
    Observation {
        start: Some(PageAddress(at)),
        owner: Owner::Kernel { position: 0 },
        slot_kind: SlotKind::Plain,
        is_copied_on_receive: false,
        len,
    }
}

/// Returns what packets carried of a sent span; `None` if it was refused.
fn give(stream: &mut Stream<()>, position: u64, span: Span) -> Option<Vec<(Sent<()>, Observation)>> {
    let (mut matched, mut refused) = (Vec::new(), Vec::new());
    stream.record_send(position, &[span], (), &mut refused, &mut |sent, observation| {
        matched.push((*sent, *observation));
    });
    refused.is_empty().then_some(matched)
}

fn span(at: u64, len: u64) -> Span {
    Span {
        len,
        origin: EndpointId::MEMORY,
        position: at,
        stream: 0,
        pipe_position: PipePosition::default(),
        location: Location::Page(PageAddress(at)),
        history: Histories::START,
    }
}

#[test]
fn sequence_numbers_wrap() {
    let mut stream = Stream::<()>::default();
    let first = stream.position(u32::MAX - 9);
    assert_eq!(stream.position(10) - first, 20);
    assert_eq!(stream.position(u32::MAX - 9), first, "sent again");
    let far = stream.position(1 << 30);
    assert!(far > first);
}

#[test]
fn unclaimed_observations_are_kept_while_there_is_space() {
    let many = 3 * MAX_KEPT as u64;
    let all = |has_space| {
        let mut stream = Stream::<()>::default();
        for at in 0..many {
            stream.record_packet(at * 10, run(at * 1000, 10));
            stream.trim(has_space);
        }
        let matched = give(&mut stream, 0, span(0, many * 10)).unwrap().len();
        stream.trim(has_space);
        assert_eq!(stream.len(), MAX_KEPT, "claimed ones are forgotten");
        matched
    };
    assert_eq!(all(true), 3 * MAX_KEPT);
    assert_eq!(all(false), MAX_KEPT);
}

#[test]
fn locations_come_from_observations_or_else_from_the_sent_spans() {
    let mut stream = Stream::<()>::default();
    give(&mut stream, 100, span(5000, 50)).unwrap();
    stream.record_packet(110, run(5010, 20));
    let at = |address| Location::Page(PageAddress(address));
    assert_eq!(
        stream.locations(105, 100),
        [(0, 5, at(5005)), (5, 20, at(5010)), (25, 20, at(5030))]
    );
    assert!(stream.locations(150, 10).is_empty());
}

#[test]
fn two_calls_cannot_send_the_same_position() {
    let mut stream = Stream::<()>::default();
    assert!(give(&mut stream, 100, span(0, 50)).is_some());
    assert!(give(&mut stream, 149, span(0, 50)).is_none());
    assert!(give(&mut stream, 90, span(0, 11)).is_none());
    assert!(give(&mut stream, 150, span(0, 50)).is_some());
}

proptest! {
    /// Every byte is matched exactly once and with itself, for every division, repetition and
    /// order of calls and packets.
    #[test]
    fn every_byte_is_matched_once_with_itself(
        calls in prop::collection::vec(1_u64..50, 1..20),
        packets in prop::collection::vec((0_u64..400, 1_u64..60), 0..60),
        order in prop::collection::vec(any::<bool>(), 80),
    ) {
        let total: u64 = calls.iter().sum();
        let mut stream = Stream::<()>::default();
        let mut matched = vec![0_u32; total as usize];
        let mut covered = vec![false; total as usize];
        let mut sent = vec![false; total as usize];
        let mut calls = calls.into_iter();
        let mut packets = packets.into_iter();
        let mut at = 0;
        for calls_first in order {
            let pairs = if calls_first {
                let Some(len) = calls.next() else { continue };
                sent[at as usize..(at + len) as usize].fill(true);
                // One call sends several spans at once.
                let (first, second) = span(1000 + at, len).split(len / 3);
                let (mut pairs, mut refused) = (Vec::new(), Vec::new());
                let spans = if first.len > 0 { vec![first, second] } else { vec![second] };
                stream.record_send(1000 + at, &spans, (), &mut refused, &mut |sent, observation| pairs.push((*sent, *observation)));
                prop_assert!(refused.is_empty());
                at += len;
                pairs
            } else {
                let Some((start, len)) = packets.next() else { continue };
                let (start, end) = (start.min(total), (start + len).min(total));
                if start == end { continue }
                covered[start as usize..end as usize].fill(true);
                stream.record_packet(1000 + start, run(1000 + start, end - start))
            };
            for (sent, observation) in pairs {
                prop_assert_eq!(sent.span.len, observation.len);
                prop_assert_eq!(sent.span.location, Location::Page(observation.start.unwrap()));
                for byte in 0..observation.len {
                    matched[(sent.span.position - 1000 + byte) as usize] += 1;
                }
            }
        }
        for byte in 0..total as usize {
            prop_assert_eq!(matched[byte], u32::from(covered[byte] && sent[byte]), "byte {}", byte);
        }
        let in_flight: u64 = stream.in_flight().map(|sent| sent.span.len).sum();
        let expected = (0..total as usize).filter(|&b| sent[b] && !covered[b]).count();
        prop_assert_eq!(in_flight, expected as u64);
    }
}
