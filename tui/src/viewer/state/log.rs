//! What happened to zctrace itself: what would go to standard error, if the screen were not there.

use std::collections::VecDeque;
use std::time::Duration;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    /// Good to know.
    Note,
    /// Something is missing.
    Warning,
    /// Something failed.
    Error,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    /// When, since the viewer started.
    pub(crate) at: Duration,
    /// How bad.
    pub(crate) level: Level,
    /// What. Foreign: not yet printable.
    pub(crate) text: String,
    /// Its number, from 0: the identity of its row.
    pub(crate) number: u64,
}

/// The last lines.
#[derive(Clone, Default, Debug)]
pub(crate) struct Log {
    lines: VecDeque<Line>,
    written: u64,
}

/// More are forgotten, the oldest first: a program that complains for days must not fill the memory.
const MAX_LINES: usize = 2000;

/// A line that is longer is cut.
const MAX_LEN: usize = 4096;

impl Log {
    /// Adds a line.
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

    /// The lines, the oldest first.
    pub(crate) fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> + ExactSizeIterator {
        self.lines.iter()
    }

    /// The last line.
    pub(crate) fn last(&self) -> Option<&str> {
        self.lines.back().map(|line| line.text.as_str())
    }

    /// How many lines were forgotten.
    pub(crate) fn discarded(&self) -> u64 {
        self.written - self.lines.len() as u64
    }
}
