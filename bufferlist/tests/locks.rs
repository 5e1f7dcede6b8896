//! Waiting and locks: a blocking splice holds the lock of its pipe while it waits. The library's
//! steps therefore refuse blocking descriptors, and its transfers block only on pipes that no other
//! thread can reach.

mod common;

use bufferlist::{BufferList, Error, ErrorKind, Limits, Nonblocking, Side, Sink, Source, Step, Transfer, transfer};
use common::{
    WATCHDOG, assert_same, contents, file_with, is_nonblocking, pattern, pipe_list, read_available, reader,
    set_nonblocking, stream_pair, wait_until, with_watchdog,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::fmt::Debug;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

// --- H11 and H12: kernel behavior ----------------------------------------------------------------

/// Returns the kernel's ID of this thread.
fn thread_id() -> i32 {
    let link = std::fs::read_link("/proc/thread-self").expect("/proc/thread-self");
    let id = link.file_name().and_then(|name| name.to_str());
    id.and_then(|id| id.parse().ok()).expect("a number")
}

/// Returns whether one of our threads is in this state: `S` asleep, `D` asleep and waiting for a
/// lock or a disk.
fn is_in_state(thread: &AtomicI32, state: char) -> bool {
    let id = thread.load(Ordering::Acquire);
    let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses.
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(state))
}

/// An operation on the pipe whose two ends are given.
type Operation = (&'static str, fn(&OwnedFd, &OwnedFd) -> bool);

/// Every operation on a pipe waits while a splice waits with the pipe locked.
const OPERATIONS: [Operation; 4] = [
    ("FIONREAD", |read, _| rustix::io::ioctl_fionread(read).is_ok()),
    ("a read that does not wait", |read, _| {
        rustix::io::read(read, &mut [0; 1]).is_ok()
    }),
    ("a write that does not wait", |_, write| {
        rustix::io::write(write, b"x").is_ok()
    }),
    ("F_SETPIPE_SZ", |read, _| {
        rustix::pipe::fcntl_setpipe_size(read, 1 << 17).is_ok()
    }),
];

#[test]
fn blocking_splice_holds_the_pipe_lock() {
    const TEST: &str = "blocking_splice_holds_the_pipe_lock";
    let mut unlocked = Vec::new();
    for (what, operation) in OPERATIONS {
        let (read, write) = common::nonblocking_pipe();
        let (read, write) = (Arc::new(read), Arc::new(write));
        // A blocking socket without data. SPLICE_F_NONBLOCK should keep the splice from waiting,
        // and does not for TCP (net/ipv4/tcp.c: tcp_splice_read()). A UNIX socket would honor the
        // flag (net/unix/af_unix.c: unix_stream_splice_read()).
        let (near, far) = stream_pair("TCP");
        let id = Arc::new(AtomicI32::new(0));
        let splicer = std::thread::spawn({
            let (write, id) = (Arc::clone(&write), Arc::clone(&id));
            move || {
                id.store(thread_id(), Ordering::Release);
                rustix::pipe::splice(&near, None, &write, None, 100, SpliceFlags::NONBLOCK)
            }
        });
        wait_until("the splice waits", || is_in_state(&id, 'S'));
        let (done, is_done) = mpsc::channel();
        let waiter = Arc::new(AtomicI32::new(0));
        let other = std::thread::spawn({
            let (read, write, waiter) = (Arc::clone(&read), Arc::clone(&write), Arc::clone(&waiter));
            move || {
                waiter.store(thread_id(), Ordering::Release);
                operation(&read, &write);
                let _ = done.send(());
            }
        });
        // Either the operation ends, or it waits for the pipe's mutex.
        let mut is_unlocked = false;
        wait_until("the operation ends or waits for the lock", || {
            is_unlocked = is_done.try_recv().is_ok();
            is_unlocked || is_in_state(&waiter, 'D')
        });
        if is_unlocked {
            unlocked.push(what);
        }
        // The awaited bytes arrive, and every operation continues.
        rustix::io::write(&far, b"at last").expect("write");
        if !unlocked.contains(&what) {
            is_done.recv_timeout(WATCHDOG).expect("the lock is given back");
        }
        other.join().expect("thread");
        assert_eq!(splicer.join().expect("thread"), Ok(7), "{what}");
    }
    if !unlocked.is_empty() {
        test_support::skip!(TEST, "this kernel does not keep the pipe locked: {unlocked:?}");
    }
}

// --- steps ---------------------------------------------------------------------------------------

/// A blocking pipe, which is the default of `pipe_with`.
fn blocking_pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("pipe")
}

