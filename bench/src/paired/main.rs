//! Whole paths in pairs: two contenders move the same bytes alternately, in one process, over the
//! same connection.
//!
//! The measure is the CPU time of the moving thread (`CLOCK_THREAD_CPUTIME_ID`), without the
//! threads that feed and drain. All threads are pinned to one CPU, so that they take turns in an
//! order that repeats. With the drain on another CPU (`--apart`), the same loop over TCP on
//! loopback costs between half and twice as much from run to run.
//!
//! The two contenders of a pair run one right after the other, in the opposite order in every
//! second pair, so that drift (clock, caches, other processes) affects both. Each pair gives one
//! ratio. The table shows the median of the ratios, the interval in which it lies with 95 %
//! certainty, and the middle half of the ratios. The row `splice / splice` compares the loop with
//! itself, which is the noise of the machine. `journaled / transfer` is the cost of the journal
//! while its flag is set.
//!
//! ```text
//! cargo run --release -p zctrace-bench                    the whole table, some minutes
//! cargo run --release -p zctrace-bench -- --quick         every row once, to see that it runs
//! cargo run --release -p zctrace-bench -- --path tcp-tcp --chunk 64 --pairs 31
//! cargo run --release -p zctrace-bench -- --path file-tcp --chunk 64 --run transfer
//!                                                         one contender, for strace
//! ```

mod contenders;
mod journal;
mod paths;
mod table;

use std::process::ExitCode;

use contenders::Contender;
use paths::{Bench, Path};

/// Command-line options.
#[derive(Debug)]
struct Options {
    pairs: usize,
    bytes: u64,
    apart: bool,
    paths: Vec<Path>,
    chunks: Vec<u64>,
    /// Contender to run alone, once.
    run: Option<Contender>,
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
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}"));
            match name.as_str() {
                "--pairs" => options.pairs = usize::try_from(number()?.max(1)).map_err(|error| error.to_string())?,
                "--mib" => options.bytes = number()?.max(1) << 20,
                "--chunk" => options.chunks = vec![number()?.max(4) << 10],
                "--path" => options.paths = vec![pick(&Path::ALL, Path::name, &value)?],
                "--run" => options.run = Some(pick(&Contender::ALL, Contender::name, &value)?),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }
}

/// Returns the element of `all` with this name.
fn pick<T: Copy>(all: &[T], called: fn(T) -> &'static str, name: &str) -> Result<T, String> {
    let found = all.iter().copied().find(|&one| called(one) == name);
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|&one| called(one)).collect();
        format!("no {name}: there are {}", names.join(", "))
    })
}

/// Returns the pairs of contenders to compare on a path. The first is divided by the second.
fn contests(path: Path) -> Vec<(Contender, Contender)> {
    let mut contests = vec![
        (Contender::Splice, Contender::Splice),
        (Contender::Transfer, Contender::Splice),
        (Contender::Transfer, Contender::Copy),
        (Contender::Journaled, Contender::Transfer),
    ];
    if path.is_from_file() {
        contests.push((Contender::Transfer, Contender::Sendfile));
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
        table::head();
    }
    for &path in &options.paths {
        for &chunk in &options.chunks {
            let mut bench = Bench::new(path, options.bytes, options.apart)?;
            if let Some(contender) = options.run {
                let cpu = bench.time(contender, chunk)?;
                println!("{} {} {:?}", path.name(), contender.name(), cpu);
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
                table::row(path, chunk, first, second, options.bytes, &pairs);
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
