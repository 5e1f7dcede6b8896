//! Sockets with contracts of their own: MPTCP, TCP Fast Open, messages in order, packet rings.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use zctrace_report::EndpointKind::{File, Memory, Socket, Tcp, Unix};

use super::results::socket;
use crate::fixtures::{
    file_with, pattern, pipe_with_slots, receive, sendfile_all, set_int, splice_through, tcp_connection,
};
use crate::harness::{Totals, copied, exclusive, moved, not_observed, reasons, reasons_of, totals, traced, unknown};
use crate::wire::{Wire, device_index};
use test_support::skip;

/// Returns both ends of an MPTCP connection.
fn mptcp_connection() -> std::io::Result<(TcpStream, TcpStream)> {
    let own = |fd: OwnedFd| fd.into_raw_fd();
    let near = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    let listener = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
    rustix::net::listen(&listener, 1)?;
    // SAFETY: the descriptor is a listening stream socket, and ownership passes on.
    let listener = unsafe { TcpListener::from_raw_fd(own(listener)) };
    rustix::net::connect(&near, &listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((TcpStream::from(near), far))
}

#[test]
fn file_and_memory_sent_by_mptcp_are_copied() {
    const TEST: &str = "cases::sockets::file_and_memory_sent_by_mptcp_are_copied";
    const LEN: usize = 1 << 20;
    const WRITTEN: usize = 100_000;
    let _exclusive = exclusive();
    if let Err(error) = mptcp_connection() {
        skip!(TEST, "no MPTCP: {error}");
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (mut near, far) = mptcp_connection().expect("a connection");
        let far = receive(far, LEN + WRITTEN);
        sendfile_all(&source, 0, &near, LEN);
        near.write_all(&vec![7; WRITTEN]).expect("write");
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &Socket), copied(LEN), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &File, &Socket), reasons_of([("ZC20", LEN)]));
    assert_eq!(
        totals(&report, &Memory, &Socket),
        copied(WRITTEN),
        "{:#?}",
        report.flows
    );
}

#[test]
fn bytes_spliced_out_of_mptcp_are_copied() {
    const TEST: &str = "cases::sockets::bytes_spliced_out_of_mptcp_are_copied";
    const LEN: usize = 64 << 10;
    let _exclusive = exclusive();
    if let Err(error) = mptcp_connection() {
        skip!(TEST, "no MPTCP: {error}");
        return;
    }
    let Some(report) = traced(TEST, || {
        let (mut near, far) = mptcp_connection().expect("a connection");
        let (on, last) = tcp_connection();
        let last = receive(last, LEN);
        near.write_all(&pattern(LEN)).expect("write");
        splice_through(&far, None, &pipe_with_slots(64), &on, None, LEN);
        assert!(last.join().expect("relayed") == pattern(LEN));
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Socket, &Tcp),
        copied(LEN),
        "{:?}",
        reasons(&report, &Socket, &Tcp)
    );
}

/// Client and server both take data in the SYN, without a cookie (Documentation/networking/
/// ip-sysctl.rst: `tcp_fastopen`).
fn allow_fast_open(test: &str) -> bool {
    let set = std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "519");
    set.map_err(|error| skip!(test, "tcp_fastopen: {error}")).is_ok()
}

/// Relays what connections carry whose first bytes are in the SYN.
fn fast_open(test: &str, send: impl Fn(&OwnedFd, SocketAddr) + Send + Sync) -> Option<zctrace_report::Report> {
    traced(test, || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        set_int(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 5);
        let address = listener.local_addr().expect("address");
        let (on, last) = tcp_connection();
        let last = receive(last, ROUNDS * PART);
        let pipe = pipe_with_slots(16);
        for _ in 0..ROUNDS {
            let near = socket(libc::AF_INET, libc::SOCK_STREAM, 0).expect("socket");
            send(&near, address);
            let (far, _) = listener.accept().expect("accept");
            splice_through(&far, None, &pipe, &on, None, PART);
        }
        last.join().expect("relayed");
    })
}

const ROUNDS: usize = 20;
const PART: usize = 1000;

#[test]
fn file_sent_with_the_first_packet_of_a_connection_is_relayed_without_a_copy() {
    const TEST: &str = "cases::sockets::file_sent_with_the_first_packet_of_a_connection_is_relayed_without_a_copy";
    let _exclusive = exclusive();
    if !allow_fast_open(TEST) {
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(PART));
    let Some(report) = fast_open(TEST, |near, address| {
        // The connection is opened by the first call that sends.
        set_int(near, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1);
        rustix::net::connect(near, &address).expect("connect");
        assert_eq!(sendfile_all(&source, 0, near, PART), 1);
    }) else {
        return;
    };
    // The kernel copies what a SYN carries (net/ipv4/tcp_output.c: `tcp_send_syn_data()`).
    assert_eq!(totals(&report, &File, &Tcp), copied(ROUNDS * PART));
    assert_eq!(reasons(&report, &File, &Tcp), reasons_of([("ZC20", ROUNDS * PART)]));
    assert_eq!(
        totals(&report, &Tcp, &Tcp),
        moved(ROUNDS * PART),
        "{:?}",
        reasons(&report, &Tcp, &Tcp)
    );
}