/// Returns two blocking endpoints of each kind of stream: the first to read from, the second to
/// write to.
fn blocking_streams() -> Vec<(&'static str, OwnedFd, OwnedFd)> {
    let (tcp_near, tcp_far) = stream_pair("TCP");
    let (unix_near, unix_far) = stream_pair("UNIX");
    let (read, write) = blocking_pipe();
    vec![
        ("TCP", tcp_near, tcp_far),
        ("UNIX", unix_near, unix_far),
        ("pipe", read, write),
    ]
}

/// A step refuses even when bytes or space are available: whether it waits must not depend on
/// timing.
#[test]
fn step_on_blocking_descriptor_fails_before_moving_bytes() {
    for (kind, read, write) in blocking_streams() {
        rustix::io::write(&write, b"waiting").expect("write");
        if kind != "pipe" {
            common::wait_for_bytes(&read, 7);
        }
        let mut source = Source::stream(&read).expect("source");
        let mut list = BufferList::new();
        for threshold in [0, u64::MAX] {
            source = source.threshold(threshold);
            let error = list.splice_from(&mut source, 100).expect_err("blocking");
            assert_eq!(
                (error.kind(), error.side()),
                (ErrorKind::BlockingFd, Some(Side::Source)),
                "{kind}"
            );
        }
        assert!(list.is_empty());
        assert_eq!(common::queued(&read), 7, "{kind}: nothing was taken");

        let mut sink = Sink::stream(&write).expect("sink");
        for mut list in [pipe_list(b"pages"), BufferList::from("memory")] {
            let error = list.splice_to(&mut sink).expect_err("blocking");
            assert_eq!(
                (error.kind(), error.side()),
                (ErrorKind::BlockingFd, Some(Side::Sink)),
                "{kind}"
            );
            assert!(!list.is_empty());
        }
        let mut job = Transfer::new(
            Source::stream(&read).expect("source"),
            Sink::stream(&write).expect("sink"),
        );
        assert_eq!(job.step().expect_err("blocking").kind(), ErrorKind::BlockingFd);
        assert_eq!(common::queued(&read), 7, "{kind}: nothing was given");

        // Anyone can set the flag later: the endpoints notice.
        set_nonblocking(&read);
        set_nonblocking(&write);
        assert!(
            matches!(list.splice_from(&mut source, 100), Ok(Step::Moved(_))),
            "{kind}"
        );
        assert_same(&list.to_bytes().expect("peek"), b"waiting");
        assert!(matches!(list.splice_to(&mut sink), Ok(Step::Moved(_))), "{kind}");
    }
}

/// Files never wait in this sense, whatever their flags.
#[test]
fn files_need_no_nonblocking_flag() {
    let bytes = pattern(100_000, 1);
    let (from, to) = (file_with(&bytes), file_with(b""));
    assert!(!is_nonblocking(&from) && !is_nonblocking(&to));
    let mut list = common::fill_all(&mut Source::file(&from, ..).expect("source"), 1 << 16);
    common::send_all(&mut list, &mut Sink::file(&to, 0).expect("sink"));
    assert_same(&contents(&to), &bytes);
}

#[test]
fn nonblocking_guard_sets_and_restores_the_flag() {
    for (kind, read, write) in blocking_streams() {
        {
            let mut sink = Sink::stream(Nonblocking::enter(&write).expect("enter")).expect("sink");
            let mut source = Source::stream(Nonblocking::enter(read.as_fd()).expect("enter")).expect("source");
            assert!(is_nonblocking(&read) && is_nonblocking(&write), "{kind}");
            let mut list = pipe_list(b"there and back");
            common::send_all(&mut list, &mut sink);
            common::wait_until("bytes arrive", || {
                let _ = list.splice_from(&mut source, 100).expect("step");
                list.len() == 14
            });
            assert_same(&list.to_bytes().expect("peek"), b"there and back");
            // Another flag that is set meanwhile is preserved.
            let flags = rustix::fs::fcntl_getfl(&read).expect("F_GETFL");
            rustix::fs::fcntl_setfl(&read, flags | OFlags::APPEND).expect("F_SETFL");
        }
        assert!(
            !is_nonblocking(&read) && !is_nonblocking(&write),
            "{kind}: as they were"
        );
        let flags = rustix::fs::fcntl_getfl(&read).expect("F_GETFL");
        assert!(flags.contains(OFlags::APPEND), "{kind}: and nothing else was changed");
    }
    // A descriptor that was non-blocking before is non-blocking afterwards.
    let (read, _write) = common::nonblocking_pipe();
    drop(Nonblocking::enter(&read).expect("enter"));
    assert!(is_nonblocking(&read));
}

