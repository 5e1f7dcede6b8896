//! The rate of system calls that a trace with the default ring keeps up with.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use zctrace_probes::probe::announce;

use crate::tracer::start;
use crate::{Effort, Measured};

/// Bytes of each call.
const LEN: usize = 512;
/// Pause of a tracer's user between two polls.
const STEP: Duration = Duration::from_millis(5);

pub(crate) fn steady(effort: Effort) -> Measured {
    measure(effort, Some(200_000))
}

pub(crate) fn flood(effort: Effort) -> Measured {
    measure(effort, None)
}

/// Pins the calling thread to a CPU, if there are several.
fn pin(cpu: usize) {
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > cpu) {
        let mut set = CpuSet::new();
        set.set(cpu);
        // A container may forbid it. The two threads then share their CPUs.
        let _ = sched_setaffinity(None, &set);
    }
}

/// Splices from a file through a pipe into `/dev/null` for a time, at `rate` calls per second or
/// without pause.
///
/// Returns the number of calls.
fn splices(time: Duration, rate: Option<u32>) -> std::io::Result<u64> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&[7; LEN])?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let null = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let start = Instant::now();
    let mut pairs = 0_u64;
    while start.elapsed() < time {
        let due = rate.map_or(pairs + 100, |rate| {
            (start.elapsed().as_secs_f64() * f64::from(rate / 2)) as u64
        });
        while pairs < due {
            splice(&file, Some(&mut 0), &write, None, LEN, SpliceFlags::empty())?;
            splice(&read, None, &null, None, LEN, SpliceFlags::empty())?;
            pairs += 1;
        }
    }
    Ok(2 * pairs)
}

fn measure(effort: Effort, rate: Option<u32>) -> Measured {
    let mut tracer = start()?;
    let cookie = tracer.cookie();
    let is_over = AtomicBool::new(false);
    let cpu = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let (made, took, reader) = std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            pin(0);
            announce(cookie);
            let begun = Instant::now();
            let made = splices(effort.flood, rate);
            let took = begun.elapsed();
            is_over.store(true, Ordering::Release);
            (made, took)
        });
        pin(1);
        let before = cpu();
        while !is_over.load(Ordering::Acquire) {
            tracer.poll();
            std::thread::sleep(STEP);
        }
        let reader = cpu().saturating_sub(before);
        let (made, took) = calls.join().expect("the calling thread does not panic");
        (made, took, reader)
    });
    let made = made.map_err(|error| error.to_string())?;
    let lost = tracer.finish(10).loss.records();
    Ok(format!(
        "{:.0} calls/s for {:.1} s, {lost} records lost; the reader took {:.1} % of a CPU, {} ns per call",
        made as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        100.0 * reader.as_secs_f64() / took.as_secs_f64(),
        reader.as_nanos() as u64 / made.max(1),
    ))
}
