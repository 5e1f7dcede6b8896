//! Recordings: all that entered the account of a trace, in a file (`.zct`), and the same reports out of it again.
//!
//! ```text
//! trace::Tracer ── Input ──► Writer ── blocks ──► a thread ──► file ──► Reader ── Input ──► trace::Engine ──► Report
//! ```
//!
//! The format is described in `docs/recording.md`: a head that says what was known before, then blocks of frames, each with
//! its length and checksum. What is cut off or damaged is found; all before it is used, and [`Cut`] says what is not.
//!
//! ```no_run
//! use zctrace_recording::Replay;
//!
//! let mut replay = Replay::open("run.zct")?;
//! replay.play_to_end();
//! if let Some(cut) = replay.cut() {
//!     eprintln!("{cut}");
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
mod head;
mod layout;
mod news;
mod reader;
mod replay;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

pub use self::error::{Cut, OpenError, WriteError};
pub use self::head::{MAGIC, VERSION};
pub use self::reader::Reader;
pub use self::replay::Replay;
pub use self::writer::{Handle, Summary, Writer};
