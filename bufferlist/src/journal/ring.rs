//! Writing into a journal, from any thread, without waiting; and reading it from outside while that goes on.
//!
//! A thread writes into a column, a ring that nobody else writes to at that time: it makes the first word of the next record
//! odd, fills the record, makes that word even, which says for which position the record is whole, and counts it. Plain
//! stores, for a locked instruction on a line that is not in the cache would wait for it. A reader takes the words only if
//! the first says so before and after.
//!
//! Threads for which there is no column share a ring. There a writer takes the next position and claims the record, which
//! are the same steps by locked instructions. A writer that finds its place still claimed by one who is a whole round
//! behind, or taken by one a round ahead, gives its record up and counts that: two never write the same record.

use super::entry::{field, from_words, to_words};
use super::layout::{Layout, Ring, word};
use crate::sync::{AtomicU64, fence};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use zctrace_contract::journal::Entry;

/// The first word of a record that is being written for this position.
fn claimed(position: u64) -> u64 {
    position.wrapping_mul(2).wrapping_add(1)
}

/// The first word of a record that is whole, and is for this position.
fn whole(position: u64) -> u64 {
    claimed(position).wrapping_add(1)
}

/// Fills a record that is claimed for `position`, and says that it is whole.
#[inline]
fn fill(record: &[AtomicU64], position: u64, entry: Entry) {
    // Whoever sees one of the words below sees the claim above.
    fence(Release);
    for (to, from) in record[1..].iter().zip(to_words(&entry)) {
        to.store(from, Relaxed);
    }
    record[field::SEQUENCE].store(whole(position), Release);
}

/// A column, for the one who writes into it.
#[derive(Debug)]
pub(super) struct Column<'a> {
    records: &'a [AtomicU64],
    head: &'a AtomicU64,
    mask: u64,
    /// Of the next record: what `head` says, without asking another line of the cache.
    position: u64,
}

impl<'a> Column<'a> {
    /// The column with this number, into which nobody else may write while this lives.
    pub(super) fn new(words: &'a [AtomicU64], layout: &Layout, number: usize) -> Option<Self> {
        let ring = layout.column(number)?;
        let head = &words[ring.head];
        Some(Self {
            records: &words[ring.record(0).start..ring.record(ring.count - 1).end],
            head,
            mask: ring.count - 1,
            position: head.load(Relaxed),
        })
    }

    /// Writes a record. `position` in it does not matter: the next one is taken.
    #[inline]
    pub(super) fn write(&mut self, entry: Entry) {
        let position = self.position;
        let start = (position & self.mask) as usize * field::COUNT;
        let record = &self.records[start..start + field::COUNT];
        record[field::SEQUENCE].store(claimed(position), Relaxed);
        fill(record, position, entry);
        self.position = position.wrapping_add(1);
        self.head.store(self.position, Release);
        let next = (self.position & self.mask) as usize * field::COUNT;
        prefetch(&self.records[next]);
    }
}

/// Has the line of the cache fetched that will be written next, while the thread's next system call runs: its locked
/// instructions would otherwise wait for it.
#[inline]
fn prefetch(word: &AtomicU64) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, model))))]
    // SAFETY: the instruction is a hint, of an address that is valid; every x86-64 has it, or takes it for nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(std::ptr::from_ref(word).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, model)))))]
    let _ = word;
}

/// Writes a record into the common ring.
pub(super) fn write_common(words: &[AtomicU64], layout: &Layout, entry: Entry) {
    let ring = layout.common();
    let position = words[ring.head].fetch_add(1, Relaxed);
    let record = &words[ring.record(position)];
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
    fill(record, position, entry);
}

/// What is at a position.
enum Found {
    Whole(Option<Entry>),
    /// It is not whole yet.
    NotYet,
    /// A later one is in its place.
    Gone,
}

fn look(words: &[AtomicU64], ring: &Ring, position: u64) -> Found {
    let record = &words[ring.record(position)];
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
    Found::Whole(from_words(position, &copy))
}

/// Positions that a reader comes back to in one ring, at most: as many threads can be in the middle of a record.
const HOLES: usize = 256;

