//! One cell of kernel pages with several holders: the exact behavior of tee(2), and that clones and
//! slices of a list send the right bytes, from several threads, in any order, with few pipes.

mod common;

use bufferlist::{BufferList, Pool, Reason, Sink, Source, Step};
use common::{
    ErrnoTable, assert_same, contents, file_with, nonblocking_pipe, page, pattern, pipe_list, raw_splice,
    read_available, set_nonblocking, stream_pair,
};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size};
use std::io::Write;

/// Makes one non-blocking tee(2) call.
fn tee(from: &OwnedFd, to: &OwnedFd, len: usize) -> rustix::io::Result<usize> {
    rustix::pipe::tee(from, to, len, SpliceFlags::NONBLOCK)
}

/// Returns a full pipe of 32 slots of 4 KiB each.
fn full_of_32_pages(bytes: &[u8]) -> (OwnedFd, OwnedFd) {
    let (read, write) = nonblocking_pipe();
    fcntl_setpipe_size(&write, 32 * page()).expect("F_SETPIPE_SZ");
    let file = file_with(bytes);
    assert_eq!(
        raw_splice(&file, Some(&mut 0), &write, None, bytes.len()),
        Ok(bytes.len())
    );
    (read, write)
}

#[test]
fn kernel_tee_behaves_as_documented() {
    let bytes = pattern(32 * page(), 1);
    let half = 16 * page();
    let mut answers = ErrnoTable::default();

    let (from, from_write) = full_of_32_pages(&bytes);
    let (to_read, to) = nonblocking_pipe();
    fcntl_setpipe_size(&to, half).expect("F_SETPIPE_SZ");
    answers.row(
        "tee of 32 slots into a ring of 16",
        tee(&from, &to, bytes.len()),
        &[Ok(half)],
    );
    answers.row(
        "again, the ring being full",
        tee(&from, &to, bytes.len()),
        &[Err(Errno::AGAIN)],
    );
    fcntl_setpipe_size(&to, 64 * page()).expect("F_SETPIPE_SZ");
    answers.row(
        "again, after it has grown",
        tee(&from, &to, bytes.len()),
        &[Ok(bytes.len())],
    );
    let received = read_available(&to_read);
    assert_same(&received[..half], &bytes[..half]);
    // It started at the head again: a duplicate, not a continuation.
    assert_same(&received[half..], &bytes);
    assert_eq!(common::queued(&from), bytes.len() as u64, "the source keeps its bytes");

    answers.row("into the same pipe", tee(&from, &from_write, 10), &[Err(Errno::INVAL)]);
    let (empty, writer) = nonblocking_pipe();
    answers.row(
        "of an empty pipe with a writer",
        tee(&empty, &to, 10),
        &[Err(Errno::AGAIN)],
    );
    drop(writer);
    answers.row("of an empty pipe without", tee(&empty, &to, 10), &[Ok(0)]);
    drop(to_read);
    answers.row("into a pipe without a reader", tee(&from, &to, 10), &[Err(Errno::PIPE)]);
    let file = file_with(b"x");
    let (_gone, other) = nonblocking_pipe();
    answers.row(
        "of a file",
        rustix::pipe::tee(&file, &other, 1, SpliceFlags::NONBLOCK),
        &[Err(Errno::INVAL)],
    );
    answers.finish("tee(2):");
}

#[test]
fn shared_list_is_sent_three_times() {
    for len in [1, 100, 4_096, 4_097, 65_536, 300_000] {
        let bytes = pattern(len, 2);
        let list = pipe_list(&bytes);
        for _ in 0..3 {
            let file = file_with(b"");
            let mut clone = list.clone();
            common::send_all(&mut clone, &mut Sink::file(&file, 0).expect("sink"));
            assert!(clone.is_empty());
            assert_same(&contents(&file), &bytes);
        }
        list.counts().assert_no_copies();
        assert_same(&list.to_bytes().expect("peek"), &bytes);
    }
}

/// A cell with more slots than a ring of the usual size: the private pipe must be as large, or
/// bytes would be missing.
#[test]
fn shared_cell_of_many_slots_is_sent_completely() {
    let bytes = pattern(100 * 5000, 3);
    // The request of one mebibyte makes the ring large; the file holds less. The file grows, and
    // pieces of slightly more than a page follow into the same ring.
    let mut file = file_with(&bytes[..5000]);
    let pool = Pool::new(8, 8 << 20);
    let mut list = BufferList::new();
    let mut source = Source::file(file.try_clone().expect("dup"), ..)
        .expect("source")
        .pool(&pool);
    for piece in bytes[5000..].chunks(5000) {
        assert!(matches!(list.splice_from(&mut source, 1 << 20), Ok(Step::Moved(_))));
        file.write_all(piece).expect("write");
    }
    assert!(matches!(list.splice_from(&mut source, 1 << 20), Ok(Step::Moved(_))));
    assert_eq!(list.segments().len(), 1, "one cell");
    let other = list.clone();
    let out = file_with(b"");
    common::send_all(&mut list, &mut Sink::file(&out, 0).expect("sink").pool(&pool));
    assert_same(&contents(&out), &bytes);
    other.counts().assert_no_copies();
    assert_same(&other.to_bytes().expect("peek"), &bytes);
}

