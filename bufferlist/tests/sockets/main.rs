//! Streams on loopback: byte-exact for all kinds, sizes and speeds; every interleaving of
//! half-closes; which side a step is blocked on; the state after a peer has closed; and the 200 ms
//! that a wrong `SPLICE_F_MORE` costs.

#[path = "../common/mod.rs"]
mod common;
mod half_close;
mod msg_more;
mod sigpipe;

use bufferlist::{BufferList, Error, ErrorKind, FileExtent, PagesMut, Side, Sink, Source, Step, Transfer, transfer};
use common::{assert_same, contents, file_with, pattern, pipe_list, reader, set_nonblocking, stream_pair};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::net::{Shutdown, shutdown};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const KINDS: [&str; 2] = ["TCP", "UNIX"];

// --- byte-exact ----------------------------------------------------------------------------------

#[test]
fn files_to_sockets_of_all_sizes_and_offsets() {
    let bytes = pattern((1 << 20) + 3 * 4096, 1);
    let disk = file_with(&bytes);
    let memory = rustix::fs::memfd_create("source", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
    std::fs::File::from(memory.try_clone().expect("dup"))
        .write_all(&bytes)
        .expect("write");
    let files = [("disk", OwnedFd::from(disk)), ("memory", memory)];
    for kind in KINDS {
        for (name, file) in &files {
            for start in [0, 1, 4095, 4096] {
                for len in [1, 4095, 4096, 4097, 65_536, 65_537, (1 << 20) + 3] {
                    let (near, far) = stream_pair(kind);
                    let far = reader(far);
                    let source = Source::file(file, start..start + len).expect("source").threshold(0);
                    let receipt = transfer(source, Sink::stream(near).expect("sink")).expect("transfer");
                    assert_eq!(receipt.total(), len, "{name} {start}+{len} to {kind}");
                    assert_same(
                        &far.join().expect("reader"),
                        &bytes[start as usize..(start + len) as usize],
                    );
                }
            }
        }
    }
}

#[test]
fn sockets_to_files_and_sockets() {
    let bytes = pattern((1 << 20) + 77, 2);
    for from in KINDS {
        // Into a file.
        let (near, far) = stream_pair(from);
        let writer = writer_of(far, bytes.clone());
        let file = file_with(b"old");
        let receipt = transfer(
            Source::stream(near).expect("source"),
            Sink::file(&file, 3).expect("sink"),
        );
        assert_eq!(receipt.expect("transfer").total(), bytes.len() as u64);
        writer.join().expect("writer");
        assert_same(&contents(&file), &[b"old", &bytes[..]].concat());
        // Into a socket.
        for to in KINDS {
            let (near, far) = stream_pair(from);
            let writer = writer_of(far, bytes.clone());
            let (out, end) = stream_pair(to);
            let end = reader(end);
            let receipt = transfer(Source::stream(near).expect("source"), Sink::stream(out).expect("sink"));
            assert_eq!(receipt.expect("transfer").total(), bytes.len() as u64, "{from} to {to}");
            writer.join().expect("writer");
            assert_same(&end.join().expect("reader"), &bytes);
        }
    }
}

/// Writes all bytes on a thread, and closes.
fn writer_of(fd: OwnedFd, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || std::fs::File::from(fd).write_all(&bytes).expect("write"))
}

/// All kinds of segments in one list, to each kind of socket.
#[test]
fn mixed_lists_arrive_in_order() {
    for kind in KINDS {
        let body = pattern(200_000, 3);
        let mut pages = PagesMut::new(50_000).expect("pages");
        pages.as_mut_slice().copy_from_slice(&body[..50_000]);
        let pages = pages.seal().expect("seal");
        let file = OwnedFd::from(file_with(&body));
        let mut list = BufferList::from("header ");
        list.push(FileExtent::new(file, 1000..30_000).expect("extent"));
        list.push("between ");
        list.append(&mut pipe_list(&body));
        list.push(bufferlist::Segment::zero(70_000));
        list.push(pages.clone());
        list.append(&mut pipe_list(&body[..10]).slice(3..7));
        list.push("the end");
        let expected = [
            b"header ",
            &body[1000..30_000],
            b"between ",
            &body,
            &vec![0; 70_000],
            &body[..50_000],
            &body[3..7],
            b"the end",
        ]
        .concat();
        assert_eq!(list.len(), expected.len() as u64);
        let (near, far) = stream_pair(kind);
        let far = reader(far);
        let mut job = Transfer::new(
            Source::file(file_with(b""), ..).expect("source"),
            Sink::stream(near).expect("sink"),
        );
        job.prefix(list);
        assert_eq!(job.run().expect("run").total(), expected.len() as u64);
        drop(job);
        assert_same(&far.join().expect("reader"), &expected);
    }
}

