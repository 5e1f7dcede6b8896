//! The paths: a source that has the bytes ready, a sink that is drained, and the moving thread
//! between them.

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

use crate::contenders::Contender;

/// Size of a TCP socket's buffers: twice the largest chunk.
const BUFFER: usize = 2 << 20;

/// Source and sink.
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

    /// Returns two connected sockets of this path's kind.
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
            // Fixed, because the sizes that the kernel chooses depend on earlier traffic.
            rustix::net::sockopt::set_socket_send_buffer_size(socket, BUFFER)?;
            rustix::net::sockopt::set_socket_recv_buffer_size(socket, BUFFER)?;
        }
        Ok((near.into(), far.into()))
    }
}

/// CPUs that the process may use, read before it is pinned.
static ALLOWED: OnceLock<Option<CpuSet>> = OnceLock::new();

/// Returns the CPUs of the moving thread and of the threads that feed and drain: one CPU for all,
/// or two if `apart` and if there are two.
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
        // A failure is ignored, because unpinned figures are valid, only less stable.
        let _ = sched_setaffinity(None, cpus);
    }
}

/// Creates a file of `bytes` bytes that is in the page cache and has no dirty pages.
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

/// Source of a contender.
#[derive(Debug)]
enum From {
    File(File),
    /// A socket, and the channel that asks its feeder for bytes.
    Fed(OwnedFd, Sender<()>),
}

/// A path that is ready to be measured.
#[derive(Debug)]
pub(crate) struct Bench {
    from: From,
    to: OwnedFd,
    bytes: u64,
    /// Pool of this path and chunk alone, because a pipe that was enlarged for another one would
    /// differ in size.
    pool: Pool,
    /// Receives a message when all bytes of a run were drained.
    drained: Receiver<()>,
}

impl Bench {
    pub(crate) fn new(path: Path, bytes: u64, apart: bool) -> io::Result<Self> {
        let allowed = ALLOWED.get_or_init(|| sched_getaffinity(None).ok());
        let (moving, others) = allowed.as_ref().and_then(|all| cpus(all, apart)).unzip();
        pin(moving.as_ref());
        let file = file(bytes)?;
        let (to, far) = path.sockets()?;
        let (done, is_done) = channel();
        thread::spawn(move || {
            pin(others.as_ref());
            drain(&far, path, bytes, &done)
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
            drained: is_done,
        })
    }

    /// Returns the CPU time of one run on this thread.
    pub(crate) fn time(&mut self, contender: Contender, chunk: u64) -> io::Result<Duration> {
        let (from, offsets): (BorrowedFd<'_>, bool) = match &self.from {
            From::File(file) => (file.as_fd(), true),
            From::Fed(socket, ask) => {
                ask.send(()).map_err(io::Error::other)?;
                (socket.as_fd(), false)
            }
        };
        let before = cpu_time();
        contender.run(from, offsets, self.to.as_fd(), self.bytes, chunk, &self.pool)?;
        let after = cpu_time();
        self.drained.recv().map_err(io::Error::other)?;
        Ok(after.saturating_sub(before))
    }
}

/// Returns the CPU time of this thread so far.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Receives `bytes` from the socket repeatedly, and sends a message each time.
fn drain(socket: &OwnedFd, path: Path, bytes: u64, done: &Sender<()>) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    // TCP discards truncated bytes without a copy (tcp(7)), so the drain is never the bottleneck.
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
        if done.send(()).is_err() {
            return Ok(());
        }
    }
}

/// Sends `bytes` of the file to the socket for each message.
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
