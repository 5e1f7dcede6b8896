//! How a journal lies in memory: version 1, which is read for ever.
//!
//! All of it is words of 64 bits in the machine's byte order, so that each can be read while another process writes it.

use crate::reason::Reason;
use crate::sync::AtomicU64;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// The first word of a journal: `BUFLJRNL` as it lies in memory.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"BUFLJRNL");

/// The version of the layout that is written, and the only one there is.
pub const VERSION: u32 = 1;

/// Words of the header, by number.
pub(super) mod word {
    pub(crate) const MAGIC: usize = 0;
    /// Version below, bytes of the header above.
    pub(crate) const VERSION: usize = 1;
    /// Bytes of the whole journal.
    pub(crate) const TOTAL: usize = 2;
    /// Where the table of callers begins below, how many it has room for above.
    pub(crate) const CALLERS: usize = 3;
    /// Bytes of a caller.
    pub(crate) const CALLER_BYTES: usize = 4;
    /// Where the records begin below, bytes of a record above.
    pub(crate) const RECORDS: usize = 5;
    /// How many records there is room for.
    pub(crate) const RECORD_COUNT: usize = 6;
    /// The process that writes, by its own number.
    pub(crate) const PID: usize = 7;
    /// When it was made, in nanoseconds of `CLOCK_MONOTONIC`, the clock of the records.
    pub(crate) const MADE: usize = 8;
    /// The same of `CLOCK_BOOTTIME`, the clock of a process's start in /proc.
    pub(crate) const MADE_SINCE_BOOT: usize = 9;
    /// The filesystem of the pipes (`st_dev`).
    pub(crate) const DEVICE: usize = 10;
    /// Not zero while somebody watches. On a line of the cache of its own: it is read for every operation.
    pub(crate) const FLAG: usize = 16;
    /// The position of the next record: how many were begun.
    pub(crate) const HEAD: usize = 24;
    /// Records that were begun and given up, since a writer a whole round behind was still at their place.
    pub(crate) const DROPPED: usize = 25;
    /// Records whose caller found no room in the table.
    pub(crate) const UNNAMED: usize = 26;
    /// How many there are.
    pub(crate) const COUNT: usize = 32;
}

/// Words of a record, by number. The first says which record it is, and whether it is whole.
pub(super) mod field {
    pub(crate) const SEQUENCE: usize = 0;
    pub(crate) const TIME: usize = 1;
    pub(crate) const SEGMENT: usize = 2;
    pub(crate) const AT: usize = 3;
    pub(crate) const STREAM: usize = 4;
    pub(crate) const LEN: usize = 5;
    pub(crate) const PIPE: usize = 6;
    /// From the lowest byte: thread (4 bytes), caller, operation, reason, what was called.
    pub(crate) const PACKED: usize = 7;
    pub(crate) const COUNT: usize = 8;
}

/// Words of a caller: one for line, length and state, the rest for the name of the file.
pub(super) const CALLER_WORDS: usize = 15;
/// A caller's first word: it is whole.
pub(super) const READY: u64 = 1 << 63;
/// Its file's name was too long: only the end of it is here.
pub(super) const CUT: u64 = 1 << 62;

/// The caller of a record that has none, or for which the table had no room.
pub(super) const NO_CALLER: u8 = u8::MAX;

/// A journal is not larger than this: who says that his is, is not believed.
const MOST_BYTES: u64 = 64 << 20;

/// How much room a journal has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    /// Lines of programs.
    pub(super) callers: u32,
    /// Records: a power of two.
    pub(super) records: u64,
}

impl Room {
    /// Where the records begin: behind header and callers, at a line of the cache, or at a page if there is more than one.
    pub(super) fn records_at(self) -> u64 {
        let before = (word::COUNT + CALLER_WORDS * self.callers as usize) as u64 * 8;
        let to = if before > 4096 { 4096 } else { 64 };
        before.next_multiple_of(to)
    }

    pub(super) fn bytes(self) -> u64 {
        self.records_at() + self.records * (field::COUNT as u64 * 8)
    }
}

