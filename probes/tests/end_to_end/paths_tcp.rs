//! Paths that end in TCP connections, and paths that begin there.

use std::io::Write;
use std::os::unix::fs::FileExt;

use zctrace_report::EndpointKind::{DirectFile, File, Memory, Tcp};

use crate::fixtures::{
    file_with, memfd, open_direct, page_sized_connection, pattern, pipe, pipe_with_slots, receive, sendfile_all,
    splice_all, splice_once, splice_through, static_pages, tcp_connection, vmsplice_all,
};
use crate::harness::{Totals, copied, exclusive, flow, moved, reasons, reasons_of, totals, traced};

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
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(1 << 20);
    let source = file_with(&dir.path().join("a"), &bytes);
    let total = 2 * CUTS.iter().map(|(_, len)| len).sum::<usize>();
    let Some(report) = traced(TEST, || {
        for slots in [16, 256] {
            let pipe = pipe_with_slots(slots);
            for (at, len) in CUTS {
                let (near, far) = tcp_connection();
                let far = receive(far, len);
                splice_through(&source, Some(at as u64), &pipe, &near, None, len);
                assert!(far.join().expect("received") == bytes[at..at + len]);
            }
        }
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(total),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(totals(&report, &Tcp, &Memory), copied(total));
    assert_eq!(reasons(&report, &Tcp, &Memory), reasons_of([("ZC15", total)]));
}

#[test]
fn sendfile_to_tcp() {
    const TEST: &str = "paths_tcp::sendfile_to_tcp";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(1 << 20);
    let source = file_with(&dir.path().join("a"), &bytes);
    let total = CUTS.iter().map(|(_, len)| len).sum::<usize>();
    let Some(report) = traced(TEST, || {
        for (at, len) in CUTS {
            let (near, far) = tcp_connection();
            let far = receive(far, len);
            sendfile_all(&source, at as u64, &near, len);
            assert!(far.join().expect("received") == bytes[at..at + len]);
        }
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(total),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

#[test]
fn relay_between_connections() {
    const TEST: &str = "paths_tcp::relay_between_connections";
    const LEN: usize = 1_000_003;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN);
    let source = file_with(&dir.path().join("a"), &bytes);
    let Some(report) = traced(TEST, || {
        let (near, relay) = tcp_connection();
        let (on, far) = tcp_connection();
        let far = receive(far, LEN);
        let sender = std::thread::spawn(move || sendfile_all(&source, 0, &near, LEN));
        splice_through(&relay, None, &pipe_with_slots(64), &on, None, LEN);
        assert!(far.join().expect("received") == bytes);
        sender.join().expect("sent");
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(
        totals(&report, &Tcp, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &Tcp, &Tcp)
    );
    let certificate = flow(&report, &Tcp, &Tcp).certificate.as_ref().expect("a certificate");
    assert_eq!(certificate.moved_weakness(), None);
}

#[test]
fn written_bytes_are_copied_once_and_relayed_without_a_copy() {
    const TEST: &str = "paths_tcp::written_bytes_are_copied_once_and_relayed_without_a_copy";
    const LEN: usize = 200_000;
    let _exclusive = exclusive();
    let bytes = pattern(LEN);
    let Some(report) = traced(TEST, || {
        let (mut near, relay) = tcp_connection();
        let (on, far) = tcp_connection();
        let far = receive(far, LEN);
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || near.write_all(&sent).expect("write"));
        splice_through(&relay, None, &pipe_with_slots(64), &on, None, LEN);
        assert!(far.join().expect("received") == bytes);
        sender.join().expect("sent");
    }) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Tcp), copied(LEN));
    assert_eq!(reasons(&report, &Memory, &Tcp), reasons_of([("ZC14", LEN)]));
    assert_eq!(
        totals(&report, &Tcp, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &Tcp, &Tcp)
    );
}

#[test]
fn vmspliced_memory_reaches_tcp() {
    const TEST: &str = "paths_tcp::vmspliced_memory_reaches_tcp";
    const LEN: usize = 16 * 4096;
    let _exclusive = exclusive();
    let memory = &*static_pages(LEN);
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN + 5000);
        let pipe = pipe();
        assert_eq!(vmsplice_all(memory, &pipe), LEN);
        splice_all(&pipe.read, None, &near, None, LEN);
        // A part that begins and ends inside pages.
        assert_eq!(vmsplice_all(&memory[100..5100], &pipe), 5000);
        splice_all(&pipe.read, None, &near, None, 5000);
        let received = far.join().expect("received");
        assert!(received[..LEN] == *memory && received[LEN..] == memory[100..5100]);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        moved(LEN + 5000),
        "{:?}",
        reasons(&report, &Memory, &Tcp)
    );
}

#[test]
fn writes_large_and_small() {
    const TEST: &str = "paths_tcp::writes_large_and_small";
    let _exclusive = exclusive();
    let bytes = pattern(100_000);
    let Some(report) = traced(TEST, || {
        let (mut near, far) = tcp_connection();
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
    assert_eq!(totals(&report, &Memory, &Tcp), copied(105_633));
    assert_eq!(
        reasons(&report, &Memory, &Tcp),
        reasons_of([("ZC14", 100_513), ("ZC10", 5120)])
    );
}

#[test]
fn holes_are_excluded() {
    const TEST: &str = "paths_tcp::holes_are_excluded";
    const LEN: usize = 1 << 20;
    let _exclusive = exclusive();
    let hole = memfd(&[]);
    hole.set_len(LEN as u64).expect("ftruncate");
    hole.write_at(&[7; 4096], 8192).expect("write");
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        sendfile_all(&hole, 0, &near, LEN);
        far.join().expect("received");
    }) else {
        return;
    };
    let want = Totals {
        moved: 4096,
        zero: (LEN - 4096) as u64,
        ..Totals::default()
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        want,
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

/// File, pipe, TCP, pipe, file with `O_DIRECT`: every page of `len` bytes at five stations.
fn five_stations(test: &str, len: usize) {
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(len);
    let source = file_with(&dir.path().join("a.bin"), &bytes);
    let sink = open_direct(&dir.path().join("b.bin"));
    let Some(report) = traced(test, || {
        let (near, far) = page_sized_connection();
        let (out, back) = (pipe_with_slots(16), pipe_with_slots(64));
        let mut at = 0;
        while at < len {
            let n = splice_once(&source, Some(&mut (at as u64)), &out.write, None, 7 * 4096);
            splice_all(&out.read, None, &near, None, n);
            let mut left = n;
            while left > 0 {
                let m = splice_once(&far, None, &back.write, None, left);
                splice_all(&back.read, None, &sink, Some((at + n - left) as u64), m);
                left -= m;
            }
            at += n;
        }
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(len),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(
        totals(&report, &Tcp, &DirectFile),
        moved(len),
        "{:?}",
        reasons(&report, &Tcp, &DirectFile)
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
    assert_eq!(certificate.moved_weakness(), None);
}

#[test]
fn the_same_page_at_five_stations() {
    five_stations("paths_tcp::the_same_page_at_five_stations", 4 << 20);
}

#[test]
fn sixteen_thousand_pages_at_five_stations() {
    five_stations("paths_tcp::sixteen_thousand_pages_at_five_stations", 64 << 20);
}
