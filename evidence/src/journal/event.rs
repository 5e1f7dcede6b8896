//! Events of a program's journal, as they enter the engine and a recording.

use zctrace_contract::journal::Entry;

/// An event of a process's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEvent {
    /// Process ID in the initial PID namespace.
    pub pid: u32,
    /// Kind of the event, with its data.
    pub kind: EventKind,
}

/// Kinds of journal events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A journal was found and is read from now on.
    Found {
        /// Device number of the filesystem of its pipes (major in the bits above 20).
        device: u32,
        /// The journal is complete from this time on, in nanoseconds of the monotonic clock.
        since_ns: u64,
        /// One moment by two clocks: nanoseconds of the monotonic clock, and milliseconds since
        /// 1970.
        clock: (u64, u64),
    },
    /// A call site in the program.
    Line {
        /// Number of the call site.
        number: u8,
        /// Source file, safe to print on a terminal.
        file: String,
        /// Line in the file.
        line: u32,
    },
    /// Name of a thread that peeked, safe to print on a terminal.
    Thread {
        /// Thread ID in the initial PID namespace.
        thread: u32,
        /// Name of the thread.
        name: String,
    },
    /// An entry.
    Entry(Entry),
    /// Number of entries lost since the beginning.
    Lost(u64),
    /// The process has no readable journal; the reason in one sentence.
    None(String),
    /// The process executed another program or exited. No more events follow.
    Ended,
}