/// How far a ring was read.
#[derive(Clone, Debug)]
struct Mark {
    ring: Ring,
    /// The position of the next record.
    next: u64,
    /// Positions before that which were not whole yet.
    holes: Vec<u64>,
}

/// Reads a journal from outside its process. Nothing that is in the journal can make it panic, or read more than the
/// journal has room for at a time.
#[derive(Clone, Debug)]
pub struct Reader {
    layout: Layout,
    marks: Vec<Mark>,
    lost: u64,
    damaged: u64,
}

impl Reader {
    /// Reads what is written from now on.
    ///
    /// # Errors
    ///
    /// If this is no journal that can be read.
    pub fn new_at_end(words: &[AtomicU64]) -> Result<Self, super::LayoutError> {
        let layout = Layout::read(words)?;
        let mark = |ring: Ring| Mark {
            ring,
            next: words[ring.head].load(Acquire),
            holes: Vec::new(),
        };
        Ok(Self {
            marks: layout.rings().map(mark).collect(),
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
    pub fn new_at_start(words: &[AtomicU64]) -> Result<Self, super::LayoutError> {
        let mut reader = Self::new_at_end(words)?;
        if reader.marks.iter().all(|mark| mark.next <= mark.ring.count) {
            reader.rewind(0);
        }
        Ok(reader)
    }

    /// Whether it has begun with the very first record, and will read all of them but those that are [lost](Self::lost).
    /// To be asked before it reads.
    pub fn is_complete(&self) -> bool {
        self.marks.iter().all(|mark| mark.next == 0)
    }

    /// Reads from this position of each ring on.
    pub(super) fn rewind(&mut self, to: u64) {
        self.marks.iter_mut().for_each(|mark| mark.next = to.min(mark.next));
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
        self.marks.iter().map(|mark| mark.holes.len() as u64).sum()
    }

    /// Gives all that was written since the last time to `take`. Of one thread, in the order of writing; of several, a
    /// record that took longer, or is in another column, comes later.
    pub fn read(&mut self, words: &[AtomicU64], take: &mut dyn FnMut(Entry)) {
        let (mut lost, mut damaged) = (0_u64, 0_u64);
        for mark in &mut self.marks {
            mark.read(words, take, &mut lost, &mut damaged);
        }
        self.lost = self.lost.saturating_add(lost);
        self.damaged = self.damaged.saturating_add(damaged);
    }
}

impl Mark {
    fn read(&mut self, words: &[AtomicU64], take: &mut dyn FnMut(Entry), lost: &mut u64, damaged: &mut u64) {
        let head = words[self.ring.head].load(Acquire);
        if head == self.next && self.holes.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.holes);
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
                Found::Gone
            } else {
                look(words, &self.ring, position)
            };
            match found {
                Found::Whole(Some(entry)) => take(entry),
                Found::Whole(None) => *damaged = damaged.saturating_add(1),
                Found::NotYet if self.holes.len() < HOLES => self.holes.push(position),
                Found::NotYet | Found::Gone => *lost = lost.saturating_add(1),
            }
        }
    }
}

/// Entries that tell whether their words are all of the same one.
#[cfg(test)]
mod made_up {
    use zctrace_contract::journal::{Entry, Operation};

    pub(super) fn entry(segment: u64) -> Entry {
        Entry {
            position: 0,
            time_ns: segment,
            segment,
            segment_offset: segment,
            pipe_offset: segment,
            len: 1 + segment,
            pipe: segment,
            thread: segment as u32,
            caller: 0,
            operation: Operation::Fill,
            reason: None,
            api_call: None,
        }
    }

