//! Playing a recording into an account: to its end, or to some time.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use super::error::{OpenError, Truncation};
use super::reader::Reader;
use zctrace_evidence::{Engine, Input};
use zctrace_report::{NotCovered, Report, Subcommand};

/// A recording that is played into an account.
#[derive(Debug)]
pub struct Replay {
    reader: Reader<BufReader<File>>,
    engine: Engine,
    duration_ns: u64,
    /// A time that was read and has not come yet.
    pending_time_ns: Option<u64>,
    /// Whether the recording said itself that watching had ended.
    ended: bool,
    at_end: bool,
}

impl Replay {
    /// Opens a recording. Nothing of it has been played yet.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is no recording that this version can read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let mut reader = Reader::open(path)?;
        // Only for people: what cannot be sought in has none.
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

    /// Plays what happened until so many nanoseconds after watching began; nothing if that is past. Whether there is more.
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
            // What is still open is told as at any end of watching.
            self.engine.take(Input::End);
        }
        false
    }

    /// Plays all.
    pub fn play_to_end(&mut self) {
        self.play_until(u64::MAX);
    }

    /// Goes to a time. Backwards that is from the start again.
    ///
    /// # Errors
    ///
    /// If the file cannot be read any more.
    pub fn seek(&mut self, to_ns: u64) -> io::Result<()> {
        if to_ns < self.engine.now_ns() {
            self.reader.rewind()?;
            self.engine = Engine::new(self.reader.trace_header());
            (self.pending_time_ns, self.ended, self.at_end) = (None, false, false);
        }
        self.play_until(to_ns);
        Ok(())
    }

    /// What is known at this time, in at most `max_rows` rows. At the end it is the report that the live trace made, but for
    /// who made it; of a recording that is not whole it says so under what was not observed.
    pub fn report(&self, max_rows: usize) -> Report {
        let mut report = self.engine.report(max_rows);
        report.provenance.command = Some(Subcommand::Report);
        let mut not_covered = |operation: String, calls| {
            report.coverage.not_covered.push(NotCovered {
                operation,
                calls,
                bytes: None,
            });
        };
        if let Some(truncation) = self.reader.truncation() {
            not_covered(truncation.to_string(), None);
        }
        let skipped = self.reader.skipped();
        if skipped > 0 {
            not_covered(
                format!("{skipped} entries of the recording, which a newer zctrace made"),
                None,
            );
        }
        report
    }

    /// Calls and records so far.
    pub fn progress(&self) -> (u64, u64) {
        self.engine.progress()
    }

    /// The time that was played to, in nanoseconds since watching began.
    pub fn now_ns(&self) -> u64 {
        self.engine.now_ns()
    }

    /// How long the recording is, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.duration_ns.max(self.engine.now_ns())
    }

    /// Whether all was played.
    pub fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// The version of zctrace that made it.
    pub fn zctrace_version(&self) -> &str {
        self.reader.zctrace_version()
    }

    /// What of it is not used, once that is known.
    pub fn truncation(&self) -> Option<&Truncation> {
        self.reader.truncation()
    }
}
