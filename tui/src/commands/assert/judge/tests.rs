//! Tests of the judgment: each way to pass, to fail and to be inconclusive.

use zctrace_contract::Reason;
use zctrace_report::{Account, Cause, End, EndKind, Flow, Look, NotObserved, Outcome, Report, Scope, ScopeKind, Tier};

use super::*;
use crate::commands::assert::Limit;
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
    }
}

fn flow(from: EndKind, to: EndKind, account: Account, reasons: &[(Reason, u64)]) -> Flow {
    let mut flow = Flow::new(End::new(from, "/srv/a"), End::new(to, "/data/b"));
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
    flow(EndKind::File, EndKind::Tcp, Account::new(bytes, 0, 0), &[])
}

fn copied(bytes: u64) -> Flow {
    flow(
        EndKind::Memory,
        EndKind::Tcp,
        Account::new(0, bytes, 0),
        &[(Reason::FromMemory, bytes)],
    )
}

fn unknown(bytes: u64) -> Flow {
    flow(
        EndKind::File,
        EndKind::Tcp,
        Account::new(0, 0, bytes),
        &[(Reason::StillQueued, bytes)],
    )
}

fn outcome(flows: Vec<Flow>, criteria: &Criteria) -> Outcome {
    judge(&report(flows), criteria, None).outcome()
}

#[test]
fn one_copied_byte_fails_a_limit_of_zero() {
    let none = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(outcome(vec![moved(MIB)], &none), Outcome::Held);
    assert_eq!(outcome(vec![moved(MIB), copied(1)], &none), Outcome::Broken);
    let some = criteria("socket", Some(Limit::Bytes(1)));
    assert_eq!(outcome(vec![moved(MIB), copied(1)], &some), Outcome::Held);
    assert_eq!(outcome(vec![moved(MIB), copied(2)], &some), Outcome::Broken);
}

#[test]
fn bytes_from_any_source_count_at_judged_endpoints_only() {
    // The case that the gate is made for: sendfile became read and write, and no flow from file to
    // socket is left.
    let read = flow(
        EndKind::File,
        EndKind::Memory,
        Account::new(0, MIB, 0),
        &[(Reason::IntoMemory, MIB)],
    );
    let none = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(outcome(vec![read.clone(), copied(MIB)], &none), Outcome::Broken);
    assert_eq!(
        outcome(vec![read.clone(), moved(MIB)], &none),
        Outcome::Held,
        "a read that goes nowhere"
    );
    assert_eq!(
        outcome(vec![read], &criteria("memory", Some(Limit::Bytes(0)))),
        Outcome::Broken
    );
    let mut from_file = criteria("socket", Some(Limit::Bytes(0)));
    from_file.from = vec![Pattern::parse("file").unwrap()];
    assert_eq!(outcome(vec![moved(MIB), copied(MIB)], &from_file), Outcome::Held);
}

#[test]
fn too_few_bytes_never_pass() {
    let none = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(outcome(vec![], &none), Outcome::Open);
    let elsewhere = flow(EndKind::File, EndKind::File, Account::new(MIB, 0, 0), &[]);
    assert_eq!(outcome(vec![elsewhere], &none), Outcome::Open);
    let mut cloned = Account::default();
    cloned.neither.cloned = MIB;
    let judgment = judge(
        &report(vec![flow(EndKind::File, EndKind::Tcp, cloned, &[])]),
        &none,
        None,
    );
    assert_eq!(judgment.outcome(), Outcome::Open);
    assert!(
        judgment
            .rules
            .iter()
            .any(|rule| rule.found.contains("1 048 576 bytes were holes")),
        "{judgment:?}"
    );
    let mut least = none.clone();
    least.min_bytes = MIB;
    assert_eq!(outcome(vec![moved(MIB - 1)], &least), Outcome::Open);
    assert_eq!(outcome(vec![moved(MIB)], &least), Outcome::Held);
    assert_eq!(
        outcome(vec![copied(1)], &least),
        Outcome::Broken,
        "what was copied is shown all the same"
    );
}

#[test]
fn unknown_bytes_are_inconclusive() {
    let none = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(outcome(vec![moved(MIB), unknown(1)], &none), Outcome::Open);
    assert_eq!(outcome(vec![moved(MIB), unknown(1), copied(1)], &none), Outcome::Broken);
    // If all of the unknown bytes were copied, the limit would still hold.
    let percent = criteria("socket", Some(Limit::Share(Limit::PER_PERCENT)));
    assert_eq!(outcome(vec![moved(99 * MIB), unknown(MIB)], &percent), Outcome::Held);
    assert_eq!(
        outcome(vec![moved(98 * MIB), unknown(2 * MIB)], &percent),
        Outcome::Open
    );
    assert_eq!(
        outcome(vec![moved(98 * MIB), unknown(MIB), copied(MIB)], &percent),
        Outcome::Open
    );
}

#[test]
fn limit_on_unknown_bytes_is_independent() {
    let mut both = criteria("socket", Some(Limit::Bytes(0)));
    both.max_unknown = Some(Limit::Bytes(10));
    assert_eq!(outcome(vec![moved(MIB), unknown(10)], &both), Outcome::Held);
    assert_eq!(outcome(vec![moved(MIB), unknown(11)], &both), Outcome::Open);
    let mut strict = criteria("socket", Some(Limit::Share(50 * Limit::PER_PERCENT)));
    strict.max_unknown = Some(Limit::Bytes(0));
    assert_eq!(outcome(vec![moved(MIB), unknown(1)], &strict), Outcome::Open);
}

