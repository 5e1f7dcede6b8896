//! Tests of the judgment: each way to pass, to fail and to be inconclusive.

mod from;
mod gaps;
mod named_files;

use zctrace_contract::Reason;
use zctrace_report::{
    Account, AssertionOutcome, Cause, Endpoint, EndpointKind, Flow, NotCovered, Peek, Report, Scope, ScopeKind,
    StillRunning, Tier,
};

use super::*;
use crate::commands::assert::{Files, Limit};
use crate::filter::Pattern;

const MIB: u64 = 1 << 20;

type Plant = fn(&mut Report);

fn criteria(to: &str, max_copied: Option<Limit>) -> Criteria {
    Criteria {
        to: to.split(',').map(|to| Pattern::parse(to).expect(to)).collect(),
        from: Vec::new(),
        max_copied,
        max_unknown: None,
        min_bytes: 0,
        allow: Vec::new(),
        files: Files::default(),
    }
}

fn flow(from: EndpointKind, to: EndpointKind, account: Account, reasons: &[(Reason, u64)]) -> Flow {
    let mut flow = Flow::new(Endpoint::new(from, "/srv/a"), Endpoint::new(to, "/data/b"));
    flow.set_account(account);
    flow.reasons = reasons
        .iter()
        .map(|&(reason, bytes)| Cause::new(reason, bytes, 1))
        .collect();
    flow
}

/// Returns a report of tier L, because moved bytes of other tiers require certificates, which are
/// not judged here.
fn report(flows: Vec<Flow>) -> Report {
    let mut report = Report::new(Tier::L, Scope::new(ScopeKind::Command));
    for flow in flows {
        report.add_flow(flow);
    }
    report.finish(1000);
    assert_eq!(report.check(), Ok(()));
    report
}

fn moved(bytes: u64) -> Flow {
    flow(EndpointKind::File, EndpointKind::Tcp, Account::new(bytes, 0, 0), &[])
}

fn copied(bytes: u64) -> Flow {
    flow(
        EndpointKind::Memory,
        EndpointKind::Tcp,
        Account::new(0, bytes, 0),
        &[(Reason::FromMemory, bytes)],
    )
}

fn unknown(bytes: u64) -> Flow {
    flow(
        EndpointKind::File,
        EndpointKind::Tcp,
        Account::new(0, 0, bytes),
        &[(Reason::StillQueued, bytes)],
    )
}

fn outcome(flows: Vec<Flow>, criteria: &Criteria) -> AssertionOutcome {
    judge(&report(flows), criteria, None).outcome()
}

#[test]
fn one_copied_byte_fails_a_limit_of_zero() {
    let none = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(outcome(vec![moved(MIB)], &none), AssertionOutcome::Passed);
    assert_eq!(outcome(vec![moved(MIB), copied(1)], &none), AssertionOutcome::Failed);
    let some = criteria("socket", Some(Limit::Bytes(1)));
    assert_eq!(outcome(vec![moved(MIB), copied(1)], &some), AssertionOutcome::Passed);
    assert_eq!(outcome(vec![moved(MIB), copied(2)], &some), AssertionOutcome::Failed);
}

#[test]
fn bytes_from_any_source_count_at_judged_endpoints_only() {
    // The case that the gate is made for: sendfile became read and write, and no flow from file to
    // socket is left.
    let read = flow(
        EndpointKind::File,
        EndpointKind::Memory,
        Account::new(0, MIB, 0),
        &[(Reason::IntoMemory, MIB)],
    );
    let none = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(
        outcome(vec![read.clone(), copied(MIB)], &none),
        AssertionOutcome::Failed
    );
    assert_eq!(
        outcome(vec![read.clone(), moved(MIB)], &none),
        AssertionOutcome::Passed,
        "a read that goes nowhere"
    );
    assert_eq!(
        outcome(vec![read], &criteria("memory", Some(Limit::Bytes(0)))),
        AssertionOutcome::Failed
    );
    let mut from_file = criteria("socket", Some(Limit::Bytes(0)));
    from_file.from = vec![Pattern::parse("file").unwrap()];
    assert_eq!(
        outcome(vec![moved(MIB), copied(MIB)], &from_file),
        AssertionOutcome::Passed
    );
}

