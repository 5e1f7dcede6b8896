//! A recording in progress: its file, its progress, and its failure.

use std::fs::File;
use std::path::{Path, PathBuf};

use zctrace_recording::{Handle, Summary, Writer};
use zctrace_report::format::printable;

use crate::{exit_code, terminal_io};

/// Progress of a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RecordingProgress {
    /// File name, which may hold control characters.
    pub(crate) name: String,
    /// Bytes written so far.
    pub(crate) bytes: u64,
    /// `true` if the recording ended early.
    pub(crate) has_failed: bool,
}

/// A recording in progress.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    handle: Handle,
    is_failure_printed: bool,
}

impl Recorder {
    /// Creates the file. To be called before anything is attached or started.
    ///
    /// # Errors
    ///
    /// Prints the error and returns its exit code.
    pub(crate) fn create(path: &Path) -> Result<File, u8> {
        Writer::create(path).map_err(|error| {
            terminal_io::eprint(&format!("{}: {error}", printable_path(path)));
            exit_code::ERROR
        })
    }

    pub(crate) fn new(path: &Path, handle: Handle) -> Self {
        Self {
            path: path.to_owned(),
            handle,
            is_failure_printed: false,
        }
    }

    /// Returns the progress.
    pub(crate) fn progress(&self) -> RecordingProgress {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        RecordingProgress {
            name: name.to_string_lossy().into_owned(),
            bytes: self.handle.written_bytes(),
            has_failed: self.handle.failed(),
        }
    }

    /// Prints once that the recording has failed, if it has.
    pub(crate) fn check(&mut self) {
        if !self.is_failure_printed && self.handle.failed() {
            self.is_failure_printed = true;
            terminal_io::eprint(&format!(
                "the recording {} has failed; the run continues",
                printable_path(&self.path)
            ));
        }
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    ///
    /// Prints the error and returns its exit code.
    pub(crate) fn finish(self) -> Result<Summary, u8> {
        self.try_finish().map_err(|error| {
            terminal_io::eprint(&error);
            exit_code::ERROR
        })
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    ///
    /// Returns the error as a sentence for the user, without printing it.
    pub(crate) fn try_finish(self) -> Result<Summary, String> {
        let path = printable_path(&self.path);
        let early =
            |error| format!("the recording {path} ended early: {error}; what was recorded until then can be read");
        self.handle.finish().map_err(early)
    }
}

/// Returns a path without control characters.
pub(crate) fn printable_path(path: &Path) -> String {
    printable(&path.display().to_string()).into_owned()
}
