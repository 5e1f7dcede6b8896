//! No leaks: after work of all kinds, successful or failed, the number of open files is unchanged,
//! no pipe with bytes in it is reused, and the pool's numbers are consistent.

mod common;

use bufferlist::fault::{self, Fault, Plan};
use bufferlist::{
    BufferList, Call, ErrorKind, FileExtent, Limits, PagesMut, PeekStrategy, Pool, PoolStats, Side, Sink, Source, Step,
    Transfer,
};
use common::{Child, assert_same, contents, file_with, open_files, pattern, pipe_list, set_nonblocking, stream_pair};
use rustix::fd::OwnedFd;
use std::time::Instant;

/// Live pipes and closed pipes add up to the created ones. (`cleared`: pipes closed by
/// `Pool::clear`.)
#[track_caller]
fn assert_adds_up(stats: PoolStats, cleared: u64) {
    let living = (stats.idle + stats.in_use) as u64;
    assert_eq!(stats.created, living + stats.closed + cleared, "{stats:?}");
    assert_eq!(stats.mismatched, 0, "{stats:?}");
}

/// Runs every operation that takes pipes or files, with the given pool.
fn use_all_operations(pool: &Pool) {
    let bytes = pattern(300_000, 1);
    let file = file_with(&bytes);
    let source = || Source::file(&file, ..).expect("source").pool(pool);

    // Received, cloned, split, peeked at in each way, and dropped with bytes in the pipe.
    let mut list = common::fill_all(&mut source(), 65_536);
    let clone = list.clone();
    for at in (0..250_000).step_by(25_000) {
        assert!(list.peek(at..at + 10).expect("peek") == bytes[at as usize..at as usize + 10]);
    }
    match list.peek_with(PeekStrategy::Memfd, 1000..9000) {
        Ok(view) => assert_same(&view.to_vec(), &bytes[1000..9000]),
        // Only this strategy needs a second pipe.
        Err(error) => assert_eq!(error.kind(), ErrorKind::NoPipe),
    }
    let _ = list.crc32c().expect("checksum");
    let back = list.split_off(100_000);
    drop(clone);
    // Sent to each kind of endpoint.
    let out = file_with(b"");
    common::send_all(&mut back.clone(), &mut Sink::file(&out, 0).expect("sink").pool(pool));
    assert_same(&contents(&out), &bytes[100_000..]);
    for kind in ["TCP", "UNIX"] {
        let (near, far) = stream_pair(kind);
        let mut sink = Sink::stream(set_nonblocking(near)).expect("sink").pool(pool);
        // To a reader, and to a closed peer.
        let mut part = back.slice(..50_000);
        while let Step::Moved(_) = part.splice_to(&mut sink).expect("step") {}
        drop(far);
        for mut list in [list.clone(), back.clone(), BufferList::from("memory")] {
            while let Ok(Step::Moved(_)) = list.splice_to(&mut sink) {}
        }
    }
    let mut stable = back;
    stable.stabilize().expect("stabilize");
    // Passed by vmsplice.
    let mut pages = PagesMut::new(50_000).expect("pages");
    pages.as_mut_slice().copy_from_slice(&bytes[..50_000]);
    let (near, far) = stream_pair("UNIX");
    let mut lent = BufferList::from(pages.seal().expect("seal"));
    let mut sink = Sink::stream(set_nonblocking(near)).expect("sink").pool(pool);
    common::send_all(&mut lent, &mut sink);
    assert_same(&common::read_available(set_nonblocking(far)), &bytes[..50_000]);
    // With provenance, and from a file extent that has become shorter.
    let list = common::fill_all(&mut source().with_provenance().expect("provenance"), 65_536);
    drop(list);
    let short = file_with(b"short");
    let extent = FileExtent::new(OwnedFd::from(short.try_clone().expect("dup")), ..).expect("extent");
    short.set_len(2).expect("truncate");
    let mut list = BufferList::from(extent);
    let (_read, write) = common::nonblocking_pipe();
    let mut sink = Sink::stream(&write).expect("sink").pool(pool);
    while let Ok(Step::Moved(_)) = list.splice_to(&mut sink) {}

    // Transfers: finished, past their deadline, and abandoned.
    let out = file_with(b"");
    let (near, far) = stream_pair("TCP");
    common::small_queues(&near, &far);
    let near = set_nonblocking(near);
    let mut late = Transfer::new(source(), Sink::stream(&near).expect("sink"))
        .pool(pool)
        .limits(Limits::default().deadline(Instant::now()));
    let _ = late.run().expect_err("the deadline");
    while let Step::Moved(_) = late.step().expect("step") {}
    let (_, in_flight, _) = late.into_parts();
    drop(in_flight);
    let mut job = Transfer::new(source(), Sink::file(&out, 0).expect("sink")).pool(pool);
    assert_eq!(job.run().expect("run").total(), 300_000);
}