#[test]
fn too_few_bytes_never_pass() {
    let none = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(outcome(vec![], &none), AssertionOutcome::Inconclusive);
    let elsewhere = flow(EndpointKind::File, EndpointKind::File, Account::new(MIB, 0, 0), &[]);
    assert_eq!(outcome(vec![elsewhere], &none), AssertionOutcome::Inconclusive);
    let mut cloned = Account::default();
    cloned.excluded.cloned = MIB;
    let judgment = judge(
        &report(vec![flow(EndpointKind::File, EndpointKind::Tcp, cloned, &[])]),
        &none,
        None,
    );
    assert_eq!(judgment.outcome(), AssertionOutcome::Inconclusive);
    assert!(
        judgment
            .rules
            .iter()
            .any(|rule| rule.finding.contains("1 048 576 bytes were holes")),
        "{judgment:?}"
    );
    let mut least = none.clone();
    least.min_bytes = MIB;
    assert_eq!(outcome(vec![moved(MIB - 1)], &least), AssertionOutcome::Inconclusive);
    assert_eq!(outcome(vec![moved(MIB)], &least), AssertionOutcome::Passed);
    assert_eq!(
        outcome(vec![copied(1)], &least),
        AssertionOutcome::Failed,
        "what was copied is shown all the same"
    );
}

#[test]
fn unknown_bytes_are_inconclusive() {
    let none = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(
        outcome(vec![moved(MIB), unknown(1)], &none),
        AssertionOutcome::Inconclusive
    );
    assert_eq!(
        outcome(vec![moved(MIB), unknown(1), copied(1)], &none),
        AssertionOutcome::Failed
    );
    // If all of the unknown bytes were copied, the limit would still hold.
    let percent = criteria("socket", Some(Limit::Share(Limit::PER_PERCENT)));
    assert_eq!(
        outcome(vec![moved(99 * MIB), unknown(MIB)], &percent),
        AssertionOutcome::Passed
    );
    assert_eq!(
        outcome(vec![moved(98 * MIB), unknown(2 * MIB)], &percent),
        AssertionOutcome::Inconclusive
    );
    assert_eq!(
        outcome(vec![moved(98 * MIB), unknown(MIB), copied(MIB)], &percent),
        AssertionOutcome::Inconclusive
    );
}

#[test]
fn limit_on_unknown_bytes_is_independent() {
    let mut both = criteria("socket", Some(Limit::Bytes(0)));
    both.max_unknown = Some(Limit::Bytes(10));
    assert_eq!(outcome(vec![moved(MIB), unknown(10)], &both), AssertionOutcome::Passed);
    assert_eq!(
        outcome(vec![moved(MIB), unknown(11)], &both),
        AssertionOutcome::Inconclusive
    );
    let mut strict = criteria("socket", Some(Limit::Share(50 * Limit::PER_PERCENT)));
    strict.max_unknown = Some(Limit::Bytes(0));
    assert_eq!(
        outcome(vec![moved(MIB), unknown(1)], &strict),
        AssertionOutcome::Inconclusive
    );
}

#[test]
fn peek_counts_as_copy_unless_allowed() {
    let mut none = criteria("socket", Some(Limit::Bytes(0)));
    let mut looked = moved(MIB);
    looked.peeked_bytes = 100;
    let mut of_flow = report(vec![looked]);
    of_flow.peeks.push(Peek {
        flow: Some(1),
        ..Peek::new(100, 1)
    });
    let judgment = judge(&of_flow, &none, None);
    assert_eq!(judgment.outcome(), AssertionOutcome::Failed);
    assert_eq!((judgment.bytes_judged.copied, judgment.bytes_judged.peeked), (0, 100));
    // A peek at bytes of an unknown flow may be one at the judged bytes.
    let mut of_none = report(vec![moved(MIB)]);
    of_none.peeks.push(Peek::new(100, 1));
    assert_eq!(judge(&of_none, &none, None).outcome(), AssertionOutcome::Inconclusive);
    // A peek without a pipe is reported by the program alone, and is not judged.
    of_none.peeks[0].without_pipe = true;
    assert_eq!(judge(&of_none, &none, None).outcome(), AssertionOutcome::Passed);
    of_none.peeks[0].without_pipe = false;
    none.allow = vec![Reason::Peeked];
    assert_eq!(judge(&of_flow, &none, None).outcome(), AssertionOutcome::Passed);
    assert_eq!(judge(&of_none, &none, None).outcome(), AssertionOutcome::Passed);
    // Peeks that no call site explains are not excused.
    of_flow.peeks[0].bytes = 99;
    assert_eq!(judge(&of_flow, &none, None).bytes_judged.peeked, 1);
}

