//! Plain data that the library `bufferlist` and the tracer `zctrace` agree on.
//!
//! * [`reason`]: why bytes were copied, or why it is unknown whether they were. One cause has one code and one description,
//!   whether the library counted it or a probe observed it.
//! * [`journal`]: what an entry of a process's journal says. The library writes entries, the tracer reads them.
//!
//! This crate has no dependencies and builds on any operating system.

#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod journal;
pub mod reason;

pub use reason::{LibraryReason, Reason};
