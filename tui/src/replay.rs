//! `zctrace replay`: a recording, told again as it happened, faster or slower.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zctrace_recording::{self as recording, OpenError};
use zctrace_report::{MadeFor, Report};

use crate::filter::Filter;
use crate::output::{Format, Output, check};
use crate::signals::Signals;
use crate::trace::{Controls, Play, Playback, Tracer};
use crate::viewer::config::Choice;
use crate::{exit, saved, screen, screens, viewer};

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
    pub(crate) fn pause(&mut self, is_paused: bool, now: Instant) {
        self.go_to(self.at(now), now);
        self.is_paused = is_paused;
    }

    /// Goes on so many times as fast as it happened.
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
    path: PathBuf,
    recording: recording::Replay,
    position: Position,
    /// Where it was sent and has not come yet: until then no time passes.
    sought: Option<Duration>,
    /// Where it is to end, if not where the recording does.
    until: Option<Duration>,
}

impl Replay {
    /// Opens a recording, which plays from its start on, so many times as fast as it happened.
    pub(crate) fn open(path: &Path, speed: f64) -> Result<Self, OpenError> {
        Ok(Self {
            path: path.to_owned(),
            recording: recording::Replay::open(path)?,
            position: Position::new(Instant::now(), speed),
            sought: None,
            until: None,
        })
    }

    /// Goes to a time of the recording. Backwards that is from the start again.
    pub(crate) fn seek(&mut self, to: Duration) -> io::Result<()> {
        let to = to.min(self.end());
        self.recording.seek(nanos(to))?;
        self.position.go_to(to, Instant::now());
        self.sought = None;
        Ok(())
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> Duration {
        let duration = Duration::from_nanos(self.recording.duration_ns());
        self.until.map_or(duration, |until| until.min(duration))
    }

    /// The time of the recording that is shown.
    fn shown(&self) -> Duration {
        Duration::from_nanos(self.recording.now_ns())
    }

    /// Where it is to be by now.
    fn goal(&self, now: Instant) -> Duration {
        let goal = self.sought.unwrap_or_else(|| self.position.at(now));
        // What was told when watching ended has no time of its own, so all is played that has none.
        self.until.map_or(goal, |until| goal.min(until))
    }

    /// Whether there is nothing more to play.
    fn is_over(&self) -> bool {
        self.recording.is_at_end() || self.until.is_some_and(|until| self.shown() >= until)
    }

    /// Sends it to a time, at which it is when it has been polled often enough.
    fn send(&mut self, to: Duration) {
        let to = to.min(self.end());
        if to < self.shown()
            && let Err(error) = self.recording.seek(0)
        {
            screen::complain(&format!("it cannot be gone back to {to:?}: {error}"));
            self.position.go_to(self.shown(), Instant::now());
            return;
        }
        self.sought = Some(to);
        self.poll();
    }
}

/// The slowest and the fastest that keys make it; the command line may go beyond.
const SPEEDS: (f64, f64) = (1.0 / 64.0, 1024.0);

/// So long at most does it play without looking at what it is told: a frame or two of a screen.
const TURN: Duration = Duration::from_millis(50);

/// How much of a recording is played between two looks at the clock.
const SLICE: Duration = Duration::from_millis(100);

impl Controls for Replay {
    fn play(&mut self, play: Play) {
        let now = Instant::now();
        let (slowest, fastest) = SPEEDS;
        let speed = self.position.speed;
        let at = self.goal(now).min(self.end());
        match play {
            // From its end it goes on at its start.
            Play::Pause if self.is_over() => {
                self.position.pause(false, now);
                self.send(Duration::ZERO);
            }
            Play::Pause => self.position.pause(!self.position.is_paused, now),
            Play::Faster => self.position.set_speed((speed * 2.0).min(fastest.max(speed)), now),
            Play::Slower => self.position.set_speed((speed / 2.0).max(slowest.min(speed)), now),
            Play::Back(by) => self.send(at.saturating_sub(by)),
            Play::Ahead(by) => self.send(at.saturating_add(by)),
        }
    }

    fn playback(&self) -> Playback {
        Playback {
            at: self.shown(),
            of: self.end(),
            speed: self.position.speed,
            paused: self.position.is_paused || self.is_over(),
        }
    }

    fn cut(&self) -> Option<String> {
        saved::cut(&self.recording, &self.path)
    }
}

impl Tracer for Replay {
    /// Nobody can join what has happened.
    fn cookie(&self) -> u64 {
        0
    }

    /// Plays what is due. If that is much, only so much that keys are heeded meanwhile.
    fn poll(&mut self) {
        let began = Instant::now();
        let goal = self.goal(began);
        loop {
            let next = self.shown().saturating_add(SLICE).min(goal);
            let more = self.recording.play_until(nanos(next));
            if !more || next >= goal {
                break;
            }
            if began.elapsed() >= TURN {
                if self.sought.is_none() {
                    // It cannot be played that fast, so it is played as fast as it can.
                    self.position.go_to(self.shown(), Instant::now());
                }
                return;
            }
        }
        if let Some(sought) = self.sought.take() {
            self.position.go_to(sought, Instant::now());
        }
    }

    fn report(&mut self, max_rows: usize) -> Report {
        let mut report = self.recording.report(max_rows);
        report.made_by.command = Some(MadeFor::Report);
        env!("CARGO_PKG_VERSION").clone_into(&mut report.made_by.zctrace);
        report
    }

    fn controls(&mut self) -> Option<&mut dyn Controls> {
        Some(self)
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
    /// Which flows are told of.
    pub(crate) filter: Filter,
    /// How the viewer is to look, if nothing was said that only reports can do.
    pub(crate) viewer: Option<Choice>,
    /// In which form it is said.
    pub(crate) format: Format,
    /// Where.
    pub(crate) file: Option<PathBuf>,
}

/// How long at most until a signal is heeded.
const STEP: Duration = Duration::from_millis(50);

/// Plays it, and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    let answer = match &options.viewer {
        Some(choice) if viewer::possible() => show(options, choice),
        _ => play(options),
    };
    exit::of(answer)
}

/// Has it shown in the viewer.
fn show(options: &Options, choice: &Choice) -> Result<u8, u8> {
    let failed = |error: &dyn std::fmt::Display| saved::cannot_read(&options.from, error);
    let mut replay = Replay::open(&options.from, options.speed.unwrap_or(1.0)).map_err(|error| failed(&error))?;
    replay.until = options.until;
    let start = if options.speed.is_none() {
        replay.end()
    } else {
        options.start
    };
    replay.seek(start).map_err(|error| failed(&error))?;
    Ok(viewer::replay(Box::new(replay), choice, &options.filter))
}

fn play(options: &Options) -> Result<u8, u8> {
    let failed = |error: &dyn std::fmt::Display| saved::cannot_read(&options.from, error);
    let mut replay = Replay::open(&options.from, options.speed.unwrap_or(1.0)).map_err(|error| failed(&error))?;
    let mut output = Output::open(options.file.as_deref(), options.format)?;
    let mut signals = Signals::catch().map_err(|error| {
        screen::complain(&format!("signals cannot be caught: {error}"));
        exit::FAILED
    })?;
    replay.until = options.until;
    let end = replay.end();
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
        let report = pick(&mut replay, options);
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

/// What is asked for, in as many rows as are asked for.
fn pick(replay: &mut Replay, options: &Options) -> Report {
    if options.filter.is_all() {
        return replay.report(options.rows);
    }
    // What is folded has given up names that the filter may ask for.
    let mut report = replay.report(usize::MAX);
    options.filter.apply(&mut report);
    report.finish(options.rows);
    report
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
