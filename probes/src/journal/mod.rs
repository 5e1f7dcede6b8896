//! Journals of processes that use `bufferlist`: finding them and reading them while they are
//! written. Results are [`JournalEvent`] for the evidence engine.
//!
//! A journal gives *names*: which segment of a program's list the bytes in a pipe are, and which
//! call site asked for them. It never gives verdicts, because the program that writes it is not
//! trusted. The file must be a memfd that cannot shrink, every field is validated, the work is
//! bounded, and text is sanitized. At worst, a program gives wrong names to its own segments. Where
//! the kernel's records contradict them, the report says so.
//!
//! The journal of process PID is found among the descriptors in `/proc/PID/fd`, by the PID in the
//! initial PID namespace. If zctrace's own `/proc` belongs to another PID namespace, PIDs denote
//! other processes there. No journal is read then, and the report says so.

mod file;
mod process;
mod readers;

pub(crate) use readers::Journals;
pub use zctrace_contract::journal::Entry;
pub use zctrace_evidence::{EventKind, JournalEvent};

/// Decodes arbitrary words as a journal, for tests of hostile journals.
#[doc(hidden)]
pub fn fuzz_read(words: &[std::sync::atomic::AtomicU64]) -> Vec<JournalEvent> {
    readers::fuzz_read(words)
}
