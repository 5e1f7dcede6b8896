//! Several transfers in one thread: a step never waits, and says which side it waits for; poll(2) does the rest.
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

/// A proxied connection: where from, where to, and the job between. The job owns the bytes in flight.
struct Proxied<'a> {
    name: &'static str,
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    job: Transfer<Nonblocking<BorrowedFd<'a>>, Nonblocking<BorrowedFd<'a>>>,
    waits_for: Option<Side>,
}

impl<'a> Proxied<'a> {
    fn new(name: &'static str, from: &'a UnixStream, to: &'a UnixStream) -> bufferlist::Result<Self> {
        let (from, to) = (from.as_fd(), to.as_fd());
        let source = Source::stream(Nonblocking::enter(from)?)?;
        let sink = Sink::stream(Nonblocking::enter(to)?)?;
        Ok(Self {
            name,
            from,
            to,
            job: Transfer::new(source, sink),
            waits_for: None,
        })
    }

    /// Steps until it would have to wait. Whether it is done.
    fn go_on(&mut self) -> bufferlist::Result<bool> {
        loop {
            match self.job.step()? {
                // A server with many connections would go on to the next one here, and come back.
                Step::Moved(_) => {}
                Step::Blocked(side) => {
                    self.waits_for = Some(side);
                    return Ok(false);
                }
                Step::End => return Ok(true),
            }
        }
    }

    /// What poll(2) shall watch for it.
    fn interest(&self) -> PollFd<'a> {
        match self.waits_for {
            Some(Side::Sink) => PollFd::from_borrowed_fd(self.to, PollFlags::OUT),
            _ => PollFd::from_borrowed_fd(self.from, PollFlags::IN),
        }
    }
}

/// Who sends, and who receives, each in small pieces and at a pace of its own.
fn talk(mut client: UnixStream, mut server: UnixStream) -> thread::JoinHandle<io::Result<usize>> {
    thread::spawn(move || {
        let sender = thread::spawn(move || -> io::Result<()> {
            for piece in vec![7; LEN].chunks(7_000) {
                client.write_all(piece)?;
            }
            Ok(())
        });
        let mut seen = Vec::new();
        server.read_to_end(&mut seen)?;
        sender.join().expect("the sender does not panic")?;
        Ok(seen.len())
    })
}

fn main() -> io::Result<()> {
    let (client_a, from_a) = UnixStream::pair()?;
    let (to_a, server_a) = UnixStream::pair()?;
    let (client_b, from_b) = UnixStream::pair()?;
    let (to_b, server_b) = UnixStream::pair()?;
    let talks = [talk(client_a, server_a), talk(client_b, server_b)];

    let mut open = vec![
        Proxied::new("first", &from_a, &to_a)?,
        Proxied::new("second", &from_b, &to_b)?,
    ];
    while !open.is_empty() {
        let mut still = Vec::new();
        for mut proxied in open {
            if proxied.go_on()? {
                println!("{}: {:?}", proxied.name, proxied.job.receipt());
                rustix::net::shutdown(proxied.to, rustix::net::Shutdown::Write)?;
            } else {
                still.push(proxied);
            }
        }
        open = still;
        let mut interests: Vec<_> = open.iter().map(Proxied::interest).collect();
        if !interests.is_empty() {
            poll(&mut interests, None)?;
        }
    }

    for talk in talks {
        assert_eq!(talk.join().expect("the talk does not panic")?, LEN, "all has arrived");
    }
    Ok(())
}
