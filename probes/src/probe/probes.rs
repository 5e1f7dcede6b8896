//! Handle of the attached programs, for scope, records, maps and statistics.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::RawTracePoint;
use zctrace_records::{DigestState, IoCounterKey, IoCounters, ProgramSpec, ProgramStats, program};

use super::error::{SetupError, SetupErrorKind};
use super::fd_iter;
use super::loss::{self, ProgramLoss};
use super::pod::Pod;
use super::reader;

/// Program that is loaded and attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Name of the program: that of its tracepoint, unless two programs share one.
    pub name: &'static str,
    /// True if the program is attached.
    pub attached: bool,
    /// Instructions that the verifier processed, if the kernel reports them (since 5.16).
    pub verified_instructions: Option<u32>,
}

/// Program that was selected, but could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLoaded {
    /// Name of the program.
    pub program: &'static str,
    /// Reason, as text.
    pub reason: String,
}

/// The loaded and attached programs. Dropping the handle detaches them.
pub struct Probes {
    pub(super) ebpf: Ebpf,
    pub(super) ring: RingBuf<MapData>,
    pub(super) ring_bytes: u32,
    pub(super) traced: HashMap<MapData, u32, u8>,
    pub(super) io_counters: HashMap<MapData, Pod<IoCounterKey>, Pod<IoCounters>>,
    pub(super) digests: HashMap<MapData, u64, Pod<DigestState>>,
    pub(super) tallies: PerCpuArray<MapData, Pod<ProgramStats>>,
    pub(super) loaded: Vec<&'static ProgramSpec>,
    pub(super) not_loaded: Vec<NotLoaded>,
    pub(super) has_fd_iter: bool,
    pub(super) fd_iter: Option<File>,
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes")
            .field("programs", &self.programs())
            .field("not_loaded", &self.not_loaded)
            .finish_non_exhaustive()
    }
}

impl Probes {
    /// Starts tracing a process, given by its PID in the initial PID namespace.
    pub fn follow(&mut self, tgid: u32) -> Result<(), SetupError> {
        Ok(self.traced.insert(tgid, 1, 0)?)
    }

    /// Stops tracing a process, if it is traced. Its children stay traced.
    pub fn unfollow(&mut self, tgid: u32) {
        let _ = self.traced.remove(&tgid);
    }

    /// Returns the traced processes that have not exited, by their PIDs in the initial PID
    /// namespace. Empty if not processes were selected, but a control group or the machine.
    pub fn traced_processes(&self) -> Vec<u32> {
        self.traced.keys().filter_map(Result::ok).collect()
    }

    /// Records what traced processes have open: connections are tracked from here on, and the
    /// contents of pipes are emitted as pipe snapshots.
    ///
    /// `members` are the processes of the traced cgroup, if any, because the kernel does not tell
    /// the iterator which cgroup a task is in.
    ///
    /// Acts once, and only with
    /// [`LoadOptions::snapshot_open_files`](super::LoadOptions::snapshot_open_files). Where the
    /// kernel does not support it nothing happens; see [`not_loaded`](Self::not_loaded).
    ///
    /// # Errors
    ///
    /// If the map of traced processes is full, or the kernel ends the iteration early. Descriptors
    /// that were visited until then are recorded.
    pub fn snapshot_open_files(&mut self, members: &[u32]) -> Result<(), SetupError> {
        let Some(file) = self.fd_iter.take() else {
            return Ok(());
        };
        for member in members {
            self.follow(*member)?;
        }
        let read = fd_iter::run(&file);
        for member in members {
            self.unfollow(*member);
        }
        read.map_err(|error| SetupErrorKind::Other(format!("what processes have open: {error}")).into())
    }

    /// Passes each record that is in the ring buffer to `visit`, in the order of reservation, and
    /// returns their number.
    pub fn drain(&mut self, visit: &mut dyn FnMut(&[u8])) -> usize {
        reader::drain(&mut self.ring, self.ring_bytes, visit)
    }

    /// Returns the I/O counters.
    pub fn io_counters(&mut self) -> Vec<(IoCounterKey, IoCounters)> {
        reader::read_io_counters(&self.io_counters)
    }

    /// Returns the digests of connections that are open now, with the address of the socket.
    pub fn connection_digests(&mut self) -> Vec<(u64, DigestState)> {
        reader::read_digests(&self.digests)
    }

    /// Returns what each program has emitted and lost.
    pub fn loss(&mut self) -> Vec<ProgramLoss> {
        let of = |spec: &&'static ProgramSpec| {
            let mut loss = self.tally_of(spec.name, spec.number);
            if let Some(program) = program_ref(&self.ebpf, spec.name) {
                loss.recursion_misses = program
                    .fd()
                    .ok()
                    .and_then(|fd| loss::recursion_misses(fd.as_fd()).ok())
                    .unwrap_or(0);
            }
            loss
        };
        self.loaded.iter().map(of).chain(self.fd_iter_loss()).collect()
    }

    /// Returns what the iterator emitted and lost; `None` if it emitted nothing.
    fn fd_iter_loss(&self) -> Option<ProgramLoss> {
        let loss = self.tally_of(fd_iter::PROGRAM_NAME, program::TASK_FILE);
        (loss.written > 0 || loss.reserve_failures > 0).then_some(loss)
    }

    /// Sums up the statistics of a program over all CPUs.
    fn tally_of(&self, program: &'static str, number: u32) -> ProgramLoss {
        let mut loss = ProgramLoss {
            program,
            number,
            ..ProgramLoss::default()
        };
        if let Ok(cpus) = self.tallies.get(&number, 0) {
            for Pod(tally) in cpus.iter() {
                loss.add(tally);
            }
        }
        loss
    }

    /// Returns the attached programs.
    pub fn programs(&self) -> Vec<Program> {
        let of = |spec: &&'static ProgramSpec| Program {
            name: spec.name,
            attached: true,
            verified_instructions: program_ref(&self.ebpf, spec.name)
                .and_then(|program| program.info().ok())
                .and_then(|info| info.verified_instruction_count()),
        };
        let fd_iter = self.has_fd_iter.then_some(Program {
            name: fd_iter::PROGRAM_NAME,
            attached: true,
            verified_instructions: None,
        });
        self.loaded.iter().map(of).chain(fd_iter).collect()
    }

    /// Returns the selected programs that could not be loaded.
    pub fn not_loaded(&self) -> &[NotLoaded] {
        &self.not_loaded
    }

    /// Returns the run time of the programs on all CPUs, in nanoseconds; 0 unless the kernel
    /// measures it (`kernel.bpf_stats_enabled`).
    pub fn run_time_ns(&self) -> u64 {
        let of = |spec: &&'static ProgramSpec| {
            Some(program_ref(&self.ebpf, spec.name)?.info().ok()?.run_time().as_nanos() as u64)
        };
        self.loaded.iter().filter_map(of).sum()
    }
}

/// Returns a loaded program, for queries.
fn program_ref<'a>(ebpf: &'a Ebpf, name: &str) -> Option<&'a RawTracePoint> {
    ebpf.program(name)?.try_into().ok()
}
