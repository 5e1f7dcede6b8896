//! The journal of `bufferlist`, joined with the kernel's records of the same calls.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bufferlist::{BufferList, FileExtent, Limits, Nonblocking, Sink, Source, Step, Transfer, journal};
use zctrace_report::{Certificate, EndpointKind, JournalAgreement, Report, SegmentNames, StationKind};

use crate::fixtures::page_sized_connection;
use crate::harness::{exclusive, flow, flows, moved, totals, traced};

const LEN: usize = 40 << 16;

/// Waits until the tracer has found this process's journal.
fn wait_until_journal_is_read() {
    assert!(journal::init(), "the journal must not be turned off for these tests");
    while !journal::has_watchers() {
        std::thread::yield_now();
    }
}

/// Returns a file of this length, in the page cache.
fn file(len: usize) -> File {
    let file = tempfile::tempfile().expect("a file");
    let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).expect("write");
    file
}

/// Reads all bytes out of a socket.
fn drain(mut socket: impl Read + Send + 'static) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).expect("read");
        bytes.len()
    })
}

/// Returns the segment names at the last pipe of a certificate.
fn names(certificate: &Certificate) -> &SegmentNames {
    let pipe = certificate
        .hops
        .iter()
        .rev()
        .find(|hop| hop.station.kind == StationKind::PipeSlot);
    pipe.and_then(|hop| hop.segments.as_ref())
        .unwrap_or_else(|| panic!("no names: {certificate:#?}"))
}

fn assert_all_named(report: &Report, from: &EndpointKind, to: &EndpointKind) {
    let flow = flow(report, from, to);
    let certificate = flow.certificate.as_ref().expect("it moved");
    let names = names(certificate);
    assert_eq!(
        names.agreement,
        JournalAgreement::Agrees,
        "{names:?}\n{:#?}",
        report.coverage.not_covered
    );
    assert_eq!(names.bytes, certificate.bytes);
    assert_eq!(names.pid, Some(std::process::id()));
    let rows: Vec<_> = report.segments.iter().filter(|row| row.flow == Some(flow.id)).collect();
    assert_eq!(rows.len() as u64, names.count);
    assert_eq!(rows.iter().map(|row| row.bytes).sum::<u64>(), certificate.bytes);
    for row in rows {
        assert_eq!(row.agreement, JournalAgreement::Agrees, "{row:?}");
        assert_eq!(row.operation, "fill");
        let call_site = row.call_site.as_ref().expect("a line");
        assert!(
            call_site.file.ends_with("tests/end_to_end/journal.rs") && call_site.line > 0,
            "{call_site:?}"
        );
    }
}

fn assert_no_doubts(report: &Report) {
    let doubts: Vec<_> = report
        .coverage
        .not_covered
        .iter()
        .filter(|row| row.operation.contains("journal"))
        .collect();
    assert!(doubts.is_empty(), "{doubts:#?}");
    assert_eq!(report.loss.journal_overruns, 0);
}

#[test]
fn certificates_of_a_file_over_tcp_to_a_unix_socket_name_their_segments() {
    const TEST: &str = "journal::certificates_of_a_file_over_tcp_to_a_unix_socket_name_their_segments";
    let _exclusive = exclusive();
    let from = file(LEN);
    let (near, far) = page_sized_connection();
    let (out, end) = UnixStream::pair().expect("a pair");
    let Some(report) = traced(TEST, move || {
        wait_until_journal_is_read();
        let drained = drain(end);
        let relay = std::thread::spawn(move || {
            Transfer::new(Source::stream(far).expect("source"), Sink::stream(out).expect("sink"))
                .run()
                .expect("relay");
        });
        let source = Source::file(&from, ..).expect("source");
        Transfer::new(source, Sink::stream(near).expect("sink"))
            .run()
            .expect("send");
        relay.join().expect("relay");
        assert_eq!(drained.join().expect("drained"), LEN);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &EndpointKind::File, &EndpointKind::Tcp), moved(LEN));
    assert_all_named(&report, &EndpointKind::File, &EndpointKind::Tcp);
    assert_eq!(
        totals(&report, &EndpointKind::Tcp, &EndpointKind::Unix).total(),
        LEN as u64
    );
    assert_all_named(&report, &EndpointKind::Tcp, &EndpointKind::Unix);
    // The receiver's certificate begins with the sender's stations, and names the sender's
    // segments, too.
    let relayed = flow(&report, &EndpointKind::Tcp, &EndpointKind::Unix)
        .certificate
        .as_ref()
        .expect("it moved");
    assert_eq!(relayed.segments().count(), 2, "{relayed:#?}");
    assert_no_doubts(&report);
}

