//! The shared, immutable content of pipe segments.
//!
//! A list's pipe segments are ranges of cells, as slices of [`bytes::Bytes`] are ranges of allocations: cloning and
//! splitting count references. What can be done with a cell depends on who else holds it:
//!
//! * held once (`Arc::get_mut` succeeds): its pages are spliced straight out, and what lies before the range is dropped;
//! * held by several: the range is tee'd into a private pipe, under the cell's lock, and goes out from there. tee(2) begins
//!   at the head of the pipe each time, so the part before the range is tee'd as well and thrown away; a cell that is cut
//!   up often is therefore split into several pipes;
//! * where no pipe is to be had, the pages are read into memory once, for all who hold the cell.
//!
//! The lock is held over system calls on our own pipes only, none of which can wait.

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
    /// The name of the segment, and where in it the cell begins: a private pipe is a part of the segment that it was tee'd
    /// from, and goes by its name.
    segment: (SegmentId, u64),
    origin: Endpoint,
    stability: Stability,
    /// The part of a file that the cell's bytes came from, all of them in order, where that is known.
    source: Option<FileExtent>,
    pool: Pool,
    generation: u32,
    state: Mutex<State>,
}

/// Where the next bytes of a range are to be had.
#[derive(Debug)]
pub(crate) enum Head<P> {
    /// At the head of a pipe: so many.
    Pipe(P, u64),
    /// In memory, for this reason.
    Memory(Bytes, Reason),
}

/// What the journal says of the byte at `position` of the cell of this name.
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
    /// A cell of what is in `pipe`.
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

    /// A cell whose pages were read into memory, for tests of the rope that make no system call.
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

    /// The name of the segment, and where in it the byte at `position` of the cell is.
    pub(crate) fn segment_at(&self, position: u64) -> (SegmentId, u64) {
        (self.segment.0, self.segment.1 + position)
    }

    /// What the journal says of the byte at `position` of the cell.
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

    /// The state, for the only holder: no lock.
    fn state(&mut self) -> &mut State {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ring at the end of the cell and the position behind its last byte, if more bytes of the same origin can be
    /// put there by the only holder.
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

    /// Remembers, or forgets, which part of a file was added at the end.
    pub(crate) fn extend_source(&mut self, by: Option<FileExtent>) {
        self.source = match (self.source.take(), by) {
            (Some(source), Some(by)) => source.join(&by),
            _ => None,
        };
    }

    /// Bytes of kernel memory that the cell keeps alive.
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

    /// Whether all of it lies in whole pages of pipes.
    pub(crate) fn is_aligned(&self) -> bool {
        self.lock().chunks.iter().all(|chunk| match &chunk.storage {
            Storage::Pipe(pipe) => pipe.ledger.is_aligned(),
            Storage::Memory(..) => false,
        })
    }

    /// The next bytes of `start..end`, for the only holder. What lies before `start` is thrown away.
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
                // Also when it failed half-way: the account says where the head is now.
                chunk.start = part_end - pipe.ledger.bytes();
                result?;
                Ok(Head::Pipe(pipe, end.min(part_end) - start))
            }
        }
    }

    /// Accounts for `n` bytes that went out of the pipe at the front.
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

    /// The pipe of the cell, if it is the only part and empty.
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

    /// The pipes of a cell that nobody holds any more.
    fn into_pipes(self) -> impl Iterator<Item = PooledPipe> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.chunks.into_iter().filter_map(|chunk| match chunk.storage {
            Storage::Pipe(pipe) => Some(pipe),
            Storage::Memory(..) => None,
        })
    }

    /// The next bytes of `start..end`, for one of several holders: in a private pipe, whose head is at `start`. Where
    /// that is not to be had, the pages are read into memory for all.
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
        // The part may have been split before the tee failed: then `start` is in the one behind.
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

    /// The bytes of `start..end`, or of its beginning, in memory. The pages stay where they are, unless no pipe is to be
    /// had. Windows that were looked at before are given again, at no cost.
    pub(crate) fn peek(&self, start: u64, end: u64, copies: &mut Copies, why: Reason) -> Sys<Bytes> {
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
                let mut seen = Vec::with_capacity(len as usize);
                let look = self.copy_template(why, copies).advanced_by(start);
                // What was read of a private copy before an error is no loss.
                pipe.read(&mut seen, len, &look)?;
                copies.add(why, len);
                let seen = Bytes::from(seen);
                if state.cached_peeks.len() == MAX_CACHED_PEEKS {
                    state.cached_peeks.pop_front();
                }
                state.cached_peeks.push_back((start, seen.clone()));
                Ok(seen)
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

    /// What the journal says of bytes from the cell's first one on that are copied into memory.
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

    /// A private pipe with the bytes of `start..end`, or of its beginning, at its head: `None` if they are in memory, or
    /// no pipe is to be had.
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
