//! Streams on loopback: byte-exact for all kinds, sizes and speeds; every interleaving of
//! half-closes; which side a step is blocked on; the state after a peer has closed; and the 200 ms
//! that a wrong `SPLICE_F_MORE` costs.

mod common;

use bufferlist::{
    BufferList, Error, ErrorKind, FileExtent, Limits, PagesMut, Side, Sink, Source, Step, Transfer, transfer,
};
use common::{
    Child, assert_same, contents, file_with, nonblocking_pipe, pattern, pipe_list, read_available, reader,
    set_nonblocking, stream_pair, tcp_pair, unix_pair,
};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::SpliceFlags;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;

const KINDS: [&str; 2] = ["TCP", "UNIX"];

// --- byte-exact ------------------------------------------------------------------------------------------------------

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
                // A slow reader, independent of how slow: the writer finds a full queue again and
                // again.
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
    assert_same(&arrived.to_bytes().expect("look"), &bytes);
}

// --- waiting and ends ------------------------------------------------------------------------------------------------

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
            assert_same(&list.to_bytes().expect("look"), &bytes[sent as usize..]);
        }
        // As a source: the end or the reset, never an invented byte.
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

// --- half-close ------------------------------------------------------------------------------------------------------

/// Actions of a peer of the relay, in order.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Act {
    /// Writes its `n`th piece.
    Write(usize),
    /// Shuts down its write side.
    Shutdown,
}

/// Returns all interleavings of two scripts: `false` is a step of the first, `true` one of the
/// second.
fn interleavings(first: usize, second: usize) -> Vec<Vec<bool>> {
    if first == 0 || second == 0 {
        return vec![[vec![false; first], vec![true; second]].concat()];
    }
    let lead = |by: bool, rest: Vec<Vec<bool>>| rest.into_iter().map(move |rest| [vec![by], rest].concat());
    lead(false, interleavings(first - 1, second))
        .chain(lead(true, interleavings(first, second - 1)))
        .collect()
}

/// One direction of a relay: bytes from one side are sent to the other, and the end is passed on
/// only when all of them have been sent.
struct Direction<'a> {
    job: Transfer<&'a OwnedFd, &'a OwnedFd>,
    out: &'a OwnedFd,
    done: bool,
}

impl<'a> Direction<'a> {
    fn new(from: &'a OwnedFd, to: &'a OwnedFd) -> Self {
        let job = Transfer::new(
            Source::stream(from).expect("source").threshold(0),
            Sink::stream(to).expect("sink"),
        );
        Self {
            job,
            out: to,
            done: false,
        }
    }

    /// Steps until it is blocked.
    fn turn(&mut self) {
        while !self.done {
            match self.job.step().expect("step") {
                Step::Moved(_) => {}
                Step::Blocked(_) => return,
                Step::End => {
                    assert!(self.job.in_flight().is_empty(), "the end comes after the last byte");
                    shutdown(self.out, Shutdown::Write).expect("shutdown");
                    self.done = true;
                }
            }
        }
    }
}

/// H19: each side may shut down its half first, with bytes in flight in both directions, at any
/// moment; and the relay may run at any moment or only at the end.
#[test]
fn half_close_in_all_interleavings() {
    const SIZES: [usize; 2] = [150_000, 30_001];
    let script = [Act::Write(0), Act::Write(1), Act::Shutdown];
    for kind in KINDS {
        for order in interleavings(script.len(), script.len()) {
            for eager in [false, true] {
                run_relay(kind, &script, &order, eager, SIZES);
            }
        }
    }
}