/// Who writes a journal, since when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Writer {
    pub(super) pid: u32,
    pub(super) made_ns: u64,
    pub(super) made_since_boot_ns: u64,
    pub(super) device: u64,
}

/// A journal in memory, for tests.
#[cfg(test)]
pub(super) fn made(room: Room) -> Vec<AtomicU64> {
    let words: Vec<AtomicU64> = (0..room.bytes() / 8).map(|_| AtomicU64::new(0)).collect();
    let writer = Writer {
        pid: 1,
        made_ns: 2,
        made_since_boot_ns: 3,
        device: 4,
    };
    format(&words, room, writer);
    words
}

/// Writes the header into words that are all zero. The magic comes last: without it there is no journal.
pub(super) fn format(words: &[AtomicU64], room: Room, writer: Writer) {
    let two = |low: u64, high: u64| low | high << 32;
    let set = |at: usize, value: u64| words[at].store(value, Relaxed);
    set(word::VERSION, two(u64::from(VERSION), word::COUNT as u64 * 8));
    set(word::TOTAL, room.bytes());
    set(word::CALLERS, two(word::COUNT as u64 * 8, u64::from(room.callers)));
    set(word::CALLER_BYTES, CALLER_WORDS as u64 * 8);
    set(word::RECORDS, two(room.records_at(), field::COUNT as u64 * 8));
    set(word::RECORD_COUNT, room.records);
    set(word::PID, u64::from(writer.pid));
    set(word::MADE, writer.made_ns);
    set(word::MADE_SINCE_BOOT, writer.made_since_boot_ns);
    set(word::DEVICE, writer.device);
    words[word::MAGIC].store(MAGIC, std::sync::atomic::Ordering::Release);
}

/// Where things are in a journal, as its header says, checked: whatever lies at these places is inside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The process that writes, by the number it has for itself.
    pub pid: u32,
    /// When the journal was made: nanoseconds of `CLOCK_MONOTONIC`.
    pub made_ns: u64,
    /// The same: nanoseconds of `CLOCK_BOOTTIME`.
    pub made_since_boot_ns: u64,
    /// The filesystem of the pipes, as `st_dev` has it.
    pub device: u64,
    pub(super) callers: (usize, usize, usize),
    pub(super) records: (usize, usize, u64),
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
                write!(f, "it is a journal of version {version}, and only {VERSION} is known")
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
        let (version, header) = two(word::VERSION);
        if version != u64::from(VERSION) {
            return Err(LayoutError::OtherVersion(version as u32));
        }
        let total = get(word::TOTAL);
        let (callers_at, callers) = two(word::CALLERS);
        let caller_bytes = get(word::CALLER_BYTES);
        let (records_at, record_bytes) = two(word::RECORDS);
        let records = get(word::RECORD_COUNT);
        let fits = |at: u64, count: u64, bytes: u64, least: usize| {
            let whole = at % 8 == 0 && bytes % 8 == 0 && bytes >= least as u64 * 8 && bytes <= MOST_BYTES;
            let end = count.checked_mul(bytes).and_then(|all| all.checked_add(at));
            whole && at >= header && end.is_some_and(|end| end <= total)
        };
        let right = header >= word::COUNT as u64 * 8
            && total <= (words.len() as u64 * 8).min(MOST_BYTES)
            && callers < u64::from(NO_CALLER)
            && records.is_power_of_two()
            && fits(callers_at, callers, caller_bytes, 2)
            && fits(records_at, records, record_bytes, field::COUNT);
        if !right {
            return Err(LayoutError::Damaged);
        }
        Ok(Self {
            pid: get(word::PID) as u32,
            made_ns: get(word::MADE),
            made_since_boot_ns: get(word::MADE_SINCE_BOOT),
            device: get(word::DEVICE),
            callers: (callers_at as usize / 8, callers as usize, caller_bytes as usize / 8),
            records: (records_at as usize / 8, record_bytes as usize / 8, records),
        })
    }

    /// The words of the record at a position.
    pub(super) fn record(&self, position: u64) -> Range<usize> {
        let (at, words, count) = self.records;
        let start = at + words * (position & (count - 1)) as usize;
        start..start + field::COUNT
    }

    /// The words of a caller.
    pub(super) fn caller(&self, number: u8) -> Option<Range<usize>> {
        let (at, count, words) = self.callers;
        let number = usize::from(number);
        (number < count).then(|| at + words * number..at + words * (number + 1))
    }
}

