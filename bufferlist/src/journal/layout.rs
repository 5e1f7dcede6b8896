//! How a journal lies in memory: version 2, which is written, and version 1, which is read for ever.
//!
//! All of it is words of 64 bits in the machine's byte order, so that each can be read while another process writes it.

use super::entry::field;
use crate::sync::AtomicU64;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// The first word of a journal: `BUFLJRNL` as it lies in memory.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"BUFLJRNL");

/// The version of the layout that is written. Version 1, which has no columns, is read as well.
pub const VERSION: u32 = 2;

/// Words of the header, by number.
pub(super) mod word {
    pub(crate) const MAGIC: usize = 0;
    /// Version below, bytes of the header above.
    pub(crate) const VERSION: usize = 1;
    /// Bytes of the whole journal.
    pub(crate) const TOTAL: usize = 2;
    /// Where the table of callers begins below, how many it has room for above.
    pub(crate) const CALL_SITES: usize = 3;
    /// Bytes of a caller.
    pub(crate) const CALL_SITE_BYTES: usize = 4;
    /// Where the records of the common ring begin below, bytes of a record above.
    pub(crate) const RECORDS: usize = 5;
    /// How many records the common ring has room for.
    pub(crate) const RECORD_COUNT: usize = 6;
    /// The process that writes, by its own number.
    pub(crate) const PID: usize = 7;
    /// When it was made, in nanoseconds of `CLOCK_MONOTONIC`, the clock of the records.
    pub(crate) const CREATED: usize = 8;
    /// The same of `CLOCK_BOOTTIME`, the clock of a process's start in /proc.
    pub(crate) const CREATED_BOOTTIME: usize = 9;
    /// The filesystem of the pipes (`st_dev`).
    pub(crate) const DEVICE: usize = 10;
    /// Where the heads of the columns begin below, how many columns there are above. Zero in version 1, as are the next two.
    pub(crate) const COLUMNS: usize = 11;
    /// Where the records of the first column begin below, how many each column has room for above.
    pub(crate) const COLUMN_RECORDS: usize = 12;
    /// Bytes of a column's head, of which the first word counts its records.
    pub(crate) const COLUMN_HEAD_BYTES: usize = 13;
    /// Not zero while somebody watches. On a line of the cache of its own: it is read for every operation.
    pub(crate) const FLAG: usize = 16;
    /// The position of the next record of the common ring: how many were begun there.
    pub(crate) const HEAD: usize = 24;
    /// Records that were begun and given up, since a writer a whole round behind was still at their place.
    pub(crate) const DROPPED: usize = 25;
    /// Records whose caller found no room in the table.
    pub(crate) const CALL_SITE_MISSES: usize = 26;
    /// How many there are.
    pub(crate) const COUNT: usize = 32;
}

/// Words of a caller: one for line, length and state, the rest for the name of the file.
pub(super) const CALL_SITE_WORDS: usize = 15;
/// A caller's first word: it is whole.
pub(super) const COMPLETE: u64 = 1 << 63;
/// Its file's name was too long: only the end of it is here.
pub(super) const TRUNCATED: u64 = 1 << 62;

/// The caller of a record that has none, or for which the table had no room.
pub(super) const NO_CALL_SITE: u8 = u8::MAX;

/// A journal is not larger than this, and has no more columns: who says that his has, is not believed.
const MAX_BYTES: u64 = 64 << 20;
const MAX_COLUMNS: u64 = 1024;

/// Words of a column's head: a line of the cache, which belongs to one writer.
const COLUMN_HEAD_WORDS: usize = 8;

/// How much room a journal has. Records are powers of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Capacity {
    /// Lines of programs.
    pub(super) call_sites: u32,
    /// Records of the common ring.
    pub(super) records: u64,
    /// Columns.
    pub(super) columns: u32,
    /// Records of each column.
    pub(super) column_records: u64,
}

const RECORD_BYTES: u64 = field::COUNT as u64 * 8;

impl Capacity {
    /// Where the heads of the columns begin: behind header and callers, at a line of the cache.
    fn heads_at(self) -> u64 {
        let before = (word::COUNT + CALL_SITE_WORDS * self.call_sites as usize) as u64 * 8;
        before.next_multiple_of(64)
    }

    /// Where the records of the common ring begin: at a page, if there is more than one.
    fn records_at(self) -> u64 {
        let before = self.heads_at() + u64::from(self.columns) * COLUMN_HEAD_WORDS as u64 * 8;
        let to = if before > 4096 { 4096 } else { 64 };
        before.next_multiple_of(to)
    }

    /// Where those of the first column begin.
    fn column_records_at(self) -> u64 {
        self.records_at() + self.records * RECORD_BYTES
    }

