//! `zctrace record`: watches as `run` does, and keeps all that was seen instead of saying what it means.

use std::fs::File;
use std::path::{Path, PathBuf};

use zctrace_recording::{Handle, Summary, Writer};
use zctrace_report::Report;
use zctrace_report::text::{count, printable, size};

use crate::progress::{Progress, say_waiting};
use crate::run::code;
use crate::session::{Request, Target, observe};
use crate::trace::Tracer;
use crate::watch::Audience;
use crate::{exit, screen};

/// How a recording goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Progressing {
    /// The name of its file. Not printable yet.
    pub(crate) name: String,
    /// Bytes of it so far.
    pub(crate) bytes: u64,
    /// Whether it ended before its time.
    pub(crate) has_failed: bool,
}

/// A recording that is being made.
#[derive(Debug)]
pub(crate) struct Recording {
    path: PathBuf,
    handle: Handle,
    /// Whether it was said that it failed.
    is_told: bool,
}

impl Recording {
    /// The file, before anything is attached or started. What fails is said, and the exit code for it is the error.
    pub(crate) fn create(path: &Path) -> Result<File, u8> {
        Writer::create(path).map_err(|error| {
            screen::complain(&format!("{}: {error}", shown(path)));
            exit::FAILED
        })
    }

    pub(crate) fn new(path: &Path, handle: Handle) -> Self {
        Self {
            path: path.to_owned(),
            handle,
            is_told: false,
        }
    }

    /// How it goes.
    pub(crate) fn progress(&self) -> Progressing {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        Progressing {
            name: name.to_string_lossy().into_owned(),
            bytes: self.handle.written(),
            has_failed: self.handle.failed(),
        }
    }

    /// Says that it has failed, once.
    pub(crate) fn step(&mut self) {
        if !self.is_told && self.handle.failed() {
            self.is_told = true;
            screen::complain(&format!(
                "the recording {} has failed; the run goes on",
                shown(&self.path)
            ));
        }
    }

    /// Waits until all is written. What failed is said, and the exit code for it is the error.
    pub(crate) fn finish(self) -> Result<Summary, u8> {
        self.end().map_err(|why| {
            screen::complain(&why);
            exit::FAILED
        })
    }

    /// The same, and what failed is the error, for somebody else to say.
    pub(crate) fn end(self) -> Result<Summary, String> {
        let path = shown(&self.path);
        let early =
            |error| format!("the recording {path} ended early: {error}; what was recorded until then can be read");
        self.handle.finish().map_err(early)
    }
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string()).into_owned()
}

/// Only says that work goes on.
struct Watching(Progress);

impl Audience for Watching {
    fn interim(&mut self, _: Report) {}

    fn step(&mut self, tracer: &mut dyn Tracer) {
        self.0.step(tracer);
    }

    fn waiting(&mut self) {
        say_waiting();
    }
}

/// Records, and returns the exit code.
pub(crate) fn run(request: &Request) -> u8 {
    let mut watching = Watching(Progress::new(!matches!(request.target, Target::Command(_))));
    let observed = match observe(request, &mut watching) {
        Ok(observed) => observed,
        Err(code) => return code,
    };
    watching.0.clear();
    match (&observed.recorded, &request.record) {
        (Some(Ok(summary)), Some(path)) => {
            let overhead = &observed.report.overhead;
            screen::complain(&format!(
                "recorded {:.1} s, {} records in {}: {}; `zctrace report {}` says what became of the bytes",
                observed.report.made_by.duration_ns as f64 / 1e9,
                count(overhead.records),
                size(summary.bytes),
                shown(path),
                shown(path),
            ));
            code(observed.stopped)
        }
        (Some(Err(code)), _) => *code,
        _ => exit::FAILED,
    }
}
