//! The journal: a log of the library's pipe operations, for a tracer of the process.
//!
//! A tracer of the kernel observes which pages went through which pipe. Only the program knows
//! which segment of which list they belong to, and which call site requested the operation. The
//! library records this in a memfd ([`MEMFD_NAME`]), created with the process's first pipe, where a
//! tracer that may read the process's descriptors finds it.
//!
//! * Nothing is recorded until a tracer sets the watch flag in the journal. Until then, the journal
//!   costs one page of memory, and each operation one load of the flag.
//! * Writing needs no system call and no lock, and never blocks. An entry costs 25 to 45 ns. A
//!   thread writes into a column of its own while there is a free one (for 32 threads at a time);
//!   other threads share a ring. A column is a ring too: entries that are not read in time are
//!   overwritten, and both sides can determine how many were.
//! * A forked child creates its own journal, with its first pipe.
//! * With `BUFFERLIST_JOURNAL=0` in the environment, a process has no journal. With
//!   `BUFFERLIST_JOURNAL=record`, it records from the start, for a tracer that attaches later.
//!
//! A journal gives names and is never a basis for a verdict, because the process that writes it may
//! be wrong or malicious.
//!
//! # Layout, version 2
//!
//! A journal consists of words of 64 bits in the machine's byte order. The header locates the rest:
//!
//! | word | contents |
//! |---|---|
//! | 0 | magic, `BUFLJRNL` |
//! | 1 | version (low half), bytes of the header (high half) |
//! | 2 | bytes of the whole journal |
//! | 3 | offset of the call site table, its capacity |
//! | 4 | bytes per call site |
//! | 5 | offset of the records of the shared ring, bytes per record |
//! | 6 | capacity of the shared ring in records: a power of two |
//! | 7 | PID of the writing process, in its own namespace |
//! | 8, 9 | time of creation: `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME`, in nanoseconds |
//! | 10 | filesystem of the pipes (`st_dev`) |
//! | 11 | offset of the column heads, number of columns |
//! | 12 | offset of the records of the first column, capacity of each column: a power of two |
//! | 13 | bytes per column head, whose first word counts the records written there |
//! | 16 | watch flag: not zero while the journal is watched |
//! | 24 | number of records begun in the shared ring |
//! | 25, 26 | number of dropped records; number of entries without room for their call site |
//!
//! A call site is one word (bit 63: complete; bit 62: the file name is truncated at its start; bits
//! 32 to 47: bytes of the name; low half: line) followed by the file name. A record is eight words:
//! sequence (`2 × (position + 1)` if complete, odd while being written), time, segment, offset in
//! the segment, offset in the pipe's stream, bytes, inode number of the pipe (0: none), and a
//! packed word: from the lowest byte, thread (4 bytes), call site, [`Operation`], reason (digits of
//! its code) and [`ApiCall`] (a byte each). The records of the columns follow each other without
//! gaps.
//!
//! Version 1 has no columns, and zero in words 11 to 13. Both versions can be read.

mod call_sites;
#[cfg(not(model))]
mod clock;
mod column_alloc;
mod entry;
#[cfg(all(test, not(model)))]
mod fixtures;
mod layout;
#[cfg(not(model))]
mod process;
mod reader;
#[cfg(test)]
mod ring_tests;
mod writer;

pub use call_sites::CallSite;
pub use layout::{Layout, LayoutError, MAGIC, VERSION};
pub use reader::Reader;
pub use zctrace_contract::journal::{ApiCall, Entry, Operation};

use crate::reason::Reason;
use crate::segment::SegmentId;
use crate::sync::AtomicU64;
use layout::word;
use std::panic::Location;
use std::sync::atomic::Ordering::SeqCst;

/// Name of the memfd. `/proc/PID/fd` shows it as `/memfd:bufferlist-journal (deleted)`.
pub const MEMFD_NAME: &str = "bufferlist-journal";

/// Environment variable that disables the journal, or makes it record before it is watched.
pub const ENV_VAR: &str = "BUFFERLIST_JOURNAL";

/// Sets or clears the watch flag of a journal, which makes its process start or stop recording.
///
/// ```
/// use std::sync::atomic::AtomicU64;
/// let nothing: Vec<AtomicU64> = Vec::new();
/// bufferlist::journal::set_watched(&nothing, true); // no journal, no flag
/// ```
pub fn set_watched(words: &[AtomicU64], on: bool) {
    if let Some(flag) = words.get(word::FLAG) {
        flag.store(u64::from(on), SeqCst);
    }
}

/// Returns whether the watch flag of a journal is set.
pub fn is_watched(words: &[AtomicU64]) -> bool {
    words.get(word::FLAG).is_some_and(|flag| flag.load(SeqCst) != 0)
}

/// Creates the journal of this process now instead of with its first pipe, for a program that
/// expects to be traced from the start. Returns whether there is a journal.
///
/// ```
/// assert!(bufferlist::journal::init() || std::env::var_os("BUFFERLIST_JOURNAL").is_some());
/// ```
pub fn init() -> bool {
    #[cfg(not(model))]
    return process::init();
    #[cfg(model)]
    false
}

/// Returns whether this process has a journal of its own that is watched now.
///
/// ```
/// println!("watched: {}", bufferlist::journal::has_watchers());
/// ```
pub fn has_watchers() -> bool {
    #[cfg(not(model))]
    return process::has_watchers();
    #[cfg(model)]
    false
}

/// Caller of an operation: the API call, and its call site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) api_call: ApiCall,
    pub(crate) at: &'static Location<'static>,
}

/// Everything that an entry records except the position of the bytes in the pipe. Created by the
/// code that knows the segment, used by the code that makes the system call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryTemplate {
    pub(crate) operation: Operation,
    pub(crate) reason: Option<Reason>,
    pub(crate) segment: SegmentId,
    /// Offset of the first byte in the segment.
    pub(crate) at: u64,
    pub(crate) caller: Caller,
}

impl Caller {
    /// Returns the caller of the public function that calls this, which is `api_call`.
    #[track_caller]
    pub(crate) fn of(api_call: ApiCall) -> Self {
        Self {
            api_call,
            at: Location::caller(),
        }
    }
}

impl EntryTemplate {
    /// Returns the template for bytes that begin `bytes` further on in the segment.
    pub(crate) fn advanced_by(self, bytes: u64) -> Self {
        Self {
            at: self.at + bytes,
            ..self
        }
    }
}

/// Creates the journal of the process if it has none. Called for each new pipe.
#[inline]
pub(crate) fn on_pipe_created() {
    #[cfg(not(model))]
    process::on_pipe_created();
}

/// Returns whether the journal is watched, with one load of the flag.
#[inline]
pub(crate) fn watched() -> bool {
    #[cfg(not(model))]
    return process::watched();
    #[cfg(model)]
    false
}

/// Writes an entry for `len` bytes that entered a pipe or left it. `pipe` is its inode number (0:
/// none), `stream` the offset of the bytes in its stream. Called only if the journal is [watched].
pub(crate) fn write(template: &EntryTemplate, len: u64, pipe: u64, stream: u64) {
    #[cfg(not(model))]
    process::write(template, len, pipe, stream);
    #[cfg(model)]
    let _ = (template, len, pipe, stream);
}

/// Writes an entry for bytes that were copied into memory and were in no pipe, if the journal is
/// watched.
pub(crate) fn write_copy(template: &EntryTemplate, len: u64) {
    if watched() && len > 0 {
        write(template, len, 0, 0);
    }
}
