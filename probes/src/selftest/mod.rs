//! Attachable is not firing: known moves and known copies, made by this process, which the probes must see as what they are.
//!
//! ```no_run
//! let table = zctrace_probes::selftest::run(None)?;
//! for trial in &table.trials {
//!     println!("{} {}", trial.verdict.as_str(), trial.name);
//! }
//! # Ok::<_, zctrace_probes::probe::SetupError>(())
//! ```

mod fixture;
mod trials;
mod zerocopy;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use self::fixture::{Fixture, LEN};
use self::trials::{TRIALS, TrialSpec};
use crate::facts::{
    CacheKey, DIGESTS, Expected, Observed, SelftestResults, Trial, Verdict, ZEROCOPY, ZEROCOPY_URING, cache,
};
use crate::probe::{DigestMode, Hooks, SetupError, SetupErrorKind, announce};
use crate::trace::{Options, Tracer};
use zctrace_report::{Account, End, EndKind, NoticeBy, Report};

/// Rows of a report: a trial makes a few.
const MAX_ROWS: usize = 1000;

/// Makes all trials, in this process, and remembers what they showed, unless more is remembered already.
///
/// Their files are in `dir`, or else in the first usual place that is on a disk; they have no names. No other thread of this
/// process should move or copy bytes meanwhile.
///
/// # Errors
///
/// [`SetupError`] if tracing cannot be set up: then nothing is known of any fact. What fails later is in the table.
pub fn run(dir: Option<&Path>) -> Result<SelftestResults, SetupError> {
    run_with_btf(dir, None)
}

/// The same with the kernel's types out of a file: that the programs see what they must shows that it is this kernel's file.
/// What it showed is remembered by this process only, since the file may be another one next time.
///
/// # Errors
///
/// As [`run`].
pub fn run_with_btf(dir: Option<&Path>, btf: Option<&Path>) -> Result<SelftestResults, SetupError> {
    let results = run_trials(dir, Hooks::default(), btf)?;
    if let Some(btf) = btf {
        cache::store_for_btf(btf, &results);
        return Ok(results);
    }
    let better = |old: &SelftestResults| old.passed() && old.counts().absent < results.counts().absent;
    // A directory where less can be tried takes nothing away from what was shown before. What fails always counts.
    if !results.passed() || !cache::load().as_ref().is_some_and(better) {
        // Where nothing can be remembered it is made again.
        let _ = cache::store(&results);
    }
    Ok(results)
}

/// The same while looking at less, and remembering nothing: what is not looked at must come out silent, or its trials would
/// prove nothing.
///
/// # Errors
///
/// As [`run`].
pub fn run_with_hooks(dir: Option<&Path>, hooks: Hooks) -> Result<SelftestResults, SetupError> {
    run_trials(dir, hooks, None)
}

fn run_trials(dir: Option<&Path>, hooks: Hooks, btf: Option<&Path>) -> Result<SelftestResults, SetupError> {
    let started = Instant::now();
    let dir = dir.map_or_else(default_dir, Path::to_owned);
    let fixture = Fixture::new(&dir).map_err(|error| {
        SetupErrorKind::Other(format!(
            "no file can be made in {}: {error}; --dir DIR names another",
            dir.display()
        ))
    })?;
    let mut tracer = Tracer::start_for_selftest(Options {
        ring_bytes: 1 << 20,
        hooks,
        btf: btf.map(Path::to_owned),
        snapshot_open_files: true,
        ..Options::default()
    })?;
    announce(tracer.cookie());
    tracer.snapshot_open_files(&[])?;
    tracer.interval_report(MAX_ROWS);
    let (digests, others): (Vec<_>, Vec<_>) = TRIALS.iter().partition(|spec| spec.fact == DIGESTS);
    let mut trials: Vec<Trial> = others
        .into_iter()
        .map(|spec| run_trial(spec, &fixture, &mut tracer))
        .collect();
    drop(tracer);
    // Another way to watch the same.
    let mut tracer = Tracer::start_for_selftest(Options {
        ring_bytes: 1 << 20,
        hooks: Hooks {
            digest: Some(DigestMode::Pages).filter(|_| hooks.packets),
            ..Hooks::digest_only(DigestMode::Pages)
        },
        btf: btf.map(Path::to_owned),
        ..Options::default()
    })?;
    announce(tracer.cookie());
    tracer.interval_report(MAX_ROWS);
    trials.extend(digests.into_iter().map(|spec| run_trial(spec, &fixture, &mut tracer)));
    drop(tracer);
    Ok(SelftestResults {
        key: CacheKey::current().unwrap_or_default(),
        made_unix_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64),
        took_ms: started.elapsed().as_millis() as u64,
        dir: dir.display().to_string(),
        trials,
    })
}

