//! What a journal brings: the form in which it enters the account of a trace, and a recording.

use zctrace_contract::journal::Entry;

/// Something new in the journal of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEvent {
    /// The process, as numbered in the initial PID namespace.
    pub pid: u32,
    /// What.
    pub kind: EventKind,
}

/// What is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A journal was found, and is read from now on.
    Found {
        /// The filesystem of its pipes, as the kernel numbers devices: major in the bits above 20.
        device: u32,
        /// From this time on it tells all: nanoseconds of the monotonic clock.
        since_ns: u64,
        /// One moment by two clocks: nanoseconds of the monotonic one, and milliseconds since 1970.
        clock: (u64, u64),
    },
    /// The line of the program behind a number.
    Line {
        /// The number.
        number: u8,
        /// The file, made fit for a terminal.
        file: String,
        /// The line.
        line: u32,
    },
    /// The name of a thread that looked at bytes, made fit for a terminal.
    Thread {
        /// The thread, as numbered in the initial PID namespace.
        thread: u32,
        /// Its name.
        name: String,
    },
    /// A record.
    Entry(Entry),
    /// So many records were lost, from the beginning.
    Lost(u64),
    /// The process has no journal that can be read, and this is why, in one sentence.
    None(String),
    /// The process has become another program, or has ended: nothing more comes.
    Ended,
}
