//! The journals of programs that use `bufferlist`: finding them, reading them while they are written, and saying what they
//! hold as [`News`] for the account of a trace.
//!
//! A journal *names* things: which segment of a program's list bytes in a pipe are, and which line asked for them. No verdict
//! comes from it, for the program that writes it is not trusted: the file must be one of memory that can never shrink, every
//! field is checked, work is bounded, and text is made harmless. The worst that a program can do is to give its own segments
//! wrong names, and where the kernel's record contradicts them the report says so.
//!
//! The journal of process PID is found among the descriptors in `/proc/PID/fd`, by the number that the initial PID namespace
//! has for it. Where zctrace's own `/proc` is of another PID namespace those numbers mean other processes there, so no
//! journal is read and the report says that.

mod file;
mod process;
mod watched;

pub(crate) use watched::Journals;
pub use zctrace_contract::journal::Entry;
pub use zctrace_evidence::{News, What};

/// For the tests of hostile journals: everything that is done with the words of a journal, done once with any words.
#[doc(hidden)]
pub fn digest_any_words(words: &[std::sync::atomic::AtomicU64]) -> Vec<News> {
    watched::digest(words)
}