#[test]
fn work_leaks_no_file_descriptors() {
    Child::new().run("work_leaks_no_file_descriptors", || {
        // One run first, for /dev/null, which is opened once per process.
        use_all_operations(&Pool::new(64, 8 << 20));
        let before = open_files();
        for _ in 0..20 {
            let pool = Pool::new(64, 8 << 20);
            use_all_operations(&pool);
            let stats = pool.stats();
            assert_eq!(stats.in_use, 0, "{stats:?}");
            assert_adds_up(stats, 0);
            assert!(stats.idle > 0, "clean pipes are kept: {stats:?}");
            drop(pool);
            assert_eq!(open_files(), before);
        }
        // A retained pool holds no more than its limit.
        let pool = Pool::new(4, 1 << 20);
        for _ in 0..5 {
            use_all_operations(&pool);
            let stats = pool.stats();
            assert_eq!((stats.in_use, open_files()), (0, before + 2 * stats.idle), "{stats:?}");
            assert!(stats.idle <= 4 && stats.capacity_bytes <= 1 << 20, "{stats:?}");
        }
        let free = pool.stats().idle as u64;
        pool.clear();
        assert_eq!(open_files(), before);
        assert_adds_up(pool.stats(), free);
    });
}

/// A pipe that is dropped with bytes in it is closed, and its bytes never appear anywhere.
#[test]
fn dirty_pipe_is_never_pooled() {
    let pool = Pool::new(8, 8 << 20);
    let secret = file_with(&vec![b's'; 50_000]);
    let mut closed = 0;
    for drain in [0, 1, 4_096, 49_999] {
        let mut source = Source::file(&secret, ..).expect("source").pool(&pool);
        let mut list = common::fill_all(&mut source, 65_536);
        // Some bytes are sent, some are not.
        let out = file_with(b"");
        let mut part = list.split_to(drain);
        common::send_all(&mut part, &mut Sink::file(&out, 0).expect("sink").pool(&pool));
        drop((part, list));
        closed += 1;
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.closed), (0, closed), "{drain}: {stats:?}");
        // The next request gets an empty pipe.
        let bytes = pattern(10_000, drain);
        let file = file_with(&bytes);
        let mut source = Source::file(&file, ..).expect("source").pool(&pool);
        let mut list = common::fill_all(&mut source, 65_536);
        assert_same(&list.to_bytes().expect("peek"), &bytes);
        let out = file_with(b"");
        common::send_all(&mut list, &mut Sink::file(&out, 0).expect("sink").pool(&pool));
        assert_same(&contents(&out), &bytes);
        assert_eq!(pool.stats().closed, closed, "a pipe that was emptied is kept");
    }
    assert_adds_up(pool.stats(), 0);
}

