//! Tests of journals: a correct journal names the bytes of its process, and a falsified journal
//! changes no verdict.

use std::collections::HashMap;

use proptest::prelude::*;
use zctrace_contract::journal::Operation;
use zctrace_evidence::{Entry, EventKind, JournalEvent};
use zctrace_records::{endpoint_kind, nr};
use zctrace_report::{JournalAgreement, Report, Scope, ScopeKind, Tier};

use super::model_kernel::{ModelKernel, Record};
use super::program::{Op, op, run_in_order};
use super::{evidence, feed};

/// The only process of the model kernel.
const PID: u32 = 100;

fn event(kind: EventKind) -> JournalEvent {
    JournalEvent { pid: PID, kind }
}

/// Returns the journal of a library that made these calls in this order: after each record, its
/// entries.
fn correct_journal(records: &[Record]) -> Vec<Vec<JournalEvent>> {
    let mut streams: HashMap<(u64, bool), u64> = HashMap::new();
    let mut segment = 0;
    let mut entries = |record: &Record| {
        let Record::Call(call) = record else { return Vec::new() };
        let Ok(len @ 1..) = u64::try_from(call.result) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        for (end, operation) in [(&call.source, Operation::Drain), (&call.sink, Operation::Fill)] {
            let is_tee_source = call.nr == nr::TEE && operation == Operation::Drain;
            if end.kind != endpoint_kind::PIPE || is_tee_source {
                continue;
            }
            let stream = streams.entry((end.ino, operation.enters_pipe())).or_default();
            segment += 1;
            events.push(event(EventKind::Entry(Entry {
                position: 0,
                time_ns: call.header.timestamp_ns,
                segment,
                segment_offset: 0,
                pipe_offset: *stream,
                len,
                pipe: end.ino,
                thread: call.header.tid,
                caller: 0,
                operation,
                reason: None,
                api_call: None,
            })));
            *stream += len;
        }
        events
    };
    records.iter().map(&mut entries).collect()
}

fn journal_start() -> [JournalEvent; 2] {
    [
        event(EventKind::Found {
            device: 0,
            since_ns: 0,
            clock: (0, 0),
        }),
        event(EventKind::Line {
            number: 0,
            file: "src/main.rs".to_owned(),
            line: 7,
        }),
    ]
}

fn report(records: &[Record], journal: &[Vec<JournalEvent>]) -> Report {
    let mut evidence = evidence();
    for (record, events) in records
        .iter()
        .zip(journal.iter().map(Some).chain(std::iter::repeat(None)))
    {
        feed(&mut evidence, record, &|station| *station);
        events
            .into_iter()
            .flatten()
            .for_each(|event| evidence.journal_event(event));
    }
    evidence.end_of_trace();
    let mut report = Report::new(Tier::T0, Scope::new(ScopeKind::Machine));
    evidence.fill(&mut report, &|_, _| None);
    report.finish(10_000);
    if let Err(violations) = report.check() {
        panic!("a report that does not add up: {violations:?}");
    }
    report
}

/// Returns the report without anything that a journal may change.
fn verdicts(report: &Report) -> String {
    let mut report = report.clone();
    report.segments.clear();
    report.omitted.segments = 0;
    report.loss.journal_overruns = 0;
    report
        .coverage
        .not_covered
        .retain(|row| !row.operation.contains("journal"));
    for flow in &mut report.flows {
        for hop in flow
            .certificate
            .iter_mut()
            .flat_map(|certificate| &mut certificate.hops)
        {
            hop.segments = None;
        }
    }
    // Peeks are listed by call site. Their bytes and calls are the kernel's, except for peeks
    // without a pipe.
    let pipe_peeks = report.peeks.iter().filter(|peek| !peek.without_pipe);
    let peeks: u64 = pipe_peeks.map(|peek| peek.bytes).sum();
    report.peeks.clear();
    // The explanations at the end follow from the reasons of flows, edges and peeks.
    let json = report.to_json();
    let rest = json.split("\"explanations\":").next().unwrap_or(&json);
    format!("{peeks} {rest}")
}

fn records(ops: Vec<Op>) -> Vec<Record> {
    let mut kernel = ModelKernel::new();
    run_in_order(&mut kernel, ops);
    kernel.records
}

/// Falsification of a journal by its program.
#[derive(Clone, Debug)]
enum Falsification {
    Time(u64),
    Stream(u64),
    Len(u64),
    Pipe(u64),
    Thread(u32),
    Reverse,
    Duplicate,
    Empty,
    Lost(u64),
    Restart,
}

fn falsification() -> impl Strategy<Value = Falsification> {
    let number = prop_oneof![0..200_u64, any::<u64>()];
    prop_oneof![
        number.clone().prop_map(|n| Falsification::Time(n.saturating_mul(1000))),
        number.clone().prop_map(Falsification::Stream),
        number.clone().prop_map(|n| Falsification::Len(n.max(1))),
        prop_oneof![Just(0), 40..70_u64].prop_map(Falsification::Pipe),
        (90..110_u32).prop_map(Falsification::Thread),
        Just(Falsification::Reverse),
        Just(Falsification::Duplicate),
        Just(Falsification::Empty),
        number.prop_map(Falsification::Lost),
        Just(Falsification::Restart),
    ]
}