fn run_relay(kind: &str, script: &[Act], order: &[bool], eager: bool, sizes: [usize; 2]) {
    let (client, front) = stream_pair(kind);
    let (back, server) = stream_pair(kind);
    let [client, front, back, server] = [client, front, back, server].map(set_nonblocking);
    let peers = [&client, &server];
    let pieces: Vec<[Vec<u8>; 2]> = (0..2)
        .map(|peer| [0, 1].map(|piece| pattern(sizes[piece], 10 + peer * 2 + piece as u64)))
        .collect();
    let mut relay = [Direction::new(&front, &back), Direction::new(&back, &front)];
    let mut next = [0, 0];
    // For each peer: what it has not yet been able to write, whether it closes then, and what it
    // has read.
    let mut unwritten: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
    let mut closes = [false, false];
    let mut is_closed = [false, false];
    let mut received: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
    let push = |peer: usize, unwritten: &mut Vec<u8>, closes: bool, closed: &mut bool| {
        while !unwritten.is_empty() {
            match rustix::io::write(peers[peer], unwritten) {
                Ok(wrote) => drop(unwritten.drain(..wrote)),
                Err(Errno::AGAIN) => return,
                Err(errno) => panic!("write: {errno}"),
            }
        }
        if closes && !*closed {
            shutdown(peers[peer], Shutdown::Write).expect("shutdown");
            *closed = true;
        }
    };
    for &peer in order {
        let peer = usize::from(peer);
        match script[next[peer]] {
            Act::Write(piece) => unwritten[peer].extend_from_slice(&pieces[peer][piece]),
            Act::Shutdown => closes[peer] = true,
        }
        next[peer] += 1;
        push(peer, &mut unwritten[peer], closes[peer], &mut is_closed[peer]);
        if eager {
            relay.iter_mut().for_each(Direction::turn);
        }
    }
    common::wait_until("the relay is done", || {
        for peer in [0, 1] {
            push(peer, &mut unwritten[peer], closes[peer], &mut is_closed[peer]);
            received[peer].extend(read_available(peers[peer]));
        }
        relay.iter_mut().for_each(Direction::turn);
        relay.iter().all(|direction| direction.done)
    });
    for peer in [0, 1] {
        let expected = pieces[1 - peer].concat();
        common::wait_until("the rest arrives", || {
            received[peer].extend(read_available(peers[peer]));
            received[peer].len() >= expected.len()
        });
        assert_same(&received[peer], &expected);
    }
    for direction in &relay {
        assert_eq!(direction.job.receipt().total(), (sizes[0] + sizes[1]) as u64);
    }
}

// --- SPLICE_F_MORE ---------------------------------------------------------------------------------------------------

/// Answers a request eleven times, and returns how many bytes were held back after each answer, that is, were in the send
/// queue and not transmitted.
///
/// Nothing but `SPLICE_F_MORE` can hold them back: Nagle's algorithm is off, the congestion control does not pace, and the
/// answer fits into the windows of a fresh connection.
fn held_back(mut answer: impl FnMut(&TcpStream), len: usize) -> Vec<usize> {
    const ROUNDS: usize = 11;
    let (near, mut far) = tcp_pair();
    let near = set_nonblocking(near);
    near.set_nodelay(true).expect("TCP_NODELAY");
    rustix::net::sockopt::set_tcp_congestion(&near, "reno").expect("TCP_CONGESTION");
    (0..ROUNDS)
        .map(|_| {
            let mut buffer = vec![0; len];
            answer(&near);
            let (_, unsent) = common::send_queue(&near);
            far.read_exact(&mut buffer).expect("read");
            // The request: its acknowledgement does not wait for data.
            far.write_all(b"next").expect("write");
            common::wait_for_bytes(&near, 4);
            assert_eq!(read_available(&near), b"next");
            unsent
        })
        .collect()
}

/// The result of [`held_back`] if nothing was.
const NOTHING: [usize; 11] = [0; 11];

/// H18, the fact: a tail that is said to be followed by more, and is not, is held back (for 200 ms; see the benchmark
/// `latency`).
#[test]
fn a_wrong_more_holds_the_tail_back() {
    const TEST: &str = "a_wrong_more_holds_the_tail_back";
    let file = file_with(&pattern(1000, 9));
    let round = |flags: SpliceFlags| {
        held_back(
            |near| {
                let (read, write) = nonblocking_pipe();
                let flags = flags | SpliceFlags::NONBLOCK;
                let mut at = 0;
                rustix::pipe::splice(&file, Some(&mut at), &write, None, 1000, flags).expect("splice");
                assert_eq!(rustix::pipe::splice(&read, None, near, None, 1000, flags), Ok(1000));
            },
            1000,
        )
    };
    let (with, without) = (round(SpliceFlags::MORE), round(SpliceFlags::empty()));
    assert_eq!(without, NOTHING);
    // Some may have been sent before they were counted, by the timer that ends the wait.
    if with == NOTHING {
        test_support::skip!(TEST, "this kernel does not hold a tail back for SPLICE_F_MORE");
    }
}