/// Call site of the peek below.
static LINE: AtomicU32 = AtomicU32::new(0);

#[test]
fn peek_is_reported_with_its_line() {
    const TEST: &str = "journal::peek_is_reported_with_its_line";
    let _exclusive = exclusive();
    let from = file(200_000);
    let (near, far) = page_sized_connection();
    let Some(report) = traced(TEST, move || {
        wait_until_journal_is_read();
        let drained = drain(far);
        let mut list = BufferList::new();
        let mut source = Source::file(&from, ..).expect("source");
        while let Step::Moved(_) = list.splice_from(&mut source, 65_536).expect("fill") {}
        // The bytes of the second segment from its byte 34464 on.
        LINE.store(line!() + 1, Relaxed);
        assert_eq!(list.peek(100_000..100_016).expect("look").chunks().count(), 1);
        list.slice(..70_000).crc32c().expect("look");
        let near = Nonblocking::enter(near).expect("non-blocking");
        let mut sink = Sink::stream(near).expect("sink");
        while !matches!(list.splice_to(&mut sink).expect("send"), Step::End) {
            std::thread::yield_now();
        }
        drop(sink);
        assert_eq!(drained.join().expect("drained"), 200_000);
    }) else {
        return;
    };
    let peeks = &report.peeks;
    let peek = peeks
        .iter()
        .find(|peek| peek.operation == "peek")
        .unwrap_or_else(|| panic!("{peeks:#?}"));
    assert_eq!((peek.bytes, peek.calls, peek.code.as_str()), (16, 1, "ZC31"));
    let call_site = peek.call_site.as_ref().expect("a line");
    assert!(call_site.file.ends_with("tests/end_to_end/journal.rs"), "{call_site:?}");
    assert_eq!(call_site.line, LINE.load(Relaxed));
    let range = peek.range.expect("one segment");
    assert_eq!((range.start, range.end), (34_464, 34_480));
    assert!(peek.segment.is_some() && peek.first_unix_ms.is_some());
    let sums: Vec<_> = peeks.iter().filter(|peek| peek.operation == "crc32c").collect();
    assert_eq!(sums.iter().map(|peek| peek.bytes).sum::<u64>(), 70_000, "{peeks:#?}");
    assert_all_named(&report, &EndpointKind::File, &EndpointKind::Tcp);
    assert_no_doubts(&report);
}

#[test]
fn peek_at_part_of_a_file_is_reported_with_its_line() {
    const TEST: &str = "journal::peek_at_part_of_a_file_is_reported_with_its_line";
    let _exclusive = exclusive();
    let from = file(50_000);
    let line = AtomicU32::new(0);
    let Some(report) = traced(TEST, || {
        wait_until_journal_is_read();
        let list = BufferList::from(FileExtent::new(std::os::fd::OwnedFd::from(from), 1000..).expect("an extent"));
        line.store(line!() + 1, Relaxed);
        assert_eq!(list.peek(200..300).expect("look").chunks().count(), 1);
    }) else {
        return;
    };
    let peeks = &report.peeks;
    let peek = peeks
        .iter()
        .find(|peek| peek.without_pipe)
        .unwrap_or_else(|| panic!("{peeks:#?}"));
    assert_eq!((peek.bytes, peek.calls, peek.code.as_str()), (100, 1, "ZC31"));
    assert_eq!((peek.operation.as_str(), peek.flow), ("peek", None));
    let call_site = peek.call_site.as_ref().expect("a line");
    assert!(call_site.file.ends_with("tests/end_to_end/journal.rs"), "{call_site:?}");
    assert_eq!(call_site.line, line.load(Relaxed));
    assert_eq!(peek.range.map(|range| (range.start, range.end)), Some((200, 300)));
    assert!(peek.segment.is_some() && peek.first_unix_ms.is_some());
    assert!(report.to_json().contains("\"without_pipe\":true"));
    // The kernel's own account has the read, as one of a file.
    assert!(totals(&report, &EndpointKind::File, &EndpointKind::Memory).total() >= 100);
    assert_no_doubts(&report);
}

