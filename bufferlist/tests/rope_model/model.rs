//! The lists, the vectors that they are compared with, and the endpoints that they use.

use crate::ops::{At, LISTS, Op, Piece, To};
use bufferlist::{
    Alignment, BufferList, ErrorKind, FileExtent, Hole, PagesMut, PeekStrategy, Pool, Segment, Sink, Source, Step,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rustix::pipe::PipeFlags;
use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

type Checked<T = ()> = Result<T, TestCaseError>;

/// Length of the source file; no piece reaches beyond it.
const FILE: usize = 128 * 1024;

/// A longer list is truncated, so that appending clones of clones stays within memory and time.
const LONGEST: u64 = 300_000;

/// Shared by all sequences.
pub(crate) struct Fixtures {
    data: Vec<u8>,
    file: Arc<OwnedFd>,
    sink: File,
}

impl Fixtures {
    pub(crate) fn new() -> Self {
        // A prime period shorter than a page: no two pages, and no two neighbors, are alike.
        let data: Vec<u8> = (0..FILE).map(|at| ((at * 31 + at / 251) % 251) as u8).collect();
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(&data).expect("write");
        Self {
            data,
            file: Arc::new(OwnedFd::from(file)),
            sink: tempfile::tempfile().expect("temporary file"),
        }
    }
}

/// One sequence.
pub(crate) struct Model<'a> {
    fixtures: &'a mut Fixtures,
    pool: Pool,
    lists: Vec<BufferList>,
    models: Vec<Vec<u8>>,
    /// Unfilled holes and their future content; filled before the first peek.
    holes: Vec<(Hole, Vec<u8>)>,
    /// Generator of fresh bytes.
    fresh: u8,
}

