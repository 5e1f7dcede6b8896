//! The eBPF programs: loading, attaching, scope, and reading what they record.
//!
//! The programs attach to raw tracepoints (tier T0).
//!
//! ```no_run
//! use zctrace_probes::probe::{LoadOptions, Probes, Record};
//!
//! let mut probes = Probes::load(&LoadOptions::default())?;
//! probes.follow(1234)?;
//! probes.drain(&mut |bytes| match Record::from_bytes(bytes) {
//!     Ok(Record::Call(call)) => println!("{} moved {}", call.nr, call.result),
//!     other => println!("{other:?}"),
//! });
//! # Ok::<_, zctrace_probes::probe::SetupError>(())
//! ```
//!
//! Programs and maps are referenced only by descriptors of this process. They disappear when
//! [`Probes`] is dropped and when the process ends, however it ends.

mod error;
mod fd_iter;
mod loader;
mod loss;
mod object;
mod options;
mod pod;
mod privileges;
mod probes;
mod programs;
mod rdonly_cast;
mod reader;
mod scope;

pub use error::{SetupError, SetupErrorKind};
pub use loss::ProgramLoss;
pub use object::{OBJECT, SOURCES, object_hash, object_id};
pub use options::{DigestMode, Hooks, LoadOptions};
pub use privileges::drop_capabilities;
pub use probes::{NotLoaded, Probes, Program};
pub use scope::{ScopeFilter, announce};
pub use zctrace_records::decode::{DecodeError, Decoder, Record, RecordRef};
