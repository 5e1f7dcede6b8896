//! `zctrace demo`: sends real data through real files and sockets, and compares the library's
//! receipts with the data and the mutation oracle.

mod canary;
mod certificate;
mod endpoints;
mod fixture;
mod footnotes;
mod judge;
mod kernel;
mod matrix;
mod paths;
mod payload;
mod progress;
mod render;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use zctrace_report::format::printable;

use self::fixture::{DemoError, Fixture};
use self::judge::Judgment;
use self::kernel::KernelTrace;
use self::paths::PathResult;
use self::progress::PathProgress;
use crate::{exit_code, terminal_io};

/// Maximum number of bytes that each path carries.
pub(crate) const MAX_SIZE: u64 = 64 << 30;

/// Options of the command line.
#[derive(Debug)]
pub(crate) struct Options {
    /// Directory of the files.
    pub(crate) dir: PathBuf,
    /// Bytes that each path carries.
    pub(crate) size: u64,
    /// `true` to print the report as JSON.
    pub(crate) json: bool,
    /// `true` to print only the oracle's matrix.
    pub(crate) matrix: bool,
    /// BTF file to use instead of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
}

/// A path that could not run here.
pub(crate) struct PathFailure {
    /// Name of the path.
    pub(crate) name: &'static str,
    /// Error.
    pub(crate) cause: DemoError,
}

/// Runs the demo and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    if let Err(why) = is_directory(&options.dir) {
        terminal_io::eprint(&format!(
            "--dir {}: {why}",
            printable(&options.dir.display().to_string())
        ));
        return exit_code::USAGE;
    }
    if options.matrix {
        return matrix::run(&options.dir);
    }
    if let Some(btf) = &options.btf
        && let Err(error) = crate::live_tracer::verify_btf(btf)
    {
        return crate::session::print_setup_error(&error);
    }
    let (started, clock) = (SystemTime::now(), Instant::now());
    let fixture = match Fixture::new(options.dir.clone(), options.size) {
        Ok(fixture) => fixture,
        Err(cause) => {
            terminal_io::eprint(&format!("no path could run here: {cause}"));
            return exit_code::INCONCLUSIVE;
        }
    };
    let mut kernel = KernelTrace::start(options.btf.as_deref());
    let (rows, failures) = run_paths(&fixture, kernel.as_mut().ok());
    let kernel = kernel.map(KernelTrace::finish);
    let report = report::report(&rows, &failures, kernel.as_ref(), started, clock.elapsed());
    if let Err(broken) = report.check() {
        // A report that judges others must be consistent itself.
        for violation in broken {
            terminal_io::eprint(&format!("the report is inconsistent: {violation}"));
        }
        return exit_code::CHECK_FAILED;
    }
    let text = if options.json {
        report.to_json_pretty()
    } else {
        render::demo_text(&fixture, &report, &rows, &failures, kernel.as_ref().err())
    };
    terminal_io::print(&text, exit_code_of(&rows, &failures))
}

fn is_directory(dir: &Path) -> std::io::Result<()> {
    if std::fs::metadata(dir)?.is_dir() {
        Ok(())
    } else {
        Err(rustix::io::Errno::NOTDIR.into())
    }
}

/// Runs all paths one after the other, so that the cost of one does not slow the next.
fn run_paths(fixture: &Fixture, mut kernel: Option<&mut KernelTrace>) -> (Vec<PathResult>, Vec<PathFailure>) {
    let progress = PathProgress::new();
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (number, path) in (1..).zip(&paths::ALL) {
        progress.show(number, paths::ALL.len(), path.name);
        let (result, observed) = match kernel.as_deref_mut() {
            Some(kernel) => {
                let (result, observed) = kernel.observe(|| (path.run)(fixture));
                (result, Some(observed))
            }
            None => ((path.run)(fixture), None),
        };
        match result {
            Ok(mut result) => {
                if let Some(observed) = &observed {
                    for result in &mut result {
                        kernel::merge_evidence(result, observed);
                    }
                }
                rows.extend(result);
            }
            Err(cause) => failures.push(PathFailure { name: path.name, cause }),
        }
    }
    (rows, failures)
}

/// Returns the exit code. A disagreement takes precedence over an inconclusive path.
fn exit_code_of(rows: &[PathResult], failures: &[PathFailure]) -> u8 {
    if rows.iter().any(|row| matches!(row.judgment, Judgment::Failed(_))) {
        exit_code::CHECK_FAILED
    } else if !failures.is_empty() || rows.iter().any(|row| matches!(row.judgment, Judgment::Inconclusive(_))) {
        exit_code::INCONCLUSIVE
    } else {
        exit_code::SUCCESS
    }
}
