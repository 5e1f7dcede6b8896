//! Reading a journal from outside its process, while it is written.

use super::entry::{field, from_words};
use super::layout::{Layout, LayoutError, Ring};
use super::writer::complete_sequence;
use crate::sync::{AtomicU64, fence};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use zctrace_contract::journal::Entry;

/// What is at a position.
enum RecordState {
    Complete(Option<Entry>),
    /// It is not whole yet.
    Incomplete,
    /// A later one is in its place.
    Overwritten,
}

fn read_record(words: &[AtomicU64], ring: &Ring, position: u64) -> RecordState {
    let record = &words[ring.record(position)];
    let before = record[field::SEQUENCE].load(Acquire);
    if before != complete_sequence(position) {
        return if before > complete_sequence(position) {
            RecordState::Overwritten
        } else {
            RecordState::Incomplete
        };
    }
    let copy = std::array::from_fn(|at| record[at + 1].load(Relaxed));
    fence(Acquire);
    if record[field::SEQUENCE].load(Relaxed) != before {
        return RecordState::Overwritten;
    }
    RecordState::Complete(from_words(position, &copy))
}

/// Positions that a reader comes back to in one ring, at most: as many threads can be in the middle of a record.
const MAX_INCOMPLETE: usize = 256;

/// How far a ring was read.
#[derive(Clone, Debug)]
struct Cursor {
    ring: Ring,
    /// The position of the next record.
    next: u64,
    /// Positions before that which were not whole yet.
    incomplete: Vec<u64>,
}

/// Reads a journal from outside its process. Nothing that is in the journal can make it panic, or read more than the
/// journal has room for at a time.
#[derive(Clone, Debug)]
pub struct Reader {
    layout: Layout,
    cursors: Vec<Cursor>,
    lost: u64,
    damaged: u64,
}

impl Reader {
    /// Reads what is written from now on.
    ///
    /// # Errors
    ///
    /// If this is no journal that can be read.
    pub fn new_at_end(words: &[AtomicU64]) -> Result<Self, LayoutError> {
        let layout = Layout::read(words)?;
        let cursor = |ring: Ring| Cursor {
            ring,
            next: words[ring.head].load(Acquire),
            incomplete: Vec::new(),
        };
        Ok(Self {
            cursors: layout.rings().map(cursor).collect(),
            layout,
            lost: 0,
            damaged: 0,
        })
    }

    /// Reads what is there already, too, if that is all from the very first record on; otherwise as
    /// [`new_at_end`](Self::new_at_end): [`is_complete`](Self::is_complete) says which.
    ///
    /// # Errors
    ///
    /// If this is no journal that can be read.
    pub fn new_at_start(words: &[AtomicU64]) -> Result<Self, LayoutError> {
        let mut reader = Self::new_at_end(words)?;
        if reader.cursors.iter().all(|cursor| cursor.next <= cursor.ring.count) {
            reader.rewind(0);
        }
        Ok(reader)
    }

    /// Whether it has begun with the very first record, and will read all of them but those that are [lost](Self::lost).
    /// To be asked before it reads.
    pub fn is_complete(&self) -> bool {
        self.cursors.iter().all(|cursor| cursor.next == 0)
    }

    /// Reads from this position of each ring on.
    pub(super) fn rewind(&mut self, to: u64) {
        self.cursors
            .iter_mut()
            .for_each(|cursor| cursor.next = to.min(cursor.next));
    }

    /// The header.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Records that were overwritten, or given up by their writers, before they were read.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Records that made no sense.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Records that were begun and are not whole yet. If their process is gone they are lost.
    pub fn incomplete(&self) -> u64 {
        self.cursors.iter().map(|cursor| cursor.incomplete.len() as u64).sum()
    }

    /// Gives all that was written since the last time to `take`. Of one thread, in the order of writing; of several, a
    /// record that took longer, or is in another column, comes later.
    pub fn read(&mut self, words: &[AtomicU64], take: &mut dyn FnMut(Entry)) {
        let (mut lost, mut damaged) = (0_u64, 0_u64);
        for cursor in &mut self.cursors {
            cursor.read(words, take, &mut lost, &mut damaged);
        }
        self.lost = self.lost.saturating_add(lost);
        self.damaged = self.damaged.saturating_add(damaged);
    }
}

impl Cursor {
    fn read(&mut self, words: &[AtomicU64], take: &mut dyn FnMut(Entry), lost: &mut u64, damaged: &mut u64) {
        let head = words[self.ring.head].load(Acquire);
        if head == self.next && self.incomplete.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.incomplete);
        // A head that went back is no journal's.
        if head < self.next {
            *damaged = damaged.saturating_add(1);
            self.next = head;
            waiting.clear();
        }
        let oldest = head.saturating_sub(self.ring.count);
        if oldest > self.next {
            *lost = lost.saturating_add(oldest - self.next);
            self.next = oldest;
        }
        let fresh = self.next..head;
        self.next = head;
        for position in waiting.drain(..).chain(fresh) {
            let found = if position < oldest {
                RecordState::Overwritten
            } else {
                read_record(words, &self.ring, position)
            };
            match found {
                RecordState::Complete(Some(entry)) => take(entry),
                RecordState::Complete(None) => *damaged = damaged.saturating_add(1),
                RecordState::Incomplete if self.incomplete.len() < MAX_INCOMPLETE => self.incomplete.push(position),
                RecordState::Incomplete | RecordState::Overwritten => *lost = lost.saturating_add(1),
            }
        }
    }
}