/// The first of the usual places whose files are on a disk: elsewhere two facts cannot be tried.
fn default_dir() -> PathBuf {
    let temporary = std::env::temp_dir();
    [&temporary, Path::new("/var/tmp"), Path::new("/var/cache")]
        .into_iter()
        .find(|dir| fixture::is_on_disk(dir))
        .unwrap_or(&temporary)
        .to_owned()
}

fn run_trial(spec: &TrialSpec, fixture: &Fixture, tracer: &mut Tracer) -> Trial {
    let mut trial = Trial {
        name: spec.name.to_owned(),
        fact: spec.fact.to_owned(),
        expected: spec.expected,
        bytes: spec.repetitions * LEN as u64,
        observed: Observed::default(),
        verdict: Verdict::Absent,
        reason: String::new(),
    };
    if spec.expected == Expected::Zero && !tracer.can_detect_holes() {
        "this kernel puts pages of its page cache in the place of holes (before 6.5)".clone_into(&mut trial.reason);
        return trial;
    }
    if let Some(why) = tracer.missing_reason(spec.fact) {
        trial.reason = why;
        return trial;
    }
    let records = |tracer: &mut Tracer| spec.must_fire.map(|program| tracer.records_written_by(program));
    let before = records(tracer);
    let result = (spec.run)(fixture);
    let has_fired = records(tracer) > before;
    // Also after a trial that failed: the next one begins with nothing.
    let report = tracer.interval_report(MAX_ROWS);
    if let Err(error) = result {
        trial.reason = error.to_string();
        return trial;
    }
    trial.observed = observed(&report, spec);
    trial.evaluate(spec.must_fire.filter(|_| !has_fired));
    trial
}

/// What became of the bytes that went a trial's way.
fn observed(report: &Report, spec: &TrialSpec) -> Observed {
    if [ZEROCOPY, ZEROCOPY_URING].contains(&spec.fact) {
        return observed_completions(report, spec);
    }
    let wanted = |from: &End, to: &End| (&from.kind, &to.kind) == (&spec.endpoints.0, &spec.endpoints.1);
    let flows = report.flows.iter().filter(|flow| wanted(&flow.from, &flow.to));
    let edges = report.edges.iter().filter(|edge| wanted(&edge.from.of, &edge.to.of));
    let accounts: Vec<&Account> = if spec.endpoints.1 == EndKind::Pipe {
        edges.map(|edge| &edge.account).collect()
    } else {
        flows.map(|flow| &flow.account).collect()
    };
    let mut observed = Observed::default();
    for account in accounts {
        observed.moved += account.moved;
        observed.copied += account.copied;
        observed.unknown += account.unknown;
        observed.zero += account.neither.zero;
    }
    observed
}

/// What the kernel said of a trial's one send.
fn observed_completions(report: &Report, spec: &TrialSpec) -> Observed {
    let by = if spec.fact == ZEROCOPY {
        NoticeBy::ErrorQueue
    } else {
        NoticeBy::IoUring
    };
    let mut observed = Observed::default();
    for notice in report.notices.iter().filter(|notice| notice.by == by) {
        observed.copied += notice.copied * LEN as u64;
        observed.unknown += notice.not_asked * LEN as u64;
        observed.moved += (notice.sends - notice.copied - notice.not_asked) * LEN as u64;
    }
    observed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::FACTS;

    #[test]
    fn every_fact_has_a_trial_and_every_trial_a_fact() {
        for fact in FACTS.iter().map(|fact| fact.name) {
            assert!(TRIALS.iter().any(|spec| spec.fact == fact), "{fact}");
        }
        for spec in TRIALS {
            assert!(FACTS.iter().any(|fact| fact.name == spec.fact), "{}", spec.name);
            let same = TRIALS.iter().filter(|other| other.name == spec.name);
            assert_eq!(same.count(), 1, "{}", spec.name);
        }
    }
}
