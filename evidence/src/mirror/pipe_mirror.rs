//! The mirror of one pipe's ring: slots and spans, updated by each producer and consumer.
//!
//! A call is applied only if it starts exactly where the call before it ended, and if the pages it
//! observed are those that were pushed. Otherwise the methods here return why the mirror no longer
//! matches the kernel, and [`Pipes::desync`](super::pipes::Pipes::desync) drops the content: it is
//! unknown until a producer observes the ring empty, or until a consumer starts at a slot that was
//! pushed since: losing one slot costs the bytes in the ring, not those that follow.

mod resync;

use std::collections::VecDeque;

use super::desync::DesyncCause;
use super::mirror_slot::{MirrorSlot, ObservedSlot};
use super::pipe_position::PipePosition;
use super::pipe_usage::Usage;
use crate::decode::endpoint::PipeState;
use crate::decode::pipe_event::{Opened, Opens};
use crate::span::{Span, total};

/// Readiness of a call for being applied to a mirror.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// The call is the next one.
    Ready,
    /// A call that precedes it has not been received.
    Early,
    /// The mirror is ahead of the call, so a call was applied that cannot have been the next.
    Impossible,
}

/// The engine's copy of a pipe's ring.
#[derive(Debug, Default)]
pub(crate) struct PipeMirror {
    /// Inode, address of the ring and number of slots; `None` before the first call.
    identity: Option<(u64, u64, u32)>,
    /// Filled slots, from the tail on.
    pub(super) slots: VecDeque<MirrorSlot>,
    /// Content of the slots, from the tail on.
    spans: VecDeque<Span>,
    /// Length of `spans`, in bytes.
    bytes: u64,
    pub(super) tail: u32,
    /// `true` if the content is known.
    is_synced: bool,
    /// The ring was never observed before, and no call on it was applied.
    is_fresh: bool,
    /// Tail after the latest consumer that was applied while the content was not known.
    consumed: Option<u32>,
    /// Positions of slots before which a producer observed the ring empty although the mirror held
    /// slots, the first first. What the mirror holds from there on does not depend on the consumers
    /// that are missing.
    empty_at: VecDeque<u32>,
    /// Opens of the pipe at the latest call, and those that were observed.
    opens: Opens,
    observed_opens: Opens,
    /// The content from `tail` on is known, and that of the slots before it is not: `slots` and
    /// `spans` were pushed since the content was lost. Meaningless while the mirror is synced.
    is_resyncing: bool,
    /// Epoch of pipe positions; 0 if none was assigned since the last resync.
    epoch: u32,
    /// Bytes that entered and left since the last resync.
    pushed: u64,
    popped: u64,
    /// Statistics for the report's list of pipes. No verdict uses them.
    pub(super) usage: Usage,
}

/// Slots that a mirror keeps at least before it concludes that a consumer which is not traced took
/// the oldest: four of the largest writes that programs use (1 MiB), one slot per page.
const MIN_SLOTS_KEPT: usize = 1024;

