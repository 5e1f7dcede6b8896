//! `zctrace demo`: real data over real files and sockets, what the library says became of it, and whether the data itself
//! and the mutation oracle agree.

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

use zctrace_report::text::printable;

use self::fixture::{DemoError, Fixture};
use self::judge::Judgment;
use self::kernel::KernelTrace;
use self::paths::PathResult;
use self::progress::PathProgress;
use crate::{exit_code, terminal_io};

/// The most that it may carry.
pub(crate) const MAX_SIZE: u64 = 64 << 30;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where the files lie.
    pub(crate) dir: PathBuf,
    /// What each path carries, in bytes.
    pub(crate) size: u64,
    /// Print the report as JSON.
    pub(crate) json: bool,
    /// Only print the oracle's matrix.
    pub(crate) matrix: bool,
    /// A file with the kernel's types, instead of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
}

/// A path that could not run here.
pub(crate) struct PathFailure {
    /// The path.
    pub(crate) name: &'static str,
    /// Why.
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
            terminal_io::eprint(&format!("nothing could run here: {cause}"));
            return exit_code::INCONCLUSIVE;
        }
    };
    let mut kernel = KernelTrace::start(options.btf.as_deref());
    let (rows, failures) = run_paths(&fixture, kernel.as_mut().ok());
    let kernel = kernel.map(KernelTrace::finish);
    let report = report::report(&rows, &failures, kernel.as_ref(), started, clock.elapsed());
    if let Err(broken) = report.check() {
        // A program that judges others must not contradict itself.
        for violation in broken {
            terminal_io::eprint(&format!("the report breaks its own rules: {violation}"));
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

/// Runs all paths, one after the other: what one costs must not slow the next.
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

/// What disagrees comes before what could not be said.
fn exit_code_of(rows: &[PathResult], failures: &[PathFailure]) -> u8 {
    if rows.iter().any(|row| matches!(row.judgment, Judgment::Failed(_))) {
        exit_code::CHECK_FAILED
    } else if !failures.is_empty() || rows.iter().any(|row| matches!(row.judgment, Judgment::Inconclusive(_))) {
        exit_code::INCONCLUSIVE
    } else {
        exit_code::SUCCESS
    }
}
