//! The probes: loading the eBPF programs of tier T0, saying whom they trace, and taking what they write.
//!
//! ```no_run
//! use zctrace_probes::probe::{Probes, Record, Setup};
//!
//! let mut probes = Probes::load(&Setup::default())?;
//! probes.follow(1234)?;
//! probes.drain(&mut |bytes| match Record::from_bytes(bytes) {
//!     Ok(Record::Call(call)) => println!("{} moved {}", call.nr, call.result),
//!     other => println!("{other:?}"),
//! });
//! # Ok::<_, zctrace_probes::probe::SetupError>(())
//! ```
//!
//! Programs and maps are held by descriptors only: they are gone when [`Probes`] is dropped, and when the process ends,
//! however it ends.

mod around;
mod direct;
mod error;
mod load;
mod loss;
mod object;
mod privileges;
mod reader;
mod scope;

pub use error::{SetupError, SetupErrorKind};
pub use load::{Hooks, NotLoaded, Probes, Program, Setup, Sums};
pub use loss::ProgramLoss;
pub use object::{OBJECT, SOURCES, object_hash};
pub use privileges::give_up;
pub use scope::{ScopeFilter, announce};
pub use zctrace_records::decode::{DecodeError, Decoder, Record, RecordRef};
