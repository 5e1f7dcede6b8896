//! Attacks on the mirror of a pipe.

use std::os::fd::AsFd;
use std::sync::mpsc;

use rustix::pipe::fcntl_setpipe_size;
use zctrace_report::EndpointKind::{File, Memory, Null, Pipe as InPipe, Tcp};
use zctrace_report::Report;

use crate::child::wait_until_blocked_in;
use crate::fixtures::{
    Pipe, file_with, null, pattern, pipe, pipe_with_slots, receive, splice_all, splice_once, tcp_connection, thread_id,
    write_until_full,
};
use crate::harness::{Totals, copied, exclusive, moved, reasons, reasons_of, totals, traced, unknown};
use crate::initial_state::UntracedReader;

const SPLICE: i64 = 275;
const WRITE: i64 = 1;

/// Returns the verdicts of edges from files into pipes: moved, copied, unknown.
fn into_pipes(report: &Report) -> (u64, u64, u64) {
    let edges = report
        .edges
        .iter()
        .filter(|edge| edge.from.endpoint.kind == File && edge.to.endpoint.kind == InPipe);
    edges.fold((0, 0, 0), |(moved, copied, unknown), edge| {
        let account = &edge.account;
        (
            moved + account.moved,
            copied + account.copied,
            unknown + account.unknown,
        )
    })
}

/// Two threads, a page at a time: one drains what the other has just put in, before the producer's
/// call has returned.
fn race(from: &std::fs::File, to: &(impl AsFd + Sync), pages: usize) {
    let pipe = pipe();
    std::thread::scope(|scope| {
        let consumer = scope.spawn(|| splice_all(&pipe.read, None, to, None, pages * 4096));
        for page in 0..pages {
            assert_eq!(
                splice_once(from, Some(&mut (page as u64 % 256 * 4096)), &pipe.write, None, 4096),
                4096
            );
        }
        consumer.join().expect("consumed");
    });
}

#[test]
fn two_threads_race_for_each_slot_to_dev_null() {
    const TEST: &str = "attack_pipes::two_threads_race_for_each_slot_to_dev_null";
    const PAGES: usize = 3000;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(256 * 4096));
    let null = null();
    let Some(report) = traced(TEST, || race(&source, &null, PAGES)) else {
        return;
    };
    let (result, lost) = (totals(&report, &File, &Null), totals(&report, &InPipe, &Null));
    eprintln!(
        "into nothing: {result:?}; of unknown origin: {lost:?}; into the pipe: {:?}",
        into_pipes(&report)
    );
    assert_eq!(result.discarded + lost.discarded + lost.unknown, (PAGES * 4096) as u64);
    assert_eq!((result.moved, result.copied, lost.moved, lost.copied), (0, 0, 0, 0));
    // A drained slot keeps its page and its end: the race loses nothing.
    assert_eq!(into_pipes(&report), ((PAGES * 4096) as u64, 0, 0));
}

#[test]
fn two_threads_race_for_each_slot_to_tcp() {
    const TEST: &str = "attack_pipes::two_threads_race_for_each_slot_to_tcp";
    const PAGES: usize = 3000;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(256 * 4096));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, PAGES * 4096);
        race(&source, &near, PAGES);
        far.join().expect("received");
    }) else {
        return;
    };
    let result = totals(&report, &File, &Tcp);
    let lost = totals(&report, &InPipe, &Tcp);
    eprintln!(
        "to TCP: {result:?}; of unknown origin: {lost:?}; into the pipe: {:?}",
        into_pipes(&report)
    );
    assert_eq!(result.total() + lost.total(), (PAGES * 4096) as u64);
    assert_eq!((result.copied, lost.copied, lost.moved), (0, 0, 0));
    assert_eq!(into_pipes(&report), ((PAGES * 4096) as u64, 0, 0));
}

