//! Layout of a journal in memory: version 2, which is written, and version 1, which stays readable.
//!
//! A journal consists of words of 64 bits in the machine's byte order, so that each can be read
//! while another process writes it.

use super::entry::field;
use crate::sync::AtomicU64;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// First word of a journal: the bytes `BUFLJRNL` in memory order.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"BUFLJRNL");

/// Version of the layout that is written. Version 1, which has no columns, can be read as well.
pub const VERSION: u32 = 2;

/// Words of the header, by number.
pub(super) mod word {
    pub(crate) const MAGIC: usize = 0;
    /// Version (low half), bytes of the header (high half).
    pub(crate) const VERSION: usize = 1;
    /// Bytes of the whole journal.
    pub(crate) const TOTAL: usize = 2;
    /// Offset of the call site table (low half), its capacity (high half).
    pub(crate) const CALL_SITES: usize = 3;
    /// Bytes per call site.
    pub(crate) const CALL_SITE_BYTES: usize = 4;
    /// Offset of the records of the shared ring (low half), bytes per record (high half).
    pub(crate) const RECORDS: usize = 5;
    /// Capacity of the shared ring, in records.
    pub(crate) const RECORD_COUNT: usize = 6;
    /// PID of the writing process, in its own namespace.
    pub(crate) const PID: usize = 7;
    /// Time of creation, in nanoseconds of `CLOCK_MONOTONIC`, which is the clock of the entries.
    pub(crate) const CREATED: usize = 8;
    /// Time of creation, in nanoseconds of `CLOCK_BOOTTIME`, which is the clock of process start
    /// times in /proc.
    pub(crate) const CREATED_BOOTTIME: usize = 9;
    /// Filesystem of the pipes (`st_dev`).
    pub(crate) const DEVICE: usize = 10;
    /// Offset of the heads of the columns (low half), number of columns (high half). This word and
    /// the next two are zero in version 1.
    pub(crate) const COLUMNS: usize = 11;
    /// Offset of the records of the first column (low half), capacity of each column (high half).
    pub(crate) const COLUMN_RECORDS: usize = 12;
    /// Bytes per column head. Its first word counts the records of the column.
    pub(crate) const COLUMN_HEAD_BYTES: usize = 13;
    /// Watch flag: not zero while the journal is watched. On a cache line of its own, because it is
    /// read for every operation.
    pub(crate) const FLAG: usize = 16;
    /// Position of the next record of the shared ring, which is the number of records begun there.
    pub(crate) const HEAD: usize = 24;
    /// Records that were begun and dropped, because a writer a whole round behind still held their
    /// place.
    pub(crate) const DROPPED: usize = 25;
    /// Entries without a call site, because the table was full.
    pub(crate) const CALL_SITE_MISSES: usize = 26;
    /// Number of words of the header.
    pub(crate) const COUNT: usize = 32;
}

/// Words per call site: one for line, length and state, the others for the file name.
pub(super) const CALL_SITE_WORDS: usize = 15;
/// First word of a call site: the call site is complete.
pub(super) const COMPLETE: u64 = 1 << 63;
/// First word of a call site: the file name was too long, and only its end is stored.
pub(super) const TRUNCATED: u64 = 1 << 62;

/// Call site index of an entry without one, and of one for which the table had no room.
pub(super) const NO_CALL_SITE: u8 = u8::MAX;

/// Maximum size of a journal, and below its maximum number of columns. A header that claims more is
/// rejected.
const MAX_BYTES: u64 = 64 << 20;
const MAX_COLUMNS: u64 = 1024;

/// Words per column head: a cache line, which belongs to one writer.
const COLUMN_HEAD_WORDS: usize = 8;

/// Capacity of a journal. Numbers of records are powers of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Capacity {
    /// Number of call sites.
    pub(super) call_sites: u32,
    /// Number of records of the shared ring.
    pub(super) records: u64,
    /// Number of columns.
    pub(super) columns: u32,
    /// Number of records of each column.
    pub(super) column_records: u64,
}

const RECORD_BYTES: u64 = field::COUNT as u64 * 8;