/// Numbers that mean something, in one byte of a record. A number once given never means anything else.
macro_rules! codes {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $( $(#[doc = $word_doc:literal])* $variant:ident = $code:literal, $word:literal; )+ }
    ) => {
        $(#[doc = $doc])*
        #[non_exhaustive]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $name { $( $(#[doc = $word_doc])* $variant = $code, )+ }

        impl $name {
            /// A short name.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }

            /// The one with this number; `None` if there is none in this version.
            pub const fn of_code(code: u8) -> Option<Self> {
                match code { $( $code => Some(Self::$variant), )+ _ => None }
            }
        }
    };
}

codes! {
    /// What was done with bytes of a segment. Each is one system call that succeeded.
    pub enum Operation {
        /// From a source into a pipe: splice(2).
        Fill = 1, "fill";
        /// Memory was lent to a pipe: vmsplice(2).
        Give = 2, "give";
        /// From a pipe into another one, which keeps them both: tee(2). The record is about the pipe that was filled.
        Tee = 3, "tee";
        /// From a pipe to a sink: splice(2).
        Drain = 4, "drain";
        /// From a pipe to /dev/null, since they lie before what is wanted: splice(2), or read(2) where that is refused.
        Drop = 5, "drop";
        /// Copied into memory because somebody looked: out of a private pipe, or, with no pipe named, out of a file.
        Look = 6, "look";
        /// Copied into memory for another reason, which the record has.
        Materialise = 7, "materialise";
        /// From a pipe into another one, to cut a segment up. The record is about the pipe that was filled.
        SplitIn = 8, "split";
        /// The same call; the record is about the pipe that was drained.
        SplitOut = 9, "split out";
    }
}

impl Operation {
    /// Whether bytes went into the pipe that the record is about; otherwise they left it.
    pub const fn puts(self) -> bool {
        matches!(self, Self::Fill | Self::Give | Self::Tee | Self::SplitIn)
    }
}

codes! {
    /// What the program called.
    pub enum Doing {
        /// `BufferList::splice_from`.
        SpliceFrom = 1, "splice_from";
        /// `BufferList::splice_to`.
        SpliceTo = 2, "splice_to";
        /// `Transfer`: a step, or all of it.
        Transfer = 3, "transfer";
        /// `BufferList::peek`.
        Peek = 4, "peek";
        /// `BufferList::peek_with`.
        PeekWith = 5, "peek_with";
        /// `BufferList::peek_mapped`.
        PeekMapped = 6, "peek_mapped";
        /// `BufferList::to_bytes`.
        ToBytes = 7, "to_bytes";
        /// `BufferList::crc32c`.
        Crc32c = 8, "crc32c";
        /// `BufferList::stabilize`.
        Stabilize = 9, "stabilize";
        /// `BufferList::rebuild_aligned`.
        RebuildAligned = 10, "rebuild_aligned";
        /// `BufferList::hexdump`.
        Hexdump = 11, "hexdump";
    }
}

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Its place in the journal's order, from 0.
    pub position: u64,
    /// When: nanoseconds of `CLOCK_MONOTONIC`, after the system call and before the thread's next.
    pub time_ns: u64,
    /// The segment, as [`SegmentId::get`](crate::SegmentId::get) has it.
    pub segment: u64,
    /// Where in the segment the bytes begin.
    pub at: u64,
    /// Where in the pipe's stream they begin: how many bytes had gone into it (or had left it) before, since it was made.
    pub stream: u64,
    /// How many bytes.
    pub len: u64,
    /// The pipe's inode number; 0 if there was no pipe.
    pub pipe: u64,
    /// The thread, by the number it has for itself.
    pub thread: u32,
    /// The line of the program, in the table of callers.
    pub caller: u8,
    /// What was done.
    pub operation: Operation,
    /// Why bytes were copied into memory, if they were.
    pub reason: Option<Reason>,
    /// What the program called.
    pub doing: Option<Doing>,
}

/// The number of a reason in a record: the digits of its code. 0 for none.
fn code_of(reason: Option<Reason>) -> u8 {
    reason.and_then(|reason| reason.code()[2..].parse().ok()).unwrap_or(0)
}

fn reason_of(code: u8) -> Option<Reason> {
    Reason::all().find(|&reason| code_of(Some(reason)) == code)
}

impl Entry {
    /// As the words of a record, after the first.
    pub(super) fn to_words(self) -> [u64; field::COUNT - 1] {
        let packed = u64::from(self.thread)
            | u64::from(self.caller) << 32
            | (self.operation as u64) << 40
            | u64::from(code_of(self.reason)) << 48
            | self.doing.map_or(0, |doing| doing as u64) << 56;
        let mut words = [0; field::COUNT - 1];
        for (at, word) in [
            (field::TIME, self.time_ns),
            (field::SEGMENT, self.segment),
            (field::AT, self.at),
            (field::STREAM, self.stream),
            (field::LEN, self.len),
            (field::PIPE, self.pipe),
            (field::PACKED, packed),
        ] {
            words[at - 1] = word;
        }
        words
    }

    /// From the words of a record, after the first. `None` if they cannot be right.
    pub(super) fn of_words(position: u64, words: &[u64; field::COUNT - 1]) -> Option<Self> {
        let get = |at: usize| words[at - 1];
        let packed = get(field::PACKED);
        let entry = Self {
            position,
            time_ns: get(field::TIME),
            segment: get(field::SEGMENT),
            at: get(field::AT),
            stream: get(field::STREAM),
            len: get(field::LEN),
            pipe: get(field::PIPE),
            thread: packed as u32,
            caller: (packed >> 32) as u8,
            operation: Operation::of_code((packed >> 40) as u8)?,
            reason: reason_of((packed >> 48) as u8),
            doing: Doing::of_code((packed >> 56) as u8),
        };
        let ends = entry.at.checked_add(entry.len).is_some() && entry.stream.checked_add(entry.len).is_some();
        (entry.len > 0 && ends).then_some(entry)
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn journal_entries_survive_their_words() {
        for (operation, reason, doing) in [
            (Operation::Fill, None, Some(Doing::Transfer)),
            (Operation::Look, Some(Reason::LookedAt), Some(Doing::Crc32c)),
            (Operation::Materialise, Some(Reason::NoPipe), None),
        ] {
            let entry = Entry {
                position: 7,
                time_ns: u64::MAX - 1,
                segment: 1 << 40,
                at: 3,
                stream: 1 << 50,
                len: 65_536,
                pipe: 0xffff_ffff_0001,
                thread: 0x89ab_cdef,
                caller: 200,
                operation,
                reason,
                doing,
            };
            assert_eq!(Entry::of_words(7, &entry.to_words()), Some(entry));
        }
    }

    #[test]
    fn journal_reasons_keep_their_codes() {
        for reason in Reason::all() {
            assert_eq!(
                reason_of(code_of(Some(reason))),
                Some(reason),
                "{reason} has a number of its own"
            );
        }
        assert_eq!(reason_of(0), None);
    }

    #[test]
    fn journal_entries_that_cannot_be_are_none() {
        let mut words = [0; field::COUNT - 1];
        words[field::PACKED - 1] = 1 << 40;
        assert_eq!(Entry::of_words(0, &words), None, "no bytes");
        words[field::LEN - 1] = 1;
        assert!(Entry::of_words(0, &words).is_some());
        words[field::STREAM - 1] = u64::MAX;
        assert_eq!(Entry::of_words(0, &words), None, "a stream longer than can be counted");
        words[field::STREAM - 1] = 0;
        words[field::PACKED - 1] = 99 << 40;
        assert_eq!(Entry::of_words(0, &words), None, "an operation that nobody does");
    }
}
