//! Missing observations are no evidence: offsets in pages that are not present yet, senders that
//! are not traced, and workers of the kernel.

use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::AtomicI64;

use zctrace_probes::probe::announce;
use zctrace_report::EndpointKind::{File, Memory, Null, Pipe as InPipe, Tcp, Unix};

use crate::child::{self, Child, is_child};
use crate::fixtures::{
    file_with, null, pattern, pipe_with_slots, receive, sendfile_all, splice_all, splice_once, tcp_connection,
};
use crate::harness::{
    Totals, copied, edge_totals, exclusive, moved, reasons, totals, traced, traced_child, traced_digests, unknown,
};
use crate::uring::{self, Request, Ring};

const LEN: usize = 16 * 4096;

/// Returns the address of a file offset in a page of a private mapping that nothing has touched, so
/// that the page is not present.
fn untouched_offset(dir: &tempfile::TempDir, offset: i64) -> *mut i64 {
    let holder = file_with(&dir.path().join("offset"), &offset.to_ne_bytes());
    // SAFETY: the file is this test's own, and nothing writes to it any more.
    let mapping = unsafe { memmap2::MmapOptions::new().len(4096).map_copy(&holder) }.expect("mmap");
    // The mapping must outlive the call that uses the offset.
    let mapping = Box::leak(Box::new(mapping));
    mapping.as_mut_ptr().cast()
}

#[test]
fn sendfile_reads_its_offset_from_a_page_that_is_not_present() {
    const TEST: &str = "cases::absence::sendfile_reads_its_offset_from_a_page_that_is_not_present";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(2 << 20));
    let offset = untouched_offset(&dir, 1 << 20);
    let address = offset as usize;
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        // SAFETY: the address is that of a live, writable mapping.
        let sent = unsafe { libc::sendfile(near.as_raw_fd(), source.as_raw_fd(), address as *mut i64, LEN) };
        assert_eq!(sent, LEN as isize);
        assert!(far.join().expect("received") == pattern(2 << 20)[1 << 20..(1 << 20) + LEN]);
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
fn file_truncated_after_an_offset_that_was_not_present_is_not_copied() {
    const TEST: &str = "cases::absence::file_truncated_after_an_offset_that_was_not_present_is_not_copied";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(18 << 20));
    let address = untouched_offset(&dir, 1 << 20) as usize;
    let mut sent = 0;
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        near.set_nonblocking(true).expect("nonblocking");
        // SAFETY: the address is that of a live, writable mapping.
        let taken = unsafe { libc::sendfile(near.as_raw_fd(), source.as_raw_fd(), address as *mut i64, 16 << 20) };
        assert!(taken > 0, "{}", std::io::Error::last_os_error());
        sent = taken as usize;
        // The queue holds pages that no longer belong to the file.
        source.set_len(0).expect("truncate");
        receive(far, sent).join().expect("received");
    }) else {
        return;
    };
    let result = totals(&report, &File, &Tcp);
    assert_eq!((result.total(), result.copied), (sent as u64, 0), "{result:?}");
    assert!(result.moved > 0, "{result:?}");
}

/// An offset in static memory of the program that nothing has touched, with whole pages around it.
#[repr(C, align(4096))]
struct InStaticMemory {
    before: [u8; 4096],
    offset: AtomicI64,
    after: [u8; 4088],
}

/// Not zero, so that it lies in the program's file.
static OFFSET: InStaticMemory = InStaticMemory {
    before: [1; 4096],
    offset: AtomicI64::new(65_536),
    after: [1; 4088],
};

#[test]
fn sendfile_reads_its_offset_from_static_memory() {
    const TEST: &str = "cases::absence::sendfile_reads_its_offset_from_static_memory";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(1 << 20));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        // SAFETY: the address is that of a static, which may be written through.
        let sent = unsafe { libc::sendfile(near.as_raw_fd(), source.as_raw_fd(), OFFSET.offset.as_ptr(), LEN) };
        assert_eq!(sent, LEN as isize);
        assert!(far.join().expect("received") == pattern(1 << 20)[65_536..65_536 + LEN]);
    }) else {
        return;
    };
    assert_eq!(OFFSET.before[0] + OFFSET.after[0], 2);
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