impl Capacity {
    /// Returns the offset of the heads of the columns: behind header and call sites, at a cache
    /// line.
    fn heads_at(self) -> u64 {
        let before = (word::COUNT + CALL_SITE_WORDS * self.call_sites as usize) as u64 * 8;
        before.next_multiple_of(64)
    }

    /// Returns the offset of the records of the shared ring: at a page, if header and heads exceed
    /// one.
    fn records_at(self) -> u64 {
        let before = self.heads_at() + u64::from(self.columns) * COLUMN_HEAD_WORDS as u64 * 8;
        let to = if before > 4096 { 4096 } else { 64 };
        before.next_multiple_of(to)
    }

    /// Returns the offset of the records of the first column.
    fn column_records_at(self) -> u64 {
        self.records_at() + self.records * RECORD_BYTES
    }

    pub(super) fn bytes(self) -> u64 {
        self.column_records_at() + u64::from(self.columns) * self.column_records * RECORD_BYTES
    }
}

/// Creator of a journal, and the time of creation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Creator {
    pub(super) pid: u32,
    pub(super) created_ns: u64,
    pub(super) created_boottime_ns: u64,
    pub(super) device: u64,
}

/// Creates a journal in memory, for tests.
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

/// Writes the header into words that are all zero. The magic is written last: without it, the words
/// are not a journal.
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

/// Validated layout of a journal, from its header. All offsets are inside the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// PID of the writing process, in its own namespace.
    pub pid: u32,
    /// Time of creation, in nanoseconds of `CLOCK_MONOTONIC`.
    pub created_ns: u64,
    /// Time of creation, in nanoseconds of `CLOCK_BOOTTIME`.
    pub created_boottime_ns: u64,
    /// Filesystem of the pipes (`st_dev`).
    pub device: u64,
    call_sites: Array,
    /// The shared ring.
    shared: Ring,
    /// Ring of the first column. The others follow at constant distances.
    column: Ring,
    columns: Array,
}

/// Region of a journal, as claimed by its header: byte offset of the first item, number of items,
/// and bytes per item.
#[derive(Clone, Copy)]
struct Region {
    at: u64,
    count: u64,
    bytes: u64,
}

impl Region {
    /// Returns whether the region consists of whole words, has items of at least `min_words` words,
    /// and lies behind the header and within the journal's `total` bytes.
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

/// Array of items in a journal: word offset, number of items, and words per item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Array {
    at: usize,
    count: usize,
    words: usize,
}

/// Location of a ring: its records, and the word that counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ring {
    pub(super) head: usize,
    records: usize,
    /// Words per record.
    words: usize,
    /// Capacity in records: a power of two.
    pub(super) count: u64,
}

impl Ring {
    /// Returns the words of the record at a position.
    #[inline]
    pub(super) fn record(&self, position: u64) -> Range<usize> {
        let start = self.records + self.words * (position & (self.count - 1)) as usize;
        start..start + field::COUNT
    }
}

/// Reason why memory cannot be read as a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LayoutError {
    /// The memory does not begin with the magic, or is too short for a header.
    NotAJournal,
    /// The journal has a version that this library does not know.
    OtherVersion(u32),
    /// The header is inconsistent, or claims more memory than there is.
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
    /// Reads and validates the header of a journal. Accepts arbitrary words; never panics.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if the header is invalid.
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

    /// Returns the ring shared by all threads without a column.
    pub(super) fn shared(&self) -> Ring {
        self.shared
    }

    /// Returns the ring of a column.
    pub(super) fn column(&self, number: usize) -> Option<Ring> {
        let first = self.column;
        (number < self.columns.count).then(|| Ring {
            head: first.head + number * self.columns.words,
            records: first.records + number * first.count as usize * first.words,
            ..first
        })
    }

    /// Returns all rings: the shared one, then those of the columns.
    pub(super) fn rings(&self) -> impl Iterator<Item = Ring> {
        std::iter::once(self.shared).chain((0..self.columns.count).filter_map(|number| self.column(number)))
    }

    /// Returns the words of a call site.
    pub(super) fn call_site(&self, number: u8) -> Option<Range<usize>> {
        let Array { at, count, words } = self.call_sites;
        let number = usize::from(number);
        (number < count).then(|| at + words * number..at + words * (number + 1))
    }
}
