//! Attacks on identity and absence: the same connection in two notations, bytes that arrive
//! nowhere, results that are not what crossed, and contracts of the kernel.

use std::fs::{File as StdFile, OpenOptions};
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;

use rustix::net::{RecvFlags, recv};
use rustix::pipe::{IoSliceRaw, SpliceFlags, vmsplice};
use zctrace_report::EndpointKind::{File, Memory, Null, Pipe as InPipe, Tcp, Udp, Unix};

use crate::fixtures::{
    file_with, null, pattern, pipe_with_slots, receive, sendfile_all, splice_all, splice_once, splice_through,
    static_pages, tcp_connection,
};
use crate::harness::{copied, discarded, exclusive, moved, reasons, reasons_of, totals, traced, unknown};

/// A server on `[::]` has mapped addresses, and its IPv4 client the others.
#[test]
fn mapped_address_and_its_ipv4_peer_are_one_connection() {
    const TEST: &str = "attack_identity::mapped_address_and_its_ipv4_peer_are_one_connection";
    const LEN: usize = 64 << 10;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).expect("listen");
        let port = listener.local_addr().expect("address").port();
        let near = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let (far, _) = listener.accept().expect("accept");
        sendfile_all(&source, 0, &near, LEN);
        let (out, sink) = (pipe_with_slots(32), null());
        splice_through(&far, None, &out, &sink, None, LEN);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    // The receiver's bytes are those of the sender: nothing is said of another host.
    assert_eq!(
        totals(&report, &Tcp, &Null),
        discarded(LEN),
        "{:?}",
        reasons(&report, &Tcp, &Null)
    );
    let edges = report.edges.iter().flat_map(|edge| &edge.reasons);
    assert!(
        edges.clone().all(|cause| cause.code.to_string() != "ZC94"),
        "{:#?}",
        report.edges
    );
}

/// Memory that was only read is the huge page of zeros, if the kernel has one for it.
#[test]
fn huge_page_of_zeros_is_not_moved() {
    const TEST: &str = "attack_identity::huge_page_of_zeros_is_not_moved";
    const HUGE: usize = 2 << 20;
    const LEN: usize = 16 * 4096;
    let _exclusive = exclusive();
    let memory = zeros_that_were_read(2 * HUGE);
    let memory = &memory[memory.as_ptr().align_offset(HUGE)..][..LEN];
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let pipe = pipe_with_slots(32);
        // SAFETY: vmsplice requires that the memory stays mapped and unchanged while the pipe
        // refers to it. It is never unmapped, and nothing writes to it.
        let n = unsafe { vmsplice(&pipe.write, &[IoSliceRaw::from_slice(memory)], SpliceFlags::empty()) };
        assert_eq!(n.expect("vmsplice"), LEN);
        splice_all(&pipe.read, None, &near, None, LEN);
        assert!(far.join().expect("received").iter().all(|&byte| byte == 0));
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Tcp).moved, 0);
}

/// Maps memory that may have huge pages, and reads each of them. It is never unmapped.
fn zeros_that_were_read(len: usize) -> &'static [u8] {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
    // SAFETY: a new anonymous mapping overlaps no other memory. It is never unmapped, so that the
    // slice is valid for as long as the process lives.
    unsafe {
        let address = mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE).expect("mmap");
        // Fails if the kernel has no huge pages.
        let _ = madvise(address, len, Advice::LinuxHugepage);
        let memory = std::slice::from_raw_parts(address.cast::<u8>(), len);
        assert!(memory.iter().step_by(4096).all(|&byte| byte == 0));
        memory
    }
}

#[test]
fn bytes_left_in_a_pipe_are_not_moved() {
    const TEST: &str = "attack_identity::bytes_left_in_a_pipe_are_not_moved";
    const LEN: usize = 4 * 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let pipe = pipe_with_slots(16);
        assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &InPipe), unknown(LEN));
    assert_eq!(reasons(&report, &File, &InPipe), reasons_of([("ZC86", LEN)]));
}

