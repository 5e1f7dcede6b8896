//! The selftest on this kernel: it passes, and what it does not look at is silent, so that its trials prove what they say.
//!
//! Needs root and raw tracepoints; without them it is reported as skipped.

use zctrace_probes::probe::{Hooks, SetupErrorKind};
use zctrace_probes::selftest::{self, Table, Verdict};
use zctrace_report::Alive;

/// The trials while looking at this. `None` if this machine cannot trace.
fn trials(test: &str, hooks: Hooks) -> Option<Table> {
    match selftest::run_with(None, hooks) {
        Ok(table) => Some(table),
        Err(error) if matches!(error.kind, SetupErrorKind::NoPrivilege { .. }) => {
            test_support::skip!(test, "{error}");
            None
        }
        Err(error) => panic!("{error}\n{}", error.mend()),
    }
}

fn silent(table: &Table) -> Vec<&str> {
    let mut facts: Vec<&str> = table.trials.iter().map(|trial| trial.fact.as_str()).collect();
    facts.dedup();
    facts.retain(|fact| table.alive(fact).0 == Alive::Silent);
    facts
}

// One test: each traces the whole of this process.
#[test]
fn what_is_looked_at_is_seen_and_what_is_not_is_silent() {
    const TEST: &str = "what_is_looked_at_is_seen_and_what_is_not_is_silent";
    let all = Hooks::default();
    let Some(table) = trials(TEST, all) else { return };
    assert!(table.passed() && table.counts().passed > 0, "{table:#?}");
    let without = [
        (
            Hooks { packets: false, ..all },
            &[
                "pages in packets",
                "ends of connections",
                "pages in pipes from before",
                "notices of io_uring's sends",
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
        let made = |fact: &&&str| table.alive(fact).0 == Alive::Yes;
        let expected: Vec<&str> = expected.iter().filter(made).copied().collect();
        assert_eq!(silent(&blind), expected, "{hooks:?}: {blind:#?}");
        let wrong = blind.trials.iter().filter(|trial| trial.verdict == Verdict::Wrong);
        assert_eq!(wrong.count(), 0, "{blind:#?}");
    }
}
