//! Attaches the eBPF probes of zctrace and turns what they record into reports.
//!
//! The modules form a one-way graph; each uses only modules to its left:
//!
//! ```text
//! layout → probe → facts ┐
//!          journal ──────┴► trace → selftest
//! ```
//!
//! - [`layout`] finds structure members of the running kernel in its BTF.
//! - [`probe`] loads and attaches the eBPF programs and reads their maps.
//! - [`facts`] lists what probes can observe, with the results of the last selftest.
//! - [`journal`] reads the journals of processes that use `bufferlist`.
//! - [`trace`] feeds records, journals and counters into the evidence engine.
//! - [`selftest`] performs known moves and known copies under a trace and verifies each fact.
//!
//! The crate prints nothing. Reason codes come from [`zctrace_contract::Reason`], so that a cause
//! has the same code whether the library counted it or a probe observed it.

#![deny(missing_docs)]
// Only `probe` (maps of plain data, bpf(2)), `journal` (shared mappings) and the tests of known
// moves need unsafe code. They allow it where they use it.
#![deny(unsafe_code)]

mod device;
pub mod facts;
pub mod journal;
pub mod layout;
pub mod probe;
pub mod selftest;
pub mod trace;