// --- jobs ----------------------------------------------------------------------------------------

/// Without a deadline a transfer may wait inside the kernel, because no other thread can reach its
/// pipe.
#[test]
fn transfer_without_deadline_accepts_blocking_descriptors() {
    for (kind, read, write) in blocking_streams() {
        let bytes = pattern(1 << 20, 2);
        let expected = bytes.clone();
        let writer = std::thread::spawn(move || {
            // Writes in parts, so that the transfer repeatedly finds the source empty.
            for piece in bytes.chunks(50_000) {
                std::io::Write::write_all(&mut std::fs::File::from(write.try_clone().expect("dup")), piece)
                    .expect("write");
                std::thread::yield_now();
            }
        });
        let (near, far) = stream_pair("UNIX");
        let far = reader(far);
        let total = with_watchdog(kind, move || {
            transfer(Source::stream(read).expect("source"), Sink::stream(near).expect("sink"))
                .expect("transfer")
                .total()
        });
        assert_eq!(total, expected.len() as u64);
        writer.join().expect("writer");
        assert_same(&far.join().expect("reader"), &expected);
    }
}

/// With a deadline a transfer must be able to stop, so blocking descriptors are refused at once,
/// with nothing moved.
#[test]
fn deadline_requires_nonblocking_descriptors() {
    for (kind, read, write) in blocking_streams() {
        rustix::io::write(&write, b"waiting").expect("write");
        if kind != "pipe" {
            common::wait_for_bytes(&read, 7);
        }
        let limits = Limits::default().deadline(Instant::now() + WATCHDOG);
        let out = file_with(b"");
        let mut job = Transfer::new(
            Source::stream(&read).expect("source"),
            Sink::file(&out, 0).expect("sink"),
        )
        .limits(limits);
        let error = job.run().expect_err("blocking");
        assert_eq!(
            (error.kind(), error.side()),
            (ErrorKind::BlockingFd, Some(Side::Source)),
            "{kind}"
        );
        assert_eq!(common::queued(&read), 7, "{kind}");
        // The sink: bytes received before the refusal stay in the transfer.
        let file = file_with(b"from a file");
        let mut job = Transfer::new(
            Source::file(&file, ..).expect("source"),
            Sink::stream(&write).expect("sink"),
        )
        .limits(limits);
        let error = job.run().expect_err("blocking");
        assert_eq!(
            (error.kind(), error.side()),
            (ErrorKind::BlockingFd, Some(Side::Sink)),
            "{kind}"
        );
        assert_same(&job.in_flight().to_bytes().expect("peek"), b"from a file");
        set_nonblocking(&write);
        assert_eq!(job.run().expect("run").total(), 11, "{kind}: and on it goes");
    }
}

/// Runs a transfer with a deadline that passes while the transfer waits for `side`. On a busy
/// machine a short deadline passes before the transfer waits; it then gets more time.
fn until_late<A: AsFd + Debug, B: AsFd + Debug>(mut job: Transfer<A, B>, side: Side) -> (Transfer<A, B>, Error) {
    let mut time = Duration::from_millis(20);
    loop {
        job = job.limits(Limits::default().deadline(Instant::now() + time));
        let error = job.run().expect_err("the deadline");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        if error.side() == Some(side) {
            return (job, error);
        }
        assert!(error.side().is_none() && time < WATCHDOG, "{error}");
        time *= 2;
    }
}

