//! Journals beside the records: true journals name what they should, false journals change no
//! verdict, and reading a journal ends whatever words it has.

use std::collections::HashMap;

use proptest::prelude::*;
use zctrace_contract::journal::Operation;
use zctrace_evidence::{Entry, EventKind, JournalEvent};
use zctrace_records::{endpoint_kind, nr};
use zctrace_report::{JournalAgreement, Report, Scope, ScopeKind, Tier};

use super::model_kernel::{ModelKernel, Record};
use super::{Op, evidence, op, run_in_order};

/// The only process of the model kernel.
const PID: u32 = 100;

fn news(kind: EventKind) -> JournalEvent {
    JournalEvent { pid: PID, kind }
}

/// Returns the journal of a library that made these calls in this order: after each record, its
/// entries.
fn truth(records: &[Record]) -> Vec<Vec<JournalEvent>> {
    let mut streams: HashMap<(u64, bool), u64> = HashMap::new();
    let mut segment = 0;
    let mut entries = |record: &Record| {
        let Record::Call(call) = record else { return Vec::new() };
        let Ok(len @ 1..) = u64::try_from(call.result) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (end, operation) in [(&call.source, Operation::Drain), (&call.sink, Operation::Fill)] {
            let looks = call.nr == nr::TEE && operation == Operation::Drain;
            if end.kind != endpoint_kind::PIPE || looks {
                continue;
            }
            let stream = streams.entry((end.ino, operation.enters_pipe())).or_default();
            segment += 1;
            found.push(news(EventKind::Entry(Entry {
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
        found
    };
    records.iter().map(&mut entries).collect()
}

fn found() -> [JournalEvent; 2] {
    [
        news(EventKind::Found {
            device: 0,
            since_ns: 0,
            clock: (0, 0),
        }),
        news(EventKind::Line {
            number: 0,
            file: "src/main.rs".to_owned(),
            line: 7,
        }),
    ]
}

fn report(records: &[Record], journal: &[Vec<JournalEvent>]) -> Report {
    let mut evidence = evidence();
    for (record, news) in records
        .iter()
        .zip(journal.iter().map(Some).chain(std::iter::repeat(None)))
    {
        match record {
            Record::Station(station) => evidence.page_record(station),
            Record::Call(call) => evidence.call(call),
            Record::Process(process) => evidence.process_event(process),
            Record::Found(found) => evidence.pipe_snapshot(found),
        }
        news.into_iter().flatten().for_each(|news| evidence.journal_event(news));
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
    let of_pipes = report.peeks.iter().filter(|look| !look.without_pipe);
    let peeks: u64 = of_pipes.map(|look| look.bytes).sum();
    report.peeks.clear();
    // The explanations at the end follow from the reasons of flows, edges and peeks.
    let json = report.to_json();
    let told = json.split("\"explanations\":").next().unwrap_or(&json);
    format!("{peeks} {told}")
}

fn records(ops: Vec<Op>) -> Vec<Record> {
    let mut kernel = ModelKernel::new();
    run_in_order(&mut kernel, ops);
    kernel.records
}

/// Falsification of a journal by its program.
#[derive(Clone, Debug)]
enum Lie {
    Time(u64),
    Stream(u64),
    Len(u64),
    Pipe(u64),
    Thread(u32),
    Turn,
    Twice,
    Silence,
    Lost(u64),
    Begin,
}

fn lie() -> impl Strategy<Value = Lie> {
    let near = prop_oneof![0..200_u64, any::<u64>()];
    prop_oneof![
        near.clone().prop_map(|n| Lie::Time(n.saturating_mul(1000))),
        near.clone().prop_map(Lie::Stream),
        near.clone().prop_map(|n| Lie::Len(n.max(1))),
        prop_oneof![Just(0), 40..70_u64].prop_map(Lie::Pipe),
        (90..110_u32).prop_map(Lie::Thread),
        Just(Lie::Turn),
        Just(Lie::Twice),
        Just(Lie::Silence),
        near.prop_map(Lie::Lost),
        Just(Lie::Begin),
    ]
}

fn tell(lie: &Lie, all: &mut Vec<JournalEvent>) {
    let mut more = Vec::new();
    for one in all.iter_mut() {
        let EventKind::Entry(entry) = &mut one.kind else {
            continue;
        };
        match lie {
            Lie::Time(ns) => entry.time_ns = *ns,
            Lie::Stream(at) => entry.pipe_offset = *at,
            Lie::Len(len) => entry.len = *len,
            Lie::Pipe(ino) => entry.pipe = *ino,
            Lie::Thread(thread) => entry.thread = *thread,
            Lie::Turn => {
                entry.operation = if entry.operation.enters_pipe() {
                    Operation::Peek
                } else {
                    Operation::Tee
                };
            }
            Lie::Twice => more.push(one.clone()),
            _ => {}
        }
    }
    match lie {
        Lie::Silence => all.clear(),
        Lie::Lost(lost) => more.push(news(EventKind::Lost(*lost))),
        Lie::Begin => more.extend(found()),
        _ => {}
    }
    all.extend(more);
}

/// A peek without a pipe is listed, and changes no flow, verdict or agreement.
#[test]
fn peek_without_a_pipe_is_reported_from_the_journal_only() {
    let entry = |at, operation, thread| {
        news(EventKind::Entry(Entry {
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
    let mut journal = found().to_vec();
    journal.extend([
        entry(50, Operation::Peek, 1),
        entry(500, Operation::Peek, 1),
        // No copy, so no peek.
        entry(0, Operation::Fill, 1),
    ]);
    let records = records(vec![]);
    let mut evidence = evidence();
    for news in &journal {
        evidence.journal_event(news);
    }
    let told = |evidence: &mut zctrace_evidence::Evidence| {
        let mut report = Report::new(Tier::T0, Scope::new(ScopeKind::Machine));
        evidence.fill(&mut report, &|_, _| None);
        report.finish(10_000);
        assert!(report.check().is_ok());
        report
    };
    let with = told(&mut evidence);
    let [look] = &with.peeks[..] else {
        panic!("{:#?}", with.peeks)
    };
    assert!(look.without_pipe && look.flow.is_none());
    assert_eq!((look.bytes, look.calls, look.code.as_str()), (200, 2, "ZC31"));
    assert_eq!((look.operation.as_str(), look.segment), ("peek", Some(9)));
    assert_eq!(look.range.map(|range| (range.start, range.end)), Some((50, 600)));
    assert_eq!(
        look.call_site.as_ref().map(|place| (place.file.as_str(), place.line)),
        Some(("src/main.rs", 7))
    );
    assert_eq!(verdicts(&with), verdicts(&report(&records, &[])));
    // Peeks belong to one account.
    evidence.reset();
    assert!(told(&mut evidence).peeks.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// With a true journal nothing disagrees, and every moved byte that passed a known ring has a
    /// name.
    #[test]
    fn correct_journal_agrees_and_names_the_moved_bytes(ops in prop::collection::vec(op(), 1..60)) {
        let ops = ops.into_iter().filter(|op| !matches!(op, Op::Resize { .. })).collect();
        let records = records(ops);
        let mut journal = truth(&records);
        if let Some(first) = journal.first_mut() {
            first.splice(0..0, found());
        }
        let with = report(&records, &journal);
        prop_assert_eq!(verdicts(&with), verdicts(&report(&records, &[])));
        for row in &with.segments {
            prop_assert_eq!(&row.agreement, &JournalAgreement::Agrees, "{:?}", row);
        }
        let doubts: Vec<_> = with.coverage.not_covered.iter().filter(|row| row.operation.contains("journal")).collect();
        prop_assert!(doubts.is_empty(), "{:?}", doubts);
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
        lies in prop::collection::vec(prop::option::weighted(0.4, lie()), 100),
    ) {
        let records = records(ops);
        let mut journal = truth(&records);
        if let Some(first) = journal.first_mut() {
            first.splice(0..0, found());
        }
        for (news, lie) in journal.iter_mut().zip(&lies) {
            if let Some(lie) = lie {
                tell(lie, news);
            }
        }
        prop_assert_eq!(verdicts(&report(&records, &journal)), verdicts(&report(&records, &[])));
    }
}
