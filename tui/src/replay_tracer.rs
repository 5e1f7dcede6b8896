//! A recording that is replayed in real time, faster or slower, as a tracer.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zctrace_recording::{OpenError, Replay};
use zctrace_report::format::printable;
use zctrace_report::{Report, Subcommand};

use crate::terminal_io;
use crate::tracer::{PlayControl, Playback, PlaybackState, Tracer};

/// Maps the clock to a time in the recording, with a speed, a pause and seeks. Callers pass the
/// current time; the type itself reads no clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaybackClock {
    /// Time in the recording at `since`.
    at: Duration,
    since: Instant,
    speed: f64,
    is_paused: bool,
}

impl PlaybackClock {
    /// Returns a running clock at the start of the recording.
    pub(crate) fn new(now: Instant, speed: f64) -> Self {
        Self {
            at: Duration::ZERO,
            since: now,
            speed,
            is_paused: false,
        }
    }

    /// Returns the time in the recording at `now`.
    pub(crate) fn at(&self, now: Instant) -> Duration {
        if self.is_paused {
            return self.at;
        }
        let passed = now.saturating_duration_since(self.since).as_secs_f64() * self.speed;
        let passed = Duration::try_from_secs_f64(passed).unwrap_or(Duration::MAX);
        self.at.saturating_add(passed)
    }

    /// Pauses or continues.
    pub(crate) fn set_paused(&mut self, is_paused: bool, now: Instant) {
        self.seek_to(self.at(now), now);
        self.is_paused = is_paused;
    }

    /// Sets the speed, as a multiple of real time.
    pub(crate) fn set_speed(&mut self, speed: f64, now: Instant) {
        self.seek_to(self.at(now), now);
        self.speed = speed;
    }

    /// Moves to another time.
    pub(crate) fn seek_to(&mut self, to: Duration, now: Instant) {
        (self.at, self.since) = (to, now);
    }

    /// Returns how long until `time` in the recording is reached, or `None` while paused.
    pub(crate) fn time_until(&self, time: Duration, now: Instant) -> Option<Duration> {
        let left = time.saturating_sub(self.at(now)).as_secs_f64() / self.speed;
        (!self.is_paused).then(|| Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))
    }
}

/// Tracer that replays a recording, so that the viewer can show it like a live trace.
#[derive(Debug)]
pub(crate) struct ReplayTracer {
    path: PathBuf,
    recording: Replay,
    clock: PlaybackClock,
    /// Target of a seek that is not reached yet. Until then the clock stands.
    seek_target: Option<Duration>,
    /// End of the replay, if it is before the end of the recording.
    until: Option<Duration>,
}

impl ReplayTracer {
    /// Opens a recording, which is replayed from its start at a multiple of real time.
    pub(crate) fn open(path: &Path, speed: f64) -> Result<Self, OpenError> {
        Ok(Self {
            path: path.to_owned(),
            recording: Replay::open(path)?,
            clock: PlaybackClock::new(Instant::now(), speed),
            seek_target: None,
            until: None,
        })
    }

    /// Sets the end of the replay, if it is before the end of the recording.
    pub(crate) fn set_end(&mut self, until: Option<Duration>) {
        self.until = until;
    }

    /// Returns the recording.
    pub(crate) fn recording(&mut self) -> &mut Replay {
        &mut self.recording
    }

    /// Returns how long until `time` in the recording is reached, or `None` while paused.
    pub(crate) fn time_until(&self, time: Duration) -> Option<Duration> {
        self.clock.time_until(time, Instant::now())
    }

    /// Seeks to a time in the recording. Seeking back replays the recording from its start.
    pub(crate) fn seek(&mut self, to: Duration) -> io::Result<()> {
        let to = to.min(self.end());
        self.recording.seek(nanoseconds(to))?;
        self.clock.seek_to(to, Instant::now());
        self.seek_target = None;
        Ok(())
    }

    /// Returns the time at which the replay ends.
    pub(crate) fn end(&self) -> Duration {
        let duration = Duration::from_nanos(self.recording.duration_ns());
        self.until.map_or(duration, |until| until.min(duration))
    }

    /// Returns the time up to which the recording has been replayed.
    fn replayed(&self) -> Duration {
        Duration::from_nanos(self.recording.now_ns())
    }

    /// Returns the time up to which the recording should be replayed at `now`.
    fn due(&self, now: Instant) -> Duration {
        let due = self.seek_target.unwrap_or_else(|| self.clock.at(now));
        // The last inputs have no timestamps. Without an end they are replayed too.
        self.until.map_or(due, |until| due.min(until))
    }

    /// Returns whether the end is reached.
    fn is_over(&self) -> bool {
        self.recording.is_at_end() || self.until.is_some_and(|until| self.replayed() >= until)
    }

