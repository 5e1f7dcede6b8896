//! Paths that end in TCP connections, and paths that begin there.

use std::io::Write;
use std::os::unix::fs::FileExt;

use zctrace_report::EndKind::{DirectFile, File, Memory, Tcp};

use crate::calls::{
    all, connection, direct, file_with, lend, memfd, once, pages_of_memory, pattern, pipe, plain_connection, pump,
    receive, send_all, wide_pipe,
};
use crate::harness::{Sum, alone, because, copied, flow, moved, sum, traced, why};

/// Offsets and lengths in a file: whole pages, parts of pages, more than a ring holds.
const CUTS: [(usize, usize); 6] = [
    (0, 1 << 20),
    (0, 4096),
    (1234, 300_001),
    (4095, 2),
    (5, 4096),
    (8192, 70_000),
];

#[test]
fn file_through_a_pipe_to_tcp() {
    const TEST: &str = "paths_tcp::file_through_a_pipe_to_tcp";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(1 << 20);
    let source = file_with(&dir.path().join("a"), &bytes);
    let total = 2 * CUTS.iter().map(|(_, len)| len).sum::<usize>();
    let Some(report) = traced(TEST, || {
        for slots in [16, 256] {
            let pipe = wide_pipe(slots);
            for (at, len) in CUTS {
                let (near, far) = plain_connection();
                let far = receive(far, len);
                pump(&source, Some(at as u64), &pipe, &near, None, len);
                assert!(far.join().expect("received") == bytes[at..at + len]);
            }
        }
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &File, &Tcp),
        moved(total),
        "{:?}",
        why(&report, &File, &Tcp)
    );
    assert_eq!(sum(&report, &Tcp, &Memory), copied(total));
    assert_eq!(why(&report, &Tcp, &Memory), because([("ZC15", total)]));
}

#[test]
fn sendfile_to_tcp() {
    const TEST: &str = "paths_tcp::sendfile_to_tcp";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(1 << 20);
    let source = file_with(&dir.path().join("a"), &bytes);
    let total = CUTS.iter().map(|(_, len)| len).sum::<usize>();
    let Some(report) = traced(TEST, || {
        for (at, len) in CUTS {
            let (near, far) = plain_connection();
            let far = receive(far, len);
            send_all(&source, at as u64, &near, len);
            assert!(far.join().expect("received") == bytes[at..at + len]);
        }
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &File, &Tcp),
        moved(total),
        "{:?}",
        why(&report, &File, &Tcp)
    );
}

#[test]
fn from_connection_to_connection() {
    const TEST: &str = "paths_tcp::from_connection_to_connection";
    const LEN: usize = 1_000_003;
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN);
    let source = file_with(&dir.path().join("a"), &bytes);
    let Some(report) = traced(TEST, || {
        let (near, relay) = plain_connection();
        let (on, far) = plain_connection();
        let far = receive(far, LEN);
        let sender = std::thread::spawn(move || send_all(&source, 0, &near, LEN));
        pump(&relay, None, &wide_pipe(64), &on, None, LEN);
        assert!(far.join().expect("received") == bytes);
        sender.join().expect("sent");
    }) else {
        return;
    };
    assert_eq!(sum(&report, &File, &Tcp), moved(LEN), "{:?}", why(&report, &File, &Tcp));
    assert_eq!(sum(&report, &Tcp, &Tcp), moved(LEN), "{:?}", why(&report, &Tcp, &Tcp));
    let certificate = flow(&report, &Tcp, &Tcp).certificate.as_ref().expect("a certificate");
    assert_eq!(certificate.cannot_back_moved(), None);
}

#[test]
fn what_a_program_wrote_is_copied_once_and_relayed_without_a_copy() {
    const TEST: &str = "paths_tcp::what_a_program_wrote_is_copied_once_and_relayed_without_a_copy";
    const LEN: usize = 200_000;
    let _alone = alone();
    let bytes = pattern(LEN);
    let Some(report) = traced(TEST, || {
        let (mut near, relay) = plain_connection();
        let (on, far) = plain_connection();
        let far = receive(far, LEN);
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || near.write_all(&sent).expect("write"));
        pump(&relay, None, &wide_pipe(64), &on, None, LEN);
        assert!(far.join().expect("received") == bytes);
        sender.join().expect("sent");
    }) else {
        return;
    };
    assert_eq!(sum(&report, &Memory, &Tcp), copied(LEN));
    assert_eq!(why(&report, &Memory, &Tcp), because([("ZC14", LEN)]));
    assert_eq!(sum(&report, &Tcp, &Tcp), moved(LEN), "{:?}", why(&report, &Tcp, &Tcp));
}

