//! Recordings: all that entered the account of a trace, in a file (`.zct`), and the same reports out of it again.
//!
//! ```text
//! trace::Tracer ── Input ──► Writer ── blocks ──► a thread ──► file ──► Reader ── Input ──► trace::Engine ──► Report
//! ```
//!
//! The format is described in `docs/recording.md`: a head that says what was known before, then blocks of frames, each with
//! its length and checksum. What is cut off or damaged is found; all before it is used, and [`Truncation`] says what is not.
//!
//! ```no_run
//! use zctrace_recording::Replay;
//!
//! let mut replay = Replay::open("run.zct")?;
//! replay.play_to_end();
//! if let Some(truncation) = replay.truncation() {
//!     eprintln!("{truncation}");
//! }
//! println!("{}", replay.report(30).to_json_pretty());
//! # Ok::<_, zctrace_recording::OpenError>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod block;
mod coverage;
mod error;
mod frame;
mod header;
mod journal_event;
mod layout;
mod map_rows;
mod reader;
mod replay;
#[cfg(test)]
mod tests;
mod writer;

pub use self::error::{OpenError, Truncation, WriteError};
pub use self::header::{MAGIC, VERSION};
pub use self::reader::Reader;
pub use self::replay::Replay;
pub use self::writer::{Handle, Summary, Writer};
