//! `zctrace replay`: a recording, told again as it happened, faster or slower.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use probes::recording::{self, OpenError};
use probes::report::{MadeFor, Report};

use crate::output::{Format, Output, check};
use crate::signals::Signals;
use crate::trace::Tracer;
use crate::{exit, saved, screen, screens};

/// Which time of the recording it is: as on a player, with a speed, a pause and jumps. It is told what the clock says, and
/// asks none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    /// Where the recording was at a moment.
    at: Duration,
    since: Instant,
    speed: f64,
    is_paused: bool,
}

impl Position {
    /// At the start.
    pub(crate) fn new(now: Instant, speed: f64) -> Self {
        Self {
            at: Duration::ZERO,
            since: now,
            speed,
            is_paused: false,
        }
    }

    /// The time of the recording now.
    pub(crate) fn at(&self, now: Instant) -> Duration {
        if self.is_paused {
            return self.at;
        }
        let passed = now.saturating_duration_since(self.since).as_secs_f64() * self.speed;
        let passed = Duration::try_from_secs_f64(passed).unwrap_or(Duration::MAX);
        self.at.saturating_add(passed)
    }

    /// Stops, or goes on.
    #[allow(dead_code)] // The viewer calls it.
    pub(crate) fn pause(&mut self, is_paused: bool, now: Instant) {
        self.go_to(self.at(now), now);
        self.is_paused = is_paused;
    }

    /// Goes on so many times as fast as it happened.
    #[allow(dead_code)] // The viewer calls it.
    pub(crate) fn set_speed(&mut self, speed: f64, now: Instant) {
        self.go_to(self.at(now), now);
        self.speed = speed;
    }

    /// Goes on from another time.
    pub(crate) fn go_to(&mut self, to: Duration, now: Instant) {
        (self.at, self.since) = (to, now);
    }

    /// How long until it is that time of the recording; `None` while it is paused.
    pub(crate) fn until(&self, time: Duration, now: Instant) -> Option<Duration> {
        let left = time.saturating_sub(self.at(now)).as_secs_f64() / self.speed;
        (!self.is_paused).then(|| Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))
    }
}

/// A recording that plays by itself, as a tracer: whoever shows a live trace can show it.
#[derive(Debug)]
pub(crate) struct Replay {
    recording: recording::Replay,
    position: Position,
}

impl Replay {
    /// Opens a recording, which plays from its start on, so many times as fast as it happened.
    pub(crate) fn open(path: &Path, speed: f64) -> Result<Self, OpenError> {
        Ok(Self {
            recording: recording::Replay::open(path)?,
            position: Position::new(Instant::now(), speed),
        })
    }

    /// Goes to a time of the recording. Backwards that is from the start again.
    pub(crate) fn seek(&mut self, to: Duration) -> io::Result<()> {
        self.position.go_to(to.min(self.duration()), Instant::now());
        self.recording.seek(nanos(to))
    }

    /// How long it is.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.recording.duration_ns())
    }
}

/// What a viewer's keys do.
#[allow(dead_code)] // The viewer calls them.
impl Replay {
    /// The time of the recording that is shown.
    pub(crate) fn position(&self) -> Duration {
        Duration::from_nanos(self.recording.now_ns())
    }

    /// Whether it stands still.
    pub(crate) fn is_paused(&self) -> bool {
        self.position.is_paused
    }

    /// Stops, or goes on.
    pub(crate) fn pause(&mut self, is_paused: bool) {
        self.position.pause(is_paused, Instant::now());
    }

    /// Plays so many times as fast as it happened.
    pub(crate) fn set_speed(&mut self, speed: f64) {
        self.position.set_speed(speed, Instant::now());
    }

    /// The recording.
    pub(crate) fn recording(&self) -> &recording::Replay {
        &self.recording
    }
}

impl Tracer for Replay {
    /// Nobody can join what has happened.
    fn cookie(&self) -> u64 {
        0
    }

    fn poll(&mut self) {
        let at = self.position.at(Instant::now());
        self.recording.play_until(nanos(at));
    }

