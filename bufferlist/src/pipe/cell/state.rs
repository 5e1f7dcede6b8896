//! What is in a cell: stretches of its bytes, each in a pipe or in memory. Under the cell's lock, or in the only hand.

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

/// A pipe is split when it was tee'd from its middle more often than this: so many throw-away prefixes cost more than
/// the split, which is one splice from pipe to pipe.
const TEES_BEFORE_SPLIT: u32 = 4;

/// A cell is split into at most so many pipes, so that one cell cannot eat the pool.
const MAX_CHUNKS: usize = 8;

/// How many windows of a cell are remembered after a look at them.
pub(super) const MAX_CACHED_PEEKS: usize = 32;

#[derive(Debug)]
pub(super) struct State {
    /// In order and without gaps; what lies before the first is gone.
    pub(super) chunks: VecDeque<Chunk>,
    /// Windows that somebody looked at: position and bytes.
    pub(super) cached_peeks: VecDeque<(u64, Bytes)>,
}

/// A stretch of the cell's bytes, by position from the cell's first byte.
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
    /// The part that holds the byte at `start`.
    pub(super) fn find(&self, start: u64) -> Sys<usize> {
        self.chunks
            .iter()
            .position(|chunk| chunk.start <= start && start < chunk.end())
            .ok_or(Errno::IO)
    }

    /// What of `start..end` is in the part that is memory now.
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

    /// Tees the part at `at` into a private pipe with the byte at `start` at its head. `Err` is why it cannot be done. `note`
    /// is of the cell's first byte.
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
        // An empty ring with as many slots as the source uses takes all of it: tee copies slot by slot. It is taken before
        // the split takes another, which we can do without.
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
            // Cut short before the first byte that is wanted. What came is closed with its pipe.
            return Err(Reason::NoPipe);
        }
        let drop = EntryTemplate {
            operation: Operation::Drop,
            ..template.advanced_by(chunk.start)
        };
        to.discard(prefix, &drop).map_err(|_| Reason::NoPipe)?;
        Ok(Head::Pipe(to, got - prefix))
    }

    /// Splits the pipe at `at` so that `start` is at the head of one, if it was cut up often enough to be worth it. Says
    /// where `start` is now. What cannot be done leaves all as it was.
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

    /// Replaces the pages of a part by a copy in memory. What was read before an error stays read: no byte is lost.
    /// `note` is of the cell's first byte.
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
