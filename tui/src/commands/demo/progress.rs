//! Progress of the demo: one line on standard error if that is a terminal, removed before the
//! result is printed.

use std::io::{self, IsTerminal, Write};

/// The progress line.
pub(crate) struct PathProgress {
    is_visible: bool,
}

impl PathProgress {
    pub(crate) fn new() -> Self {
        // A dumb terminal cannot erase a line.
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            is_visible: io::stderr().is_terminal() && !dumb,
        }
    }

    /// Shows the path that is running, the `number`th of `all`.
    pub(crate) fn show(&self, number: usize, all: usize, what: &str) {
        self.write(&format!("\r\x1b[K[{number:>2}/{all}] {what}"));
    }

    fn write(&self, text: &str) {
        if self.is_visible {
            let mut stderr = io::stderr().lock();
            // A closed standard error is not an error.
            let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        }
    }
}

impl Drop for PathProgress {
    fn drop(&mut self) {
        self.write("\r\x1b[K");
    }
}
