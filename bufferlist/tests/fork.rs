//! A child that is forked without exec shares the parent's pipes and their rings. It must not touch
//! them: each byte that it took would be lost to the parent.

mod common;

use bufferlist::{BufferList, ErrorKind, Pool, SegmentKind, Sink, Source, Step, Transfer};
use common::{Child, assert_same, contents, file_with, fork, open_files, pattern};
use std::fs::File;
use std::sync::Barrier;

/// The tests run one after the other, each alone in its own process.
fn run_in_child(test: &str, body: impl FnOnce()) {
    Child::new().run(test, body);
}

#[test]
fn child_cannot_use_cells_of_its_parent() {
    run_in_child("child_cannot_use_cells_of_its_parent", || {
        let bytes = pattern(100_000, 1);
        let mut list = common::pipe_list(&bytes);
        let shared = list.slice(10_000..90_000);
        let (message, status) = fork(|| {
            // Moving, peeking, splitting and sharing in the child take no byte out of the parent's
            // pipe.
            let out = file_with(b"");
            let mut sink = Sink::file(&out, 0).expect("sink");
            let mut message = String::new();
            for mut list in [shared.clone(), list.clone(), list.slice(..10)] {
                let error = list.splice_to(&mut sink).expect_err("not ours");
                assert_eq!(error.kind(), ErrorKind::Forked);
                message = error.to_string();
            }
            assert_eq!(list.peek(..10).expect_err("not ours").kind(), ErrorKind::Forked);
            assert_eq!(list.to_bytes().expect_err("not ours").kind(), ErrorKind::Forked);
            assert_eq!(
                list.clone().stabilize().expect_err("not ours").kind(),
                ErrorKind::Forked
            );
            assert_eq!(contents(&out), b"");
            // The rope itself makes no system call: splitting and dropping are allowed.
            drop(list.slice(5..).split_off(100));
            message
        });
        assert!(status.success(), "{status}");
        assert!(message.contains("forked"), "{message}");
        // The parent has lost nothing.
        assert_same(&shared.to_bytes().expect("peek"), &bytes[10_000..90_000]);
        drop(shared);
        let out = file_with(b"");
        common::send_all(&mut list, &mut Sink::file(&out, 0).expect("sink"));
        assert_same(&contents(&out), &bytes);
    });
}

/// When the child appends to a list that ends with a pipe of the parent, the new bytes go into a
/// pipe of its own.
#[test]
fn child_appends_to_its_own_pipes() {
    run_in_child("child_appends_to_its_own_pipes", || {
        let bytes = pattern(50_000, 2);
        let file = file_with(&bytes);
        let pool = Pool::new(8, 8 << 20);
        let mut source = Source::file(&file, ..).expect("source").pool(&pool);
        let mut list = BufferList::new();
        assert!(matches!(list.splice_from(&mut source, 10_000), Ok(Step::Moved(_))));
        let (_, status) = fork(|| {
            let mut list = list;
            while let Step::Moved(_) = list.splice_from(&mut source, 10_000).expect("step") {}
            assert_eq!(list.len(), 50_000);
            let mut own = list.split_off(10_000);
            assert!(own.segments().all(|segment| segment.kind() == SegmentKind::Pipe));
            assert_same(&own.to_bytes().expect("peek"), &bytes[10_000..]);
            let out = file_with(b"");
            common::send_all(&mut own, &mut Sink::file(&out, 0).expect("sink"));
            assert_same(&contents(&out), &bytes[10_000..]);
            String::new()
        });
        assert!(status.success(), "{status}");
    });
}

