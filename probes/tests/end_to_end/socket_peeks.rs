//! Receives that leave bytes in a socket, and those that copy fewer bytes than they return.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use zctrace_report::EndpointKind::{Memory, Tcp, Udp, Unix};
use zctrace_report::Report;

use crate::fixtures::tcp_connection;
use crate::harness::{copied, exclusive, not_observed, totals, traced};

const LEN: usize = 10_000;

/// Receives at most `len` bytes, and returns the result.
fn recv(socket: &impl AsRawFd, len: usize, flags: i32) -> usize {
    let mut memory = vec![0_u8; len];
    // SAFETY: recv writes at most `len` bytes to the address, which is that of as many live bytes.
    let n = unsafe { libc::recv(socket.as_raw_fd(), memory.as_mut_ptr().cast(), len, flags) };
    usize::try_from(n).expect("received")
}

fn send(socket: &impl AsRawFd, len: usize) {
    let bytes = vec![7_u8; len];
    // SAFETY: send reads `len` bytes at the address, which is that of as many live bytes.
    let n = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), len, 0) };
    assert_eq!(n, len as isize);
}

fn unix_pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("socketpair")
}

/// Returns the bytes and the calls of all peeks.
fn peeked(report: &Report) -> (u64, u64) {
    let peeks = report.peeks.iter();
    peeks.fold((0, 0), |(bytes, calls), peek| (bytes + peek.bytes, calls + peek.calls))
}

fn expect_peek_at_unix_socket(test: &str, kind: SocketType) {
    let _exclusive = exclusive();
    let Some(report) = traced(test, || {
        let (near, far) = unix_pair(kind);
        send(&near, LEN);
        assert_eq!(recv(&far, 4000, libc::MSG_PEEK), 4000);
        let mut left = LEN;
        while left > 0 {
            left -= recv(&far, left, 0);
        }
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Unix, &Memory), copied(LEN));
    assert_eq!(peeked(&report), (4000, 1));
    assert_eq!(report.peeks[0].method, "recv(2) with MSG_PEEK");
    assert_eq!(report.peeks[0].pid, Some(std::process::id()));
}

#[test]
fn peek_at_a_unix_stream_delivers_nothing() {
    expect_peek_at_unix_socket(
        "socket_peeks::peek_at_a_unix_stream_delivers_nothing",
        SocketType::STREAM,
    );
}

#[test]
fn peek_at_a_unix_datagram_delivers_nothing() {
    expect_peek_at_unix_socket(
        "socket_peeks::peek_at_a_unix_datagram_delivers_nothing",
        SocketType::DGRAM,
    );
}

#[test]
fn peek_at_a_unix_seqpacket_delivers_nothing() {
    expect_peek_at_unix_socket(
        "socket_peeks::peek_at_a_unix_seqpacket_delivers_nothing",
        SocketType::SEQPACKET,
    );
}

#[test]
fn peek_with_trunc_at_tcp_copies_nothing() {
    const TEST: &str = "socket_peeks::peek_with_trunc_at_tcp_copies_nothing";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (mut near, mut far): (TcpStream, TcpStream) = tcp_connection();
        near.write_all(&[7; LEN]).expect("write");
        drop(near);
        assert!(recv(&far, 2000, libc::MSG_PEEK | libc::MSG_TRUNC) > 0);
        assert_eq!(recv(&far, 1000, libc::MSG_PEEK | libc::MSG_WAITALL), 1000);
        assert_eq!(recv(&far, 3000, libc::MSG_TRUNC | libc::MSG_WAITALL), 3000);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).expect("read");
        assert_eq!(rest.len(), LEN - 3000);
    }) else {
        return;
    };
    assert_eq!(peeked(&report), (1000, 1), "{:#?}", report.peeks);
    let result = totals(&report, &Tcp, &Memory);
    assert_eq!((result.copied, result.discarded), ((LEN - 3000) as u64, 3000));
}

/// Receives several datagrams with short buffers and `MSG_TRUNC`; returns the sum of their lengths.
fn receive_truncated(socket: &impl AsRawFd) -> u32 {
    let mut memory = [[0_u8; 1500]; 4];
    let mut ranges = memory.each_mut().map(|part| libc::iovec {
        iov_base: part.as_mut_ptr().cast(),
        iov_len: part.len(),
    });
    // SAFETY: a zeroed header is valid, and the ranges outlive the call.
    unsafe {
        let mut messages: [libc::mmsghdr; 4] = std::mem::zeroed();
        for (message, range) in messages.iter_mut().zip(&mut ranges) {
            message.msg_hdr.msg_iov = range;
            message.msg_hdr.msg_iovlen = 1;
        }
        let flags = libc::MSG_TRUNC | libc::MSG_WAITFORONE;
        let n = libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            4,
            flags,
            std::ptr::null_mut(),
        );
        assert_eq!(n, 4);
        messages.iter().map(|message| message.msg_len).sum()
    }
}

fn expect_truncated_messages(report: &Report, kind: &zctrace_report::EndpointKind) {
    assert_eq!(
        totals(report, kind, &Memory),
        copied(0),
        "the lengths exceed the buffers"
    );
    assert_eq!(not_observed(report, "bytes of recv with MSG_TRUNC"), 1);
}

#[test]
fn truncated_unix_messages_have_no_known_length() {
    const TEST: &str = "socket_peeks::truncated_unix_messages_have_no_known_length";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = unix_pair(SocketType::DGRAM);
        (1..=4).for_each(|n| send(&near, n * 1000));
        assert_eq!(receive_truncated(&far), 10_000);
    }) else {
        return;
    };
    expect_truncated_messages(&report, &Unix);
}

#[test]
fn truncated_udp_messages_have_no_known_length() {
    const TEST: &str = "socket_peeks::truncated_udp_messages_have_no_known_length";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let far = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let near = UdpSocket::bind("127.0.0.1:0").expect("bind");
        near.connect(far.local_addr().expect("address")).expect("connect");
        (1..=4).for_each(|n| send(&near, n * 1000));
        assert_eq!(receive_truncated(&far), 10_000);
    }) else {
        return;
    };
    expect_truncated_messages(&report, &Udp);
}
