//! The evidence engine of zctrace: wire records in, flows with verdicts and certificates out.
//!
//! The engine is pure. It asks no kernel, clock or file, so a recording or a synthetic stream of
//! records gives what a live trace would. [`Engine`] is the entry point; [`Evidence`] is the engine
//! without accounting of time, loss and cost.
//!
//! # Stages
//!
//! ```text
//! records ─► decode ─► Endpoint,          ─► mirror, classify ─► deliveries ─► flows ─► report
//!                      CallObservations
//!             decode/                        mirror/ classify/                 flows/
//! ```
//!
//! 1. `decode` turns wire records into calls with two endpoints, packets, messages and
//!    observations. Nothing behind it knows the layout of a record.
//! 2. `mirror` keeps pipes and streams in step with the kernel. `classify` takes spans from a
//!    call's source (`source.rs`) and compares each byte's known location with the page observed at
//!    its sink (`sinks/`), by one rule (`rule.rs`).
//! 3. `flows` sums deliveries and makes flows, edges and certificates of them.
//!
//! `journal` adds names of a program's segments beside these stages. No verdict uses it.
//!
//! # Soundness
//!
//! *Moved* requires identity (or DMA) at each hop of a path, *copied* a witness at one of them. All
//! other bytes are *unknown*. A lost record, a call that began before tracing did, two producers at
//! once, a replaced ring: each can only make bytes unknown. The property tests run random programs
//! on a model kernel with all of these and look for a false verdict. The argument is in
//! `docs/evidence.md`.
//!
//! # Memory
//!
//! Memory is bounded for traces of any length. Endpoints, histories, edges, streams, observations
//! of a stream and waiting calls each have a bound, beyond which bytes are unknown or rows are
//! merged.

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
