//! Latencies that users notice and tests must not assert: attaching, the first peek in a report, a
//! tail that `SPLICE_F_MORE` holds back, and the rate of calls that a trace keeps up with.
//!
//! ```text
//! cargo run --release -p zctrace-bench --bin latency              about half a minute; as root for all rows
//! cargo run --release -p zctrace-bench --bin latency -- --quick   every row once, to see that it runs
//! ```

mod calls;
mod tail;
mod tracer;

use std::process::ExitCode;
use std::time::Duration;

use zctrace_bench::stats::spread;

/// Result of a row, or the reason why it cannot be measured here.
type Measured = Result<String, String>;

/// Number of runs and duration of a flood of calls.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    flood: Duration,
}

/// A row: its name and its measurement.
type Row = (&'static str, fn(Effort) -> Measured);

const ROWS: [Row; 8] = [
    ("round trip of 1000 bytes, no flag", tail::without_more),
    ("round trip of 1000 bytes, SPLICE_F_MORE", tail::with_more),
    ("round trip of a list of pipe segments", tail::of_a_list),
    ("attaching the probes", tracer::attach),
    ("detaching them", tracer::detach),
    ("a peek until it is in a report", tracer::peek_until_reported),
    ("200,000 calls per second", calls::steady),
    ("calls without pause", calls::flood),
];

/// Formats durations as median and half of the width of the middle half.
fn milliseconds(times: &[Duration]) -> String {
    let count = times.len();
    let spread = spread(times.iter().map(|time| time.as_secs_f64() * 1000.0).collect());
    format!("{:.2} ± {:.2} ms, median of {count}", spread.median, spread.half_width)
}

fn main() -> ExitCode {
    let effort = match std::env::args().nth(1).as_deref() {
        None => Effort {
            rounds: 15,
            flood: Duration::from_secs(5),
        },
        Some("--quick") => Effort {
            rounds: 1,
            flood: Duration::from_millis(100),
        },
        Some(other) => {
            eprintln!("latency: unknown option {other}");
            return ExitCode::from(2);
        }
    };
    for (name, measure) in ROWS {
        let result = measure(effort).unwrap_or_else(|why| format!("not measured: {why}"));
        println!("{name:<42} {result}");
    }
    ExitCode::SUCCESS
}