#[test]
fn slow_reader_with_small_queue_receives_every_byte() {
    for kind in KINDS {
        let bytes = pattern(3 << 20, 4);
        let (near, far) = stream_pair(kind);
        common::small_queues(&near, &far);
        let slow = std::thread::spawn(move || {
            let mut far = std::fs::File::from(far);
            let mut bytes = Vec::new();
            let mut buffer = [0; 1013];
            loop {
                let got = far.read(&mut buffer).expect("read");
                if got == 0 {
                    return bytes;
                }
                bytes.extend_from_slice(&buffer[..got]);
                // A slow reader, so that the writer repeatedly finds a full queue, at any speed.
                std::thread::yield_now();
            }
        });
        // Non-blocking, so that each full queue is a Blocked(Sink) and a poll(2).
        let near = set_nonblocking(near);
        let file = file_with(&bytes);
        let mut job = Transfer::new(
            Source::file(&file, ..).expect("source"),
            Sink::stream(near).expect("sink"),
        );
        let mut blocked = 0;
        loop {
            match job.step().expect("step") {
                Step::Moved(_) => {}
                Step::Blocked(Side::Sink) => {
                    blocked += 1;
                    std::thread::yield_now();
                }
                Step::Blocked(side) => panic!("blocked at the {side:?}"),
                Step::End => break,
            }
        }
        assert!(blocked > 0, "{kind}: the queue is smaller than the file");
        job.counts().assert_no_copies();
        drop(job);
        assert_same(&slow.join().expect("reader"), &bytes);
    }
}

/// Segments of 88 bytes, the smallest that Linux negotiates: fragments of every odd size in the
/// pipe.
#[test]
fn tiny_mss_preserves_every_byte() {
    let mss: libc::c_int = 88;
    let set = |fd: &dyn AsRawFd| {
        // SAFETY: setsockopt reads an int at the given address; the address is that of a live int
        // and the size is its size.
        let result = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_MAXSEG,
                (&raw const mss).cast(),
                size_of_val(&mss) as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "TCP_MAXSEG: {}", std::io::Error::last_os_error());
    };
    let pair = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        set(&listener);
        let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let far = listener.accept().expect("accept").0;
        (near, far)
    };
    let bytes = pattern(500_000, 5);
    let checksum = crc32c::crc32c(&bytes);
    // File to socket, socket to socket, socket to file.
    let file = file_with(&bytes);
    let (first, relay_in) = pair();
    let (relay_out, last) = pair();
    let out = file_with(b"");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            transfer(
                Source::file(&file, ..).expect("source"),
                Sink::stream(first).expect("sink"),
            )
            .expect("first")
        });
        scope.spawn(|| {
            transfer(
                Source::stream(relay_in).expect("source"),
                Sink::stream(relay_out).expect("sink"),
            )
            .expect("relay")
        });
        let receipt = transfer(
            Source::stream(last).expect("source"),
            Sink::file(&out, 0).expect("sink"),
        );
        assert_eq!(receipt.expect("last").total(), bytes.len() as u64);
    });
    let arrived = BufferList::from(FileExtent::new(OwnedFd::from(out), ..).expect("extent"));
    let crc = arrived.crc32c().expect("checksum");
    assert_eq!(crc.value(), checksum);
    assert_same(&arrived.to_bytes().expect("peek"), &bytes);
}

// --- waiting and ends ----------------------------------------------------------------------------

