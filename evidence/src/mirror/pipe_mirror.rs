//! A pipe's ring, kept in step with the kernel's by what producers and consumers did to it.
//!
//! A call is believed only if it takes up exactly where the one before it left off, and if the pages that it saw are those
//! that were put in. Otherwise the ring is lost: what is in it is unknown until it has been seen empty.

use std::collections::VecDeque;

use zctrace_records::EndpointState;

use crate::decode::page_address::PageAddress;
use crate::mirror::pipe_position::PipePosition;
use crate::mirror::pipe_usage::Usage;
use crate::span::{Span, total};

/// A slot: what is left in it, and where its last byte ends. The end stays when bytes are taken from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MirrorSlot {
    pub(crate) len: u64,
    /// How many of the ring's spans are in it.
    pub(crate) spans: usize,
    pub(crate) end: Option<PageAddress>,
}

impl MirrorSlot {
    /// Whether what lies in the ring now, by its end, is this slot, before or after it was emptied.
    ///
    /// Most consumers move a slot's offset on while they take from it, so that its end stays. Writing to a file only sets its
    /// length to zero (fs/splice.c, `iter_file_splice_write`): then the end that is seen is where the rest began.
    fn is(&self, seen: Option<PageAddress>) -> bool {
        let began = self.end.map(|end| PageAddress(end.0.wrapping_sub(self.len)));
        seen.is_some() && (seen == self.end || seen == began)
    }
}

/// Whether a call can be applied to a ring now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// It is its turn.
    Ready,
    /// Another call must come first, whose record has not been read yet.
    Early,
    /// It can never be: something happened to the ring that was not seen.
    Impossible,
}

/// Why bytes of a ring are not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Desynced;

/// A ring of slots.
#[derive(Debug, Default)]
pub(crate) struct PipeMirror {
    /// The pipe's inode number, the address of its ring, and its slots. Addresses are used again at once by the next pipe, and
    /// a new ring starts counting anew (`F_SETPIPE_SZ`).
    identity: Option<(u64, u64, u32)>,
    /// Slots that are in the ring, from the tail on.
    slots: VecDeque<MirrorSlot>,
    /// What is in them, from the tail on, and how many bytes that is.
    spans: VecDeque<Span>,
    bytes: u64,
    tail: u32,
    /// Nothing is known of what is in it.
    lost: bool,
    /// The pipe_position of what goes in, 0 if it has none yet; how many bytes have gone in since it began, and out.
    pipe_position: u32,
    put: u64,
    taken: u64,
    /// For the list of pipes; no verdict rests on it.
    pub(crate) usage: Usage,
}

/// Head and tail, as the kernel had them at the entry.
fn entry(end: &EndpointState) -> (u32, u32) {
    ((end.before >> 32) as u32, end.before as u32)
}

/// Head and tail at the exit.
fn exit(end: &EndpointState) -> (u32, u32) {
    ((end.after >> 32) as u32, end.after as u32)
}

/// Bytes in the slot at the tail, of the two forms in which it is written down.
fn tail_len(offset_and_len: u64) -> u64 {
    offset_and_len & 0xffff_ffff
}

/// Whether a later slot had taken the place of the one at this position before anybody could look at it: the head has gone
/// once round the ring.
fn is_reused(end: &EndpointState, at: u32) -> bool {
    exit(end).0.wrapping_sub(at) > end.size
}

