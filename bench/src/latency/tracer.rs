//! Attaching and detaching, and the time until a peek of a traced program is in a report.

use std::io::Write;
use std::time::{Duration, Instant};

use bufferlist::{BufferList, Source, Step};
use zctrace_probes::probe::announce;
use zctrace_probes::trace::{Options, Tracer};

use crate::{Effort, Measured, milliseconds};

/// Bound of a wait, after which a row is given up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a tracer with default options.
pub(crate) fn start() -> Result<Tracer, String> {
    Tracer::start(Options::default()).map_err(|error| error.to_string())
}

pub(crate) fn attach(effort: Effort) -> Measured {
    let mut times = Vec::new();
    for _ in 0..effort.rounds {
        let begun = Instant::now();
        let tracer = start()?;
        times.push(begun.elapsed());
        drop(tracer);
    }
    Ok(milliseconds(&times))
}

pub(crate) fn detach(effort: Effort) -> Measured {
    let mut times = Vec::new();
    for _ in 0..effort.rounds {
        let tracer = start()?;
        let begun = Instant::now();
        drop(tracer);
        times.push(begun.elapsed());
    }
    Ok(milliseconds(&times))
}

/// Measures the time from a peek until a report names it with its call site, with reports made in a
/// loop.
pub(crate) fn peek_until_reported(effort: Effort) -> Measured {
    let mut file = tempfile::tempfile().map_err(|error| error.to_string())?;
    file.write_all(&vec![7; 1 << 16]).map_err(|error| error.to_string())?;
    let mut tracer = start()?;
    announce(tracer.cookie());
    let mut times = Vec::new();
    let peeks = |tracer: &mut Tracer| -> u64 { tracer.report(100).peeks.iter().map(|row| row.calls).sum() };
    let mut list = BufferList::new();
    let mut source = Source::file(&file, ..).map_err(|error| error.to_string())?;
    while let Ok(Step::Moved(_)) = list.splice_from(&mut source, 1 << 16) {}
    // The journal is found some time after the process announced itself.
    wait(|| {
        tracer.poll();
        bufferlist::journal::has_watchers()
    })?;
    for round in 0..effort.rounds {
        let before = peeks(&mut tracer);
        // Another range each time, because a second peek at one range is free.
        let range = list.slice(round as u64 * 100..round as u64 * 100 + 100);
        let begun = Instant::now();
        range.to_bytes().map_err(|error| error.to_string())?;
        wait(|| peeks(&mut tracer) > before)?;
        times.push(begun.elapsed());
    }
    Ok(milliseconds(&times))
}

fn wait(mut condition: impl FnMut() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > TIMEOUT {
            return Err("it does not happen".to_owned());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
