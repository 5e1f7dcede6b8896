//! Attacks on the join of calls and packets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketType, sockopt};
use zctrace_report::EndpointKind::{File, Memory, Pipe as InPipe, Tcp};

use crate::child::wait_until_blocked_in;
use crate::fixtures::{
    file_with, null, pattern, pipe, read_in_chunks, receive, send_zerocopy, sendfile_all, sendfile_until_full, set_int,
    splice_all, splice_once, static_pages, tcp_connection, thread_id,
};
use crate::harness::{copied, exclusive, flows, moved, reasons, reasons_of, totals, traced, unknown};

/// Sends from a file without ever waiting in the call.
fn send_without_waiting(source: &std::fs::File, near: &TcpStream, len: usize) {
    near.set_nonblocking(true).expect("nonblocking");
    let mut at = 0;
    while at < len as u64 {
        let left = len - at as usize;
        match rustix::fs::sendfile(near, source, Some(&mut at), left) {
            Ok(n) => assert!(n > 0),
            Err(rustix::io::Errno::AGAIN) => {
                poll(&mut [PollFd::new(near, PollFlags::OUT)], None).expect("poll");
            }
            Err(error) => panic!("sendfile: {error}"),
        }
    }
}

#[test]
fn packets_sent_outside_every_call_because_of_a_slow_reader() {
    const TEST: &str = "attack_tcp::packets_sent_outside_every_call_because_of_a_slow_reader";
    const LEN: usize = 16 << 20;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let reader = read_in_chunks(far, LEN, 64 << 10);
        send_without_waiting(&source, &near, LEN);
        reader.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

#[test]
fn file_truncated_while_queued_is_not_copied() {
    const TEST: &str = "attack_tcp::file_truncated_while_queued_is_not_copied";
    const LEN: usize = 16 << 20;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let mut sent = 0;
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        sent = sendfile_until_full(&source, &near, LEN);
        // The queue holds pages that no longer belong to the file.
        source.set_len(0).expect("truncate");
        receive(far, sent).join().expect("received");
    }) else {
        return;
    };
    let result = totals(&report, &File, &Tcp);
    assert_eq!((result.total(), result.copied), (sent as u64, 0), "{result:?}");
    assert!(result.moved > 0, "{result:?}");
    assert!(result.unknown == 0 || reasons(&report, &File, &Tcp) == reasons_of([("ZC96", result.unknown as usize)]));
}

