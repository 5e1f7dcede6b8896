//! Images of journals of each version, which must stay readable.

use super::layout::{Capacity, Creator, Layout, format, word};
use super::reader::Reader;
use super::writer::{ColumnWriter, write_shared};
use crate::reason::Reason;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use zctrace_contract::journal::{ApiCall, Entry, Operation};

/// With a shared ring only.
const VERSION_1: &[u8] = include_bytes!("../../tests/data/journal-version-1.bin");
/// With columns.
const VERSION_2: &[u8] = include_bytes!("../../tests/data/journal-version-2.bin");

/// Number of entries written to the shared ring, which holds eight, and to the second of two
/// columns, which hold four each.
const COMMON: u64 = 10;
const COLUMN: u64 = 3;

fn entry(n: u64) -> Entry {
    Entry {
        position: n,
        time_ns: 1_000_000 + n,
        segment: 1024 + n / 2,
        segment_offset: n * 10,
        pipe_offset: n * 65_536,
        len: 65_536 - n,
        pipe: 90_000 + n % 3,
        thread: 4711 + n as u32,
        caller: (n % 3) as u8,
        operation: [Operation::Fill, Operation::Drain, Operation::Peek][(n % 3) as usize],
        reason: (n % 3 == 2).then_some(Reason::Peeked),
        api_call: [Some(ApiCall::SpliceFrom), Some(ApiCall::Transfer), Some(ApiCall::Peek)][(n % 3) as usize],
    }
}

/// Returns the entries in the columns.
fn of_columns() -> impl Iterator<Item = Entry> {
    (0..COLUMN).map(|n| Entry {
        position: n,
        ..entry(100 + n)
    })
}

const LINES: [(&str, u32); 3] = [("src/main.rs", 7), ("src/a/module.rs", 1234), ("äöü.rs", 1)];

fn words(bytes: &[u8]) -> Vec<AtomicU64> {
    let eights = bytes.chunks_exact(8);
    eights
        .map(|eight| AtomicU64::new(u64::from_ne_bytes(eight.try_into().expect("eight"))))
        .collect()
}

/// Returns the image that this version of the library writes.
fn written() -> Vec<u8> {
    let capacity = Capacity {
        call_sites: 4,
        records: 8,
        columns: 2,
        column_records: 4,
    };
    let words: Vec<AtomicU64> = (0..capacity.bytes() / 8).map(|_| AtomicU64::new(0)).collect();
    let writer = Creator {
        pid: 4711,
        created_ns: 17,
        created_boottime_ns: 19,
        device: 15,
    };
    format(&words, capacity, writer);
    let layout = Layout::read(&words).expect("it was just created");
    for (number, (file, line)) in (0..).zip(LINES) {
        super::call_sites::write(&words[layout.call_site(number).expect("there is room")], file, line);
    }
    (0..COMMON).for_each(|n| write_shared(&words, &layout, entry(n)));
    let mut column = ColumnWriter::new(&words, &layout, 1).expect("there are two");
    of_columns().for_each(|entry| column.write(entry));
    words[word::FLAG].store(1, Relaxed);
    words.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect()
}

#[test]
#[cfg(target_endian = "little")]
fn journal_writer_produces_version_2() {
    let now = written();
    // If this fails, the library no longer writes version 2. The layout then needs a new version
    // number, and the image must stay.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/journal-version-2.bin");
    test_support::assert_binary_snapshot(file, &now);
}

/// Asserts that an image contains what it was made of, with the entries `columns` in its columns.
fn check(image: &[u8], columns: &[Entry]) {
    let words = words(image);
    let mut reader = Reader::new_at_end(&words).expect("a journal of a version that is known");
    let layout = *reader.layout();
    assert_eq!(
        (layout.pid, layout.created_ns, layout.created_boottime_ns, layout.device),
        (4711, 17, 19, 15)
    );
    assert!(super::is_watched(&words));
    for (number, (file, line)) in (0..).zip(LINES) {
        let call_site = reader.call_site(&words, number).expect("a line");
        assert_eq!((call_site.file.as_str(), call_site.line), (file, line));
    }
    assert_eq!(reader.call_site(&words, 3), None);
    // Ten entries were written to a ring of eight, so the reader cannot start at the beginning, and
    // starts at the head.
    let mut entries = Vec::new();
    reader.read(&words, &mut |entry| entries.push(entry));
    assert!(entries.is_empty());
    reader.rewind(0);
    reader.read(&words, &mut |entry| entries.push(entry));
    let (common, rest) = entries.split_at(8);
    assert_eq!(common, (2..COMMON).map(entry).collect::<Vec<_>>());
    assert_eq!(rest, columns);
    assert_eq!((reader.lost(), reader.damaged(), reader.incomplete()), (2, 0, 0));
}

#[test]
#[cfg(target_endian = "little")]
fn journal_of_version_1_is_read() {
    check(VERSION_1, &[]);
}

#[test]
#[cfg(target_endian = "little")]
fn journal_of_version_2_is_read() {
    check(VERSION_2, &of_columns().collect::<Vec<_>>());
}

#[test]
fn journal_of_another_version_is_refused() {
    for version in [0, 3, u64::from(u32::MAX)] {
        let words = words(&written());
        words[word::VERSION].store(version | 256 << 32, Relaxed);
        assert_eq!(
            Layout::read(&words),
            Err(super::LayoutError::OtherVersion(version as u32))
        );
    }
}

/// Replaces each word of the header by typical results of damage. Reading must neither panic nor go
/// out of bounds.
#[test]
fn journal_with_a_damaged_header_is_refused_or_read_in_bounds() {
    let good = written();
    for at in 1..word::COUNT {
        for bad in [
            0,
            1,
            7,
            8,
            255,
            256,
            1 << 20,
            1 << 31,
            u64::MAX >> 32,
            1 << 32,
            1 << 63,
            u64::MAX,
        ] {
            let words = words(&good);
            words[at].store(bad, Relaxed);
            if let Ok(mut reader) = Reader::new_at_start(&words) {
                reader.rewind(0);
                reader.read(&words, &mut |_| {});
                for number in 0..=u8::MAX {
                    reader.call_site(&words, number);
                }
            }
        }
    }
    for cut in 0..good.len() / 8 {
        let words = words(&good[..cut * 8]);
        assert!(Layout::read(&words).is_err(), "{cut} words");
    }
}
