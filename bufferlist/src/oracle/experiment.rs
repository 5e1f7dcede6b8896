//! One experiment of the oracle: a canary, the stations it passes, and the destination where it is
//! read.

use super::Verdict;
use super::canary::{self, ACTION, Canary, oracle_error};
use crate::endpoint::kind::EndpointKind;
use crate::error::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Station between source and destination. The page leaves one pipe and enters another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hop {
    Pipe,
    Tee,
    Tcp,
    Unix,
}

impl Hop {
    pub(super) fn through(end: EndpointKind) -> Result<Self> {
        match end {
            EndpointKind::Pipe => Ok(Self::Pipe),
            EndpointKind::Tcp => Ok(Self::Tcp),
            EndpointKind::Unix => Ok(Self::Unix),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                "run an experiment through this kind of endpoint",
            )),
        }
    }
}

/// Destination of the canary, where it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Destination {
    /// The last pipe of the path. The page stays there.
    LastPipe,
    Pipe,
    Memfd,
    File,
    DirectFile,
    Tcp,
    Unix,
    Udp,
}

impl Destination {
    pub(super) fn of(end: EndpointKind) -> Result<Self> {
        match end {
            EndpointKind::Pipe => Ok(Self::Pipe),
            EndpointKind::Tmpfs => Ok(Self::Memfd),
            EndpointKind::File => Ok(Self::File),
            EndpointKind::DirectFile => Ok(Self::DirectFile),
            EndpointKind::Tcp => Ok(Self::Tcp),
            EndpointKind::Unix => Ok(Self::Unix),
            EndpointKind::Udp => Ok(Self::Udp),
            EndpointKind::Memory | EndpointKind::DevNull | EndpointKind::Other => Err(Error::new(
                ErrorKind::InvalidInput,
                "run an experiment with this kind of sink",
            )),
        }
    }
}

/// Description of an experiment.
pub(super) struct Experiment<'a> {
    pub(super) from: EndpointKind,
    pub(super) from_dir: &'a Path,
    pub(super) hops: &'a [Hop],
    pub(super) to: Destination,
    pub(super) to_dir: &'a Path,
}

/// Both ends of a pipe.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn new() -> Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(oracle_error)?;
        Ok(Self { read, write })
    }
}

impl Experiment<'_> {
    /// Runs the experiment and returns its verdict.
    pub(super) fn run(&self) -> Result<Verdict> {
        let mut canary = Canary::new(self.from, self.from_dir)?;
        let mut pipe = Pipe::new()?;
        canary.splice_into(pipe.write.as_fd())?;
        // If the source is itself a station, the page passes it first.
        if let Ok(hop) = Hop::through(self.from) {
            pipe = pass_through(hop, &pipe)?;
        } else if matches!(
            self.from,
            EndpointKind::Udp | EndpointKind::DevNull | EndpointKind::Other
        ) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "run an experiment with this kind of source",
            ));
        }
        for &hop in self.hops {
            pipe = pass_through(hop, &pipe)?;
        }
        let bytes = self.deliver(&pipe, &mut canary)?;
        match canary::is_modified(&bytes) {
            Some(true) => Ok(Verdict::Shared),
            Some(false) => Ok(Verdict::Private),
            None => Err(Error::new(ErrorKind::Io, "interpret the page at the destination")),
        }
    }

    /// Moves the page to the destination, modifies it at its source, and reads it at the
    /// destination.
    fn deliver(&self, pipe: &Pipe, canary: &mut Canary) -> Result<Vec<u8>> {
        match self.to {
            Destination::LastPipe => {
                canary.modify()?;
                read(pipe.read.as_fd())
            }
            Destination::Pipe => {
                let other = Pipe::new()?;
                splice(pipe.read.as_fd(), other.write.as_fd(), None)?;
                canary.modify()?;
                read(other.read.as_fd())
            }
            Destination::Memfd | Destination::File => {
                let file = if self.to == Destination::File {
                    canary::temporary_file(self.to_dir)?
                } else {
                    canary::memfd()?
                };
                splice(pipe.read.as_fd(), file.as_fd(), Some(0))?;
                canary.modify()?;
                read_file(&file)
            }
            Destination::DirectFile => {
                let file = canary::temporary_file(self.to_dir)?;
                let direct = canary::reopen_direct(&file, OFlags::WRONLY)?;
                splice(pipe.read.as_fd(), direct.as_fd(), Some(0))?;
                canary.modify()?;
                read_file(&file)
            }
            Destination::Tcp => {
                let (near, far) = tcp_pair()?;
                splice(pipe.read.as_fd(), near.as_fd(), None)?;
                canary.modify()?;
                read(far.as_fd())
            }
            Destination::Unix => {
                let (near, far) = unix_pair()?;
                splice(pipe.read.as_fd(), near.as_fd(), None)?;
                canary.modify()?;
                read(far.as_fd())
            }
            Destination::Udp => {
                let (near, far) = udp_pair()?;
                splice(pipe.read.as_fd(), near.as_fd(), None)?;
                canary.modify()?;
                read(far.as_fd())
            }
        }
    }
}