#[test]
fn pipe_resized_between_write_and_read_is_known_from_the_next_write_on() {
    const TEST: &str = "attack_pipes::pipe_resized_between_write_and_read_is_known_from_the_next_write_on";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(4 * 4096));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 4 * 4096);
        let pipe = pipe_with_slots(16);
        // Head 4, tail 2; then head 2, tail 0, and the next write reuses the slot of a file's page.
        assert_eq!(
            splice_once(&source, Some(&mut 0), &pipe.write, None, 4 * 4096),
            4 * 4096
        );
        splice_all(&pipe.read, None, &near, None, 2 * 4096);
        fcntl_setpipe_size(&pipe.write, 32 * 4096).expect("F_SETPIPE_SZ");
        assert_eq!(rustix::io::write(&pipe.write, &[7; 2 * 4096]).expect("write"), 2 * 4096);
        splice_all(&pipe.read, None, &null(), None, 2 * 4096);
        splice_all(&pipe.read, None, &near, None, 2 * 4096);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &Tcp), moved(2 * 4096));
    // The bytes from before the resize went to the null device. Those that were written after it
    // are known, although the slot is that of a page of the file.
    assert_eq!(totals(&report, &InPipe, &Tcp), Totals::default(), "{:#?}", report.flows);
    assert_eq!(totals(&report, &Memory, &Tcp), copied(2 * 4096), "{:#?}", report.flows);
}

#[test]
fn bytes_in_a_pipe_before_tracing_are_unknown() {
    const TEST: &str = "attack_pipes::bytes_in_a_pipe_before_tracing_are_unknown";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(8 * 4096));
    let pipe = pipe_with_slots(16);
    assert_eq!(
        splice_once(&source, Some(&mut 0), &pipe.write, None, 4 * 4096),
        4 * 4096
    );
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 12 * 4096);
        // More bytes on top of it: their known origin does not help, because the state of the ring
        // is unknown.
        assert_eq!(
            splice_once(&source, Some(&mut 0), &pipe.write, None, 4 * 4096),
            4 * 4096
        );
        splice_all(&pipe.read, None, &near, None, 8 * 4096);
        // Empty now: from here on everything is known.
        assert_eq!(
            splice_once(&source, Some(&mut 0), &pipe.write, None, 4 * 4096),
            4 * 4096
        );
        splice_all(&pipe.read, None, &near, None, 4 * 4096);
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(totals(&report, &InPipe, &Tcp), unknown(8 * 4096), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &InPipe, &Tcp), reasons_of([("ZC85", 8 * 4096)]));
    assert_eq!(totals(&report, &File, &Tcp), moved(4 * 4096));
}

#[test]
fn two_concurrent_writers_are_never_confused() {
    const TEST: &str = "attack_pipes::two_concurrent_writers_are_never_confused";
    const EACH: usize = 500 * 4096;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(4096));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 2 * EACH);
        let pipe = pipe_with_slots(16);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..EACH / 4096 {
                    splice_once(&source, Some(&mut 0), &pipe.write, None, 4096);
                }
            });
            scope.spawn(|| {
                for _ in 0..EACH / 4096 {
                    assert_eq!(rustix::io::write(&pipe.write, &[7; 4096]).expect("write"), 4096);
                }
            });
            splice_all(&pipe.read, None, &near, None, 2 * EACH);
        });
        far.join().expect("received");
    }) else {
        return;
    };
    let [file, memory, lost] = [&File, &Memory, &InPipe].map(|from| totals(&report, from, &Tcp));
    eprintln!("spliced: {file:?}; written: {memory:?}; of unknown origin: {lost:?}");
    assert_eq!(file.total() + memory.total() + lost.total(), 2 * EACH as u64);
    // However much is unknown, no written byte may be moved, and no spliced byte copied.
    assert!(file.moved <= EACH as u64 && file.copied == 0, "{file:?}");
    assert!(memory.copied <= EACH as u64 && memory.moved == 0, "{memory:?}");
    assert_eq!((lost.moved, lost.copied), (0, 0), "{lost:?}");
}

