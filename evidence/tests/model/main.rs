//! The evidence engine against a model kernel that knows the truth: no input may yield a false
//! "moved" or a false "copied".
//!
//! Random programs run on [`model_kernel::ModelKernel`]. With all records in order, nothing may be
//! unknown. Then records are lost, reordered and delayed, pages are reused at once, and rings are
//! replaced: bytes may become unknown, but never moved or copied if they were not.

mod journal;
mod model_kernel;

use std::collections::{HashMap, HashSet};

use model_kernel::{Done, ModelKernel, Record, Sink, Truth};
use proptest::prelude::*;
use zctrace_evidence::{Config, Evidence, PipeBufOps};
use zctrace_records::decode::{Decoder, RecordRef};
use zctrace_records::{MAPPING_NOT_READ, PageRecord, station_kind};
use zctrace_report::{EndpointKind, Report, Scope, ScopeKind, Tier};

/// Next operation of a random program.
#[derive(Clone, Copy, Debug)]
enum Op {
    FileToPipe {
        file: usize,
        start: u64,
        len: u64,
        pipe: usize,
        copies: bool,
    },
    Write {
        len: u64,
        pipe: usize,
    },
    PipeToDisk {
        pipe: usize,
        len: u64,
        falls_back: bool,
    },
    PipeToFile {
        pipe: usize,
        len: u64,
    },
    Read {
        pipe: usize,
        len: u64,
    },
    PipeToPipe {
        from: usize,
        to: usize,
        len: u64,
    },
    Tee {
        from: usize,
        to: usize,
        len: u64,
    },
    PipeToTcp {
        pipe: usize,
        connection: usize,
        len: u64,
        mss: u32,
        copies: bool,
        times: u32,
    },
    TcpToPipe {
        connection: usize,
        pipe: usize,
        len: u64,
        copies: bool,
    },
    Resize {
        pipe: usize,
        recorded: bool,
    },
    Snapshot {
        pipe: usize,
        immediately: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let pipe = 0..3_usize;
    let len = prop_oneof![
        1..200_u64,
        4000..4200_u64,
        1..70_000_u64,
        Just(4096_u64),
        Just(65_536_u64)
    ];
    let rarely = prop::bool::weighted(0.15);
    prop_oneof![
        4 => (0..3_usize, 0..100_000_u64, len.clone(), pipe.clone(), rarely)
            .prop_map(|(file, start, len, pipe, copies)| Op::FileToPipe { file, start, len, pipe, copies }),
        2 => (len.clone(), pipe.clone()).prop_map(|(len, pipe)| Op::Write { len, pipe }),
        2 => (pipe.clone(), len.clone(), rarely)
            .prop_map(|(pipe, len, falls_back)| Op::PipeToDisk { pipe, len, falls_back }),
        1 => (pipe.clone(), len.clone()).prop_map(|(pipe, len)| Op::PipeToFile { pipe, len }),
        1 => (pipe.clone(), len.clone()).prop_map(|(pipe, len)| Op::Read { pipe, len }),
        2 => (pipe.clone(), pipe.clone(), len.clone()).prop_map(|(from, to, len)| Op::PipeToPipe { from, to, len }),
        1 => (pipe.clone(), pipe.clone(), len.clone()).prop_map(|(from, to, len)| Op::Tee { from, to, len }),
        3 => (pipe.clone(), 0..2_usize, len.clone(), 500..70_000_u32, rarely, 1..3_u32)
            .prop_map(|(pipe, connection, len, mss, copies, times)| {
                Op::PipeToTcp { pipe, connection, len, mss, copies, times }
            }),
        3 => (0..2_usize, pipe.clone(), len, rarely)
            .prop_map(|(connection, pipe, len, copies)| Op::TcpToPipe { connection, pipe, len, copies }),
        1 => (pipe.clone(), any::<bool>()).prop_map(|(pipe, recorded)| Op::Resize { pipe, recorded }),
        2 => (pipe, any::<bool>()).prop_map(|(pipe, immediately)| Op::Snapshot { pipe, immediately }),
    ]
}

fn run(kernel: &mut ModelKernel, op: Op) -> Option<Done> {
    match op {
        Op::FileToPipe {
            file,
            start,
            len,
            pipe,
            copies,
        } => kernel.file_to_pipe(file, start, len, pipe, copies),
        Op::Write { len, pipe } => kernel.write(len, pipe),
        Op::PipeToDisk { pipe, len, falls_back } => kernel.pipe_to_disk(pipe, len, falls_back),
        Op::PipeToFile { pipe, len } => kernel.pipe_to_file(pipe, len),
        Op::Read { pipe, len } => kernel.read(pipe, len),
        Op::PipeToPipe { from, to, len } => kernel.pipe_to_pipe(from, to, len),
        Op::Tee { from, to, len } => kernel.tee(from, to, len),
        Op::PipeToTcp {
            pipe,
            connection,
            len,
            mss,
            copies,
            times,
        } => kernel.pipe_to_tcp(pipe, connection, len, mss, copies, times),
        Op::TcpToPipe {
            connection,
            pipe,
            len,
            copies,
        } => kernel.tcp_to_pipe(connection, pipe, len, copies),
        Op::Resize { pipe, recorded } => {
            kernel.resize(pipe, recorded);
            None
        }
        Op::Snapshot { pipe, immediately } => Some(kernel.take_snapshot(pipe, immediately)),
    }
}

/// Runs a program whose calls return one after the other.
fn run_in_order(kernel: &mut ModelKernel, ops: impl IntoIterator<Item = Op>) {
    for op in ops {
        if let Some(done) = run(kernel, op) {
            kernel.exit(done);
        }
    }
}

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

/// Returns a page record as the programs write it: pages that left a pipe show only their address,
/// and the owner of similar pages is recorded once.
fn as_written_by_programs(station: &PageRecord) -> PageRecord {
    let mut station = *station;
    if matches!(station.station, station_kind::PIPE_SOURCE | station_kind::PACKET) {
        for range in &mut station.ranges[..usize::from(station.count)] {
            (range.mapping, range.index, range.ops) = (MAPPING_NOT_READ, 0, 0);
        }
    }
    let mut bytes = Vec::new();
    RecordRef::Pages(&station).write(&mut bytes);
    match Decoder::default().decode(&bytes) {
        Ok(RecordRef::Pages(read)) => *read,
        other => panic!("{other:?}"),
    }
}

fn report_with(records: &[Record], convert: &dyn Fn(&PageRecord) -> PageRecord) -> Report {
    let mut evidence = evidence();
    for record in records {
        match record {
            Record::Station(station) => evidence.page_record(&convert(station)),
            Record::Call(call) => evidence.call(call),
            Record::Process(process) => evidence.process_event(process),
            Record::Snapshot(snapshot) => evidence.pipe_snapshot(snapshot),
        }
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
    for flow in &report.flows {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// With all records in order, everything is known, and correctly.
    #[test]
    fn bytes_observed_in_order_have_a_known_verdict(ops in prop::collection::vec(op(), 1..60)) {
        let mut kernel = ModelKernel::new();
        // Replacing a ring that is not empty makes its bytes unknown by design.
        run_in_order(&mut kernel, ops.into_iter().filter(|op| !matches!(op, Op::Resize { .. })));
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
            prop_assert_eq!((m, c, u), (truth.0, truth.1, 0), "{:?}", key);
        }
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
        kernel.records.clear();
        kernel.truth.clear();
        for pipe in 0..3 {
            let done = kernel.take_snapshot(pipe, true);
            kernel.exit(done);
        }
        // Pre-existing content of a connection is not recorded, and a replaced ring is desynced.
        let is_followed = |op: &Op| !matches!(op, Op::Resize { .. } | Op::TcpToPipe { .. } | Op::Snapshot { .. });
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
            if let Some(done) = run(&mut kernel, op) {
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
        let mut records: Vec<Record> = kernel
            .records
            .iter()
            .zip(lose.into_iter().chain(std::iter::repeat(false)))
            .filter(|(_, lose)| !lose)
            .map(|(record, _)| *record)
            .collect();
        for (at, swap) in swap.into_iter().enumerate() {
            if swap && at + 1 < records.len() {
                records.swap(at, at + 1);
            }
        }
        check_no_false_verdict(&report_of(&records), &kernel.truth)?;
    }
}