#[test]
fn allowed_reasons_excuse_only_the_bytes_they_explain() {
    let mut allowing = criteria("socket", Some(Limit::Bytes(0)));
    allowing.allow = vec![Reason::FromMemory, Reason::StillQueued];
    assert_eq!(
        outcome(vec![moved(MIB), copied(5), unknown(5)], &allowing),
        AssertionOutcome::Passed
    );
    let reasons = [(Reason::FromMemory, 5), (Reason::Misaligned, 5)];
    let mixed = flow(
        EndpointKind::Memory,
        EndpointKind::Tcp,
        Account::new(0, 10, 0),
        &reasons,
    );
    assert_eq!(judge(&report(vec![mixed]), &allowing, None).bytes_judged.copied, 5);
    // Ten bytes, copied once for an allowed reason and once for another one.
    let reasons = [(Reason::FromMemory, 10), (Reason::Misaligned, 10)];
    let mut twice = flow(
        EndpointKind::Memory,
        EndpointKind::Tcp,
        Account::new(0, 10, 0),
        &reasons,
    );
    twice.copy_bytes = 20;
    assert_eq!(judge(&report(vec![twice]), &allowing, None).bytes_judged.copied, 10);
    // Twenty bytes: ten copied twice for an allowed reason, ten for an unknown reason.
    let mut bare = flow(
        EndpointKind::Memory,
        EndpointKind::Tcp,
        Account::new(0, 20, 0),
        &[(Reason::FromMemory, 20)],
    );
    bare.copy_bytes = 30;
    assert_eq!(judge(&report(vec![bare]), &allowing, None).bytes_judged.copied, 10);
}

#[test]
fn loss_and_coverage_gaps_are_inconclusive_but_hide_no_copy() {
    let none = criteria("socket", Some(Limit::Bytes(0)));
    let plants: [Plant; 4] = [
        |report| report.loss.recursion_misses = 1,
        |report| report.loss.reserve_failures = 1,
        |report| report.overhead.fell_back_to_counters = true,
        |report| {
            report.coverage.not_covered.push(NotCovered {
                operation: "splice by io_uring".to_owned(),
                calls: Some(1),
                ..NotCovered::default()
            });
        },
    ];
    for plant in plants {
        let mut clean = report(vec![moved(MIB)]);
        plant(&mut clean);
        assert_eq!(judge(&clean, &none, None).outcome(), AssertionOutcome::Inconclusive);
        let mut dirty = report(vec![moved(MIB), copied(1)]);
        plant(&mut dirty);
        assert_eq!(judge(&dirty, &none, None).outcome(), AssertionOutcome::Failed);
    }
    let mut declared = report(vec![moved(MIB)]);
    declared.coverage.not_covered.push(NotCovered {
        operation: "memcpy in the program".to_owned(),
        ..NotCovered::default()
    });
    assert_eq!(
        judge(&declared, &none, None).outcome(),
        AssertionOutcome::Passed,
        "a blind spot that every run has"
    );
}

#[test]
fn folded_row_that_may_match_is_undecided() {
    let none = criteria("socket", Some(Limit::Bytes(0)));
    let various = |account, reasons: &[(Reason, u64)]| {
        let mut row = flow(EndpointKind::Various, EndpointKind::Various, account, reasons);
        row.to.name.clear();
        row.folded = 3;
        row
    };
    let clean = various(Account::new(10, 0, 0), &[]);
    assert_eq!(outcome(vec![moved(MIB), clean], &none), AssertionOutcome::Inconclusive);
}

#[test]
fn baseline_judges_only_without_a_limit() {
    let regressions = [Regression {
        path: "file:tcp".to_owned(),
        code: "ZC07".to_owned(),
        bytes: 65_536,
    }];
    let run = report(vec![moved(MIB)]);
    let unlimited = criteria("socket", None);
    assert_eq!(judge(&run, &unlimited, Some(&[])).outcome(), AssertionOutcome::Passed);
    let grown = judge(&run, &unlimited, Some(&regressions));
    assert_eq!(grown.outcome(), AssertionOutcome::Failed);
    assert!(
        grown.rules[0].finding.contains("+64.0 KiB copied in file:tcp, ZC07"),
        "{grown:?}"
    );
    let limited = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(
        judge(&run, &limited, Some(&regressions)).outcome(),
        AssertionOutcome::Passed
    );
    let open = report(vec![moved(MIB), unknown(1)]);
    assert_eq!(
        judge(&open, &unlimited, Some(&[])).outcome(),
        AssertionOutcome::Inconclusive
    );
}
