//! Whole paths, in pairs: the same bytes moved by two contenders in turn, in one process, over the same connection.
//!
//! What counts is the CPU time of the thread that moves (`CLOCK_THREAD_CPUTIME_ID`), not of those who feed and drain. All
//! are pinned to one CPU, so that they take turns in an order that repeats: with the drain on a CPU of its own (`--apart`)
//! the same loop over TCP on loopback costs between half and twice as much from run to run. The two of a pair run one right after the other, and every second pair the other way round, so that what
//! drifts (clock, caches, neighbours) hits both; each pair gives one ratio, and the table shows their median, the interval
//! in which it lies with 95 % certainty, and the middle half of the ratios.
//! The row
//! `splice / splice`, the loop against itself, says how much of a ratio is noise here. `watched / transfer` is what the
//! journal costs while somebody has set its flag.
//!
//! ```text
//! cargo run --release -p bufferlist-bench                       the whole table, some minutes
//! cargo run --release -p bufferlist-bench -- --quick            all rows once, seconds: that they run at all
//! cargo run --release -p bufferlist-bench -- --path tcp-tcp --chunk 64 --pairs 31
//! cargo run --release -p bufferlist-bench -- --path file-tcp --chunk 64 --run transfer    one contender, for strace
//! ```

mod journal;
mod movers;
mod paths;
mod stats;

use movers::Mover;
use paths::{Bench, Path};
use std::process::ExitCode;

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    pairs: usize,
    bytes: u64,
    apart: bool,
    paths: Vec<Path>,
    chunks: Vec<u64>,
    /// Run only this, once.
    run: Option<Mover>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            pairs: 61,
            bytes: 256 << 20,
            apart: false,
            paths: Path::ALL.to_vec(),
            chunks: vec![64 << 10, 1 << 20],
            run: None,
        };
        while let Some(name) = args.next() {
            if name == "--quick" {
                (options.pairs, options.bytes) = (1, 4 << 20);
                continue;
            }
            if name == "--apart" {
                options.apart = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{name} wants a value"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}"));
            match name.as_str() {
                "--pairs" => options.pairs = usize::try_from(number()?.max(1)).map_err(|error| error.to_string())?,
                "--mib" => options.bytes = number()?.max(1) << 20,
                "--chunk" => options.chunks = vec![number()?.max(4) << 10],
                "--path" => options.paths = vec![pick(&Path::ALL, Path::name, &value)?],
                "--run" => options.run = Some(pick(&Mover::ALL, Mover::name, &value)?),
                _ => return Err(format!("what is {name}?")),
            }
        }
        Ok(options)
    }
}

/// The one of `all` that is called `name`.
fn pick<T: Copy>(all: &[T], called: fn(T) -> &'static str, name: &str) -> Result<T, String> {
    let found = all.iter().copied().find(|&one| called(one) == name);
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|&one| called(one)).collect();
        format!("no {name}: there are {}", names.join(", "))
    })
}

/// Who is compared with whom on a path: the first is divided by the second.
fn contests(path: Path) -> Vec<(Mover, Mover)> {
    let mut contests = vec![
        (Mover::Splice, Mover::Splice),
        (Mover::Transfer, Mover::Splice),
        (Mover::Transfer, Mover::Copy),
        (Mover::Watched, Mover::Transfer),
    ];
    if path.is_from_file() {
        contests.push((Mover::Transfer, Mover::Sendfile));
    }
    contests
}

fn work(options: &Options) -> std::io::Result<()> {
    if options.run.is_none() {
        println!(
            "{} pairs of {} MiB; CPU time of the moving thread",
            options.pairs,
            options.bytes >> 20
        );
        stats::head();
    }
    for &path in &options.paths {
        for &chunk in &options.chunks {
            let mut bench = Bench::new(path, options.bytes, options.apart)?;
            if let Some(mover) = options.run {
                let cpu = bench.time(mover, chunk)?;
                println!("{} {} {:?}", path.name(), mover.name(), cpu);
                continue;
            }
            for (first, second) in contests(path) {
                // Warms up windows, caches and pools.
                bench.time(first, chunk)?;
                bench.time(second, chunk)?;
                let mut pairs = Vec::with_capacity(options.pairs);
                for turn in 0..options.pairs {
                    let pair = if turn % 2 == 0 {
                        let one = bench.time(first, chunk)?;
                        (one, bench.time(second, chunk)?)
                    } else {
                        let two = bench.time(second, chunk)?;
                        (bench.time(first, chunk)?, two)
                    };
                    pairs.push(pair);
                }
                stats::row(path, chunk, first, second, options.bytes, &pairs);
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("paired: {error}");
            return ExitCode::from(2);
        }
    };
    match work(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paired: {error}");
            ExitCode::FAILURE
        }
    }
}
