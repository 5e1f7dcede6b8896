//! Shared, immutable contents of pipe segments.
//!
//! A list's pipe segments are ranges of cells, as slices of [`bytes::Bytes`] are ranges of
//! allocations. Cloning and splitting count references. Sending a range depends on the number of
//! holders of its cell:
//!
//! * One holder (`Arc::get_mut` succeeds): the pages are spliced straight out. Bytes before the
//!   range are discarded.
//! * Several holders: the range is tee'd into a private pipe, under the cell's lock, and sent from
//!   there. tee(2) always begins at the head of the pipe, so the bytes before the range are tee'd
//!   as well and discarded. A cell whose ranges are sent often is therefore split into several
//!   pipes.
//! * No pipe is available: the pages are read into memory once, for all holders of the cell.
//!
//! The lock is held only during system calls on the cell's own pipes, none of which can block.

mod idle;
mod range;
mod state;

pub(crate) use idle::IdleCell;
pub(crate) use range::PipeRange;

use super::owned_pipe::OwnedPipe;
use super::pool::{PipeProvider, Pool, PooledPipe};
use crate::counts::Copies;
use crate::endpoint::kind::Endpoint;
use crate::fork_generation;
use crate::journal::{Caller, EntryTemplate, Operation};
use crate::reason::Reason;
use crate::segment::{FileExtent, SegmentId, Stability};
use crate::sys::Sys;
use bytes::Bytes;
use rustix::io::Errno;
use state::{Chunk, MAX_CACHED_PEEKS, State, Storage};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Kernel pages that several segments may share.
#[derive(Debug)]
pub(crate) struct PipeCell {
    /// Segment ID, and the offset of the cell in that segment. A private pipe holds a part of the
    /// segment that it was tee'd from, and keeps its ID.
    segment: (SegmentId, u64),
    origin: Endpoint,
    stability: Stability,
    /// File extent that all of the cell's bytes came from, in order, if it is known.
    source: Option<FileExtent>,
    pool: Pool,
    generation: u32,
    state: Mutex<State>,
}

/// The next bytes of a range.
#[derive(Debug)]
pub(crate) enum Head<P> {
    /// At the head of a pipe, with their number.
    Pipe(P, u64),
    /// In memory, with the reason for the copy.
    Memory(Bytes, Reason),
}

/// Returns the journal entry template for the byte at `position` of a cell.
fn entry_template(
    (segment, begins): (SegmentId, u64),
    operation: Operation,
    position: u64,
    caller: Caller,
) -> EntryTemplate {
    EntryTemplate {
        operation,
        reason: None,
        segment,
        at: begins + position,
        caller,
    }
}

impl PipeCell {
    /// Creates a cell of the contents of `pipe`.
    pub(crate) fn new(
        segment: (SegmentId, u64),
        origin: Endpoint,
        stability: Stability,
        source: Option<FileExtent>,
        pipe: PooledPipe,
        pool: &Pool,
    ) -> Self {
        let chunk = Chunk {
            start: 0,
            storage: Storage::Pipe(pipe),
            tee_count: 0,
        };
        Self {
            segment,
            origin,
            stability,
            source,
            pool: pool.clone(),
            generation: fork_generation::generation(),
            state: Mutex::new(State {
                chunks: VecDeque::from([chunk]),
                cached_peeks: VecDeque::new(),
            }),
        }
    }

    /// Creates a cell whose pages were read into memory, for tests of the rope that make no system
    /// call.
    #[cfg(test)]
    pub(crate) fn in_memory(bytes: Bytes) -> Self {
        let chunk = Chunk {
            start: 0,
            storage: Storage::Memory(bytes, Reason::NoPipe),
            tee_count: 0,
        };
        Self {
            segment: (SegmentId::next(), 0),
            origin: Endpoint::default(),
            stability: Stability::Private,
            source: None,
            pool: Pool::new(0, 0),
            generation: fork_generation::generation(),
            state: Mutex::new(State {
                chunks: VecDeque::from([chunk]),
                cached_peeks: VecDeque::new(),
            }),
        }
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.segment.0
    }

    /// Returns the segment ID and the offset in the segment of the byte at `position`.
    pub(crate) fn segment_at(&self, position: u64) -> (SegmentId, u64) {
        (self.segment.0, self.segment.1 + position)
    }