/// H17: a splice that fails or stops midway leaves a residue, which must not reach another user of
/// the pipe.
#[test]
fn pipes_with_residual_bytes_are_never_pooled() {
    let bytes = pattern(200_000, 2);
    for call in [
        Call::Splice,
        Call::Tee,
        Call::Read,
        Call::Write,
        Call::Pwrite,
        Call::BytesReadable,
    ] {
        for fault in [
            Fault::Error(5),
            Fault::Error(11),
            Fault::OneByte,
            Fault::Half,
            Fault::AllButOne,
        ] {
            for at in 0..6 {
                let pool = Pool::new(8, 8 << 20);
                let plan = Plan {
                    persistent: Some((at, call, fault)),
                    ..Plan::default()
                };
                fault::with_plan(plan, || {
                    let file = file_with(&bytes);
                    let out = file_with(b"");
                    let mut source = Source::file(&file, ..).expect("source").pool(&pool);
                    let mut sink = Sink::file(&out, 0).expect("sink").pool(&pool);
                    let mut list = BufferList::new();
                    for _ in 0..3 {
                        let _ = list.splice_from(&mut source, 65_536);
                        let _ = list.slice(list.len() / 3..).splice_to(&mut sink);
                        let _ = list.splice_to(&mut sink);
                    }
                });
                let stats = pool.stats();
                assert_eq!(stats.in_use, 0, "{call:?} {fault:?} from {at}: {stats:?}");
                // Pipes that the pool kept are empty: the next user reads only its own bytes.
                let other = pattern(150_000, 3);
                let file = file_with(&other);
                let mut source = Source::file(&file, ..).expect("source").pool(&pool);
                let list = common::fill_all(&mut source, 65_536);
                assert_same(&list.to_bytes().expect("peek"), &other);
                drop(list);
                assert_adds_up(pool.stats(), 0);
            }
        }
    }
}

/// Many threads use one pool at once; some abandon pipes and some do not.
#[test]
fn shared_pool_statistics_are_consistent() {
    let pool = Pool::new(6, 2 << 20);
    let bytes = pattern(100_000, 4);
    let file = file_with(&bytes);
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (pool, bytes, file) = (&pool, &bytes, &file);
            scope.spawn(move || {
                for turn in 0..100 {
                    let mut source = Source::file(file, ..).expect("source").pool(pool);
                    let mut list = common::fill_all(&mut source, [65_536, 5_000, 100_000][turn % 3]);
                    if (turn + thread) % 2 == 0 {
                        let out = file_with(b"");
                        common::send_all(&mut list, &mut Sink::file(&out, 0).expect("sink").pool(pool));
                        assert_same(&contents(&out), bytes);
                    }
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!(stats.in_use, 0, "{stats:?}");
    assert!(stats.idle <= 6, "{stats:?}");
    assert_adds_up(stats, 0);
}

/// A list with bytes in many pipes, dropped in the middle of being sent, returns or closes all of
/// them.
#[test]
fn lists_dropped_midway_return_their_pipes() {
    Child::new().run("lists_dropped_midway_return_their_pipes", || {
        drop(pipe_list(&pattern(10, 5)).peek(..));
        Pool::default().clear();
        let (near, far) = stream_pair("UNIX");
        let near = set_nonblocking(near);
        let before = open_files();
        for _ in 0..20 {
            let mut list = pipe_list(&pattern(3 << 20, 6));
            let keep = list.slice(1 << 20..2 << 20);
            let mut sink = Sink::stream(&near).expect("sink");
            loop {
                match list.splice_to(&mut sink).expect("step") {
                    Step::Moved(_) => {}
                    Step::Blocked(side) => {
                        assert_eq!(side, Side::Sink);
                        break;
                    }
                    Step::End => panic!("the queue is smaller than this"),
                }
            }
            drop(list);
            drop(keep);
            assert_eq!(Pool::default().stats().in_use, 0);
            let far = rustix::io::dup(&far).expect("dup");
            assert!(!common::read_available(set_nonblocking(far)).is_empty());
        }
        Pool::default().clear();
        assert_eq!(open_files(), before);
    });
}
