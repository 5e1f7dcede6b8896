//! Reports to draw, each with its predecessor.

use zctrace_contract::Reason;
use zctrace_report::{
    Account, Call, CallSite, Cause, Endpoint, EndpointKind, Flow, JournalAgreement, Pipe, PipeLimits, Process, Report,
    Scope, ScopeKind, Segment, Tier,
};

use crate::render::fixtures::nginx;

/// A fixture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scenario {
    /// A busy server.
    Live,
    /// Nothing has happened.
    Empty,
    /// Nothing has happened, and records were lost.
    Loss,
    /// Nothing could be shown.
    Inconclusive,
    /// Names with control characters and other hostile text.
    Hostile,
}

pub(super) const ALL: [Scenario; 5] = [
    Scenario::Live,
    Scenario::Empty,
    Scenario::Loss,
    Scenario::Inconclusive,
    Scenario::Hostile,
];

/// Returns the previous report and the report.
pub(super) fn reports_of(of: Scenario) -> (Report, Report) {
    match of {
        Scenario::Live => pair(server()),
        Scenario::Empty => {
            let mut report = nginx();
            report.flows.clear();
            report.processes.clear();
            report.peeks.clear();
            report.segments.clear();
            report.overhead.copying_ns_estimate = None;
            report.overhead.copy_bytes_per_second = None;
            report.summarize();
            (report.clone(), report)
        }
        Scenario::Loss => {
            let mut report = server();
            report.loss.sequence_gaps = 1234;
            report.loss.affected_flows = 3;
            let (mut before, now) = pair(report);
            before.loss.sequence_gaps = 0;
            (before, now)
        }
        Scenario::Inconclusive => {
            let mut report = server();
            for flow in &mut report.flows {
                let all = flow.payload;
                flow.set_account(Account::new(0, 0, all));
                flow.certificate = None;
                flow.peeked_bytes = 0;
                flow.reasons = vec![Cause::new(Reason::NotObserved, all, flow.calls)];
            }
            report.peeks.clear();
            report.segments.clear();
            report
                .coverage
                .facts
                .iter_mut()
                .for_each(|fact| fact.status = zctrace_report::FactStatus::Untested);
            report.overhead.fell_back_to_counters = true;
            report.summarize();
            (report.clone(), report)
        }
        Scenario::Hostile => {
            let mut report = server();
            let nasty = "/srv/\u{1b}[2J\r\n\u{202e}gnp.日本語/naïve file (1).mp4";
            for flow in &mut report.flows {
                flow.from.name = nasty.to_owned();
                flow.to.name = format!("{nasty}{}", "long".repeat(40));
                flow.process = "\u{7}\u{9b}31mroot".to_owned();
            }
            for process in &mut report.processes {
                process.name = "\u{1b}]0;x\u{7}".to_owned();
            }
            report.scope = Scope::new(ScopeKind::Command);
            report.scope.command = vec!["sh".to_owned(), "-c".to_owned(), "printf '\u{1b}[31m'\n".to_owned()];
            (report.clone(), report)
        }
    }
}

/// Adds the report of a second before.
fn pair(now: Report) -> (Report, Report) {
    let mut before = now.clone();
    for flow in &mut before.flows {
        let part = |bytes: u64| bytes - bytes / 10;
        let account = &flow.account;
        flow.set_account(Account::new(
            part(account.moved),
            part(account.copied),
            part(account.unknown),
        ));
        flow.reasons
            .iter_mut()
            .for_each(|cause| cause.bytes = part(cause.bytes));
    }
    before.processes.truncate(1);
    before.provenance.duration_ns -= 1_000_000_000;
    before.overhead.own_cpu_ns -= 12_000_000;
    before.summarize();
    (before, now)
}

/// The server of the text report's samples, and a program that uses buffer lists.
fn server() -> Report {
    let mut report = nginx();
    let mut ingest = Flow::new(
        Endpoint::new(EndpointKind::Tcp, "192.168.100.200:40112"),
        Endpoint::new(
            EndpointKind::DirectFile,
            "/var/lib/ingest/segments/2026-11-23/000017.bin",
        ),
    );
    ingest.path = vec![EndpointKind::Tcp, EndpointKind::Pipe, EndpointKind::DirectFile];
    (ingest.process, ingest.pid) = ("ingest".to_owned(), Some(4711));
    ingest.call_names = vec![Call::Splice];
    ingest.calls = 2048;
    ingest.set_account(Account::new(60 << 20, 4 << 20, 0));
    ingest.certificate = report.flows[0].certificate.clone();
    if let Some(certificate) = &mut ingest.certificate {
        certificate.bytes = 60 << 20;
        certificate.hops.iter_mut().for_each(|hop| hop.bytes = 60 << 20);
    }
    let mut cause = Cause::new(Reason::Misaligned, 4 << 20, 64);
    cause.call_site = Some(CallSite {
        file: "src/ingest.rs".to_owned(),
        line: 88,
        ..CallSite::default()
    });
    ingest.reasons.push(cause);
    let ingest = report.add_flow(ingest);
    let mut process = Process::new(4711, "ingest");
    process.calls = 2048;
    process.set_account(Account::new(60 << 20, 4 << 20, 0));
    report.processes.push(process);
    for (id, agreement, why) in [
        (41, JournalAgreement::Agrees, ""),
        (
            18,
            JournalAgreement::Disagrees,
            "the program counted 65 536 bytes, and the kernel's pipe has 61 440",
        ),
        (
            43,
            JournalAgreement::Inconclusive,
            "a record of the journal was overwritten",
        ),
    ] {
        let mut segment = Segment::new(id, 1 << 20);
        segment.pid = Some(4711);
        segment.process = "ingest".to_owned();
        segment.ranges = vec![(0..1 << 20).into()];
        segment.flow = Some(ingest);
        segment.operation = "fill".to_owned();
        segment.call_site = Some(CallSite {
            file: "src/ingest.rs".to_owned(),
            line: 71,
            ..CallSite::default()
        });
        segment.pipe = Some(90_124);
        segment.agreement = agreement;
        segment.detail = why.to_owned();
        report.segments.push(segment);
    }
    for (inode, used, bytes, pid, name) in [
        (90_124, 16, Some(61_440), 4711, "ingest"),
        (90_121, 3, None, 813, "nginx"),
        (90_130, 0, Some(0), 813, "nginx"),
    ] {
        report.pipes.push(Pipe {
            used_slots: used,
            max_used_slots: 16,
            bytes,
            resizes: u32::from(inode == 90_121),
            calls: 2048,
            pids: vec![pid],
            processes: vec![name.to_owned()],
            idle_ns: if inode == 90_130 { 1_200_000_000 } else { 0 },
            ..Pipe::new(inode, 16)
        });
    }
    report.pipe_limits = Some(PipeLimits {
        max_size: 1 << 20,
        user_pages_soft: 16_384,
        user_pages_hard: 0,
    });
    report.provenance.started_unix_ms = None;
    report.finish(50);
    assert_eq!(report.check(), Ok(()));
    assert_eq!(report.tier, Tier::T0);
    report
}
