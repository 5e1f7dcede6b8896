//! The journal: what the library does with its pipes, written down for whoever watches the process.
//!
//! A tracer of the kernel sees which pages went through which pipe. What they are to the program, only the program knows:
//! which segment of which list, and which line of the source asked for it. The library writes that down, where a tracer
//! that may read the process's descriptors finds it: in a file of memory ([`NAME`]), made with the process's first pipe.
//!
//! * Nothing is written unless somebody watches, who says so by a flag in the journal. Until then the journal costs one page
//!   of memory, and each operation a look at the flag.
//! * It is written without a system call, a lock or a wait: a record costs 25 to 45 ns. A thread writes into a column of its
//!   own, as long as there is one (32 threads at a time); the others share a ring. A column is a ring too: what is not read in
//!   time is overwritten, and both sides can tell how much that was.
//! * A child that was forked makes its own, with its first pipe.
//! * `BUFFERLIST_JOURNAL=0` in the environment: the process has none. `BUFFERLIST_JOURNAL=record`: it is written from the
//!   start, before anybody watches, for a tracer that comes a moment later.
//!
//! Nobody should believe a verdict because of a journal: it names things, and the process that writes it may be wrong, or
//! lie.
//!
//! # The layout, version 2
//!
//! Words of 64 bits in the machine's byte order. The header says where the rest is:
//!
//! | word | holds |
//! |---|---|
//! | 0 | the magic, `BUFLJRNL` |
//! | 1 | version (low half), bytes of the header (high half) |
//! | 2 | bytes of all of it |
//! | 3 | where the callers are, how many there is room for |
//! | 4 | bytes of a caller |
//! | 5 | where the records of the common ring are, bytes of a record |
//! | 6 | how many records the common ring has room for: a power of two |
//! | 7 | the process that writes, by its own number |
//! | 8, 9 | when it was made: `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME`, in nanoseconds |
//! | 10 | the filesystem of the pipes (`st_dev`) |
//! | 11 | where the heads of the columns are, how many columns there are |
//! | 12 | where the records of the first column are, how many each has room for: a power of two |
//! | 13 | bytes of a column's head, whose first word says how many records were written there |
//! | 16 | the flag: not zero while somebody watches |
//! | 24 | how many records were begun in the common ring |
//! | 25, 26 | records that were given up; records without a place for their caller |
//!
//! A caller is a word (bit 63: it is whole; bit 62: the name is cut at its start; bits 32 to 47: bytes of the name; the low
//! half: the line) and the name of the file. A record is eight words: its sequence (`2 × (position + 1)` when it is whole,
//! odd while it is written), time, segment, place in the segment, place in the pipe's stream, bytes, inode number of the
//! pipe (0: none), and from the lowest byte on thread (4 bytes), caller, [`Operation`], reason (the digits of its code) and
//! [`ApiCall`] (a byte each). The columns' records follow each other without a gap.
//!
//! Version 1 is the same without columns, with zero in words 11 to 13. Both are read.

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

/// The name of the file of memory: what `/proc/PID/fd` shows as `/memfd:bufferlist-journal (deleted)`.
pub const MEMFD_NAME: &str = "bufferlist-journal";

/// The variable of the environment that turns the journal off, or on before anybody watches.
pub const ENV_VAR: &str = "BUFFERLIST_JOURNAL";

/// Sets or clears the flag of a journal: from now on its process writes, or does not.
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

/// Whether the flag of a journal is set.
pub fn is_watched(words: &[AtomicU64]) -> bool {
    words.get(word::FLAG).is_some_and(|flag| flag.load(SeqCst) != 0)
}

/// Makes the journal of this process now, and not with its first pipe: for a program that knows that it will be traced from
/// the start. Says whether there is one.
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

/// Whether this process has a journal of its own, and somebody watches it now.
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

/// Who asked for an operation: what the program called, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) api_call: ApiCall,
    pub(crate) at: &'static Location<'static>,
}

/// What a record says of bytes besides where they lie: set by whoever knows the segment, written by whoever makes the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryTemplate {
    pub(crate) operation: Operation,
    pub(crate) reason: Option<Reason>,
    pub(crate) segment: SegmentId,
    /// Where in the segment the bytes begin.
    pub(crate) at: u64,
    pub(crate) caller: Caller,
}

impl Caller {
    /// The caller of the function that calls this, which is what was called.
    #[track_caller]
    pub(crate) fn of(api_call: ApiCall) -> Self {
        Self {
            api_call,
            at: Location::caller(),
        }
    }
}

impl EntryTemplate {
    /// The same, `bytes` further on in the segment.
    pub(crate) fn advanced_by(self, bytes: u64) -> Self {
        Self {
            at: self.at + bytes,
            ..self
        }
    }
}

/// The first pipe of a process makes its journal.
#[inline]
pub(crate) fn on_pipe_created() {
    #[cfg(not(model))]
    process::on_pipe_created();
}

/// Whether somebody watches: one look at a flag.
#[inline]
pub(crate) fn watched() -> bool {
    #[cfg(not(model))]
    return process::watched();
    #[cfg(model)]
    false
}

/// Writes that `len` bytes were put into a pipe, or left it. `pipe` is its inode number, 0 if there is none; `stream` is
/// where in its stream they begin. To be called only if somebody [watches](watched).
pub(crate) fn write(template: &EntryTemplate, len: u64, pipe: u64, stream: u64) {
    #[cfg(not(model))]
    process::write(template, len, pipe, stream);
    #[cfg(model)]
    let _ = (template, len, pipe, stream);
}

/// Writes, if somebody watches, that bytes were copied into memory which were in no pipe.
pub(crate) fn write_copy(template: &EntryTemplate, len: u64) {
    if watched() && len > 0 {
        write(template, len, 0, 0);
    }
}