/// Moves the page through a station, from a pipe into a new one.
fn pass_through(hop: Hop, from: &Pipe) -> Result<Pipe> {
    let to = Pipe::new()?;
    let through = |near: BorrowedFd<'_>, far: BorrowedFd<'_>| {
        splice(from.read.as_fd(), near, None)?;
        splice(far, to.write.as_fd(), None)
    };
    match hop {
        Hop::Pipe => splice(from.read.as_fd(), to.write.as_fd(), None)?,
        Hop::Tee => {
            let page = rustix::param::page_size();
            let got = rustix::pipe::tee(&from.read, &to.write, page, SpliceFlags::empty()).map_err(oracle_error)?;
            if got != page {
                return Err(Error::new(ErrorKind::Io, ACTION));
            }
        }
        Hop::Tcp => {
            let (near, far) = tcp_pair()?;
            through(near.as_fd(), far.as_fd())?;
        }
        Hop::Unix => {
            let (near, far) = unix_pair()?;
            through(near.as_fd(), far.as_fd())?;
        }
    }
    Ok(to)
}

/// Waits until bytes are readable, for at most a second. On loopback they are readable at once. If
/// the machine is too busy for that, the experiment fails instead of hanging.
fn wait_readable(fd: BorrowedFd<'_>) -> Result<()> {
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    let ready =
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&second)));
    if ready.map_err(oracle_error)? > 0 {
        Ok(())
    } else {
        Err(oracle_error(Errno::TIMEDOUT))
    }
}

/// Splices a whole page.
fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, mut at: Option<u64>) -> Result<()> {
    let mut left = rustix::param::page_size();
    while left > 0 {
        wait_readable(from)?;
        let moved =
            rustix::io::retry_on_intr(|| rustix::pipe::splice(from, None, to, at.as_mut(), left, SpliceFlags::empty()));
        match moved.map_err(oracle_error)? {
            0 => return Err(Error::new(ErrorKind::Closed, ACTION)),
            moved => left -= moved,
        }
    }
    Ok(())
}

/// Reads a whole page from a stream, or one message.
fn read(from: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut page = vec![0; rustix::param::page_size()];
    let mut got = 0;
    while got < page.len() {
        wait_readable(from)?;
        match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut page[got..])).map_err(oracle_error)? {
            0 => return Err(Error::new(ErrorKind::Closed, ACTION)),
            more => got += more,
        }
    }
    Ok(page)
}

fn read_file(file: &OwnedFd) -> Result<Vec<u8>> {
    let mut page = vec![0; rustix::param::page_size()];
    let got = rustix::io::pread(file, &mut page[..], 0).map_err(oracle_error)?;
    page.truncate(got);
    Ok(page)
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err by name")]
fn io(error: std::io::Error) -> Error {
    Error::from_io(&error, ACTION)
}

fn tcp_pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io)?;
    let near = TcpStream::connect(listener.local_addr().map_err(io)?).map_err(io)?;
    let address = near.local_addr().map_err(io)?;
    // Another process on this host may connect first.
    loop {
        let (far, peer) = listener.accept().map_err(io)?;
        if peer == address {
            return Ok((near, far));
        }
    }
}

fn unix_pair() -> Result<(UnixStream, UnixStream)> {
    UnixStream::pair().map_err(io)
}

fn udp_pair() -> Result<(UdpSocket, UdpSocket)> {
    let near = UdpSocket::bind("127.0.0.1:0").map_err(io)?;
    let far = UdpSocket::bind("127.0.0.1:0").map_err(io)?;
    near.connect(far.local_addr().map_err(io)?).map_err(io)?;
    far.connect(near.local_addr().map_err(io)?).map_err(io)?;
    Ok((near, far))
}
