//! Results that are not what crossed: truncated, probed, peeked at, discarded, and several messages
//! in one call.

use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use rustix::net::{RecvFlags, recv};
use zctrace_report::EndpointKind::{File, Memory, Null, Tcp, Udp, Unix};

use crate::fixtures::{file_with, pattern, pipe_with_slots, receive, splice_through, tcp_connection};
use crate::harness::{Totals, copied, discarded, exclusive, moved, reasons, reasons_of, totals, traced};

/// Returns two datagram sockets, the first of which is connected to the second.
fn datagrams() -> (UdpSocket, UdpSocket) {
    let far = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let near = UdpSocket::bind("127.0.0.1:0").expect("bind");
    near.connect(far.local_addr().expect("address")).expect("connect");
    (near, far)
}

#[test]
fn splice_to_the_zero_device_discards() {
    const TEST: &str = "cases::results::splice_to_the_zero_device_discards";
    const LEN: usize = 16 * 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let zero = std::fs::File::options().write(true).open("/dev/zero").expect("open");
        splice_through(&source, Some(0), &pipe_with_slots(16), &zero, None, LEN);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Null),
        discarded(LEN),
        "{:?}",
        reasons(&report, &File, &Null)
    );
}

#[test]
fn ten_writes_to_the_zero_device_are_discarded() {
    const TEST: &str = "cases::results::ten_writes_to_the_zero_device_are_discarded";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let options = std::fs::File::options().read(true).write(true).open("/dev/zero");
        let mut zero = options.expect("open");
        for _ in 0..10 {
            assert_eq!(zero.write(&vec![3; 1 << 20]).expect("write"), 1 << 20);
        }
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Null), discarded(10 << 20));
}

#[test]
fn bytes_read_from_the_zero_device_are_zeros() {
    const TEST: &str = "cases::results::bytes_read_from_the_zero_device_are_zeros";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let zero = std::fs::File::open("/dev/zero").expect("open");
        let mut bytes = vec![1; 100_000];
        std::io::Read::read_exact(&mut &zero, &mut bytes).expect("read");
    }) else {
        return;
    };
    let zeros = Totals {
        zero: 100_000,
        ..Totals::default()
    };
    assert_eq!(totals(&report, &Null, &Memory), zeros, "{:#?}", report.flows);
}

/// Truncated peeks at a datagram into no buffer: the result is its length, and nothing is read.
#[test]
fn peek_into_no_buffer_looks_at_nothing() {
    const TEST: &str = "cases::results::peek_into_no_buffer_looks_at_nothing";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = datagrams();
        near.send(&vec![7; 60_000]).expect("send");
        let (_, len) = recv(&far, &mut [0_u8; 0][..], RecvFlags::PEEK | RecvFlags::TRUNC).expect("recv");
        assert_eq!(len, 60_000);
    }) else {
        return;
    };
    assert_eq!(
        report.peeks.iter().map(|peek| peek.bytes).sum::<u64>(),
        0,
        "{:?}",
        report.peeks
    );
    assert_eq!(totals(&report, &Udp, &Memory), Totals::default(), "{:#?}", report.flows);
    assert_eq!(totals(&report, &Memory, &Udp), copied(60_000));
}

#[test]
fn truncated_peek_is_counted_by_its_buffer() {
    const TEST: &str = "cases::results::truncated_peek_is_counted_by_its_buffer";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = datagrams();
        near.send(&vec![7; 60_000]).expect("send");
        let (_, len) = recv(&far, &mut [0_u8; 10][..], RecvFlags::PEEK | RecvFlags::TRUNC).expect("recv");
        assert_eq!(len, 60_000);
    }) else {
        return;
    };
    assert_eq!(
        report.peeks.iter().map(|peek| peek.bytes).sum::<u64>(),
        10,
        "{:?}",
        report.peeks
    );
    assert_eq!(totals(&report, &Udp, &Memory), Totals::default(), "{:#?}", report.flows);
}

#[test]
fn empty_datagrams_carry_nothing() {
    const TEST: &str = "cases::results::empty_datagrams_carry_nothing";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = datagrams();
        near.send(&[]).expect("send");
        near.send(&[7; 10]).expect("send");
        let nothing = &mut [0_u8; 0][..];
        assert_eq!(
            recv(&far, &mut *nothing, RecvFlags::PEEK | RecvFlags::TRUNC)
                .expect("recv")
                .1,
            0
        );
        assert_eq!(far.recv(&mut [0; 20]).expect("recv"), 0);
        assert_eq!(
            recv(&far, nothing, RecvFlags::PEEK | RecvFlags::TRUNC).expect("recv").1,
            10
        );
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Udp), copied(10));
    assert_eq!(totals(&report, &Udp, &Memory), Totals::default(), "{:#?}", report.flows);
    assert_eq!(
        report.peeks.iter().map(|peek| peek.bytes).sum::<u64>(),
        0,
        "{:?}",
        report.peeks
    );
}

