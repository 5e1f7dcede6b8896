//! The viewer with 100,000 flows and 200,000 changes per second: time of a report, frame rate,
//! latency from a key to its effect on the screen, and memory.
//!
//! The benchmark runs the program itself on a terminal of 200 by 60 and plays a synthetic
//! recording, so that it measures what a user observes: it types keys and searches the terminal's
//! output for their effect. The flows end in as many devices, so no two are alike and folding them
//! is the most work.
//!
//! ```text
//! cargo build --release && cargo run --release -p zctrace-bench --bin viewer       half a minute
//! cargo run --release -p zctrace-bench --bin viewer -- --flows 10000 --events 20000 --seconds 5
//! ```

mod synthetic;
mod terminal;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use zctrace_probes::trace::{Engine, TraceHeader};

use synthetic::Load;
use terminal::Terminal;

/// Keys of the views, each with a text that its view shows.
const VIEWS: [(&str, &str); 5] = [
    ("3", "[3 Processes]"),
    ("1", "[1 Map]"),
    ("7", "[7 Log]"),
    ("5", "[5 Reasons]"),
    ("2", "[2 Flows]"),
];

/// Command-line options.
struct Options {
    load: Load,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut load = Load {
            flows: 100_000,
            events: 200_000,
            seconds: 20,
        };
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = value.parse().map_err(|error| format!("{name} {value}: {error}"))?;
            match name.as_str() {
                "--flows" => load.flows = number,
                "--events" => load.events = number,
                "--seconds" => load.seconds = number,
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(Self { load })
    }
}

/// Measures the account alone: the time of its reports, and its memory.
fn account(load: &Load) {
    let before = resident(std::process::id());
    let mut account = Engine::new(TraceHeader::default());
    load.all(&mut |input| account.take(input));
    let kept = resident(std::process::id()).saturating_sub(before);
    println!("account of {} flows: {kept} MiB", load.flows);
    for rows in [30, 5_000, usize::MAX] {
        let began = Instant::now();
        let report = account.report(rows);
        let made = began.elapsed();
        let began = Instant::now();
        let broken = report.check().err().map_or(0, |all| all.len());
        let rows = report.flows.len();
        println!(
            "  a report of {rows:>6} rows: {made:>10.1?}, checked in {:.1?}, {broken} rules broken",
            began.elapsed()
        );
    }
}

/// Measures the program while it plays a recording.
fn viewer(load: &Load, program: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("load.zct");
    load.record(&file).map_err(|error| format!("the recording: {error}"))?;
    let mut terminal = Terminal::start(program, &file).map_err(|error| format!("{}: {error}", program.display()))?;
    terminal.wait("[2 Flows]", Duration::from_secs(60))?;
    let flows = format!("{} flows", load.flows);
    println!("viewer: {flows}, {} events a second", load.events);

    // Scrolls as a held key does, 60 times a second.
    terminal.frames.clear();
    let began = Instant::now();
    let third = Duration::from_secs(u64::from(load.seconds)) / 3;
    let mut key = 0;
    while began.elapsed() < third {
        terminal.press(if key / 50 % 2 == 0 { "j" } else { "k" });
        key += 1;
        terminal.read_until(began + Duration::from_micros(16_667) * key);
    }
    let all = began.elapsed();
    let mut gaps: Vec<Duration> = terminal.frames.windows(2).map(|pair| pair[1] - pair[0]).collect();
    println!(
        "  scrolling: {:.1} frames a second",
        terminal.frames.len() as f64 / all.as_secs_f64()
    );
    println!("  between two frames: {}", spread(&mut gaps));

    let mut lags = Vec::new();
    let mut turn = 0;
    while began.elapsed() < 3 * third {
        let (key, answer) = VIEWS[turn % VIEWS.len()];
        turn += 1;
        let pressed = Instant::now();
        terminal.press(key);
        terminal.wait(answer, Duration::from_secs(10))?;
        lags.push(pressed.elapsed());
        // Pauses of varying length, so that keys are not in step with frames.
        terminal.read_until(Instant::now() + Duration::from_millis(20 + turn as u64 * 7 % 50));
    }
    println!("  a key until its answer is on the screen: {}", spread(&mut lags));
    println!("  resident at most: {} MiB", terminal.peak());
    terminal.press("q");
    terminal.end()
}

/// Formats the median, two quantiles, the maximum and the number of samples.
fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: usize| {
        times
            .get((times.len().saturating_sub(1)) * part / 100)
            .copied()
            .unwrap_or_default()
    };
    format!(
        "median {:.1?}, 90 % {:.1?}, 99 % {:.1?}, longest {:.1?} of {}",
        at(50),
        at(90),
        at(99),
        at(100),
        times.len()
    )
}

/// Returns the resident memory of a process, in MiB.
pub(crate) fn resident(pid: u32) -> u64 {
    of_status(pid, "VmRSS:")
}

/// Returns a size from `/proc/PID/status`, in MiB; 0 if the field is missing.
pub(crate) fn of_status(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn work(options: &Options) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = own.with_file_name("zctrace");
    if !program.exists() {
        return Err(format!("{} does not exist: build it first", program.display()));
    }
    account(&options.load);
    viewer(&options.load, &program)
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| work(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("viewer: {error}");
            ExitCode::FAILURE
        }
    }
}
