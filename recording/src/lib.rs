//! Recordings (`.zct` files): every input of the evidence engine during a trace, and its replay.
//!
//! ```text
//! trace::Tracer ── Input ──► Writer ── blocks ──► a thread ──► file ──► Reader ── Input ──► trace::Engine ──► Report
//! ```
//!
//! Replaying a recording yields the report of the live trace. The format is described in
//! `docs/recording.md`: a header with the state at the start of the trace, then blocks of frames.
//! Header and blocks have a length and a checksum. A reader uses everything before the first
//! damaged or missing byte, and [`Truncation`] describes the rest.
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