    /// Returns the journal entry template for the byte at `position`.
    pub(crate) fn template(&self, operation: Operation, position: u64, caller: Caller) -> EntryTemplate {
        entry_template(self.segment, operation, position, caller)
    }

    #[inline]
    pub(crate) fn is_from_this_process(&self) -> bool {
        self.generation == fork_generation::generation()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state without a lock, for the only holder.
    fn state(&mut self) -> &mut State {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the pipe at the end of the cell and the position behind its last byte, if the only
    /// holder can put more bytes of that origin there.
    pub(crate) fn tail(&mut self, origin: Endpoint) -> Option<(u64, &mut OwnedPipe)> {
        if self.origin != origin || !self.is_from_this_process() {
            return None;
        }
        let last = self.state().chunks.back_mut()?;
        let end = last.end();
        match &mut last.storage {
            Storage::Pipe(pipe) => Some((end, pipe)),
            Storage::Memory(..) => None,
        }
    }

    /// Extends the recorded file extent by one for bytes that were appended, or forgets it if the
    /// two do not join.
    pub(crate) fn extend_source(&mut self, by: Option<FileExtent>) {
        self.source = match (self.source.take(), by) {
            (Some(source), Some(by)) => source.join(&by),
            _ => None,
        };
    }

    /// Returns the bytes of kernel memory that the cell keeps alive.
    pub(crate) fn pinned(&self) -> u64 {
        self.lock()
            .chunks
            .iter()
            .filter_map(|chunk| match &chunk.storage {
                Storage::Pipe(pipe) => Some(pipe.ledger.bytes()),
                Storage::Memory(..) => None,
            })
            .sum()
    }

    /// Returns whether all bytes are in whole pages of pipes.
    pub(crate) fn is_aligned(&self) -> bool {
        self.lock().chunks.iter().all(|chunk| match &chunk.storage {
            Storage::Pipe(pipe) => pipe.ledger.is_aligned(),
            Storage::Memory(..) => false,
        })
    }

    /// Returns the next bytes of `start..end`, for the only holder. Discards the bytes before
    /// `start`.
    #[inline]
    pub(crate) fn head(&mut self, start: u64, end: u64, caller: Caller) -> Sys<Head<&mut OwnedPipe>> {
        let segment = self.segment;
        let state = self.state();
        while state.chunks.len() > 1 && state.chunks[0].end() <= start {
            state.chunks.pop_front();
        }
        let chunk = state.chunks.front_mut().ok_or(Errno::IO)?;
        let part_end = chunk.end();
        debug_assert!(chunk.start <= start && start < part_end);
        match &mut chunk.storage {
            Storage::Memory(bytes, reason) => {
                let from = (start - chunk.start) as usize;
                let to = (end.min(part_end) - chunk.start) as usize;
                Ok(Head::Memory(bytes.slice(from..to), *reason))
            }
            Storage::Pipe(pipe) => {
                let drop = entry_template(segment, Operation::Drop, chunk.start, caller);
                let result = pipe.discard(start - chunk.start, &drop);
                // Updated even if discarding failed halfway: the ledger says where the head is now.
                chunk.start = part_end - pipe.ledger.bytes();
                result?;
                Ok(Head::Pipe(pipe, end.min(part_end) - start))
            }
        }
    }

    /// Records that `n` bytes were sent from the pipe at the front.
    #[inline]
    pub(crate) fn record_sent(&mut self, n: u64, caller: Caller) {
        let segment = self.segment;
        if let Some(chunk) = self.state().chunks.front_mut() {
            if let Storage::Pipe(pipe) = &mut chunk.storage {
                pipe.record_drain(n);
                pipe.journal_taken(n, &entry_template(segment, Operation::Drain, chunk.start, caller));
                chunk.start += n;
            }
        }
    }

    /// Returns the pipe of the cell if it is the only chunk and empty.
    fn idle_pipe(&mut self) -> Option<&mut PooledPipe> {
        match self.state().chunks.make_contiguous() {
            [
                Chunk {
                    storage: Storage::Pipe(pipe),
                    ..
                },
            ] if pipe.ledger.is_empty() => Some(pipe),
            _ => None,
        }
    }

    /// Returns the pipes of a cell without holders.
    fn into_pipes(self) -> impl Iterator<Item = PooledPipe> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.chunks.into_iter().filter_map(|chunk| match chunk.storage {
            Storage::Pipe(pipe) => Some(pipe),
            Storage::Memory(..) => None,
        })
    }

    /// Returns the next bytes of `start..end`, for one of several holders, in a private pipe whose
    /// head is at `start`. If there is no pipe, the pages are read into memory for all holders.
    pub(crate) fn shared_head(
        &self,
        start: u64,
        end: u64,
        pipes: &mut impl PipeProvider,
        copies: &mut Copies,
    ) -> Sys<Head<PooledPipe>> {
        let mut state = self.lock();
        let at = state.find(start)?;
        let tee = self.template(Operation::Tee, 0, copies.caller);
        let reason = match state.tee(at, start, end, pipes, true, &tee) {
            Ok(front) => return Ok(front),
            Err(reason) => reason,
        };
        // The chunk may have been split before the tee failed, which moves `start` into the next
        // chunk.
        let at = state.find(start)?;
        state.read_into_memory(at, reason, &self.copy_template(reason, copies), copies)?;
        Ok(state.memory(start, end))
    }

    /// Reads the pages that hold the byte at `start` into memory, for all holders.
    pub(crate) fn read_into_memory(&self, start: u64, reason: Reason, copies: &mut Copies) -> Sys<()> {
        let mut state = self.lock();
        let at = state.find(start)?;
        state.read_into_memory(at, reason, &self.copy_template(reason, copies), copies)
    }

    /// Returns the bytes of `start..end`, or of its beginning, in memory.
    ///
    /// The pages stay where they are, unless no pipe is available. A range that was peeked at
    /// before is returned from the cache, without a copy.
    pub(crate) fn peek(&self, start: u64, end: u64, copies: &mut Copies, reason: Reason) -> Sys<Bytes> {
        let mut state = self.lock();
        for (at, bytes) in &state.cached_peeks {
            if *at <= start && start < *at + bytes.len() as u64 {
                let from = (start - at) as usize;
                let to = bytes.len().min((end - at) as usize);
                return Ok(bytes.slice(from..to));
            }
        }
        let at = state.find(start)?;
        let tee = self.template(Operation::Tee, 0, copies.caller);
        match state.tee(at, start, end, &mut &self.pool, false, &tee) {
            Ok(Head::Memory(bytes, _)) => Ok(bytes),
            Ok(Head::Pipe(mut pipe, len)) => {
                let mut bytes = Vec::with_capacity(len as usize);
                let copy = self.copy_template(reason, copies).advanced_by(start);
                // If the read fails, the bytes of the private pipe are dropped, which loses
                // nothing.
                pipe.read(&mut bytes, len, &copy)?;
                copies.add(reason, len);
                let bytes = Bytes::from(bytes);
                if state.cached_peeks.len() == MAX_CACHED_PEEKS {
                    state.cached_peeks.pop_front();
                }
                state.cached_peeks.push_back((start, bytes.clone()));
                Ok(bytes)
            }
            Err(reason) => {
                state.read_into_memory(at, reason, &self.copy_template(reason, copies), copies)?;
                match state.memory::<OwnedPipe>(start, end) {
                    Head::Memory(bytes, _) => Ok(bytes),
                    Head::Pipe(..) => Err(Errno::IO),
                }
            }
        }
    }

    /// Returns the journal entry template for a copy into memory that begins at the cell's first
    /// byte.
    fn copy_template(&self, reason: Reason, copies: &Copies) -> EntryTemplate {
        let operation = match reason {
            Reason::Peeked => Operation::Peek,
            _ => Operation::Materialize,
        };
        let template = self.template(operation, 0, copies.caller);
        EntryTemplate {
            reason: Some(reason),
            ..template
        }
    }

    /// Returns a private pipe with the bytes of `start..end`, or of its beginning, at its head.
    /// `None` if they are in memory, or no pipe is available.
    pub(crate) fn tee_to_private_pipe(&self, start: u64, end: u64, caller: Caller) -> Option<(PooledPipe, u64)> {
        let mut state = self.lock();
        let at = state.find(start).ok()?;
        let tee = self.template(Operation::Tee, 0, caller);
        match state.tee(at, start, end, &mut &self.pool, false, &tee) {
            Ok(Head::Pipe(pipe, len)) => Some((pipe, len)),
            _ => None,
        }
    }
}
