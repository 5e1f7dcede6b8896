//! The destination of a report: a file or standard output.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use zctrace_report::Report;
use zctrace_report::format::printable;

use crate::render::Format;
use crate::{exit_code, terminal_io};

/// Destination of a report. It is opened before anything is started, so that a long run does not
/// end with a report that cannot be written.
#[derive(Debug)]
pub(crate) struct Output {
    file: Option<(PathBuf, File)>,
    format: Format,
}

impl Output {
    /// Opens the file, or selects standard output if there is none.
    ///
    /// # Errors
    ///
    /// Prints the error and returns its exit code.
    pub(crate) fn open(path: Option<&Path>, format: Format) -> Result<Self, u8> {
        let Some(path) = path else {
            return Ok(Self { file: None, format });
        };
        match File::create(path) {
            Ok(file) => Ok(Self {
                file: Some((path.to_owned(), file)),
                format,
            }),
            Err(error) => Err(print_file_error(path, &error)),
        }
    }

    /// Writes a rendered report and returns `code`, or the exit code of the error if it cannot be
    /// written.
    pub(crate) fn write(&mut self, text: &str, code: u8) -> u8 {
        let Some((path, file)) = &mut self.file else {
            return if self.format == Format::Text {
                print_screen(text, code)
            } else {
                terminal_io::print(text, code)
            };
        };
        match file.write_all(text.as_bytes()).and_then(|()| file.flush()) {
            Ok(()) => code,
            Err(error) => print_file_error(path, &error),
        }
    }
}

fn print_file_error(path: &Path, error: &io::Error) -> u8 {
    terminal_io::eprint(&format!("{}: {error}", printable(&path.display().to_string())));
    exit_code::ERROR
}

/// Prints a text screen to standard output, in color if that is wanted there. Returns the exit
/// code.
pub(crate) fn print_screen(text: &str, code: u8) -> u8 {
    if wants_color() {
        terminal_io::print(&terminal_io::colorize(text), code)
    } else {
        terminal_io::print(text, code)
    }
}

/// Returns whether standard output is a terminal with colors, and the user did not disable them.
fn wants_color() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !unwanted && !dumb
}

/// Checks a report against the rules of the report format, and notes in the report which it breaks.
/// Prints them too, because nothing but an error in zctrace breaks them.
///
/// Without the report all observations are lost, so that a broken rule is no reason to print none.
pub(crate) fn note_violations(report: &mut Report) {
    report.note_violations();
    for violation in &report.coverage.violations {
        terminal_io::eprint(&format!("the report is inconsistent: {}", printable(violation)));
    }
}

/// Checks a report that was read from a file against the rules of the report format.
///
/// # Errors
///
/// Prints every violation. The file can come from anywhere, so that an inconsistent one is a failed
/// check, unless the report itself lists the rules that it breaks.
pub(crate) fn check(report: &Report) -> Result<(), u8> {
    let Err(violations) = report.check() else { return Ok(()) };
    for violation in &violations {
        terminal_io::eprint(&format!("the report is inconsistent: {violation}"));
    }
    if report.coverage.violations.is_empty() {
        Err(exit_code::CHECK_FAILED)
    } else {
        Ok(())
    }
}
