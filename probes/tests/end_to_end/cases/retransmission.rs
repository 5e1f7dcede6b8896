//! Bytes that a packet carries again, packets that a device cannot take in parts, and memory that
//! the kernel copies on the way.

use std::io::Read;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use zctrace_report::EndpointKind::{File, Memory, Tcp, Udp};
use zctrace_report::Report;

use crate::fixtures::{
    file_with, pattern, pipe_with_slots, receive, send_queue, send_zerocopy, sendfile_all, set_int, splice_all,
    static_pages, vmsplice_all,
};
use crate::harness::{copied, exclusive, moved, reasons, reasons_of, totals, traced, unknown};
use crate::wire::{Wire, ip};

/// Less than the first congestion window, so that all of it leaves at once.
const LEN: usize = 2 * 4096;

/// Attaches a filter to a socket that drops every packet. The packets were transmitted, and nothing
/// acknowledges them.
fn drop_packets(socket: &TcpStream) {
    // The only instruction is "return 0".
    let mut code = libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut code,
    };
    // SAFETY: the option reads a program of one instruction, which both outlive the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as u32,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// Sends a file whose first packets are lost, does something, and lets the kernel send them again.
fn sent_again(test: &str, wire: &Wire, between: impl FnOnce(&std::fs::File) + Send) -> Option<Report> {
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    traced(test, || {
        let near = TcpStream::connect(wire.listener.local_addr().expect("address")).expect("connect");
        let (mut far, _) = wire.listener.accept().expect("accept");
        near.set_nodelay(true).expect("nodelay");
        drop_packets(&far);
        sendfile_all(&source, 0, &near, LEN);
        assert_eq!(send_queue(&near), (LEN, 0), "all of it was transmitted");
        between(&source);
        set_int(&far, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
        far.read_exact(&mut [0; LEN]).expect("received");
    })
}

#[test]
fn page_that_is_sent_again_is_moved() {
    const TEST: &str = "cases::retransmission::page_that_is_sent_again_is_moved";
    let _exclusive = exclusive();
    let Some(wire) = Wire::or_skip(TEST) else { return };
    let Some(report) = sent_again(TEST, &wire, |_| {}) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

/// The packet that carried the pages was lost, and the one that arrives was made linear.
#[test]
fn bytes_that_are_sent_again_from_a_linear_packet_are_copied() {
    const TEST: &str = "cases::retransmission::bytes_that_are_sent_again_from_a_linear_packet_are_copied";
    let _exclusive = exclusive();
    let Some(wire) = Wire::or_skip(TEST) else { return };
    let Some(report) = sent_again(TEST, &wire, |_| wire.without_scatter_gather()) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        copied(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(reasons(&report, &File, &Tcp), reasons_of([("ZC20", LEN)]));
}

#[test]
fn page_that_left_its_file_before_it_was_sent_again_is_moved() {
    const TEST: &str = "cases::retransmission::page_that_left_its_file_before_it_was_sent_again_is_moved";
    let _exclusive = exclusive();
    let Some(wire) = Wire::or_skip(TEST) else { return };
    let Some(report) = sent_again(TEST, &wire, |source| source.set_len(0).expect("truncate")) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

/// Connects over the wire, sends by `send`, and receives everything.
fn over(test: &str, wire: &Wire, len: usize, send: impl FnOnce(&TcpStream) + Send) -> Option<Report> {
    traced(test, || {
        let near = TcpStream::connect(wire.listener.local_addr().expect("address")).expect("connect");
        let (far, _) = wire.listener.accept().expect("accept");
        let far = receive(far, len);
        send(&near);
        far.join().expect("received");
        while send_queue(&near).0 > 0 {
            std::thread::yield_now();
        }
    })
}

#[test]
fn device_without_scatter_gather_copies_every_packet() {
    const TEST: &str = "cases::retransmission::device_without_scatter_gather_copies_every_packet";
    const LEN: usize = 64 << 10;
    let _exclusive = exclusive();
    let Some(wire) = Wire::or_skip(TEST) else { return };
    wire.without_scatter_gather();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = over(TEST, &wire, LEN, |near| {
        sendfile_all(&source, 0, near, LEN);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        copied(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

#[test]
fn file_over_a_virtual_device_is_moved() {
    const TEST: &str = "cases::retransmission::file_over_a_virtual_device_is_moved";
    const LEN: usize = 1 << 20;
    let _exclusive = exclusive();
    let Some(wire) = Wire::or_skip(TEST) else { return };
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = over(TEST, &wire, LEN, |near| {
        sendfile_all(&source, 0, near, LEN);
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
fn vmspliced_memory_over_a_virtual_device_is_moved() {
    const TEST: &str = "cases::retransmission::vmspliced_memory_over_a_virtual_device_is_moved";
    const LEN: usize = 16 * 4096;
    let _exclusive = exclusive();
    let Some(wire) = Wire::or_skip(TEST) else { return };
    let memory = &*static_pages(LEN);
    let Some(report) = over(TEST, &wire, LEN, |near| {
        let pipe = pipe_with_slots(16);
        assert_eq!(vmsplice_all(memory, &pipe), LEN);
        splice_all(&pipe.read, None, near, None, LEN);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &Memory, &Tcp)
    );
}

/// The device copies user pages before the far side gets them, after the packet was observed. The
/// completions say so.
#[test]
fn zero_copy_sends_over_a_virtual_device_are_not_moved() {
    const TEST: &str = "cases::retransmission::zero_copy_sends_over_a_virtual_device_are_not_moved";
    const LEN: usize = 8 * 4096;
    const SENDS: usize = 8;
    let _exclusive = exclusive();
    let Some(wire) = Wire::or_skip(TEST) else { return };
    let memory = &*static_pages(LEN);
    let Some(report) = over(TEST, &wire, SENDS * LEN, |near| {
        set_int(near, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
        let mut at = 0;
        while at < SENDS * LEN {
            let n = send_zerocopy(near, &memory[at % LEN..], 0);
            assert!(n > 0, "{}", std::io::Error::last_os_error());
            at += n as usize;
        }
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        unknown(SENDS * LEN),
        "{:?}",
        reasons(&report, &Memory, &Tcp)
    );
    let all = report.zerocopy_completions.iter();
    let (sends, copied) = all.fold((0, 0), |(sends, copied), one| {
        (sends + one.sends, copied + one.copied_sends)
    });
    assert!(
        sends >= SENDS as u64 && sends == copied,
        "{:?}",
        report.zerocopy_completions
    );
}

/// A bridge without ports frees each packet as it is: nothing was copied.
#[test]
fn zero_copy_datagrams_into_an_empty_bridge_are_not_copied() {
    const TEST: &str = "cases::retransmission::zero_copy_datagrams_into_an_empty_bridge_are_not_copied";
    const LEN: usize = 1400;
    const SENDS: usize = 10;
    let _exclusive = exclusive();
    let made = ip("link add zbridge type bridge")
        .and_then(|()| ip("addr add 10.2.0.1/24 dev zbridge"))
        .and_then(|()| ip("link set zbridge up"))
        .and_then(|()| ip("neigh add 10.2.0.9 lladdr 02:00:00:00:00:09 dev zbridge"));
    if let Err(reason) = made {
        test_support::skip!(TEST, "{reason}");
        return;
    }
    let memory = &*static_pages(4096);
    let mut copied_by_notices = SENDS;
    let report = traced(TEST, || {
        let socket = UdpSocket::bind("10.2.0.1:0").expect("bind");
        socket.connect("10.2.0.9:9").expect("connect");
        set_int(&socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
        for _ in 0..SENDS {
            // SAFETY: send reads the memory, which is valid forever and never written.
            let n = unsafe { libc::send(socket.as_raw_fd(), memory.as_ptr().cast(), LEN, libc::MSG_ZEROCOPY) };
            assert_eq!(n, LEN as isize, "{}", std::io::Error::last_os_error());
        }
        copied_by_notices = notices(&socket, SENDS);
    });
    ip("link del zbridge").expect("removed");
    let Some(report) = report else { return };
    assert_eq!(copied_by_notices, 0, "the kernel says that it copied");
    assert_eq!(
        totals(&report, &Memory, &Udp),
        unknown(SENDS * LEN),
        "{:#?}",
        report.flows
    );
}

/// Reads the notices of this many sends from a socket; returns how many sends the kernel copied.
fn notices(socket: &UdpSocket, sends: usize) -> usize {
    // include/uapi/linux/errqueue.h: `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED`.
    const ZEROCOPY: u8 = 5;
    const COPIED: u8 = 1;
    let (mut seen, mut copied) = (0, 0);
    while seen < sends {
        // A notice is an error of the socket, for which poll(2) waits without being asked.
        rustix::event::poll(
            &mut [rustix::event::PollFd::new(socket, rustix::event::PollFlags::ERR)],
            None,
        )
        .expect("poll");
        let mut control = [0_u64; 64];
        // SAFETY: a zeroed header is valid; the control buffer outlives the call, and the first
        // message in it is a `sock_extended_err`, which follows its header.
        let error = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            let got = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE);
            assert_eq!(got, 0, "{}", std::io::Error::last_os_error());
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            libc::CMSG_DATA(header)
                .cast::<libc::sock_extended_err>()
                .read_unaligned()
        };
        assert_eq!(error.ee_origin, ZEROCOPY);
        let range = (error.ee_data - error.ee_info + 1) as usize;
        seen += range;
        copied += if error.ee_code == COPIED { range } else { 0 };
    }
    copied
}
