//! Writing into a journal, from any thread, without waiting; and reading it from outside while that goes on.
//!
//! A writer takes the next position and claims the record there, by making its first word odd; fills it; and makes the first
//! word even, which says for which position the record is whole. A reader takes the words only if the first says so before
//! and after. A writer that finds its place still claimed by one who is a whole round behind, or taken by one a round
//! ahead, gives its record up and counts that: two never write the same record.

use super::layout::{Entry, Layout, field, word};
use crate::sync::{AtomicU64, fence};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// The first word of a record that is being written for this position.
fn claimed(position: u64) -> u64 {
    position.wrapping_mul(2).wrapping_add(1)
}

/// The first word of a record that is whole, and is for this position.
fn whole(position: u64) -> u64 {
    claimed(position).wrapping_add(1)
}

/// Writes a record. `position` in it does not matter: the next one is taken.
#[inline]
pub(super) fn write(words: &[AtomicU64], layout: &Layout, entry: Entry) {
    let position = words[word::HEAD].fetch_add(1, Relaxed);
    let record = &words[layout.record(position)];
    let sequence = &record[field::SEQUENCE];
    let found = sequence.load(Relaxed);
    // Older, and whole (even; 0 was never written).
    let free = found % 2 == 0 && found < claimed(position);
    if !free
        || sequence
            .compare_exchange(found, claimed(position), AcqRel, Relaxed)
            .is_err()
    {
        words[word::DROPPED].fetch_add(1, Relaxed);
        return;
    }
    // Whoever sees one of the words below sees the claim above.
    fence(Release);
    for (to, from) in record[1..].iter().zip(entry.to_words()) {
        to.store(from, Relaxed);
    }
    sequence.store(whole(position), Release);
}

/// What is at a position.
enum Found {
    Whole(Option<Entry>),
    /// It is not whole yet.
    NotYet,
    /// A later one is in its place.
    Gone,
}

fn look(words: &[AtomicU64], layout: &Layout, position: u64) -> Found {
    let record = &words[layout.record(position)];
    let before = record[field::SEQUENCE].load(Acquire);
    if before != whole(position) {
        return if before > whole(position) {
            Found::Gone
        } else {
            Found::NotYet
        };
    }
    let copy = std::array::from_fn(|at| record[at + 1].load(Relaxed));
    fence(Acquire);
    if record[field::SEQUENCE].load(Relaxed) != before {
        return Found::Gone;
    }
    Found::Whole(Entry::of_words(position, &copy))
}

/// Positions that a reader comes back to, at most: as many threads can be in the middle of a record.
const HOLES: usize = 256;

/// Reads a journal from outside its process. Nothing that is in the journal can make it panic, or read more than the
/// journal has room for at a time.
#[derive(Clone, Debug)]
pub struct Reader {
    layout: Layout,
    /// The position of the next record.
    next: u64,
    /// Positions before that which were not whole yet.
    holes: Vec<u64>,
    lost: u64,
    damaged: u64,
}

impl Reader {
    /// Reads what is written from now on.
    ///
    /// # Errors
    ///
    /// If this is no journal that can be read.
    pub fn from_now(words: &[AtomicU64]) -> Result<Self, super::LayoutError> {
        let layout = Layout::read(words)?;
        Ok(Self {
            layout,
            next: words[word::HEAD].load(Acquire),
            holes: Vec::new(),
            lost: 0,
            damaged: 0,
        })
    }

    /// Reads what is there already, too, if that is all from the very first record on; otherwise as
    /// [`from_now`](Self::from_now): [`is_whole`](Self::is_whole) says which.
    ///
    /// # Errors
    ///
    /// If this is no journal that can be read.
    pub fn from_the_start(words: &[AtomicU64]) -> Result<Self, super::LayoutError> {
        let mut reader = Self::from_now(words)?;
        if reader.next <= reader.layout.records.2 {
            reader.next = 0;
        }
        Ok(reader)
    }

    /// Whether it has begun with the very first record, and will read all of them but those that are [lost](Self::lost).
    /// To be asked before it reads.
    pub fn is_whole(&self) -> bool {
        self.next == 0
    }