#[test]
fn header_sendfile_and_splice_share_packets() {
    const TEST: &str = "attack_tcp::header_sendfile_and_splice_share_packets";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(32_000);
    let source = file_with(&dir.path().join("a"), &bytes);
    let Some(report) = traced(TEST, || {
        let (mut near, far) = tcp_connection();
        let far = receive(far, 32_100 + 3000);
        // Held back until everything is queued: one packet carries bytes of all calls.
        set_int(&near, libc::IPPROTO_TCP, libc::TCP_CORK, 1);
        let pipe = pipe();
        near.write_all(&[b'h'; 100]).expect("write");
        sendfile_all(&source, 0, &near, 20_000);
        assert_eq!(
            splice_once(&source, Some(&mut 20_000), &pipe.write, None, 12_000),
            12_000
        );
        splice_all(&pipe.read, None, &near, None, 12_000);
        near.write_all(&[b't'; 3000]).expect("write");
        set_int(&near, libc::IPPROTO_TCP, libc::TCP_CORK, 0);
        assert!(far.join().expect("received")[100..32_100] == bytes);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(32_000),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(
        flows(&report, &File, &Tcp).len(),
        2,
        "one by sendfile, one through the pipe"
    );
    assert_eq!(totals(&report, &Memory, &Tcp), copied(3100));
    assert_eq!(
        reasons(&report, &Memory, &Tcp),
        reasons_of([("ZC10", 100), ("ZC14", 3000)])
    );
}

#[test]
fn zerocopy_on_loopback_is_not_moved() {
    const TEST: &str = "attack_tcp::zerocopy_on_loopback_is_not_moved";
    const LEN: usize = 16 * 4096;
    let _exclusive = exclusive();
    let memory = &*static_pages(LEN);
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        set_int(&near, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
        let mut at = 0;
        while at < LEN {
            let n = send_zerocopy(&near, &memory[at..], 0);
            assert!(n > 0, "{}", std::io::Error::last_os_error());
            at += n as usize;
        }
        assert!(far.join().expect("received") == memory);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        unknown(LEN),
        "{:?}",
        reasons(&report, &Memory, &Tcp)
    );
    assert_eq!(reasons(&report, &Memory, &Tcp), reasons_of([("ZC96", LEN)]));
}

/// Returns a connection from a given port, which is free again as soon as the connection is
/// dropped.
fn connection_from(port: u16, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let socket: OwnedFd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
    // Closing resets the connection, so that neither side enters TIME_WAIT.
    sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO)).expect("SO_LINGER");
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).expect("bind");
    rustix::net::connect(&socket, &listener.local_addr().expect("address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    (TcpStream::from(socket), far)
}

#[test]
fn reused_ports_are_another_connection() {
    const TEST: &str = "attack_tcp::reused_ports_are_another_connection";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(100_000));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let free = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = free.local_addr().expect("address").port();
    drop(free);
    let Some(report) = traced(TEST, || {
        for _ in 0..5 {
            let (near, far) = connection_from(port, &listener);
            let far = receive(far, 100_000);
            sendfile_all(&source, 0, &near, 100_000);
            far.join().expect("received");
        }
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(500_000),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

#[test]
fn second_reader_of_one_byte_causes_no_copy() {
    const TEST: &str = "attack_tcp::second_reader_of_one_byte_causes_no_copy";
    const LEN: usize = 2 * 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN + 1));
    let me = std::process::id();
    let Some(report) = traced(TEST, || {
        for _ in 0..8 {
            let (near, far) = tcp_connection();
            let (pipe, other) = (pipe(), far.try_clone().expect("dup"));
            let (sender, receiver) = mpsc::channel();
            std::thread::scope(|scope| {
                let sender = &sender;
                scope.spawn(move || {
                    sender.send(thread_id()).expect("the test");
                    (&other).read_exact(&mut [0]).expect("recv");
                });
                wait_until_blocked_in(me, receiver.recv().expect("its thread"), libc::SYS_recvfrom);
                scope.spawn(|| {
                    sender.send(thread_id()).expect("the test");
                    splice_all(&far, None, &pipe.write, None, LEN);
                });
                wait_until_blocked_in(me, receiver.recv().expect("its thread"), libc::SYS_splice);
                // One of the two readers takes a byte, unknown to the other.
                sendfile_all(&source, 0, &near, LEN + 1);
            });
            splice_all(&pipe.read, None, &null(), None, LEN);
        }
    }) else {
        return;
    };
    let edges = report
        .edges
        .iter()
        .filter(|edge| edge.from.endpoint.kind == Tcp && edge.to.endpoint.kind == InPipe);
    let (copied, all) = edges.fold((0, 0), |(copied, all), edge| {
        (copied + edge.account.copied, all + edge.bytes)
    });
    assert_eq!((copied, all), (0, 8 * LEN as u64), "{:#?}", report.edges);
}

#[test]
fn both_sides_of_a_connection_start_concurrently() {
    const TEST: &str = "attack_tcp::both_sides_of_a_connection_start_concurrently";
    const CONNECTIONS: usize = 400;
    const LEN: usize = 8 * 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        for _ in 0..CONNECTIONS {
            let (near, mut far) = tcp_connection();
            // Both spin, so that they enter the kernel at the same time.
            let ready = std::sync::atomic::AtomicU32::new(0);
            let together = || {
                ready.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                while ready.load(std::sync::atomic::Ordering::SeqCst) < 2 {
                    std::hint::spin_loop();
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    together();
                    far.read_exact(&mut vec![0; LEN]).expect("received");
                });
                together();
                sendfile_all(&source, 0, &near, LEN);
            });
        }
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(CONNECTIONS * LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}
