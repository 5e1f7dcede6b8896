//! Measures what tracing costs on this machine: for about a second, alternating with nothing
//! attached.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use zctrace_probes::probe::{LoadOptions, Probes, Program, SetupError, announce};
use zctrace_probes::trace::{Options, Tracer};

/// Interval at which users of a tracer drain the ring.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A measured duration, with the deviation of single rounds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Measurement {
    /// Median, in nanoseconds.
    pub(crate) ns: f64,
    /// Half of the interquartile range of the rounds, in nanoseconds.
    pub(crate) noise_ns: f64,
}

/// Result of loading the programs.
#[derive(Clone, Debug)]
pub(crate) struct LoadResult {
    /// Attached programs.
    pub(crate) programs: Vec<Program>,
    /// Programs that were not loaded, with the reason.
    pub(crate) left_out: Vec<(&'static str, String)>,
    /// Time to read BTF, load and attach.
    pub(crate) load_time: Measurement,
    /// Time to detach.
    pub(crate) detach_time: Measurement,
}

/// Cost of tracing on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// Untraced system call, with nothing attached.
    pub(crate) bare: Measurement,
    /// Time added to it by the attached programs.
    pub(crate) syscall_overhead: Measurement,
    /// 64 KiB splice from a file into a pipe, or from the pipe to /dev/null, with nothing attached.
    pub(crate) splice: Measurement,
    /// Time added to it if it is traced.
    pub(crate) traced: Measurement,
    /// Time that the reader takes for it, on whichever CPU.
    pub(crate) reader: Measurement,
    /// Size of the ring, in bytes.
    pub(crate) ring_bytes: u64,
    /// Bytes of the ring that one such call uses.
    pub(crate) call_bytes: f64,
}

impl Cost {
    /// Returns how many such calls the ring holds.
    pub(crate) fn capacity_calls(&self) -> f64 {
        self.ring_bytes as f64 / self.call_bytes.max(1.0)
    }

    /// Returns the maximum number of such calls per second without loss. The ring must hold the
    /// records between two reads, and the reader must keep up.
    pub(crate) fn max_calls_per_second(&self) -> f64 {
        let ring = self.capacity_calls() / POLL_INTERVAL.as_secs_f64();
        let reader = 1e9 / self.reader.ns.max(1.0);
        ring.min(reader)
    }
}

/// Loads, attaches and detaches repeatedly, and measures an unrelated system call in between.
pub(crate) fn measure_load() -> Result<(LoadResult, Measurement, Measurement), SetupError> {
    const ROUNDS: usize = 5;
    let (mut bare, mut syscall_overhead, mut load_time, mut detach_time) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut programs, mut left_out) = (Vec::new(), Vec::new());
    // The first round has cold caches and is not counted.
    for round in 0..=ROUNDS {
        let before = getppid();
        let start = Instant::now();
        let probes = Probes::load(&LoadOptions {
            snapshot_open_files: true,
            ..LoadOptions::default()
        })?;
        let loaded = elapsed_ns(start);
        let with = getppid();
        programs = probes.programs();
        left_out = probes
            .not_loaded()
            .iter()
            .map(|one| (one.program, one.reason.clone()))
            .collect();
        let start = Instant::now();
        drop(probes);
        let dropped = elapsed_ns(start);
        if round > 0 {
            let after = getppid();
            let without = f64::midpoint(before, after);
            bare.push(without);
            syscall_overhead.push(with - without);
            load_time.push(loaded);
            detach_time.push(dropped);
        }
    }
    let loaded = LoadResult {
        programs,
        left_out,
        load_time: median(load_time),
        detach_time: median(detach_time),
    };
    Ok((loaded, median(bare), median(syscall_overhead)))
}

/// Returns the time of one getppid(2), in nanoseconds: the median of many runs of many calls, so
/// that other load on the machine does not matter.
fn getppid() -> f64 {
    const RUNS: usize = 40;
    const CALLS: u32 = 2000;
    let run = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            std::hint::black_box(rustix::process::getppid());
        }
        elapsed_ns(start) / f64::from(CALLS)
    };
    median((0..RUNS).map(|_| run()).collect()).ns
}

