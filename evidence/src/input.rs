//! What enters an [`Engine`](super::Engine): everything a report is made of, and nothing else.
//!
//! The live trace gathers these from the kernel, from `/proc` and from its clock; a recording holds them. Whatever a report
//! is to tell must come this way: what an account would look up by itself a recording could not tell again.

use std::fmt;

use serde::{Deserialize, Serialize};
use zctrace_records::{DigestState, IoCounterKey, IoCounters};

use crate::Config;
use crate::journal::event::JournalEvent;
use zctrace_report::{Coverage, PipeLimits, Place, Scope};

/// What an account must know before anything happens.
#[derive(Clone, Debug, Default)]
pub struct TraceHeader {
    /// The kernel's release.
    pub kernel: String,
    /// The hash of the eBPF object.
    pub object: String,
    /// When watching began, in milliseconds since 1970.
    pub started_unix_ms: Option<u64>,
    /// Whose bytes.
    pub scope: Scope,
    /// What could be seen.
    pub coverage: Coverage,
    /// The system's limits on pipes.
    pub pipe_limits: Option<PipeLimits>,
    /// What attached probes add to a system call, in nanoseconds, if that was measured since this boot and is paid.
    pub per_syscall_ns: Option<f64>,
    /// What the evidence must be told: how the kernel marks slots, where filesystems are mounted.
    pub config: Config,
}

/// Something that enters an account. The order matters: that of the ring, and of the symbol_requests between.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A record, as the programs wrote it.
    Record(&'a [u8]),
    /// Sums of plain calls, as the kernel has them now: those that have changed. Later sums of a key replace earlier ones.
    IoCounters(&'a [(IoCounterKey, IoCounters)]),
    /// Sums over the pages of open connections, as the kernel has them now: those that have changed.
    OpenDigests(&'a [(u64, DigestState)]),
    /// What programs wrote and lost so far: those that have changed.
    Losses(&'a [Losses]),
    /// What is new in the journal of a program that uses `bufferlist`. It comes after the records of the calls that it tells
    /// of.
    Journal(&'a JournalEvent),
    /// The answer to a [`SymbolRequest`]; `None` if nobody can tell.
    Symbol(SymbolRequest, Option<&'a Place>),
    /// What watching has cost so far.
    Costs(Costs),
    /// Nanoseconds since watching began.
    Time(u64),
    /// A new account begins: flows, edges and sums start at nothing.
    Reset,
    /// Watching has ended.
    End,
    /// So many records were not taken down here, for the recording was written too slowly. Only recordings say it.
    NotRecorded(u64),
}

/// What one program lost so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Losses {
    /// Its name.
    pub program: String,
    /// Its number, one of [`program`](zctrace_records::program).
    pub number: u32,
    /// Records for which the ring had no room, and entries for which a map had none.
    pub failures: u64,
    /// Times the kernel skipped it.
    pub recursion_misses: u64,
}

/// What watching has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Costs {
    /// CPU time of this process since watching began, in nanoseconds.
    pub own_cpu_ns: u64,
    /// Nanoseconds that the programs ran in the kernel; `None` if the kernel did not count.
    pub programs_ns: Option<u64>,
}

/// Which code of a process lies at an address. To be answered while the process lives: later nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SymbolRequest {
    /// The process.
    pub tgid: u32,
    /// The address. 0 asks for nothing yet, but the process may be gone when something is asked.
    pub user_ip: u64,
}

/// Takes down what enters an account.
pub trait Recorder: fmt::Debug + Send {
    /// Takes down one input. It is called while the kernel writes more, so it may not wait for long.
    fn take(&mut self, input: &Input<'_>);
}
