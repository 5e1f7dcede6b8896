//! The bytes of one direction of a connection, by their place in the stream: what calls put in, and in which pages packets
//! carried them. Either may be known first.

use crate::collections::position_map::PositionMap;
use crate::decode::observation::Observation;
use crate::span::{Location, Span};

/// Runs of packets that are kept, per stream, for a receiver to come, after a call has claimed them. A receive buffer holds 6
/// MiB by default (`tcp_rmem`), and a run has a page at least as a rule.
const MAX_KEPT: usize = 16_384;

/// What a call gave to the stream, and who.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<T> {
    /// The place of the first byte in the stream.
    pub(crate) at: u64,
    pub(crate) span: Span,
    pub(crate) by: T,
}

impl<T: Copy> Sent<T> {
    /// The first `len` bytes, and the rest.
    fn split(self, len: u64) -> (Self, Self) {
        let (head, rest) = self.span.split(len);
        let rest = Self {
            at: self.at + len,
            span: rest,
            ..self
        };
        (Self { span: head, ..self }, rest)
    }
}

/// One direction of a connection. `T` says who gave bytes.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    /// The latest place, to make 64-bit places of 32-bit sequence numbers. Starts far from 0, for what was before.
    latest: Option<u64>,
    /// What was seen under way, by place.
    observed: PositionMap<Observation>,
    /// What was given and not yet seen, by place.
    in_flight: PositionMap<Sent<T>>,
    /// Up to where calls have claimed what was seen.
    claimed: u64,
    /// Packets that were seen.
    pub(crate) packets: u64,
}

impl<T> Default for Stream<T> {
    fn default() -> Self {
        Self {
            latest: None,
            observed: PositionMap::default(),
            in_flight: PositionMap::default(),
            claimed: 0,
            packets: 0,
        }
    }
}

impl<T: Copy> Stream<T> {
    /// The place in the stream of a sequence number, which wraps every 4 GiB: the one nearest to the latest.
    pub(crate) fn position(&mut self, sequence: u32) -> u64 {
        let position = match self.latest {
            None => (1 << 32) + u64::from(sequence),
            Some(latest) => latest.wrapping_add_signed(i64::from(sequence.wrapping_sub(latest as u32) as i32)),
        };
        self.latest = Some(self.latest.map_or(position, |latest| latest.max(position)));
        position
    }

    /// Takes note of a run that was seen under way, and returns what was given at that place, each with the part of the run
    /// that carries it. What was seen before at the same place is not replaced: a packet sent again is the same bytes.
    pub(crate) fn record_packet(&mut self, position: u64, run: Observation) -> Vec<(Sent<T>, Observation)> {
        let mut matched = Vec::new();
        self.match_packet(position, run, &mut |given, seen| matched.push((*given, *seen)));
        matched
    }

    /// The same, telling `each`.
    #[inline]
    pub(crate) fn match_packet(
        &mut self,
        position: u64,
        run: Observation,
        each: &mut impl FnMut(&Sent<T>, &Observation),
    ) {
        let is_new = self.observed.last().is_none_or(|(at, last)| at + last.len <= position);
        if is_new {
            self.match_given(position, &run, each);
            self.observed.push(position, run);
            return;
        }
        for (start, fresh) in self.not_seen_yet(position, run) {
            self.match_given(start, &fresh, each);
            self.observed.insert(start, fresh);
        }
    }

    /// Forgets the oldest runs. Those that no call has claimed yet are kept if there is `room` for them: a single sendfile(2)
    /// can be under way for gigabytes before its record comes.
    pub(crate) fn trim(&mut self, room: bool) {
        while self.observed.len() > MAX_KEPT {
            let Some((at, run)) = self.observed.first() else {
                break;
            };
            if room && at + run.len > self.claimed {
                break;
            }
            self.observed.pop_first();
        }
    }

    /// Runs that are kept.
    pub(crate) fn len(&self) -> usize {
        self.observed.len()
    }

    /// The parts of a run at places that nothing was seen at.
    fn not_seen_yet(&self, position: u64, run: Observation) -> Vec<(u64, Observation)> {
        let end = position + run.len;
        let mut fresh = Vec::new();
        let mut at = position;
        for &(start, have) in self
            .observed
            .overlapping_from(position)
            .take_while(|(start, _)| *start < end)
        {
            let have_end = start + have.len;
            if have_end <= at {
                continue;
            }
            if start > at {
                fresh.push((at, run.part(at - position, start - at)));
            }
            at = at.max(have_end);
            if at >= end {
                break;
            }
        }
        if at < end {
            fresh.push((at, run.part(at - position, end - at)));
        }
        fresh
    }

