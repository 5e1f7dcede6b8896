//! Large sizes: four gigabytes in constant memory, ten thousand segments in ten calls, a hundred
//! thousand segments without a linear search, and offsets beyond 32 bits.

mod common;

use bufferlist::{BufferList, Call, FileExtent, Limits, Segment, Sink, Source, Step, Transfer, fault};
use common::{Child, assert_same, contents, file_with, nonblocking_pipe, pattern, set_nonblocking};
use rustix::fd::OwnedFd;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

const GIB: u64 = 1 << 30;

/// Reads a field in KiB from /proc/self/status.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = status.lines().find(|line| line.starts_with(name)).expect(name);
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

/// Returns a memfd: holes take no memory there even when they are read.
fn memory() -> File {
    let memfd = rustix::fs::memfd_create("sparse", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
    File::from(memfd)
}

/// Returns a file of `len` bytes, mostly holes, with known words around every gigabyte and at the
/// end.
fn sparse(file: File, len: u64) -> (File, Vec<(u64, Vec<u8>)>) {
    file.set_len(len).expect("set_len");
    let mut marks = Vec::new();
    for gib in 0..=len / GIB {
        let at = (gib * GIB).saturating_sub(1500).min(len - 3000);
        let mark = pattern(3000, gib);
        file.write_all_at(&mark, at).expect("write");
        marks.push((at, mark));
    }
    (file, marks)
}

/// Reads to the end and checks that all bytes are zero except the known words.
fn check(mut stream: impl Read, len: u64, marks: &[(u64, Vec<u8>)]) {
    let zeros = vec![0; 1 << 18];
    let mut buffer = vec![0; 1 << 18];
    let mut at = 0;
    loop {
        let got = stream.read(&mut buffer).expect("read");
        if got == 0 {
            break;
        }
        let received = &mut buffer[..got];
        for (mark_at, mark) in marks {
            let (start, end) = ((*mark_at).max(at), (mark_at + mark.len() as u64).min(at + got as u64));
            if start < end {
                let here = &mut received[(start - at) as usize..(end - at) as usize];
                assert_same(here, &mark[(start - mark_at) as usize..(end - mark_at) as usize]);
                here.fill(0);
            }
        }
        assert!(received == &zeros[..got], "something that is not zero near {at}");
        at += got as u64;
    }
    assert_eq!(at, len);
}

#[test]
fn four_gigabytes_are_sent_in_constant_memory() {
    Child::new().run("four_gigabytes_are_sent_in_constant_memory", || {
        let len = 4 * GIB + 5000;
        let (file, marks) = sparse(memory(), len);
        let (near, far) = common::unix_pair();
        let reader = std::thread::spawn(move || check(far, len, &marks));
        let before = status("VmHWM");
        let mut job = Transfer::new(
            Source::file(&file, ..).expect("source"),
            Sink::stream(near).expect("sink"),
        )
        .limits(Limits::default().chunk(1 << 20));
        assert_eq!(job.run().expect("run").total(), len);
        job.counts().assert_no_copies();
        drop(job);
        reader.join().expect("reader");
        let grown = status("VmHWM") - before;
        eprintln!("{len} bytes with {grown} KiB");
        assert!(grown < 32 * 1024, "{grown} KiB");
    });
}

/// Transfers by copying: memory is allocated and freed chunk by chunk.
#[test]
fn one_gigabyte_is_copied_in_constant_memory() {
    Child::new().run("one_gigabyte_is_copied_in_constant_memory", || {
        let len = GIB;
        let (file, marks) = sparse(memory(), len);
        let (near, far) = common::unix_pair();
        let reader = std::thread::spawn(move || check(far, len, &marks));
        let before = status("VmHWM");
        let source = Source::file(&file, ..).expect("source").threshold(u64::MAX);
        let mut job = Transfer::new(source, Sink::stream(near).expect("sink")).limits(Limits::default().chunk(1 << 20));
        assert_eq!(job.run().expect("run").total(), len);
        drop(job);
        reader.join().expect("reader");
        let grown = status("VmHWM") - before;
        assert!(grown < 32 * 1024, "{grown} KiB");
    });
}

#[test]
fn offsets_above_four_gigabytes() {
    let len = 6 * GIB + 777;
    let (file, marks) = sparse(tempfile::tempfile().expect("temporary file"), len);
    for (at, mark) in &marks {
        // Through a pipe, through a file extent, and by copying, to a file at the same offset.
        for way in 0..3 {
            let out = tempfile::tempfile().expect("temporary file");
            let mut sink = Sink::file(&out, *at).expect("sink");
            let range = *at..at + mark.len() as u64;
            let mut list = if way == 1 {
                let file = OwnedFd::from(file.try_clone().expect("dup"));
                BufferList::from(FileExtent::new(file, range).expect("extent"))
            } else {
                let source = Source::file(&file, range).expect("source");
                let mut source = source.threshold(if way == 0 { 0 } else { u64::MAX });
                let list = common::fill_all(&mut source, 1 << 16);
                assert_eq!(source.position(), Some(at + 3000));
                list
            };
            assert!(list.peek(..).expect("peek") == mark[..]);
            common::send_all(&mut list, &mut sink);
            assert_eq!(sink.position(), Some(at + 3000));
            let mut received = vec![0; mark.len()];
            out.read_exact_at(&mut received, *at).expect("read");
            assert_same(&received, mark);
        }
    }
    // Directly from a file into a socket.
    let (near, far) = common::unix_pair();
    let (near, far) = (set_nonblocking(near), set_nonblocking(far));
    let (at, mark) = marks.last().expect("a mark");
    let file = Arc::new(OwnedFd::from(file));
    let mut list = BufferList::from(FileExtent::new(Arc::clone(&file), *at..).expect("extent"));
    list.truncate(3000);
    common::send_all(&mut list, &mut Sink::stream(&near).expect("sink"));
    assert_same(&common::read_available(&far), mark);
    // Positions in a list are 64 bits wide as well.
    let mut list = BufferList::from(Segment::zero(1 << 40));
    list.push(FileExtent::new(file, *at..at + 3000).expect("extent"));
    list.push_front(Segment::zero(1 << 41));
    let end = list.len();
    assert!(list.peek(end - 3000..).expect("peek") == mark[..]);
    let mut tail = list.split_off((1 << 40) + (1 << 41) + 1000);
    assert!(tail.peek(..).expect("peek") == mark[1000..]);
    tail.advance(500);
    assert!(tail.peek(..).expect("peek") == mark[1500..]);
    assert_eq!(list.len(), (1 << 40) + (1 << 41) + 1000);
}

/// Returns a list with the given number of one-byte segments.
fn single_byte_list(bytes: &[u8]) -> BufferList {
    let whole = bytes::Bytes::copy_from_slice(bytes);
    (0..bytes.len()).map(|at| Segment::from(whole.slice(at..=at))).collect()
}

/// Sends a list and returns the number of system calls that wrote.
fn count_writes<F: rustix::fd::AsFd + std::fmt::Debug>(list: &mut BufferList, sink: &mut Sink<F>) -> usize {
    let (_, record) = fault::with_plan(fault::Plan::default(), || common::send_all(list, sink));
    let writes = |call: &Call| matches!(call, Call::Write | Call::Pwrite | Call::Send | Call::Splice);
    record.calls.iter().filter(|(call, _)| writes(call)).count()
}

#[test]
fn ten_thousand_segments_are_sent_in_ten_calls() {
    let bytes = pattern(10_000, 1);
    let expected = bytes.len().div_ceil(1024);
    // A file, a pipe, and a stream of each kind.
    let file = file_with(b"");
    let calls = count_writes(&mut single_byte_list(&bytes), &mut Sink::file(&file, 0).expect("sink"));
    assert_eq!(calls, expected, "to a file");
    assert_same(&contents(&file), &bytes);
    let (read, write) = nonblocking_pipe();
    let calls = count_writes(&mut single_byte_list(&bytes), &mut Sink::stream(&write).expect("sink"));
    assert_eq!(calls, expected, "to a pipe");
    assert_same(&common::read_available(&read), &bytes);
    for kind in ["TCP", "UNIX"] {
        let (near, far) = common::stream_pair(kind);
        let near = set_nonblocking(near);
        let calls = count_writes(&mut single_byte_list(&bytes), &mut Sink::stream(&near).expect("sink"));
        assert_eq!(calls, expected, "to {kind}");
        drop(near);
        assert_same(&common::reader(far).join().expect("reader"), &bytes);
    }
    // A list of mixed segments: zeros and memory are sent together.
    let mut list = BufferList::new();
    for _ in 0..500 {
        list.push("x");
        list.push(Segment::zero(3));
    }
    let file = file_with(b"");
    assert_eq!(count_writes(&mut list, &mut Sink::file(&file, 0).expect("sink")), 1);
    assert_same(&contents(&file), &b"x\0\0\0".repeat(500));
}

/// The processor's time that this thread has had: the same whatever else the machine does.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "clock_gettime: {}", std::io::Error::last_os_error());
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time that `work` takes, at best of several.
fn best_of(mut work: impl FnMut()) -> Duration {
    (0..5)
        .map(|_| {
            let start = thread_time();
            work();
            thread_time().saturating_sub(start)
        })
        .min()
        .expect("several")
}

/// Few pieces, and twenty times as many: 5,000 and 100,000.
const FEW: usize = 5_000;
const MANY: usize = 100_000;

/// Twenty times the pieces cost twenty times as much to visit one by one, and up to three times
/// that since they no longer fit into the caches; to search through all of them would cost four
/// hundred times as much.
#[track_caller]
fn assert_not_quadratic(what: &str, few: Duration, many: Duration) {
    eprintln!("{what}: {FEW} pieces {few:?}, {MANY} pieces {many:?}");
    assert!(many < few * 150, "{what}: {few:?}, {many:?}");
}

#[test]
fn peeking_at_each_segment_is_not_quadratic() {
    let bytes = pattern(MANY, 2);
    let visit = |list: &BufferList, bytes: &[u8]| {
        for (at, byte) in bytes.iter().enumerate() {
            let view = list.peek(at as u64..=at as u64).expect("peek");
            assert!(view == [*byte]);
        }
    };
    let (small, large) = (single_byte_list(&bytes[..FEW]), single_byte_list(&bytes));
    let small_time = best_of(|| visit(&small, &bytes[..FEW]));
    let large_time = best_of(|| visit(&large, &bytes));
    assert_not_quadratic("peek", small_time, large_time);
}

/// Splitting a list from the front, and into pieces, is not quadratic either.
#[test]
fn splitting_is_not_quadratic() {
    type Apart = fn(BufferList);
    let bytes = pattern(MANY, 3);
    let ways: [(&str, Apart); 4] = [
        ("advance", |mut list| {
            while !list.is_empty() {
                list.advance(1);
            }
        }),
        ("split_to", |mut list| {
            while !list.is_empty() {
                drop(list.split_to(1));
            }
        }),
        ("truncate", |mut list| {
            while !list.is_empty() {
                list.truncate(list.len() - 1);
            }
        }),
        ("slice", |list| (0..list.len()).for_each(|at| drop(list.slice(at..=at)))),
    ];
    for (name, apart) in ways {
        let (small, large) = (single_byte_list(&bytes[..FEW]), single_byte_list(&bytes));
        let small_time = best_of(|| apart(small.clone()));
        let large_time = best_of(|| apart(large.clone()));
        assert_not_quadratic(name, small_time, large_time);
    }
}

/// Sending a large list in small steps does not visit what stays behind.
#[test]
fn sending_a_large_list_is_not_quadratic() {
    let bytes = pattern(MANY, 4);
    let send = |bytes: &[u8]| {
        let file = file_with(b"");
        let mut list = single_byte_list(bytes);
        let mut sink = Sink::file(&file, 0).expect("sink");
        while let Step::Moved(_) = list.splice_to(&mut sink).expect("step") {}
        assert_eq!(sink.position(), Some(bytes.len() as u64));
    };
    let small_time = best_of(|| send(&bytes[..FEW]));
    let large_time = best_of(|| send(&bytes));
    assert_not_quadratic("splice_to", small_time, large_time);
}
