//! Writing: who reads the kernel's ring only fills blocks, and a thread compresses and writes them.
//!
//! The reader of the ring never waits for the file. If the file is too slow records are left out of the recording, which says
//! so and whose reports then say that records were lost; the account of the live trace has them. If the file cannot be
//! written any more the recording ends, and the trace goes on.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::{io, mem, thread};

use super::block::{self, Block};
use super::error::WriteError;
use super::frame::{self, Closed};
use super::header::FileHeader;
use zctrace_evidence::{Input, Recorder, TraceHeader};

/// Blocks that wait to be written: 8 MiB, a tenth of a second or so of the busiest trace.
pub(super) const QUEUE_BLOCKS: usize = 32;
/// What was recorded is given to be written after so many nanoseconds at the latest: no more is lost if zctrace is killed.
const FLUSH_INTERVAL_NS: u64 = 1_000_000_000;

/// Takes down what enters an account. Dropping it ends the recording.
#[derive(Debug)]
pub struct Writer {
    block: Block,
    queue: SyncSender<Block>,
    shared: Arc<Shared>,
    /// The latest time, if it is not written yet: of many in a row only the last one says anything.
    pending_time_ns: Option<u64>,
    now_ns: u64,
    /// Records that were not taken since one was.
    unrecorded: u64,
    totals: Closed,
}

/// What writer, thread and handle know of each other.
#[derive(Debug, Default)]
struct Shared {
    failed: AtomicBool,
    error: Mutex<Option<WriteError>>,
    /// Bytes of the file so far.
    written_bytes: AtomicU64,
}

impl Shared {
    fn fail(&self, error: WriteError) {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }

    fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// What became of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes before compression.
    pub uncompressed_bytes: u64,
}

/// The other end of a recording: tells how it goes.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    thread: JoinHandle<Summary>,
}

impl Handle {
    /// Whether the recording has ended before its time.
    pub fn failed(&self) -> bool {
        self.shared.failed()
    }

    /// Bytes of the file so far. What waits to be written is not among them.
    pub fn written_bytes(&self) -> u64 {
        self.shared.written_bytes.load(Ordering::Relaxed)
    }

    /// Waits until all is written. To be called when the [`Writer`] is gone, which a
    /// `Tracer` of `zctrace-probes` drops when it is finished.
    ///
    /// # Errors
    ///
    /// Why the recording ended before its time. What was written until then can be read.
    pub fn finish(self) -> Result<Summary, WriteError> {
        let summary = self.thread.join().map_err(|_| WriteError::WriterGone)?;
        match self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(summary),
        }
    }
}

impl Writer {
    /// Makes a file for recordings, which only its owner can read: it tells what ran here and which files it used. One that
    /// is there is emptied.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn create(path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
    }

    /// Begins a recording in an empty file. `zctrace`: the version of the program that records.
    ///
    /// # Errors
    ///
    /// If the head cannot be written.
    pub fn start(mut file: File, trace: &TraceHeader, zctrace: &str) -> Result<(Self, Handle), WriteError> {
        let header = FileHeader::new(trace, zctrace).to_bytes().map_err(WriteError::Io)?;
        file.write_all(&header).map_err(WriteError::Io)?;
        let (queue, blocks) = sync_channel(QUEUE_BLOCKS);
        let shared = Arc::new(Shared::default());
        let start = header.len() as u64;
        let shared_with_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || write(file, start, &blocks, &shared_with_thread))
            .map_err(WriteError::Io)?;
        let writer = Self {
            block: Block::default(),
            queue,
            shared: Arc::clone(&shared),
            pending_time_ns: None,
            now_ns: 0,
            unrecorded: 0,
            totals: Closed::default(),
        };
        Ok((writer, Handle { shared, thread }))
    }

    fn add(&mut self, input: &Input<'_>) {
        if let Some(now_ns) = self.pending_time_ns.take() {
            self.put(&Input::Time(now_ns));
        }
        self.put(input);
    }

    fn put(&mut self, input: &Input<'_>) {
        if self.block.frames == 0 {
            self.block.first_ns = self.now_ns;
        }
        self.block.frames += frame::write(input, &mut self.block.bytes);
    }

    /// Gives the block away, if there is room for it.
    fn submit(&mut self) {
        if self.block.frames == 0 {
            return;
        }
        match self.queue.try_send(mem::take(&mut self.block)) {
            Ok(()) => {}
            Err(TrySendError::Full(block)) => self.block = block,
            Err(TrySendError::Disconnected(_)) => self.shared.fail(WriteError::WriterGone),
        }
        if self.block.bytes.len() > block::MAX_LEN / 2 {
            self.shared.fail(WriteError::TooSlow);
            self.block = Block::default();
        }
    }

    fn submit_if_full(&mut self) -> bool {
        if self.block.bytes.len() < block::TARGET_LEN {
            return false;
        }
        self.submit();
        self.block.bytes.len() >= block::TARGET_LEN
    }
}

impl Recorder for Writer {
    fn take(&mut self, input: &Input<'_>) {
        if self.shared.failed() {
            return;
        }
        match *input {
            Input::Time(now_ns) => {
                self.now_ns = now_ns;
                self.pending_time_ns = Some(now_ns);
                if now_ns.saturating_sub(self.block.first_ns) >= FLUSH_INTERVAL_NS {
                    self.submit();
                }
                return;
            }
            Input::Record(_) if self.submit_if_full() => {
                self.unrecorded += 1;
                return;
            }
            Input::Record(_) => self.totals.records += 1,
            _ => {}
        }
        if self.unrecorded > 0 && !self.submit_if_full() {
            let unrecorded = mem::take(&mut self.unrecorded);
            self.totals.not_recorded += unrecorded;
            self.add(&Input::NotRecorded(unrecorded));
        }
        self.add(input);
        self.submit_if_full();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.shared.failed() {
            return;
        }
        if self.unrecorded > 0 {
            self.totals.not_recorded += self.unrecorded;
            self.put(&Input::NotRecorded(self.unrecorded));
        }
        if let Some(now_ns) = self.pending_time_ns.take() {
            self.put(&Input::Time(now_ns));
        }
        self.totals.duration_ns = self.now_ns;
        frame::close(&self.totals, &mut self.block.bytes);
        self.block.frames += 1;
        // Nobody reads the ring any more: now there is time.
        if self.queue.send(mem::take(&mut self.block)).is_err() {
            self.shared.fail(WriteError::WriterGone);
        }
    }
}

/// Writes blocks until there are no more, or one cannot be written.
fn write(mut file: File, start: u64, blocks: &Receiver<Block>, shared: &Shared) -> Summary {
    let mut summary = Summary {
        bytes: start,
        uncompressed_bytes: start,
    };
    shared.written_bytes.store(start, Ordering::Relaxed);
    let mut bytes = Vec::new();
    for (number, block) in (0..).zip(blocks) {
        if shared.failed() {
            break;
        }
        block.to_bytes(number, &mut bytes);
        if let Err(error) = file.write_all(&bytes) {
            shared.fail(WriteError::Io(error));
            // Not half a block: the next reader should not have to wonder. A pipe has no end to cut off.
            let _ = file.set_len(summary.bytes);
            let _ = file.seek(SeekFrom::Start(summary.bytes));
            break;
        }
        summary.bytes += bytes.len() as u64;
        shared.written_bytes.store(summary.bytes, Ordering::Relaxed);
        summary.uncompressed_bytes += block.bytes.len() as u64;
    }
    summary
}
