//! What zctrace knows, apart from any screen: the [report] that its commands make, print, write and read.
//!
//! This crate prints nothing to a terminal. Reason codes come from [`zctrace_contract::Reason`], so that one cause has one code
//! whether the library counted it or a probe saw it.

#![deny(missing_docs)]
// Loading programs and taking their records as they lie in memory is `probe`'s, mapping journals `journal`'s; nothing else
// needs it.
#![deny(unsafe_code)]

pub mod journal;
pub mod layout;
pub mod probe;
pub mod selftest;
pub mod trace;
