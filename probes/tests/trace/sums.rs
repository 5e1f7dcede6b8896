//! Level `digest`: its results must be those of full records, or unknown where it cannot decide.

use std::io::Write;

use zctrace_report::EndKind::{File, Memory, Tcp};
use zctrace_report::{Level, Report, Shown};

use crate::calls::{
    all, connection, file_with, fill_from, lend, once, pages_of_memory, pattern, pipe, plain_connection, pump,
    read_in_parts, receive, send_all, wide_pipe,
};
use crate::harness::{alone, copied, flow, moved, sum, summed, why};

/// Sinks other than TCP are not traced, and the report says so.
fn watches_tcp_only(report: &Report) {
    assert!(
        report.flows.iter().all(|flow| flow.to.kind == Tcp),
        "{:#?}",
        report.flows
    );
    let said = |what: &str| report.coverage.not_observed.iter().any(|one| one.what.contains(what));
    assert!(said("not sent to a TCP connection"));
}

#[test]
fn what_sendfile_and_splice_send_is_moved() {
    const TEST: &str = "sums::what_sendfile_and_splice_send_is_moved";
    const LEN: usize = 5 << 20;
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN);
    let source = file_with(&dir.path().join("a"), &bytes);
    let Some(report) = summed(TEST, || {
        for (at, len) in [(0, LEN), (1234, 300_001), (4095, 2), (5, 4096)] {
            let (near, far) = plain_connection();
            let far = receive(far, 2 * len);
            send_all(&source, at as u64, &near, len);
            pump(&source, Some(at as u64), &wide_pipe(64), &near, None, len);
            let got = far.join().expect("received");
            assert!(got[..len] == bytes[at..at + len] && got[len..] == bytes[at..at + len]);
        }
    }) else {
        return;
    };
    let total = 2 * (LEN + 300_001 + 2 + 4096);
    assert_eq!(
        sum(&report, &File, &Tcp),
        moved(total),
        "{:?}",
        why(&report, &File, &Tcp)
    );
    watches_tcp_only(&report);
    for flow in &report.flows {
        assert_eq!(flow.from.name, dir.path().join("a").to_str().unwrap());
        let certificate = flow.certificate.as_ref().expect("a certificate");
        assert_eq!(certificate.level, Level::Digest);
        assert_eq!(certificate.hops.last().map(|hop| &hop.shown), Some(&Shown::Digest));
        let digest = certificate.digest.as_ref().expect("how often sums were compared");
        // At each megabyte of the longest connection, and at each end.
        assert!(digest.compared_and_equal() && digest.checkpoints >= 8, "{digest:?}");
    }
}

trait Equal {
    fn compared_and_equal(&self) -> bool;
}

impl Equal for zctrace_report::Digest {
    fn compared_and_equal(&self) -> bool {
        self.checkpoints == self.equal && self.every_bytes == 1 << 20
    }
}

#[test]
fn what_is_written_is_copied_and_does_not_disturb_what_is_moved() {
    const TEST: &str = "sums::what_is_written_is_copied_and_does_not_disturb_what_is_moved";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(2 << 20);
    let source = file_with(&dir.path().join("a"), &bytes);
    let mut written = 0;
    let Some(report) = summed(TEST, || {
        let (mut near, far) = plain_connection();
        let mut expected = Vec::new();
        let sizes = [100, 1, 5000, 70_000, 300_000];
        let total = sizes.iter().sum::<usize>() + sizes.len() * bytes.len();
        let far = receive(far, total);
        for size in sizes {
            near.write_all(&vec![b'h'; size]).expect("write");
            expected.extend(vec![b'h'; size]);
            written += size;
            send_all(&source, 0, &near, bytes.len());
            expected.extend(&bytes);
        }
        assert!(far.join().expect("received") == expected);
    }) else {
        return;
    };
    assert_eq!(sum(&report, &Memory, &Tcp), copied(written));
    assert_eq!(
        sum(&report, &File, &Tcp),
        moved(5 * bytes.len()),
        "{:?}",
        why(&report, &File, &Tcp)
    );
}