    /// Takes out what was given within a run.
    #[inline]
    fn match_given(&mut self, start: u64, run: &Observation, each: &mut impl FnMut(&Sent<T>, &Observation)) {
        if !self.in_flight.is_empty() {
            self.match_some(start, run, each);
        }
    }

    fn match_some(&mut self, start: u64, run: &Observation, each: &mut impl FnMut(&Sent<T>, &Observation)) {
        let end = start + run.len;
        let reaching = self.in_flight.overlapping_from(start).take_while(|(at, _)| *at < end);
        let reaching = reaching.filter(|(at, given)| at + given.span.len > start);
        let places: Vec<u64> = reaching.map(|(at, _)| *at).collect();
        for at in places {
            let Some(mut given) = self.in_flight.remove(at) else {
                continue;
            };
            if at < start {
                let (before, rest) = given.split(start - at);
                self.in_flight.insert(at, before);
                given = rest;
            }
            if given.at + given.span.len > end {
                let (head, after) = given.split(end - given.at);
                self.in_flight.insert(end, after);
                given = head;
            }
            let part = run.part(given.at - start, given.span.len);
            each(&given, &part);
        }
    }

    /// Takes note of what a call gave from a place on, and tells `each` what has been seen of it already.
    ///
    /// Two calls that claim the same place cannot both be right: such spans are added to `refused`, and not noted.
    pub(crate) fn record_send(
        &mut self,
        position: u64,
        spans: &[Span],
        by: T,
        refused: &mut Vec<Span>,
        each: &mut impl FnMut(&Sent<T>, &Observation),
    ) {
        // The one before may reach to where these begin.
        let mut number = self.observed.before(position);
        let before = number.checked_sub(1).and_then(|before| self.observed.get(before));
        if before.is_some_and(|(start, run)| start + run.len > position) {
            number -= 1;
        }
        let mut at = Some(position);
        for &span in spans {
            let end = at.and_then(|at| at.checked_add(span.len));
            match (at, end) {
                (Some(at), Some(end)) if self.is_free(at, end) => {
                    let given = Sent { at, span, by };
                    // Most runs are just what was in a slot.
                    if let Some((start, run)) = self.observed.get(number)
                        && (*start, run.len) == (at, span.len)
                    {
                        each(&given, run);
                        number += 1;
                    } else {
                        number = self.give_one(given, end, number, each);
                    }
                }
                _ => refused.push(span),
            }
            at = end;
        }
    }

    /// Whether no call has given anything in a stretch. It is claimed from now on, at any rate.
    fn is_free(&mut self, position: u64, end: u64) -> bool {
        self.claimed = self.claimed.max(end);
        if self.in_flight.is_empty() {
            return true;
        }
        let before = self.in_flight.last_before(end);
        before.is_none_or(|(at, given)| at + given.span.len <= position)
    }

    /// One span that ends at `end`. No run before `number` reaches to where it begins; returns the same of the next one.
    fn give_one(
        &mut self,
        mut rest: Sent<T>,
        end: u64,
        mut number: usize,
        each: &mut impl FnMut(&Sent<T>, &Observation),
    ) -> usize {
        while let Some(&(start, run)) = self.observed.get(number)
            && start < end
        {
            let run_end = start + run.len;
            if run_end > rest.at {
                if start > rest.at {
                    let (before, after) = rest.split(start - rest.at);
                    self.in_flight.insert(before.at, before);
                    rest = after;
                }
                let len = run_end.min(end) - rest.at;
                let (head, after) = rest.split(len);
                each(&head, &run.part(rest.at - start, len));
                rest = after;
            }
            if run_end > end {
                break;
            }
            number += 1;
        }
        if rest.span.len > 0 {
            self.in_flight.insert(rest.at, rest);
        }
        number
    }

    /// What was seen in a stretch, cut to it, in order; places that were not seen are left out.
    pub(crate) fn runs(&self, position: u64, len: u64) -> impl Iterator<Item = (u64, Observation)> {
        runs_in(&self.observed, position, len)
    }

