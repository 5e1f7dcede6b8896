//! A relay between two connections, under every interleaving of half-closes.

use super::KINDS;
use crate::common::{self, assert_same, pattern, read_available, set_nonblocking, stream_pair};
use bufferlist::{Sink, Source, Step, Transfer};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

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
