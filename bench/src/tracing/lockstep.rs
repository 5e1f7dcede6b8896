//! One thread that moves chunks from a file through a pipe into a connection, and receives them.

use std::fs::File;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, recv, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use zctrace_bench::stats::median;

/// Bytes of a chunk: sixteen pages, as many as a pipe has slots.
const CHUNK: usize = 64 << 10;
/// Chunks between two runs of the reader.
const BATCH: usize = 50;
/// Chunks of the file. They are sent in turn, because their pages are not adjacent in memory.
const FILE_CHUNKS: usize = 64;

/// A file, a pipe, and both sides of a connection.
pub(crate) struct Lockstep {
    file: File,
    pipe: (OwnedFd, OwnedFd),
    sender: TcpStream,
    receiver: TcpStream,
    buffer: Vec<u8>,
    next: usize,
    batches: usize,
}

/// CPU time per chunk, in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// Moving.
    pub(crate) chunk: f64,
    /// Reading the records.
    pub(crate) reader: f64,
}

impl Lockstep {
    /// Pins the thread to one CPU and creates a file in the current folder.
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
        // Without pacing, whose timer would send from other threads.
        sockopt::set_tcp_congestion(&sender, "reno")?;
        sender.set_nodelay(true)?;
        Ok(Self {
            file,
            pipe: pipe_with(PipeFlags::CLOEXEC)?,
            sender,
            receiver,
            buffer: vec![0; CHUNK],
            next: 0,
            batches,
        })
    }

    /// Returns the number of chunks in one run.
    pub(crate) fn chunks(&self) -> usize {
        self.batches * BATCH
    }

    /// Moves all chunks, with a run of `reader` after each batch.
    ///
    /// Returns the medians of the batches, so that a batch that was interrupted does not count.
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
        let mut in_flight = in_pipe;
        while in_pipe > 0 {
            in_pipe -= splice(out, None, &self.sender, None, in_pipe, SpliceFlags::empty())?;
        }
        while in_flight > 0 {
            let (_, taken) = recv(&self.receiver, &mut self.buffer[..in_flight], RecvFlags::TRUNC)?;
            in_flight -= taken;
        }
        Ok(())
    }
}

/// Returns the CPU time of one getppid(2), in nanoseconds: the median of `runs` runs of many calls.
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