/// A deadline that passes loses nothing: the receipt has the progress, and another run continues
/// from there.
#[test]
fn transfer_resumes_after_a_deadline() {
    for kind in ["TCP", "UNIX"] {
        let bytes = pattern(6 << 20, 3);
        let file = file_with(&bytes);
        let (near, far) = stream_pair(kind);
        common::small_queues(&near, &far);
        let (near, far) = (set_nonblocking(near), set_nonblocking(far));
        let mut job = Transfer::new(
            Source::file(&file, ..).expect("source"),
            Sink::stream(&near).expect("sink"),
        );
        let mut received = Vec::new();
        // The peer does not read, so the sink is full long before the end and the deadline passes.
        // Three times.
        for _ in 0..3 {
            let error;
            (job, error) = until_late(job, Side::Sink);
            assert_eq!(error.receipt().total(), job.receipt().total());
            wait_until("what was sent arrives", || {
                received.extend(read_available(&far));
                received.len() as u64 == error.receipt().total()
            });
        }
        // The peer starts to read.
        let reading = Arc::new(Mutex::new(received));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (reading, stop) = (Arc::clone(&reading), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Acquire) {
                    reading.lock().expect("lock").extend(read_available(&far));
                    std::thread::yield_now();
                }
                reading.lock().expect("lock").extend(read_available(&far));
                far
            }
        });
        job = job.limits(Limits::default().deadline(Instant::now() + WATCHDOG));
        assert_eq!(
            job.run().expect("run").total(),
            bytes.len() as u64,
            "{kind}: of all the runs together"
        );
        job.counts().assert_no_copies();
        wait_until("all has arrived", || reading.lock().expect("lock").len() == bytes.len());
        stop.store(true, Ordering::Release);
        drop(thread.join().expect("reader"));
        assert_same(&reading.lock().expect("lock"), &bytes);
    }
}

/// The deadline at the source, with nothing in flight.
#[test]
fn deadline_at_an_empty_source_consumes_nothing() {
    for (kind, read, write) in blocking_streams() {
        let read = set_nonblocking(read);
        let out = file_with(b"");
        let mut job = Transfer::new(
            Source::stream(&read).expect("source"),
            Sink::file(&out, 0).expect("sink"),
        );
        let mut expected = Vec::new();
        for piece in [b"one ".as_slice(), b"two ", b"three"] {
            rustix::io::write(&write, piece).expect("write");
            expected.extend_from_slice(piece);
            if kind != "pipe" {
                common::wait_for_bytes(&read, piece.len());
            }
            (job, _) = until_late(job, Side::Source);
            assert!(job.in_flight().is_empty());
            assert_same(&contents(&out), &expected);
        }
        drop(write);
        job = job.limits(Limits::default().deadline(Instant::now() + WATCHDOG));
        assert_eq!(job.run().expect("run").total(), expected.len() as u64);
    }
}

/// A deadline also holds between endpoints that are always ready.
#[test]
fn deadline_applies_to_endpoints_that_never_block() {
    let from = file_with(b"");
    // More than any machine copies before the deadline. The file is sparse, so none of it need be
    // written.
    from.set_len(1 << 40).expect("a sparse file");
    let null =
        rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty()).expect("null");
    let total = with_watchdog("a job with a deadline", move || {
        let limits = Limits::default().deadline(Instant::now() + Duration::from_millis(50));
        let mut job = Transfer::new(
            Source::file(&from, ..).expect("source"),
            Sink::stream(&null).expect("sink"),
        )
        .limits(limits);
        let error = job.run().expect_err("the deadline");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        error.receipt().total()
    });
    assert!(total < 1 << 40);
}

/// A step never waits, even with an empty source and a full sink.
#[test]
fn step_never_blocks() {
    with_watchdog("a step", || {
        let (read, _write) = common::nonblocking_pipe();
        let (full_read, full) = common::nonblocking_pipe();
        while rustix::io::write(&full, &[0; 4096]) != Err(Errno::AGAIN) {}
        let mut source = Source::stream(&read).expect("source");
        let mut sink = Sink::stream(&full).expect("sink");
        let mut list = pipe_list(b"pages");
        assert!(matches!(
            list.splice_from(&mut source, 10),
            Ok(Step::Blocked(Side::Source))
        ));
        assert!(matches!(list.splice_to(&mut sink), Ok(Step::Blocked(Side::Sink))));
        assert!(matches!(
            list.clone().splice_to(&mut sink),
            Ok(Step::Blocked(Side::Sink))
        ));
        assert!(matches!(
            BufferList::from("memory").splice_to(&mut sink),
            Ok(Step::Blocked(Side::Sink))
        ));
        assert_eq!(list.len(), 5);
        drop(full_read);
    });
}