    /// Where the bytes of a stretch lie, as far as it is known: in the pages that were seen under way, or in those that a call
    /// gave. Each with its distance from `place`, in order.
    pub(crate) fn locations(&self, position: u64, len: u64) -> Vec<(u64, u64, Location)> {
        let end = position + len;
        let seen = self
            .runs(position, len)
            .filter_map(|(at, run)| Some((at - position, run.len, Location::Page(run.start?))));
        let given = self
            .in_flight
            .overlapping_from(position)
            .take_while(|(at, _)| *at < end);
        let given = given.filter_map(|&(at, given)| {
            let from = at.max(position);
            let to = (at + given.span.len).min(end);
            (from < to).then(|| (from - position, to - from, given.span.location.plus(from - at)))
        });
        let mut all: Vec<_> = seen.chain(given).collect();
        all.sort_by_key(|(at, ..)| *at);
        all
    }

    /// What was given and has not been seen.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &Sent<T>> {
        self.in_flight.values()
    }

    /// The same, taken out: nothing more will be sent.
    pub(crate) fn close(&mut self) -> Vec<Sent<T>> {
        std::mem::take(&mut self.in_flight).into_values().collect()
    }
}

/// What of these runs lies in a stretch, cut to it, in order.
fn runs_in(seen: &PositionMap<Observation>, position: u64, len: u64) -> impl Iterator<Item = (u64, Observation)> {
    let end = position + len;
    let overlapping_from = seen
        .overlapping_from(position)
        .take_while(move |(start, _)| *start < end);
    overlapping_from.filter_map(move |&(start, run)| {
        let from = start.max(position);
        let to = (start + run.len).min(end);
        (from < to).then(|| (from, run.part(from - start, to - from)))
    })
}

#[cfg(test)]
mod tests {
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
            len,
        }
    }

    /// What was seen of what is given.
    fn give(stream: &mut Stream<()>, position: u64, span: Span) -> Option<Vec<(Sent<()>, Observation)>> {
        let (mut matched, mut refused) = (Vec::new(), Vec::new());
        stream.record_send(position, &[span], (), &mut refused, &mut |given, seen| {
            matched.push((*given, *seen));
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
    fn what_no_call_has_claimed_is_kept_while_there_is_room() {
        let many = 3 * MAX_KEPT as u64;
        let all = |room| {
            let mut stream = Stream::<()>::default();
            for at in 0..many {
                stream.record_packet(at * 10, run(at * 1000, 10));
                stream.trim(room);
            }
            let matched = give(&mut stream, 0, span(0, many * 10)).unwrap().len();
            stream.trim(room);
            assert_eq!(stream.len(), MAX_KEPT, "claimed ones are forgotten");
            matched
        };
        assert_eq!(all(true), 3 * MAX_KEPT);
        assert_eq!(all(false), MAX_KEPT);
    }

    #[test]
    fn places_come_from_what_was_seen_and_else_from_what_was_given() {
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
    fn two_calls_cannot_give_the_same_bytes() {
        let mut stream = Stream::<()>::default();
        assert!(give(&mut stream, 100, span(0, 50)).is_some());
        assert!(give(&mut stream, 149, span(0, 50)).is_none());
        assert!(give(&mut stream, 90, span(0, 11)).is_none());
        assert!(give(&mut stream, 150, span(0, 50)).is_some());
    }

    proptest! {
        /// However calls are cut, packets are cut, sent again and put out of order: every byte is matched once, with itself.
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
            let mut given = vec![false; total as usize];
            let mut calls = calls.into_iter();
            let mut packets = packets.into_iter();
            let mut at = 0;
            for calls_first in order {
                let pairs = if calls_first {
                    let Some(len) = calls.next() else { continue };
                    given[at as usize..(at + len) as usize].fill(true);
                    // One call gives several spans at once.
                    let (first, second) = span(1000 + at, len).split(len / 3);
                    let (mut pairs, mut refused) = (Vec::new(), Vec::new());
                    let spans = if first.len > 0 { vec![first, second] } else { vec![second] };
                    stream.record_send(1000 + at, &spans, (), &mut refused, &mut |given, seen| pairs.push((*given, *seen)));
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
                for (given, seen) in pairs {
                    prop_assert_eq!(given.span.len, seen.len);
                    prop_assert_eq!(given.span.location, Location::Page(seen.start.unwrap()));
                    for byte in 0..seen.len {
                        matched[(given.span.position - 1000 + byte) as usize] += 1;
                    }
                }
            }
            for byte in 0..total as usize {
                prop_assert_eq!(matched[byte], u32::from(covered[byte] && given[byte]), "byte {}", byte);
            }
            let unseen: u64 = stream.in_flight().map(|given| given.span.len).sum();
            let want = (0..total as usize).filter(|&b| given[b] && !covered[b]).count();
            prop_assert_eq!(unseen, want as u64);
        }
    }
}