/// H18: the library sets `SPLICE_F_MORE` only with the next bytes in hand, so nothing waits,
/// whatever the segments are.
#[test]
fn list_tail_is_not_delayed_by_msg_more() {
    let body = pattern(1000, 10);
    let file = std::sync::Arc::new(OwnedFd::from(file_with(&body)));
    let extent = || BufferList::from(FileExtent::new(std::sync::Arc::clone(&file), ..).expect("extent"));
    let shapes: [(&str, &dyn Fn() -> BufferList); 7] = [
        ("memory", &|| BufferList::from(body.clone())),
        ("pipe", &|| pipe_list(&body)),
        ("header, pipe", &|| headed(pipe_list(&body))),
        ("header, file", &|| headed(extent())),
        ("pipe, pipe", &|| {
            let mut list = pipe_list(&body);
            list.append(&mut pipe_list(&body));
            list
        }),
        ("header, pipe, trailer", &|| {
            let mut list = headed(pipe_list(&body));
            list.push("trailer");
            list
        }),
        ("header, slice of a shared pipe", &|| {
            headed(pipe_list(&body).slice(10..500))
        }),
    ];
    for (shape, make) in shapes {
        let len = make().len() as usize;
        let held_back = held_back(
            |near| {
                let mut list = make();
                common::send_all(&mut list, &mut Sink::stream(near).expect("sink"));
            },
            len,
        );
        assert_eq!(held_back, NOTHING, "{shape}");
    }
}

/// Returns a list with a header of memory in front.
fn headed(mut list: BufferList) -> BufferList {
    list.push_front("HTTP/1.1 200 OK\r\n\r\n");
    list
}

/// The same rule for a whole transfer in pieces: no piece announces more bytes.
#[test]
fn transfer_tail_is_not_delayed_by_msg_more() {
    let body = pattern(40_001, 11);
    let file = file_with(&body);
    let held_back = held_back(
        |near| {
            let near = Sink::stream(near).expect("sink");
            let source = Source::file(&file, ..).expect("source");
            let mut job = Transfer::new(source, near).limits(Limits::default().chunk(4096));
            // The peer does not read yet: the queue of a fresh connection holds this much.
            loop {
                match job.step().expect("step") {
                    Step::Moved(_) => {}
                    Step::End => break,
                    Step::Blocked(_) => std::thread::yield_now(),
                }
            }
        },
        body.len(),
    );
    assert_eq!(held_back, NOTHING);
}

// --- SIGPIPE ---------------------------------------------------------------------------------------------------------

/// H16, the kernel behavior: splice(2) has no `MSG_NOSIGNAL`. With SIGPIPE at its default, which
/// Rust's `main` changes but a C program's does not, a splice to a closed peer kills the process; a
/// write by the library does not.
#[test]
fn default_sigpipe_kills_the_process() {
    let splices = || {
        // SAFETY: SIG_DFL installs no handler, so no code runs in signal context.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (near, far) = unix_pair();
        drop(far);
        let mut sink = Sink::stream(set_nonblocking(&near)).expect("sink");
        // Memory is sent by sendmsg(2) with MSG_NOSIGNAL: an error.
        let error = BufferList::from("memory").splice_to(&mut sink).expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
        eprintln!("alive after the write");
        let _ = pipe_list(b"pages").splice_to(&mut sink);
        eprintln!("alive after the splice");
    };
    let Some(output) = Child::new().output("default_sigpipe_kills_the_process", splices) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("alive after the write"), "{said}");
    if said.contains("alive after the splice") {
        // Good news, and worth knowing: the warning at `Sink` would be out of date.
        return test_support::skip!(
            "default_sigpipe_kills_the_process",
            "on this kernel a splice raises no signal"
        );
    }
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{}\n{said}", output.status);
}

/// With SIGPIPE ignored, as Rust's `main` sets it, it is an error like any other.
#[test]
fn ignored_sigpipe_is_reported_as_error() {
    for (near, far) in [stream_pair("TCP"), stream_pair("UNIX"), {
        let (read, write) = nonblocking_pipe();
        (write, read)
    }] {
        drop(far);
        let mut sink = Sink::stream(set_nonblocking(near)).expect("sink");
        let bytes = pattern(100, 12);
        let mut list = pipe_list(&bytes);
        let mut failure = None;
        common::wait_until("the sink notices", || {
            // TCP accepts the first write and learns of the reset from the peer's answer.
            if list.is_empty() {
                list = pipe_list(&bytes);
            }
            failure = list.splice_to(&mut sink).err();
            failure.is_some()
        });
        let error = failure.expect("an error");
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert_eq!(error.raw_os_error(), Some(Errno::PIPE.raw_os_error()), "{error}");
        assert_same(&list.to_bytes().expect("look"), &bytes);
    }
}
