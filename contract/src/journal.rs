//! Entries of a journal: the effect of one system call of `bufferlist` on bytes of a segment.
//!
//! The memory layout of entries, and the code that writes and reads them, are in
//! `bufferlist::journal`.

use crate::reason::LibraryReason;

/// Generates an enum whose numbers are stored in one byte of an entry.
///
/// A number never gets a second meaning, because tracers of other versions read the same byte.
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

            /// Returns the variant with this number, or `None` if this version defines no such
            /// variant.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $( $code => Some(Self::$variant), )+ _ => None }
            }
        }
    };
}

codes! {
    /// Operation on bytes of a segment: one successful system call.
    pub enum Operation {
        /// Bytes moved from a source into a pipe by splice(2).
        Fill = 1, "fill";
        /// Bytes of memory attached to a pipe by reference, by vmsplice(2).
        Vmsplice = 2, "vmsplice";
        /// Bytes duplicated from one pipe into another by tee(2). Both pipes then hold the bytes.
        /// The entry describes the pipe that was filled.
        Tee = 3, "tee";
        /// Bytes moved from a pipe to a sink by splice(2).
        Drain = 4, "drain";
        /// Bytes moved from a pipe to /dev/null, because they precede the wanted range. The library
        /// uses splice(2), or read(2) if the kernel refuses splice(2).
        Drop = 5, "drop";
        /// Bytes copied into memory by a peek. The bytes come out of a private pipe or, if the
        /// entry names no pipe, out of a file.
        Peek = 6, "peek";
        /// Bytes copied into memory for another reason. The entry holds the reason.
        Materialize = 7, "materialize";
        /// Bytes moved from one pipe into another, to split a segment. The entry describes the pipe
        /// that was filled.
        SplitIn = 8, "split";
        /// Second entry of the system call that [`SplitIn`](Self::SplitIn) describes. This entry
        /// describes the pipe that was drained.
        SplitOut = 9, "split out";
    }
}

impl Operation {
    /// Returns whether the bytes entered the entry's pipe. All other operations remove bytes from
    /// the pipe or use none.
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
        /// One step of a `Transfer`, or a whole `Transfer`.
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
/// In the journal's memory, thread IDs belong to the process's own PID namespace. When the tracer
/// reads an entry, it translates the thread ID to the initial PID namespace, and stores 0 if it
/// cannot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Position in the journal's order, starting at 0.
    pub position: u64,
    /// Time in nanoseconds of `CLOCK_MONOTONIC`, read after the system call and before the thread's
    /// next one.
    pub time_ns: u64,
    /// Number of the segment, as returned by `bufferlist::SegmentId::get`.
    pub segment: u64,
    /// Offset of the first byte in the segment.
    pub segment_offset: u64,
    /// Offset of the first byte in the pipe's stream. The offset counts the bytes that entered the
    /// pipe (or left it, if the operation removes bytes) since the pipe was created.
    pub pipe_offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Inode number of the pipe; 0 if the operation used no pipe.
    pub pipe: u64,
    /// Thread ID.
    pub thread: u32,
    /// Number of the call site in the journal's table of call sites.
    pub caller: u8,
    /// Operation on the bytes.
    pub operation: Operation,
    /// Reason for a copy into memory; `None` for all other operations.
    pub reason: Option<LibraryReason>,
    /// Function of the library that the program called; `None` if this version does not define its
    /// number.
    pub api_call: Option<ApiCall>,
}
