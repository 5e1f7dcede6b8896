//! One connection or pipe is one, and two are two, whatever their names and descriptors are.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketType, recvmsg, sendmsg, sockopt,
};
use zctrace_report::EndpointKind::{File, Pipe as InPipe, Tcp};
use zctrace_report::Report;

use crate::fixtures::{
    file_with, pattern, pipe_with_slots, receive, sendfile_all, splice_all, splice_once, splice_through, tcp_connection,
};
use crate::harness::{Totals, exclusive, flows, moved, reasons, totals, traced};
use crate::network_namespace::loopback_up;
use crate::wire::new_namespace;

const LEN: usize = 64 << 10;

fn assert_moved(report: &Report, from: &zctrace_report::EndpointKind, len: usize) {
    assert_eq!(
        totals(report, from, &Tcp),
        moved(len),
        "{:?}",
        reasons(report, from, &Tcp)
    );
}

/// Returns a connection from a given port to a listener, in the namespace of this thread.
fn connection_between(from: u16, to: u16) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", to)).expect("listen");
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], from))).expect("bind");
    rustix::net::connect(&socket, &listener.local_addr().expect("address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    (TcpStream::from(socket), far)
}

/// Returns a connection between two given ports in a namespace of its own.
fn connection_in_a_new_namespace() -> (TcpStream, TcpStream) {
    let thread = std::thread::spawn(|| {
        new_namespace().expect("a namespace");
        loopback_up();
        connection_between(7001, 7000)
    });
    thread.join().expect("connected")
}

/// Sends files over two connections that have the same addresses and ports, in turns.
fn twins(test: &str, first_len: usize, second_len: usize, turns: usize) -> Option<Report> {
    let dir = tempfile::tempdir().expect("tempdir");
    let first = file_with(&dir.path().join("a"), &pattern(first_len));
    let second = file_with(&dir.path().join("b"), &pattern(second_len));
    traced(test, || {
        // Both connections exist before either carries a byte.
        let one = connection_in_a_new_namespace();
        let other = connection_in_a_new_namespace();
        assert_eq!(
            one.0.local_addr().expect("address"),
            other.0.local_addr().expect("address")
        );
        let received = [receive(one.1, first_len), receive(other.1, second_len)];
        for turn in 0..turns {
            let (a, b) = (first_len / turns, second_len / turns);
            sendfile_all(&first, (turn * a) as u64, &one.0, a);
            sendfile_all(&second, (turn * b) as u64, &other.0, b);
        }
        let [a, b] = received.map(|side| side.join().expect("received"));
        assert!(a == pattern(first_len) && b == pattern(second_len));
    })
}

#[test]
fn connections_with_equal_addresses_in_two_namespaces_are_two() {
    const TEST: &str = "cases::identity::connections_with_equal_addresses_in_two_namespaces_are_two";
    let _exclusive = exclusive();
    if let Some(report) = twins(TEST, 16 << 20, 1 << 20, 1) {
        assert_moved(&report, &File, 17 << 20);
    }
}

#[test]
fn connections_with_equal_addresses_that_send_in_turns_are_two() {
    const TEST: &str = "cases::identity::connections_with_equal_addresses_that_send_in_turns_are_two";
    let _exclusive = exclusive();
    if let Some(report) = twins(TEST, 1 << 20, 1 << 20, 16) {
        assert_moved(&report, &File, 2 << 20);
        assert_eq!(flows(&report, &File, &Tcp).len(), 2, "{:#?}", report.flows);
    }
}

/// Relays everything from one connection to another.
fn relay(from: &TcpStream, len: usize) {
    let (on, last) = tcp_connection();
    let last = receive(last, len);
    splice_through(from, None, &pipe_with_slots(64), &on, None, len);
    last.join().expect("relayed");
}

#[test]
fn relay_of_a_dual_stack_server_moves_in_both_directions() {
    const TEST: &str = "cases::identity::relay_of_a_dual_stack_server_moves_in_both_directions";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).expect("listen");
        let port = listener.local_addr().expect("address").port();
        let near = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let (far, _) = listener.accept().expect("accept");
        sendfile_all(&source, 0, &near, LEN);
        relay(&far, LEN);
        sendfile_all(&source, 0, &far, LEN);
        relay(&near, LEN);
    }) else {
        return;
    };
    assert_moved(&report, &File, 2 * LEN);
    assert_moved(&report, &Tcp, 2 * LEN);
}

#[test]
fn relay_between_ipv6_connections_moves() {
    const TEST: &str = "cases::identity::relay_between_ipv6_connections_moves";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("listen");
        let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (far, _) = listener.accept().expect("accept");
        sendfile_all(&source, 0, &near, LEN);
        relay(&far, LEN);
    }) else {
        return;
    };
    assert_moved(&report, &File, LEN);
    assert_moved(&report, &Tcp, LEN);
}

/// A socket may connect to its own address (simultaneous open): what it sends it receives.
#[test]
fn socket_connected_to_itself_moves_what_it_relays() {
    const TEST: &str = "cases::identity::socket_connected_to_itself_moves_what_it_relays";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 7333))).expect("bind");
        rustix::net::connect(&socket, &SocketAddr::from(([127, 0, 0, 1], 7333))).expect("connect");
        let socket = TcpStream::from(socket);
        sendfile_all(&source, 0, &socket, LEN);
        relay(&socket, LEN);
    }) else {
        return;
    };
    assert_moved(&report, &File, LEN);
    assert_moved(&report, &Tcp, LEN);
}

#[test]
fn pipe_opened_again_by_its_descriptor_is_the_same_pipe() {
    const TEST: &str = "cases::identity::pipe_opened_again_by_its_descriptor_is_the_same_pipe";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let pipe = pipe_with_slots(16);
        assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
        let again = std::fs::File::open(format!("/proc/self/fd/{}", pipe.read.as_raw_fd())).expect("open");
        splice_all(&again, None, &near, None, LEN);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_moved(&report, &File, LEN);
    assert_eq!(totals(&report, &InPipe, &Tcp), Totals::default());
}

/// Sends a descriptor through a UNIX socket and returns its duplicate.
fn through_a_socket(fd: &impl AsFd) -> OwnedFd {
    let (near, far) = UnixStream::pair().expect("socketpair");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(&near, &[IoSlice::new(b"f")], &mut ancillary, SendFlags::empty()).expect("sendmsg");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        &far,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::empty(),
    )
    .expect("recvmsg");
    let received = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.expect("a descriptor")
}

#[test]
fn pipe_received_over_a_unix_socket_is_the_same_pipe() {
    const TEST: &str = "cases::identity::pipe_received_over_a_unix_socket_is_the_same_pipe";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let pipe = pipe_with_slots(16);
        assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
        let received = through_a_socket(&pipe.read);
        drop(pipe.read);
        splice_all(&received, None, &near, None, LEN);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_moved(&report, &File, LEN);
    assert_eq!(totals(&report, &InPipe, &Tcp), Totals::default());
}
