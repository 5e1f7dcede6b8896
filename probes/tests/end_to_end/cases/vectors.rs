//! Calls with several buffers, writes larger than their pipe, and pipes whose writes are packets.

use std::io::{IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags, pipe_with, vmsplice};
use zctrace_report::EndpointKind::{File, Memory, Pipe as InPipe, Tcp, Unix};

use crate::fixtures::{
    Pipe, file_with, pattern, pipe_with_slots, receive, splice_all, splice_once, static_pages, tcp_connection,
};
use crate::harness::{Totals, copied, exclusive, moved, reasons, reasons_of, totals, traced};

/// The buffers are the pages of the memory in reverse.
#[test]
fn vmspliced_vector_in_reverse_order_reaches_tcp() {
    const TEST: &str = "cases::vectors::vmspliced_vector_in_reverse_order_reaches_tcp";
    let _exclusive = exclusive();
    let memory: &'static [u8] = static_pages(8192);
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 8192);
        let pipe = pipe_with_slots(16);
        let buffers = [
            IoSliceRaw::from_slice(&memory[4096..]),
            IoSliceRaw::from_slice(&memory[..4096]),
        ];
        // SAFETY: vmsplice requires that the memory stays valid and unchanged: it is never
        // unmapped, and nothing writes to it any more.
        let n = unsafe { vmsplice(&pipe.write, &buffers, SpliceFlags::empty()) }.expect("vmsplice");
        assert_eq!(n, 8192);
        splice_all(&pipe.read, None, &near, None, 8192);
        assert!(far.join().expect("received") == [&memory[4096..], &memory[..4096]].concat());
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        moved(8192),
        "{:?}",
        reasons(&report, &Memory, &Tcp)
    );
}

#[test]
fn vmspliced_vector_of_parts_of_pages_reaches_tcp() {
    const TEST: &str = "cases::vectors::vmspliced_vector_of_parts_of_pages_reaches_tcp";
    let _exclusive = exclusive();
    let memory: &'static [u8] = static_pages(4 * 4096);
    let parts = [&memory[100..3100], &memory[4095..4097], &memory[8000..16_000]];
    let len = 3000 + 2 + 8000;
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, len);
        let pipe = pipe_with_slots(16);
        let buffers = parts.map(IoSliceRaw::from_slice);
        // SAFETY: vmsplice requires that the memory stays valid and unchanged: it is never
        // unmapped, and nothing writes to it any more.
        let n = unsafe { vmsplice(&pipe.write, &buffers, SpliceFlags::empty()) }.expect("vmsplice");
        assert_eq!(n, len);
        splice_all(&pipe.read, None, &near, None, len);
        assert!(far.join().expect("received") == parts.concat());
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        moved(len),
        "{:?}",
        reasons(&report, &Memory, &Tcp)
    );
}

/// More buffers than are read at the entry of a call.
#[test]
fn vector_of_twenty_buffers_is_copied_into_a_pipe_and_a_socket() {
    const TEST: &str = "cases::vectors::vector_of_twenty_buffers_is_copied_into_a_pipe_and_a_socket";
    let _exclusive = exclusive();
    let bytes = pattern(2000);
    let vector: Vec<_> = bytes.chunks(100).map(IoSlice::new).collect();
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 2000);
        let pipe = pipe_with_slots(16);
        assert_eq!(rustix::io::writev(&pipe.write, &vector).expect("writev"), 2000);
        splice_all(&pipe.read, None, &near, None, 2000);
        assert!(far.join().expect("received") == bytes);
        let (mut near, mut far) = UnixStream::pair().expect("socketpair");
        assert_eq!(near.write_vectored(&vector).expect("writev"), 2000);
        let mut got = vec![0; 2000];
        far.read_exact(&mut got).expect("read");
        assert!(got == bytes);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Tcp), copied(2000), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &Memory, &Tcp), reasons_of([("ZC14", 2000)]));
    assert_eq!(totals(&report, &Memory, &Unix), copied(2000), "{:#?}", report.flows);
}

#[test]
fn vector_that_begins_with_an_empty_buffer_is_copied() {
    const TEST: &str = "cases::vectors::vector_that_begins_with_an_empty_buffer_is_copied";
    let _exclusive = exclusive();
    let bytes = pattern(2000);
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 2000);
        let pipe = pipe_with_slots(16);
        let vector = [
            libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
            libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: 2000,
            },
        ];
        let fd = std::os::fd::AsRawFd::as_raw_fd(&pipe.write);
        // SAFETY: writev reads 2,000 bytes that outlive the call, and nothing at the null address.
        let n = unsafe { libc::writev(fd, vector.as_ptr(), 2) };
        assert_eq!(n, 2000);
        splice_all(&pipe.read, None, &near, None, 2000);
        assert!(far.join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Tcp), copied(2000), "{:#?}", report.flows);
    assert_eq!(totals(&report, &InPipe, &Tcp), Totals::default());
}

/// A read from a pipe in packet mode discards the rest of a packet.
#[test]
fn rest_of_a_packet_is_discarded_before_a_file_follows() {
    const TEST: &str = "cases::vectors::rest_of_a_packet_is_discarded_before_a_file_follows";
    const LEN: usize = 16 * 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT).expect("pipe");
        let pipe = Pipe { read, write };
        assert_eq!(rustix::io::write(&pipe.write, &[7; 1000]).expect("write"), 1000);
        assert_eq!(rustix::io::read(&pipe.read, &mut [0; 10]).expect("read"), 10);
        assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
        splice_all(&pipe.read, None, &near, None, LEN);
        assert!(far.join().expect("received") == pattern(LEN));
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

/// Each write of dd(1) is twice as large as the pipe that it goes to.
#[test]
fn writes_of_another_program_larger_than_the_pipe_are_copied() {
    const TEST: &str = "cases::vectors::writes_of_another_program_larger_than_the_pipe_are_copied";
    const LEN: usize = 8 * (128 << 10);
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("a");
    drop(file_with(&path, &pattern(LEN)));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let mut writer = Command::new("dd")
            .arg(format!("if={}", path.display()))
            .args(["bs=128k", "status=none"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dd");
        let pipe = writer.stdout.take().expect("its output");
        splice_all(&pipe, None, &near, None, LEN);
        assert!(writer.wait().expect("wait").success());
        assert!(far.join().expect("received") == pattern(LEN));
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Tcp), copied(LEN), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &Memory, &Tcp), reasons_of([("ZC14", LEN)]));
    assert_eq!(totals(&report, &InPipe, &Tcp), Totals::default());
}
