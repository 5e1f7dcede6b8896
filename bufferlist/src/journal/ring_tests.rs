//! Tests of the writers and the reader of a journal's rings.

use super::layout::{Capacity, Layout, in_memory};
use super::reader::Reader;
use super::writer::{ColumnWriter, write_shared};
use crate::sync::AtomicU64;
use zctrace_contract::journal::{Entry, Operation};

/// Returns an entry whose words reveal a mix with another entry.
fn entry(segment: u64) -> Entry {
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

fn is_consistent(entry: &Entry) -> bool {
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

#[cfg(not(model))]
mod sequential {
    use super::*;
    use crate::journal::layout::word;
    use crate::journal::writer::{claimed_sequence, complete_sequence};
    use std::sync::atomic::Ordering::{Relaxed, Release};

    const CAPACITY: Capacity = Capacity {
        call_sites: 2,
        records: 8,
        columns: 2,
        column_records: 4,
    };

    fn journal() -> (Vec<AtomicU64>, Layout) {
        let words = in_memory(CAPACITY);
        let layout = Layout::read(&words).expect("it was just created");
        (words, layout)
    }

    fn column<'a>(words: &'a [AtomicU64], layout: &Layout, number: usize) -> ColumnWriter<'a> {
        ColumnWriter::new(words, layout, number).expect("there are two")
    }

    fn read(reader: &mut Reader, words: &[AtomicU64]) -> Vec<u64> {
        let mut segments = Vec::new();
        reader.read(words, &mut |entry| {
            assert!(is_consistent(&entry), "an entry mixed from two");
            segments.push(entry.segment);
        });
        segments
    }

    #[test]
    fn journal_is_read_in_order_and_overwrites_are_counted() {
        let (words, layout) = journal();
        let mut reader = Reader::new_at_end(&words).expect("a journal");
        (0..5).for_each(|n| write_shared(&words, &layout, entry(n)));
        assert_eq!(read(&mut reader, &words), [0, 1, 2, 3, 4]);
        (5..25).for_each(|n| write_shared(&words, &layout, entry(n)));
        assert_eq!(read(&mut reader, &words), (17..25).collect::<Vec<_>>());
        assert_eq!((reader.lost(), reader.damaged(), reader.incomplete()), (12, 0, 0));
    }

    #[test]
    fn journal_columns_and_shared_ring_are_read_independently() {
        let (words, layout) = journal();
        let mut reader = Reader::new_at_start(&words).expect("a journal");
        assert!(reader.is_complete());
        let (mut one, mut two) = (column(&words, &layout, 0), column(&words, &layout, 1));
        two.write(entry(10));
        write_shared(&words, &layout, entry(0));
        one.write(entry(20));
        two.write(entry(11));
        assert_eq!(read(&mut reader, &words), [0, 20, 10, 11]);
        // One and a half rounds in one column. Its losses do not affect the others.
        (12..18).for_each(|n| two.write(entry(n)));
        one.write(entry(21));
        assert_eq!(read(&mut reader, &words), [21, 14, 15, 16, 17]);
        assert_eq!((reader.lost(), reader.damaged(), reader.incomplete()), (2, 0, 0));
        // For a new reader the column is not complete, although the other rings are.
        assert!(!Reader::new_at_start(&words).expect("a journal").is_complete());
    }

    #[test]
    fn journal_slow_writer_delays_no_other() {
        let (words, layout) = journal();
        let ring = layout.shared();
        let mut reader = Reader::new_at_end(&words).expect("a journal");
        write_shared(&words, &layout, entry(0));
        // A writer that has taken position 1, has claimed the record, and stalls.
        let position = words[word::HEAD].fetch_add(1, Relaxed);
        words[ring.record(position)][0].store(claimed_sequence(position), Relaxed);
        write_shared(&words, &layout, entry(2));
        assert_eq!(read(&mut reader, &words), [0, 2]);
        assert_eq!(reader.incomplete(), 1);
        // One round later the record is still claimed, so the next writer of that record drops its
        // entry.
        (3..10).for_each(|n| write_shared(&words, &layout, entry(n)));
        assert_eq!(words[word::DROPPED].load(Relaxed), 1);
        assert_eq!(read(&mut reader, &words), (3..9).collect::<Vec<_>>(), "9 was dropped");
        // The stalled writer continues. Its record is too old now, and overwrites nothing.
        words[ring.record(position)][0].store(complete_sequence(position), Release);
        assert_eq!(read(&mut reader, &words), [] as [u64; 0]);
        (10..20).for_each(|n| write_shared(&words, &layout, entry(n)));
        read(&mut reader, &words);
        assert_eq!(
            (reader.incomplete(), reader.lost()),
            (0, 2 + 2),
            "two by the writer, two by being late"
        );
    }

    #[test]
    fn journal_with_forged_heads_is_read_in_bounds() {
        let (words, layout) = journal();
        let mut reader = Reader::new_at_end(&words).expect("a journal");
        for ring in layout.rings() {
            for head in [u64::MAX, 3, u64::MAX / 2, 0, 1 << 40] {
                words[ring.head].store(head, Relaxed);
                assert!(read(&mut reader, &words).len() <= 8 + 2 * 4);
                assert!(reader.incomplete() <= 8 + 2 * 4);
            }
            // A writer that starts with such a head stays in bounds as well.
            words[ring.head].store(u64::MAX, Relaxed);
        }
        (0..2).for_each(|number| column(&words, &layout, number).write(entry(1)));
        write_shared(&words, &layout, entry(1));
        assert!(reader.lost() > 0 && reader.damaged() > 0);
    }
}

