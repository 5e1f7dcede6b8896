//! What is in a cell: stretches of its bytes, each in a pipe or in memory. Under the cell's lock, or in the only hand.

use super::Front;
use crate::counts::Copies;
use crate::endpoint::{EndpointKind, refusal};
use crate::journal::{Note, Operation};
use crate::pipe::pool::{Lane, PooledPipe};
use crate::reason::Reason;
use crate::sys::Sys;
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::VecDeque;

/// A pipe is split when it was tee'd from its middle more often than this: so many throw-away prefixes cost more than
/// the split, which is one splice from pipe to pipe.
const TEES_BEFORE_SPLIT: u32 = 4;

/// A cell is split into at most so many pipes, so that one cell cannot eat the pool.
const MOST_PARTS: usize = 8;

/// How many windows of a cell are remembered after a look at them.
pub(super) const MOST_LOOKS: usize = 32;

#[derive(Debug)]
pub(super) struct State {
    /// In order and without gaps; what lies before the first is gone.
    pub(super) parts: VecDeque<Part>,
    /// Windows that somebody looked at: position and bytes.
    pub(super) looks: VecDeque<(u64, Bytes)>,
}

/// A stretch of the cell's bytes, by position from the cell's first byte.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) store: Store,
    pub(super) tees: u32,
}

#[derive(Debug)]
pub(super) enum Store {
    Pipe(PooledPipe),
    Memory(Bytes, Reason),
}

impl Part {
    pub(super) fn len(&self) -> u64 {
        match &self.store {
            Store::Pipe(pipe) => pipe.ledger.bytes(),
            Store::Memory(bytes, _) => bytes.len() as u64,
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.len()
    }
}

impl State {
    /// The part that holds the byte at `start`.
    pub(super) fn find(&self, start: u64) -> Sys<usize> {
        self.parts
            .iter()
            .position(|part| part.start <= start && start < part.end())
            .ok_or(Errno::IO)
    }

    /// What of `start..end` is in the part that is memory now.
    pub(super) fn memory<P>(&self, start: u64, end: u64) -> Front<P> {
        let part = self.parts.iter().find(|part| part.start <= start && start < part.end());
        match part.map(|part| (part.start, &part.store)) {
            Some((first, Store::Memory(bytes, reason))) => {
                let to = bytes.len().min((end - first) as usize);
                Front::Memory(bytes.slice((start - first) as usize..to), *reason)
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
        lane: &mut Lane,
        split: bool,
        note: &Note,
    ) -> Result<Front<PooledPipe>, Reason> {
        let Store::Pipe(from) = &self.parts[at].store else {
            return Ok(self.memory(start, end.min(self.parts[at].end())));
        };
        // An empty ring with as many slots as the source uses takes all of it: tee copies slot by slot. It is taken before
        // the split takes another, which we can do without.
        let need = from.ledger.slots().at_most.min(from.slots());
        let mut to = lane.take(need, need).map_err(|_| Reason::NoPipe)?;
        let at = if split { self.split(at, start, lane, note) } else { at };
        let part = &mut self.parts[at];
        let end = end.min(part.end());
        let prefix = start - part.start;
        part.tees += 1;
        let Store::Pipe(from) = &mut part.store else {
            return Err(Reason::NoPipe);
        };
        let got = to
            .tee_from(from, end - part.start, &note.plus(part.start))
            .map_err(|errno| refusal(EndpointKind::Pipe, errno).unwrap_or(Reason::NoPipe))?;
        if got <= prefix {
            // Cut short before the first byte that is wanted. What came is closed with its pipe.
            return Err(Reason::NoPipe);
        }
        let drop = Note {
            operation: Operation::Drop,
            ..note.plus(part.start)
        };
        to.discard(prefix, &drop).map_err(|_| Reason::NoPipe)?;
        Ok(Front::Pipe(to, got - prefix))
    }

    /// Splits the pipe at `at` so that `start` is at the head of one, if it was cut up often enough to be worth it. Says
    /// where `start` is now. What cannot be done leaves all as it was.
    fn split(&mut self, at: usize, start: u64, lane: &mut Lane, note: &Note) -> usize {
        let part = &mut self.parts[at];
        let prefix = start - part.start;
        if part.tees < TEES_BEFORE_SPLIT || prefix == 0 || self.parts.len() >= MOST_PARTS {
            return at;
        }
        let part = &mut self.parts[at];
        let Store::Pipe(from) = &mut part.store else { return at };
        let need = from.ledger.prefix(prefix).slots().at_most.min(from.slots());
        let Ok(mut to) = lane.pool().take(need, need) else {
            return at;
        };
        let Ok(got) = to.take_from(from, prefix, &note.plus(part.start)) else {
            return at;
        };
        let before = Part {
            start: part.start,
            store: Store::Pipe(to),
            tees: 0,
        };
        part.start += got;
        part.tees = 0;
        self.parts.insert(at, before);
        at + 1
    }

    /// Replaces the pages of a part by a copy in memory. What was read before an error stays read: no byte is lost.
    /// `note` is of the cell's first byte.
    pub(super) fn read_into_memory(&mut self, at: usize, reason: Reason, note: &Note, copies: &mut Copies) -> Sys<()> {
        let part = &mut self.parts[at];
        let Store::Pipe(pipe) = &mut part.store else {
            return Ok(());
        };
        let len = pipe.ledger.bytes();
        let mut bytes = Vec::with_capacity(len as usize);
        let result = pipe.read(&mut bytes, len, &note.plus(part.start));
        let got = bytes.len() as u64;
        copies.add(reason, got);
        let memory = Store::Memory(bytes.into(), reason);
        if result.is_ok() {
            part.store = memory;
        } else if got > 0 {
            let start = part.start;
            part.start += got;
            self.parts.insert(
                at,
                Part {
                    start,
                    store: memory,
                    tees: 0,
                },
            );
        }
        result
    }
}
