//! Reading: from the head to the last frame that can be used.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::block::{self, Next, Room};
use super::error::{Cut, OpenError};
use super::frame::{self, Sort};
use super::head::{Head, read_most};
use super::layout::Layout;
use zctrace_evidence::{Input, TraceHeader};

/// A recording that is read from its start on.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    head: Head,
    /// Where the first block begins.
    first: u64,
    place: Place,
    /// The number of the next block.
    number: u32,
    room: Room,
    /// What of the present block is read, and how many frames of it are left.
    read: usize,
    frames: u32,
    of_frames: frame::Room,
    now_ns: u64,
    skipped: u64,
    state: State,
}

/// Where in the file.
#[derive(Debug)]
struct Place {
    /// Where the present block begins, and where the next.
    present: u64,
    next: u64,
    /// Bytes of the file, if that is known.
    len: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// There may be more.
    Open,
    /// It was read to its last frame.
    Closed,
    /// No more of it is used.
    Cut(Cut),
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is no recording that this version can read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let file = File::open(path)?;
        let len = file.metadata().ok().filter(Metadata::is_file).map(|file| file.len());
        let mut reader = Self::new(BufReader::with_capacity(1 << 20, file))?;
        reader.place.len = len;
        Ok(reader)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    ///
    /// If it is not that of a recording that this version can read.
    pub fn new(mut from: R) -> Result<Self, OpenError> {
        let (head, first) = Head::read(&mut from)?;
        Ok(Self {
            from,
            head,
            first,
            place: Place {
                present: first,
                next: first,
                len: None,
            },
            number: 0,
            room: Room::default(),
            read: 0,
            frames: 0,
            of_frames: frame::Room::default(),
            now_ns: 0,
            skipped: 0,
            state: State::Open,
        })
    }

    /// What was known before anything happened.
    pub fn preamble(&self) -> TraceHeader {
        self.head.preamble()
    }

    /// The version of zctrace that made it.
    pub fn made_by(&self) -> &str {
        &self.head.zctrace
    }

    /// Frames so far of kinds that this version does not know.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// What is not used, once all that can be used was read.
    pub fn cut(&self) -> Option<&Cut> {
        match &self.state {
            State::Cut(cut) => Some(cut),
            _ => None,
        }
    }

    /// The next input; `None` at the end, or where the rest cannot be used.
    pub fn next_input(&mut self) -> Option<Input<'_>> {
        let at = loop {
            if !matches!(self.state, State::Open) {
                return None;
            }
            if self.frames == 0 {
                self.next_block();
                continue;
            }
            let at = self.read;
            let Some((frame, rest)) = frame::split(&self.room.frames[at..]) else {
                self.give_up("a frame is longer than its block");
                return None;
            };
            self.read = self.room.frames.len() - rest.len();
            self.frames -= 1;
            match frame.sort() {
                Sort::Input => break at,
                Sort::Unknown => self.skipped += 1,
                Sort::Closed => self.state = State::Closed,
            }
        };
        let (frame, _) = frame::split(&self.room.frames[at..])?;
        let input = frame.read(&self.head.layout, &mut self.of_frames);
        match input {
            Some(Input::Time(now_ns)) => self.now_ns = now_ns,
            Some(_) => {}
            None => self.state = State::Cut(self.place.cut("a frame makes no sense", self.now_ns)),
        }
        input
    }

    fn next_block(&mut self) {
        if self.read < self.room.frames.len() {
            return self.give_up("a block has more in it than it says");
        }
        self.place.present = self.place.next;
        match self.room.read(&mut self.from, self.number) {
            Ok(Next::Block { took, frames }) => {
                self.place.next += took;
                self.number = self.number.wrapping_add(1);
                (self.read, self.frames) = (0, frames);
            }
            Ok(Next::End) => self.give_up("it was not finished"),
            Ok(Next::Damaged(why)) => self.give_up(&why),
            Err(error) => self.give_up(&error.to_string()),
        }
    }

    /// Uses no more.
    fn give_up(&mut self, why: &str) {
        self.state = State::Cut(self.place.cut(why, self.now_ns));
    }
}

impl Place {
    fn cut(&self, why: &str, at_ns: u64) -> Cut {
        Cut {
            at_ns,
            at_byte: self.present,
            unused: self.len.map(|len| len.saturating_sub(self.present)),
            why: why.to_owned(),
        }
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Goes back to the start.
    ///
    /// # Errors
    ///
    /// If the file cannot be read any more.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.from.seek(SeekFrom::Start(self.first))?;
        (self.place.next, self.place.present) = (self.first, self.first);
        (self.number, self.read, self.frames) = (0, 0, 0);
        self.room.frames.clear();
        (self.now_ns, self.skipped) = (0, 0);
        self.state = State::Open;
        Ok(())
    }

    /// How long the recording is, as far as it can be used, in nanoseconds: found by going from block to block, and reading
    /// only the last. What comes next stays what it was.
    ///
    /// # Errors
    ///
    /// If the file cannot be read any more.
    pub fn duration_ns(&mut self) -> io::Result<u64> {
        let (mut at, mut number) = (self.first, 0);
        let mut last = None;
        let mut bytes = [0; block::HEADER];
        loop {
            self.from.seek(SeekFrom::Start(at))?;
            if read_most(&mut self.from, &mut bytes)? < bytes.len() {
                break;
            }
            let Some(header) = block::Header::parse(&bytes) else {
                break;
            };
            let before = last.replace((at, number, header.first_ns));
            let next = at + block::HEADER as u64 + u64::from(header.stored);
            if self.place.len.is_some_and(|len| next > len) {
                last = before;
                break;
            }
            (at, number) = (next, number + 1);
        }
        let mut duration = 0;
        if let Some((at, number, first_ns)) = last {
            duration = first_ns;
            let mut room = Room::default();
            self.from.seek(SeekFrom::Start(at))?;
            if let Next::Block { .. } = room.read(&mut self.from, number)? {
                duration = duration.max(latest(&room.frames, &self.head.layout));
            }
        }
        self.from.seek(SeekFrom::Start(self.place.next))?;
        Ok(duration)
    }
}

/// The latest time in a block.
fn latest(mut frames: &[u8], layout: &Layout) -> u64 {
    let mut latest = 0;
    let mut room = frame::Room::default();
    while let Some((frame, rest)) = frame::split(frames) {
        if frame.is_time()
            && let Some(Input::Time(now_ns)) = frame.read(layout, &mut room)
        {
            latest = latest.max(now_ns);
        }
        frames = rest;
    }
    latest
}
