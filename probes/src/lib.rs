//! What zctrace knows, apart from any screen: the [report] that its commands make, print, write and read.
//!
//! This crate prints nothing to a terminal. Reason codes come from [`bufferlist::Reason`], so that one cause has one code
//! whether the library counted it or a probe saw it.

#![deny(missing_docs)]
// Loading programs and taking their records as they lie in memory is `probe`'s, mapping journals `journal`'s; nothing else
// needs it.
#![deny(unsafe_code)]

pub mod evidence;
pub mod journal;
pub mod layout;
mod map;
pub mod probe;
pub mod recording;
pub mod report;
pub mod selftest;
pub mod trace;
