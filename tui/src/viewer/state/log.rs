//! The log: messages about zctrace itself, which would go to standard error without the viewer.

use std::collections::VecDeque;
use std::time::Duration;

/// Severity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    /// Information.
    Note,
    /// Something is missing.
    Warning,
    /// Something failed.
    Error,
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    /// Time since the viewer started.
    pub(crate) at: Duration,
    /// Severity.
    pub(crate) level: Level,
    /// Text from foreign sources, not yet sanitized for printing.
    pub(crate) text: String,
    /// Number of the line, from 0: the key of its row.
    pub(crate) number: u64,
}

/// The most recent lines.
#[derive(Clone, Default, Debug)]
pub(crate) struct Log {
    lines: VecDeque<Line>,
    written: u64,
}

/// Maximum number of lines; the oldest are dropped, so that a program that complains for days does
/// not fill the memory.
const MAX_LINES: usize = 2000;

/// Maximum length of a line in bytes; longer ones are truncated.
const MAX_LEN: usize = 4096;

impl Log {
    /// Appends a line.
    pub(crate) fn push(&mut self, at: Duration, level: Level, text: &str) {
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        let text: String = text.chars().take(MAX_LEN).collect();
        let number = self.written;
        self.lines.push_back(Line {
            at,
            level,
            text,
            number,
        });
        self.written += 1;
    }

    /// Iterates over the lines, oldest first.
    pub(crate) fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> + ExactSizeIterator {
        self.lines.iter()
    }

    /// Returns the latest line.
    pub(crate) fn last(&self) -> Option<&str> {
        self.lines.back().map(|line| line.text.as_str())
    }

    /// Returns the number of dropped lines.
    pub(crate) fn discarded(&self) -> u64 {
        self.written - self.lines.len() as u64
    }
}
