//! Message-oriented sockets. As streams they are refused, because a splice would discard what does
//! not fit and lose message boundaries. A datagram sink has to be requested by name and sends one
//! message per step.

mod common;

use bufferlist::{BufferList, EndpointKind, ErrorKind, FileExtent, PagesMut, Segment, Side, Sink, Source, Step};
use common::{
    ErrnoTable, assert_same, errno_name, file_with, nonblocking_pipe, pattern, pipe_list, raw_splice, set_nonblocking,
};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use std::io::Write;
use std::net::UdpSocket;

/// Returns two connected non-blocking UDP sockets.
fn udp_pair() -> (OwnedFd, OwnedFd) {
    let (near, far) = (
        UdpSocket::bind("127.0.0.1:0").expect("bind"),
        UdpSocket::bind("127.0.0.1:0").expect("bind"),
    );
    near.connect(far.local_addr().expect("address")).expect("connect");
    far.connect(near.local_addr().expect("address")).expect("connect");
    (set_nonblocking(near.into()), set_nonblocking(far.into()))
}

/// Returns two connected non-blocking UNIX sockets of the given type.
fn unix_pair_of(kind: SocketType) -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None).expect("socketpair")
}

/// Each kind of connected message-oriented socket.
fn all() -> [(&'static str, OwnedFd, OwnedFd); 3] {
    let udp = udp_pair();
    let datagram = unix_pair_of(SocketType::DGRAM);
    let packet = unix_pair_of(SocketType::SEQPACKET);
    [
        ("UDP", udp.0, udp.1),
        ("UNIX datagram", datagram.0, datagram.1),
        ("UNIX seqpacket", packet.0, packet.1),
    ]
}

/// Receives the next message, whole.
fn receive(fd: &OwnedFd) -> Vec<u8> {
    common::wait_until("a message arrives", || {
        let mut fds = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())) == Ok(1)
    });
    common::read_available_once(fd)
}

/// Returns whether no message is queued.
fn is_drained(fd: &OwnedFd) -> bool {
    rustix::io::read(fd, &mut [0; 1]) == Err(Errno::AGAIN)
}

/// H15: the kernel behavior that is the reason for the refusal.
#[test]
fn splice_from_datagram_socket_drops_the_excess() {
    let mut answers = ErrnoTable::default();
    let (near, far) = udp_pair();
    let message = pattern(100, 1);
    rustix::io::write(&near, &message).expect("send");
    common::wait_for_bytes(&far, 100);
    let (read, write) = nonblocking_pipe();
    let got = raw_splice(&far, None, &write, None, 10);
    answers.row("10 bytes of a UDP message of 100", got, &[Ok(10), Err(Errno::INVAL)]);
    if got == Ok(10) {
        assert_same(&common::read_available(&read), &message[..10]);
        assert!(is_drained(&far), "the other 90 bytes are lost");
    }
    answers.finish("datagrams:");
}

#[test]
fn message_sockets_are_rejected_as_streams() {
    for (kind, near, far) in all() {
        assert_eq!(Source::stream(&near).expect_err(kind).kind(), ErrorKind::Datagram);
        assert_eq!(Sink::stream(&near).expect_err(kind).kind(), ErrorKind::Datagram);
        assert_eq!(Source::file(&near, ..).expect_err(kind).kind(), ErrorKind::InvalidInput);
        assert_eq!(Sink::file(&near, 0).expect_err(kind).kind(), ErrorKind::InvalidInput);
        drop(far);
    }
}

/// Byte-stream endpoints are refused as datagram sinks.
#[test]
fn streams_are_rejected_as_datagram_sinks() {
    for kind in ["TCP", "UNIX"] {
        let (near, _far) = common::stream_pair(kind);
        assert_eq!(Sink::datagram(&near).expect_err(kind).kind(), ErrorKind::InvalidInput);
    }
    let (_read, write) = nonblocking_pipe();
    assert_eq!(
        Sink::datagram(&write).expect_err("pipe").kind(),
        ErrorKind::InvalidInput
    );
    let file = file_with(b"");
    assert_eq!(Sink::datagram(&file).expect_err("file").kind(), ErrorKind::InvalidInput);
}