fn falsify(falsification: &Falsification, all: &mut Vec<JournalEvent>) {
    let mut more = Vec::new();
    for one in all.iter_mut() {
        let EventKind::Entry(entry) = &mut one.kind else {
            continue;
        };
        match falsification {
            Falsification::Time(ns) => entry.time_ns = *ns,
            Falsification::Stream(at) => entry.pipe_offset = *at,
            Falsification::Len(len) => entry.len = *len,
            Falsification::Pipe(ino) => entry.pipe = *ino,
            Falsification::Thread(thread) => entry.thread = *thread,
            Falsification::Reverse => {
                entry.operation = if entry.operation.enters_pipe() {
                    Operation::Peek
                } else {
                    Operation::Tee
                };
            }
            Falsification::Duplicate => more.push(one.clone()),
            _ => {}
        }
    }
    match falsification {
        Falsification::Empty => all.clear(),
        Falsification::Lost(lost) => more.push(event(EventKind::Lost(*lost))),
        Falsification::Restart => more.extend(journal_start()),
        _ => {}
    }
    all.extend(more);
}

/// A peek without a pipe is listed, and changes no flow, verdict or agreement.
#[test]
fn peek_without_a_pipe_is_reported_from_the_journal_only() {
    let entry = |at, operation, thread| {
        event(EventKind::Entry(Entry {
            position: 0,
            time_ns: 1_000_000,
            segment: 9,
            segment_offset: at,
            pipe_offset: 0,
            len: 100,
            pipe: 0,
            thread,
            caller: 0,
            operation,
            reason: (operation == Operation::Peek).then_some(zctrace_contract::LibraryReason::Peeked),
            api_call: Some(zctrace_contract::journal::ApiCall::Peek),
        }))
    };
    let mut journal = journal_start().to_vec();
    journal.extend([
        entry(50, Operation::Peek, 1),
        entry(500, Operation::Peek, 1),
        // No copy, so no peek.
        entry(0, Operation::Fill, 1),
    ]);
    let records = records(vec![]);
    let mut evidence = evidence();
    for event in &journal {
        evidence.journal_event(event);
    }
    let report_of = |evidence: &mut zctrace_evidence::Evidence| {
        let mut report = Report::new(Tier::T0, Scope::new(ScopeKind::Machine));
        evidence.fill(&mut report, &|_, _| None);
        report.finish(10_000);
        assert!(report.check().is_ok());
        report
    };
    let with = report_of(&mut evidence);
    let [peek] = &with.peeks[..] else {
        panic!("{:#?}", with.peeks)
    };
    assert!(peek.without_pipe && peek.flow.is_none());
    assert_eq!((peek.bytes, peek.calls, peek.code.as_str()), (200, 2, "ZC31"));
    assert_eq!((peek.operation.as_str(), peek.segment), ("peek", Some(9)));
    assert_eq!(peek.range.map(|range| (range.start, range.end)), Some((50, 600)));
    assert_eq!(
        peek.call_site
            .as_ref()
            .map(|call_site| (call_site.file.as_str(), call_site.line)),
        Some(("src/main.rs", 7))
    );
    assert_eq!(verdicts(&with), verdicts(&report(&records, &[])));
    // Peeks belong to one account.
    evidence.reset();
    assert!(report_of(&mut evidence).peeks.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A correct journal agrees with all records, and every moved byte that passed a known ring has
    /// a name.
    #[test]
    fn correct_journal_agrees_and_names_the_moved_bytes(ops in prop::collection::vec(op(), 1..60)) {
        let ops = ops.into_iter().filter(|op| !matches!(op, Op::Resize { .. } | Op::ReopenFifo { .. })).collect();
        let records = records(ops);
        let mut journal = correct_journal(&records);
        if let Some(first) = journal.first_mut() {
            first.splice(0..0, journal_start());
        }
        let with = report(&records, &journal);
        prop_assert_eq!(verdicts(&with), verdicts(&report(&records, &[])));
        for row in &with.segments {
            prop_assert_eq!(&row.agreement, &JournalAgreement::Agrees, "{:?}", row);
        }
        let gaps: Vec<_> = with.coverage.not_covered.iter().filter(|row| row.operation.contains("journal")).collect();
        prop_assert!(gaps.is_empty(), "{:?}", gaps);
        for certificate in with.flows.iter().filter_map(|flow| flow.certificate.as_ref()) {
            for hop in certificate.hops.iter().filter(|hop| hop.segments.is_some()) {
                let names = hop.segments.as_ref().expect("filtered");
                prop_assert_eq!((names.bytes, &names.agreement), (hop.bytes, &JournalAgreement::Agrees), "{:?}", names);
            }
        }
    }

    /// No journal changes a verdict.
    #[test]
    fn falsified_journal_changes_no_verdict(
        ops in prop::collection::vec(op(), 1..60),
        falsifications in prop::collection::vec(prop::option::weighted(0.4, falsification()), 100),
    ) {
        let records = records(ops);
        let mut journal = correct_journal(&records);
        if let Some(first) = journal.first_mut() {
            first.splice(0..0, journal_start());
        }
        for (events, falsification) in journal.iter_mut().zip(&falsifications) {
            if let Some(falsification) = falsification {
                falsify(falsification, events);
            }
        }
        prop_assert_eq!(verdicts(&report(&records, &journal)), verdicts(&report(&records, &[])));
    }
}
