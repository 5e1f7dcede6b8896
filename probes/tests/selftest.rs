//! The selftest on this kernel: it passes, and with a hook disabled the dependent facts are
//! reported silent, which shows that its trials can fail.
//!
//! Needs root and raw tracepoints; otherwise it is reported as skipped.

use zctrace_probes::facts::{SelftestResults, Verdict};
use zctrace_probes::probe::{Hooks, SetupErrorKind};
use zctrace_probes::selftest;
use zctrace_report::FactStatus;

/// Runs the trials with these hooks. `None` if this machine cannot trace.
fn trials(test: &str, hooks: Hooks) -> Option<SelftestResults> {
    match selftest::run_with_hooks(None, hooks) {
        Ok(results) => Some(results),
        Err(error) if matches!(error.kind, SetupErrorKind::NoPrivilege { .. }) => {
            test_support::skip!(test, "{error}");
            None
        }
        Err(error) => panic!("{error}\n{}", error.hint()),
    }
}

fn silent(results: &SelftestResults) -> Vec<&str> {
    let mut facts: Vec<&str> = results.trials.iter().map(|trial| trial.fact.as_str()).collect();
    facts.dedup();
    facts.retain(|fact| results.alive(fact).0 == FactStatus::Silent);
    facts
}

// A single test, because each run traces the whole of this process.
#[test]
fn attached_probes_pass_and_others_are_silent() {
    const TEST: &str = "attached_probes_pass_and_others_are_silent";
    let all = Hooks::default();
    let Some(results) = trials(TEST, all) else { return };
    assert!(results.passed() && results.counts().passed > 0, "{results:#?}");
    let without = [
        (
            Hooks { packets: false, ..all },
            &[
                "pages in packets",
                "ends of connections",
                "pages in pipes from before",
                "sums over pages to TCP connections",
            ][..],
        ),
        (
            Hooks { unix: false, ..all },
            &["pages in UNIX messages", "notices of sends without copies"],
        ),
        (Hooks { bios: false, ..all }, &["pages to and from disks"]),
        (Hooks { dirty: false, ..all }, &["pages of files that become dirty"]),
    ];
    for (hooks, expected) in without {
        let Some(blind) = trials(TEST, hooks) else { return };
        let made = |fact: &&&str| results.alive(fact).0 == FactStatus::Verified;
        let expected: Vec<&str> = expected.iter().filter(made).copied().collect();
        assert_eq!(silent(&blind), expected, "{hooks:?}: {blind:#?}");
        let wrong = blind.trials.iter().filter(|trial| trial.verdict == Verdict::Wrong);
        assert_eq!(wrong.count(), 0, "{blind:#?}");
    }
}
