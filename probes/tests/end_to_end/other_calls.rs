//! Calls that move payload in ways of their own: Linux AIO, memory of other processes, several
//! messages at once, and mappings.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use zctrace_report::EndpointKind;

use crate::fixtures::{file_with, open_direct, pattern};
use crate::harness::{copied, exclusive, flow, reasons, reasons_of, totals, traced, unknown};

/// A request of Linux AIO: `struct iocb` (`include/uapi/linux/aio_abi.h`).
#[repr(C)]
#[derive(Default)]
struct AioRequest {
    data: u64,
    key: [u32; 2],
    opcode: u16,
    priority: i16,
    fd: i32,
    address: u64,
    len: u64,
    offset: i64,
    rest: [u64; 2],
}

/// Carries out one AIO request.
fn run_aio(opcode: u16, fd: &impl AsRawFd, memory: *mut u8, len: usize) {
    let mut request = AioRequest {
        opcode,
        fd: fd.as_raw_fd(),
        address: memory as u64,
        len: len as u64,
        ..AioRequest::default()
    };
    let mut context = 0_u64;
    let mut list = [&raw mut request];
    let mut event = [0_u64; 4];
    // SAFETY: the calls get valid pointers, and the memory lives until the event was received.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_io_setup, 1, &raw mut context), 0, "io_setup");
        assert_eq!(
            libc::syscall(libc::SYS_io_submit, context, 1, list.as_mut_ptr()),
            1,
            "io_submit"
        );
        let none = std::ptr::null::<u8>();
        let got = libc::syscall(libc::SYS_io_getevents, context, 1, 1, event.as_mut_ptr(), none);
        assert_eq!((got, event[2]), (1, len as u64), "io_getevents");
        libc::syscall(libc::SYS_io_destroy, context);
    }
}

#[test]
fn requests_of_aio_are_unknown_at_their_file() {
    const TEST: &str = "other_calls::requests_of_aio_are_unknown_at_their_file";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir_in(".").expect("a directory on a disk");
    let path = dir.path().join("file");
    let Some(report) = traced(TEST, || {
        let file = file_with(&path, &[]);
        let mut memory = memmap2::MmapMut::map_anon(65_536).expect("memory");
        run_aio(1, &file, memory.as_mut_ptr(), 65_536);
        run_aio(0, &open_direct(&path), memory.as_mut_ptr(), 65_536);
    }) else {
        return;
    };
    let (memory, file, direct) = (&EndpointKind::Memory, &EndpointKind::File, &EndpointKind::DirectFile);
    assert_eq!(totals(&report, memory, file), unknown(65_536));
    assert_eq!(totals(&report, direct, memory), unknown(65_536));
    assert_eq!(reasons(&report, memory, file), reasons_of([("ZC84", 65_536)]));
    assert!(flow(&report, memory, file).to.name.ends_with("/file"));
}

#[test]
fn memory_read_from_a_process_is_copied() {
    const TEST: &str = "other_calls::memory_read_from_a_process_is_copied";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let (from, mut to) = (pattern(10_000), vec![0_u8; 10_000]);
        let range = |address: *const u8| libc::iovec {
            iov_base: address.cast_mut().cast(),
            iov_len: 10_000,
        };
        let (local, remote) = (range(to.as_mut_ptr()), range(from.as_ptr()));
        // SAFETY: both ranges are live memory of this process, the first of them writable.
        let read = unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
        assert_eq!(read, 10_000);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &EndpointKind::Memory, &EndpointKind::Memory),
        copied(10_000)
    );
}

#[test]
fn bytes_of_several_messages_are_summed() {
    const TEST: &str = "other_calls::bytes_of_several_messages_are_summed";
    let _exclusive = exclusive();
    let Some(report) = traced(TEST, || {
        let far = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let near = UdpSocket::bind("127.0.0.1:0").expect("bind");
        near.connect(far.local_addr().expect("address")).expect("connect");
        let bytes = [5_u8; 1000];
        let mut range = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: a zeroed header is valid, and the ranges outlive the call.
        let sent = unsafe {
            let mut messages: [libc::mmsghdr; 3] = std::mem::zeroed();
            for message in &mut messages {
                message.msg_hdr.msg_iov = &raw mut range;
                message.msg_hdr.msg_iovlen = 1;
            }
            libc::sendmmsg(near.as_raw_fd(), messages.as_mut_ptr(), 3, 0)
        };
        assert_eq!(sent, 3);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &EndpointKind::Memory, &EndpointKind::Udp), copied(3000));
}

#[test]
fn file_mapped_as_shared_memory_is_listed_once() {
    const TEST: &str = "other_calls::file_mapped_as_shared_memory_is_listed_once";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("a directory");
    let Some(report) = traced(TEST, || {
        let file = file_with(&dir.path().join("mapped"), &pattern(8192));
        for _ in 0..2 {
            // SAFETY: nothing else uses the file.
            drop(unsafe { memmap2::MmapMut::map_mut(&file) }.expect("mmap"));
        }
    }) else {
        return;
    };
    let rows = report.coverage.not_covered.iter();
    let rows: Vec<_> = rows.filter(|row| row.operation.contains("/mapped")).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(
        rows[0]
            .operation
            .ends_with("mapped as shared memory (16384 bytes), not observed"),
        "{rows:?}"
    );
    assert_eq!(rows[0].calls, Some(2), "rules about this file are open");
    assert!(rows[0].endpoint.is_some(), "other rules are not");
}
