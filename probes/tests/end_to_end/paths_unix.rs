//! Paths over UNIX sockets.

use std::io::Write;
use std::os::unix::net::UnixStream;

use zctrace_report::EndpointKind::{DirectFile, File, Memory, Tcp, Unix};

use crate::fixtures::{
    file_with, open_direct, pattern, pipe_with_slots, receive, sendfile_all, splice_all, splice_once, splice_through,
    tcp_connection,
};
use crate::harness::{copied, exclusive, flow, moved, reasons, reasons_of, totals, traced};

#[test]
fn sendfile_to_a_unix_socket() {
    const TEST: &str = "paths_unix::sendfile_to_a_unix_socket";
    const LEN: usize = 300_001;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN + 77);
    let source = file_with(&dir.path().join("a"), &bytes);
    let Some(report) = traced(TEST, || {
        let (near, far) = UnixStream::pair().expect("socketpair");
        let far = receive(far, LEN);
        sendfile_all(&source, 77, &near, LEN);
        assert!(far.join().expect("received") == bytes[77..]);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Unix),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Unix)
    );
    assert_eq!(totals(&report, &Unix, &Memory), copied(LEN));
    assert_eq!(reasons(&report, &Unix, &Memory), reasons_of([("ZC15", LEN)]));
}

#[test]
fn file_to_unix_to_a_direct_file() {
    const TEST: &str = "paths_unix::file_to_unix_to_a_direct_file";
    const LEN: usize = 1 << 20;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN);
    let source = file_with(&dir.path().join("a"), &bytes);
    let sink = open_direct(&dir.path().join("b"));
    let Some(report) = traced(TEST, || {
        let (near, far) = UnixStream::pair().expect("socketpair");
        let (out, back) = (pipe_with_slots(16), pipe_with_slots(16));
        for at in (0..LEN).step_by(16 * 4096) {
            let n = splice_once(&source, Some(&mut (at as u64)), &out.write, None, 16 * 4096);
            splice_all(&out.read, None, &near, None, n);
            splice_through(&far, None, &back, &sink, Some(at as u64), n);
        }
        assert!(std::fs::read(dir.path().join("b")).expect("read") == bytes);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Unix),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Unix)
    );
    assert_eq!(
        totals(&report, &Unix, &DirectFile),
        moved(LEN),
        "{:?}",
        reasons(&report, &Unix, &DirectFile)
    );
    let certificate = flow(&report, &Unix, &DirectFile)
        .certificate
        .as_ref()
        .expect("a certificate");
    assert_eq!(certificate.moved_weakness(), None);
}

#[test]
fn bytes_written_to_a_unix_socket_are_copied_by_both_sides() {
    const TEST: &str = "paths_unix::bytes_written_to_a_unix_socket_are_copied_by_both_sides";
    let _exclusive = exclusive();
    let bytes = pattern(3000);
    let Some(report) = traced(TEST, || {
        let (mut near, far) = UnixStream::pair().expect("socketpair");
        let (on, last) = UnixStream::pair().expect("socketpair");
        near.write_all(&bytes).expect("write");
        splice_through(&far, None, &pipe_with_slots(16), &on, None, 3000);
        assert!(receive(last, 3000).join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Unix), copied(3000));
    assert_eq!(reasons(&report, &Memory, &Unix), reasons_of([("ZC14", 3000)]));
    // A small message is in the linear part of its skb: the kernel copies it into pages of the
    // pipe.
    assert_eq!(
        totals(&report, &Unix, &Unix),
        copied(3000),
        "{:?}",
        reasons(&report, &Unix, &Unix)
    );
    assert_eq!(reasons(&report, &Unix, &Unix), reasons_of([("ZC20", 3000)]));
}

#[test]
fn message_of_which_a_part_is_taken_is_unread_behind_that_part() {
    const TEST: &str = "paths_unix::message_of_which_a_part_is_taken_is_unread_behind_that_part";
    const LEN: usize = 8 * 4096;
    const TAKEN: usize = 3 * 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (near, far) = UnixStream::pair().expect("socketpair");
        let (out, back) = (pipe_with_slots(16), pipe_with_slots(16));
        let n = splice_once(&source, Some(&mut 0), &out.write, None, LEN);
        splice_all(&out.read, None, &near, None, n);
        let (on, last) = tcp_connection();
        let last = receive(last, TAKEN);
        splice_through(&far, None, &back, &on, None, TAKEN);
        assert!(last.join().expect("received") == pattern(LEN)[..TAKEN]);
        drop((near, far));
    }) else {
        return;
    };
    let result = totals(&report, &File, &Unix);
    assert_eq!(
        (result.moved, result.unknown, result.total()),
        (TAKEN as u64, (LEN - TAKEN) as u64, LEN as u64)
    );
    assert_eq!(reasons(&report, &File, &Unix), reasons_of([("ZC87", LEN - TAKEN)]));
    assert_eq!(totals(&report, &Unix, &Tcp), moved(TAKEN));
}