/// H21: a pipe in packet mode keeps message boundaries, and splice(2) merges messages that must
/// stay apart.
#[test]
fn packet_pipes_are_rejected() {
    let (read, write) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK | PipeFlags::DIRECT).expect("pipe");
    // Only the write end carries the flag (fs/pipe.c: create_pipe_files()); the read end does not
    // show it.
    let tells = rustix::fs::fcntl_getfl(&read)
        .expect("F_GETFL")
        .contains(OFlags::DIRECT);
    assert_eq!(Source::stream(&read).is_err(), tells);
    assert_eq!(Sink::stream(&write).expect_err("packets").kind(), ErrorKind::Datagram);
    assert_eq!(
        Sink::datagram(&write).expect_err("packets").kind(),
        ErrorKind::InvalidInput
    );
    // The kernel behavior behind it: two packets, and one read returns both after a splice.
    rustix::io::write(&write, b"one").expect("write");
    rustix::io::write(&write, b"two").expect("write");
    let (joined, into) = nonblocking_pipe();
    while let Ok(1..) = raw_splice(&read, None, &into, None, 100) {}
    assert_same(&common::read_available(&joined), b"onetwo");
}

/// One step sends one message: all memory at the front, or one pipe segment.
#[test]
fn each_step_sends_one_message() {
    for (kind, near, far) in all() {
        let mut sink = Sink::datagram(&near).expect("sink");
        assert_eq!(sink.kind() == EndpointKind::Udp, kind == "UDP");
        let first = pattern(3000, 2);
        let second = pattern(5000, 3);
        let mut list = BufferList::from("header ");
        list.push("and more memory");
        list.append(&mut pipe_list(&first));
        list.append(&mut pipe_list(&second));
        list.push("tail");
        for expected in [b"header and more memory".as_slice(), &first, &second, b"tail"] {
            let step = list.splice_to(&mut sink).expect("step");
            assert_eq!(step.receipt().total(), expected.len() as u64, "{kind}: {step:?}");
            assert_same(&receive(&far), expected);
            assert!(is_drained(&far), "{kind}: one message");
        }
        assert!(matches!(list.splice_to(&mut sink), Ok(Step::End)));
        assert!(is_drained(&far), "{kind}: an empty list sends no empty message");
    }
}

/// A segment of any kind is sent whole in one message. A splice into a socket takes sixteen slots
/// at a time.
#[test]
fn multi_slot_message_is_sent_as_one() {
    for (kind, near, far) in all() {
        let mut sink = Sink::datagram(&near).expect("sink");
        // A file extent at an odd offset.
        let file = OwnedFd::from(file_with(&pattern(40_000, 8)));
        let mut list = BufferList::from(FileExtent::new(file, 4_095..39_000).expect("extent"));
        list.push("the next message");
        assert!(matches!(list.splice_to(&mut sink), Ok(Step::Moved(_))));
        assert_same(&receive(&far), &pattern(40_000, 8)[4_095..39_000]);
        assert!(is_drained(&far), "{kind}: one message of a file");
        // Twenty slots of a thousand bytes.
        let bytes = pattern(20_000, 4);
        let mut list = many_slots(&bytes, 1000);
        assert_eq!((list.segments().len(), list.len()), (1, 20_000));
        let step = list.splice_to(&mut sink).expect("step");
        assert_eq!(step.receipt().total(), 20_000, "{kind}");
        let got = receive(&far);
        assert_eq!(got.len(), 20_000, "{kind}");
        assert_same(&got, &bytes);
        assert!(is_drained(&far), "{kind}: one message");
        // Equal bytes: shared, sliced, and passed by vmsplice.
        let list = many_slots(&bytes, 1000);
        list.slice(500..19_500).splice_to(&mut sink).map(drop).expect("step");
        assert_same(&receive(&far), &bytes[500..19_500]);
        assert!(is_drained(&far), "{kind}: one message of a slice");
        let mut pages = PagesMut::new(20_000).expect("pages");
        pages.as_mut_slice().copy_from_slice(&bytes);
        let mut list = BufferList::from(Segment::from(pages.seal().expect("seal")));
        list.splice_to(&mut sink).map(drop).expect("step");
        assert_same(&receive(&far), &bytes);
        assert!(is_drained(&far), "{kind}: one message of pages");
    }
}