#[test]
fn peek_counts_as_copy_unless_allowed() {
    let mut none = criteria("socket", Some(Limit::Bytes(0)));
    let mut looked = moved(MIB);
    looked.looked = 100;
    let mut of_flow = report(vec![looked]);
    of_flow.looks.push(Look {
        flow: Some(1),
        ..Look::new(100, 1)
    });
    let judgment = judge(&of_flow, &none, None);
    assert_eq!(judgment.outcome(), Outcome::Broken);
    assert_eq!((judgment.bytes_judged.copied, judgment.bytes_judged.peeked), (0, 100));
    // A peek at bytes of an unknown flow may be one at the judged bytes.
    let mut of_none = report(vec![moved(MIB)]);
    of_none.looks.push(Look::new(100, 1));
    assert_eq!(judge(&of_none, &none, None).outcome(), Outcome::Open);
    // A peek without a pipe is reported by the program alone, and is not judged.
    of_none.looks[0].without_pipe = true;
    assert_eq!(judge(&of_none, &none, None).outcome(), Outcome::Held);
    of_none.looks[0].without_pipe = false;
    none.allow = vec![Reason::Peeked];
    assert_eq!(judge(&of_flow, &none, None).outcome(), Outcome::Held);
    assert_eq!(judge(&of_none, &none, None).outcome(), Outcome::Held);
    // Peeks that no call site explains are not excused.
    of_flow.looks[0].bytes = 99;
    assert_eq!(judge(&of_flow, &none, None).bytes_judged.peeked, 1);
}

#[test]
fn allowed_reasons_excuse_only_the_bytes_they_explain() {
    let mut allowing = criteria("socket", Some(Limit::Bytes(0)));
    allowing.allow = vec![Reason::FromMemory, Reason::StillQueued];
    assert_eq!(
        outcome(vec![moved(MIB), copied(5), unknown(5)], &allowing),
        Outcome::Held
    );
    let reasons = [(Reason::FromMemory, 5), (Reason::Misaligned, 5)];
    let mixed = flow(EndKind::Memory, EndKind::Tcp, Account::new(0, 10, 0), &reasons);
    assert_eq!(judge(&report(vec![mixed]), &allowing, None).bytes_judged.copied, 5);
    // Ten bytes, copied once for an allowed reason and once for another one.
    let reasons = [(Reason::FromMemory, 10), (Reason::Misaligned, 10)];
    let mut twice = flow(EndKind::Memory, EndKind::Tcp, Account::new(0, 10, 0), &reasons);
    twice.copy_bytes = 20;
    assert_eq!(judge(&report(vec![twice]), &allowing, None).bytes_judged.copied, 10);
    // Twenty bytes: ten copied twice for an allowed reason, ten for an unknown reason.
    let mut bare = flow(
        EndKind::Memory,
        EndKind::Tcp,
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
        |report| report.overhead.fell_back = true,
        |report| {
            report.coverage.not_observed.push(NotObserved {
                what: "splice by io_uring".to_owned(),
                calls: Some(1),
                bytes: None,
            });
        },
    ];
    for plant in plants {
        let mut clean = report(vec![moved(MIB)]);
        plant(&mut clean);
        assert_eq!(judge(&clean, &none, None).outcome(), Outcome::Open);
        let mut dirty = report(vec![moved(MIB), copied(1)]);
        plant(&mut dirty);
        assert_eq!(judge(&dirty, &none, None).outcome(), Outcome::Broken);
    }
    let mut declared = report(vec![moved(MIB)]);
    declared.coverage.not_observed.push(NotObserved {
        what: "memcpy in the program".to_owned(),
        calls: None,
        bytes: None,
    });
    assert_eq!(
        judge(&declared, &none, None).outcome(),
        Outcome::Held,
        "a blind spot that every run has"
    );
}

#[test]
fn folded_row_that_may_match_is_undecided() {
    let none = criteria("socket", Some(Limit::Bytes(0)));
    let various = |account, reasons: &[(Reason, u64)]| {
        let mut row = flow(EndKind::Various, EndKind::Various, account, reasons);
        row.to.name.clear();
        row.folded = 3;
        row
    };
    let clean = various(Account::new(10, 0, 0), &[]);
    assert_eq!(outcome(vec![moved(MIB), clean], &none), Outcome::Open);
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
    assert_eq!(judge(&run, &unlimited, Some(&[])).outcome(), Outcome::Held);
    let grown = judge(&run, &unlimited, Some(&regressions));
    assert_eq!(grown.outcome(), Outcome::Broken);
    assert!(
        grown.rules[0].found.contains("+64.0 KiB copied in file:tcp, ZC07"),
        "{grown:?}"
    );
    let limited = criteria("socket", Some(Limit::Bytes(0)));
    assert_eq!(judge(&run, &limited, Some(&regressions)).outcome(), Outcome::Held);
    let open = report(vec![moved(MIB), unknown(1)]);
    assert_eq!(judge(&open, &unlimited, Some(&[])).outcome(), Outcome::Open);
}
