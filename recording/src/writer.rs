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
use super::head::Head;
use zctrace_evidence::{Input, Recorder, TraceHeader};

/// Blocks that wait to be written: 8 MiB, a tenth of a second or so of the busiest trace.
pub(super) const QUEUE: usize = 32;
/// What was recorded is given to be written after so many nanoseconds at the latest: no more is lost if zctrace is killed.
const SOON: u64 = 1_000_000_000;

/// Takes down what enters an account. Dropping it ends the recording.
#[derive(Debug)]
pub struct Writer {
    block: Block,
    queue: SyncSender<Block>,
    shared: Arc<Shared>,
    /// The latest time, if it is not written yet: of many in a row only the last one says anything.
    time: Option<u64>,
    now_ns: u64,
    /// Records that were not taken since one was.
    missing: u64,
    totals: Closed,
}

/// What writer, thread and handle know of each other.
#[derive(Debug, Default)]
struct Shared {
    failed: AtomicBool,
    why: Mutex<Option<WriteError>>,
    /// Bytes of the file so far.
    written: AtomicU64,
}

impl Shared {
    fn fail(&self, error: WriteError) {
        let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.get_or_insert(error);
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
    pub raw: u64,
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
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Waits until all is written. To be called when the [`Writer`] is gone, which a
    /// `Tracer` of `zctrace-probes` drops when it is finished.
    ///
    /// # Errors
    ///
    /// Why the recording ended before its time. What was written until then can be read.
    pub fn finish(self) -> Result<Summary, WriteError> {
        let summary = self.thread.join().map_err(|_| WriteError::Gone)?;
        match self.shared.why.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(why) => Err(why),
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
    pub fn start(mut file: File, preamble: &TraceHeader, zctrace: &str) -> Result<(Self, Handle), WriteError> {
        let head = Head::new(preamble, zctrace).to_bytes().map_err(WriteError::Io)?;
        file.write_all(&head).map_err(WriteError::Io)?;
        let (queue, blocks) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let start = head.len() as u64;
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || write(file, start, &blocks, &theirs))
            .map_err(WriteError::Io)?;
        let writer = Self {
            block: Block::default(),
            queue,
            shared: Arc::clone(&shared),
            time: None,
            now_ns: 0,
            missing: 0,
            totals: Closed::default(),
        };
        Ok((writer, Handle { shared, thread }))
    }

    fn add(&mut self, input: &Input<'_>) {
        if let Some(now_ns) = self.time.take() {
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
    fn give(&mut self) {
        if self.block.frames == 0 {
            return;
        }
        match self.queue.try_send(mem::take(&mut self.block)) {
            Ok(()) => {}
            Err(TrySendError::Full(block)) => self.block = block,
            Err(TrySendError::Disconnected(_)) => self.shared.fail(WriteError::Gone),
        }
        if self.block.bytes.len() > block::LARGEST / 2 {
            self.shared.fail(WriteError::TooSlow);
            self.block = Block::default();
        }
    }

    fn is_full(&mut self) -> bool {
        if self.block.bytes.len() < block::FULL {
            return false;
        }
        self.give();
        self.block.bytes.len() >= block::FULL
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
                self.time = Some(now_ns);
                if now_ns.saturating_sub(self.block.first_ns) >= SOON {
                    self.give();
                }
                return;
            }
            Input::Record(_) if self.is_full() => {
                self.missing += 1;
                return;
            }
            Input::Record(_) => self.totals.records += 1,
            _ => {}
        }
        if self.missing > 0 && !self.is_full() {
            let missing = mem::take(&mut self.missing);
            self.totals.not_recorded += missing;
            self.add(&Input::NotRecorded(missing));
        }
        self.add(input);
        self.is_full();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.shared.failed() {
            return;
        }
        if self.missing > 0 {
            self.totals.not_recorded += self.missing;
            self.put(&Input::NotRecorded(self.missing));
        }
        if let Some(now_ns) = self.time.take() {
            self.put(&Input::Time(now_ns));
        }
        self.totals.duration_ns = self.now_ns;
        frame::close(&self.totals, &mut self.block.bytes);
        self.block.frames += 1;
        // Nobody reads the ring any more: now there is time.
        if self.queue.send(mem::take(&mut self.block)).is_err() {
            self.shared.fail(WriteError::Gone);
        }
    }
}

/// Writes blocks until there are no more, or one cannot be written.
fn write(mut file: File, start: u64, blocks: &Receiver<Block>, shared: &Shared) -> Summary {
    let mut summary = Summary {
        bytes: start,
        raw: start,
    };
    shared.written.store(start, Ordering::Relaxed);
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
        shared.written.store(summary.bytes, Ordering::Relaxed);
        summary.raw += block.bytes.len() as u64;
    }
    summary
}
