//! High call rates, and repeated attaching. The rates reached are printed (the benchmark `latency`
//! measures them). Asserted is only what holds at any rate: each call is in the report or among the
//! losses, and nothing is claimed for lost records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, Pid, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use zctrace_probes::probe::announce;
use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::EndpointKind::{File, Null, Pipe as InPipe};
use zctrace_report::{Call, Report};

use crate::fixtures::{memfd, null, pattern, pipe, splice_once};
use crate::harness::{exclusive, started_or_skip, totals};

/// Bytes of each call.
const LEN: usize = 512;
/// Polling interval of a tracer's user.
const STEP: Duration = Duration::from_millis(5);
/// Rate that the default ring and a reader on its own CPU are meant to sustain.
const RATE: u32 = 200_000;

fn tracer(test: &str) -> Option<Tracer> {
    started_or_skip(test, Tracer::start(Options::default()))
}

/// Pins the calling thread to one CPU, if there are several.
fn pin_to_cpu(cpu: usize) {
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > cpu) {
        let mut set = CpuSet::new();
        set.set(cpu);
        // A container may forbid it: then the two threads share CPUs as scheduled.
        let _ = sched_setaffinity(None::<Pid>, &set);
    }
}

/// Splices from a file through a pipe into /dev/null for `time`, at the given number of calls per
/// second or as fast as possible. Returns the number of calls.
fn splice_for(time: Duration, rate: Option<u32>) -> u64 {
    let (source, pipe, nowhere) = (memfd(&pattern(LEN)), pipe(), null());
    let start = Instant::now();
    let mut pairs = 0_u32;
    while start.elapsed() < time {
        let due = rate.map_or(pairs + 100, |rate| {
            (start.elapsed().as_secs_f64() * f64::from(rate / 2)) as u32
        });
        while pairs < due {
            assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
            assert_eq!(splice_once(&pipe.read, None, &nowhere, None, LEN), LEN);
            pairs += 1;
        }
    }
    2 * u64::from(pairs)
}

/// Traces these calls and checks the account.
fn flood(test: &str, time: Duration, rate: Option<u32>) {
    let _exclusive = exclusive();
    let Some(mut tracer) = tracer(test) else { return };
    let cookie = tracer.cookie();
    let over = AtomicBool::new(false);
    let cpu = || clock_gettime(ClockId::ThreadCPUTime);
    let (made, took, reader) = std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            pin_to_cpu(0);
            announce(cookie);
            let start = Instant::now();
            let made = splice_for(time, rate);
            let took = start.elapsed();
            over.store(true, Ordering::Release);
            (made, took)
        });
        pin_to_cpu(1);
        let before = cpu();
        while !over.load(Ordering::Acquire) {
            tracer.poll();
            std::thread::sleep(STEP);
        }
        let reader = cpu() - before;
        let (made, took) = calls.join().expect("the calls");
        (made, took, Duration::try_from(reader).expect("time goes forward"))
    });
    let report = tracer.finish(1000);
    let seen: u64 = splices(&report);
    let lost = report.loss.records();
    test_support::print_uncaptured(&format!(
        "{test}: {} calls a second for {:.1} s, {lost} records lost, {} calls unseen; the reader took {:.1} % of a CPU, {} ns a call\n",
        (made as f64 / took.as_secs_f64()) as u64,
        took.as_secs_f64(),
        made - seen,
        100.0 * reader.as_secs_f64() / took.as_secs_f64(),
        reader.as_nanos() as u64 / made.max(1),
    ));
    assert_conserved(&report, made, seen);
}

/// Returns the splices in the report.
fn splices(report: &Report) -> u64 {
    let splices = report.edges.iter().filter(|edge| edge.call == Call::Splice);
    splices.map(|edge| edge.calls).sum()
}

/// Asserts that each call is in the report or lost, and that every known figure is exact.
fn assert_conserved(report: &Report, made: u64, seen: u64) {
    report.check().expect("a report that adds up");
    let loss = &report.loss;
    assert!(seen <= made, "{seen} calls of {made}");
    assert!(
        made - seen <= loss.records(),
        "{} calls are missing, and {loss:?} is all that was lost",
        made - seen
    );
    // The reader itself misses nothing: a missing record found the ring full, or its program was
    // skipped.
    assert!(
        loss.sequence_gaps <= loss.reserve_failures,
        "a gap where nothing was refused: {loss:?}"
    );
    let (known, astray) = (totals(report, &File, &Null), totals(report, &InPipe, &Null));
    let arrived = known.total() + astray.total();
    assert_eq!((known.moved, known.copied, astray.moved, astray.copied), (0, 0, 0, 0));
    assert_eq!(
        astray.discarded + known.discarded + known.unknown + astray.unknown,
        arrived,
        "{known:?} {astray:?}"
    );
    if loss.any() {
        assert!(arrived <= made / 2 * LEN as u64, "{known:?} {astray:?}");
    } else {
        assert_eq!(seen, made);
        assert_eq!(known.discarded, made / 2 * LEN as u64, "{known:?} {astray:?}");
        assert_eq!((known.unknown, astray.total()), (0, 0), "unknown, and nothing was lost");
    }
}

#[test]
fn two_hundred_thousand_calls_a_second_for_ten_seconds() {
    flood(
        "rate::two_hundred_thousand_calls_a_second_for_ten_seconds",
        Duration::from_secs(10),
        Some(RATE),
    );
}

#[test]
fn calls_as_fast_as_possible() {
    flood("rate::calls_as_fast_as_possible", Duration::from_secs(2), None);
}

#[test]
fn attach_and_detach_repeatedly() {
    const TEST: &str = "rate::attach_and_detach_repeatedly";
    let _exclusive = exclusive();
    let (source, pipe) = (memfd(&pattern(LEN)), pipe());
    for turn in 1..=5 {
        let Some(mut tracer) = tracer(TEST) else { return };
        announce(tracer.cookie());
        assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
        tracer.poll();
        assert_eq!(splices(&tracer.finish(10)), 1, "turn {turn}");
    }
}