/// A message larger than sixteen pages.
#[test]
fn large_message_is_sent_as_one() {
    let (near, far) = unix_pair_of(SocketType::SEQPACKET);
    let mut sink = Sink::datagram(&near).expect("sink");
    let bytes = pattern(100_000, 5);
    let mut list = pipe_list(&bytes);
    assert_eq!(list.segments().len(), 1);
    match list.splice_to(&mut sink) {
        Ok(Step::Moved(receipt)) => assert_eq!(receipt.total(), 100_000),
        Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
            return test_support::skip!(
                "large_message_is_sent_as_one",
                "this system's messages are smaller (net.core.wmem_max)"
            );
        }
        other => panic!("{other:?}"),
    }
    // A single read of that length must return the whole message.
    let mut buffer = vec![0; 200_000];
    let got = rustix::io::read(&far, &mut buffer).expect("read");
    assert_same(&buffer[..got], &bytes);
    assert!(is_drained(&far));
}

/// Returns a list of one pipe segment that holds all of `bytes`, in slots of `size` bytes.
fn many_slots(bytes: &[u8], size: usize) -> BufferList {
    // The request of one mebibyte makes the ring large; the file holds less and grows piece by
    // piece.
    let mut file = file_with(b"");
    let mut source = Source::file(file.try_clone().expect("dup"), ..).expect("source");
    let mut list = BufferList::new();
    for piece in bytes.chunks(size) {
        file.write_all(piece).expect("write");
        let step = list.splice_from(&mut source, 1 << 20).expect("step");
        assert_eq!(step.receipt().total(), piece.len() as u64);
    }
    list
}

/// A message that is too large is an error and stays in the list, also in small slots, of which UDP
/// takes the first sixteen before it learns how many there are.
#[test]
fn oversized_message_is_not_split() {
    let (near, far) = udp_pair();
    let mut sink = Sink::datagram(&near).expect("sink");
    let bytes = pattern(70_000, 6);
    for mut list in [
        BufferList::from(bytes.clone()),
        pipe_list(&bytes),
        many_slots(&bytes, 1000),
    ] {
        let error = list
            .splice_to(&mut sink)
            .expect_err("UDP messages are shorter than 64 KiB");
        assert_eq!(error.side(), Some(Side::Sink), "{error}");
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        assert_eq!(errno.map(errno_name).as_deref(), Some("EMSGSIZE"));
        assert_same(&list.to_bytes().expect("peek"), &bytes);
        assert!(is_drained(&far), "nothing of it was sent");
    }
}

/// A full queue blocks on the sink, and a closed peer is an error; neither loses a byte.
#[test]
fn full_and_gone() {
    for kind in [SocketType::DGRAM, SocketType::SEQPACKET] {
        let (near, far) = unix_pair_of(kind);
        let mut sink = Sink::datagram(&near).expect("sink");
        let bytes = pattern(1000, 7);
        let mut sent = 0;
        loop {
            let mut list = if sent % 2 == 0 {
                pipe_list(&bytes)
            } else {
                BufferList::from(bytes.clone())
            };
            match list.splice_to(&mut sink).expect("step") {
                Step::Moved(receipt) => assert_eq!(receipt.total(), 1000),
                Step::Blocked(Side::Sink) => {
                    assert_same(&list.to_bytes().expect("peek"), &bytes);
                    break;
                }
                other => panic!("{other:?}"),
            }
            sent += 1;
        }
        for _ in 0..sent {
            assert_same(&receive(&far), &bytes);
        }
        drop(far);
        for mut list in [pipe_list(&bytes), BufferList::from(bytes.clone())] {
            let error = list.splice_to(&mut sink).expect_err("gone");
            assert_eq!(error.side(), Some(Side::Sink), "{error}");
            assert_same(&list.to_bytes().expect("peek"), &bytes);
        }
    }
}
