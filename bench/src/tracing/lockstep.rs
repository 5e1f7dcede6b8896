//! One thread that moves chunks from a file through a pipe into a connection, and takes them out again.

use std::fs::File;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, recv, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::spread::median;

/// Bytes of a chunk: the slots of a pipe, full of pages.
const CHUNK: usize = 64 << 10;
/// Chunks between two turns of the reader.
const BATCH: usize = 50;
/// Chunks of the file that are sent one after the other: their pages do not lie side by side.
const FILE_CHUNKS: usize = 64;

/// A file, a pipe, and both ends of a connection.
pub(crate) struct Lockstep {
    file: File,
    pipe: (OwnedFd, OwnedFd),
    sender: TcpStream,
    receiver: TcpStream,
    room: Vec<u8>,
    next: usize,
    batches: usize,
}

/// CPU nanoseconds for a chunk, and of the reader for a chunk.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) chunk: f64,
    pub(crate) reader: f64,
}

impl Lockstep {
    /// On one CPU, with a file on the disk that the current folder is on.
    pub(crate) fn new(batches: usize) -> io::Result<Self> {
        let mut cpus = CpuSet::new();
        cpus.set(0);
        sched_setaffinity(None, &cpus)?;
        let mut file = tempfile::tempfile_in(".")?;
        for chunk in 0..FILE_CHUNKS {
            file.write_all(&vec![chunk as u8; CHUNK])?;
        }
        file.sync_all()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sender = TcpStream::connect(listener.local_addr()?)?;
        let (receiver, _) = listener.accept()?;
        // Not one that paces: its timer would send on top of other threads.
        sockopt::set_tcp_congestion(&sender, "reno")?;
        sender.set_nodelay(true)?;
        Ok(Self {
            file,
            pipe: pipe_with(PipeFlags::CLOEXEC)?,
            sender,
            receiver,
            room: vec![0; CHUNK],
            next: 0,
            batches,
        })
    }

    /// Chunks in one run.
    pub(crate) fn chunks(&self) -> usize {
        self.batches * BATCH
    }

    /// Moves all chunks, with a turn of `reader` after each batch.
    ///
    /// Medians of the batches: one that was interrupted does not count.
    pub(crate) fn run(&mut self, reader: &mut dyn FnMut()) -> io::Result<Times> {
        let (mut moved, mut read) = (Vec::new(), Vec::new());
        for _ in 0..self.batches {
            let start = own_cpu();
            for _ in 0..BATCH {
                self.chunk()?;
            }
            let middle = own_cpu();
            reader();
            let end = own_cpu();
            moved.push(nanoseconds(start, middle) / BATCH as f64);
            read.push(nanoseconds(middle, end) / BATCH as f64);
        }
        Ok(Times {
            chunk: median(&mut moved),
            reader: median(&mut read),
        })
    }

    fn chunk(&mut self) -> io::Result<()> {
        let mut from = (self.next * CHUNK) as u64;
        self.next = (self.next + 1) % FILE_CHUNKS;
        let (out, into) = (self.pipe.0.as_fd(), self.pipe.1.as_fd());
        let mut in_pipe = splice(&self.file, Some(&mut from), into, None, CHUNK, SpliceFlags::empty())?;
        let mut on_the_way = in_pipe;
        while in_pipe > 0 {
            in_pipe -= splice(out, None, &self.sender, None, in_pipe, SpliceFlags::empty())?;
        }
        while on_the_way > 0 {
            let (_, taken) = recv(&self.receiver, &mut self.room[..on_the_way], RecvFlags::TRUNC)?;
            on_the_way -= taken;
        }
        Ok(())
    }
}

/// One getppid(2), in nanoseconds of CPU: the median of many runs of many calls.
pub(crate) fn getppid(runs: usize) -> f64 {
    const CALLS: u32 = 2000;
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = own_cpu();
            for _ in 0..CALLS {
                std::hint::black_box(rustix::process::getppid());
            }
            nanoseconds(start, own_cpu()) / f64::from(CALLS)
        })
        .collect();
    median(&mut times)
}

fn nanoseconds(from: Duration, until: Duration) -> f64 {
    until.saturating_sub(from).as_nanos() as f64
}

fn own_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
