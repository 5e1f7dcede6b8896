//! Contents of a `PipeCell`: consecutive byte ranges, each stored in a pipe or in memory.
//!
//! Access requires the cell's lock or unique ownership.

use super::Head;
use crate::counts::Copies;
use crate::endpoint::{EndpointKind, fallback_reason};
use crate::journal::{EntryTemplate, Operation};
use crate::pipe::pool::{PipeProvider, PooledPipe};
use crate::reason::Reason;
use crate::sys::Sys;
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::VecDeque;

/// Number of tees from the middle of a pipe after which it is split. More discarded prefixes cost
/// more than the split, which is one splice from pipe to pipe.
const TEES_BEFORE_SPLIT: u32 = 4;

/// Maximum number of chunks of a cell, so that one cell cannot exhaust the pool.
const MAX_CHUNKS: usize = 8;

/// Maximum number of peeked ranges that a cell caches.
pub(super) const MAX_CACHED_PEEKS: usize = 32;

#[derive(Debug)]
pub(super) struct State {
    /// In order and without gaps. Bytes before the first chunk have been sent or discarded.
    pub(super) chunks: VecDeque<Chunk>,
    /// Cached peeks: position and bytes.
    pub(super) cached_peeks: VecDeque<(u64, Bytes)>,
}

/// Byte range of the cell, by position from the cell's first byte.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) storage: Storage,
    pub(super) tee_count: u32,
}

#[derive(Debug)]
pub(super) enum Storage {
    Pipe(PooledPipe),
    Memory(Bytes, Reason),
}

impl Chunk {
    pub(super) fn len(&self) -> u64 {
        match &self.storage {
            Storage::Pipe(pipe) => pipe.ledger.bytes(),
            Storage::Memory(bytes, _) => bytes.len() as u64,
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.len()
    }
}

impl State {
    /// Returns the index of the chunk that holds the byte at `start`.
    pub(super) fn find(&self, start: u64) -> Sys<usize> {
        self.chunks
            .iter()
            .position(|chunk| chunk.start <= start && start < chunk.end())
            .ok_or(Errno::IO)
    }

    /// Returns the part of `start..end` that is in a chunk in memory.
    pub(super) fn memory<P>(&self, start: u64, end: u64) -> Head<P> {
        let chunk = self
            .chunks
            .iter()
            .find(|chunk| chunk.start <= start && start < chunk.end());
        match chunk.map(|chunk| (chunk.start, &chunk.storage)) {
            Some((first, Storage::Memory(bytes, reason))) => {
                let to = bytes.len().min((end - first) as usize);
                Head::Memory(bytes.slice((start - first) as usize..to), *reason)
            }
            _ => unreachable!("the part was read into memory under the same lock"),
        }
    }

    /// Tees the chunk at `at` into a private pipe with the byte at `start` at its head.
    ///
    /// `template` is that of the cell's first byte. The error is the reason for copying instead.
    pub(super) fn tee(
        &mut self,
        at: usize,
        start: u64,
        end: u64,
        pipes: &mut impl PipeProvider,
        split: bool,
        template: &EntryTemplate,
    ) -> Result<Head<PooledPipe>, Reason> {
        let Storage::Pipe(from) = &self.chunks[at].storage else {
            return Ok(self.memory(start, end.min(self.chunks[at].end())));
        };
        // An empty pipe with as many slots as the source uses takes all of it, because tee copies
        // slot by slot. It is allocated before the split allocates another, which is optional.
        let need = from.ledger.slots().at_most.min(from.slots());
        let mut to = pipes.provide(need, need).map_err(|_| Reason::NoPipe)?;
        let at = if split {
            self.split(at, start, pipes, template)
        } else {
            at
        };
        let chunk = &mut self.chunks[at];
        let end = end.min(chunk.end());
        let prefix = start - chunk.start;
        chunk.tee_count += 1;
        let Storage::Pipe(from) = &mut chunk.storage else {
            return Err(Reason::NoPipe);
        };
        let got = to
            .tee_from(from, end - chunk.start, &template.advanced_by(chunk.start))
            .map_err(|errno| fallback_reason(EndpointKind::Pipe, errno).unwrap_or(Reason::NoPipe))?;
        if got <= prefix {
            // The tee ended before the first wanted byte. Its bytes are closed with their pipe.
            return Err(Reason::NoPipe);
        }
        let drop = EntryTemplate {
            operation: Operation::Drop,
            ..template.advanced_by(chunk.start)
        };
        to.discard(prefix, &drop).map_err(|_| Reason::NoPipe)?;
        Ok(Head::Pipe(to, got - prefix))
    }

    /// Splits the pipe at `at` so that `start` is at the head of a pipe, if ranges from its middle
    /// were tee'd often enough.
    ///
    /// Returns the index of the chunk that begins with `start`, or `at` if the pipe was not split.
    /// A failed split changes nothing.
    fn split(&mut self, at: usize, start: u64, pipes: &mut impl PipeProvider, template: &EntryTemplate) -> usize {
        let chunk = &mut self.chunks[at];
        let prefix = start - chunk.start;
        if chunk.tee_count < TEES_BEFORE_SPLIT || prefix == 0 || self.chunks.len() >= MAX_CHUNKS {
            return at;
        }
        let chunk = &mut self.chunks[at];
        let Storage::Pipe(from) = &mut chunk.storage else {
            return at;
        };
        let need = from.ledger.prefix(prefix).slots().at_most.min(from.slots());
        let Ok(mut to) = pipes.pool().get(need, need) else {
            return at;
        };
        let Ok(got) = to.move_from(from, prefix, &template.advanced_by(chunk.start)) else {
            return at;
        };
        let before = Chunk {
            start: chunk.start,
            storage: Storage::Pipe(to),
            tee_count: 0,
        };
        chunk.start += got;
        chunk.tee_count = 0;
        self.chunks.insert(at, before);
        at + 1
    }

    /// Replaces the pages of a chunk by a copy in memory. Bytes that were read before an error stay
    /// in memory, so no byte is lost. `template` is that of the cell's first byte.
    pub(super) fn read_into_memory(
        &mut self,
        at: usize,
        reason: Reason,
        template: &EntryTemplate,
        copies: &mut Copies,
    ) -> Sys<()> {
        let chunk = &mut self.chunks[at];
        let Storage::Pipe(pipe) = &mut chunk.storage else {
            return Ok(());
        };
        let len = pipe.ledger.bytes();
        let mut bytes = Vec::with_capacity(len as usize);
        let result = pipe.read(&mut bytes, len, &template.advanced_by(chunk.start));
        let got = bytes.len() as u64;
        copies.add(reason, got);
        let memory = Storage::Memory(bytes.into(), reason);
        if result.is_ok() {
            chunk.storage = memory;
        } else if got > 0 {
            let start = chunk.start;
            chunk.start += got;
            self.chunks.insert(
                at,
                Chunk {
                    start,
                    storage: memory,
                    tee_count: 0,
                },
            );
        }
        result
    }
}
