//! Inputs of an [`Engine`](super::Engine): everything that a report is made of.
//!
//! A live trace collects them from the kernel, from `/proc` and from its clock; a recording
//! contains them. Everything in a report must arrive as an input, because a recording cannot
//! reproduce values that the engine reads elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};
use zctrace_records::{DigestState, IoCounterKey, IoCounters};

use crate::Config;
use crate::journal::event::JournalEvent;
use zctrace_report::{CallSite, Coverage, PipeLimits, Scope};

/// Facts that are known before the first input.
#[derive(Clone, Debug, Default)]
pub struct TraceHeader {
    /// Release of the kernel.
    pub kernel: String,
    /// Hash of the eBPF object.
    pub object: String,
    /// When tracing began, in milliseconds since 1970.
    pub started_unix_ms: Option<u64>,
    /// Scope: processes whose calls are traced.
    pub scope: Scope,
    /// Facts that can be observed.
    pub coverage: Coverage,
    /// The system's limits on pipes.
    pub pipe_limits: Option<PipeLimits>,
    /// Time that attached probes add to a system call, in nanoseconds; `None` if it was not
    /// measured since this boot or if the probes for calls are not attached.
    pub per_syscall_ns: Option<f64>,
    /// Facts about the machine that classification needs.
    pub config: Config,
}

/// An input of the engine. The order of inputs is part of the trace: that of the ring buffer, with
/// the other inputs in between.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A record as a program wrote it.
    Record(&'a [u8]),
    /// Current counters of plain calls, of keys that changed. They replace earlier counters of a
    /// key.
    IoCounters(&'a [(IoCounterKey, IoCounters)]),
    /// Current digests of open connections, of connections that changed.
    OpenDigests(&'a [(u64, DigestState)]),
    /// Records written and lost so far, of programs that changed.
    Losses(&'a [Losses]),
    /// An event of the journal of a program that uses `bufferlist`. It comes after the records of
    /// the calls that it describes.
    Journal(&'a JournalEvent),
    /// Answer to a [`SymbolRequest`]; `None` if the call site is not known.
    Symbol(SymbolRequest, Option<&'a CallSite>),
    /// Cost of tracing so far.
    Costs(Costs),
    /// Time since tracing began, in nanoseconds.
    Time(u64),
    /// Starts a new account: flows, edges and counters start at zero.
    Reset,
    /// The end of the trace.
    End,
    /// Number of records that are missing here because the recording was written too slowly. Occurs
    /// in recordings only.
    NotRecorded(u64),
}

/// Records that one program lost so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Losses {
    /// Name of the program.
    pub program: String,
    /// Number of the program, one of [`program`](zctrace_records::program).
    pub number: u32,
    /// Records for which the ring buffer was full, and entries for which a map was full.
    pub failures: u64,
    /// Runs that the kernel skipped.
    pub recursion_misses: u64,
}

/// Cost of tracing so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Costs {
    /// CPU time of this process since tracing began, in nanoseconds.
    pub own_cpu_ns: u64,
    /// Time that the programs ran in the kernel, in nanoseconds; `None` if the kernel did not
    /// measure it.
    pub programs_ns: Option<u64>,
}

/// Request for the call site at an address of a process. It must be answered while the process
/// lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SymbolRequest {
    /// Process ID.
    pub tgid: u32,
    /// Instruction pointer. 0 requests no call site: the answerer prepares for a process that may
    /// be gone when one is requested.
    pub user_ip: u64,
}

/// Writer of a recording.
pub trait Recorder: fmt::Debug + Send {
    /// Records one input. The kernel writes more records meanwhile, so the call must not block for
    /// long.
    fn take(&mut self, input: &Input<'_>);
}
