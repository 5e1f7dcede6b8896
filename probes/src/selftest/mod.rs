//! Attachable is not firing: known moves and known copies, made by this process, which the probes must see as what they are.
//!
//! ```no_run
//! let table = zctrace_probes::selftest::run(None)?;
//! for trial in &table.trials {
//!     println!("{} {}", trial.verdict.as_str(), trial.name);
//! }
//! # Ok::<_, zctrace_probes::probe::SetupError>(())
//! ```

mod ends;
mod memory;
mod table;
mod trials;
mod zerocopy;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use self::memory::{Key, object_id, remember_tax, remembered, remembered_by, remembered_tax};
pub use self::table::{Counts, Expected, Seen, Table, Trial, Verdict};

use self::ends::{LEN, Stage};
use self::trials::{Spec, TRIALS};
use crate::probe::{Hooks, SetupError, SetupErrorKind, Sums, announce};
use crate::trace::coverage::{NOTICES, NOTICES_URING, SUMS};
use crate::trace::{Options, Tracer};
use zctrace_report::{Account, End, EndKind, NoticeBy, Report};

/// Rows of a report: a trial makes a few.
const ROWS: usize = 1000;

/// Makes all trials, in this process, and remembers what they showed, unless more is remembered already.
///
/// Their files are in `dir`, or else in the first usual place that is on a disk; they have no names. No other thread of this
/// process should move or copy bytes meanwhile.
///
/// # Errors
///
/// [`SetupError`] if tracing cannot be set up: then nothing is known of any fact. What fails later is in the table.
pub fn run(dir: Option<&Path>) -> Result<Table, SetupError> {
    run_by(dir, None)
}

/// The same with the kernel's types out of a file: that the programs see what they must shows that it is this kernel's file.
/// What it showed is remembered by this process only, since the file may be another one next time.
///
/// # Errors
///
/// As [`run`].
pub fn run_by(dir: Option<&Path>, btf: Option<&Path>) -> Result<Table, SetupError> {
    let table = trials(dir, Hooks::default(), btf)?;
    if let Some(btf) = btf {
        memory::remember_by(btf, &table);
        return Ok(table);
    }
    let better = |old: &Table| old.passed() && old.counts().absent < table.counts().absent;
    // A directory where less can be tried takes nothing away from what was shown before. What fails always counts.
    if !table.passed() || !remembered().as_ref().is_some_and(better) {
        // Where nothing can be remembered it is made again.
        let _ = memory::remember(&table);
    }
    Ok(table)
}

/// The same while looking at less, and remembering nothing: what is not looked at must come out silent, or its trials would
/// prove nothing.
///
/// # Errors
///
/// As [`run`].
pub fn run_with(dir: Option<&Path>, hooks: Hooks) -> Result<Table, SetupError> {
    trials(dir, hooks, None)
}

fn trials(dir: Option<&Path>, hooks: Hooks, btf: Option<&Path>) -> Result<Table, SetupError> {
    let started = Instant::now();
    let dir = dir.map_or_else(usual_dir, Path::to_owned);
    let stage = Stage::new(&dir).map_err(|error| {
        SetupErrorKind::Other(format!(
            "no file can be made in {}: {error}; --dir DIR names another",
            dir.display()
        ))
    })?;
    let mut tracer = Tracer::start_for_trials(Options {
        ring_bytes: 1 << 20,
        hooks,
        btf: btf.map(Path::to_owned),
        look_around: true,
        ..Options::default()
    })?;
    announce(tracer.cookie());
    tracer.look_around(&[])?;
    tracer.lap(ROWS);
    let (sums, others): (Vec<_>, Vec<_>) = TRIALS.iter().partition(|spec| spec.fact == SUMS);
    let mut trials: Vec<Trial> = others.into_iter().map(|spec| make(spec, &stage, &mut tracer)).collect();
    drop(tracer);
    // Another way to watch the same.
    let mut tracer = Tracer::start_for_trials(Options {
        ring_bytes: 1 << 20,
        hooks: Hooks {
            sums: Some(Sums::Pages).filter(|_| hooks.packets),
            ..Hooks::only(Sums::Pages)
        },
        btf: btf.map(Path::to_owned),
        ..Options::default()
    })?;
    announce(tracer.cookie());
    tracer.lap(ROWS);
    trials.extend(sums.into_iter().map(|spec| make(spec, &stage, &mut tracer)));
    drop(tracer);
    Ok(Table {
        key: Key::now().unwrap_or_default(),
        made_unix_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64),
        took_ms: started.elapsed().as_millis() as u64,
        dir: dir.display().to_string(),
        trials,
    })
}

