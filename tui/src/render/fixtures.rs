//! A report to render in tests, and the comparison of a rendered text with its snapshot.

use std::path::Path;

use zctrace_contract::Reason;
use zctrace_report::{
    Account, Call, CallSite, Cause, Certificate, CompletionSource, Custody, Endpoint, EndpointKind, Fact, FactStatus,
    Flow, Hop, JournalAgreement, Level, NotCovered, PageExample, Peek, Process, ProofKind, Report, Scope, ScopeKind,
    Segment, SegmentNames, Station, StationKind, Subcommand, Tier, ZerocopySummary,
};

use crate::render::text::WIDTH;

const MIB: u64 = 1 << 20;

/// Asserts that no line is too wide or ends in a space.
pub(crate) fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{}: {line}", line.chars().count());
        assert_eq!(line.trim_end(), line, "no space at the end");
    }
}

/// Asserts that a text equals its snapshot in `src/render/snapshots`.
pub(crate) fn assert_snapshot(shown: &str, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/snapshots");
    test_support::assert_snapshot(folder.join(name), shown);
}

/// Returns a service by its port.
fn service(port: u16) -> Endpoint {
    let mut end = Endpoint::new(EndpointKind::Tcp, "");
    end.port = Some(port);
    end
}

/// Returns ten seconds of a file server: most bytes moved, some copied for two reasons, a few still
/// queued, some read, and one peek.
pub(crate) fn nginx() -> Report {
    let mut scope = Scope::new(ScopeKind::Processes);
    scope.pids = vec![812];
    scope.follow = true;
    let mut report = Report::new(Tier::T0, scope);
    report.provenance.command = Some(Subcommand::Run);
    report.provenance.zctrace_version = "0.1.0".to_owned();
    report.provenance.kernel_release = "6.18.44".to_owned();
    report.provenance.object_hash = Some("3f9c".repeat(16));
    report.provenance.duration_ns = 10_000_000_000;

    let videos = || Endpoint::new(EndpointKind::File, "/srv/video/*");
    let mut sent = flow(
        videos(),
        service(80),
        Call::Sendfile,
        1912,
        Account::new(6758 * MIB, 0, 0),
        &[],
    );
    sent.certificate = Some(certificate(6758 * MIB));
    sent.peeked_bytes = 64 << 10;
    let sent = report.add_flow(sent);
    let memory = || Endpoint::new(EndpointKind::Memory, "");
    let tls = [(Reason::FromMemory, 2764 * MIB)];
    report.add_flow(flow(
        memory(),
        service(443),
        Call::Write,
        300,
        Account::new(0, 2764 * MIB, 0),
        &tls,
    ));
    let headers = [(Reason::SmallWrite, 4 * MIB)];
    report.add_flow(flow(
        memory(),
        service(80),
        Call::Write,
        1912,
        Account::new(0, 4 * MIB, 0),
        &headers,
    ));
    let queued = [(Reason::StillQueued, 1_468_006)];
    report.add_flow(flow(
        videos(),
        service(80),
        Call::Sendfile,
        3,
        Account::new(0, 0, 1_468_006),
        &queued,
    ));
    let mut to_null = Account::default();
    to_null.excluded.discarded = 8192;
    report.add_flow(flow(
        videos(),
        Endpoint::new(EndpointKind::Null, "/dev/null"),
        Call::Splice,
        1,
        to_null,
        &[],
    ));
    let requests = [(Reason::IntoMemory, 8 * MIB)];
    report.add_flow(flow(
        service(443),
        memory(),
        Call::Recv,
        300,
        Account::new(0, 8 * MIB, 0),
        &requests,
    ));

    report.peeks.push(Peek {
        flow: Some(sent),
        call_site: Some(place("src/ingest.rs", 88)),
        operation: "to_bytes".to_owned(),
        method: "tee(2) then read(2)".to_owned(),
        segment: Some(17),
        range: Some((0..65_536).into()),
        pid: Some(4711),
        thread: "ingest-2".to_owned(),
        ..Peek::new(64 << 10, 1)
    });
    for (id, line, agreement, why) in [
        (17, 41, JournalAgreement::Agrees, ""),
        (
            18,
            41,
            JournalAgreement::Disagrees,
            "The program says that 4096 bytes went into pipe 90121 at byte 65536 of its stream, and the kernel saw 8192.",
        ),
    ] {
        let mut segment = Segment::new(id, 64 << 10);
        segment.pid = Some(4711);
        segment.process = "ingest".to_owned();
        segment.ranges = vec![(0..65_536).into()];
        segment.flow = Some(sent);
        segment.operation = "fill".to_owned();
        segment.call_site = Some(place("src/ingest.rs", line));
        segment.pipe = Some(90_121);
        segment.agreement = agreement;
        why.clone_into(&mut segment.detail);
        report.segments.push(segment);
    }
    for (pid, payload) in [(812, 0), (813, 5000 * MIB), (814, 1758 * MIB)] {
        let mut process = Process::new(pid, "nginx");
        process.set_account(Account::new(payload, payload / 3, 0));
        report.processes.push(process);
    }
    surroundings(&mut report);
    report.finish(50);
    assert_eq!(report.check(), Ok(()));
    report
}