/// How far `a` is ahead of `b`, for counters that wrap.
fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl PipeMirror {
    fn head(&self) -> u32 {
        self.tail.wrapping_add(self.slots.len() as u32)
    }

    /// Takes note of a ring that is met for the first time, that was exchanged, or that was seen empty while lost.
    ///
    /// A consumer that found a lost ring empty slept until something was put in: that may have been recorded, and been
    /// forgotten, before the consumer was. So only a producer's word counts then.
    fn meet(&mut self, end: &EndpointState, puts: bool) {
        let identity = Some((end.ino, end.extra, end.size));
        let (head, tail) = entry(end);
        let is_new = self.identity != identity;
        if is_new {
            self.identity = identity;
            self.lose();
        }
        if self.lost && head == tail && (is_new || puts) {
            self.lose();
            self.lost = false;
            self.tail = tail;
            (self.pipe_position, self.put, self.taken) = (0, 0, 0);
        }
    }

    /// Takes in what was found in the ring, unless more is known of it: nobody put it there by a call that was seen.
    pub(crate) fn find(&mut self, end: &EndpointState, spans: Vec<Span>, slots: Vec<MirrorSlot>) {
        let identity = Some((end.ino, end.extra, end.size));
        if self.identity == identity && !self.lost {
            return;
        }
        self.identity = identity;
        self.lost = false;
        self.tail = entry(end).1;
        (self.pipe_position, self.taken) = (0, 0);
        self.bytes = total(&spans);
        self.put = self.bytes;
        self.spans = spans.into();
        self.slots = slots.into();
    }

    /// Where in the stream the next bytes will be put. `new` numbers a pipe_position that begins; none does while nothing is known.
    pub(crate) fn next_put(&mut self, new: impl FnOnce() -> u32) -> PipePosition {
        self.position(self.put, new)
    }

    /// Where in the stream the next bytes will be taken from.
    pub(crate) fn next_taken(&mut self, new: impl FnOnce() -> u32) -> PipePosition {
        self.position(self.taken, new)
    }

    fn position(&mut self, at: u64, new: impl FnOnce() -> u32) -> PipePosition {
        if self.lost {
            return PipePosition::default();
        }
        if self.pipe_position == 0 {
            self.pipe_position = new();
        }
        PipePosition {
            number: self.pipe_position,
            at,
        }
    }

    /// Forgets what is in the ring: nothing will be said of it until it has been seen empty.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
        self.slots.clear();
        self.spans.clear();
        self.bytes = 0;
    }

    /// Takes out what must have left the ring, for it has no more slots than that: somebody who is not watched took it.
    pub(crate) fn overflow(&mut self) -> Vec<Span> {
        let room = self.identity.map_or(0, |(_, _, slots)| slots as usize);
        let gone = self.slots.len().saturating_sub(room);
        if gone == 0 {
            return Vec::new();
        }
        let mut spans = Vec::new();
        self.taken = self.taken.wrapping_add(self.release(gone, &mut spans));
        spans
    }

    /// Takes out all that is in the ring: nobody will be seen to take it.
    pub(crate) fn leave(&mut self) -> Vec<Span> {
        self.usage.left = self.known_bytes();
        let spans = self.spans.drain(..).collect();
        self.lose();
        spans
    }

    /// Whether a producer can be applied.
    pub(crate) fn push_readiness(&mut self, end: &EndpointState) -> Readiness {
        self.meet(end, true);
        if self.lost {
            return Readiness::Ready;
        }
        match ahead(entry(end).0, self.head()) {
            0 => Readiness::Ready,
            1.. => Readiness::Early,
            _ => Readiness::Impossible,
        }
    }

    /// Whether a consumer of `len` bytes can be applied. One that only looks (tee) leaves the tail where it is.
    pub(crate) fn pop_readiness(&mut self, end: &EndpointState, len: u64) -> Readiness {
        self.meet(end, false);
        if self.lost {
            return Readiness::Ready;
        }
        match ahead(entry(end).1, self.tail) {
            0 if self.available() >= len => Readiness::Ready,
            0.. => Readiness::Early,
            _ => Readiness::Impossible,
        }
    }

    /// Bytes in it, if that is known.
    pub(crate) fn known_bytes(&self) -> Option<u64> {
        (!self.lost && self.identity.is_some()).then(|| self.available())
    }

    fn available(&self) -> u64 {
        self.bytes
    }

    /// Adds what is in the first slots to `into`, and lets them go; tells how many bytes that is.
    fn release(&mut self, slots: usize, into: &mut Vec<Span>) -> u64 {
        let (mut spans, mut len) = (0, 0_u64);
        for slot in self.slots.drain(..slots) {
            spans += slot.spans;
            len = len.wrapping_add(slot.len);
        }
        let spans = spans.min(self.spans.len());
        let (first, second) = self.spans.as_slices();
        let observed = spans.min(first.len());
        into.extend_from_slice(&first[..observed]);
        into.extend_from_slice(&second[..spans - observed]);
        self.spans.drain(..spans);
        self.bytes = self.bytes.wrapping_sub(len);
        self.tail = self.tail.wrapping_add(slots as u32);
        len
    }

    /// Adds the first `len` bytes of the first slot, which has more than these, to `into`.
    fn take_part(&mut self, len: u64, into: &mut Vec<Span>) {
        let Some(slot) = self.slots.front_mut() else { return };
        let mut left = len;
        while left > 0 {
            let Some(first) = self.spans.front_mut() else { break };
            if first.len > left {
                let (head, rest) = first.split(left);
                *first = rest;
                into.push(head);
                break;
            }
            left -= first.len;
            slot.spans = slot.spans.saturating_sub(1);
            into.extend(self.spans.pop_front());
        }
        slot.len -= len;
        self.bytes = self.bytes.wrapping_sub(len);
    }

    /// Slots that a producer added, by the kernel's count.
    pub(crate) fn added(end: &EndpointState) -> u32 {
        exit(end).0.wrapping_sub(entry(end).0)
    }

    /// Puts slots in, with the spans that are in them one after the other, and before that what was appended to the slot that
    /// was the last one.
    pub(crate) fn put(
        &mut self,
        end: &EndpointState,
        appended: &[Span],
        slots: &[MirrorSlot],
        spans: &[Span],
    ) -> Result<(), Desynced> {
        debug_assert_eq!(slots.iter().map(|slot| slot.spans).sum::<usize>(), spans.len());
        if self.lost {
            return Err(Desynced);
        }
        if slots.len() as u32 != Self::added(end) || entry(end).0 != self.head() {
            self.lose();
            return Err(Desynced);
        }
        if !appended.is_empty() {
            // The slot may have been emptied since by a consumer whose record came first.
            let Some(last) = self.slots.back_mut() else {
                self.lose();
                return Err(Desynced);
            };
            let len = total(appended);
            last.end = last.end.map(|end| end.plus(len));
            last.len = last.len.wrapping_add(len);
            last.spans += appended.len();
            self.count_put(len);
            self.spans.extend(appended);
        }
        self.count_put(slots.iter().fold(0, |sum, slot| sum.wrapping_add(slot.len)));
        self.spans.extend(spans);
        self.slots.extend(slots);
        Ok(())
    }

    fn count_put(&mut self, len: u64) {
        self.put = self.put.wrapping_add(len);
        self.bytes = self.bytes.wrapping_add(len);
    }

    /// Takes bytes out: whole slots from the tail on, and a part of the one that is then at the tail.
    ///
    /// `ends` are the ends of the slots as they lie there afterwards; each must be the slot that was put in there. What was taken
    /// is added to `into`, or nothing.
    pub(crate) fn take(
        &mut self,
        end: &EndpointState,
        len: u64,
        ends: impl IntoIterator<Item = Option<PageAddress>>,
        into: &mut Vec<Span>,
    ) -> Result<(), Desynced> {
        if self.lost {
            return Err(Desynced);
        }
        let gone = exit(end).1.wrapping_sub(entry(end).1);
        let tail = self.tail;
        let mut ends_seen = 0_u32;
        let agrees = self.agrees_at_entry(end)
            && gone as usize <= self.slots.len()
            && self.slots.iter().zip(ends).all(|(slot, seen)| {
                let number = ends_seen;
                ends_seen = ends_seen.wrapping_add(1);
                slot.is(seen) || is_reused(end, tail.wrapping_add(number))
            })
            && ends_seen >= gone;
        if !agrees {
            self.lose();
            return Err(Desynced);
        }
        let before = into.len();
        let released = self.release(gone as usize, into);
        let missing = len.checked_sub(released);
        let complete = match (missing, self.slots.front()) {
            (Some(0), _) => true,
            // A slot of which all was taken would have been released.
            (Some(missing), Some(slot)) if slot.len > missing => {
                self.take_part(missing, into);
                true
            }
            _ => false,
        };
        // What is left must be what the kernel has left: else a consumer that was not seen took a part before.
        let left = self.slots.front().map(|slot| slot.len);
        let left_agrees = match left {
            Some(left) if exit(end).0 != exit(end).1 => left == tail_len(end.tail_after),
            // The kernel had nothing left: what is here was put in afterwards, and its record came first.
            Some(_) => missing == Some(0),
            None => true,
        };
        if complete && left_agrees {
            self.taken = self.taken.wrapping_add(len);
            Ok(())
        } else {
            into.truncate(before);
            self.lose();
            Err(Desynced)
        }
    }

    /// Whether the ring was, at the entry, what it should have been: the same tail, and as many bytes in the slot there.
    fn agrees_at_entry(&self, end: &EndpointState) -> bool {
        let (head, tail) = entry(end);
        let first = self.slots.front().map_or(0, |slot| slot.len);
        tail == self.tail && (head == tail || first == tail_len(end.tail_before))
    }

    /// The first `len` bytes, which stay (tee): added to `into`, or nothing.
    pub(crate) fn peek(&mut self, end: &EndpointState, len: u64, into: &mut Vec<Span>) -> Result<(), Desynced> {
        if self.lost || !self.agrees_at_entry(end) || self.bytes < len {
            return Err(Desynced);
        }
        let mut left = len;
        for span in &self.spans {
            if left == 0 {
                break;
            }
            let head = span.split(left.min(span.len)).0;
            left -= head.len;
            into.push(head);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::endpoints::EndpointId;
    use crate::history::Histories;
    use crate::span::Location;

    fn end(before: (u32, u32), after: (u32, u32)) -> EndpointState {
        EndpointState {
            before: u64::from(before.0) << 32 | u64::from(before.1),
            after: u64::from(after.0) << 32 | u64::from(after.1),
            extra: 77,
            size: 16,
            ..EndpointState::default()
        }
    }

    fn slot(at: u64, len: u64) -> (MirrorSlot, Span) {
        let span = Span {
            len,
            origin: EndpointId::MEMORY,
            position: at,
            stream: 0,
            pipe_position: PipePosition::default(),
            location: Location::Page(PageAddress(at)),
            history: Histories::START,
        };
        let slot = MirrorSlot {
            len,
            spans: 1,
            end: Some(PageAddress(at + len)),
        };
        (slot, span)
    }

    fn put_in(mirror: &mut PipeMirror, end: &EndpointState, slots: &[(MirrorSlot, Span)]) -> Result<(), Desynced> {
        let (slots, spans): (Vec<MirrorSlot>, Vec<Span>) = slots.iter().copied().unzip();
        mirror.put(end, &[], &slots, &spans)
    }

    fn take(
        mirror: &mut PipeMirror,
        end: &EndpointState,
        len: u64,
        ends: &[Option<PageAddress>],
    ) -> Result<Vec<Span>, Desynced> {
        let mut taken = Vec::new();
        let result = mirror.take(end, len, ends.iter().copied(), &mut taken);
        assert!(result.is_ok() || taken.is_empty());
        result.map(|()| taken)
    }

    fn peek(mirror: &mut PipeMirror, end: &EndpointState, len: u64) -> Result<Vec<Span>, Desynced> {
        let mut taken = Vec::new();
        mirror.peek(end, len, &mut taken).map(|()| taken)
    }

    fn put(mirror: &mut PipeMirror, before: u32, at: u64, len: u64) {
        let end = end((before, 0), (before + 1, 0));
        assert_eq!(mirror.push_readiness(&end), Readiness::Ready);
        put_in(mirror, &end, &[slot(at, len)]).unwrap();
    }

    /// With so many bytes in the slot at the tail, before and after.
    fn tails(end: EndpointState, before: u64, after: u64) -> EndpointState {
        EndpointState {
            tail_before: before,
            tail_after: after,
            ..end
        }
    }

    #[test]
    fn a_consumer_that_was_not_seen_loses_the_ring() {
        // It took 10 of the first 100 bytes: at the entry 90 are left.
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        assert!(take(&mut mirror, &tails(end((1, 0), (1, 0)), 90, 60), 30, &[]).is_err());
        // It did so while this one slept: at the exit fewer are left than there should be.
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        assert!(take(&mut mirror, &tails(end((1, 0), (1, 0)), 100, 60), 30, &[]).is_err());
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        assert!(take(&mut mirror, &tails(end((1, 0), (1, 0)), 100, 70), 30, &[]).is_ok());
        assert!(peek(&mut mirror, &tails(end((1, 0), (1, 0)), 71, 71), 30).is_err());
    }

    #[test]
    fn what_goes_in_comes_out_in_order_and_in_parts() {
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        put(&mut mirror, 1, 2000, 100);
        let first = tails(end((2, 0), (2, 0)), 100, 70);
        let taken = take(&mut mirror, &first, 30, &[]).unwrap();
        assert_eq!((taken.len(), taken[0].position, taken[0].len), (1, 1000, 30));
        assert_eq!(mirror.known_bytes(), Some(170));
        let second = tails(end((2, 0), (2, 1)), 70, 50);
        let taken = take(&mut mirror, &second, 120, &[Some(PageAddress(1100))]).unwrap();
        assert_eq!(
            taken.iter().map(|p| (p.position, p.len)).collect::<Vec<_>>(),
            [(1030, 70), (2000, 50)]
        );
    }

    #[test]
    fn another_page_than_was_put_in_loses_the_ring() {
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        assert!(
            take(
                &mut mirror,
                &tails(end((1, 0), (1, 1)), 100, 0),
                100,
                &[Some(PageAddress(1101))]
            )
            .is_err()
        );
        assert!(mirror.lost && mirror.known_bytes().is_none());
        // Until it has been seen empty.
        assert_eq!(mirror.push_readiness(&end((5, 4), (6, 4))), Readiness::Ready);
        assert!(put_in(&mut mirror, &end((5, 4), (6, 4)), &[slot(0, 1)]).is_err());
        assert_eq!(mirror.push_readiness(&end((6, 6), (7, 6))), Readiness::Ready);
        put_in(&mut mirror, &end((6, 6), (7, 6)), &[slot(0, 1)]).unwrap();
    }

    #[test]
    fn what_was_put_in_after_a_call_does_not_belong_to_it() {
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        put(&mut mirror, 1, 2000, 100);
        // At its exit the second slot was not there yet.
        let out = tails(end((1, 0), (1, 1)), 100, 0);
        assert_eq!(
            total(&take(&mut mirror, &out, 100, &[Some(PageAddress(1100))]).unwrap()),
            100
        );
        assert_eq!(mirror.available(), 100);
        // Nor can a part of it have been taken then.
        let part = tails(end((1, 1), (1, 1)), 0, 0);
        assert!(take(&mut mirror, &part, 10, &[]).is_err());
    }

    #[test]
    fn a_slot_that_was_used_again_cannot_be_looked_at() {
        let took = |head| {
            let mut mirror = PipeMirror::default();
            put(&mut mirror, 0, 1000, 100);
            take(&mut mirror, &tails(end((1, 0), (head, 1)), 100, 50), 100, &[None])
        };
        assert!(took(16).is_err(), "it was there to be seen");
        assert!(took(17).is_ok(), "the seventeenth lies where it was");
    }

    #[test]
    fn a_ring_holds_no_more_than_its_slots() {
        let mut mirror = PipeMirror::default();
        for n in 0..20 {
            put(&mut mirror, n, 1000 * u64::from(n), 100);
        }
        let gone = mirror.overflow();
        assert_eq!(
            gone.iter().map(|span| span.position).collect::<Vec<_>>(),
            [0, 1000, 2000, 3000]
        );
        assert_eq!((mirror.tail, mirror.slots.len()), (4, 16));
        assert_eq!(total(&mirror.leave()), 1600);
    }

    #[test]
    fn a_lost_ring_is_found_by_a_producer_that_saw_it_empty() {
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        mirror.lose();
        // What it slept for has been recorded already, and forgotten.
        assert_eq!(mirror.pop_readiness(&end((1, 1), (2, 2)), 100), Readiness::Ready);
        assert!(mirror.lost);
        assert_eq!(mirror.push_readiness(&end((2, 1), (3, 1))), Readiness::Ready);
        assert!(mirror.lost, "it was not empty");
        assert_eq!(mirror.push_readiness(&end((3, 3), (4, 3))), Readiness::Ready);
        assert!(!mirror.lost);
    }

    #[test]
    fn more_or_fewer_bytes_than_there_were_lose_the_ring() {
        for len in [99, 101, 0] {
            let mut mirror = PipeMirror::default();
            put(&mut mirror, 0, 1000, 100);
            assert!(
                take(
                    &mut mirror,
                    &tails(end((1, 0), (1, 1)), 100, 0),
                    len,
                    &[Some(PageAddress(1100))]
                )
                .is_err(),
                "{len}"
            );
        }
        // All of a slot without releasing it.
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        assert!(take(&mut mirror, &tails(end((1, 0), (1, 0)), 100, 0), 100, &[]).is_err());
    }

    #[test]
    fn a_call_waits_for_those_before_it() {
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        assert_eq!(
            mirror.push_readiness(&end((2, 0), (3, 0))),
            Readiness::Early,
            "the second producer's record is missing"
        );
        assert_eq!(
            mirror.push_readiness(&end((0, 0), (1, 0))),
            Readiness::Impossible,
            "two producers at once"
        );
        assert_eq!(
            mirror.pop_readiness(&end((2, 0), (2, 2)), 200),
            Readiness::Early,
            "more than is known to be in it"
        );
        assert_eq!(
            mirror.pop_readiness(&end((2, 1), (2, 2)), 10),
            Readiness::Early,
            "another consumer comes first"
        );
        assert_eq!(mirror.pop_readiness(&end((1, 0), (1, 1)), 100), Readiness::Ready);
    }

    #[test]
    fn a_new_ring_starts_anew() {
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        let resized = EndpointState {
            extra: 78,
            size: 32,
            ..end((1, 0), (1, 1))
        };
        assert_eq!(mirror.pop_readiness(&resized, 100), Readiness::Ready);
        assert!(take(&mut mirror, &resized, 100, &[Some(PageAddress(1100))]).is_err());
    }

    #[test]
    fn another_pipe_at_the_same_address_is_another_ring() {
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        let other = EndpointState {
            ino: 9,
            ..end((0, 0), (1, 0))
        };
        assert_eq!(mirror.push_readiness(&other), Readiness::Ready);
        put_in(&mut mirror, &other, &[slot(5000, 10)]).unwrap();
        let out = EndpointState {
            ino: 9,
            ..tails(end((1, 0), (1, 1)), 10, 0)
        };
        assert_eq!(
            take(&mut mirror, &out, 10, &[Some(PageAddress(5010))]).unwrap()[0].position,
            5000
        );
    }

    #[test]
    fn counters_wrap() {
        let mut mirror = PipeMirror::default();
        let at = u32::MAX;
        let first = end((at, at), (at.wrapping_add(2), at));
        assert_eq!(mirror.push_readiness(&first), Readiness::Ready);
        put_in(&mut mirror, &first, &[slot(1000, 10), slot(2000, 10)]).unwrap();
        let out = tails(end((1, at), (1, 1)), 10, 0);
        assert_eq!(mirror.pop_readiness(&out, 20), Readiness::Ready);
        let taken = take(
            &mut mirror,
            &out,
            20,
            &[Some(PageAddress(1010)), Some(PageAddress(2010))],
        )
        .unwrap();
        assert_eq!(total(&taken), 20);
    }

    #[test]
    fn tee_leaves_what_it_sees() {
        let mut mirror = PipeMirror::default();
        put(&mut mirror, 0, 1000, 100);
        let look = tails(end((1, 0), (1, 0)), 100, 100);
        assert_eq!(total(&peek(&mut mirror, &look, 60).unwrap()), 60);
        assert_eq!(total(&peek(&mut mirror, &look, 100).unwrap()), 100);
        assert!(peek(&mut mirror, &look, 101).is_err());
        assert!(
            take(
                &mut mirror,
                &tails(end((1, 0), (1, 1)), 100, 0),
                100,
                &[Some(PageAddress(1100))]
            )
            .is_ok()
        );
    }
}
