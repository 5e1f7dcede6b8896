//! Reader of recordings, from the header to the last valid frame.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::block::{self, BlockBuffer, ReadResult};
use super::error::{OpenError, Truncation};
use super::frame::{self, FrameClass};
use super::header::{FileHeader, read_up_to};
use super::layout::Layout;
use zctrace_evidence::{Input, TraceHeader};

/// Recording that is read sequentially from its start.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    header: FileHeader,
    /// Position in the file of the first block.
    first_block: u64,
    position: FilePosition,
    /// Number of the next block.
    block_number: u32,
    block: BlockBuffer,
    /// Bytes of the current block's frames that are read.
    read_len: usize,
    /// Number of the current block's frames that are not read.
    frames_left: u32,
    frame_buffers: frame::FrameBuffers,
    now_ns: u64,
    skipped: u64,
    state: State,
}

/// Position of a reader in the file.
#[derive(Debug)]
struct FilePosition {
    /// Start of the current block, in bytes.
    current: u64,
    /// Start of the next block, in bytes.
    next: u64,
    /// Length of the file in bytes; `None` for a file that is not a regular one.
    len: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// More frames may follow.
    Open,
    /// The last frame of a complete recording was read.
    Closed,
    /// The rest of the recording is unused.
    Truncated(Truncation),
}

impl Reader<BufReader<File>> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or is not a recording of a supported version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let file = File::open(path)?;
        let len = file.metadata().ok().filter(Metadata::is_file).map(|file| file.len());
        let mut reader = Self::new(BufReader::with_capacity(1 << 20, file))?;
        reader.position.len = len;
        Ok(reader)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// Fails if `from` cannot be read, or its header is not that of a recording of a supported
    /// version.
    pub fn new(mut from: R) -> Result<Self, OpenError> {
        let (header, first_block) = FileHeader::read(&mut from)?;
        Ok(Self {
            from,
            header,
            first_block,
            position: FilePosition {
                current: first_block,
                next: first_block,
                len: None,
            },
            block_number: 0,
            block: BlockBuffer::default(),
            read_len: 0,
            frames_left: 0,
            frame_buffers: frame::FrameBuffers::default(),
            now_ns: 0,
            skipped: 0,
            state: State::Open,
        })
    }

    /// Returns the state at the start of the trace, from which an engine is created.
    pub fn trace_header(&self) -> TraceHeader {
        self.header.trace_header()
    }

    /// Returns the version of the zctrace that made the recording.
    pub fn zctrace_version(&self) -> &str {
        &self.header.zctrace
    }

    /// Returns the number of frames of unknown kinds that were skipped so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the unused part of the recording, after its last valid frame was read.
    pub fn truncation(&self) -> Option<&Truncation> {
        match &self.state {
            State::Truncated(truncation) => Some(truncation),
            _ => None,
        }
    }

    /// Returns the next input; `None` at the end, or if the rest cannot be used.
    pub fn next_input(&mut self) -> Option<Input<'_>> {
        let at = loop {
            if !matches!(self.state, State::Open) {
                return None;
            }
            if self.frames_left == 0 {
                self.next_block();
                continue;
            }
            let at = self.read_len;
            let Some((frame, rest)) = frame::split(&self.block.frames[at..]) else {
                self.truncate("a frame is longer than its block");
                return None;
            };
            self.read_len = self.block.frames.len() - rest.len();
            self.frames_left -= 1;
            match frame.class() {
                FrameClass::Input => break at,
                FrameClass::Unknown => self.skipped += 1,
                FrameClass::Closed => self.state = State::Closed,
            }
        };
        let (frame, _) = frame::split(&self.block.frames[at..])?;
        let input = frame.read(&self.header.layout, &mut self.frame_buffers);
        match input {
            Some(Input::Time(now_ns)) => self.now_ns = now_ns,
            Some(_) => {}
            None => self.state = State::Truncated(self.position.truncation("a frame is invalid", self.now_ns)),
        }
        input
    }

    fn next_block(&mut self) {
        if self.read_len < self.block.frames.len() {
            return self.truncate("a block contains more than its frames");
        }
        self.position.current = self.position.next;
        match self.block.read(&mut self.from, self.block_number) {
            Ok(ReadResult::Block { len_in_file, frames }) => {
                self.position.next += len_in_file;
                self.block_number = self.block_number.wrapping_add(1);
                (self.read_len, self.frames_left) = (0, frames);
            }
            Ok(ReadResult::End) => self.truncate("the last frame is missing"),
            Ok(ReadResult::Damaged(reason)) => self.truncate(&reason),
            Err(error) => self.truncate(&error.to_string()),
        }
    }

    /// Ends reading at the start of the current block, because of `reason`.
    fn truncate(&mut self, reason: &str) {
        self.state = State::Truncated(self.position.truncation(reason, self.now_ns));
    }
}

impl FilePosition {
    fn truncation(&self, reason: &str, at_ns: u64) -> Truncation {
        Truncation {
            at_ns,
            at_byte: self.current,
            unused_bytes: self.len.map(|len| len.saturating_sub(self.current)),
            reason: reason.to_owned(),
        }
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Moves back to the first block.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read anymore.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.from.seek(SeekFrom::Start(self.first_block))?;
        (self.position.next, self.position.current) = (self.first_block, self.first_block);
        (self.block_number, self.read_len, self.frames_left) = (0, 0, 0);
        self.block.frames.clear();
        (self.now_ns, self.skipped) = (0, 0);
        self.state = State::Open;
        Ok(())
    }

    /// Returns the duration of the recording's usable part, in nanoseconds.
    ///
    /// Reads the headers of all blocks and the frames of only the last block. The next input stays
    /// the same.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read anymore.
    pub fn duration_ns(&mut self) -> io::Result<u64> {
        let (mut at, mut number) = (self.first_block, 0);
        let mut last = None;
        let mut bytes = [0; block::HEADER_LEN];
        loop {
            self.from.seek(SeekFrom::Start(at))?;
            if read_up_to(&mut self.from, &mut bytes)? < bytes.len() {
                break;
            }
            let Some(header) = block::BlockHeader::parse(&bytes) else {
                break;
            };
            let before = last.replace((at, number, header.first_ns));
            let next = at + block::HEADER_LEN as u64 + u64::from(header.stored);
            if self.position.len.is_some_and(|len| next > len) {
                last = before;
                break;
            }
            (at, number) = (next, number + 1);
        }
        let mut duration = 0;
        if let Some((at, number, first_ns)) = last {
            duration = first_ns;
            let mut block = BlockBuffer::default();
            self.from.seek(SeekFrom::Start(at))?;
            if let ReadResult::Block { .. } = block.read(&mut self.from, number)? {
                duration = duration.max(latest(&block.frames, &self.header.layout));
            }
        }
        self.from.seek(SeekFrom::Start(self.position.next))?;
        Ok(duration)
    }
}

/// Returns the latest time in a block, in nanoseconds since the trace began; 0 if it has no time.
fn latest(mut frames: &[u8], layout: &Layout) -> u64 {
    let mut latest = 0;
    let mut buffers = frame::FrameBuffers::default();
    while let Some((frame, rest)) = frame::split(frames) {
        if frame.is_time()
            && let Some(Input::Time(now_ns)) = frame.read(layout, &mut buffers)
        {
            latest = latest.max(now_ns);
        }
        frames = rest;
    }
    latest
}
