//! How the viewer does with 100,000 flows, of which 200,000 are told of again each second: how long a report takes, how many
//! frames come, how long after a key its answer is on the screen, and how much memory that takes.
//!
//! It is the real program, on a terminal of 200 by 60, with a recording that was made up: what is measured is what a user sees
//! (keys are typed and the answer is looked for in what the terminal gets). The flows end in as many devices, so that none are
//! alike: to fold them is as much work as it can be.
//!
//! ```text
//! cargo build --release && cargo run --release -p bufferlist-bench --bin viewer                 half a minute
//! cargo run --release -p bufferlist-bench --bin viewer -- --flows 10000 --events 20000 --seconds 5
//! ```

mod made_up;
mod terminal;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use zctrace_probes::trace::{Account, Preamble};

use made_up::Load;
use terminal::Terminal;

/// Keys, and what is on the screen when they are answered: views in turn.
const VIEWS: [(&str, &str); 5] = [
    ("3", "[3 Processes]"),
    ("1", "[1 Map]"),
    ("7", "[7 Log]"),
    ("5", "[5 Reasons]"),
    ("2", "[2 Flows]"),
];

/// What the command line asks for.
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
            let value = args.next().ok_or_else(|| format!("{name} wants a value"))?;
            let number = value.parse().map_err(|error| format!("{name} {value}: {error}"))?;
            match name.as_str() {
                "--flows" => load.flows = number,
                "--events" => load.events = number,
                "--seconds" => load.seconds = number,
                _ => return Err(format!("what is {name}?")),
            }
        }
        Ok(Self { load })
    }
}

/// The account alone: how long its reports take, and what it keeps.
fn account(load: &Load) {
    let before = resident(std::process::id());
    let mut account = Account::new(Preamble::default());
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

/// The program, with a recording that plays.
fn viewer(load: &Load, program: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("load.zct");
    load.record(&file).map_err(|error| format!("the recording: {error}"))?;
    let mut terminal = Terminal::start(program, &file).map_err(|error| format!("{}: {error}", program.display()))?;
    terminal.wait("[2 Flows]", Duration::from_secs(60))?;
    let flows = format!("{} flows", load.flows);
    println!("viewer: {flows}, {} events a second", load.events);

    // Scrolled as by a held key, 60 times a second.
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
        // Not in step with the frames.
        terminal.read_until(Instant::now() + Duration::from_millis(20 + turn as u64 * 7 % 50));
    }
    println!("  a key until its answer is on the screen: {}", spread(&mut lags));
    println!("  resident at most: {} MiB", terminal.peak());
    terminal.press("q");
    terminal.end()
}

/// Median, 99 %, the longest, and of how many.
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

/// Resident memory of a process, in MiB.
pub(crate) fn resident(pid: u32) -> u64 {
    of_status(pid, "VmRSS:")
}

/// A size from `/proc/PID/status`, in MiB; 0 if it is not there.
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
        return Err(format!("there is no {}: build it first", program.display()));
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