    pub(super) fn is_one(entry: &Entry) -> bool {
        let segment = entry.segment;
        let rest = [
            entry.time_ns,
            entry.segment_offset,
            entry.pipe_offset,
            entry.len - 1,
            entry.pipe,
        ];
        rest == [segment; 5] && entry.thread == segment as u32
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::super::layout::{Room, made};
    use super::made_up::{entry, is_one};
    use super::*;

    const ROOM: Room = Room {
        callers: 2,
        records: 8,
        columns: 2,
        column_records: 4,
    };

    fn journal() -> (Vec<AtomicU64>, Layout) {
        let words = made(ROOM);
        let layout = Layout::read(&words).expect("it was just made");
        (words, layout)
    }

    fn column<'a>(words: &'a [AtomicU64], layout: &Layout, number: usize) -> Column<'a> {
        Column::new(words, layout, number).expect("there are two")
    }

    fn read(reader: &mut Reader, words: &[AtomicU64]) -> Vec<u64> {
        let mut seen = Vec::new();
        reader.read(words, &mut |entry| {
            assert!(is_one(&entry), "a record made of two");
            seen.push(entry.segment);
        });
        seen
    }

    #[test]
    fn journal_is_read_in_order_and_what_was_overwritten_is_counted() {
        let (words, layout) = journal();
        let mut reader = Reader::new_at_end(&words).expect("a journal");
        (0..5).for_each(|n| write_common(&words, &layout, entry(n)));
        assert_eq!(read(&mut reader, &words), [0, 1, 2, 3, 4]);
        (5..25).for_each(|n| write_common(&words, &layout, entry(n)));
        assert_eq!(read(&mut reader, &words), (17..25).collect::<Vec<_>>());
        assert_eq!((reader.lost(), reader.damaged(), reader.incomplete()), (12, 0, 0));
    }

    #[test]
    fn journal_columns_are_read_beside_the_common_ring_and_each_by_itself() {
        let (words, layout) = journal();
        let mut reader = Reader::new_at_start(&words).expect("a journal");
        assert!(reader.is_complete());
        let (mut one, mut two) = (column(&words, &layout, 0), column(&words, &layout, 1));
        two.write(entry(10));
        write_common(&words, &layout, entry(0));
        one.write(entry(20));
        two.write(entry(11));
        assert_eq!(read(&mut reader, &words), [0, 20, 10, 11]);
        // A round and a half in one column: what it loses is nobody else's.
        (12..18).for_each(|n| two.write(entry(n)));
        one.write(entry(21));
        assert_eq!(read(&mut reader, &words), [21, 14, 15, 16, 17]);
        assert_eq!((reader.lost(), reader.damaged(), reader.incomplete()), (2, 0, 0));
        // It is not whole for one who comes now, though the other rings are.
        assert!(!Reader::new_at_start(&words).expect("a journal").is_complete());
    }

    #[test]
    fn journal_record_that_takes_longer_holds_nobody_up() {
        let (words, layout) = journal();
        let ring = layout.common();
        let mut reader = Reader::new_at_end(&words).expect("a journal");
        write_common(&words, &layout, entry(0));
        // A writer that has taken position 1 and claimed it, and goes no further.
        let position = words[word::HEAD].fetch_add(1, Relaxed);
        words[ring.record(position)][0].store(claimed(position), Relaxed);
        write_common(&words, &layout, entry(2));
        assert_eq!(read(&mut reader, &words), [0, 2]);
        assert_eq!(reader.incomplete(), 1);
        // A round later its place is still its own: who should write there gives up.
        (3..10).for_each(|n| write_common(&words, &layout, entry(n)));
        assert_eq!(words[word::DROPPED].load(Relaxed), 1);
        assert_eq!(read(&mut reader, &words), (3..9).collect::<Vec<_>>(), "9 was dropped");
        // It wakes up: its record is too old now, and what it overwrites nothing.
        words[ring.record(position)][0].store(whole(position), Release);
        assert_eq!(read(&mut reader, &words), [] as [u64; 0]);
        (10..20).for_each(|n| write_common(&words, &layout, entry(n)));
        read(&mut reader, &words);
        assert_eq!(
            (reader.incomplete(), reader.lost()),
            (0, 2 + 2),
            "two by the writer, two by being late"
        );
    }

    #[test]
    fn journal_that_lies_about_its_heads_is_read_in_bounds() {
        let (words, layout) = journal();
        let mut reader = Reader::new_at_end(&words).expect("a journal");
        for ring in layout.rings() {
            for head in [u64::MAX, 3, u64::MAX / 2, 0, 1 << 40] {
                words[ring.head].store(head, Relaxed);
                assert!(read(&mut reader, &words).len() <= 8 + 2 * 4);
                assert!(reader.incomplete() <= 8 + 2 * 4);
            }
            // Nor does a writer who begins with it write anywhere else.
            words[ring.head].store(u64::MAX, Relaxed);
        }
        (0..2).for_each(|number| column(&words, &layout, number).write(entry(1)));
        write_common(&words, &layout, entry(1));
        assert!(reader.lost() > 0 && reader.damaged() > 0);
    }
}

