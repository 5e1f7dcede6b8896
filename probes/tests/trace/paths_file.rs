//! Paths into files through the page cache, into memory, into /dev/null, and to two sinks at once.

use std::io::Read;
use std::os::unix::fs::FileExt;

use rustix::fs::copy_file_range;
use rustix::io::read;
use rustix::pipe::{SpliceFlags, tee};
use zctrace_report::EndKind::{DirectFile, File, Memory, Null, Tcp};

use crate::calls::{
    all, direct, file_with, memfd, null, once, pattern, pipe, plain_connection, pump, receive, send_all, wide_pipe,
};
use crate::harness::{alone, because, copied, discarded, flow, flows, moved, sum, traced, unknown, why};

const LEN: usize = 1 << 20;

#[test]
fn a_page_cache_keeps_its_own_copy() {
    const TEST: &str = "paths_file::a_page_cache_keeps_its_own_copy";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN);
    let source = file_with(&dir.path().join("a"), &bytes);
    let sink = std::fs::File::create(dir.path().join("b")).expect("create");
    let Some(report) = traced(TEST, || {
        // Into a new file; and again, over pages that are dirty already.
        pump(&source, Some(0), &wide_pipe(16), &sink, Some(0), LEN);
        pump(&source, Some(0), &wide_pipe(16), &sink, Some(0), LEN);
        assert!(std::fs::read(dir.path().join("b")).expect("read") == bytes);
    }) else {
        return;
    };
    assert_eq!(sum(&report, &File, &File), copied(2 * LEN));
    assert_eq!(why(&report, &File, &File), because([("ZC03", 2 * LEN)]));
    let edges = report
        .edges
        .iter()
        .filter(|edge| edge.to.of.kind == zctrace_report::EndKind::Pipe);
    let into_the_pipe: u64 = edges.map(|edge| edge.account.moved).sum();
    assert_eq!(into_the_pipe, 2 * LEN as u64, "up to the pipe no byte was copied");
}

#[test]
fn memory_files_keep_their_own_copy_too() {
    const TEST: &str = "paths_file::memory_files_keep_their_own_copy_too";
    let _alone = alone();
    let source = memfd(&pattern(LEN));
    let sink = memfd(&[]);
    let Some(report) = traced(TEST, || {
        send_all(&source, 0, &sink, LEN);
        pump(&source, Some(11), &wide_pipe(16), &sink, Some(5), 70_001);
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &File, &File),
        copied(LEN + 70_001),
        "{:?}",
        why(&report, &File, &File)
    );
    assert_eq!(why(&report, &File, &File), because([("ZC03", LEN + 70_001)]));
}

#[test]
fn a_read_copies_into_memory() {
    const TEST: &str = "paths_file::a_read_copies_into_memory";
    let _alone = alone();
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
    assert_eq!(sum(&report, &File, &Memory), copied(100_000), "{:#?}", report.flows);
    assert_eq!(why(&report, &File, &Memory), because([("ZC15", 100_000)]));
}

#[test]
fn into_nothing() {
    const TEST: &str = "paths_file::into_nothing";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        pump(&source, Some(3), &wide_pipe(16), &null(), None, 100_001);
        // A part of the pipe's content, as for a list that skips a prefix.
        let pipe = wide_pipe(16);
        let (near, far) = plain_connection();
        let far = receive(far, 60_000 - 4097);
        let n = once(&source, Some(&mut 0), &pipe.write, None, 60_000);
        assert_eq!(n, 60_000);
        all(&pipe.read, None, &null(), None, 4097);
        all(&pipe.read, None, &near, None, 60_000 - 4097);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &File, &Null),
        discarded(100_001 + 4097),
        "{:?}",
        why(&report, &File, &Null)
    );
    assert_eq!(
        sum(&report, &File, &Tcp),
        moved(60_000 - 4097),
        "{:?}",
        why(&report, &File, &Tcp)
    );
}

