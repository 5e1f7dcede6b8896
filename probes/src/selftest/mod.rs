//! Verification that attached probes fire: performs known moves and known copies in this process
//! and checks how they are classified.
//!
//! ```no_run
//! let results = zctrace_probes::selftest::run(None)?;
//! for trial in &results.trials {
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
use zctrace_report::{Account, CompletionSource, Endpoint, EndpointKind, Report};

/// Limit on rows of a report. A trial produces a few.
const MAX_ROWS: usize = 1000;

/// Performs all trials in this process and caches the results, unless better results are cached
/// already.
///
/// The trials' files are in `dir`, or else in the first usual directory that is on a block device.
/// They are unlinked at once. No other thread of this process should move or copy bytes meanwhile.
///
/// # Errors
///
/// [`SetupError`] if tracing cannot be set up. Later errors are in the results.
pub fn run(dir: Option<&Path>) -> Result<SelftestResults, SetupError> {
    run_with_btf(dir, None)
}

/// Performs all trials with the types of a BTF file. Success proves that the file describes this
/// kernel. The results are cached only in this process, because the file can change.
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
    // Fewer performed trials, as in an unsuitable directory, do not replace better results. A
    // failure always does.
    if !results.passed() || !cache::load().as_ref().is_some_and(better) {
        // Without a writable cache, the next process repeats the selftest.
        let _ = cache::store(&results);
    }
    Ok(results)
}

/// Performs all trials with only some probes attached, and caches nothing. Trials of the missing
/// probes must come out silent, or they would prove nothing.
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
    // Page digests observe the same transfers in another way.
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

/// Returns the first usual directory that is on a block device, which two facts require.
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
    // Reset after a failed trial too, so that the next one starts without its bytes.
    let report = tracer.interval_report(MAX_ROWS);
    if let Err(error) = result {
        trial.reason = error.to_string();
        return trial;
    }
    trial.observed = observed(&report, spec);
    trial.evaluate(spec.must_fire.filter(|_| !has_fired));
    trial
}

/// Returns the outcomes of the bytes that went between the trial's endpoints.
fn observed(report: &Report, spec: &TrialSpec) -> Observed {
    if [ZEROCOPY, ZEROCOPY_URING].contains(&spec.fact) {
        return observed_completions(report, spec);
    }
    let wanted = |from: &Endpoint, to: &Endpoint| (&from.kind, &to.kind) == (&spec.endpoints.0, &spec.endpoints.1);
    let flows = report.flows.iter().filter(|flow| wanted(&flow.from, &flow.to));
    let edges = report
        .edges
        .iter()
        .filter(|edge| wanted(&edge.from.endpoint, &edge.to.endpoint));
    let accounts: Vec<&Account> = if spec.endpoints.1 == EndpointKind::Pipe {
        edges.map(|edge| &edge.account).collect()
    } else {
        flows.map(|flow| &flow.account).collect()
    };
    let mut observed = Observed::default();
    for account in accounts {
        observed.moved += account.moved;
        observed.copied += account.copied;
        observed.unknown += account.unknown;
        observed.zero += account.excluded.zero;
    }
    observed
}

/// Returns the zero-copy completions of the trial's send, in bytes.
fn observed_completions(report: &Report, spec: &TrialSpec) -> Observed {
    let by = if spec.fact == ZEROCOPY {
        CompletionSource::ErrorQueue
    } else {
        CompletionSource::IoUring
    };
    let mut observed = Observed::default();
    for notice in report.zerocopy_completions.iter().filter(|notice| notice.source == by) {
        observed.copied += notice.copied_sends * LEN as u64;
        observed.unknown += notice.unreported_sends * LEN as u64;
        observed.moved += (notice.sends - notice.copied_sends - notice.unreported_sends) * LEN as u64;
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
