//! `zctrace demo`: real data over real files and sockets, what the library says became of it, and whether the data itself
//! and the mutation oracle agree.

mod canary;
mod content;
mod ends;
mod judge;
mod kernel;
mod matrix;
mod paths;
mod progress;
mod proof;
mod remarks;
mod report;
mod stage;
mod table;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use zctrace_report::text::printable;

use self::judge::Judgement;
use self::kernel::Kernel;
use self::paths::Done;
use self::progress::Progress;
use self::stage::{Cause, Stage};
use crate::{exit, screen};

/// What each path carries unless told otherwise: large enough that no cache and no socket buffer hides a copy, small enough
/// for a few seconds.
pub(crate) const DEFAULT_SIZE: u64 = 64 << 20;

/// The most that it may carry.
pub(crate) const MOST: u64 = 64 << 30;

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
pub(crate) struct Failure {
    /// The path.
    pub(crate) name: &'static str,
    /// Why.
    pub(crate) cause: Cause,
}

/// Runs the demo and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    if let Err(why) = is_directory(&options.dir) {
        screen::complain(&format!(
            "--dir {}: {why}",
            printable(&options.dir.display().to_string())
        ));
        return exit::USAGE;
    }
    if options.matrix {
        return matrix::run(&options.dir);
    }
    if let Some(btf) = &options.btf
        && let Err(error) = crate::trace::prove_by(btf)
    {
        return crate::session::not_set_up(&error);
    }
    let (started, clock) = (SystemTime::now(), Instant::now());
    let stage = match Stage::new(options.dir.clone(), options.size) {
        Ok(stage) => stage,
        Err(cause) => {
            screen::complain(&format!("nothing could run here: {cause}"));
            return exit::INCONCLUSIVE;
        }
    };
    let mut kernel = Kernel::start(options.btf.as_deref());
    let (rows, failures) = all(&stage, kernel.as_mut().ok());
    let kernel = kernel.map(Kernel::finish);
    let report = report::report(&rows, &failures, kernel.as_ref(), started, clock.elapsed());
    if let Err(broken) = report.check() {
        // A program that judges others must not contradict itself.
        for violation in broken {
            screen::complain(&format!("the report breaks its own rules: {violation}"));
        }
        return exit::DISAGREED;
    }
    let text = if options.json {
        report.to_json_pretty()
    } else {
        table::table(&stage, &report, &rows, &failures, kernel.as_ref().err())
    };
    screen::answer(&text, code(&rows, &failures))
}

fn is_directory(dir: &Path) -> std::io::Result<()> {
    if std::fs::metadata(dir)?.is_dir() {
        Ok(())
    } else {
        Err(rustix::io::Errno::NOTDIR.into())
    }
}

/// Runs all paths, one after the other: what one costs must not slow the next.
fn all(stage: &Stage, mut kernel: Option<&mut Kernel>) -> (Vec<Done>, Vec<Failure>) {
    let progress = Progress::new();
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (number, path) in (1..).zip(&paths::ALL) {
        progress.now(number, paths::ALL.len(), path.name);
        let (done, seen) = match kernel.as_deref_mut() {
            Some(kernel) => {
                let (done, seen) = kernel.watch(|| (path.run)(stage));
                (done, Some(seen))
            }
            None => ((path.run)(stage), None),
        };
        match done {
            Ok(mut done) => {
                if let Some(seen) = &seen {
                    for done in &mut done {
                        kernel::join(done, seen);
                    }
                }
                rows.extend(done);
            }
            Err(cause) => failures.push(Failure { name: path.name, cause }),
        }
    }
    (rows, failures)
}

/// What disagrees comes before what could not be said.
fn code(rows: &[Done], failures: &[Failure]) -> u8 {
    if rows.iter().any(|row| matches!(row.judgement, Judgement::Disagrees(_))) {
        exit::DISAGREED
    } else if !failures.is_empty() || rows.iter().any(|row| matches!(row.judgement, Judgement::Open(_))) {
        exit::INCONCLUSIVE
    } else {
        exit::HELD
    }
}