/// H6 and H7: no data yet, end of data, and no space are three different answers, and each names
/// its side.
#[test]
fn blocked_and_end_are_distinguished() {
    for kind in KINDS {
        let (near, far) = stream_pair(kind);
        common::small_queues(&near, &far);
        let near = set_nonblocking(near);
        let mut source = Source::stream(near.as_fd()).expect("source");
        let mut sink = Sink::stream(near.as_fd()).expect("sink");
        let mut list = BufferList::new();
        for threshold in [0, u64::MAX] {
            // By splice and by copy alike.
            source = source.threshold(threshold);
            let step = list.splice_from(&mut source, 100).expect("step");
            assert!(matches!(step, Step::Blocked(Side::Source)), "{kind}: {step:?}");
        }
        assert!(list.is_empty());
        // The pipe at the list's end is full, or has space: in both cases it is the source that is
        // empty.
        rustix::io::write(&far, &pattern(20_000, 6)).expect("write");
        common::wait_for_bytes(&near, 20_000);
        source = source.threshold(0);
        while let Step::Moved(_) = list.splice_from(&mut source, 1 << 20).expect("step") {}
        assert_eq!(list.len(), 20_000);
        let step = list.splice_from(&mut source, 100).expect("step");
        assert!(matches!(step, Step::Blocked(Side::Source)), "{kind}: {step:?}");
        // No space.
        let mut much = pipe_list(&pattern(4 << 20, 7));
        let mut memory = BufferList::from(pattern(4 << 20, 7));
        for list in [&mut much, &mut memory] {
            loop {
                match list.splice_to(&mut sink).expect("step") {
                    Step::Moved(_) => {}
                    step => {
                        assert!(matches!(step, Step::Blocked(Side::Sink)), "{kind}: {step:?}");
                        break;
                    }
                }
            }
            assert!(!list.is_empty());
        }
        // The peer has shut down its side: the end, on every call. Our own side can still write.
        shutdown(&far, Shutdown::Write).expect("shutdown");
        common::wait_until("the end arrives", || {
            matches!(list.splice_from(&mut source, 100), Ok(Step::End))
        });
        source = source.threshold(u64::MAX);
        assert!(matches!(list.splice_from(&mut source, 100), Ok(Step::End)));
        assert_eq!(list.len(), 20_000, "the end takes nothing away");
        // An empty list to a full sink is the end, too, and does not block.
        assert!(matches!(BufferList::new().splice_to(&mut sink), Ok(Step::End)));
    }
}

/// H16: bytes that were not sent are still in the list after the peer has closed.
#[test]
fn closed_peer_loses_no_bytes() {
    for kind in KINDS {
        let bytes = pattern(100_000, 8);
        let (near, far) = stream_pair(kind);
        let mut sink = Sink::stream(set_nonblocking(near)).expect("sink");
        // Bytes that the peer never reads, so that its close is a reset.
        rustix::io::write(sink.get_ref(), b"unread").expect("write");
        common::wait_for_bytes(&far, 6);
        drop(far);
        let shared = pipe_list(&bytes);
        let lists = [
            pipe_list(&bytes),
            shared.clone(),
            BufferList::from(bytes.clone()),
            BufferList::from(FileExtent::new(OwnedFd::from(file_with(&bytes)), ..).expect("extent")),
        ];
        for mut list in lists {
            let mut sent = 0;
            let mut failure: Option<Error> = None;
            common::wait_until("the sink notices", || match list.splice_to(&mut sink) {
                Ok(step) => {
                    sent += step.receipt().total();
                    false
                }
                Err(error) => {
                    failure = Some(error);
                    true
                }
            });
            let error = failure.expect("an error");
            assert_eq!(
                (error.kind(), error.side()),
                (ErrorKind::Closed, Some(Side::Sink)),
                "{kind}: {error}"
            );
            assert_same(&list.to_bytes().expect("peek"), &bytes[sent as usize..]);
        }
        // Used as a source: the end or the reset, never an invented byte.
        let (near, far) = stream_pair(kind);
        rustix::io::write(&near, b"unread").expect("write");
        common::wait_for_bytes(&far, 6);
        drop(far);
        let mut list = BufferList::new();
        let mut source = Source::stream(set_nonblocking(near)).expect("source");
        match list.splice_from(&mut source, 100) {
            Ok(Step::End) => {}
            Err(error) => assert_eq!((error.kind(), error.side()), (ErrorKind::Closed, Some(Side::Source))),
            other => panic!("{kind}: {other:?}"),
        }
        assert!(list.is_empty());
    }
}
