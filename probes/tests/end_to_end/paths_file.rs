//! Paths into files through the page cache, into memory, into /dev/null, and to two sinks at once.

use std::io::Read;
use std::os::unix::fs::FileExt;

use rustix::fs::copy_file_range;
use rustix::io::read;
use rustix::pipe::{SpliceFlags, tee};
use zctrace_report::EndpointKind::{DirectFile, File, Memory, Null, Tcp};

use crate::fixtures::{
    file_with, memfd, null, open_direct, pattern, pipe, pipe_with_slots, receive, sendfile_all, splice_all,
    splice_once, splice_through, tcp_connection,
};
use crate::harness::{Totals, copied, discarded, exclusive, flow, flows, moved, reasons, reasons_of, totals, traced};

const LEN: usize = 1 << 20;

#[test]
fn a_page_cache_keeps_its_own_copy() {
    const TEST: &str = "paths_file::a_page_cache_keeps_its_own_copy";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN);
    let source = file_with(&dir.path().join("a"), &bytes);
    let sink = std::fs::File::create(dir.path().join("b")).expect("create");
    let Some(report) = traced(TEST, || {
        // Into a new file; and again, over pages that are dirty already.
        splice_through(&source, Some(0), &pipe_with_slots(16), &sink, Some(0), LEN);
        splice_through(&source, Some(0), &pipe_with_slots(16), &sink, Some(0), LEN);
        assert!(std::fs::read(dir.path().join("b")).expect("read") == bytes);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &File), copied(2 * LEN));
    assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC03", 2 * LEN)]));
    let edges = report
        .edges
        .iter()
        .filter(|edge| edge.to.endpoint.kind == zctrace_report::EndpointKind::Pipe);
    let into_the_pipe: u64 = edges.map(|edge| edge.account.moved).sum();
    assert_eq!(into_the_pipe, 2 * LEN as u64, "up to the pipe no byte was copied");
}

#[test]
fn memfds_keep_their_own_copy() {
    const TEST: &str = "paths_file::memfds_keep_their_own_copy";
    let _exclusive = exclusive();
    let source = memfd(&pattern(LEN));
    let sink = memfd(&[]);
    let Some(report) = traced(TEST, || {
        sendfile_all(&source, 0, &sink, LEN);
        splice_through(&source, Some(11), &pipe_with_slots(16), &sink, Some(5), 70_001);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &File),
        copied(LEN + 70_001),
        "{:?}",
        reasons(&report, &File, &File)
    );
    assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC03", LEN + 70_001)]));
}

#[test]
fn a_read_copies_into_memory() {
    const TEST: &str = "paths_file::a_read_copies_into_memory";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let mut source = file_with(&dir.path().join("a"), &pattern(100_000));
    let Some(report) = traced(TEST, || {
        let mut bytes = vec![0; 100_000];
        source.read_exact_at(&mut bytes[..60_000], 0).expect("pread");
        assert_eq!(
            source.read(&mut bytes).expect("read"),
            0,
            "its own position is at its end"
        );
        source.read_exact_at(&mut bytes[60_000..], 60_000).expect("pread");
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &Memory), copied(100_000), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &File, &Memory), reasons_of([("ZC15", 100_000)]));
}

#[test]
fn to_dev_null() {
    const TEST: &str = "paths_file::to_dev_null";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        splice_through(&source, Some(3), &pipe_with_slots(16), &null(), None, 100_001);
        // A part of the pipe's content, as for a list that skips a prefix.
        let pipe = pipe_with_slots(16);
        let (near, far) = tcp_connection();
        let far = receive(far, 60_000 - 4097);
        let n = splice_once(&source, Some(&mut 0), &pipe.write, None, 60_000);
        assert_eq!(n, 60_000);
        splice_all(&pipe.read, None, &null(), None, 4097);
        splice_all(&pipe.read, None, &near, None, 60_000 - 4097);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Null),
        discarded(100_001 + 4097),
        "{:?}",
        reasons(&report, &File, &Null)
    );
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(60_000 - 4097),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