    fn report(&mut self, max_rows: usize) -> Report {
        let mut report = self.recording.report(max_rows);
        report.made_by.command = Some(MadeFor::Report);
        env!("CARGO_PKG_VERSION").clone_into(&mut report.made_by.zctrace);
        report
    }

    /// What was known at the time to which it was played.
    fn finish(mut self: Box<Self>, max_rows: usize) -> Report {
        self.report(max_rows)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The recording.
    pub(crate) from: PathBuf,
    /// How many times as fast as it happened; `None`: without waiting.
    pub(crate) speed: Option<f64>,
    /// How often it is said what was known, in the recording's time.
    pub(crate) every: Duration,
    /// Where it begins, and where it ends.
    pub(crate) start: Duration,
    pub(crate) until: Option<Duration>,
    /// The most rows of each report.
    pub(crate) rows: usize,
    /// In which form it is said.
    pub(crate) format: Format,
    /// Where.
    pub(crate) file: Option<PathBuf>,
}

/// How long at most until a signal is heeded.
const STEP: Duration = Duration::from_millis(50);

/// Plays it, and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    match play(options) {
        Ok(code) | Err(code) => code,
    }
}

fn play(options: &Options) -> Result<u8, u8> {
    let failed = |error: &dyn std::fmt::Display| saved::cannot_read(&options.from, error);
    let mut replay = Replay::open(&options.from, options.speed.unwrap_or(1.0)).map_err(|error| failed(&error))?;
    let mut output = Output::open(options.file.as_deref(), options.format)?;
    let mut signals = Signals::catch().map_err(|error| {
        screen::complain(&format!("signals cannot be caught: {error}"));
        exit::FAILED
    })?;
    let end = options
        .until
        .map_or(replay.duration(), |until| until.min(replay.duration()));
    let mut next = options.start;
    replay.seek(next).map_err(|error| failed(&error))?;
    loop {
        next = next.saturating_add(options.every).min(end);
        while let Some(wait) = options.speed.and_then(|_| replay.position.until(next, Instant::now()))
            && !wait.is_zero()
        {
            std::thread::sleep(wait.min(STEP));
            if !signals.take().is_empty() {
                return Ok(exit::HELD);
            }
        }
        if next >= end && options.until.is_none() {
            // What was told when watching ended has no time of its own.
            next = Duration::MAX;
        }
        replay.recording.play_until(nanos(next));
        let report = replay.report(options.rows);
        check(&report)?;
        let code = output.write(&form(&report, options.format), exit::HELD);
        if code != exit::HELD {
            return Ok(code);
        }
        if next >= end || replay.recording.is_at_end() {
            return Ok(saved::whole(&replay.recording, &options.from));
        }
    }
}

/// A report of several.
fn form(report: &Report, format: Format) -> String {
    match format {
        Format::Text => screens::report(report) + "\n",
        Format::Json => report.to_json() + "\n",
        Format::Junit => screens::junit(report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_passes_by_speed_and_not_while_it_is_paused() {
        let start = Instant::now();
        let mut position = Position::new(start, 4.0);
        assert_eq!(position.at(start), Duration::ZERO);
        assert_eq!(position.at(start + SECOND), 4 * SECOND);
        assert_eq!(position.until(6 * SECOND, start + SECOND), Some(SECOND / 2));
        position.pause(true, start + SECOND);
        assert_eq!(position.at(start + 9 * SECOND), 4 * SECOND);
        assert_eq!(position.until(6 * SECOND, start), None);
        position.pause(false, start + 9 * SECOND);
        assert_eq!(position.at(start + 10 * SECOND), 8 * SECOND);
        position.set_speed(0.5, start + 10 * SECOND);
        assert_eq!(position.at(start + 12 * SECOND), 9 * SECOND);
        position.go_to(SECOND, start + 12 * SECOND);
        assert_eq!(position.at(start + 14 * SECOND), 2 * SECOND);
    }
}