/// Writers and a reader of a journal with room for one or two records. In every interleaving, no
/// entry is mixed from two, read twice, or neither read nor counted.
#[cfg(model)]
mod model {
    use super::*;
    use crate::journal::column_alloc::ColumnAllocator;
    use loom::sync::Arc;

    /// Two threads write into a journal of this capacity while another thread reads.
    fn check(capacity: Capacity, write: fn(&[AtomicU64], &Layout, &ColumnAllocator, u64)) {
        let mut model = loom::model::Builder::new();
        // Exploring all interleavings of three threads with twenty steps each takes too long;
        // exploring those with at most three preemptions does not.
        model.preemption_bound = Some(3);
        model.check(move || {
            let words = in_memory(capacity);
            let layout = Layout::read(&words).expect("it was just created");
            let mut reader = Reader::new_at_start(&words).expect("a journal");
            let shared = Arc::new((words, ColumnAllocator::new(capacity.columns)));
            let writers: Vec<_> = (1..3)
                .map(|number| {
                    let shared = Arc::clone(&shared);
                    loom::thread::spawn(move || write(&shared.0, &layout, &shared.1, number * 10))
                })
                .collect();
            let mut segments = Vec::new();
            let mut take = |entry: Entry| {
                assert!(is_consistent(&entry), "an entry mixed from two");
                segments.push(entry.segment);
            };
            reader.read(&shared.0, &mut take);
            for writer in writers {
                writer.join().expect("writer");
            }
            reader.read(&shared.0, &mut take);
            let read = segments.len() as u64;
            segments.sort_unstable();
            segments.dedup();
            assert_eq!(segments.len() as u64, read, "read twice");
            assert_eq!(
                read + reader.lost() + reader.incomplete(),
                2,
                "neither read nor counted"
            );
            assert_eq!(reader.damaged(), 0);
        });
    }

    fn shared_ring(words: &[AtomicU64], layout: &Layout, _: &ColumnAllocator, number: u64) {
        write_shared(words, layout, entry(number));
    }

    /// Writes like a thread that lives for one entry.
    fn own_column(words: &[AtomicU64], layout: &Layout, columns: &ColumnAllocator, number: u64) {
        match columns.claim() {
            Some(column) => {
                ColumnWriter::new(words, layout, column)
                    .expect("it was claimed")
                    .write(entry(number));
                columns.release(column);
            }
            None => write_shared(words, layout, entry(number)),
        }
    }

    fn capacity(records: u64, columns: u32, column_records: u64) -> Capacity {
        Capacity {
            call_sites: 0,
            records,
            columns,
            column_records,
        }
    }

    #[test]
    fn loom_journal_of_one_record() {
        check(capacity(1, 0, 0), shared_ring);
    }

    #[test]
    fn loom_journal_of_two_records() {
        check(capacity(2, 0, 0), shared_ring);
    }

    #[test]
    fn loom_journal_of_one_column_for_two_threads() {
        check(capacity(1, 1, 1), own_column);
        check(capacity(1, 1, 2), own_column);
    }

    #[test]
    fn loom_journal_of_a_column_for_each() {
        check(capacity(1, 2, 1), own_column);
    }

    /// One writer overwrites its records while they are read.
    #[test]
    fn loom_journal_of_a_column_that_is_overwritten() {
        loom::model(|| {
            let words = in_memory(capacity(1, 1, 1));
            let layout = Layout::read(&words).expect("it was just created");
            let mut reader = Reader::new_at_start(&words).expect("a journal");
            let words = Arc::new(words);
            let writer = {
                let words = Arc::clone(&words);
                loom::thread::spawn(move || {
                    let mut column = ColumnWriter::new(&words, &layout, 0).expect("there is one");
                    (1..4).for_each(|n| column.write(entry(n)));
                })
            };
            let mut segments = Vec::new();
            let mut take = |entry: Entry| {
                assert!(is_consistent(&entry), "an entry mixed from two");
                segments.push(entry.segment);
            };
            reader.read(&words, &mut take);
            writer.join().expect("writer");
            reader.read(&words, &mut take);
            assert!(segments.is_sorted_by(|one, next| one < next), "{segments:?}");
            assert_eq!((segments.len() as u64 + reader.lost(), reader.incomplete()), (3, 0));
        });
    }
}
