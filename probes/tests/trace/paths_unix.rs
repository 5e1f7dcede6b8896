//! Paths over UNIX sockets.

use std::io::Write;
use std::os::unix::net::UnixStream;

use zctrace_report::EndKind::{DirectFile, File, Memory, Unix};

use crate::calls::{all, direct, file_with, once, pattern, pump, receive, send_all, wide_pipe};
use crate::harness::{alone, because, copied, flow, moved, sum, traced, why};

#[test]
fn sendfile_to_a_unix_socket() {
    const TEST: &str = "paths_unix::sendfile_to_a_unix_socket";
    const LEN: usize = 300_001;
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN + 77);
    let source = file_with(&dir.path().join("a"), &bytes);
    let Some(report) = traced(TEST, || {
        let (near, far) = UnixStream::pair().expect("socketpair");
        let far = receive(far, LEN);
        send_all(&source, 77, &near, LEN);
        assert!(far.join().expect("received") == bytes[77..]);
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &File, &Unix),
        moved(LEN),
        "{:?}",
        why(&report, &File, &Unix)
    );
    assert_eq!(sum(&report, &Unix, &Memory), copied(LEN));
    assert_eq!(why(&report, &Unix, &Memory), because([("ZC15", LEN)]));
}

#[test]
fn file_to_unix_to_a_direct_file() {
    const TEST: &str = "paths_unix::file_to_unix_to_a_direct_file";
    const LEN: usize = 1 << 20;
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN);
    let source = file_with(&dir.path().join("a"), &bytes);
    let sink = direct(&dir.path().join("b"));
    let Some(report) = traced(TEST, || {
        let (near, far) = UnixStream::pair().expect("socketpair");
        let (out, back) = (wide_pipe(16), wide_pipe(16));
        for at in (0..LEN).step_by(16 * 4096) {
            let n = once(&source, Some(&mut (at as u64)), &out.write, None, 16 * 4096);
            all(&out.read, None, &near, None, n);
            pump(&far, None, &back, &sink, Some(at as u64), n);
        }
        assert!(std::fs::read(dir.path().join("b")).expect("read") == bytes);
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &File, &Unix),
        moved(LEN),
        "{:?}",
        why(&report, &File, &Unix)
    );
    assert_eq!(
        sum(&report, &Unix, &DirectFile),
        moved(LEN),
        "{:?}",
        why(&report, &Unix, &DirectFile)
    );
    let certificate = flow(&report, &Unix, &DirectFile)
        .certificate
        .as_ref()
        .expect("a certificate");
    assert_eq!(certificate.cannot_back_moved(), None);
}

#[test]
fn what_was_written_to_a_unix_socket_is_copied_by_both_sides() {
    const TEST: &str = "paths_unix::what_was_written_to_a_unix_socket_is_copied_by_both_sides";
    let _alone = alone();
    let bytes = pattern(3000);
    let Some(report) = traced(TEST, || {
        let (mut near, far) = UnixStream::pair().expect("socketpair");
        let (on, last) = UnixStream::pair().expect("socketpair");
        near.write_all(&bytes).expect("write");
        pump(&far, None, &wide_pipe(16), &on, None, 3000);
        assert!(receive(last, 3000).join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(sum(&report, &Memory, &Unix), copied(3000));
    assert_eq!(why(&report, &Memory, &Unix), because([("ZC14", 3000)]));
    // A small message is in the linear part of its skb: the kernel copies it into pages of the
    // pipe.
    assert_eq!(
        sum(&report, &Unix, &Unix),
        copied(3000),
        "{:?}",
        why(&report, &Unix, &Unix)
    );
    assert_eq!(why(&report, &Unix, &Unix), because([("ZC20", 3000)]));
}
