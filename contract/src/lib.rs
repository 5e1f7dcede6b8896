//! Plain data that the library `bufferlist` and the tracer `zctrace` share.
//!
//! * [`reason`]: why bytes were copied, or why no verdict about them is possible. One cause has one
//!   code and one description, no matter whether the library counted it or a probe observed it.
//! * [`journal`]: entries of a process's journal. The library writes entries, the tracer reads
//!   them.
//!
//! This crate has no dependencies and builds on any operating system.

#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod journal;
pub mod reason;

pub use reason::{LibraryReason, Reason};
