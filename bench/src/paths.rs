//! The paths: a source that has the bytes ready, a sink that is drained, and the moving thread between them.

use crate::movers::Mover;
use bufferlist::Pool;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::RecvFlags;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// What a TCP socket may hold: twice the largest chunk.
const BUFFER: usize = 2 << 20;

/// From what to what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    FileTcp,
    TcpTcp,
    FileUnix,
    UnixUnix,
}

impl Path {
    pub(crate) const ALL: [Self; 4] = [Self::FileTcp, Self::TcpTcp, Self::FileUnix, Self::UnixUnix];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FileTcp => "file-tcp",
            Self::TcpTcp => "tcp-tcp",
            Self::FileUnix => "file-unix",
            Self::UnixUnix => "unix-unix",
        }
    }

    pub(crate) fn is_from_file(self) -> bool {
        matches!(self, Self::FileTcp | Self::FileUnix)
    }

    fn is_unix(self) -> bool {
        matches!(self, Self::FileUnix | Self::UnixUnix)
    }

    /// Two connected sockets of the kind of this path.
    fn sockets(self) -> io::Result<(OwnedFd, OwnedFd)> {
        if self.is_unix() {
            let (near, far) = UnixStream::pair()?;
            return Ok((near.into(), far.into()));
        }
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let (far, _) = listener.accept()?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        for socket in [&near, &far] {
            // Fixed sizes: what the kernel tunes by itself depends on what ran before.
            rustix::net::sockopt::set_socket_send_buffer_size(socket, BUFFER)?;
            rustix::net::sockopt::set_socket_recv_buffer_size(socket, BUFFER)?;
        }
        Ok((near.into(), far.into()))
    }
}

/// The CPUs that the process was given, before it chose among them.
static ALLOWED: OnceLock<Option<CpuSet>> = OnceLock::new();

/// The CPUs for those who move and for those who feed and drain: one for all, or two different ones if there are.
fn cpus(all: &CpuSet, apart: bool) -> Option<(CpuSet, CpuSet)> {
    let mut ours = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).take(2);
    let first = ours.next()?;
    let last = ours.last().unwrap_or(first);
    let only = |cpu| {
        let mut set = CpuSet::new();
        set.set(cpu);
        set
    };
    Some((only(if apart { first } else { last }), only(last)))
}

fn pin(cpus: Option<&CpuSet>) {
    if let Some(cpus) = cpus {
        // Only a wish: unpinned, the figures are as true and less steady.
        let _ = sched_setaffinity(None, cpus);
    }
}

/// A file of `bytes` bytes, all of it in the page cache and none of it waiting for the disk.
fn file(bytes: u64) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    let block: Vec<u8> = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect();
    let mut left = bytes;
    while left > 0 {
        let len = left.min(block.len() as u64);
        file.write_all(&block[..len as usize])?;
        left -= len;
    }
    file.sync_all()?;
    Ok(file)
}

/// Where a mover takes its bytes from.
#[derive(Debug)]
enum From {
    File(File),
    /// A socket, and whom to ask for bytes in it.
    Fed(OwnedFd, Sender<()>),
}

/// One path, set up.
#[derive(Debug)]
pub(crate) struct Bench {
    from: From,
    to: OwnedFd,
    bytes: u64,
    /// Pipes of this path and chunk alone: one that was enlarged for another would make another ring of it.
    pool: Pool,
    /// Says when all the bytes of a run have arrived.
    arrived: Receiver<()>,
}

impl Bench {
    pub(crate) fn new(path: Path, bytes: u64, apart: bool) -> io::Result<Self> {
        let allowed = ALLOWED.get_or_init(|| sched_getaffinity(None).ok());
        let (mover, others) = allowed.as_ref().and_then(|all| cpus(all, apart)).unzip();
        pin(mover.as_ref());
        let file = file(bytes)?;
        let (to, drained) = path.sockets()?;
        let (tell, arrived) = channel();
        thread::spawn(move || {
            pin(others.as_ref());
            drain(&drained, path, bytes, &tell)
        });
        let from = if path.is_from_file() {
            From::File(file)
        } else {
            let (feeder, from) = path.sockets()?;
            let (ask, asked) = channel();
            thread::spawn(move || {
                pin(others.as_ref());
                feed(&file, &feeder, bytes, &asked)
            });
            From::Fed(from, ask)
        };
        Ok(Self {
            from,
            to,
            bytes,
            pool: Pool::new(4, 4 << 20),
            arrived,
        })
    }

    /// The CPU time that one run takes on this thread.
    pub(crate) fn time(&mut self, mover: Mover, chunk: u64) -> io::Result<Duration> {
        let (from, offsets): (BorrowedFd<'_>, bool) = match &self.from {
            From::File(file) => (file.as_fd(), true),
            From::Fed(socket, ask) => {
                ask.send(()).map_err(io::Error::other)?;
                (socket.as_fd(), false)
            }
        };
        let before = cpu_time();
        mover.run(from, offsets, self.to.as_fd(), self.bytes, chunk, &self.pool)?;
        let after = cpu_time();
        self.arrived.recv().map_err(io::Error::other)?;
        Ok(after.saturating_sub(before))
    }
}

/// What this thread has cost so far.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Takes `bytes` out of the socket again and again, and tells of each time.
fn drain(socket: &OwnedFd, path: Path, bytes: u64, tell: &Sender<()>) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    // TCP throws away what it is told to cut off, without a copy (tcp(7)): the drain is never what is waited for.
    let flags = if path.is_unix() {
        RecvFlags::empty()
    } else {
        RecvFlags::TRUNC
    };
    loop {
        let mut left = bytes;
        while left > 0 {
            let want = left.min(buffer.len() as u64) as usize;
            let (kept, got) = rustix::net::recv(socket, &mut buffer[..want], flags)?;
            let got = if path.is_unix() { kept } else { got };
            if got == 0 {
                return Ok(());
            }
            left -= got as u64;
        }
        if tell.send(()).is_err() {
            return Ok(());
        }
    }
}

/// Puts `bytes` of the file into the socket each time that it is asked.
fn feed(file: &File, socket: &OwnedFd, bytes: u64, asked: &Receiver<()>) -> io::Result<()> {
    while asked.recv().is_ok() {
        let mut at = 0;
        while at < bytes {
            let left = (bytes - at) as usize;
            rustix::fs::sendfile(socket, file, Some(&mut at), left)?;
        }
    }
    Ok(())
}