/// Lists are `Send + Sync`, and no lock is held while a call waits.
#[test]
fn three_threads_send_clones_concurrently() {
    for kind in ["TCP", "UNIX"] {
        let bytes = pattern(2 << 20, 4);
        let list = pipe_list(&bytes);
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let (list, bytes) = (&list, &bytes);
                scope.spawn(move || {
                    for turn in 0..3 {
                        // Each thread sends its own part, so that the cells are split at different
                        // positions at once.
                        let start = (thread * 100_000 + turn * 33_333) % list.len();
                        let (near, far) = stream_pair(kind);
                        let reader = common::reader(far);
                        let mut part = list.slice(start..);
                        // Through a transfer, because the socket is a blocking one.
                        let mut transfer = bufferlist::Transfer::new(nothing(), Sink::stream(near).expect("sink"));
                        transfer.prefix(std::mem::take(&mut part));
                        assert_eq!(transfer.run().expect("run").total(), bytes.len() as u64 - start);
                        drop(transfer);
                        assert_same(&reader.join().expect("reader"), &bytes[start as usize..]);
                    }
                });
            }
            // Another thread peeks meanwhile.
            scope.spawn(|| {
                for at in (0..list.len() - 10).step_by(10_007) {
                    let view = list.peek(at..at + 10).expect("peek");
                    assert!(view == bytes[at as usize..at as usize + 10]);
                }
            });
        });
        assert_same(&list.to_bytes().expect("peek"), &bytes);
        assert_eq!(list.counts().of(Reason::NoPipe), 0, "{}", list.counts());
    }
}

/// A source that is at its end.
fn nothing() -> Source<std::fs::File> {
    Source::file(file_with(b""), ..).expect("source")
}

/// Slices of one large cell, sent in random order. tee(2) starts at the head each time, so a cell
/// that is sliced often is split into a few pipes. No byte may change, and no more than a few pipes
/// may be used.
#[test]
fn slices_of_large_cell_are_sent_in_random_order() {
    const SLICES: u64 = 200;
    let bytes = pattern(1 << 20, 5);
    let file = file_with(&bytes);
    let pool = Pool::new(64, 64 << 20);
    let mut source = Source::file(&file, ..).expect("source").pool(&pool);
    let list = common::fill_all(&mut source, 1 << 20);
    assert_eq!(list.segments().len(), 1, "one cell");
    let (near, far) = stream_pair("UNIX");
    let far = set_nonblocking(far);
    let mut sink = Sink::stream(set_nonblocking(near)).expect("sink").pool(&pool);
    let random = pattern(SLICES as usize * 8, 6);
    for number in random
        .chunks_exact(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("eight")))
    {
        let start = number % bytes.len() as u64;
        let len = (number >> 32) % 20_000;
        let end = (start + len).min(bytes.len() as u64);
        let sent = common::send_all(&mut list.slice(start..end), &mut sink);
        assert_eq!(sent, end - start);
        assert_same(&read_available(&far), &bytes[start as usize..end as usize]);
    }
    list.counts().assert_no_copies();
    let stats = pool.stats();
    eprintln!("after {SLICES} slices: {stats:?}");
    assert!(
        stats.created <= 12,
        "the cell's own parts, and one to send from: {stats:?}"
    );
    assert_eq!((stats.mismatched, stats.denied), (0, 0), "{stats:?}");
    assert_same(&list.to_bytes().expect("peek"), &bytes);
    drop((list, sink));
    assert_eq!(pool.stats().in_use, 0);
}

/// The parts of a split list are sent one after the other, front first, and each frees its pages.
#[test]
fn holders_send_their_parts_of_a_shared_cell() {
    let bytes = pattern(500_000, 7);
    let pool = Pool::new(64, 64 << 20);
    let file = file_with(&bytes);
    let mut source = Source::file(&file, ..).expect("source").pool(&pool);
    let mut list = common::fill_all(&mut source, 1 << 20);
    let mut parts = Vec::new();
    let mut size = 1;
    while !list.is_empty() {
        parts.push(list.split_to(size.min(list.len())));
        size = size * 2 + 1;
    }
    drop(list);
    // Last part first.
    let mut at = bytes.len() as u64;
    let out = file_with(b"");
    while let Some(mut part) = parts.pop() {
        at -= part.len();
        common::send_all(&mut part, &mut Sink::file(&out, at).expect("sink").pool(&pool));
    }
    assert_same(&contents(&out), &bytes);
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.mismatched), (0, 0), "{stats:?}");
}
