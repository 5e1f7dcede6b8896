//! Requests of `io_uring`: the bytes of each have a verdict or a reason, whichever thread carries
//! it out.

use std::net::TcpStream;

use zctrace_report::{EndpointKind, Report};

use crate::fixtures::{file_with, open_direct, pattern, pipe, receive, tcp_connection};
use crate::harness::{copied, exclusive, flow, not_observed, reasons, reasons_of, totals, traced, unknown};
use crate::uring::{self, Request, Ring};

const LEN: usize = 1 << 20;

/// Sends all bytes by requests with these flags.
fn send_all(ring: &mut Ring, to: &TcpStream, bytes: &[u8], opcode: u8, flags: u8) {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let request = Request {
            flags,
            ..Request::with_memory(opcode, to, rest.as_ptr(), rest.len())
        };
        at += ring.run(request);
    }
}

/// Sends 1 MiB to a connection by requests and returns the report.
fn send_report(test: &str, opcode: u8, ring_flags: u32, flags: u8) -> Option<Report> {
    let bytes = pattern(LEN);
    traced(test, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let mut ring = Ring::new(ring_flags);
        send_all(&mut ring, &near, &bytes, opcode, flags);
        far.join().expect("received");
    })
}

/// Checks that the report has 1 MiB of this process as copied by contract.
fn assert_sent(report: &Report) {
    assert_eq!(totals(report, &EndpointKind::Memory, &EndpointKind::Tcp), copied(LEN));
    let sent = flow(report, &EndpointKind::Memory, &EndpointKind::Tcp);
    assert_eq!(sent.pid, Some(std::process::id()), "{sent:#?}");
    assert_eq!(sent.call_names[0].as_str(), "io_uring send");
    assert!(sent.to.name.starts_with("127.0.0.1:"), "{sent:#?}");
    let why = reasons(report, &EndpointKind::Memory, &EndpointKind::Tcp);
    assert_eq!(why, reasons_of([("ZC14", LEN)]));
}

#[test]
fn send_by_a_request_is_copied_by_contract() {
    const TEST: &str = "uring_requests::send_by_a_request_is_copied_by_contract";
    let _exclusive = exclusive();
    if let Some(report) = send_report(TEST, uring::SEND, 0, 0) {
        assert_sent(&report);
    }
}

#[test]
fn send_by_a_worker_belongs_to_the_submitter() {
    const TEST: &str = "uring_requests::send_by_a_worker_belongs_to_the_submitter";
    let _exclusive = exclusive();
    if let Some(report) = send_report(TEST, uring::SEND, 0, uring::ASYNC) {
        assert_sent(&report);
    }
}

#[test]
fn send_by_a_polling_kernel_thread_belongs_to_the_submitter() {
    const TEST: &str = "uring_requests::send_by_a_polling_kernel_thread_belongs_to_the_submitter";
    let _exclusive = exclusive();
    if let Some(report) = send_report(TEST, uring::SEND, uring::SQPOLL, 0) {
        assert_sent(&report);
    }
}

#[test]
fn zero_copy_send_is_unknown_with_its_reason() {
    const TEST: &str = "uring_requests::zero_copy_send_is_unknown_with_its_reason";
    let _exclusive = exclusive();
    let Some(report) = send_report(TEST, uring::SEND_ZC, 0, 0) else {
        return;
    };
    assert_eq!(totals(&report, &EndpointKind::Memory, &EndpointKind::Tcp), unknown(LEN));
    let why = reasons(&report, &EndpointKind::Memory, &EndpointKind::Tcp);
    assert_eq!(why, reasons_of([("ZC84", LEN)]));
}

#[test]
fn send_without_a_completion_is_listed() {
    const TEST: &str = "uring_requests::send_without_a_completion_is_listed";
    let _exclusive = exclusive();
    let bytes = pattern(4096);
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, bytes.len());
        let request = Request {
            flags: uring::SKIP_SUCCESS,
            ..Request::with_memory(uring::SEND, &near, bytes.as_ptr(), bytes.len())
        };
        Ring::new(0).submit(request, 0);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(not_observed(&report, "io_uring send without a completion"), 1);
}

#[test]
fn splice_by_a_request_is_unknown_at_its_sink() {
    const TEST: &str = "uring_requests::splice_by_a_request_is_unknown_at_its_sink";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("a directory");
    let Some(report) = traced(TEST, || {
        let file = file_with(&dir.path().join("source"), &pattern(65_536));
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).expect("seek");
        let (near, far) = tcp_connection();
        let far = receive(far, 65_536);
        let pipe = pipe();
        let mut ring = Ring::new(0);
        assert_eq!(ring.run(Request::splice(&file, &pipe.write, 65_536)), 65_536);
        assert_eq!(ring.run(Request::splice(&pipe.read, &near, 65_536)), 65_536);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &EndpointKind::Various, &EndpointKind::Tcp),
        unknown(65_536)
    );
    let why = reasons(&report, &EndpointKind::Various, &EndpointKind::Tcp);
    assert_eq!(why, reasons_of([("ZC84", 65_536)]));
    assert_eq!(report.totals().account.moved, 0);
}

#[test]
fn requests_on_files_are_copied_unless_they_are_direct() {
    const TEST: &str = "uring_requests::requests_on_files_are_copied_unless_they_are_direct";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir_in(".").expect("a directory on a disk");
    let path = dir.path().join("file");
    let Some(report) = traced(TEST, || {
        let file = file_with(&path, &[]);
        let mut memory = memmap2::MmapMut::map_anon(65_536).expect("memory");
        let mut ring = Ring::new(0);
        let request = |opcode, fd, memory: &mut memmap2::MmapMut| Request {
            ..Request::with_memory(opcode, fd, memory.as_ptr(), memory.len())
        };
        assert_eq!(ring.run(request(uring::WRITE, &file, &mut memory)), 65_536);
        let direct = open_direct(&path);
        assert_eq!(ring.run(request(uring::READ, &direct, &mut memory)), 65_536);
        let vector = [memory.as_mut_ptr() as usize, memory.len()];
        assert_eq!(
            ring.run(Request::with_memory(uring::READV, &file, vector.as_ptr().cast(), 1)),
            65_536
        );
    }) else {
        return;
    };
    let (file, direct) = (&EndpointKind::File, &EndpointKind::DirectFile);
    assert_eq!(totals(&report, &EndpointKind::Memory, file), copied(65_536));
    assert_eq!(totals(&report, file, &EndpointKind::Memory), copied(65_536));
    assert_eq!(totals(&report, direct, &EndpointKind::Memory), unknown(65_536));
    let ends = [
        &flow(&report, &EndpointKind::Memory, file).to,
        &flow(&report, direct, &EndpointKind::Memory).from,
    ];
    for end in ends {
        assert!(end.name.ends_with("/file"), "{end:?}");
    }
}

#[test]
fn receive_by_a_request_is_copied_into_memory() {
    const TEST: &str = "uring_requests::receive_by_a_request_is_copied_into_memory";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (mut near, far) = tcp_connection();
        std::io::Write::write_all(&mut near, &[7; 4096]).expect("write");
        let mut ring = Ring::new(0);
        let mut memory = vec![0_u8; 4096];
        let mut at = 0;
        while at < memory.len() {
            let rest = &mut memory[at..];
            at += ring.run(Request::with_memory(uring::RECV, &far, rest.as_mut_ptr(), rest.len()));
        }
    }) else {
        return;
    };
    assert_eq!(totals(&report, &EndpointKind::Tcp, &EndpointKind::Memory), copied(4096));
}