    pub(super) fn bytes(self) -> u64 {
        self.column_records_at() + u64::from(self.columns) * self.column_records * RECORD_BYTES
    }
}

/// Who writes a journal, since when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Creator {
    pub(super) pid: u32,
    pub(super) created_ns: u64,
    pub(super) created_boottime_ns: u64,
    pub(super) device: u64,
}

/// A journal in memory, for tests.
#[cfg(test)]
pub(super) fn in_memory(capacity: Capacity) -> Vec<AtomicU64> {
    let words: Vec<AtomicU64> = (0..capacity.bytes() / 8).map(|_| AtomicU64::new(0)).collect();
    let writer = Creator {
        pid: 1,
        created_ns: 2,
        created_boottime_ns: 3,
        device: 4,
    };
    format(&words, capacity, writer);
    words
}

/// Writes the header into words that are all zero. The magic comes last: without it there is no journal.
pub(super) fn format(words: &[AtomicU64], capacity: Capacity, writer: Creator) {
    let two = |low: u64, high: u64| low | high << 32;
    let set = |at: usize, value: u64| words[at].store(value, Relaxed);
    set(word::VERSION, two(u64::from(VERSION), word::COUNT as u64 * 8));
    set(word::TOTAL, capacity.bytes());
    set(
        word::CALL_SITES,
        two(word::COUNT as u64 * 8, u64::from(capacity.call_sites)),
    );
    set(word::CALL_SITE_BYTES, CALL_SITE_WORDS as u64 * 8);
    set(word::RECORDS, two(capacity.records_at(), RECORD_BYTES));
    set(word::RECORD_COUNT, capacity.records);
    set(word::COLUMNS, two(capacity.heads_at(), u64::from(capacity.columns)));
    set(
        word::COLUMN_RECORDS,
        two(capacity.column_records_at(), capacity.column_records),
    );
    set(word::COLUMN_HEAD_BYTES, COLUMN_HEAD_WORDS as u64 * 8);
    set(word::PID, u64::from(writer.pid));
    set(word::CREATED, writer.created_ns);
    set(word::CREATED_BOOTTIME, writer.created_boottime_ns);
    set(word::DEVICE, writer.device);
    words[word::MAGIC].store(MAGIC, std::sync::atomic::Ordering::Release);
}

/// Where things are in a journal, as its header says, checked: whatever lies at these places is inside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The process that writes, by the number it has for itself.
    pub pid: u32,
    /// When the journal was made: nanoseconds of `CLOCK_MONOTONIC`.
    pub created_ns: u64,
    /// The same: nanoseconds of `CLOCK_BOOTTIME`.
    pub created_boottime_ns: u64,
    /// The filesystem of the pipes, as `st_dev` has it.
    pub device: u64,
    call_sites: Array,
    /// The common ring.
    shared: Ring,
    /// The first column's; the next ones follow, each so many words further on.
    column: Ring,
    columns: Array,
}

/// A region of a journal, as its header claims it: the byte offset of its first item, the number of items, and the
/// bytes of each.
#[derive(Clone, Copy)]
struct Region {
    at: u64,
    count: u64,
    bytes: u64,
}

impl Region {
    /// Returns whether the region consists of whole words, has items of `min_words` words at least, and lies behind the
    /// header and within the journal's `total` bytes.
    fn fits(self, header_bytes: u64, total: u64, min_words: usize) -> bool {
        let is_whole =
            self.at % 8 == 0 && self.bytes % 8 == 0 && self.bytes >= min_words as u64 * 8 && self.bytes <= MAX_BYTES;
        let len = self.count.checked_mul(self.bytes);
        let end = len.and_then(|len| len.checked_add(self.at));
        is_whole && self.at >= header_bytes && end.is_some_and(|end| end <= total)
    }

    fn array(self) -> Array {
        Array {
            at: self.at as usize / 8,
            count: self.count as usize,
            words: self.bytes as usize / 8,
        }
    }

    /// Returns the ring of records in this region whose head is the word `head`.
    fn ring(self, head: usize) -> Ring {
        Ring {
            head,
            records: self.at as usize / 8,
            words: self.bytes as usize / 8,
            count: self.count,
        }
    }
}

/// So many things in a row, at a word, of so many words each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Array {
    at: usize,
    count: usize,
    words: usize,
}

/// Where the records of one ring are, and the word that counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ring {
    pub(super) head: usize,
    records: usize,
    /// Of a record.
    words: usize,
    /// How many there is room for: a power of two.
    pub(super) count: u64,
}