/// Holds a pipe locked: splices its one slot to a connection whose window is closed, and waits
/// there. `holder` receives its thread ID.
fn lock(pipe: &Pipe, near: &std::net::TcpStream, holder: &mpsc::Sender<u32>) {
    holder.send(thread_id()).expect("the other side");
    splice_all(&pipe.read, None, near, None, 1);
}

#[test]
fn byte_written_during_a_splice_is_not_attributed_to_the_file() {
    const TEST: &str = "attack_pipes::byte_written_during_a_splice_is_not_attributed_to_the_file";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(4096));
    let me = std::process::id();
    let mut filled = 0;
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        filled = write_until_full(&near);
        let pipe = pipe_with_slots(16);
        assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, 1), 1);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            // Waiters on a locked pipe acquire it in the order of arrival.
            scope.spawn(|| lock(&pipe, &near, &sender));
            wait_until_blocked_in(me, receiver.recv().expect("its thread"), SPLICE);
            scope.spawn(|| {
                sender.send(thread_id()).expect("the test");
                assert_eq!(rustix::io::write(&pipe.write, &[7]).expect("write"), 1);
            });
            wait_until_blocked_in(me, receiver.recv().expect("its thread"), WRITE);
            let splicer = scope.spawn(|| {
                let me = thread_id();
                sender.send(me).expect("the test");
                assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, 2048), 2048);
            });
            wait_until_blocked_in(me, receiver.recv().expect("its thread"), SPLICE);
            receive(far, filled + 1).join().expect("received");
            splicer.join().expect("spliced");
        });
        splice_all(&pipe.read, None, &null(), None, 2049);
    }) else {
        return;
    };
    let edges: Vec<_> = report
        .edges
        .iter()
        .filter(|edge| edge.from.endpoint.kind == File && edge.to.endpoint.kind == InPipe)
        .map(|edge| (edge.account.moved, edge.account.copied, edge.account.unknown))
        .collect();
    // The first splice moved its byte. For the second no copy may be claimed, because its file's
    // page is in the pipe.
    assert_eq!(edges, [(1, 0, 2048)]);
    assert_eq!(totals(&report, &Memory, &Tcp), copied(filled));
}

/// Lets an untraced process take `taken` of four pages, moves the rest and, once the pipe is empty,
/// two pages more. Returns the verdicts of what went from the file to TCP, and of what went there
/// from a pipe of unknown content.
fn emptied_after_an_untraced_consumer(test: &str, taken: usize) -> Option<(Totals, Totals)> {
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(8 * 4096));
    let pipe = pipe();
    let reader = UntracedReader::new(&pipe, taken);
    let left = 4 * 4096 - taken;
    let report = traced(test, || {
        let (near, far) = tcp_connection();
        let far = receive(far, left + 2 * 4096);
        splice_all(&source, Some(0), &pipe.write, None, 4 * 4096);
        reader.take();
        splice_all(&pipe.read, None, &near, None, left);
        splice_all(&source, Some(4 * 4096), &pipe.write, None, 2 * 4096);
        splice_all(&pipe.read, None, &near, None, 2 * 4096);
        far.join().expect("received");
    })?;
    Some((totals(&report, &File, &Tcp), totals(&report, &InPipe, &Tcp)))
}

#[test]
fn first_push_into_a_pipe_that_an_untraced_consumer_changed_is_known() {
    const TEST: &str = "attack_pipes::first_push_into_a_pipe_that_an_untraced_consumer_changed_is_known";
    let Some((known, lost)) = emptied_after_an_untraced_consumer(TEST, 4096) else {
        return;
    };
    assert_eq!((known, lost), (moved(2 * 4096), unknown(3 * 4096)));
}

#[test]
fn first_push_into_a_pipe_that_an_untraced_consumer_emptied_is_known() {
    const TEST: &str = "attack_pipes::first_push_into_a_pipe_that_an_untraced_consumer_emptied_is_known";
    let Some((known, lost)) = emptied_after_an_untraced_consumer(TEST, 4 * 4096) else {
        return;
    };
    assert_eq!((known, lost), (moved(2 * 4096), unknown(0)));
}