#[test]
fn pages_of_memory_are_moved_from_memory() {
    const TEST: &str = "sums::pages_of_memory_are_moved_from_memory";
    let _alone = alone();
    let memory = pages_of_memory(64 << 10);
    let Some(report) = summed(TEST, || {
        let (near, far) = plain_connection();
        let far = receive(far, 64 << 10);
        let pipe = pipe();
        lend(memory, &pipe);
        all(&pipe.read, None, &near, None, 64 << 10);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(
        sum(&report, &Memory, &Tcp),
        moved(64 << 10),
        "{:?}",
        why(&report, &Memory, &Tcp)
    );
}

#[test]
fn what_was_written_into_a_pipe_is_not_moved() {
    const TEST: &str = "sums::what_was_written_into_a_pipe_is_not_moved";
    let _alone = alone();
    let Some(report) = summed(TEST, || {
        let (near, far) = plain_connection();
        let far = receive(far, 40_000);
        let pipe = pipe();
        assert_eq!(rustix::io::write(&pipe.write, &pattern(40_000)), Ok(40_000));
        all(&pipe.read, None, &near, None, 40_000);
        far.join().expect("received");
    }) else {
        return;
    };
    let [flow] = &report.flows[..] else {
        panic!("{:#?}", report.flows)
    };
    // Its pages are the kernel's own, which are indistinguishable from those of a write.
    assert_eq!((flow.account.unknown, flow.account.moved), (40_000, 0), "{flow:#?}");
}

#[test]
fn a_slow_reader_changes_nothing() {
    const TEST: &str = "sums::a_slow_reader_changes_nothing";
    const LEN: usize = 24 << 20;
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = summed(TEST, || {
        // Packets that are sent on acknowledgments, and in small pieces.
        let (near, far) = connection();
        let reader = read_in_parts(far, LEN, 3000);
        send_all(&source, 0, &near, LEN);
        reader.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(sum(&report, &File, &Tcp), moved(LEN), "{:?}", why(&report, &File, &Tcp));
}

#[test]
fn pages_that_lose_their_file_on_the_way_are_not_moved() {
    const TEST: &str = "sums::pages_that_lose_their_file_on_the_way_are_not_moved";
    const LEN: usize = 16 << 20;
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let mut sent = 0;
    let Some(report) = summed(TEST, || {
        let (near, far) = plain_connection();
        sent = fill_from(&source, &near, LEN);
        source.set_len(0).expect("truncate");
        receive(far, sent).join().expect("received");
    }) else {
        return;
    };
    let result = sum(&report, &File, &Tcp);
    assert_eq!((result.total(), result.copied), (sent as u64, 0), "{result:?}");
    // Bytes in earlier packets are moved, megabyte by megabyte; the megabyte in which it happened
    // is not, nor the following ones.
    assert!(result.unknown >= 1 << 20, "{result:?}");
    assert_eq!(why(&report, &File, &Tcp).keys().collect::<Vec<_>>(), ["ZC97"]);
}

#[test]
fn two_threads_that_send_at_once_are_never_moved_wrongly() {
    const TEST: &str = "sums::two_threads_that_send_at_once_are_never_moved_wrongly";
    const LEN: usize = 4 << 20;
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = summed(TEST, || {
        let (near, far) = plain_connection();
        let far = receive(far, 2 * LEN + 2 * 30_000);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let mut near = near.try_clone().expect("dup");
                let source = &source;
                scope.spawn(move || {
                    near.write_all(&vec![b'w'; 30_000]).expect("write");
                    send_all(source, 0, &near, LEN);
                });
            }
        });
        far.join().expect("received");
    }) else {
        return;
    };
    let (sent, written) = (sum(&report, &File, &Tcp), sum(&report, &Memory, &Tcp));
    // All bytes that were sent did move: whatever the verdict, no byte may be missing, invented or
    // reported as copied.
    assert_eq!((sent.total(), sent.copied), (2 * LEN as u64, 0), "{sent:?}");
    assert_eq!(written, copied(60_000));
}

#[test]
fn several_files_in_one_call_have_no_name_of_one() {
    const TEST: &str = "sums::several_files_in_one_call_have_no_name_of_one";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let one = file_with(&dir.path().join("a"), &pattern(8192));
    let other = file_with(&dir.path().join("b"), &pattern(8192));
    let Some(report) = summed(TEST, || {
        let (near, far) = plain_connection();
        let far = receive(far, 16_384);
        let pipe = pipe();
        once(&one, Some(&mut 0), &pipe.write, None, 8192);
        once(&other, Some(&mut 0), &pipe.write, None, 8192);
        all(&pipe.read, None, &near, None, 16_384);
        far.join().expect("received");
    }) else {
        return;
    };
    let flow = flow(&report, &File, &Tcp);
    assert_eq!(flow.account.moved, 16_384, "{flow:#?}");
    assert_eq!(flow.from.name, "several files");
}