    /// Reads from this position on.
    #[cfg(test)]
    pub(super) fn rewind(&mut self, to: u64) {
        self.next = to;
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
    pub fn under_way(&self) -> u64 {
        self.holes.len() as u64
    }

    /// Gives all that was written since the last time to `take`. Of one thread, in the order of writing; of several, a
    /// record that took longer comes later.
    pub fn read(&mut self, words: &[AtomicU64], take: &mut dyn FnMut(Entry)) {
        let head = words[word::HEAD].load(Acquire);
        let room = self.layout.records.2;
        let mut waiting = std::mem::take(&mut self.holes);
        // A head that went back is no journal's.
        if head < self.next {
            self.damaged = self.damaged.saturating_add(1);
            self.next = head;
            waiting.clear();
        }
        let oldest = head.saturating_sub(room);
        if oldest > self.next {
            self.lost = self.lost.saturating_add(oldest - self.next);
            self.next = oldest;
        }
        let fresh = self.next..head;
        self.next = head;
        for position in waiting.drain(..).chain(fresh) {
            let found = if position < oldest {
                Found::Gone
            } else {
                look(words, &self.layout, position)
            };
            match found {
                Found::Whole(Some(entry)) => take(entry),
                Found::Whole(None) => self.damaged = self.damaged.saturating_add(1),
                Found::NotYet if self.holes.len() < HOLES => self.holes.push(position),
                Found::NotYet | Found::Gone => self.lost = self.lost.saturating_add(1),
            }
        }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::super::layout::{Operation, Room, made};
    use super::*;

    const ROOM: Room = Room { callers: 2, records: 8 };

    fn journal() -> (Vec<AtomicU64>, Layout) {
        let words = made(ROOM);
        let layout = Layout::read(&words).expect("it was just made");
        (words, layout)
    }

    fn entry(segment: u64) -> Entry {
        Entry {
            position: 0,
            time_ns: segment,
            segment,
            at: 0,
            stream: segment,
            len: 1 + segment,
            pipe: segment,
            thread: segment as u32,
            caller: 0,
            operation: Operation::Fill,
            reason: None,
            doing: None,
        }
    }

    fn read(reader: &mut Reader, words: &[AtomicU64]) -> Vec<u64> {
        let mut seen = Vec::new();
        reader.read(words, &mut |entry| seen.push(entry.segment));
        seen
    }

    #[test]
    fn journal_is_read_in_order_and_what_was_overwritten_is_counted() {
        let (words, layout) = journal();
        let mut reader = Reader::from_now(&words).expect("a journal");
        (0..5).for_each(|n| write(&words, &layout, entry(n)));
        assert_eq!(read(&mut reader, &words), [0, 1, 2, 3, 4]);
        (5..25).for_each(|n| write(&words, &layout, entry(n)));
        assert_eq!(read(&mut reader, &words), (17..25).collect::<Vec<_>>());
        assert_eq!((reader.lost(), reader.damaged(), reader.under_way()), (12, 0, 0));
    }

    #[test]
    fn journal_record_that_takes_longer_holds_nobody_up() {
        let (words, layout) = journal();
        let mut reader = Reader::from_now(&words).expect("a journal");
        write(&words, &layout, entry(0));
        // A writer that has taken position 1 and claimed it, and goes no further.
        let position = words[word::HEAD].fetch_add(1, Relaxed);
        words[layout.record(position)][0].store(claimed(position), Relaxed);
        write(&words, &layout, entry(2));
        assert_eq!(read(&mut reader, &words), [0, 2]);
        assert_eq!(reader.under_way(), 1);
        // A round later its place is still its own: who should write there gives up.
        (3..10).for_each(|n| write(&words, &layout, entry(n)));
        assert_eq!(words[word::DROPPED].load(Relaxed), 1);
        assert_eq!(read(&mut reader, &words), (3..9).collect::<Vec<_>>(), "9 was dropped");
        // It wakes up: its record is too old now, and what it overwrites nothing.
        words[layout.record(position)][0].store(whole(position), Release);
        assert_eq!(read(&mut reader, &words), [] as [u64; 0]);
        (10..20).for_each(|n| write(&words, &layout, entry(n)));
        read(&mut reader, &words);
        assert_eq!(
            (reader.under_way(), reader.lost()),
            (0, 2 + 2),
            "two by the writer, two by being late"
        );
    }

    #[test]
    fn journal_that_lies_about_its_head_is_read_in_bounds() {
        let (words, _) = journal();
        let mut reader = Reader::from_now(&words).expect("a journal");
        for head in [u64::MAX, 3, u64::MAX / 2, 0, 1 << 40] {
            words[word::HEAD].store(head, Relaxed);
            assert!(read(&mut reader, &words).len() <= 8);
            assert!(reader.under_way() <= 8);
        }
        assert!(reader.lost() > 0 && reader.damaged() > 0);
    }
}

/// Two writers and a reader of a journal with room for one or two records: in no meeting of them is a record made of two,
/// read twice, or neither read nor counted.
#[cfg(all(test, model))]
mod model {
    use super::super::layout::{Operation, Room, made};
    use super::*;
    use loom::sync::Arc;

    fn entry(segment: u64) -> Entry {
        Entry {
            position: 0,
            time_ns: segment,
            segment,
            at: segment,
            stream: segment,
            len: 1 + segment,
            pipe: segment,
            thread: segment as u32,
            caller: 0,
            operation: Operation::Fill,
            reason: None,
            doing: None,
        }
    }

    fn check(records: u64, per_writer: u64) {
        let mut model = loom::model::Builder::new();
        // All meetings of three threads with twenty steps each are too many to try; those in which one of them is stopped three
        // times are not.
        model.preemption_bound = Some(3);
        model.check(move || {
            let room = Room { callers: 0, records };
            let words = made(room);
            let layout = Layout::read(&words).expect("it was just made");
            let mut reader = Reader::from_the_start(&words).expect("a journal");
            let words = Arc::new(words);
            let writers: Vec<_> = (0..2)
                .map(|number| {
                    let words = Arc::clone(&words);
                    loom::thread::spawn(move || {
                        for n in 0..per_writer {
                            write(&words, &layout, entry(1 + number * 10 + n));
                        }
                    })
                })
                .collect();
            let mut seen = Vec::new();
            let mut take = |entry: Entry| {
                let segment = entry.segment;
                let rest = [entry.time_ns, entry.at, entry.stream, entry.len - 1, entry.pipe];
                assert_eq!(rest, [segment; 5], "a record made of two");
                assert_eq!(entry.thread, segment as u32);
                seen.push(segment);
            };
            reader.read(&words, &mut take);
            for writer in writers {
                writer.join().expect("writer");
            }
            reader.read(&words, &mut take);
            let read = seen.len() as u64;
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len() as u64, read, "read twice");
            let all = 2 * per_writer;
            assert_eq!(
                read + reader.lost() + reader.under_way(),
                all,
                "neither read nor counted"
            );
            assert_eq!(reader.damaged(), 0);
        });
    }

    #[test]
    fn loom_journal_of_one_record() {
        check(1, 1);
    }

    #[test]
    fn loom_journal_of_two_records() {
        check(2, 1);
    }
}
