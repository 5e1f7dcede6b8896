//! Resynchronization of a mirror whose content is not known.

use super::{PipeMirror, ahead};
use crate::decode::endpoint::PipeState;
use crate::mirror::desync::DesyncCause;
use crate::mirror::mirror_slot::MirrorSlot;
use crate::span::Span;

impl PipeMirror {
    /// Resynchronizes a desynced mirror if the call observed the ring empty at its entry.
    ///
    /// A consumer that found the ring empty slept until something was pushed, and the record of
    /// that push may already have been received and dropped. So a consumer counts only for a ring
    /// that was never observed before (`is_new`).
    pub(in crate::mirror) fn resync_if_empty(&mut self, state: &PipeState, is_producer: bool, is_new: bool) {
        if !self.is_synced && state.entry.is_empty() && (is_new || is_producer) {
            self.forget_content();
            self.is_synced = true;
            self.is_fresh = false;
            self.tail = state.entry.tail;
            (self.epoch, self.pushed, self.popped) = (0, 0, 0);
        }
    }

    /// Drops the content. Returns how many bytes of it were known; `None` if the mirror was
    /// desynced.
    ///
    /// If the cause concerns only consumers, the slots stay that a producer pushed when it observed
    /// the ring empty, and those after them. They become known again when a consumer starts at
    /// them.
    pub(in crate::mirror) fn drop_content(&mut self, cause: DesyncCause) -> Option<u64> {
        if cause == DesyncCause::Reopened {
            // The counters of the ring have started again.
            self.consumed = None;
        }
        let known = self.known_bytes();
        self.is_synced = false;
        self.is_fresh = false;
        match (known, self.empty_at.front()) {
            (Some(_), Some(&at)) if cause.is_of_consumers() => {
                let lost = (ahead(at, self.tail).max(0) as usize).min(self.slots.len());
                self.is_resyncing = true;
                Some(self.release(lost, &mut Vec::new()))
            }
            _ => {
                self.forget_content();
                known
            }
        }
    }

    pub(super) fn forget_content(&mut self) {
        self.is_resyncing = false;
        self.empty_at.clear();
        self.slots.clear();
        self.spans.clear();
        self.bytes = 0;
    }

    /// Keeps slots that are pushed while the content before them is not known.
    pub(super) fn collect(&mut self, state: &PipeState, appended: &[Span], slots: &[MirrorSlot], spans: &[Span]) {
        // A producer found bytes in the ring, so these are not those of a write that comes late.
        self.is_fresh = false;
        if slots.len() as u32 != state.slots_pushed() {
            return self.forget_content();
        }
        if !self.is_resyncing || state.entry.head != self.head() {
            self.forget_content();
            self.is_resyncing = true;
            self.tail = state.entry.head;
        }
        // Bytes that were appended to a slot before these have no place here.
        let appended = if self.slots.is_empty() { &[] } else { appended };
        self.extend(appended, slots, spans);
    }

    /// Synchronizes a mirror whose content is known from some slot on, if a consumer starts at that
    /// slot or behind it. Returns whether it is synchronized.
    ///
    /// A consumer that starts before that slot takes unknown bytes, and with them perhaps the first
    /// of the known slots.
    pub(super) fn resync_at_consumer(&mut self, state: &PipeState) -> bool {
        if !self.is_resyncing {
            return false;
        }
        let mut gone = Vec::new();
        let (tail, left, starts_known) = if ahead(state.entry.tail, self.tail) >= 0 {
            let left = if state.entry.is_empty() {
                0
            } else {
                state.entry.tail_len
            };
            (state.entry.tail, left, true)
        } else {
            let left = if state.exit.is_empty() { 0 } else { state.exit.tail_len };
            (state.exit.tail, left, false)
        };
        let skip = ahead(tail, self.tail);
        if skip < 0 {
            return false;
        }
        if skip as usize > self.slots.len() {
            // The slots between were pushed by a call whose record did not arrive.
            self.forget_content();
            return false;
        }
        self.release(skip as usize, &mut gone);
        if let Some(first) = self.slots.front().map(|slot| slot.len)
            && left > 0
        {
            let Some(taken) = first.checked_sub(left) else {
                self.forget_content();
                return false;
            };
            if taken > 0 {
                self.release_part(taken, &mut gone);
            }
        }
        if starts_known {
            self.is_synced = true;
            self.is_resyncing = false;
            (self.epoch, self.pushed, self.popped) = (0, self.bytes, 0);
        }
        starts_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::pipe_event::{Opened, Opens};

    #[test]
    fn each_life_of_a_fifo_is_told_by_its_counts() {
        let mut mirror = PipeMirror::default();
        let mut open = |reads, writes, for_reading| {
            mirror.open_is_of_this_pipe(Opened {
                opens: Opens { reads, writes },
                reads: for_reading,
                writes: !for_reading,
            })
        };
        // Both counts start at one.
        assert!(open(2, 1, true) && open(2, 2, false), "the first life");
        assert!(!open(2, 1, true), "the second life");
        assert!(open(2, 2, false) && open(3, 2, true));
        assert!(!open(2, 1, true), "the third life");
    }
}
