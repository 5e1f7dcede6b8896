//! Replay of a recording into an engine, up to its end or to a given time.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use super::error::{OpenError, Truncation};
use super::reader::Reader;
use zctrace_evidence::{Engine, Input};
use zctrace_report::{NotCovered, Report, Subcommand};

/// Recording that is replayed into an engine.
#[derive(Debug)]
pub struct Replay {
    reader: Reader<BufReader<File>>,
    engine: Engine,
    duration_ns: u64,
    /// Time that was read from the recording and lies after the replayed part.
    pending_time_ns: Option<u64>,
    /// `true` if the recording contains the end of the trace.
    ended: bool,
    at_end: bool,
}

impl Replay {
    /// Opens a recording without replaying any of it.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or is not seekable, or if it is not a recording of a
    /// supported version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let mut reader = Reader::open(path)?;
        let duration_ns = reader.duration_ns()?;
        Ok(Self {
            engine: Engine::new(reader.trace_header()),
            reader,
            duration_ns,
            pending_time_ns: None,
            ended: false,
            at_end: false,
        })
    }

    /// Applies all inputs up to `until_ns` after the start of the trace, and returns whether any
    /// remain.
    ///
    /// Does nothing if `until_ns` is before the current time of the replay.
    pub fn play_until(&mut self, until_ns: u64) -> bool {
        if self.at_end || until_ns < self.engine.now_ns() {
            return !self.at_end;
        }
        if let Some(pending_time_ns) = self.pending_time_ns {
            if pending_time_ns > until_ns {
                self.engine.take(Input::Time(until_ns));
                return true;
            }
            self.pending_time_ns = None;
            self.engine.take(Input::Time(pending_time_ns));
        }
        while let Some(input) = self.reader.next_input() {
            match input {
                Input::Time(now_ns) if now_ns > until_ns => {
                    self.pending_time_ns = Some(now_ns);
                    self.engine.take(Input::Time(until_ns));
                    return true;
                }
                Input::End => self.ended = true,
                _ => {}
            }
            self.engine.take(input);
        }
        self.at_end = true;
        if !self.ended {
            // Completes open calls and connections, as the end of a live trace does.
            self.engine.take(Input::End);
        }
        false
    }

    /// Applies all remaining inputs.
    pub fn play_to_end(&mut self) {
        self.play_until(u64::MAX);
    }

    /// Moves to a time. Moving backward replays the recording from its start.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read anymore.
    pub fn seek(&mut self, to_ns: u64) -> io::Result<()> {
        if to_ns < self.engine.now_ns() {
            self.reader.rewind()?;
            self.engine = Engine::new(self.reader.trace_header());
            (self.pending_time_ns, self.ended, self.at_end) = (None, false, false);
        }
        self.play_until(to_ns);
        Ok(())
    }

    /// Returns the report at the current time of the replay, with at most `max_rows` rows.
    ///
    /// At the end of a complete recording it equals the report of the live trace except for
    /// `provenance.command`. Truncation and skipped frames are listed in `coverage.not_covered`.
    pub fn report(&self, max_rows: usize) -> Report {
        let mut report = self.engine.report(max_rows);
        report.provenance.command = Some(Subcommand::Report);
        let mut not_covered = |operation: String, calls| {
            report.coverage.not_covered.push(NotCovered {
                operation,
                calls,
                ..NotCovered::default()
            });
        };
        if let Some(truncation) = self.reader.truncation() {
            not_covered(truncation.to_string(), None);
        }
        let skipped = self.reader.skipped();
        if skipped > 0 {
            not_covered(
                format!("{skipped} frames of the recording of kinds that this zctrace does not support"),
                None,
            );
        }
        report
    }

    /// Returns the numbers of calls and records so far.
    pub fn progress(&self) -> (u64, u64) {
        self.engine.progress()
    }

    /// Returns the current time of the replay, in nanoseconds since the trace began.
    pub fn now_ns(&self) -> u64 {
        self.engine.now_ns()
    }

    /// Returns the duration of the recording, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.duration_ns.max(self.engine.now_ns())
    }

    /// Returns whether all inputs were applied.
    pub fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// Returns the version of the zctrace that made the recording.
    pub fn zctrace_version(&self) -> &str {
        self.reader.zctrace_version()
    }

    /// Returns the unused part of the recording, after the last valid frame was read.
    pub fn truncation(&self) -> Option<&Truncation> {
        self.reader.truncation()
    }
}
