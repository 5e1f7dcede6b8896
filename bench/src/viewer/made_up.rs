//! A load that never was: as many flows as asked for, all there from the start, and told of again in turn.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use zctrace_probes::trace::{Input, Preamble, Recorder};
use zctrace_recording::Writer;
use zctrace_records::{IoCounterKey, IoCounters, nr};

/// How much of it.
pub(crate) struct Load {
    /// How many flows.
    pub(crate) flows: u32,
    /// How often one of them changes, in a second.
    pub(crate) events: u32,
    /// For how long.
    pub(crate) seconds: u32,
}

/// How often it is told what has changed, in a second: as often as the tracer is polled.
const POLLS: u32 = 200;
/// How much faster than it plays it is recorded.
const FASTER: u32 = 4;
/// A prime, so that all flows have their turn.
const STRIDE: u64 = 7919;

impl Load {
    /// Tells all of it, in order.
    pub(crate) fn all(&self, tell: &mut dyn FnMut(Input<'_>)) {
        let flows = u64::from(self.flows);
        let row = |number: u64, round: u64| {
            let key = IoCounterKey {
                ino: number,
                tgid: 1000 + (number % 16) as u32,
                dev: 1,
                nr: nr::WRITE,
                ..IoCounterKey::default()
            };
            let calls = 1 + round;
            let sum = IoCounters {
                bytes: calls * (4096 + number),
                calls,
                ..IoCounters::default()
            };
            (key, sum)
        };
        let all: Vec<_> = (0..flows).map(|number| row(number, 0)).collect();
        for (number, some) in (1..).zip(all.chunks(1000)) {
            tell(Input::Time(number));
            tell(Input::Plain(some));
        }
        let (mut turn, each) = (0, u64::from(self.events / POLLS));
        for poll in 1..=u64::from(self.seconds) * u64::from(POLLS) {
            let changed: Vec<_> = (turn..turn + each)
                .map(|turn| row(turn * STRIDE % flows, 1 + turn / flows))
                .collect();
            turn += each;
            tell(Input::Time(poll * 1_000_000_000 / u64::from(POLLS)));
            tell(Input::Plain(&changed));
        }
    }

    /// Makes a recording of it.
    pub(crate) fn record(&self, path: &Path) -> Result<(), String> {
        let why = |error: &dyn fmt::Display| error.to_string();
        let file = Writer::create(path).map_err(|error| why(&error))?;
        let (mut writer, handle) =
            Writer::start(file, &Preamble::default(), env!("CARGO_PKG_VERSION")).map_err(|error| why(&error))?;
        // The writer drops what it has no room for, as it must where it takes down what happens: it is told everything a few
        // times as fast as it would be.
        let began = Instant::now();
        self.all(&mut |input| {
            if let Input::Time(now) = input {
                let due = Duration::from_nanos(now) / FASTER;
                std::thread::sleep(due.saturating_sub(began.elapsed()));
            }
            writer.take(&input);
        });
        drop(writer);
        handle.finish().map(|_| ()).map_err(|error| why(&error))
    }
}
