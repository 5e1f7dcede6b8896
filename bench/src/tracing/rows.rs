//! The levels of tracing, and their measurement.

use zctrace_bench::stats::{Spread, spread};
use zctrace_probes::probe::{DigestMode, Hooks, announce};
use zctrace_probes::trace::{Options, Tracer};

use crate::lockstep::{Lockstep, Times, getppid};

/// A row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Options of the tracer. `None` attaches nothing, which shows the noise.
    options: Option<fn() -> Options>,
    /// True for a level that gives verdicts.
    judges: bool,
}

/// Every row.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "nothing",
        options: None,
        judges: false,
    },
    Row {
        name: "full",
        options: Some(Options::default),
        judges: true,
    },
    Row {
        name: "digest",
        options: Some(|| only(DigestMode::Pages)),
        judges: true,
    },
    Row {
        name: "counters",
        options: Some(|| only(DigestMode::Bytes)),
        judges: false,
    },
];

fn only(sums: DigestMode) -> Options {
    Options {
        hooks: Hooks::digest_only(sums),
        ..Options::default()
    }
}

/// Result of a row: medians of the rounds, in nanoseconds of CPU per chunk or call.
pub(crate) struct Found {
    pub(crate) without: Spread,
    pub(crate) programs: Spread,
    pub(crate) reader: Spread,
    pub(crate) tax: Spread,
}

impl Row {
    /// Measures a number of rounds, with and without the tracer first in turn.
    pub(crate) fn measure(&self, chain: &mut Lockstep, rounds: usize) -> Result<Found, String> {
        let (mut without, mut programs, mut reader, mut tax) = (vec![], vec![], vec![], vec![]);
        // The first round is dropped, because its caches are cold.
        for round in 0..=rounds {
            let (bare, traced) = if round % 2 == 0 {
                let bare = bare(chain)?;
                (bare, self.traced(chain)?)
            } else {
                let traced = self.traced(chain)?;
                (bare(chain)?, traced)
            };
            if round > 0 || rounds == 0 {
                without.push(bare.0.chunk);
                programs.push(traced.0.chunk - bare.0.chunk);
                reader.push(traced.0.reader - bare.0.reader);
                tax.push(traced.1 - bare.1);
            }
        }
        Ok(Found {
            without: spread(without),
            programs: spread(programs),
            reader: spread(reader),
            tax: spread(tax),
        })
    }

    /// Measures chunks of this process while it is traced, then getppid(2) while it is not.
    fn traced(&self, chain: &mut Lockstep) -> Result<(Times, f64), String> {
        let Some(options) = self.options else {
            return bare(chain);
        };
        let start = || Tracer::start(options()).map_err(|error| format!("{error}\n → {}", error.hint()));
        let mut tracer = start()?;
        announce(tracer.cookie());
        tracer.poll();
        let times = chain.run(&mut || tracer.poll()).map_err(|error| error.to_string())?;
        let report = tracer.finish(10);
        if report.loss.any() {
            return Err(format!("records were lost: {:?}", report.loss));
        }
        // The traffic that was measured must be in the report, with a verdict.
        let wanted = chain.chunks() as u64 * (64 << 10);
        let totals = report.totals();
        if totals.payload < wanted || (self.judges && totals.account.unknown * 100 > wanted) {
            return Err(format!(
                "of {wanted} bytes that were sent {} are in the report, {} of them unknown",
                totals.payload, totals.account.unknown
            ));
        }
        // Attached, and no process is traced.
        let idle = start()?;
        let tax = getppid(40);
        drop(idle);
        Ok((times, tax))
    }
}

fn bare(chain: &mut Lockstep) -> Result<(Times, f64), String> {
    let times = chain.run(&mut || {}).map_err(|error| error.to_string())?;
    Ok((times, getppid(40)))
}
