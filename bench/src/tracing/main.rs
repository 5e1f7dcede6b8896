//! The cost of tracing on file → pipe → TCP, per chunk of 64 KiB, including the reader.
//!
//! One pinned thread splices a chunk from a file into a pipe and from there into a connection over
//! loopback, and receives it at the other end without a copy (`MSG_TRUNC`), so that packets are
//! sent inside its own calls. The reader runs on the same thread between batches of chunks, and is
//! timed separately. Each round measures without and with the tracer, one right after the other, in
//! the opposite order in every second round. The result of a round is the difference in CPU time of
//! this thread. The table shows the median of the differences and half of the width of their middle
//! half. The row `nothing` compares two runs without a tracer, which is the noise.
//!
//! A process that is not traced shows the tax: getppid(2) with the tracer and without.
//!
//! ```text
//! sudo target/release/tracing                   all rows, about a minute
//! sudo target/release/tracing --quick           every row once, to see that it runs
//! sudo target/release/tracing --row full        one row
//! ```

mod lockstep;
mod rows;

use std::process::ExitCode;

use lockstep::Lockstep;
use rows::{ROWS, Row};

/// Command-line options.
struct Options {
    rounds: usize,
    batches: usize,
    rows: Vec<&'static Row>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            rounds: 15,
            batches: 40,
            rows: ROWS.iter().collect(),
        };
        while let Some(name) = args.next() {
            match name.as_str() {
                "--quick" => (options.rounds, options.batches) = (1, 4),
                "--row" => {
                    let wanted = args.next().unwrap_or_default();
                    options.rows.retain(|row| row.name == wanted);
                    if options.rows.is_empty() {
                        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
                        return Err(format!("no row `{wanted}`: there are {}", names.join(", ")));
                    }
                }
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }
}

fn work(options: &Options) -> Result<(), String> {
    let mut chain = Lockstep::new(options.batches).map_err(|error| error.to_string())?;
    println!(
        "file → pipe → TCP, 64 KiB, one thread; {} rounds of {} chunks; ns of CPU per chunk",
        options.rounds,
        chain.chunks()
    );
    println!(
        "{:<18} {:>8} {:>10} {:>8} {:>8} {:>8} {:>7} {:>14}",
        "tracing", "without", "programs", "reader", "sum", "noise", "of it", "tax, untraced"
    );
    for row in &options.rows {
        let found = row.measure(&mut chain, options.rounds)?;
        let sum = found.programs.median + found.reader.median;
        println!(
            "{:<18} {:>8.0} {:>10.0} {:>8.0} {:>8.0} {:>7.0}± {:>6.1}% {:>8.1} ±{:>4.1}",
            row.name,
            found.without.median,
            found.programs.median,
            found.reader.median,
            sum,
            found.programs.half_width + found.reader.half_width,
            100.0 * sum / found.without.median,
            found.tax.median,
            found.tax.half_width,
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("tracing: {error}");
            return ExitCode::from(2);
        }
    };
    match work(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracing: {error}");
            ExitCode::FAILURE
        }
    }
}
