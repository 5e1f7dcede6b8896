//! Writer of recordings. The thread that reads the ring buffer fills blocks, and a second thread
//! compresses and writes them.
//!
//! The reader of the ring buffer never waits for the file. If the file is written too slowly, the
//! writer omits records from the recording and stores their number. Reports made from the recording
//! then show lost records; the report of the live trace is complete. If writing fails, the
//! recording ends and the trace continues.

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

/// Maximum number of blocks that wait for being written: 8 MiB, about 0.1 s of the busiest trace.
pub(super) const QUEUE_BLOCKS: usize = 32;
/// Maximum time before a block is submitted for writing, in nanoseconds. If zctrace is killed, the
/// recording lacks at most the inputs of this time.
const FLUSH_INTERVAL_NS: u64 = 1_000_000_000;

/// Writer of the inputs of an engine. Dropping it completes the recording.
#[derive(Debug)]
pub struct Writer {
    block: Block,
    queue: SyncSender<Block>,
    shared: Arc<Shared>,
    /// Latest time that is not in a block yet. Of consecutive times only the last is stored.
    pending_time_ns: Option<u64>,
    now_ns: u64,
    /// Number of records omitted since the last recorded one.
    unrecorded: u64,
    totals: Closed,
}

/// State shared by writer, thread and handle.
#[derive(Debug, Default)]
struct Shared {
    failed: AtomicBool,
    error: Mutex<Option<WriteError>>,
    /// Length of the file so far, in bytes.
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

/// Sizes of a complete recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Length of the file, in bytes.
    pub bytes: u64,
    /// Length before compression, in bytes.
    pub uncompressed_bytes: u64,
}

/// Progress and result of a recording.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    thread: JoinHandle<Summary>,
}

impl Handle {
    /// Returns whether the recording ended early because of an error.
    pub fn failed(&self) -> bool {
        self.shared.failed()
    }

    /// Returns the length of the file so far, in bytes. Blocks that wait for being written are not
    /// included.
    pub fn written_bytes(&self) -> u64 {
        self.shared.written_bytes.load(Ordering::Relaxed)
    }

    /// Waits until all blocks are written.
    ///
    /// The caller must have dropped the [`Writer`]. A `Tracer` of `zctrace-probes` does that when
    /// it finishes.
    ///
    /// # Errors
    ///
    /// Returns the error that ended the recording early. The part written before it is readable.
    pub fn finish(self) -> Result<Summary, WriteError> {
        let summary = self.thread.join().map_err(|_| WriteError::WriterGone)?;
        match self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(summary),
        }
    }
}

impl Writer {
    /// Creates a file for a recording, or empties an existing one.
    ///
    /// A created file has mode 0600, because a recording reveals which programs ran and which files
    /// they used.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be created or opened.
    pub fn create(path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
    }

    /// Starts a recording in an empty file. `zctrace` is the version of the recording program.
    ///
    /// # Errors
    ///
    /// Fails if the header cannot be written or the thread cannot be created.
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

    /// Submits the block for writing if the queue has space, and keeps it otherwise.
    ///
    /// Ends the recording if a block that cannot be submitted exceeds half the maximum size.
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
        // The ring buffer is not read anymore, so waiting for the thread loses no records.
        if self.queue.send(mem::take(&mut self.block)).is_err() {
            self.shared.fail(WriteError::WriterGone);
        }
    }
}

/// Writes blocks until the writer is dropped or writing fails.
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
            // Removes an incomplete block, so that the recording ends with a complete one. Fails
            // for a pipe, which cannot be shortened.
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