/// Measures the time added to a splice, and the time of the reader.
pub(crate) fn measure_tracing(bare: Measurement, syscall_overhead: Measurement) -> Result<Cost, SetupError> {
    const ROUNDS: usize = 3;
    let chain = SpliceLoop::new().map_err(|error| zctrace_probes::probe::SetupErrorKind::Other(error.to_string()))?;
    let options = Options::default();
    let ring_bytes = u64::from(options.ring_bytes);
    let (mut splice, mut added, mut reader) = (Vec::new(), Vec::new(), Vec::new());
    let mut call_bytes = 0.0;
    for _ in 0..ROUNDS {
        let without = chain.run(&mut || {}).0;
        let mut tracer = Tracer::start(options.clone())?;
        announce(tracer.cookie());
        tracer.poll();
        let (with, read) = chain.run(&mut || tracer.poll());
        let overhead = tracer.report(2).overhead;
        let (calls, records) = tracer.progress();
        // The kernel adds a header of 8 bytes to each record.
        call_bytes = (overhead.record_bytes + 8 * records) as f64 / calls.max(1) as f64;
        splice.push(without);
        added.push(with - without);
        reader.push(read);
    }
    Ok(Cost {
        bare,
        syscall_overhead,
        splice: median(splice),
        traced: median(added),
        reader: median(reader),
        ring_bytes,
        call_bytes,
    })
}

/// A loop that splices from a file through a pipe to /dev/null.
struct SpliceLoop {
    file: File,
    pipe: (OwnedFd, OwnedFd),
    dev_null: File,
}

impl SpliceLoop {
    const LEN: usize = 64 << 10;

    fn new() -> io::Result<Self> {
        let mut file = File::from(memfd_create("zctrace-doctor", MemfdFlags::CLOEXEC)?);
        file.write_all(&vec![7; Self::LEN])?;
        Ok(Self {
            file,
            pipe: pipe_with(PipeFlags::CLOEXEC)?,
            dev_null: File::options().write(true).open("/dev/null")?,
        })
    }

    /// Returns the time of one splice, and the time of `read` per splice, in nanoseconds. Both are
    /// medians of many runs.
    fn run(&self, read: &mut dyn FnMut()) -> (f64, f64) {
        const RUNS: usize = 30;
        const PAIRS: u32 = 50;
        let (mut calls, mut reads) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let start = Instant::now();
            for _ in 0..PAIRS {
                // This file and this pipe cannot fail, and a failed pair would show in its time.
                let _ = self.pair();
            }
            calls.push(elapsed_ns(start) / f64::from(2 * PAIRS));
            let start = Instant::now();
            read();
            reads.push(elapsed_ns(start) / f64::from(2 * PAIRS));
        }
        (median(calls).ns, median(reads).ns)
    }

    fn pair(&self) -> rustix::io::Result<()> {
        let (out, into) = (self.pipe.0.as_fd(), self.pipe.1.as_fd());
        splice(&self.file, Some(&mut 0), into, None, Self::LEN, SpliceFlags::empty())?;
        splice(out, None, &self.dev_null, None, Self::LEN, SpliceFlags::empty())?;
        Ok(())
    }
}

fn elapsed_ns(since: Instant) -> f64 {
    since.elapsed().as_nanos() as f64
}

/// Returns the median, and half of the interquartile range.
fn median(mut rounds: Vec<f64>) -> Measurement {
    rounds.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (rounds.len().saturating_sub(1) as f64 * share).round() as usize;
        rounds.get(index).copied().unwrap_or_default()
    };
    Measurement {
        ns: at(0.5),
        noise_ns: (at(0.75) - at(0.25)) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_ignores_outliers() {
        let one = median(vec![10.0, 12.0, 1e9, 11.0, 9.0]);
        assert_eq!((one.ns as u64, one.noise_ns as u64), (11, 1));
        assert!(median(Vec::new()).ns.abs() < 1e-9);
    }

    #[test]
    fn call_rate_is_limited_by_ring_or_reader() {
        let ns = |ns| Measurement { ns, noise_ns: 0.0 };
        let cost = |reader| Cost {
            bare: ns(1.0),
            syscall_overhead: ns(1.0),
            splice: ns(1.0),
            traced: ns(1.0),
            reader: ns(reader),
            ring_bytes: 1 << 20,
            call_bytes: 1024.0,
        };
        assert_eq!(
            (
                cost(1.0).capacity_calls() as u64,
                cost(1.0).max_calls_per_second() as u64
            ),
            (1024, 204_800)
        );
        assert_eq!(cost(10_000.0).max_calls_per_second() as u64, 100_000);
    }

    #[test]
    fn splice_loop_works_without_privileges() {
        let chain = SpliceLoop::new().expect("a file and a pipe");
        assert_eq!(chain.pair(), Ok(()));
        assert!(chain.run(&mut || {}).0 > 0.0 && getppid() > 0.0);
    }
}