/// The first of the usual places whose files are on a disk: elsewhere two facts cannot be tried.
fn usual_dir() -> PathBuf {
    let temporary = std::env::temp_dir();
    [&temporary, Path::new("/var/tmp"), Path::new("/var/cache")]
        .into_iter()
        .find(|dir| ends::is_on_disk(dir))
        .unwrap_or(&temporary)
        .to_owned()
}

fn make(spec: &Spec, stage: &Stage, tracer: &mut Tracer) -> Trial {
    let mut trial = Trial {
        name: spec.name.to_owned(),
        fact: spec.fact.to_owned(),
        expected: spec.expected,
        bytes: spec.times * LEN as u64,
        seen: Seen::default(),
        verdict: Verdict::Absent,
        reason: String::new(),
    };
    if spec.expected == Expected::Zero && !tracer.knows_zeros() {
        "this kernel puts pages of its page cache in the place of holes (before 6.5)".clone_into(&mut trial.reason);
        return trial;
    }
    if let Some(why) = tracer.lacks(spec.fact) {
        trial.reason = why;
        return trial;
    }
    let told = |tracer: &mut Tracer| spec.told_by.map(|program| tracer.written_by(program));
    let before = told(tracer);
    let made = (spec.make)(stage);
    let is_told = told(tracer) > before;
    // Also after a trial that failed: the next one begins with nothing.
    let report = tracer.lap(ROWS);
    if let Err(error) = made {
        trial.reason = error.to_string();
        return trial;
    }
    trial.seen = seen(&report, spec);
    trial.judge(spec.told_by.filter(|_| !is_told));
    trial
}

/// What became of the bytes that went a trial's way.
fn seen(report: &Report, spec: &Spec) -> Seen {
    if [NOTICES, NOTICES_URING].contains(&spec.fact) {
        return told(report, spec);
    }
    let wanted = |from: &End, to: &End| (&from.kind, &to.kind) == (&spec.ends.0, &spec.ends.1);
    let flows = report.flows.iter().filter(|flow| wanted(&flow.from, &flow.to));
    let edges = report.edges.iter().filter(|edge| wanted(&edge.from.of, &edge.to.of));
    let accounts: Vec<&Account> = if spec.ends.1 == EndKind::Pipe {
        edges.map(|edge| &edge.account).collect()
    } else {
        flows.map(|flow| &flow.account).collect()
    };
    let mut seen = Seen::default();
    for account in accounts {
        seen.moved += account.moved;
        seen.copied += account.copied;
        seen.unknown += account.unknown;
        seen.zero += account.neither.zero;
    }
    seen
}

/// What the kernel said of a trial's one send.
fn told(report: &Report, spec: &Spec) -> Seen {
    let by = if spec.fact == NOTICES {
        NoticeBy::ErrorQueue
    } else {
        NoticeBy::IoUring
    };
    let mut seen = Seen::default();
    for notice in report.notices.iter().filter(|notice| notice.by == by) {
        seen.copied += notice.copied * LEN as u64;
        seen.unknown += notice.not_asked * LEN as u64;
        seen.moved += (notice.sends - notice.copied - notice.not_asked) * LEN as u64;
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::coverage::FACTS;

    #[test]
    fn every_fact_has_a_trial_and_every_trial_a_fact() {
        for (fact, ..) in FACTS {
            assert!(TRIALS.iter().any(|spec| spec.fact == fact), "{fact}");
        }
        for spec in TRIALS {
            assert!(FACTS.iter().any(|(fact, ..)| *fact == spec.fact), "{}", spec.name);
            let same = TRIALS.iter().filter(|other| other.name == spec.name);
            assert_eq!(same.count(), 1, "{}", spec.name);
        }
    }
}