fn place(file: &str, line: u32) -> CallSite {
    CallSite {
        file: file.to_owned(),
        line,
        ..CallSite::default()
    }
}

fn flow(from: Endpoint, to: Endpoint, call: Call, folded: u64, account: Account, reasons: &[(Reason, u64)]) -> Flow {
    let mut flow = Flow::new(from, to);
    flow.process = "nginx".to_owned();
    flow.call_names = vec![call];
    flow.calls = folded * 7;
    flow.folded = folded;
    flow.set_account(account);
    for &(reason, bytes) in reasons {
        let mut cause = Cause::new(reason, bytes, flow.calls);
        if reason == Reason::FromMemory {
            cause.call_site = Some(CallSite {
                function: Some("SSL_write".to_owned()),
                object: Some("libssl.so.3".to_owned()),
                ..CallSite::default()
            });
        }
        flow.reasons.push(cause);
    }
    flow
}

fn certificate(bytes: u64) -> Certificate {
    let mut certificate = Certificate::new(Level::Full, "the queue of eth0", bytes);
    let file = Endpoint::new(EndpointKind::File, "/srv/video/a.mp4");
    let pipe = Endpoint::new(EndpointKind::Pipe, "90121");
    let socket = Endpoint::new(EndpointKind::Tcp, "10.0.0.7:40112");
    for (kind, of, seen_by, shown, calls) in [
        (
            StationKind::PageCache,
            file,
            "the page's own file and index",
            ProofKind::Start,
            0,
        ),
        (
            StationKind::PipeSlot,
            pipe,
            "ring before/after splice",
            ProofKind::Identity,
            1024,
        ),
        (
            StationKind::SkbFrag,
            socket,
            "net_dev_start_xmit",
            ProofKind::Identity,
            2341,
        ),
    ] {
        let start = shown == ProofKind::Start;
        let mut hop = Hop::new(Station::new(kind, of), seen_by, Tier::T0, shown, bytes);
        hop.calls = calls;
        hop.pages = bytes / 4096;
        hop.custody = if start { Custody::NotObserved } else { Custody::Assumed };
        hop.segments = (hop.station.kind == StationKind::PipeSlot).then(|| SegmentNames {
            bytes: 128 << 10,
            count: 2,
            ids: vec![17, 18],
            pid: Some(4711),
            agreement: JournalAgreement::Inconclusive,
            detail: "The journal of pid 4711 began later than the bytes.".to_owned(),
        });
        certificate.hops.push(hop);
    }
    certificate.examples.push(PageExample {
        offset: 1_048_576,
        len: 4096,
        page: "c41e07".to_owned(),
        held_by: ["a.mp4 @1048576", "slot 0 of pipe 90121", "frag 3"]
            .map(str::to_owned)
            .to_vec(),
    });
    certificate
        .not_proved
        .push("What the device did below its queue.".to_owned());
    certificate
}

/// Adds cost and coverage.
fn surroundings(report: &mut Report) {
    let fact = |name: &str, alive| Fact {
        name: name.to_owned(),
        observed_by: String::new(),
        tier: Tier::T0,
        status: alive,
        verified_unix_ms: None,
        missing_reason: String::new(),
        hint: String::new(),
    };
    report.coverage.facts = vec![
        fact("pages in packets", FactStatus::Verified),
        fact("pages to disk", FactStatus::Verified),
    ];
    let mut absent = fact("splice by io_uring", FactStatus::Unavailable);
    absent.missing_reason = "needs tier T1".to_owned();
    report.coverage.facts.push(absent);
    report.coverage.not_covered = vec![
        NotCovered {
            operation: "memcpy in the program".to_owned(),
            ..NotCovered::default()
        },
        NotCovered {
            operation: "requests of io_uring".to_owned(),
            calls: Some(12),
            bytes: Some(49_152),
            ..NotCovered::default()
        },
    ];
    report.zerocopy_completions = vec![ZerocopySummary {
        pid: 813,
        process: "nginx".to_owned(),
        to: Some(Endpoint::new(EndpointKind::Tcp, "10.0.0.7:41000")),
        source: CompletionSource::ErrorQueue,
        sends: 1200,
        copied_sends: 1,
        unreported_sends: 0,
    }];
    report.overhead.own_cpu_ns = 110_000_000;
    report.overhead.reader_cpu_ns = 90_000_000;
    report.overhead.bpf_programs_ns = Some(60_000_000);
    report.overhead.per_syscall_ns = Some(45.2);
    report.overhead.records = 123_456;
    report.overhead.estimate_copying(2768 * MIB, 5 << 30);
}
