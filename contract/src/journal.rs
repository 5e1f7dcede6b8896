//! Entries of a journal: what `bufferlist` did with bytes of a segment, by one system call.
//!
//! How entries lie in the journal's memory, and how they are written and read, is in `bufferlist::journal`.

use crate::reason::LibraryReason;

/// Generates an enum whose numbers are stored in one byte of an entry. A number never gets a second meaning.
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
            /// Returns the short name.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }

            /// Returns the variant with this number; `None` if there is none in this version.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $( $code => Some(Self::$variant), )+ _ => None }
            }
        }
    };
}

codes! {
    /// Operation on bytes of a segment: one system call that succeeded.
    pub enum Operation {
        /// From a source into a pipe: splice(2).
        Fill = 1, "fill";
        /// From memory into a pipe, by reference: vmsplice(2).
        Vmsplice = 2, "vmsplice";
        /// From a pipe into another one, both of which then hold the bytes: tee(2). The entry is about the pipe that was
        /// filled.
        Tee = 3, "tee";
        /// From a pipe to a sink: splice(2).
        Drain = 4, "drain";
        /// From a pipe to /dev/null, because the bytes precede the wanted range: splice(2), or read(2) where that is
        /// refused.
        Drop = 5, "drop";
        /// Copied into memory by a peek: out of a private pipe or, if the entry names no pipe, out of a file.
        Peek = 6, "peek";
        /// Copied into memory for another reason, which the entry holds.
        Materialize = 7, "materialize";
        /// From a pipe into another one, to split a segment. The entry is about the pipe that was filled.
        SplitIn = 8, "split";
        /// The system call of a [`SplitIn`](Self::SplitIn); the entry is about the pipe that was drained.
        SplitOut = 9, "split out";
    }
}

impl Operation {
    /// Returns whether the bytes entered the pipe of the entry; otherwise they left it.
    pub const fn enters_pipe(self) -> bool {
        matches!(self, Self::Fill | Self::Vmsplice | Self::Tee | Self::SplitIn)
    }
}

codes! {
    /// Function of the library that the program called.
    pub enum ApiCall {
        /// `BufferList::splice_from`.
        SpliceFrom = 1, "splice_from";
        /// `BufferList::splice_to`.
        SpliceTo = 2, "splice_to";
        /// `Transfer`: one step, or the whole transfer.
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

/// Entry of a journal: one system call on a pipe, or one copy into memory.
///
/// In the journal's memory, thread numbers are those of the process's own PID namespace. The tracer replaces them by those
/// of the initial namespace when it reads the entry, and by 0 if it cannot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Position in the journal's order, from 0.
    pub position: u64,
    /// Time in nanoseconds of `CLOCK_MONOTONIC`: after the system call and before the thread's next one.
    pub time_ns: u64,
    /// Number of the segment, as `bufferlist::SegmentId::get` returns it.
    pub segment: u64,
    /// Offset of the first byte in the segment.
    pub segment_offset: u64,
    /// Offset of the first byte in the pipe's stream: bytes that had entered the pipe (or had left it) before, since it
    /// was created.
    pub pipe_offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// Inode number of the pipe; 0 if no pipe took part.
    pub pipe: u64,
    /// Thread ID.
    pub thread: u32,
    /// Number of the call site, in the journal's table of callers.
    pub caller: u8,
    /// Operation.
    pub operation: Operation,
    /// Reason for a copy into memory; `None` for any other operation.
    pub reason: Option<LibraryReason>,
    /// Function of the library that the program called, if this version knows it.
    pub api_call: Option<ApiCall>,
}