#[test]
fn probe_sends_nothing() {
    const TEST: &str = "cases::results::probe_sends_nothing";
    // include/linux/socket.h
    const MSG_PROBE: i32 = 0x10;
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = datagrams();
        let bytes = vec![7_u8; 60_000];
        // SAFETY: send reads the bytes, which outlive the call.
        let sent = unsafe { libc::send(near.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), MSG_PROBE) };
        assert_eq!(sent, 60_000);
        far.set_nonblocking(true).expect("nonblocking");
        assert!(far.recv(&mut [0; 10]).is_err(), "nothing has arrived");
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Udp), Totals::default(), "{:#?}", report.flows);
}

/// With `MSG_TRUNC` a TCP socket discards what it returns (tcp(7)).
#[test]
fn bytes_that_tcp_discards_are_not_copied() {
    const TEST: &str = "cases::results::bytes_that_tcp_discards_are_not_copied";
    const LEN: usize = 50_000;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        crate::fixtures::sendfile_all(&source, 0, &near, LEN);
        let mut left = LEN;
        let mut buffer = vec![0_u8; LEN];
        while left > 0 {
            let (_, n) = recv(&far, &mut buffer[..left], RecvFlags::TRUNC).expect("recv");
            left -= n;
        }
        assert!(buffer.iter().all(|byte| *byte == 0), "nothing was written to it");
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &Tcp), moved(LEN));
    let received = totals(&report, &Tcp, &Memory);
    assert_eq!(
        (received.copied, received.moved, received.unknown),
        (0, 0, 0),
        "{received:?}"
    );
}

#[test]
fn truncated_message_of_a_unix_datagram_socket_is_counted_by_its_buffer() {
    const TEST: &str = "cases::results::truncated_message_of_a_unix_datagram_socket_is_counted_by_its_buffer";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        near.send(&[7; 6000]).expect("send");
        let (_, len) = recv(&far, &mut [0_u8; 100][..], RecvFlags::TRUNC).expect("recv");
        assert_eq!(len, 6000);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Unix), copied(6000));
    assert_eq!(totals(&report, &Unix, &Memory), copied(100), "{:#?}", report.flows);
}

/// Sends or receives several messages by one call; returns how many.
fn messages(socket: &impl AsRawFd, buffers: &mut [Vec<u8>], receives: bool) -> usize {
    let mut ranges: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = ranges
        .iter_mut()
        .map(|range| {
            // SAFETY: a zeroed header is valid.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = std::ptr::from_mut(range);
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    let (fd, list, len) = (socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32);
    // SAFETY: headers, ranges and buffers outlive the call.
    let done = unsafe {
        if receives {
            libc::recvmmsg(fd, list, len, libc::MSG_DONTWAIT, std::ptr::null_mut())
        } else {
            libc::sendmmsg(fd, list, len, 0)
        }
    };
    assert!(done >= 0, "{}", std::io::Error::last_os_error());
    done as usize
}

#[test]
fn messages_of_different_lengths_are_summed_on_both_sides() {
    const TEST: &str = "cases::results::messages_of_different_lengths_are_summed_on_both_sides";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = datagrams();
        assert_eq!(
            messages(&near, &mut [vec![1; 10], vec![2; 2000], vec![3; 300]], false),
            3
        );
        // The last of four buffers stays empty.
        let mut buffers: Vec<_> = (0..4).map(|_| vec![0; 4096]).collect();
        assert_eq!(messages(&far, &mut buffers, true), 3);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Udp), copied(2310));
    assert_eq!(totals(&report, &Udp, &Memory), copied(2310), "{:#?}", report.flows);
}

#[test]
fn messages_sent_to_tcp_by_one_call_are_copied() {
    const TEST: &str = "cases::results::messages_sent_to_tcp_by_one_call_are_copied";
    const LEN: usize = 3 * 10_000;
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let mut buffers: Vec<_> = (0..3).map(|_| vec![5; LEN / 3]).collect();
        assert_eq!(messages(&near, &mut buffers, false), 3);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        copied(LEN),
        "{:?}",
        reasons(&report, &Memory, &Tcp)
    );
    assert_eq!(reasons(&report, &Memory, &Tcp), reasons_of([("ZC14", LEN)]));
}

/// Returns a socket of the given domain, type and protocol.
pub(super) fn socket(domain: i32, kind: i32, protocol: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: socket takes integers only.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