#[test]
fn memory_lent_to_a_pipe_reaches_tcp() {
    const TEST: &str = "paths_tcp::memory_lent_to_a_pipe_reaches_tcp";
    const LEN: usize = 16 * 4096;
    let _alone = alone();
    let memory = &*pages_of_memory(LEN);
    let Some(report) = traced(TEST, || {
        let (near, far) = plain_connection();
        let far = receive(far, LEN + 5000);
        let pipe = pipe();
        assert_eq!(lend(memory, &pipe), LEN);
        all(&pipe.read, None, &near, None, LEN);
        // A part that begins and ends inside pages.
        assert_eq!(lend(&memory[100..5100], &pipe), 5000);
        all(&pipe.read, None, &near, None, 5000);
        let received = far.join().expect("received");
        assert!(received[..LEN] == *memory && received[LEN..] == memory[100..5100]);
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &Memory, &Tcp),
        moved(LEN + 5000),
        "{:?}",
        why(&report, &Memory, &Tcp)
    );
}

#[test]
fn writes_large_and_small() {
    const TEST: &str = "paths_tcp::writes_large_and_small";
    let _alone = alone();
    let bytes = pattern(100_000);
    let Some(report) = traced(TEST, || {
        let (mut near, far) = plain_connection();
        let far = receive(far, 100_000 + 10 * 512 + 513);
        near.write_all(&bytes).expect("write");
        for _ in 0..10 {
            near.write_all(&bytes[..512]).expect("write");
        }
        near.write_all(&bytes[..513]).expect("write");
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(sum(&report, &Memory, &Tcp), copied(105_633));
    assert_eq!(
        why(&report, &Memory, &Tcp),
        because([("ZC14", 100_513), ("ZC10", 5120)])
    );
}

#[test]
fn holes_are_neither_moved_nor_copied() {
    const TEST: &str = "paths_tcp::holes_are_neither_moved_nor_copied";
    const LEN: usize = 1 << 20;
    let _alone = alone();
    let hole = memfd(&[]);
    hole.set_len(LEN as u64).expect("ftruncate");
    hole.write_at(&[7; 4096], 8192).expect("write");
    let Some(report) = traced(TEST, || {
        let (near, far) = plain_connection();
        let far = receive(far, LEN);
        send_all(&hole, 0, &near, LEN);
        far.join().expect("received");
    }) else {
        return;
    };
    let want = Sum {
        moved: 4096,
        zero: (LEN - 4096) as u64,
        ..Sum::default()
    };
    assert_eq!(sum(&report, &File, &Tcp), want, "{:?}", why(&report, &File, &Tcp));
}

/// File, pipe, TCP, pipe, file with `O_DIRECT`: every page of `len` bytes at five stations.
fn five_stations(test: &str, len: usize) {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(len);
    let source = file_with(&dir.path().join("a.bin"), &bytes);
    let sink = direct(&dir.path().join("b.bin"));
    let Some(report) = traced(test, || {
        let (near, far) = connection();
        let (out, back) = (wide_pipe(16), wide_pipe(64));
        let mut at = 0;
        while at < len {
            let n = once(&source, Some(&mut (at as u64)), &out.write, None, 7 * 4096);
            all(&out.read, None, &near, None, n);
            let mut left = n;
            while left > 0 {
                let m = once(&far, None, &back.write, None, left);
                all(&back.read, None, &sink, Some((at + n - left) as u64), m);
                left -= m;
            }
            at += n;
        }
    }) else {
        return;
    };
    assert_eq!(sum(&report, &File, &Tcp), moved(len), "{:?}", why(&report, &File, &Tcp));
    assert_eq!(
        sum(&report, &Tcp, &DirectFile),
        moved(len),
        "{:?}",
        why(&report, &Tcp, &DirectFile)
    );
    let stored = flow(&report, &Tcp, &DirectFile);
    let certificate = stored.certificate.as_ref().expect("a certificate");
    assert_eq!(certificate.hops.len(), 5, "{certificate:#?}");
    let (bytes, pages) = (len as u64, len as u64 / 4096);
    assert!(
        certificate
            .hops
            .iter()
            .all(|hop| hop.bytes == bytes && hop.pages == pages),
        "{certificate:#?}"
    );
    assert_eq!(certificate.cannot_back_moved(), None);
}

#[test]
fn the_same_page_at_five_stations() {
    five_stations("paths_tcp::the_same_page_at_five_stations", 4 << 20);
}

#[test]
fn sixteen_thousand_pages_at_five_stations() {
    five_stations("paths_tcp::sixteen_thousand_pages_at_five_stations", 64 << 20);
}
