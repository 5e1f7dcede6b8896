//! The evidence: records in, verdicts out. Pure: no kernel is asked, so recorded and made-up streams give what a live one
//! would.
//!
//! ```text
//! records ── call ──► take: spans from a ring, a stream, a file, memory      ring.rs stream.rs sockets.rs
//!                       │
//!                       ▼
//!                     give: each byte against the page seen at the next station     give.rs witness.rs
//!                       │
//!                       ▼
//!                     flows, edges, certificates                                     flows.rs edges.rs
//! ```
//!
//! # The rule
//!
//! *Moved* needs identity at both stations of every edge, *copied* a witness on one of them, all else is *unknown*. A record
//! that was lost, a call that began before watching did, two producers at once, a ring that was exchanged: each can only turn
//! bytes into unknown ones. The tests feed streams with all of that and look for a false *moved*.
//!
//! # Memory
//!
//! Bounded, however long the trace: ends, histories, edges, streams, runs of a stream and calls that wait for another have each
//! a bound, beyond which bytes are unknown.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod classify;
mod collections;
mod config;
mod decode;
mod engine;
mod evidence;
mod flows;
mod history;
mod input;
mod journal;
mod mirror;
mod sender;
mod sequence_gaps;
mod span;

pub use self::config::Config;
pub use self::decode::observation::PipeBufOps;
pub use self::engine::Engine;
pub use self::evidence::Evidence;
pub use self::flows::report_flows::Symbols;
pub use self::input::{Costs, Input, Losses, Recorder, SymbolRequest, TraceHeader};
pub use self::journal::event::{EventKind, JournalEvent};
pub use zctrace_contract::journal::Entry;