/// Idle pipes in the parent's pool are not the child's either: the child closes its copies and
/// creates its own.
#[test]
fn child_pool_creates_its_own_pipes() {
    run_in_child("child_pool_creates_its_own_pipes", || {
        let bytes = pattern(300_000, 3);
        let file = file_with(&bytes);
        let pool = Pool::new(8, 8 << 20);
        let work = |pool: &Pool| {
            let out = file_with(b"");
            let mut job = Transfer::new(
                Source::file(&file, ..).expect("source"),
                Sink::file(&out, 0).expect("sink"),
            )
            .pool(pool);
            assert_eq!(job.run().expect("run").total(), 300_000);
            job.counts().assert_no_copies();
            assert_same(&contents(&out), &bytes);
        };
        work(&pool);
        let before = (pool.stats(), open_files());
        assert_eq!((before.0.created, before.0.idle), (1, 1));
        let (_, status) = fork(|| {
            work(&pool);
            let stats = pool.stats();
            assert_eq!((stats.created, stats.idle, stats.in_use), (2, 1, 0), "{stats:?}");
            // Without the message pipe.
            assert_eq!(open_files(), before.1 + 1, "the parent's are closed");
            String::new()
        });
        assert!(status.success(), "{status}");
        work(&pool);
        assert_eq!((pool.stats(), open_files()), before, "the parent's pool is as it was");
    });
}

/// Parent and child continue at the same time, each with its own bytes, after a fork in the middle
/// of a transfer.
#[test]
fn fork_during_transfer_loses_no_bytes_of_the_parent() {
    run_in_child("fork_during_transfer_loses_no_bytes_of_the_parent", || {
        let bytes = pattern(1 << 20, 4);
        let file = file_with(&bytes);
        let (near, far) = common::unix_pair();
        common::small_queues(&near, &far);
        let (near, far) = (common::set_nonblocking(near), common::set_nonblocking(far));
        let mut job = Transfer::new(
            Source::file(&file, ..).expect("source"),
            Sink::stream(&near).expect("sink"),
        );
        // Run until the sink is full, so that bytes are in flight.
        while let Step::Moved(_) = job.step().expect("step") {}
        assert!(!job.in_flight().is_empty());
        let mut forks = 0;
        let mut received = Vec::new();
        loop {
            if forks < 5 && !job.in_flight().is_empty() {
                forks += 1;
                let (_, status) = fork(|| {
                    // The transfer's own bytes are refused; nothing reaches the socket.
                    assert_eq!(job.step().expect_err("not ours").kind(), ErrorKind::Forked);
                    // A transfer that the child creates itself works.
                    let out = file_with(b"");
                    let (source, sink) = (Source::file(&file, ..), Sink::file(&out, 0));
                    let receipt = bufferlist::transfer(source.expect("source"), sink.expect("sink"));
                    assert_eq!(receipt.expect("transfer").total(), 1 << 20);
                    assert_same(&contents(&out), &bytes);
                    String::new()
                });
                assert!(status.success(), "{status}");
            }
            // Less than the socket holds, so that bytes are always in flight.
            let mut buffer = [0; 5000];
            let got = rustix::io::read(&far, &mut buffer).unwrap_or(0);
            received.extend_from_slice(&buffer[..got]);
            match job.step().expect("step") {
                Step::Moved(_) | Step::Blocked(_) => {}
                Step::End => break,
            }
        }
        received.extend(common::read_available(&far));
        assert_eq!(forks, 5);
        assert_same(&received, &bytes);
        job.counts().assert_no_copies();
    });
}

/// Several threads of a forked process use the library for the first time at the same moment: the
/// pipes of each are its own, and none belongs to the parent.
#[test]
fn concurrent_threads_agree_on_fork_generation() {
    const THREADS: usize = 4;
    run_in_child("concurrent_threads_agree_on_fork_generation", || {
        let bytes = pattern(5000, 5);
        let file = file_with(&bytes);
        let together = |file: &File| {
            let barrier = Barrier::new(THREADS);
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        let mut source = Source::file(file, ..).expect("source").threshold(0);
                        let mut list = BufferList::new();
                        barrier.wait();
                        let _ = list.splice_from(&mut source, 5000).expect("step");
                        assert_same(&list.to_bytes().expect("our own pipe"), &bytes);
                        let out = file_with(b"");
                        common::send_all(&mut list, &mut Sink::file(&out, 0).expect("sink"));
                    });
                }
            });
        };
        // The parent has used it before, so a child that mistook itself for its parent would find
        // idle pipes.
        together(&file);
        for _ in 0..50 {
            let (_, status) = fork(|| {
                together(&file);
                let stats = Pool::default().stats();
                assert_eq!(stats.mismatched, 0, "{stats:?}");
                String::new()
            });
            assert!(status.success(), "{status}");
        }
    });
}