impl Ring {
    /// The words of the record at a position.
    #[inline]
    pub(super) fn record(&self, position: u64) -> Range<usize> {
        let start = self.records + self.words * (position & (self.count - 1)) as usize;
        start..start + field::COUNT
    }
}

/// Why memory is no journal that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LayoutError {
    /// It does not begin like one, or is too short for a header.
    NotAJournal,
    /// It is of a version that this library does not know.
    OtherVersion(u32),
    /// Its header contradicts itself, or speaks of more memory than there is.
    Damaged,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAJournal => f.write_str("it is no journal"),
            Self::OtherVersion(version) => {
                write!(
                    f,
                    "it is a journal of version {version}, and only those up to {VERSION} are known"
                )
            }
            Self::Damaged => f.write_str("its header is damaged"),
        }
    }
}

impl std::error::Error for LayoutError {}

impl Layout {
    /// Reads and checks the header of a journal.
    ///
    /// Any words may be given: what cannot be right is an error, never a panic.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] says what is wrong.
    ///
    /// ```
    /// use bufferlist::journal::{Layout, LayoutError};
    /// assert_eq!(Layout::read(&[]), Err(LayoutError::NotAJournal));
    /// ```
    pub fn read(words: &[AtomicU64]) -> Result<Self, LayoutError> {
        if words.len() < word::COUNT || words[word::MAGIC].load(std::sync::atomic::Ordering::Acquire) != MAGIC {
            return Err(LayoutError::NotAJournal);
        }
        let get = |at: usize| words[at].load(Relaxed);
        let two = |at: usize| (get(at) & 0xffff_ffff, get(at) >> 32);
        let (version, header_bytes) = two(word::VERSION);
        if version == 0 || version > u64::from(VERSION) {
            return Err(LayoutError::OtherVersion(version as u32));
        }
        let region = |(at, count): (u64, u64), bytes: u64| Region { at, count, bytes };
        let call_sites = region(two(word::CALL_SITES), get(word::CALL_SITE_BYTES));
        let (records_at, record_bytes) = two(word::RECORDS);
        let records = region((records_at, get(word::RECORD_COUNT)), record_bytes);
        // Version 1 has a shared ring and nothing else.
        let has_columns = version > 1 && two(word::COLUMNS).1 > 0;
        let none = (header_bytes, 0);
        let (heads, column_records) = if has_columns {
            let heads = region(two(word::COLUMNS), two(word::COLUMN_HEAD_BYTES).0);
            (heads, region(two(word::COLUMN_RECORDS), record_bytes))
        } else {
            (region(none, 8), region(none, record_bytes))
        };
        let all_column_records = Region {
            count: heads.count.saturating_mul(column_records.count),
            ..column_records
        };
        let total = get(word::TOTAL);
        let is_valid = header_bytes >= word::COUNT as u64 * 8
            && total <= (words.len() as u64 * 8).min(MAX_BYTES)
            && call_sites.count < u64::from(NO_CALL_SITE)
            && records.count.is_power_of_two()
            && heads.count <= MAX_COLUMNS
            && (column_records.count.is_power_of_two() || !has_columns)
            && call_sites.fits(header_bytes, total, 2)
            && records.fits(header_bytes, total, field::COUNT)
            && heads.fits(header_bytes, total, 1)
            && all_column_records.fits(header_bytes, total, field::COUNT);
        if !is_valid {
            return Err(LayoutError::Damaged);
        }
        let columns = heads.array();
        Ok(Self {
            pid: get(word::PID) as u32,
            created_ns: get(word::CREATED),
            created_boottime_ns: get(word::CREATED_BOOTTIME),
            device: get(word::DEVICE),
            call_sites: call_sites.array(),
            shared: records.ring(word::HEAD),
            column: column_records.ring(columns.at),
            columns,
        })
    }

    /// The ring for all threads that have no column.
    pub(super) fn shared(&self) -> Ring {
        self.shared
    }

    /// The ring of a column.
    pub(super) fn column(&self, number: usize) -> Option<Ring> {
        let first = self.column;
        (number < self.columns.count).then(|| Ring {
            head: first.head + number * self.columns.words,
            records: first.records + number * first.count as usize * first.words,
            ..first
        })
    }

    /// All rings: the common one, and those of the columns.
    pub(super) fn rings(&self) -> impl Iterator<Item = Ring> {
        std::iter::once(self.shared).chain((0..self.columns.count).filter_map(|number| self.column(number)))
    }

    /// The words of a caller.
    pub(super) fn call_site(&self, number: u8) -> Option<Range<usize>> {
        let Array { at, count, words } = self.call_sites;
        let number = usize::from(number);
        (number < count).then(|| at + words * number..at + words * (number + 1))
    }
}