#[test]
fn one_pipe_for_two_sinks() {
    const TEST: &str = "paths_file::one_pipe_for_two_sinks";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(16 * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    let sink = direct(&dir.path().join("b"));
    let Some(report) = traced(TEST, || {
        let (near, far) = plain_connection();
        let far = receive(far, 16 * 4096);
        let (one, two) = (wide_pipe(16), wide_pipe(16));
        assert_eq!(once(&source, Some(&mut 0), &one.write, None, 16 * 4096), 16 * 4096);
        assert_eq!(
            tee(&one.read, &two.write, 16 * 4096, SpliceFlags::empty()).expect("tee"),
            16 * 4096
        );
        all(&two.read, None, &sink, Some(0), 16 * 4096);
        all(&one.read, None, &near, None, 16 * 4096);
        assert!(far.join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &File, &Tcp),
        moved(16 * 4096),
        "{:?}",
        why(&report, &File, &Tcp)
    );
    assert_eq!(
        sum(&report, &File, &DirectFile),
        moved(16 * 4096),
        "{:?}",
        why(&report, &File, &DirectFile)
    );
    assert!(report.looks.is_empty(), "{:?}", report.looks);
}

#[test]
fn a_look_is_no_flow() {
    const TEST: &str = "paths_file::a_look_is_no_flow";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(50_000);
    let source = file_with(&dir.path().join("a"), &bytes);
    let Some(report) = traced(TEST, || {
        let (near, far) = plain_connection();
        let far = receive(far, 50_000);
        let (one, two) = (wide_pipe(16), wide_pipe(16));
        assert_eq!(once(&source, Some(&mut 0), &one.write, None, 50_000), 50_000);
        assert_eq!(
            tee(&one.read, &two.write, 20_000, SpliceFlags::empty()).expect("tee"),
            20_000
        );
        let mut seen = vec![0; 20_000];
        assert_eq!(read(&two.read, &mut seen).expect("read"), 20_000);
        assert!(seen == bytes[..20_000]);
        all(&one.read, None, &near, None, 50_000);
        assert!(far.join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &File, &Tcp),
        moved(50_000),
        "{:?}",
        why(&report, &File, &Tcp)
    );
    assert!(flows(&report, &File, &Memory).is_empty(), "{:#?}", report.flows);
    let looks: Vec<_> = report
        .looks
        .iter()
        .map(|look| (look.code.as_str(), look.bytes, look.calls))
        .collect();
    assert_eq!(looks, [("ZC31", 20_000, 1)]);
}

#[test]
fn what_is_written_into_a_pipe_is_copied_once() {
    const TEST: &str = "paths_file::what_is_written_into_a_pipe_is_copied_once";
    let _alone = alone();
    let bytes = pattern(10_000);
    let Some(report) = traced(TEST, || {
        let (near, far) = plain_connection();
        let far = receive(far, 10_000);
        let pipe = pipe();
        // The second and third are appended to the last page of the previous one.
        for part in [&bytes[..5000], &bytes[5000..5001], &bytes[5001..]] {
            assert_eq!(rustix::io::write(&pipe.write, part).expect("write"), part.len());
        }
        all(&pipe.read, None, &near, None, 10_000);
        assert!(far.join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(sum(&report, &Memory, &Tcp), copied(10_000));
    assert_eq!(why(&report, &Memory, &Tcp), because([("ZC14", 10_000)]));
    let certificate = flow(&report, &Memory, &Tcp).certificate.as_ref();
    assert!(certificate.is_none(), "nothing of it moved all the way");
}

#[test]
fn copy_file_range_without_reflinks() {
    const TEST: &str = "paths_file::copy_file_range_without_reflinks";
    let _alone = alone();
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
        sum(&report, &File, &File),
        copied(LEN),
        "{:?}",
        why(&report, &File, &File)
    );
    assert_eq!(why(&report, &File, &File), because([("ZC03", LEN)]));
    // Over pages that are dirty already, no page becomes dirty, and there is no other witness.
    let Some(report) = traced(TEST, copy) else { return };
    assert_eq!(sum(&report, &File, &File), unknown(LEN));
    assert_eq!(why(&report, &File, &File), because([("ZC96", LEN)]));
}
