//! Where an answer goes, and in which form.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use zctrace_report::Report;
use zctrace_report::text::printable;

use crate::{exit, screen};

/// The form of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// A screen.
    Text,
    /// The report as JSON: one line for each of several, else indented.
    Json,
    /// `JUnit` XML, as CI systems read it.
    Junit,
}

impl Format {
    /// The words for them.
    pub(crate) const WORDS: [&'static str; 3] = ["text", "json", "junit"];

    /// The format of this word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            "junit" => Some(Self::Junit),
            _ => None,
        }
    }
}

/// A place that is open before anything is started, so that nobody waits an hour for an answer that cannot be written.
#[derive(Debug)]
pub(crate) struct Output {
    file: Option<(PathBuf, File)>,
    format: Format,
}

impl Output {
    /// Opens the file, or takes standard output. What fails is said, and the exit code for it is the error.
    pub(crate) fn open(path: Option<&Path>, format: Format) -> Result<Self, u8> {
        let Some(path) = path else {
            return Ok(Self { file: None, format });
        };
        match File::create(path) {
            Ok(file) => Ok(Self {
                file: Some((path.to_owned(), file)),
                format,
            }),
            Err(error) => {
                screen::complain(&format!("{}: {error}", printable(&path.display().to_string())));
                Err(exit::FAILED)
            }
        }
    }

    /// Writes an answer whose exit code is `code`; if it cannot be written, that of a failure is returned.
    pub(crate) fn write(&mut self, text: &str, code: u8) -> u8 {
        let Some((path, file)) = &mut self.file else {
            return if self.format == Format::Text {
                say(text, code)
            } else {
                screen::answer(text, code)
            };
        };
        match file.write_all(text.as_bytes()).and_then(|()| file.flush()) {
            Ok(()) => code,
            Err(error) => {
                screen::complain(&format!("{}: {error}", printable(&path.display().to_string())));
                exit::FAILED
            }
        }
    }
}

/// Writes a screen to standard output, in colours if these are wanted there.
pub(crate) fn say(text: &str, code: u8) -> u8 {
    if colour() {
        screen::answer(&screen::colour(text), code)
    } else {
        screen::answer(text, code)
    }
}

/// Whether standard output takes colours, and whoever reads it wants them.
fn colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !unwanted && !dumb
}

/// A report that is to be believed keeps its own rules. If it does not, that is said, and the exit code is the error.
pub(crate) fn check(report: &Report) -> Result<(), u8> {
    report.check().map_err(|broken| {
        for violation in broken {
            screen::complain(&format!("the report breaks its own rules: {violation}"));
        }
        exit::FAILED
    })
}