fn failed(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// Fails without printing thousands of bytes.
fn same(what: &str, found: &[u8], expected: &[u8]) -> Checked {
    if found == expected {
        return Ok(());
    }
    let at = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    Err(TestCaseError::fail(format!(
        "{what}: {} bytes, not {}; they differ at {at:?}",
        found.len(),
        expected.len()
    )))
}

impl<'a> Model<'a> {
    pub(crate) fn new(fixtures: &'a mut Fixtures, pipes: usize) -> Self {
        Self {
            fixtures,
            pool: Pool::new(pipes, 16 << 20),
            lists: (0..LISTS).map(|_| BufferList::new()).collect(),
            models: vec![Vec::new(); LISTS],
            holes: Vec::new(),
            fresh: 0,
        }
    }

    /// Returns `len` bytes that differ from all others.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.fresh = self.fresh.wrapping_add(89);
        (0..len).map(|at| self.fresh.wrapping_add((at % 253) as u8)).collect()
    }

    /// Returns the position in a list.
    fn offset(&self, list: usize, at: At) -> u64 {
        let len = self.lists[list].len();
        match at {
            At::Share(share) => len * u64::from(share) / 65_535,
            At::Border(segment, by) => {
                let lengths = self.lists[list].segments().map(Segment::len);
                let border: u64 = lengths.take(segment.into()).sum();
                border.saturating_add_signed(by.into()).min(len)
            }
        }
    }

    fn range(&self, list: usize, from: At, to: At) -> std::ops::Range<u64> {
        let (from, to) = (self.offset(list, from), self.offset(list, to));
        from.min(to)..from.max(to)
    }

    fn fill_holes(&mut self) {
        for (hole, bytes) in self.holes.drain(..) {
            hole.fill(&bytes);
        }
    }

    /// Applies an operation to both, and compares.
    pub(crate) fn apply(&mut self, op: &Op) -> Checked {
        match *op {
            Op::Push(..) | Op::PushFront(..) | Op::Extend(..) | Op::Headroom(..) | Op::Prepend(..) => self.build(op)?,
            Op::FromFile { .. } | Op::FromSocket { .. } => self.fill(op)?,
            Op::Append(..)
            | Op::SplitTo(..)
            | Op::SplitOff(..)
            | Op::Slice(..)
            | Op::Clone(..)
            | Op::Advance(..)
            | Op::Truncate(..) => self.cut(op),
            Op::Peek(..)
            | Op::PeekByMemfd(..)
            | Op::Hexdump(..)
            | Op::ToBytes(_)
            | Op::Crc(..)
            | Op::Stabilize(_)
            | Op::Rebuild(..) => {
                self.fill_holes();
                self.check_peek(op)?;
            }
            Op::Send(list, to, steps) => {
                self.fill_holes();
                let mut sent = std::mem::take(&mut self.lists[list]);
                let arrived = self.send(&mut sent, to, Some(steps));
                self.lists[list] = sent;
                let arrived = arrived?;
                let went = arrived.len().min(self.models[list].len());
                same("what arrived", &arrived, &self.models[list][..went])?;
                self.models[list].drain(..went);
            }
            Op::SendClone(list, to) => {
                self.fill_holes();
                let mut sent = self.lists[list].clone();
                let arrived = self.send(&mut sent, to, None)?;
                same("what arrived of a clone", &arrived, &self.models[list])?;
            }
        }
        for (list, model) in self.lists.iter_mut().zip(&mut self.models) {
            if list.len() > LONGEST {
                list.truncate(LONGEST / 2);
                model.truncate(LONGEST as usize / 2);
            }
            prop_assert_eq!(list.len(), model.len() as u64);
            prop_assert_eq!(list.segments().map(Segment::len).sum::<u64>(), list.len());
            prop_assert!(list.segments().all(|segment| !segment.is_empty()));
            prop_assert_eq!(list.is_empty(), model.is_empty());
        }
        Ok(())
    }

    /// Compares all bytes, and checks that nothing is left behind.
    pub(crate) fn end(mut self) -> Checked {
        self.fill_holes();
        for (list, model) in self.lists.iter().zip(&self.models) {
            // The checksum first: it must not be computed from bytes that the peek has left in
            // memory.
            let sum = list.crc32c().map_err(failed)?.value();
            prop_assert_eq!(sum, crc32c::crc32c(model), "the sum");
            same("the list at the end", &list.to_bytes().map_err(failed)?, model)?;
        }
        self.lists.clear();
        let stats = self.pool.stats();
        prop_assert_eq!((stats.in_use, stats.mismatched), (0, 0), "{:?}", stats);
        Ok(())
    }

    fn piece(&mut self, piece: Piece) -> Checked<(Segment, Vec<u8>)> {
        Ok(match piece {
            Piece::Memory(len) => {
                let bytes = self.bytes(len);
                (bytes.clone().into(), bytes)
            }
            Piece::Pages { start, len } => {
                let bytes = self.bytes(start + len);
                let mut pages = PagesMut::new(bytes.len()).map_err(failed)?;
                pages.as_mut_slice().copy_from_slice(&bytes);
                let pages = pages.seal().map_err(failed)?;
                (pages.slice(start..start + len).into(), bytes[start..].to_vec())
            }
            Piece::Extent { start, len } => {
                let file = Arc::clone(&self.fixtures.file);
                let extent = FileExtent::new(file, start as u64..(start + len) as u64).map_err(failed)?;
                (extent.into(), self.fixtures.data[start..start + len].to_vec())
            }
            Piece::Zero(len) => (Segment::zero(len as u64), vec![0; len]),
            Piece::Hole(len) => {
                let mut list = BufferList::new();
                let hole = list.hole(len);
                let bytes = self.bytes(len);
                self.holes.push((hole, bytes.clone()));
                let segment = list.into_iter().next();
                (segment.ok_or_else(|| failed("a hole is a segment"))?, bytes)
            }
        })
    }

    fn build(&mut self, op: &Op) -> Checked {
        match *op {
            Op::Push(list, piece) => {
                let (segment, bytes) = self.piece(piece)?;
                self.lists[list].push(segment);
                self.models[list].extend(bytes);
            }
            Op::PushFront(list, piece) => {
                let (segment, bytes) = self.piece(piece)?;
                self.lists[list].push_front(segment);
                self.models[list].splice(..0, bytes);
            }
            Op::Extend(list, len) => {
                let bytes = self.bytes(len);
                self.lists[list].extend_from_slice(&bytes);
                self.models[list].extend(bytes);
            }
            Op::Headroom(list, headroom) => {
                let mut headed = BufferList::with_headroom(headroom);
                headed.append(&mut self.lists[list]);
                self.lists[list] = headed;
            }
            Op::Prepend(list, len) => {
                let bytes = self.bytes(len);
                self.lists[list].prepend(&bytes);
                self.models[list].splice(..0, bytes);
            }
            _ => unreachable!("not a building operation"),
        }
        Ok(())
    }

    fn fill(&mut self, op: &Op) -> Checked {
        match *op {
            Op::FromFile {
                list,
                start,
                len,
                piece,
                threshold,
            } => {
                let end = start + len;
                let file = Arc::clone(&self.fixtures.file);
                let mut source = Source::file(file.as_fd(), start as u64..end as u64)
                    .map_err(failed)?
                    .pool(&self.pool);
                if !threshold {
                    source = source.threshold(0);
                }
                // At most as many pieces as a few pipes have slots.
                let piece = piece.max(len / 64 + 1) as u64;
                while let Step::Moved(_) = self.lists[list].splice_from(&mut source, piece).map_err(failed)? {}
                self.models[list].extend_from_slice(&self.fixtures.data[start..end]);
            }
            Op::FromSocket {
                list,
                len,
                written,
                piece,
            } => {
                let bytes = self.bytes(len);
                let (mut peer, near) = UnixStream::pair().map_err(failed)?;
                near.set_nonblocking(true).map_err(failed)?;
                rustix::net::sockopt::set_socket_send_buffer_size(&peer, 1 << 20).map_err(failed)?;
                // Each write uses up buffer memory, regardless of its length.
                for part in bytes.chunks(written.max(len / 64 + 1)) {
                    peer.write_all(part).map_err(failed)?;
                }
                drop(peer);
                let mut source = Source::stream(near).map_err(failed)?.pool(&self.pool).threshold(0);
                let piece = piece.max(len / 64 + 1) as u64;
                while let Step::Moved(_) = self.lists[list].splice_from(&mut source, piece).map_err(failed)? {}
                self.models[list].extend(bytes);
            }
            _ => unreachable!("not a filling operation"),
        }
        Ok(())
    }

    fn cut(&mut self, op: &Op) {
        match *op {
            Op::Append(list, other) if list == other => {}
            Op::Append(list, other) => {
                let mut from = std::mem::take(&mut self.lists[other]);
                self.lists[list].append(&mut from);
                self.lists[other] = from;
                let bytes = std::mem::take(&mut self.models[other]);
                self.models[list].extend(bytes);
            }
            Op::SplitTo(list, at, to) => {
                let at = self.offset(list, at);
                let mut front = self.lists[list].split_to(at);
                let rest = self.models[list].split_off(at as usize);
                let bytes = std::mem::replace(&mut self.models[list], rest);
                self.lists[to].append(&mut front);
                self.models[to].extend(bytes);
            }
            Op::SplitOff(list, at, to) => {
                let at = self.offset(list, at);
                let mut back = self.lists[list].split_off(at);
                let bytes = self.models[list].split_off(at as usize);
                self.lists[to].append(&mut back);
                self.models[to].extend(bytes);
            }
            Op::Slice(list, from, to, other, replace) => {
                let range = self.range(list, from, to);
                let slice = self.lists[list].slice(range.clone());
                let bytes = self.models[list][range.start as usize..range.end as usize].to_vec();
                self.put(other, slice, bytes, replace);
            }
            Op::Clone(list, other, replace) => {
                let (clone, bytes) = (self.lists[list].clone(), self.models[list].clone());
                self.put(other, clone, bytes, replace);
            }
            Op::Advance(list, at) => {
                let at = self.offset(list, at);
                self.lists[list].advance(at);
                self.models[list].drain(..at as usize);
            }
            Op::Truncate(list, at) => {
                let at = self.offset(list, at);
                self.lists[list].truncate(at);
                self.models[list].truncate(at as usize);
            }
            _ => unreachable!("not a cutting operation"),
        }
    }

    /// Replaces a list, or appends to it.
    fn put(&mut self, at: usize, mut list: BufferList, bytes: Vec<u8>, replace: bool) {
        if replace {
            self.lists[at] = list;
            self.models[at] = bytes;
        } else {
            self.lists[at].append(&mut list);
            self.models[at].extend(bytes);
        }
    }

    fn check_peek(&mut self, op: &Op) -> Checked {
        match *op {
            Op::Peek(list, from, to) => {
                let range = self.range(list, from, to);
                let view = self.lists[list].peek(range.clone()).map_err(failed)?;
                let expected = &self.models[list][range.start as usize..range.end as usize];
                same("a peek", &view.to_vec(), expected)?;
            }
            Op::PeekByMemfd(list, from, to) => {
                let range = self.range(list, from, to);
                match self.lists[list].peek_with(PeekStrategy::Memfd, range.clone()) {
                    Ok(view) => {
                        let expected = &self.models[list][range.start as usize..range.end as usize];
                        same("a peek through a memfd", &view.to_vec(), expected)?;
                    }
                    // This strategy has no fallback.
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::NoPipe),
                }
            }
            Op::Hexdump(list, from, to) => {
                let range = self.range(list, from, to);
                let text = self.lists[list].hexdump(range.clone()).map_err(failed)?;
                let end = format!("{:08x}\n", range.end);
                prop_assert!(text.ends_with(&end));
                let rows = (range.end - range.start).div_ceil(16);
                prop_assert!(text.lines().count() as u64 <= rows + 1);
                if !range.is_empty() {
                    let first = format!("{:08x}  {:02x}", range.start, self.models[list][range.start as usize]);
                    prop_assert!(text.starts_with(&first), "{} is not {first}", &text[..12]);
                }
            }
            Op::ToBytes(list) => {
                let bytes = self.lists[list].to_bytes().map_err(failed)?;
                same("all of it", &bytes, &self.models[list])?;
            }
            Op::Crc(list, from, to) => {
                const PART_LEN: u64 = 1500;
                let range = self.range(list, from, to);
                let starts = range.clone().step_by(PART_LEN as usize).take(4);
                let parts = starts.map(|start| start..range.end.min(start + PART_LEN));
                for part in parts.chain([range.clone()]) {
                    let sum = self.lists[list].slice(part.clone()).crc32c().map_err(failed)?;
                    let expected = &self.models[list][part.start as usize..part.end as usize];
                    prop_assert_eq!(sum.value(), crc32c::crc32c(expected));
                }
            }
            Op::Stabilize(list) => {
                self.lists[list].stabilize().map_err(failed)?;
                let stability = self.lists[list].stability();
                prop_assert_eq!(stability, bufferlist::Stability::Private);
            }
            Op::Rebuild(list, page) => {
                let disk = Alignment {
                    memory: 512,
                    length: 512,
                };
                let to = if page { Alignment::PAGE } else { disk };
                self.lists[list].rebuild_aligned(to).map_err(failed)?;
                let lengths: Vec<_> = self.lists[list].segments().map(Segment::len).collect();
                if let Some((_, whole)) = lengths.split_last() {
                    prop_assert!(whole.iter().all(|len| len % to.length as u64 == 0), "{lengths:?}");
                }
            }
            _ => unreachable!("not a peeking operation"),
        }
        Ok(())
    }

    /// Sends for this many steps, or everything; returns what arrived.
    fn send(&mut self, list: &mut BufferList, to: To, steps: Option<u8>) -> Checked<Vec<u8>> {
        let mut arrived = Vec::new();
        match to {
            To::Socket => {
                let (near, mut far) = UnixStream::pair().map_err(failed)?;
                near.set_nonblocking(true).map_err(failed)?;
                far.set_nonblocking(true).map_err(failed)?;
                let sink = Sink::stream(near).map_err(failed)?;
                self.send_steps(list, sink, steps, |_| drain(&mut far, &mut arrived))?;
            }
            To::Pipe => {
                let (read, write) =
                    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(failed)?;
                let mut far = File::from(read);
                let sink = Sink::stream(write).map_err(failed)?;
                self.send_steps(list, sink, steps, |_| drain(&mut far, &mut arrived))?;
            }
            To::File => {
                let file = self.fixtures.sink.try_clone().map_err(failed)?;
                file.set_len(0).map_err(failed)?;
                let sink = Sink::file(file.as_fd(), 0).map_err(failed)?;
                self.send_steps(list, sink, steps, Ok)?;
                let len = file.metadata().map_err(failed)?.len();
                arrived.resize(len as usize, 0);
                file.read_exact_at(&mut arrived, 0).map_err(failed)?;
            }
        }
        Ok(arrived)
    }

    /// Runs the steps; `total` receives the number of bytes that should have arrived so far, and
    /// returns the number that did.
    fn send_steps<F: AsFd>(
        &self,
        list: &mut BufferList,
        sink: Sink<F>,
        steps: Option<u8>,
        mut total: impl FnMut(u64) -> Checked<u64>,
    ) -> Checked {
        let mut sink = sink.pool(&self.pool);
        let mut sent = 0;
        let mut blocked = 0;
        let mut steps_made = 0;
        while steps.is_none_or(|steps| steps_made < steps) {
            let len = list.len();
            match list.splice_to(&mut sink).map_err(failed)? {
                Step::End => break,
                Step::Moved(receipt) => {
                    sent += receipt.total();
                    prop_assert_eq!(list.len(), len - receipt.total());
                    blocked = 0;
                }
                Step::Blocked(_) => {
                    blocked += 1;
                    prop_assert!(blocked < 3, "blocked, though all was taken");
                }
            }
            prop_assert_eq!(total(sent)?, sent);
            steps_made = steps_made.saturating_add(u8::from(steps.is_some()));
        }
        Ok(())
    }
}

/// Receives what is queued, and returns the total so far.
fn drain(far: &mut impl Read, arrived: &mut Vec<u8>) -> Checked<u64> {
    match far.read_to_end(arrived) {
        Ok(_) => {}
        Err(error) if error.kind() == IoErrorKind::WouldBlock => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(arrived.len() as u64)
}
