//! The seven bugs of Ceph's `buffer::raw_pipe` (src/common/buffer.cc, 2014 to 2018), one named test
//! each.
//!
//! Ceph's own tests used one file of four bytes, one segment, no socket and no slice, so all seven
//! bugs remained until the class was removed, unused.

mod common;

use bufferlist::fault::{self, Fault, Plan};
use bufferlist::{BufferList, Call, ErrorKind, Nonblocking, Pool, SegmentKind, Side, Sink, Source, Step};
use common::{
    assert_same, contents, file_with, fill_all, open_files, pattern, pipe_list, set_nonblocking, stream_pair,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// `if (offset < 0 && offset != ESPIPE) return offset;` compared the *result* of lseek, which is
/// -1, with the errno. Every socket and pipe, the main users of zero-copy, was therefore refused as
/// source and as sink, with -1, which reads as `EPERM`.
#[test]
fn bug_1_sockets_and_pipes_are_sources() {
    let (tcp, tcp_peer) = stream_pair("TCP");
    assert_eq!(
        seek(&tcp, SeekFrom::Current(0)),
        Err(Errno::SPIPE),
        "the fact that the bug was about: a socket has no position"
    );
    let ends: [(&str, OwnedFd, OwnedFd); 3] = [
        ("TCP", tcp, tcp_peer),
        {
            let (near, far) = stream_pair("UNIX");
            ("UNIX", near, far)
        },
        {
            let (read, write) = common::nonblocking_pipe();
            ("pipe", read, write)
        },
    ];
    let bytes = pattern(20_000, 1);
    for (kind, near, far) in ends {
        // Used as a sink: from the list into the far end.
        let mut sink = Sink::stream(set_nonblocking(far)).expect("sink");
        let mut list = pipe_list(&bytes);
        assert_eq!(common::send_all(&mut list, &mut sink), 20_000, "{kind}");
        drop(sink);
        // Used as a source: out of the near end into a list, in the kernel.
        if kind != "pipe" {
            common::wait_for_bytes(&near, 20_000);
        }
        let mut source = Source::stream(set_nonblocking(near)).expect("source");
        let list = fill_all(&mut source, 1 << 20);
        assert!(
            list.segments().all(|segment| segment.kind() == SegmentKind::Pipe),
            "{kind}"
        );
        list.counts().assert_no_copies();
        assert_same(&list.to_bytes().expect("peek"), &bytes);
    }
}

/// `splice(2)` advances the offset that it is given; `write_fd_zero_copy` then added the segment's
/// length again. A list of two segments left a hole as long as the first one between them.
#[test]
fn bug_2_offset_counted_twice() {
    // The kernel behavior behind the bug.
    let (read, write) = common::nonblocking_pipe();
    rustix::io::write(&write, b"abc").expect("write");
    let file = file_with(b"");
    let mut at = 100;
    assert_eq!(common::raw_splice(&read, None, &file, Some(&mut at), 3), Ok(3));
    assert_eq!(at, 103, "the kernel has counted it");

    let parts: Vec<Vec<u8>> = (0..3).map(|part| pattern(5000 + part, part as u64)).collect();
    let mut list = BufferList::new();
    for part in &parts {
        list.append(&mut pipe_list(part));
    }
    assert_eq!(list.segments().len(), 3, "three pipes");
    let file = file_with(b"");
    let mut sink = Sink::file(&file, 100).expect("sink");
    common::send_all(&mut list, &mut sink);
    let whole = parts.concat();
    assert_eq!(sink.position(), Some(100 + whole.len() as u64));
    let written = contents(&file);
    assert_same(&written[..100], &[0; 100]);
    assert_same(&written[100..], &whole);
}

/// `safe_splice` looped until it had all of `len`. On `EAGAIN` it discarded the count of bytes
/// received so far, and the pipe that held those bytes was closed. A socket with fewer than `len`
/// bytes ready lost them.
#[test]
fn bug_3_data_lost_on_eagain_from_the_source() {
    for kind in ["TCP", "UNIX"] {
        let bytes = pattern(30_000, 3);
        let (near, far) = stream_pair(kind);
        let mut source = Source::stream(set_nonblocking(near)).expect("source");
        let mut list = BufferList::new();
        let step =
            |list: &mut BufferList, source: &mut Source<OwnedFd>| list.splice_from(source, 65_536).expect("step");
        for piece in bytes.chunks(10_000) {
            assert!(
                matches!(step(&mut list, &mut source), Step::Blocked(Side::Source)),
                "{kind}: nothing there yet"
            );
            rustix::io::write(&far, piece).expect("write");
            common::wait_for_bytes(source.get_ref(), piece.len());
            let before = list.len();
            while let Step::Moved(receipt) = step(&mut list, &mut source) {
                assert!(receipt.total() > 0);
            }
            assert_eq!(
                list.len() - before,
                10_000,
                "{kind}: fewer than were asked for, and all of them"
            );
        }
        drop(far);
        common::wait_until("the end arrives", || matches!(step(&mut list, &mut source), Step::End));
        assert_same(&list.to_bytes().expect("peek"), &bytes);
    }
}

/// The sink side of the previous bug: when an error followed a partial send, the number of bytes
/// sent was lost.
#[test]
fn bug_3_data_lost_on_eagain_and_error_to_the_sink() {
    for kind in ["TCP", "UNIX"] {
        let bytes = pattern(8 << 20, 33);
        let (near, far) = stream_pair(kind);
        common::small_queues(&near, &far);
        let far = set_nonblocking(far);
        let mut sink = Sink::stream(set_nonblocking(near)).expect("sink");
        let mut list = pipe_list(&bytes);
        let mut sent = 0;
        let mut received = Vec::new();
        // Fill the socket three times.
        for _ in 0..3 {
            loop {
                match list.splice_to(&mut sink).expect("step") {
                    Step::Moved(receipt) => sent += receipt.total(),
                    Step::Blocked(Side::Sink) => break,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(
                sent + list.len(),
                bytes.len() as u64,
                "{kind}: what did not go is in the list"
            );
            common::wait_until("something arrives", || {
                let got = common::read_available(&far);
                received.extend_from_slice(&got);
                received.len() as u64 == sent
            });
        }
        assert!(!list.is_empty(), "{kind}: the socket's queue is smaller than this list");
        // A partial send, then an error.
        loop {
            match list.splice_to(&mut sink).expect("step") {
                Step::Moved(receipt) => sent += receipt.total(),
                Step::Blocked(_) => break,
                Step::End => panic!("{kind}: the list is empty"),
            }
        }
        drop(far);
        let mut error = None;
        common::wait_until("the sink notices", || match list.splice_to(&mut sink) {
            Ok(step) => {
                sent += step.receipt().total();
                false
            }
            Err(found) => {
                error = Some(found);
                true
            }
        });
        let error = error.expect("an error");
        assert_eq!(
            (error.kind(), error.side()),
            (ErrorKind::Closed, Some(Side::Sink)),
            "{kind}"
        );
        assert_eq!(
            error.receipt().total(),
            0,
            "{kind}: an error means that nothing went in this step"
        );
        assert_eq!(sent + list.len(), bytes.len() as u64, "{kind}");
        assert_same(&received, &bytes[..received.len()]);
        assert_same(&list.to_bytes().expect("peek"), &bytes[sent as usize..]);
    }
}

/// `ptr::zero_copy_to_fd` ignored the offset and the length of the slice: sending a part of a
/// buffer sent all of it.
#[test]
fn bug_4_slices_ignored() {
    let bytes = pattern(50_000, 4);
    let list = pipe_list(&bytes);
    for range in [0..1, 10..20, 4_095..4_097, 5_000..50_000, 49_999..50_000, 0..50_000] {
        let file = file_with(b"");
        let mut sink = Sink::file(&file, 0).expect("sink");
        let sent = common::send_all(&mut list.slice(range.clone()), &mut sink);
        assert_eq!(sent, range.end - range.start);
        assert_same(&contents(&file), &bytes[range.start as usize..range.end as usize]);
    }
    // A list that no clone shares.
    let mut alone = list;
    alone.advance(10_000);
    alone.truncate(10_001);
    let file = file_with(b"");
    common::send_all(&mut alone, &mut Sink::file(&file, 0).expect("sink"));
    assert_same(&contents(&file), &bytes[10_000..20_001]);
}

/// With two pointers to one raw, sending the second hit `assert(!source_consumed)`, and so did
/// `c_str()` after a send.
#[test]
fn bug_5_shared_raws() {
    let bytes = pattern(30_000, 5);
    let list = pipe_list(&bytes);
    let (mut first, mut second) = (list.clone(), list.clone());
    for holder in [&mut first, &mut second] {
        let file = file_with(b"");
        common::send_all(holder, &mut Sink::file(&file, 0).expect("sink"));
        assert_same(&contents(&file), &bytes);
    }
    assert!(first.is_empty() && second.is_empty());
    assert_same(&list.to_bytes().expect("c_str after a send"), &bytes);
    // Peek first, then send the last reference.
    let mut alone = list;
    let file = file_with(b"");
    common::send_all(&mut alone, &mut Sink::file(&file, 0).expect("sink"));
    assert_same(&contents(&file), &bytes);
}

/// `clone()`, `copy_out()` and others used `_raw->data`, which was null until the first call of
/// `c_str()`.
#[test]
fn bug_6_null_data() {
    type Look = (&'static str, fn(&BufferList) -> Vec<u8>);
    let bytes = pattern(10_000, 6);
    // Each kind of peek comes first once.
    let looks: [Look; 6] = [
        ("clone", |list| list.clone().to_bytes().expect("peek").to_vec()),
        ("slice", |list| list.slice(..).to_bytes().expect("peek").to_vec()),
        ("copy out", |list| list.peek(..).expect("peek").to_vec()),
        ("stabilize", |list| {
            let mut list = list.clone();
            list.stabilize().expect("stabilize");
            list.to_bytes().expect("peek").to_vec()
        }),
        ("split", |list| {
            let mut front = list.clone();
            let back = front.split_off(5_000);
            [front.to_bytes().expect("peek"), back.to_bytes().expect("peek")].concat()
        }),
        ("byte by byte", |list| {
            (0..list.len())
                .flat_map(|at| list.peek(at..=at).expect("peek").to_vec())
                .collect()
        }),
    ];
    for (name, look) in looks {
        let list = pipe_list(&bytes);
        assert!(look(&list) == bytes, "{name}");
        assert!(look(&list.clone()) == bytes, "{name} of a clone, the second time");
    }
}

/// The constructor threw after `pipe()` (when `O_NONBLOCK` or `F_SETPIPE_SZ` failed) without
/// closing the pipe; so did `copy_pipe`. Each time leaked two descriptors.
#[test]
fn bug_7_fd_leak() {
    common::Child::new().run("bug_7_fd_leak", || {
        let bytes = pattern(200_000, 7);
        let file = file_with(&bytes);
        let (near, _far) = stream_pair("UNIX");
        let near = Nonblocking::enter(near).expect("non-blocking");
        // One untouched run, because /dev/null is opened once per process.
        work(&file, &near);
        let before = open_files();
        for call in [
            Call::Pipe,
            Call::GetPipeSize,
            Call::SetPipeSize,
            Call::BytesReadable,
            Call::Splice,
            Call::Tee,
            Call::Read,
            Call::Poll,
        ] {
            for errno in [Errno::PERM, Errno::MFILE, Errno::NOMEM, Errno::IO] {
                for from in 0..12 {
                    let plan = Plan {
                        persistent: Some((from, call, Fault::Error(errno.raw_os_error()))),
                        ..Plan::default()
                    };
                    fault::with_plan(plan, || work(&file, &near));
                    assert_eq!(open_files(), before, "{call:?} fails with {errno} from call {from} on");
                }
            }
        }
    });
}

/// Reads from a file, clones, peeks and sends; every step may fail.
fn work(file: &std::fs::File, near: impl AsFd) {
    let pool = Pool::new(8, 1 << 20);
    let mut source = Source::file(file, ..).expect("source").pool(&pool);
    let mut sink = Sink::stream(near).expect("sink").pool(&pool);
    let mut list = BufferList::new();
    let _ = list.splice_from(&mut source, 150_000);
    let _ = list.peek(..list.len().min(10));
    let _ = list.slice(list.len() / 2..).splice_to(&mut sink);
    let _ = list.to_bytes();
    let _ = list.splice_to(&mut sink);
    drop(list);
    pool.clear();
}
