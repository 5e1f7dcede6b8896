//! Reports from which the committed samples are generated.

#![allow(dead_code)] // Each test binary uses its own part.
#![allow(clippy::assigning_clones)] // Filling in a fresh value reads better as an assignment.

use std::path::PathBuf;

use zctrace_contract::Reason;
use zctrace_report::{
    Account, ByteRange, Call, CallSite, Cause, Certificate, Custody, Digest, Edge, Endpoint, EndpointKind, Fact,
    FactStatus, Flow, Hop, JournalAgreement, Level, Loss, NotCovered, OracleVerdict, PageExample, Peek, Pipe,
    PipeLimits, Process, ProofKind, Report, Scope, ScopeKind, Segment, SegmentNames, Station, StationKind, Subcommand,
    Tier,
};

const MIB: u64 = 1 << 20;

/// Returns the path of a committed file of this crate.
pub(crate) fn committed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the text of a sample.
pub(crate) fn sample(name: &str) -> String {
    let path = committed("tests/samples").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Asserts that a committed file has this content. Removing a field from the schema or the samples,
/// or changing its type, needs a new major version.
pub(crate) fn assert_committed(name: &str, content: &str) {
    test_support::assert_snapshot(committed(name), content);
}

fn end(kind: EndpointKind, name: &str) -> Endpoint {
    Endpoint::new(kind, name)
}

/// Returns a report like that of `zctrace demo` without privileges.
pub(crate) fn demo() -> Report {
    let mut scope = Scope::new(ScopeKind::Library);
    scope.pids = vec![4711];
    let mut report = Report::new(Tier::L, scope);
    report.provenance.command = Some(Subcommand::Demo);
    report.provenance.zctrace_version = "0.1.0".to_owned();
    report.provenance.kernel_release = "6.18.44".to_owned();
    report.provenance.started_unix_ms = Some(1_795_435_471_118);
    report.provenance.duration_ns = 812_345_678;

    let mut relay = Flow::new(
        end(EndpointKind::Tcp, "127.0.0.1:40112"),
        end(EndpointKind::Tcp, "127.0.0.1:40114"),
    );
    relay.name = Some("TCP → pipe → TCP".to_owned());
    relay.path = vec![EndpointKind::Tcp, EndpointKind::Pipe, EndpointKind::Tcp];
    relay.call_names = vec![Call::Splice];
    relay.calls = 2048;
    relay.set_account(Account::new(64 * MIB, 0, 0));
    relay.peeked_bytes = 65_536;
    relay.oracle = Some(OracleVerdict::Shared);
    relay.content_ok = Some(true);
    let relay = report.add_flow(relay);

    let mut buffered = Flow::new(
        end(EndpointKind::File, "/tmp/zc/a.bin"),
        end(EndpointKind::File, "/tmp/zc/b.bin"),
    );
    buffered.name = Some("file → pipe → buffered file".to_owned());
    buffered.path = vec![EndpointKind::File, EndpointKind::Pipe, EndpointKind::File];
    buffered.call_names = vec![Call::Splice];
    buffered.calls = 2048;
    buffered.set_account(Account::new(0, 64 * MIB, 0));
    buffered.reasons = vec![Cause::new(Reason::PageCacheSink, 64 * MIB, 1024)];
    buffered.oracle = Some(OracleVerdict::Private);
    buffered.content_ok = Some(true);
    report.add_flow(buffered);

    let mut direct = Flow::new(
        end(EndpointKind::File, "/tmp/zc/a.bin"),
        end(EndpointKind::DirectFile, "/tmp/zc/c.bin"),
    );
    direct.name = Some("file → pipe → disk".to_owned());
    direct.path = vec![EndpointKind::File, EndpointKind::Pipe, EndpointKind::DirectFile];
    direct.call_names = vec![Call::Splice];
    direct.calls = 2048;
    direct.set_account(Account::new(0, 0, 64 * MIB));
    direct.reasons = vec![Cause::new(Reason::DirectDevice, 64 * MIB, 1024)];
    direct.oracle = Some(OracleVerdict::NotTested);
    direct.content_ok = Some(true);
    report.add_flow(direct);

    let mut look = Peek::new(65_536, 1);
    look.flow = Some(relay);
    look.call_site = Some(CallSite {
        file: "src/ingest.rs".to_owned(),
        line: 88,
        ..CallSite::default()
    });
    look.operation = "to_bytes".to_owned();
    look.method = "tee(2) then read(2)".to_owned();
    look.segment = Some(17);
    look.range = Some(ByteRange::from(0..65_536));
    look.pid = Some(4711);
    look.thread = "ingest-2".to_owned();
    look.first_unix_ms = Some(1_795_435_471_118);
    report.peeks.push(look);
    report.finish(50);
    report
}

/// Returns a report like that of `zctrace run` about a web server, observed by raw tracepoints.
pub(crate) fn run() -> Report {
    let mut scope = Scope::new(ScopeKind::Processes);
    scope.pids = vec![812];
    scope.follow = true;
    let mut report = Report::new(Tier::T0, scope);
    report.provenance.command = Some(Subcommand::Run);
    report.provenance.zctrace_version = "0.1.0".to_owned();
    report.provenance.kernel_release = "6.18.44".to_owned();
    report.provenance.object_hash = Some("3f9c27e1".to_owned());
    report.provenance.started_unix_ms = Some(1_795_435_471_000);
    report.provenance.duration_ns = 10_000_000_000;

    let video = end(EndpointKind::File, "/srv/video/*");
    let mut http = end(EndpointKind::Tcp, "");
    http.port = Some(80);
    let mut https = http.clone();
    https.port = Some(443);

    let mut sent = Flow::new(video.clone(), http.clone());
    sent.process = "nginx".to_owned();
    sent.folded = 1912;
    sent.call_names = vec![Call::Sendfile];
    sent.calls = 105_600;
    sent.set_account(Account::new(6600 * MIB, 0, 0));
    sent.certificate = Some(certificate(&video, &http, 48 * MIB));
    let sent = report.add_flow(sent);

    let mut tls = Flow::new(end(EndpointKind::Memory, ""), https);
    tls.process = "nginx".to_owned();
    tls.folded = 310;
    tls.call_names = vec![Call::Write];
    tls.calls = 172_800;
    tls.set_account(Account::new(0, 2700 * MIB, 0));
    let mut from_memory = Cause::new(Reason::FromMemory, 2700 * MIB, 172_800);
    from_memory.call_site = Some(CallSite {
        function: Some("SSL_write".to_owned()),
        object: Some("libssl.so.3".to_owned()),
        ..CallSite::default()
    });
    tls.reasons = vec![from_memory];
    report.add_flow(tls);

    let mut queued = Flow::new(video.clone(), http.clone());
    queued.pid = Some(814);
    queued.process = "nginx".to_owned();
    queued.call_names = vec![Call::Sendfile];
    queued.calls = 3;
    let mut account = Account::new(MIB, 0, 1_400_000);
    account.excluded.zero = 8192;
    queued.set_account(account);
    queued.reasons = vec![Cause::new(Reason::StillQueued, 1_400_000, 2)];
    queued.certificate = Some(certificate(&video, &http, MIB));
    report.add_flow(queued);

    let mut requests = Flow::new(http.clone(), end(EndpointKind::Memory, ""));
    requests.process = "nginx".to_owned();
    requests.folded = 1912;
    requests.call_names = vec![Call::Recv];
    requests.calls = 4000;
    requests.set_account(Account::new(0, 8_493_465, 0));
    requests.reasons = vec![Cause::new(Reason::IntoMemory, 8_493_465, 4000)];
    report.add_flow(requests);

    let mut edge = Edge::new(
        Call::Sendfile,
        Station::new(StationKind::PageCache, video),
        Station::new(StationKind::SkbFrag, http),
    );
    edge.flow = Some(sent);
    edge.pid = Some(813);
    edge.calls = 105_600;
    edge.failed_calls = 12;
    edge.set_account(Account::new(6600 * MIB, 0, 0));
    report.edges.push(edge);

    let mut segment = Segment::new(17, MIB);
    segment.pid = Some(814);
    segment.process = "nginx".to_owned();
    segment.ranges = vec![ByteRange::from(0..MIB)];
    segment.flow = Some(sent);
    segment.operation = "fill".to_owned();
    segment.call_site = Some(CallSite {
        file: "src/serve.rs".to_owned(),
        line: 41,
        ..CallSite::default()
    });
    segment.pipe = Some(90_124);
    segment.agreement = JournalAgreement::Agrees;
    report.segments.push(segment);

    report.pipes.push(Pipe {
        used_slots: 15,
        max_used_slots: 16,
        bytes: Some(61_440),
        resizes: 1,
        calls: 2048,
        pids: vec![813],
        processes: vec!["nginx".to_owned()],
        idle_ns: 1_200_000,
        ..Pipe::new(90_124, 16)
    });
    report.pipe_limits = Some(PipeLimits {
        max_size: 1 << 20,
        user_pages_soft: 16_384,
        user_pages_hard: 0,
    });

    let mut worker = Process::new(813, "nginx");
    worker.parent_pid = Some(812);
    worker.ns_pid = Some(7);
    worker.cgroup = Some("/system.slice/nginx.service".to_owned());
    worker.threads = 1;
    worker.calls = 280_000;
    worker.set_account(Account::new(6600 * MIB, 2700 * MIB, 0));
    worker.into_memory = 8_493_465;
    worker.alive = true;
    report.processes.push(worker);

    report.loss = Loss::default();
    report.coverage.facts = vec![
        fact("pages in packets", "net_dev_start_xmit", Tier::T0, FactStatus::Verified),
        Fact {
            verified_unix_ms: None,
            missing_reason: "needs fentry, which is refused here (EPERM)".to_owned(),
            hint: "sudo zctrace doctor".to_owned(),
            ..fact("splice by io_uring", "", Tier::T1, FactStatus::Unavailable)
        },
    ];
    report.coverage.not_covered = vec![NotCovered {
        operation: "splice by io_uring".to_owned(),
        calls: Some(2),
        ..NotCovered::default()
    }];
    report.overhead.own_cpu_ns = 110_000_000;
    report.overhead.reader_cpu_ns = 60_000_000;
    report.overhead.bpf_programs_ns = Some(45_000_000);
    report.overhead.per_syscall_ns = Some(27.5);
    report.overhead.records = 211_200;
    report.overhead.record_bytes = 40_550_400;
    report.overhead.estimate_copying(2700 * MIB, 4 << 30);
    report.finish(50);
    report
}

fn fact(name: &str, observed_by: &str, tier: Tier, status: FactStatus) -> Fact {
    Fact {
        name: name.to_owned(),
        observed_by: observed_by.to_owned(),
        tier,
        status,
        verified_unix_ms: Some(1_795_428_271_000),
        missing_reason: String::new(),
        hint: String::new(),
    }
}

fn certificate(from: &Endpoint, to: &Endpoint, bytes: u64) -> Certificate {
    let mut certificate = Certificate::new(Level::Digest, "eth0", bytes);
    let pages = bytes / 4096;
    let start = Station::new(StationKind::PageCache, from.clone());
    let mut start = Hop::new(start, "sock_send_length", Tier::T0, ProofKind::Start, bytes);
    start.calls = 768;
    start.pages = pages;
    let sent = Station::new(StationKind::SkbFrag, to.clone());
    let mut sent = Hop::new(sent, "net_dev_start_xmit", Tier::T0, ProofKind::Digest, bytes);
    sent.calls = 1790;
    sent.pages = pages;
    sent.custody = Custody::Assumed;
    sent.segments = Some(SegmentNames {
        bytes: bytes - 4096,
        count: 48,
        ids: vec![17, 18, 19],
        pid: Some(814),
        agreement: JournalAgreement::Inconclusive,
        detail: "The journal of the program lost records.".to_owned(),
    });
    certificate.hops = vec![start, sent];
    certificate.digest = Some(Digest {
        checkpoints: bytes >> 20,
        equal: bytes >> 20,
        interval_bytes: MIB,
        full_records_one_in: 16,
    });
    certificate.examples = vec![PageExample {
        offset: 65_536,
        len: 4096,
        page: "c41e07".to_owned(),
        held_by: vec!["page 16 of the file".to_owned(), "frag 3".to_owned()],
    }];
    certificate.not_proved = vec![
        "That the bytes were not changed in place: contents are never read.".to_owned(),
        "What the device did below its driver.".to_owned(),
    ];
    certificate
}
