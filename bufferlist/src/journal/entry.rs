//! What a record says, and how it lies in the words of its record: the same in all versions.

use crate::reason::Reason;

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
