//! The evidence engine against a model kernel that knows the truth: no input may yield a false
//! "moved" or a false "copied".
//!
//! Random programs run on [`model_kernel::ModelKernel`]. With all records in order, nothing may be
//! unknown. Then records are lost, reordered and delayed, pages are reused at once, and rings are
//! replaced: bytes may become unknown, but never moved or copied if they were not.

mod journal;
mod model_kernel;
mod program;

use std::collections::{HashMap, HashSet};

use model_kernel::pipe_lives::FIFO;
use model_kernel::retransmissions::Way;
use model_kernel::{Done, ModelKernel, Record, Sink, Truth};
use program::{Op, op, run, run_in_order};
use proptest::prelude::*;
use zctrace_contract::Reason;
use zctrace_evidence::{Config, Evidence, PipeBufOps};
use zctrace_records::decode::{Decoder, RecordRef};
use zctrace_records::{EndpointName, MAPPING_NOT_READ, PageRecord, RecordHeader, station_kind};
use zctrace_report::{EndpointKind, Flow, ReasonCode, Report, Scope, ScopeKind, Tier};

fn evidence() -> Evidence {
    Evidence::new(Config {
        pipe_buf_ops: PipeBufOps {
            page_cache: model_kernel::PAGE_CACHE,
            anonymous: model_kernel::ANONYMOUS,
            user: 13,
            zero: 14,
            zero_page: 0,
        },
        // The device of the model's files: a page that is not theirs is a copy.
        copied_on_read: HashSet::from([5]),
        ..Config::default()
    })
}

/// Returns the report of these records, which must not depend on the form of page records.
fn report_of(records: &[Record]) -> Report {
    let report = report_with(records, &|station| *station);
    let from_page_runs = report_with(records, &as_written_by_programs);
    assert_eq!(
        reported_bytes(&from_page_runs),
        reported_bytes(&report),
        "page runs yield another report than page records"
    );
    report
}

/// Returns a page record as the programs write it: pages of packets show only their address, and
/// the owner of similar pages is recorded once.
fn as_written_by_programs(station: &PageRecord) -> PageRecord {
    let mut station = *station;
    for range in &mut station.ranges[..usize::from(station.count)] {
        match station.station {
            station_kind::PACKET => (range.mapping, range.index, range.ops) = (MAPPING_NOT_READ, 0, 0),
            station_kind::PIPE_SOURCE => range.ops = 0,
            _ => {}
        }
    }
    let mut bytes = Vec::new();
    RecordRef::Pages(&station).write(&mut bytes);
    match Decoder::default().decode(&bytes) {
        Ok(RecordRef::Pages(read)) => *read,
        other => panic!("{other:?}"),
    }
}

fn feed(evidence: &mut Evidence, record: &Record, convert: &dyn Fn(&PageRecord) -> PageRecord) {
    match record {
        Record::Station(station) => evidence.page_record(&convert(station)),
        Record::Call(call) => evidence.call(call),
        Record::Process(process) => evidence.process_event(process),
        Record::Closed(closed) => evidence.connection_closed(closed),
        Record::Snapshot(snapshot) => evidence.pipe_snapshot(snapshot),
        Record::Name(endpoint) => {
            evidence.endpoint_name(&EndpointName {
                header: RecordHeader {
                    sequence: 0,
                    timestamp_ns: 0,
                    tgid: 100,
                    tid: 100,
                    cpu: 0,
                    kind: EndpointName::KIND,
                    len: 0,
                },
                endpoint: *endpoint,
                count: 0,
                flags: 0,
                components: [[0; _]; _],
            });
        }
    }
}

