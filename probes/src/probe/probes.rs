//! The loaded programs, and what they are asked afterwards.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::RawTracePoint;
use zctrace_records::{DigestState, IoCounterKey, IoCounters, ProgramStats, program};

use super::error::{SetupError, SetupErrorKind};
use super::fd_iter;
use super::loss::{self, ProgramLoss};
use super::pod::Pod;
use super::programs::ProgramSpec;
use super::reader;

/// A program that is loaded and attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name, which is that of its tracepoint if no other program has that.
    pub name: &'static str,
    /// Whether it is attached.
    pub attached: bool,
    /// Instructions that the verifier looked at, if the kernel tells (since 5.16).
    pub verified_instructions: Option<u32>,
}

/// A program that was asked for, and is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLoaded {
    /// Its name.
    pub program: &'static str,
    /// Why.
    pub reason: String,
}

/// The programs, loaded and attached. Dropping it takes them away.
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
    /// Traces a process from here on, by its number in the initial PID namespace.
    pub fn follow(&mut self, tgid: u32) -> Result<(), SetupError> {
        Ok(self.traced.insert(tgid, 1, 0)?)
    }

    /// Traces a process no longer. What it started goes on being traced. One that was not traced is no error.
    pub fn unfollow(&mut self, tgid: u32) {
        let _ = self.traced.remove(&tgid);
    }

    /// Looks at what traced processes have open already: connections are watched from here on, and records of what lies in
    /// their pipes are written. `members` are the processes of the cgroup, if one is traced: which they are the kernel does
    /// not tell the iterator.
    ///
    /// Once, and only if [`LoadOptions::snapshot_open_files`] was asked for: otherwise nothing happens, nor where the kernel cannot
    /// do it, see [`not_loaded`](Self::not_loaded).
    ///
    /// # Errors
    ///
    /// If the kernel has no room for the processes, or ends the iteration early. What it has shown until then was seen.
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

    /// Gives all records that are in the ring now to `each`, in the order in which room was made for them; tells how
    /// many.
    pub fn drain(&mut self, visit: &mut dyn FnMut(&[u8])) -> usize {
        reader::drain(&mut self.ring, self.ring_bytes, visit)
    }

    /// The plain calls so far.
    pub fn io_counters(&mut self) -> Vec<(IoCounterKey, IoCounters)> {
        reader::read_io_counters(&self.io_counters)
    }

    /// The sums over connections that are open now, by the address of the socket.
    pub fn connection_digests(&mut self) -> Vec<(u64, DigestState)> {
        reader::read_digests(&self.digests)
    }

    /// What each program wrote and lost so far.
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

    /// What the iterator wrote and lost; `None` if it wrote nothing.
    fn fd_iter_loss(&self) -> Option<ProgramLoss> {
        let loss = self.tally_of(fd_iter::PROGRAM_NAME, program::TASK_FILE);
        (loss.written > 0 || loss.reserve_failures > 0).then_some(loss)
    }

    /// What a program counted, on all CPUs.
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

    /// The programs that are there.
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

    /// What was asked for and cannot be had on this kernel.
    pub fn not_loaded(&self) -> &[NotLoaded] {
        &self.not_loaded
    }

    /// Nanoseconds that the programs ran, on all CPUs. 0 unless the kernel counts (`kernel.bpf_stats_enabled`).
    pub fn run_time_ns(&self) -> u64 {
        let of = |spec: &&'static ProgramSpec| {
            Some(program_ref(&self.ebpf, spec.name)?.info().ok()?.run_time().as_nanos() as u64)
        };
        self.loaded.iter().filter_map(of).sum()
    }
}

/// The same, to look at only.
fn program_ref<'a>(ebpf: &'a Ebpf, name: &str) -> Option<&'a RawTracePoint> {
    ebpf.program(name)?.try_into().ok()
}