/// The socket has no address yet when the call begins that sends, so the relay is not matched with
/// the packets of this connection. It must not count as a copy.
#[test]
fn memory_sent_with_the_first_packet_of_a_connection_is_copied_once() {
    const TEST: &str = "cases::sockets::memory_sent_with_the_first_packet_of_a_connection_is_copied_once";
    let _exclusive = exclusive();
    if !allow_fast_open(TEST) {
        return;
    }
    let bytes = pattern(PART);
    let Some(report) = fast_open(TEST, |near, address| {
        let n = rustix::net::sendto(
            near,
            &bytes,
            rustix::net::SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32),
            &address,
        );
        assert_eq!(n.expect("sendto"), PART);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        copied(ROUNDS * PART),
        "{:#?}",
        report.flows
    );
    assert_eq!(
        totals(&report, &Tcp, &Tcp),
        unknown(ROUNDS * PART),
        "{:?}",
        reasons(&report, &Tcp, &Tcp)
    );
}

#[test]
fn sendfile_to_a_unix_socket_of_packets_copies() {
    const TEST: &str = "cases::sockets::sendfile_to_a_unix_socket_of_packets_copies";
    const LEN: usize = 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, far) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .expect("socketpair");
        sendfile_all(&source, 0, &near, LEN);
        assert_eq!(rustix::io::read(&far, &mut [0; LEN][..]).expect("read"), LEN);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &Unix), copied(LEN), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &File, &Unix), reasons_of([("ZC20", LEN)]));
    assert_eq!(totals(&report, &Unix, &Memory), copied(LEN), "{:#?}", report.flows);
}

/// The frames lie in a ring that the program shares with the kernel, not in the buffer of the call
/// that sends them.
#[test]
fn frames_of_a_packet_ring_are_not_copied_by_the_call_that_sends_them() {
    const TEST: &str = "cases::sockets::frames_of_a_packet_ring_are_not_copied_by_the_call_that_sends_them";
    const FRAME: usize = 16_384;
    const FRAMES: usize = 16;
    const LEN: usize = 1500;
    /// A protocol for experiments (IEEE 802).
    const PROTOCOL: u16 = 0x88b5;
    let _exclusive = exclusive();
    let Some(wire) = Wire::or_skip(TEST) else { return };
    let Some(report) = traced(TEST, || {
        let ring = socket(libc::AF_PACKET, libc::SOCK_RAW, 0).expect("socket");
        set_int(&ring, libc::SOL_PACKET, libc::PACKET_VERSION, 1);
        // struct tpacket_req: the size and number of blocks, and of frames.
        let request = [65_536_u32, 4, FRAME as u32, FRAMES as u32];
        // SAFETY: the option reads four words, which outlive the call.
        let set = unsafe {
            libc::setsockopt(
                ring.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_TX_RING,
                request.as_ptr().cast(),
                size_of_val(&request) as u32,
            )
        };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the kernel shares the ring, and reads a frame only after its status was set.
        let mut frames = unsafe { memmap2::MmapOptions::new().len(FRAME * FRAMES).map_mut(&ring) }.expect("mmap");
        for frame in frames.chunks_mut(FRAME) {
            // struct tpacket2_hdr: the status and the length; the frame follows after 32 bytes.
            frame[4..8].copy_from_slice(&(LEN as u32).to_ne_bytes());
            frame[32..44].fill(0xff);
            frame[44..46].copy_from_slice(&PROTOCOL.to_be_bytes());
            frame[0..4].copy_from_slice(&1_u32.to_ne_bytes());
        }
        // SAFETY: `sockaddr_ll` is plain data, for which all zeros is a valid value.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = PROTOCOL.to_be();
        to.sll_ifindex = device_index(&wire.device);
        // SAFETY: bind reads the address, which outlives the call; send has no buffer.
        let sent = unsafe {
            let bound = libc::bind(ring.as_raw_fd(), (&raw const to).cast(), size_of_val(&to) as u32);
            assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
            libc::send(ring.as_raw_fd(), std::ptr::null(), 0, 0)
        };
        assert_eq!(sent, (FRAMES * LEN) as isize, "{}", std::io::Error::last_os_error());
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Socket),
        Totals::default(),
        "{:#?}",
        report.flows
    );
    assert_eq!(
        not_observed(&report, "bytes of a packet ring"),
        1,
        "{:#?}",
        report.coverage.not_covered
    );
}

/// Bytes that are sent urgently are one byte of the stream like any other.
#[test]
fn urgent_byte_between_pages_of_a_file_is_copied_alone() {
    const TEST: &str = "cases::sockets::urgent_byte_between_pages_of_a_file_is_copied_alone";
    const LEN: usize = 4 * 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, mut far) = tcp_connection();
        set_int(&far, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1);
        sendfile_all(&source, 0, &near, LEN);
        let n = rustix::net::send(&near, b"!", rustix::net::SendFlags::OOB);
        assert_eq!(n.expect("send"), 1);
        sendfile_all(&source, 0, &near, LEN);
        far.read_exact(&mut vec![0; 2 * LEN + 1]).expect("received");
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(2 * LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(totals(&report, &Memory, &Tcp), copied(1), "{:#?}", report.flows);
}
