//! Several transfers in one thread: a step never blocks, and returns the side to wait for with
//! poll(2).
//!
//! ```text
//! cargo run -p bufferlist --example event_loop
//! ```

use bufferlist::{Nonblocking, Side, Sink, Source, Step, Transfer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

const LEN: usize = 500_000;

/// Proxied connection: both descriptors, and the transfer between them. The transfer owns the bytes
/// in flight.
struct Proxy<'a> {
    name: &'static str,
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    transfer: Transfer<Nonblocking<BorrowedFd<'a>>, Nonblocking<BorrowedFd<'a>>>,
    blocked_on: Option<Side>,
}

impl<'a> Proxy<'a> {
    fn new(name: &'static str, from: &'a UnixStream, to: &'a UnixStream) -> bufferlist::Result<Self> {
        let (from, to) = (from.as_fd(), to.as_fd());
        let source = Source::stream(Nonblocking::enter(from)?)?;
        let sink = Sink::stream(Nonblocking::enter(to)?)?;
        Ok(Self {
            name,
            from,
            to,
            transfer: Transfer::new(source, sink),
            blocked_on: None,
        })
    }

    /// Makes steps until the transfer is blocked. Returns whether it has ended.
    fn advance(&mut self) -> bufferlist::Result<bool> {
        loop {
            match self.transfer.step()? {
                // A server with many connections would serve the others before the next step.
                Step::Moved(_) => {}
                Step::Blocked(side) => {
                    self.blocked_on = Some(side);
                    return Ok(false);
                }
                Step::End => return Ok(true),
            }
        }
    }

    /// Returns the condition to poll for.
    fn interest(&self) -> PollFd<'a> {
        match self.blocked_on {
            Some(Side::Sink) => PollFd::from_borrowed_fd(self.to, PollFlags::OUT),
            _ => PollFd::from_borrowed_fd(self.from, PollFlags::IN),
        }
    }
}

/// Runs a sender and a receiver, each in small pieces and at its own pace.
fn run_peers(mut client: UnixStream, mut server: UnixStream) -> thread::JoinHandle<io::Result<usize>> {
    thread::spawn(move || {
        let sender = thread::spawn(move || -> io::Result<()> {
            for piece in vec![7; LEN].chunks(7_000) {
                client.write_all(piece)?;
            }
            Ok(())
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received)?;
        sender.join().expect("the sender does not panic")?;
        Ok(received.len())
    })
}

fn main() -> io::Result<()> {
    let (client_a, from_a) = UnixStream::pair()?;
    let (to_a, server_a) = UnixStream::pair()?;
    let (client_b, from_b) = UnixStream::pair()?;
    let (to_b, server_b) = UnixStream::pair()?;
    let peers = [run_peers(client_a, server_a), run_peers(client_b, server_b)];

    let mut open = vec![
        Proxy::new("first", &from_a, &to_a)?,
        Proxy::new("second", &from_b, &to_b)?,
    ];
    while !open.is_empty() {
        let mut still = Vec::new();
        for mut proxy in open {
            if proxy.advance()? {
                println!("{}: {:?}", proxy.name, proxy.transfer.receipt());
                rustix::net::shutdown(proxy.to, rustix::net::Shutdown::Write)?;
            } else {
                still.push(proxy);
            }
        }
        open = still;
        let mut interests: Vec<_> = open.iter().map(Proxy::interest).collect();
        if !interests.is_empty() {
            poll(&mut interests, None)?;
        }
    }

    for peer in peers {
        assert_eq!(
            peer.join().expect("the peers do not panic")?,
            LEN,
            "every byte was delivered"
        );
    }
    Ok(())
}