fn report_with(records: &[Record], convert: &dyn Fn(&PageRecord) -> PageRecord) -> Report {
    let mut evidence = evidence();
    for record in records {
        feed(&mut evidence, record, convert);
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

/// Returns the report's bytes by the truth's own keys: moved, copied, unknown.
fn reported_bytes(report: &Report) -> HashMap<(Option<usize>, Sink), (u64, u64, u64)> {
    let inode = |end: &zctrace_report::Endpoint| {
        let object = end.object.as_deref().unwrap_or("");
        object.rsplit(':').next().and_then(|text| text.parse::<u64>().ok())
    };
    let port = |end: &zctrace_report::Endpoint| end.port.unwrap_or(0);
    let mut sums = HashMap::<_, (u64, u64, u64)>::new();
    for flow in report.flows.iter().filter(|flow| !is_of_unseen_sender(flow)) {
        let origin = match flow.from.kind {
            EndpointKind::File => inode(&flow.from).map(|ino| (ino - model_kernel::file_name(0)) as usize),
            // The receiver's side of connection n.
            EndpointKind::Tcp => {
                Some(700 + usize::from(flow.from.name.rsplit(':').next().unwrap().parse::<u16>().unwrap() - 5000))
            }
            EndpointKind::Memory => None,
            // Bytes of a pipe whose past is not known: unknown, unless a snapshot showed them.
            EndpointKind::Pipe => model_kernel::SNAPSHOT,
            ref other => panic!("a flow from {other}"),
        };
        let sink = match flow.to.kind {
            EndpointKind::DirectFile => Sink::Disk,
            EndpointKind::File => Sink::Buffered,
            EndpointKind::Memory => Sink::Memory,
            EndpointKind::Tcp => Sink::Tcp(tcp_number(report, flow, port(&flow.to))),
            // Bytes left in a pipe were not delivered to another endpoint.
            EndpointKind::Pipe => continue,
            ref other => panic!("a flow to {other}"),
        };
        let sum = sums.entry((origin, sink)).or_default();
        sum.0 += flow.account.moved;
        sum.1 += flow.account.copied;
        sum.2 += flow.account.unknown;
    }
    sums
}

/// Returns whether a flow is that of bytes which no call sent. They are unknown.
fn is_of_unseen_sender(flow: &Flow) -> bool {
    let code = ReasonCode::from(Reason::UnseenSender);
    let is_unseen = flow.reasons.iter().any(|cause| cause.code == code);
    assert!(!is_unseen || flow.account.moved + flow.account.copied == 0);
    is_unseen
}

/// Both senders send to port 80. Only their objects distinguish the endpoints, so the sinks are
/// taken together.
fn tcp_number(_: &Report, _: &zctrace_report::Flow, _: u16) -> usize {
    0
}

fn merged(truth: &Truth) -> HashMap<(Option<usize>, Sink), (u64, u64)> {
    let mut sums = HashMap::<_, (u64, u64)>::new();
    for ((origin, sink), (moved, copied)) in truth {
        let sink = match sink {
            Sink::Tcp(_) => Sink::Tcp(0),
            other => *other,
        };
        let sum = sums.entry((*origin, sink)).or_default();
        sum.0 += moved;
        sum.1 += copied;
    }
    sums
}

/// Checks that no byte is reported as moved or copied that was not.
fn check_no_false_verdict(report: &Report, truth: &Truth) -> Result<(), TestCaseError> {
    let truth = merged(truth);
    // Nothing shows that bytes left a pipe at the other end.
    for flow in report.flows.iter().filter(|flow| flow.to.kind == EndpointKind::Pipe) {
        prop_assert_eq!(flow.account.moved, 0, "moved and left in a pipe");
    }
    for (key, (moved, copied, _)) in reported_bytes(report) {
        let (true_moved, true_copied) = truth.get(&key).copied().unwrap_or_default();
        prop_assert!(moved <= true_moved, "{key:?}: {moved} moved, but only {true_moved} did");
        // Bytes that are unknown at the pipe may be copied for certain later.
        if key.0 != model_kernel::SNAPSHOT {
            prop_assert!(
                copied <= true_copied,
                "{key:?}: {copied} copied, but only {true_copied} were"
            );
        }
    }
    Ok(())
}

fn check_program(ops: &[Op]) {
    let mut kernel = ModelKernel::new();
    run_in_order(&mut kernel, ops.iter().copied());
    check_no_false_verdict(&report_of(&kernel.records), &kernel.truth).expect("no false verdict");
}

fn file_to_pipe(file: usize, len: u64, pipe: usize) -> Op {
    Op::FileToPipe {
        file,
        start: 0,
        len,
        pipe,
        copies: false,
    }
}

fn pipe_to_tcp(pipe: usize, len: u64) -> Op {
    Op::PipeToTcp {
        pipe,
        connection: 0,
        len,
        mss: 60_000,
        copies: false,
        times: 1,
    }
}

/// A tee shows the pages of a FIFO's next life, at addresses that the life before had.
#[test]
fn tee_of_a_reopened_fifo_is_unknown() {
    let fifo = FIFO;
    let (from, to) = (fifo, 0);
    let tee = Op::Tee { from, to, len: 4096 };
    let read = Op::PipeToFile { pipe: to, len: 4096 };
    check_program(&[
        file_to_pipe(0, 4096, fifo),
        Op::ReopenFifo { recorded: false },
        tee,
        read,
    ]);
}

/// The bytes of two connections of one socket are summed up in one flow. A retransmission on the
/// second concerns no bytes of the first.
#[test]
fn retransmission_concerns_no_other_connection() {
    let reconnect = Op::Reconnect {
        connection: 0,
        reuses_sock: true,
        distance: 0,
    };
    let retransmit = Op::Retransmit {
        connection: 0,
        pick: 1,
        range: (0, 100),
        way: Way::OtherPages,
        arrives: false,
    };
    check_program(&[
        file_to_pipe(0, 4096, 0),
        pipe_to_tcp(0, 4096),
        reconnect,
        file_to_pipe(0, 10, 0),
        file_to_pipe(1, 100, 0),
        pipe_to_tcp(0, 110),
        retransmit,
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// With all records in order, everything is known, and correctly.
    #[test]
    fn bytes_observed_in_order_have_a_known_verdict(ops in prop::collection::vec(op(), 1..60)) {
        let mut kernel = ModelKernel::new();
        // Replacing a ring that is not empty makes its bytes unknown by design.
        run_in_order(&mut kernel, ops.into_iter().filter(|op| !matches!(op, Op::Resize { .. } | Op::ReopenFifo { .. })));
        let report = report_of(&kernel.records);
        check_no_false_verdict(&report, &kernel.truth)?;
        let bytes = reported_bytes(&report);
        // Appended bytes have no page of their own to be checked later, but they are copied for
        // certain.
        for (key, (moved, copied)) in merged(&kernel.truth) {
            if key.1 == Sink::Memory { continue }
            // The content of a snapshot was known already: its origin stays.
            let truth = if key.0 == model_kernel::SNAPSHOT { (0, 0) } else { (moved, copied) };
            let (m, c, u) = bytes.get(&key).copied().unwrap_or_default();
            if key.0.is_some_and(|origin| origin >= 700) && kernel.disputed > 0 {
                // Which of two packets arrived is not known to the receiver's flow.
                prop_assert_eq!(m + c + u, truth.0 + truth.1, "{:?}", key);
                continue;
            }
            prop_assert_eq!((m, c, u), (truth.0, truth.1, 0), "{:?}", key);
        }
        let unseen: u64 = report.flows.iter().filter(|flow| is_of_unseen_sender(flow)).map(|flow| flow.account.unknown).sum();
        prop_assert_eq!(unseen, kernel.unseen, "bytes that no call sent");
    }

    /// No false verdict follows from untraced processes and rings that are replaced.
    #[test]
    fn replaced_rings_yield_no_false_verdict(ops in prop::collection::vec(op(), 1..60)) {
        let mut kernel = ModelKernel::new();
        run_in_order(&mut kernel, ops);
        check_no_false_verdict(&report_of(&kernel.records), &kernel.truth)?;
    }

    /// Pre-existing content of a pipe is followed from there, if everything after it is observed.
    #[test]
    fn pre_existing_bytes_of_a_pipe_are_known_from_the_pipe_on(
        before in prop::collection::vec(op(), 1..30),
        after in prop::collection::vec(op(), 1..30),
    ) {
        let mut kernel = ModelKernel::new();
        run_in_order(&mut kernel, before);
        // Tracing starts here.
        kernel.start_tracing();
        for pipe in 0..3 {
            let done = kernel.take_snapshot(pipe, true);
            kernel.exit(done);
        }
        // Pre-existing content of a connection is not recorded, and a replaced ring is desynced.
        let is_followed = |op: &Op| !matches!(op, Op::Resize { .. } | Op::ReopenFifo { .. } | Op::TcpToPipe { .. } | Op::Snapshot { .. });
        run_in_order(&mut kernel, after.into_iter().filter(is_followed));
        let report = report_of(&kernel.records);
        check_no_false_verdict(&report, &kernel.truth)?;
        let bytes = reported_bytes(&report);
        for (key, (moved, copied)) in merged(&kernel.truth) {
            if key.0 != model_kernel::SNAPSHOT || key.1 == Sink::Memory { continue }
            let sum = bytes.get(&key).copied().unwrap_or_default();
            prop_assert_eq!(sum, (moved, copied, 0), "{:?}", key);
        }
    }

    /// No false verdict follows from lost, late or reordered records.
    #[test]
    fn no_input_yields_a_false_verdict(
        ops in prop::collection::vec(op(), 1..60),
        late in prop::collection::vec(0..4_usize, 60),
        lose in prop::collection::vec(prop::bool::weighted(0.03), 400),
        swap in prop::collection::vec(prop::bool::weighted(0.1), 400),
    ) {
        let mut kernel = ModelKernel::new();
        let mut pending: Vec<(usize, Done)> = Vec::new();
        for (op, late) in ops.into_iter().zip(late) {
            // A slot that is overwritten before its consumer returns shows no owner, so that only
            // the open shows another life (limit L1c).
            let op = match op {
                Op::ReopenFifo { .. } => Op::ReopenFifo { recorded: true },
                other => other,
            };
            let inside: Vec<&Done> = pending.iter().map(|(_, done)| done).collect();
            if let Some(done) = run(&mut kernel, op, &inside) {
                pending.push((late, done));
            }
            for (left, _) in &mut pending {
                *left = left.saturating_sub(1);
            }
            while let Some(at) = pending.iter().position(|(left, _)| *left == 0) {
                let (_, done) = pending.remove(at);
                kernel.exit(done);
            }
        }
        for (_, done) in pending {
            kernel.exit(done);
        }
        let is_kept = |at: usize| kernel.sole_witnesses.contains(&at);
        let mut order: Vec<usize> = (0..kernel.records.len())
            .filter(|&at| is_kept(at) || !lose.get(at).copied().unwrap_or(false))
            .collect();
        for (at, swap) in swap.into_iter().enumerate() {
            if swap && at + 1 < order.len() && !is_kept(order[at]) && !is_kept(order[at + 1]) {
                order.swap(at, at + 1);
            }
        }
        let records: Vec<Record> = order.into_iter().map(|at| kernel.records[at]).collect();
        check_no_false_verdict(&report_of(&records), &kernel.truth)?;
    }
}