/// Writers and a reader of a journal with room for one or two records: in no meeting of them is a record made of two, read
/// twice, or neither read nor counted.
#[cfg(all(test, model))]
mod model {
    use super::super::columns::Columns;
    use super::super::layout::{Room, made};
    use super::made_up::{entry, is_one};
    use super::*;
    use loom::sync::Arc;

    /// Two threads write into a journal with room for so many records, while another one reads.
    fn check(room: Room, write: fn(&[AtomicU64], &Layout, &Columns, u64)) {
        let mut model = loom::model::Builder::new();
        // All meetings of three threads with twenty steps each are too many to try; those in which one of them is stopped three
        // times are not.
        model.preemption_bound = Some(3);
        model.check(move || {
            let words = made(room);
            let layout = Layout::read(&words).expect("it was just made");
            let mut reader = Reader::new_at_start(&words).expect("a journal");
            let shared = Arc::new((words, Columns::new(room.columns)));
            let writers: Vec<_> = (1..3)
                .map(|number| {
                    let shared = Arc::clone(&shared);
                    loom::thread::spawn(move || write(&shared.0, &layout, &shared.1, number * 10))
                })
                .collect();
            let mut seen = Vec::new();
            let mut take = |entry: Entry| {
                assert!(is_one(&entry), "a record made of two");
                seen.push(entry.segment);
            };
            reader.read(&shared.0, &mut take);
            for writer in writers {
                writer.join().expect("writer");
            }
            reader.read(&shared.0, &mut take);
            let read = seen.len() as u64;
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len() as u64, read, "read twice");
            assert_eq!(
                read + reader.lost() + reader.incomplete(),
                2,
                "neither read nor counted"
            );
            assert_eq!(reader.damaged(), 0);
        });
    }

    fn common(words: &[AtomicU64], layout: &Layout, _: &Columns, number: u64) {
        write_common(words, layout, entry(number));
    }

    /// As a thread that lives for one record.
    fn own(words: &[AtomicU64], layout: &Layout, columns: &Columns, number: u64) {
        match columns.take() {
            Some(column) => {
                Column::new(words, layout, column)
                    .expect("it was taken")
                    .write(entry(number));
                columns.give_back(column);
            }
            None => write_common(words, layout, entry(number)),
        }
    }

    fn room(records: u64, columns: u32, column_records: u64) -> Room {
        Room {
            callers: 0,
            records,
            columns,
            column_records,
        }
    }

    #[test]
    fn loom_journal_of_one_record() {
        check(room(1, 0, 0), common);
    }

    #[test]
    fn loom_journal_of_two_records() {
        check(room(2, 0, 0), common);
    }

    #[test]
    fn loom_journal_of_one_column_for_two_threads() {
        check(room(1, 1, 1), own);
        check(room(1, 1, 2), own);
    }

    #[test]
    fn loom_journal_of_a_column_for_each() {
        check(room(1, 2, 1), own);
    }

    /// One writer, who overwrites its records while they are read.
    #[test]
    fn loom_journal_of_a_column_that_is_overwritten() {
        loom::model(|| {
            let words = made(room(1, 1, 1));
            let layout = Layout::read(&words).expect("it was just made");
            let mut reader = Reader::new_at_start(&words).expect("a journal");
            let words = Arc::new(words);
            let writer = {
                let words = Arc::clone(&words);
                loom::thread::spawn(move || {
                    let mut column = Column::new(&words, &layout, 0).expect("there is one");
                    (1..4).for_each(|n| column.write(entry(n)));
                })
            };
            let mut seen = Vec::new();
            let mut take = |entry: Entry| {
                assert!(is_one(&entry), "a record made of two");
                seen.push(entry.segment);
            };
            reader.read(&words, &mut take);
            writer.join().expect("writer");
            reader.read(&words, &mut take);
            assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
            assert_eq!((seen.len() as u64 + reader.lost(), reader.incomplete()), (3, 0));
        });
    }
}
