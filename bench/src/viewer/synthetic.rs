//! A synthetic load: a number of flows that exist from the start and change in turn.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use zctrace_probes::trace::{Input, Recorder, TraceHeader};
use zctrace_recording::Writer;
use zctrace_records::{IoCounterKey, IoCounters, nr};

/// Size of the load.
pub(crate) struct Load {
    /// Number of flows.
    pub(crate) flows: u32,
    /// Changes of a flow per second.
    pub(crate) events: u32,
    /// Duration, in seconds.
    pub(crate) seconds: u32,
}

/// Reports of changes per second, as often as the tracer is polled.
const POLLS: u32 = 200;
/// Ratio of recording speed to playing speed.
const FASTER: u32 = 4;
/// Distance between two flows that change one after the other. A prime, so that every flow has its
/// turn.
const STRIDE: u64 = 7919;

impl Load {
    /// Passes every input of the load to `sink`, in order.
    pub(crate) fn all(&self, sink: &mut dyn FnMut(Input<'_>)) {
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
            sink(Input::Time(number));
            sink(Input::IoCounters(some));
        }
        let (mut turn, each) = (0, u64::from(self.events / POLLS));
        for poll in 1..=u64::from(self.seconds) * u64::from(POLLS) {
            let changed: Vec<_> = (turn..turn + each)
                .map(|turn| row(turn * STRIDE % flows, 1 + turn / flows))
                .collect();
            turn += each;
            sink(Input::Time(poll * 1_000_000_000 / u64::from(POLLS)));
            sink(Input::IoCounters(&changed));
        }
    }

    /// Records the load to a file.
    pub(crate) fn record(&self, path: &Path) -> Result<(), String> {
        let why = |error: &dyn fmt::Display| error.to_string();
        let file = Writer::create(path).map_err(|error| why(&error))?;
        let (mut writer, handle) =
            Writer::start(file, &TraceHeader::default(), env!("CARGO_PKG_VERSION")).map_err(|error| why(&error))?;
        // The writer drops inputs when its buffer is full, because it must not delay a tracer.
        // Therefore the inputs come only a few times as fast as they would.
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