    /// Starts a seek to a time, which further polls complete.
    fn start_seek(&mut self, to: Duration) {
        let to = to.min(self.end());
        if to < self.replayed()
            && let Err(error) = self.recording.seek(0)
        {
            terminal_io::eprint(&format!("could not seek back to {to:?}: {error}"));
            self.clock.seek_to(self.replayed(), Instant::now());
            return;
        }
        self.seek_target = Some(to);
        self.poll();
    }
}

/// Slowest and fastest speed that keys select. The command line can exceed them.
const SPEED_RANGE: (f64, f64) = (1.0 / 64.0, 1024.0);

/// Longest time that one poll takes, so that keys are handled: a frame or two.
const MAX_POLL_TIME: Duration = Duration::from_millis(50);

/// Time in the recording that is replayed between two reads of the clock.
const SLICE: Duration = Duration::from_millis(100);

impl Playback for ReplayTracer {
    fn control(&mut self, control: PlayControl) {
        let now = Instant::now();
        let (slowest, fastest) = SPEED_RANGE;
        let speed = self.clock.speed;
        let at = self.due(now).min(self.end());
        match control {
            // At the end, the replay starts again.
            PlayControl::TogglePause if self.is_over() => {
                self.clock.set_paused(false, now);
                self.start_seek(Duration::ZERO);
            }
            PlayControl::TogglePause => self.clock.set_paused(!self.clock.is_paused, now),
            PlayControl::Faster => self.clock.set_speed((speed * 2.0).min(fastest.max(speed)), now),
            PlayControl::Slower => self.clock.set_speed((speed / 2.0).max(slowest.min(speed)), now),
            PlayControl::Back(by) => self.start_seek(at.saturating_sub(by)),
            PlayControl::Ahead(by) => self.start_seek(at.saturating_add(by)),
        }
    }

    fn state(&self) -> PlaybackState {
        PlaybackState {
            position: self.replayed(),
            length: self.end(),
            speed: self.clock.speed,
            paused: self.clock.is_paused || self.is_over(),
        }
    }

    fn truncation(&self) -> Option<String> {
        truncation(&self.recording, &self.path)
    }
}

impl Tracer for ReplayTracer {
    // No process can join a recording.
    fn cookie(&self) -> u64 {
        0
    }

    /// Replays what is due, for at most [`MAX_POLL_TIME`].
    fn poll(&mut self) {
        let began = Instant::now();
        let due = self.due(began);
        loop {
            let next = self.replayed().saturating_add(SLICE).min(due);
            let more = self.recording.play_until(nanoseconds(next));
            if !more || next >= due {
                break;
            }
            if began.elapsed() >= MAX_POLL_TIME {
                if self.seek_target.is_none() {
                    // The requested speed cannot be reached.
                    self.clock.seek_to(self.replayed(), Instant::now());
                }
                return;
            }
        }
        if let Some(seek_target) = self.seek_target.take() {
            self.clock.seek_to(seek_target, Instant::now());
        }
    }

    fn report(&mut self, max_rows: usize) -> Report {
        let mut report = self.recording.report(max_rows);
        report.provenance.command = Some(Subcommand::Report);
        env!("CARGO_PKG_VERSION").clone_into(&mut report.provenance.zctrace_version);
        report
    }

    fn playback(&mut self) -> Option<&mut dyn Playback> {
        Some(self)
    }

    /// Returns the report at the time up to which the recording was replayed.
    fn finish(mut self: Box<Self>, max_rows: usize) -> Report {
        self.report(max_rows)
    }
}

/// Describes the part of a recording that cannot be used, if any.
pub(crate) fn truncation(replay: &Replay, path: &Path) -> Option<String> {
    let (path, truncation) = (path.display().to_string(), replay.truncation()?.to_string());
    Some(format!("{}: {}", printable(&path), printable(&truncation)))
}

/// Converts a time in the recording to nanoseconds.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn clock_follows_speed_pause_and_seek() {
        let start = Instant::now();
        let mut clock = PlaybackClock::new(start, 4.0);
        assert_eq!(clock.at(start), Duration::ZERO);
        assert_eq!(clock.at(start + SECOND), 4 * SECOND);
        assert_eq!(clock.time_until(6 * SECOND, start + SECOND), Some(SECOND / 2));
        clock.set_paused(true, start + SECOND);
        assert_eq!(clock.at(start + 9 * SECOND), 4 * SECOND);
        assert_eq!(clock.time_until(6 * SECOND, start), None);
        clock.set_paused(false, start + 9 * SECOND);
        assert_eq!(clock.at(start + 10 * SECOND), 8 * SECOND);
        clock.set_speed(0.5, start + 10 * SECOND);
        assert_eq!(clock.at(start + 12 * SECOND), 9 * SECOND);
        clock.seek_to(SECOND, start + 12 * SECOND);
        assert_eq!(clock.at(start + 14 * SECOND), 2 * SECOND);
    }
}