/// Returns how far counter `a` is ahead of `b`; both wrap.
fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl PipeMirror {
    fn head(&self) -> u32 {
        self.tail.wrapping_add(self.slots.len() as u32)
    }

    /// Returns whether a call observed another ring than the one that is mirrored.
    pub(super) fn is_other_ring(&self, state: &PipeState) -> bool {
        self.identity != Some(state.identity())
    }

    /// Returns whether a call observed fewer opens of the pipe than an earlier one, so that it is
    /// another pipe. Records the counts.
    pub(super) fn is_opened_again(&mut self, state: &PipeState) -> bool {
        let is_same = state.opens.follow(self.opens);
        self.opens = state.opens;
        if !is_same {
            self.observed_opens = Opens::default();
        }
        !is_same
    }

    /// Returns whether a FIFO that was opened is the pipe that is mirrored, and not another one at
    /// the same address.
    ///
    /// The opens that were observed since the pipe was made cannot be more than the kernel counted.
    /// They are if no process had the FIFO open in between, because the counts then started again.
    pub(super) fn open_is_of_this_pipe(&mut self, opened: Opened) -> bool {
        let own = Opens {
            reads: u16::from(opened.reads),
            writes: u16::from(opened.writes),
        };
        let observed = Opens {
            reads: self.observed_opens.reads.wrapping_add(own.reads),
            writes: self.observed_opens.writes.wrapping_add(own.writes),
        };
        let is_same = opened.opens.follow(observed.of_new_pipe());
        self.observed_opens = if is_same { observed } else { own };
        if !is_same {
            self.opens = opened.opens;
        }
        is_same
    }

    /// Records which ring is mirrored from now on.
    pub(super) fn set_ring(&mut self, state: &PipeState) {
        self.is_fresh = !self.is_synced;
        self.consumed = None;
        self.identity = Some(state.identity());
    }

    /// Adopts the content of a snapshot, unless the content is known from calls.
    pub(super) fn adopt_snapshot(&mut self, state: &PipeState, spans: Vec<Span>, slots: Vec<MirrorSlot>) {
        if !self.is_other_ring(state) && self.is_synced {
            return;
        }
        self.set_ring(state);
        self.is_synced = true;
        self.tail = state.entry.tail;
        (self.epoch, self.popped) = (0, 0);
        self.bytes = total(&spans);
        self.pushed = self.bytes;
        self.spans = spans.into();
        self.slots = slots.into();
    }

    /// Returns the position of the next byte to be pushed, in an epoch that `new_epoch` numbers if
    /// there is none; no position while the mirror is desynced.
    pub(super) fn write_position(&mut self, new_epoch: impl FnOnce() -> u32) -> PipePosition {
        self.position(self.pushed, new_epoch)
    }

    /// Returns the position of the next byte to be popped, like [`Self::write_position`].
    pub(super) fn read_position(&mut self, new_epoch: impl FnOnce() -> u32) -> PipePosition {
        self.position(self.popped, new_epoch)
    }

    fn position(&mut self, offset: u64, new_epoch: impl FnOnce() -> u32) -> PipePosition {
        if !self.is_synced {
            return PipePosition::default();
        }
        if self.epoch == 0 {
            self.epoch = new_epoch();
        }
        PipePosition {
            epoch: self.epoch,
            offset,
        }
    }

    /// Removes and returns the oldest spans if the mirror holds more slots than the ring has: a
    /// consumer that is not traced took them.
    pub(super) fn evict_overwritten(&mut self) -> Vec<Span> {
        let slot_count = self.identity.map_or(0, |(_, _, slots)| slots as usize);
        // The records of traced consumers come later: a write(2) that is larger than the pipe
        // returns when they have taken its first slots, and they return when they have passed them
        // on.
        let kept = slot_count.saturating_mul(2).max(MIN_SLOTS_KEPT);
        let excess = self.slots.len().saturating_sub(kept);
        if !self.is_synced || excess == 0 {
            return Vec::new();
        }
        let mut spans = Vec::new();
        self.popped = self.popped.wrapping_add(self.release(excess, &mut spans));
        spans
    }

    /// Removes and returns all content at the end of the trace.
    pub(super) fn drain_at_end(&mut self) -> Vec<Span> {
        self.usage.left = self.known_bytes();
        if !self.is_synced {
            // Consumers may have taken the bytes, as unknown ones.
            self.forget_content();
        }
        self.spans.drain(..).collect()
    }

    /// Returns whether a producer can be applied.
    pub(super) fn push_readiness(&self, state: &PipeState) -> Readiness {
        if !self.is_synced {
            return Readiness::Ready;
        }
        match ahead(state.entry.head, self.head()) {
            0 => Readiness::Ready,
            1.. => Readiness::Early,
            _ => Readiness::Impossible,
        }
    }

    /// Returns whether a consumer of `len` bytes can be applied. A tee counts as one, although it
    /// leaves the tail where it is.
    pub(super) fn pop_readiness(&self, state: &PipeState, len: u64) -> Readiness {
        if !self.is_synced {
            if self.is_fresh {
                // A write that has not returned may be filling the ring.
                return Readiness::Early;
            }
            let skip = ahead(state.entry.tail, self.tail);
            if !self.is_resyncing || skip < 0 {
                return Readiness::Ready;
            }
            let known: u64 = self.slots.iter().skip(skip as usize).map(|slot| slot.len).sum();
            return if known >= len {
                Readiness::Ready
            } else {
                Readiness::Early
            };
        }
        match ahead(state.entry.tail, self.tail) {
            0 if self.bytes >= len => Readiness::Ready,
            0.. => Readiness::Early,
            _ => Readiness::Impossible,
        }
    }

    /// Returns the number of bytes in the ring; `None` while the mirror is desynced.
    pub(super) fn known_bytes(&self) -> Option<u64> {
        self.is_synced.then_some(self.bytes)
    }

    /// Moves the content of the first `slots` slots to `into` and returns its length in bytes.
    fn release(&mut self, slots: usize, into: &mut Vec<Span>) -> u64 {
        let (mut spans, mut len) = (0, 0_u64);
        for slot in self.slots.drain(..slots) {
            spans += slot.spans;
            len = len.wrapping_add(slot.len);
        }
        let spans = spans.min(self.spans.len());
        let (first, second) = self.spans.as_slices();
        let of_first = spans.min(first.len());
        into.extend_from_slice(&first[..of_first]);
        into.extend_from_slice(&second[..spans - of_first]);
        self.spans.drain(..spans);
        self.bytes = self.bytes.wrapping_sub(len);
        self.tail = self.tail.wrapping_add(slots as u32);
        while self.empty_at.front().is_some_and(|at| ahead(*at, self.tail) <= 0) {
            self.empty_at.pop_front();
        }
        len
    }

    /// Moves the first `len` bytes of the first slot, which holds more than these, to `into`.
    fn release_part(&mut self, len: u64, into: &mut Vec<Span>) {
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

    /// Pushes slots with their consecutive spans, and before them the spans that were appended to
    /// the slot that was the last one.
    ///
    /// # Errors
    ///
    /// The mirror does not match the kernel's ring and must be desynced; `None` if it was before.
    pub(super) fn push(
        &mut self,
        state: &PipeState,
        appended: &[Span],
        slots: &[MirrorSlot],
        spans: &[Span],
    ) -> Result<(), Option<DesyncCause>> {
        debug_assert_eq!(slots.iter().map(|slot| slot.spans).sum::<usize>(), spans.len());
        if !self.is_synced {
            self.collect(state, appended, slots, spans);
            return Err(None);
        }
        if slots.len() as u32 != state.slots_pushed() || state.entry.head != self.head() {
            return Err(Some(DesyncCause::PushMismatch));
        }
        if state.entry.is_empty() && !slots.is_empty() && !self.slots.is_empty() {
            // The records of the consumers that emptied the ring have not arrived.
            self.empty_at.push_back(state.entry.head);
        }
        // A consumer whose record came first may have emptied the slot.
        if !self.extend(appended, slots, spans) {
            return Err(Some(DesyncCause::PushMismatch));
        }
        // A consumer that returned before this producer has taken some of the slots already, as
        // unknown bytes.
        let gone = self.consumed.take().map_or(0, |tail| ahead(tail, self.tail));
        if gone > 0 {
            let mut taken = Vec::new();
            let gone = self.slots.len().min(gone as usize);
            let len = self.release(gone, &mut taken);
            self.popped = self.popped.wrapping_add(len);
        }
        Ok(())
    }

    /// Adds bytes that were appended to the last slot, and then slots with their spans. Returns
    /// `false`, and adds nothing, if bytes were appended and there is no slot.
    fn extend(&mut self, appended: &[Span], slots: &[MirrorSlot], spans: &[Span]) -> bool {
        if !appended.is_empty() {
            let Some(last) = self.slots.back_mut() else {
                return false;
            };
            let len = total(appended);
            last.end = last.end.map(|end| end.plus(len));
            last.len = last.len.wrapping_add(len);
            last.spans += appended.len();
            self.count_pushed(len);
            self.spans.extend(appended);
        }
        self.count_pushed(slots.iter().fold(0, |sum, slot| sum.wrapping_add(slot.len)));
        self.spans.extend(spans);
        self.slots.extend(slots);
        true
    }

    fn count_pushed(&mut self, len: u64) {
        self.pushed = self.pushed.wrapping_add(len);
        self.bytes = self.bytes.wrapping_add(len);
    }

    /// Pops `len` bytes: whole slots from the tail on, and a part of the slot that is then at the
    /// tail. Adds their spans to `into`.
    ///
    /// `ends` are the ends of the slots as observed afterwards; each must be the end of the slot
    /// that was pushed there.
    ///
    /// # Errors
    ///
    /// The mirror does not match the kernel's ring and must be desynced; `None` if it was before.
    /// Nothing is added to `into`.
    pub(super) fn pop(
        &mut self,
        state: &PipeState,
        len: u64,
        ends: impl IntoIterator<Item = ObservedSlot>,
        into: &mut Vec<Span>,
    ) -> Result<(), Option<DesyncCause>> {
        if !self.is_synced && !self.resync_at_consumer(state) {
            self.consumed = Some(state.exit.tail);
            return Err(None);
        }
        let popped = state.slots_popped();
        let tail = self.tail;
        let mut ends_observed = 0_u32;
        let agrees = self.agrees_at_entry(state)
            && popped as usize <= self.slots.len()
            && self.slots.iter().zip(ends).all(|(slot, end)| {
                let number = ends_observed;
                ends_observed = ends_observed.wrapping_add(1);
                slot.is_at(end) || state.is_overwritten(tail.wrapping_add(number))
            })
            && ends_observed >= popped;
        if !agrees {
            return Err(Some(DesyncCause::PopMismatch));
        }
        let before = into.len();
        let released = self.release(popped as usize, into);
        let missing = len.checked_sub(released);
        let is_complete = match (missing, self.slots.front()) {
            (Some(0), _) => true,
            // A slot of which all bytes were taken would have been released.
            (Some(missing), Some(slot)) if slot.len > missing => {
                self.release_part(missing, into);
                true
            }
            _ => false,
        };
        // The rest must be what the kernel has left. Otherwise a consumer that was not observed
        // took a part before.
        let rest_agrees = match self.slots.front().map(|slot| slot.len) {
            Some(rest) if !state.exit.is_empty() => rest == state.exit.tail_len,
            // The kernel had no bytes left: the rest was pushed afterwards, and its record arrived
            // first.
            Some(_) => missing == Some(0),
            None => true,
        };
        if is_complete && rest_agrees {
            self.popped = self.popped.wrapping_add(len);
            Ok(())
        } else {
            into.truncate(before);
            Err(Some(DesyncCause::PopMismatch))
        }
    }

    /// Returns whether the ring had, at the entry of a consumer, the mirror's tail and as many
    /// bytes in the slot there.
    fn agrees_at_entry(&self, state: &PipeState) -> bool {
        let first = self.slots.front().map_or(0, |slot| slot.len);
        state.entry.tail == self.tail && (state.entry.is_empty() || first == state.entry.tail_len)
    }

    /// Adds the spans of the first `len` bytes, which stay (tee), to `into`. Returns whether they
    /// are known; adds nothing if not. `duplicates` are the slots that received them.
    pub(super) fn peek(
        &self,
        state: &PipeState,
        len: u64,
        duplicates: impl IntoIterator<Item = ObservedSlot>,
        into: &mut Vec<Span>,
    ) -> bool {
        if !self.is_synced || !self.agrees_at_entry(state) || self.bytes < len {
            return false;
        }
        let mut pairs = self.slots.iter().zip(duplicates);
        if !pairs.all(|(slot, duplicate)| slot.has_owner_of(duplicate)) {
            return false;
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
        true
    }
}