#[test]
fn one_pipe_for_two_sinks() {
    const TEST: &str = "paths_file::one_pipe_for_two_sinks";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(16 * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    let sink = open_direct(&dir.path().join("b"));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 16 * 4096);
        let (one, two) = (pipe_with_slots(16), pipe_with_slots(16));
        assert_eq!(
            splice_once(&source, Some(&mut 0), &one.write, None, 16 * 4096),
            16 * 4096
        );
        assert_eq!(
            tee(&one.read, &two.write, 16 * 4096, SpliceFlags::empty()).expect("tee"),
            16 * 4096
        );
        splice_all(&two.read, None, &sink, Some(0), 16 * 4096);
        splice_all(&one.read, None, &near, None, 16 * 4096);
        assert!(far.join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(16 * 4096),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(
        totals(&report, &File, &DirectFile),
        moved(16 * 4096),
        "{:?}",
        reasons(&report, &File, &DirectFile)
    );
    assert!(report.peeks.is_empty(), "{:?}", report.peeks);
}

#[test]
fn peek_is_no_flow() {
    const TEST: &str = "paths_file::peek_is_no_flow";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(50_000);
    let source = file_with(&dir.path().join("a"), &bytes);
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 50_000);
        let (one, two) = (pipe_with_slots(16), pipe_with_slots(16));
        assert_eq!(splice_once(&source, Some(&mut 0), &one.write, None, 50_000), 50_000);
        assert_eq!(
            tee(&one.read, &two.write, 20_000, SpliceFlags::empty()).expect("tee"),
            20_000
        );
        let mut received = vec![0; 20_000];
        assert_eq!(read(&two.read, &mut received).expect("read"), 20_000);
        assert!(received == bytes[..20_000]);
        splice_all(&one.read, None, &near, None, 50_000);
        assert!(far.join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(50_000),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert!(flows(&report, &File, &Memory).is_empty(), "{:#?}", report.flows);
    let peeks: Vec<_> = report
        .peeks
        .iter()
        .map(|peek| (peek.code.as_str(), peek.bytes, peek.calls))
        .collect();
    assert_eq!(peeks, [("ZC31", 20_000, 1)]);
}

#[test]
fn bytes_written_into_a_pipe_are_copied_once() {
    const TEST: &str = "paths_file::bytes_written_into_a_pipe_are_copied_once";
    let _exclusive = exclusive();
    let bytes = pattern(10_000);
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 10_000);
        let pipe = pipe();
        // The second and third are appended to the last page of the previous one.
        for part in [&bytes[..5000], &bytes[5000..5001], &bytes[5001..]] {
            assert_eq!(rustix::io::write(&pipe.write, part).expect("write"), part.len());
        }
        splice_all(&pipe.read, None, &near, None, 10_000);
        assert!(far.join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Tcp), copied(10_000));
    assert_eq!(reasons(&report, &Memory, &Tcp), reasons_of([("ZC14", 10_000)]));
    let certificate = flow(&report, &Memory, &Tcp).certificate.as_ref();
    assert!(certificate.is_none(), "nothing of it moved all the way");
}

#[test]
fn copy_file_range_in_memory_copies() {
    const TEST: &str = "paths_file::copy_file_range_in_memory_copies";
    let _exclusive = exclusive();
    let (source, sink) = (memfd(&pattern(LEN)), memfd(&[]));
    let Some(report) = traced(TEST, || {
        // The second time, no page becomes dirty.
        for _ in 0..2 {
            let (mut from, mut to) = (0, 0);
            while from < LEN as u64 {
                let left = LEN - from as usize;
                let n = copy_file_range(&source, Some(&mut from), &sink, Some(&mut to), left);
                assert!(n.expect("copy_file_range") > 0);
            }
        }
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &File), copied(2 * LEN));
    assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC03", 2 * LEN)]));
}

#[test]
fn copy_file_range_without_reflinks() {
    const TEST: &str = "paths_file::copy_file_range_without_reflinks";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let sink = std::fs::File::create(dir.path().join("b")).expect("create");
    let copy = || {
        let (mut from, mut to) = (0, 0);
        while from < LEN as u64 {
            let left = LEN - from as usize;
            assert!(
                copy_file_range(&source, Some(&mut from), &sink, Some(&mut to), left).expect("copy_file_range") > 0
            );
        }
    };
    let Some(report) = traced(TEST, copy) else { return };
    assert_eq!(
        totals(&report, &File, &File),
        copied(LEN),
        "{:?}",
        reasons(&report, &File, &File)
    );
    assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC03", LEN)]));
    // Over pages that are dirty already, no page becomes dirty. But the new thread had no internal
    // pipe before, and has one now.
    let Some(report) = traced(TEST, copy) else { return };
    assert_eq!(totals(&report, &File, &File), copied(LEN));
    assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC03", LEN)]));
    // In the second call of a thread, neither shows the copy.
    let twice = || {
        copy();
        copy();
    };
    let Some(report) = traced(TEST, twice) else { return };
    let half = Totals {
        unknown: LEN as u64,
        ..copied(LEN)
    };
    assert_eq!(
        totals(&report, &File, &File),
        half,
        "{:?}",
        reasons(&report, &File, &File)
    );
}
