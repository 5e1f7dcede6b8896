//! `SPLICE_F_MORE`: what a wrong one costs, and that the library sets it only with the next bytes
//! in hand.

use crate::common::{self, file_with, nonblocking_pipe, pattern, pipe_list, read_available, set_nonblocking, tcp_pair};
use bufferlist::{BufferList, FileExtent, Limits, Sink, Source, Step, Transfer};
use rustix::fd::OwnedFd;
use rustix::pipe::SpliceFlags;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Answers a request eleven times, and returns how many bytes were held back after each answer,
/// that is, were in the send queue and not transmitted.
///
/// Nothing but `SPLICE_F_MORE` can hold them back: Nagle's algorithm is off, the congestion control
/// does not pace, and the answer fits into the windows of a fresh connection.
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

/// H18, the fact: a tail that is said to be followed by more, and is not, is held back (for 200 ms;
/// see the benchmark `latency`).
#[test]
fn wrong_msg_more_delays_the_tail() {
    const TEST: &str = "msg_more::wrong_msg_more_delays_the_tail";
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
        ("header, pipe", &|| with_header(pipe_list(&body))),
        ("header, file", &|| with_header(extent())),
        ("pipe, pipe", &|| {
            let mut list = pipe_list(&body);
            list.append(&mut pipe_list(&body));
            list
        }),
        ("header, pipe, trailer", &|| {
            let mut list = with_header(pipe_list(&body));
            list.push("trailer");
            list
        }),
        ("header, slice of a shared pipe", &|| {
            with_header(pipe_list(&body).slice(10..500))
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
fn with_header(mut list: BufferList) -> BufferList {
    list.push_front("HTTP/1.1 200 OK\r\n\r\n");
    list
}

/// A whole transfer in pieces follows this rule too: no piece announces more bytes.
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