#[test]
fn bytes_that_a_unix_socket_discards_unread_are_not_moved() {
    const TEST: &str = "attack_identity::bytes_that_a_unix_socket_discards_unread_are_not_moved";
    const LEN: usize = 4 * 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, far) = UnixStream::pair().expect("socketpair");
        sendfile_all(&source, 0, &near, LEN);
        drop((near, far));
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &Unix), unknown(LEN), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &File, &Unix), reasons_of([("ZC87", LEN)]));
}

/// The write returns after its first slots were overwritten, and after their consumer has returned.
#[test]
fn write_that_is_larger_than_its_pipe_is_copied_once() {
    const TEST: &str = "attack_identity::write_that_is_larger_than_its_pipe_is_copied_once";
    const LEN: usize = 300_001;
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let pipe = pipe_with_slots(16);
        let writer = thread::spawn(move || StdFile::from(pipe.write).write_all(&pattern(LEN)).expect("write"));
        splice_all(&pipe.read, None, &near, None, LEN);
        writer.join().expect("written");
        assert!(far.join().expect("received") == pattern(LEN));
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Tcp), copied(LEN), "{:#?}", report.flows);
    assert_eq!(totals(&report, &InPipe, &Tcp).total(), 0);
}

#[test]
fn zero_device_discards_what_is_written_to_it() {
    const TEST: &str = "attack_identity::zero_device_discards_what_is_written_to_it";
    const LEN: usize = 100_000;
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let mut zero = OpenOptions::new().write(true).open("/dev/zero").expect("open");
        zero.write_all(&pattern(LEN)).expect("write");
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Null), discarded(LEN), "{:#?}", report.flows);
}

/// With `MSG_TRUNC` the result is the datagram's length, and the buffer takes ten bytes of it.
#[test]
fn truncated_datagram_is_counted_by_its_buffer() {
    const TEST: &str = "attack_identity::truncated_datagram_is_counted_by_its_buffer";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (near, far) = (
            UdpSocket::bind("127.0.0.1:0").expect("bind"),
            UdpSocket::bind("127.0.0.1:0").expect("bind"),
        );
        near.send_to(&[7; 6000], far.local_addr().expect("address"))
            .expect("send");
        let mut buffer = [0; 10];
        let (_, len) = recv(&far, &mut buffer[..], RecvFlags::TRUNC).expect("recv");
        assert_eq!(len, 6000);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Udp), copied(6000));
    assert_eq!(totals(&report, &Udp, &Memory), copied(10), "{:#?}", report.flows);
}

#[test]
fn sendfile_to_a_datagram_socket_copies() {
    const TEST: &str = "attack_identity::sendfile_to_a_datagram_socket_copies";
    const LEN: usize = 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        sendfile_all(&source, 0, &near, LEN);
        assert_eq!(far.recv(&mut [0; LEN]).expect("recv"), LEN);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &Unix), copied(LEN), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &File, &Unix), reasons_of([("ZC20", LEN)]));
}

#[test]
fn vmsplice_of_several_buffers_moves_each() {
    const TEST: &str = "attack_identity::vmsplice_of_several_buffers_moves_each";
    let _exclusive = exclusive();
    let memory: &'static [u8] = static_pages(4 * 4096);
    let Some(report) = traced(TEST, || {
        let pipe = pipe_with_slots(16);
        let (first, second) = (&memory[8192..8192 + 4096], &memory[100..100 + 3000]);
        let buffers = [IoSliceRaw::from_slice(first), IoSliceRaw::from_slice(second)];
        // SAFETY: vmsplice requires that the memory stays valid and unchanged: it is never
        // unmapped, and nothing writes to it any more.
        let sent = unsafe { vmsplice(&pipe.write, &buffers, SpliceFlags::empty()) }.expect("vmsplice");
        assert_eq!(sent, 4096 + 3000);
        splice_all(&pipe.read, None, &null(), None, sent);
    }) else {
        return;
    };
    let edges = report
        .edges
        .iter()
        .filter(|edge| edge.call == zctrace_report::Call::Vmsplice);
    let sums = edges.fold((0, 0, 0), |(moved, copied, unknown), edge| {
        let account = &edge.account;
        (
            moved + account.moved,
            copied + account.copied,
            unknown + account.unknown,
        )
    });
    assert_eq!(sums, (4096 + 3000, 0, 0), "{:#?}", report.edges);
}