#[test]
fn splice_reads_its_offset_from_a_page_that_is_not_present() {
    const TEST: &str = "cases::absence::splice_reads_its_offset_from_a_page_that_is_not_present";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(1 << 20));
    let address = untouched_offset(&dir, 8192) as usize;
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let pipe = pipe_with_slots(16);
        // SAFETY: the address is that of a live, writable mapping.
        let offset = unsafe { &mut *(address as *mut u64) };
        assert_eq!(splice_once(&source, Some(offset), &pipe.write, None, LEN), LEN);
        splice_all(&pipe.read, None, &near, None, LEN);
        far.join().expect("received");
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
fn copy_file_range_reads_its_offsets_from_a_page_that_is_not_present() {
    const TEST: &str = "cases::absence::copy_file_range_reads_its_offsets_from_a_page_that_is_not_present";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(1 << 20));
    let sink = std::fs::File::create(dir.path().join("b")).expect("create");
    let address = untouched_offset(&dir, 8192) as usize;
    let Some(report) = traced(TEST, || {
        // SAFETY: the addresses are those of a live, writable mapping and of a local variable.
        let n = unsafe {
            let (from, mut to) = (address as *mut i64, 0);
            libc::copy_file_range(source.as_raw_fd(), from, sink.as_raw_fd(), &raw mut to, LEN, 0)
        };
        assert_eq!(n, LEN as isize);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &File),
        copied(LEN),
        "{:?}",
        reasons(&report, &File, &File)
    );
}

/// The messages come from a process that is not traced: 3,000 bytes that it wrote, then a page of a
/// file. The receiver splices the last 2,000 of the former and 1,000 of the page.
#[test]
fn page_of_an_untraced_sender_is_not_copied_with_the_bytes_before_it() {
    const TEST: &str = "cases::absence::page_of_an_untraced_sender_is_not_copied_with_the_bytes_before_it";
    const PATH: &str = "ZCTRACE_TEST_SOCKET";
    if is_child() {
        let path = std::env::var(PATH).expect("a path");
        let source = file_with(&std::path::PathBuf::from(path.clone() + ".file"), &pattern(4096));
        let near = UnixStream::connect(path).expect("connect");
        std::io::Write::write_all(&mut &near, &[7; 3000]).expect("write");
        sendfile_all(&source, 0, &near, 4096);
        child::signal_ready();
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("socket");
    let Some(report) = traced_child(TEST, |cookie| {
        let listener = UnixListener::bind(&path).expect("listen");
        let mut sender = Child::start_with(TEST, cookie, &[(PATH, path.to_str().expect("a path"))]);
        let (far, _) = listener.accept().expect("accept");
        sender.wait_ready();
        announce(cookie);
        std::io::Read::read_exact(&mut &far, &mut [0; 1000]).expect("read");
        let pipe = pipe_with_slots(16);
        assert_eq!(splice_once(&far, None, &pipe.write, None, 3000), 3000);
        splice_all(&pipe.read, None, &null(), None, 3000);
        sender.resume();
        sender.wait_success();
    }) else {
        return;
    };
    let spliced = edge_totals(&report, &Unix, &InPipe);
    // The second message is not consumed inside the call, so it was not observed: no page of it is
    // shown, and nothing shows that the bytes were copied.
    assert_eq!(spliced, unknown(3000), "{:#?}", report.edges);
    let sunk = totals(&report, &Unix, &Null);
    assert_eq!((sunk.total(), sunk.moved, sunk.copied), (3000, 0, 0), "{sunk:?}");
}

/// Splices pages of a file to a connection by requests that a worker of the kernel carries out, at
/// level `digest`.
#[test]
fn pages_spliced_by_a_worker_are_not_copied_from_memory() {
    const TEST: &str = "cases::absence::pages_spliced_by_a_worker_are_not_copied_from_memory";
    const ROUNDS: usize = 17;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced_digests(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, ROUNDS * LEN);
        let pipe = pipe_with_slots(16);
        let mut ring = Ring::new(0);
        for _ in 0..ROUNDS {
            splice_once(&source, Some(&mut 0), &pipe.write, None, LEN);
            let mut left = LEN;
            while left > 0 {
                left -= ring.run(Request {
                    flags: uring::ASYNC,
                    ..Request::splice(&pipe.read, &near, left)
                });
            }
        }
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Tcp), Totals::default(), "{:#?}", report.flows);
    // A worker is inside no system call, so no call is named for its bytes.
    assert_eq!(report.totals().account.copied, 0, "{:#?}", report.flows);
    assert_eq!(
        report.totals().account.unknown,
        (ROUNDS * LEN) as u64,
        "{:#?}",
        report.flows
    );
    assert!(
        report.flows.iter().all(|flow| flow.to.kind == Tcp),
        "{:#?}",
        report.flows
    );
}