#[test]
fn clones_slices_and_vmspliced_pages_keep_their_names() {
    const TEST: &str = "journal::clones_slices_and_vmspliced_pages_keep_their_names";
    let _exclusive = exclusive();
    let from = file(300_000);
    let (near, far) = page_sized_connection();
    let Some(report) = traced(TEST, move || {
        wait_until_journal_is_read();
        let drained = drain(far);
        let near = Nonblocking::enter(near).expect("non-blocking");
        let mut sink = Sink::stream(near).expect("sink");
        let mut send = |mut list: BufferList| {
            while !matches!(list.splice_to(&mut sink).expect("send"), Step::End) {
                std::thread::yield_now();
            }
        };
        let mut list = BufferList::new();
        let mut source = Source::file(&from, ..).expect("source");
        while let Step::Moved(_) = list.splice_from(&mut source, 65_536).expect("fill") {}
        // A clone is sent through a private pipe, a slice through one whose front is dropped, and
        // the sixth slice makes the library split the segment.
        send(list.clone());
        for _ in 0..6 {
            send(list.slice(10_000..60_000));
        }
        let mut pages = bufferlist::PagesMut::new(65_536).expect("pages");
        pages.as_mut_slice().fill(7);
        send(BufferList::from_iter([bufferlist::Segment::from(
            pages.seal().expect("seal"),
        )]));
        send(list);
        drop(sink);
        assert_eq!(
            drained.join().expect("drained"),
            300_000 + 6 * 50_000 + 65_536 + 300_000
        );
    }) else {
        return;
    };
    for flow in flows(&report, &EndpointKind::File, &EndpointKind::Tcp) {
        let certificate = flow.certificate.as_ref().expect("it moved");
        let names = names(certificate);
        assert_eq!(
            (&names.agreement, names.bytes),
            (&JournalAgreement::Agrees, certificate.bytes),
            "{names:?}"
        );
    }
    assert!(
        report
            .segments
            .iter()
            .all(|row| row.agreement == JournalAgreement::Agrees),
        "{:#?}",
        report.segments
    );
    assert!(
        report.segments.iter().any(|row| row.operation == "vmsplice"),
        "{:#?}",
        report.segments
    );
    assert_no_doubts(&report);
}

#[test]
fn bytes_from_before_the_journal_is_read_have_no_name() {
    const TEST: &str = "journal::bytes_from_before_the_journal_is_read_have_no_name";
    let _exclusive = exclusive();
    let from = file(LEN);
    let (near, far) = page_sized_connection();
    let Some(report) = traced(TEST, move || {
        let drained = drain(far);
        // The list exists, so its pipe is in use, before tracing begins. Whether the tracer
        // attaches in the middle of the transfer depends on scheduling.
        let source = Source::file(&from, ..).expect("source");
        let limits = Limits::default().len(LEN as u64);
        Transfer::new(source, Sink::stream(near).expect("sink"))
            .limits(limits)
            .run()
            .expect("send");
        assert_eq!(drained.join().expect("drained"), LEN);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &EndpointKind::File, &EndpointKind::Tcp), moved(LEN));
    assert!(
        report
            .segments
            .iter()
            .all(|row| row.agreement == JournalAgreement::Agrees),
        "{:#?}",
        report.segments
    );
    if let Some(names) = flow(&report, &EndpointKind::File, &EndpointKind::Tcp)
        .certificate
        .as_ref()
        .and_then(|c| c.segments().next())
    {
        assert!(
            names.agreement == JournalAgreement::Agrees || !names.detail.is_empty(),
            "{names:?}"
        );
    }
    assert_no_doubts(&report);
}
