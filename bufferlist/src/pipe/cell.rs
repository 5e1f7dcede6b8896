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

use super::fork;
use super::pool::{Lane, Pool, PooledPipe};
use super::ring::Ring;
use crate::counts::Copies;
use crate::ends::kind::End;
use crate::ends::refusal;
use crate::reason::Reason;
use crate::segment::{FileExtent, Stability};
use crate::sys::Sys;
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A pipe is split when it was tee'd from its middle more often than this: so many throw-away prefixes cost more than
/// the split, which is one splice from pipe to pipe.
const TEES_BEFORE_SPLIT: u32 = 4;

/// A cell is split into at most so many pipes, so that one cell cannot eat the pool.
const MOST_PARTS: usize = 8;

/// How many windows of a cell are remembered after a look at them.
const MOST_LOOKS: usize = 32;

/// Kernel pages that several segments may share.
#[derive(Debug)]
pub(crate) struct PipeCell {
    origin: End,
    stability: Stability,
    /// The part of a file that the cell's bytes came from, all of them in order, where that is known.
    source: Option<FileExtent>,
    pool: Pool,
    generation: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// In order and without gaps; what lies before the first is gone.
    parts: VecDeque<Part>,
    /// Windows that somebody looked at: position and bytes.
    looks: VecDeque<(u64, Bytes)>,
}

/// A stretch of the cell's bytes, by position from the cell's first byte.
#[derive(Debug)]
struct Part {
    start: u64,
    store: Store,
    tees: u32,
}

#[derive(Debug)]
enum Store {
    Pipe(PooledPipe),
    Memory(Bytes, Reason),
}

impl Part {
    fn len(&self) -> u64 {
        match &self.store {
            Store::Pipe(pipe) => pipe.ledger.bytes(),
            Store::Memory(bytes, _) => bytes.len() as u64,
        }
    }

    fn end(&self) -> u64 {
        self.start + self.len()
    }
}

/// Where the next bytes of a range are to be had.
#[derive(Debug)]
pub(crate) enum Front<P> {
    /// At the head of a pipe: so many.
    Pipe(P, u64),
    /// In memory, for this reason.
    Memory(Bytes, Reason),
}

impl PipeCell {
    /// A cell of what is in `pipe`.
    pub(crate) fn new(
        origin: End,
        stability: Stability,
        source: Option<FileExtent>,
        pipe: PooledPipe,
        pool: &Pool,
    ) -> Self {
        let part = Part {
            start: 0,
            store: Store::Pipe(pipe),
            tees: 0,
        };
        Self {
            origin,
            stability,
            source,
            pool: pool.clone(),
            generation: fork::generation(),
            state: Mutex::new(State {
                parts: VecDeque::from([part]),
                looks: VecDeque::new(),
            }),
        }
    }

    /// A cell whose pages were read into memory, for tests of the rope that make no system call.
    #[cfg(test)]
    pub(crate) fn in_memory(bytes: Bytes) -> Self {
        let part = Part {
            start: 0,
            store: Store::Memory(bytes, Reason::NoPipe),
            tees: 0,
        };
        Self {
            origin: End::default(),
            stability: Stability::Private,
            source: None,
            pool: Pool::new(0, 0),
            generation: fork::generation(),
            state: Mutex::new(State {
                parts: VecDeque::from([part]),
                looks: VecDeque::new(),
            }),
        }
    }

    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == fork::generation()
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
    pub(crate) fn tail(&mut self, origin: End) -> Option<(u64, &mut Ring)> {
        if self.origin != origin || !self.is_ours() {
            return None;
        }
        let last = self.state().parts.back_mut()?;
        let end = last.end();
        match &mut last.store {
            Store::Pipe(pipe) => Some((end, pipe)),
            Store::Memory(..) => None,
        }
    }

    /// Remembers, or forgets, which part of a file was added at the end.
    pub(crate) fn extended(&mut self, by: Option<FileExtent>) {
        self.source = match (self.source.take(), by) {
            (Some(source), Some(by)) => source.joined(&by),
            _ => None,
        };
    }

    /// Bytes of kernel memory that the cell keeps alive.
    pub(crate) fn pinned(&self) -> u64 {
        self.lock()
            .parts
            .iter()
            .filter_map(|part| match &part.store {
                Store::Pipe(pipe) => Some(pipe.ledger.bytes()),
                Store::Memory(..) => None,
            })
            .sum()
    }

    /// Whether all of it lies in whole pages of pipes.
    pub(crate) fn is_aligned(&self) -> bool {
        self.lock().parts.iter().all(|part| match &part.store {
            Store::Pipe(pipe) => pipe.ledger.is_aligned(),
            Store::Memory(..) => false,
        })
    }

    /// The next bytes of `start..end`, for the only holder. What lies before `start` is thrown away.
    #[inline]
    pub(crate) fn front(&mut self, start: u64, end: u64) -> Sys<Front<&mut Ring>> {
        let state = self.state();
        while state.parts.len() > 1 && state.parts[0].end() <= start {
            state.parts.pop_front();
        }
        let part = state.parts.front_mut().ok_or(Errno::IO)?;
        let part_end = part.end();
        debug_assert!(part.start <= start && start < part_end);
        match &mut part.store {
            Store::Memory(bytes, reason) => {
                let from = (start - part.start) as usize;
                let to = (end.min(part_end) - part.start) as usize;
                Ok(Front::Memory(bytes.slice(from..to), *reason))
            }
            Store::Pipe(pipe) => {
                let result = pipe.discard(start - part.start);
                // Also when it failed half-way: the account says where the head is now.
                part.start = part_end - pipe.ledger.bytes();
                result?;
                Ok(Front::Pipe(pipe, end.min(part_end) - start))
            }
        }
    }

    /// Accounts for `n` bytes that went out of the pipe at the front.
    #[inline]
    pub(crate) fn sent(&mut self, n: u64) {
        if let Some(part) = self.state().parts.front_mut() {
            if let Store::Pipe(pipe) = &mut part.store {
                pipe.drained(n);
                part.start += n;
            }
        }
    }

    /// The pipe of the cell, if it is the only part and empty.
    fn idle(&mut self) -> Option<&mut PooledPipe> {
        match self.state().parts.make_contiguous() {
            [
                Part {
                    store: Store::Pipe(pipe),
                    ..
                },
            ] if pipe.ledger.is_empty() => Some(pipe),
            _ => None,
        }
    }

    /// The pipes of a cell that nobody holds any more.
    fn into_pipes(self) -> impl Iterator<Item = PooledPipe> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.parts.into_iter().filter_map(|part| match part.store {
            Store::Pipe(pipe) => Some(pipe),
            Store::Memory(..) => None,
        })
    }

    /// The next bytes of `start..end`, for one of several holders: in a private pipe, whose head is at `start`. Where
    /// that is not to be had, the pages are read into memory for all.
    pub(crate) fn share(&self, start: u64, end: u64, lane: &mut Lane, copies: &mut Copies) -> Sys<Front<PooledPipe>> {
        let mut state = self.lock();
        let at = state.find(start)?;
        let reason = match state.tee(at, start, end, lane, true) {
            Ok(front) => return Ok(front),
            Err(reason) => reason,
        };
        // The part may have been split before the tee failed: then `start` is in the one behind.
        let at = state.find(start)?;
        state.read_into_memory(at, reason, copies)?;
        Ok(state.memory(start, end))
    }

    /// Reads the pages that hold the byte at `start` into memory, for all holders.
    pub(crate) fn read_into_memory(&self, start: u64, reason: Reason, copies: &mut Copies) -> Sys<()> {
        let mut state = self.lock();
        let at = state.find(start)?;
        state.read_into_memory(at, reason, copies)
    }

    /// The bytes of `start..end`, or of its beginning, in memory. The pages stay where they are, unless no pipe is to be
    /// had. Windows that were looked at before are given again, at no cost.
    pub(crate) fn look(&self, start: u64, end: u64, copies: &mut Copies, why: Reason) -> Sys<Bytes> {
        let mut state = self.lock();
        for (at, bytes) in &state.looks {
            if *at <= start && start < *at + bytes.len() as u64 {
                let from = (start - at) as usize;
                let to = bytes.len().min((end - at) as usize);
                return Ok(bytes.slice(from..to));
            }
        }
        let at = state.find(start)?;
        match state.tee(at, start, end, &mut Lane::new(&self.pool), false) {
            Ok(Front::Memory(bytes, _)) => Ok(bytes),
            Ok(Front::Pipe(mut pipe, len)) => {
                let mut seen = Vec::with_capacity(len as usize);
                // What was read of a private copy before an error is no loss.
                pipe.read(&mut seen, len)?;
                copies.add(why, len);
                let seen = Bytes::from(seen);
                if state.looks.len() == MOST_LOOKS {
                    state.looks.pop_front();
                }
                state.looks.push_back((start, seen.clone()));
                Ok(seen)
            }
            Err(reason) => {
                state.read_into_memory(at, reason, copies)?;
                match state.memory::<Ring>(start, end) {
                    Front::Memory(bytes, _) => Ok(bytes),
                    Front::Pipe(..) => Err(Errno::IO),
                }
            }
        }
    }

    /// A private pipe with the bytes of `start..end`, or of its beginning, at its head: `None` if they are in memory, or
    /// no pipe is to be had.
    pub(crate) fn private(&self, start: u64, end: u64) -> Option<(PooledPipe, u64)> {
        let mut state = self.lock();
        let at = state.find(start).ok()?;
        match state.tee(at, start, end, &mut Lane::new(&self.pool), false) {
            Ok(Front::Pipe(pipe, len)) => Some((pipe, len)),
            _ => None,
        }
    }
}

impl State {
    /// The part that holds the byte at `start`.
    fn find(&self, start: u64) -> Sys<usize> {
        self.parts
            .iter()
            .position(|part| part.start <= start && start < part.end())
            .ok_or(Errno::IO)
    }

    /// What of `start..end` is in the part that is memory now.
    fn memory<P>(&self, start: u64, end: u64) -> Front<P> {
        let part = self.parts.iter().find(|part| part.start <= start && start < part.end());
        match part.map(|part| (part.start, &part.store)) {
            Some((first, Store::Memory(bytes, reason))) => {
                let to = bytes.len().min((end - first) as usize);
                Front::Memory(bytes.slice((start - first) as usize..to), *reason)
            }
            _ => unreachable!("the part was read into memory under the same lock"),
        }
    }

    /// Tees the part at `at` into a private pipe with the byte at `start` at its head. `Err` is why it cannot be done.
    fn tee(
        &mut self,
        at: usize,
        start: u64,
        end: u64,
        lane: &mut Lane,
        split: bool,
    ) -> Result<Front<PooledPipe>, Reason> {
        let Store::Pipe(from) = &self.parts[at].store else {
            return Ok(self.memory(start, end.min(self.parts[at].end())));
        };
        // An empty ring with as many slots as the source uses takes all of it: tee copies slot by slot. It is taken before
        // the split takes another, which we can do without.
        let need = from.ledger.slots().at_most.min(from.slots());
        let mut to = lane.take(need, need).map_err(|_| Reason::NoPipe)?;
        let at = if split { self.split(at, start, lane) } else { at };
        let part = &mut self.parts[at];
        let end = end.min(part.end());
        let prefix = start - part.start;
        part.tees += 1;
        let Store::Pipe(from) = &mut part.store else {
            return Err(Reason::NoPipe);
        };
        let got = to
            .tee_from(from, end - part.start)
            .map_err(|errno| refusal(errno).unwrap_or(Reason::NoPipe))?;
        if got <= prefix {
            // Cut short before the first byte that is wanted. What came is closed with its pipe.
            return Err(Reason::NoPipe);
        }
        to.discard(prefix).map_err(|_| Reason::NoPipe)?;
        Ok(Front::Pipe(to, got - prefix))
    }

    /// Splits the pipe at `at` so that `start` is at the head of one, if it was cut up often enough to be worth it. Says
    /// where `start` is now. What cannot be done leaves all as it was.
    fn split(&mut self, at: usize, start: u64, lane: &mut Lane) -> usize {
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
        let Ok(got) = to.take_from(from, prefix) else { return at };
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
    fn read_into_memory(&mut self, at: usize, reason: Reason, copies: &mut Copies) -> Sys<()> {
        let part = &mut self.parts[at];
        let Store::Pipe(pipe) = &mut part.store else {
            return Ok(());
        };
        let len = pipe.ledger.bytes();
        let mut bytes = Vec::with_capacity(len as usize);
        let result = pipe.read(&mut bytes, len);
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

/// A cell that nobody else holds, and whose one pipe is empty: what is put there makes it a cell like any other. A loop
/// that fills and empties the same pipe keeps the cell as well, and so allocates nothing.
#[derive(Debug)]
pub(crate) struct IdleCell {
    cell: Arc<PipeCell>,
    slots: u64,
}

impl IdleCell {
    /// A new one, around an empty pipe.
    pub(crate) fn new(pipe: PooledPipe, pool: &Pool) -> Self {
        debug_assert!(pipe.ledger.is_empty());
        let slots = pipe.slots();
        let cell = PipeCell::new(End::default(), Stability::Volatile, None, pipe, pool);
        Self {
            cell: Arc::new(cell),
            slots,
        }
    }

    /// What is left of a cell whose range has been sent. `None` if somebody else holds it, if it was cut into several
    /// pipes, or is memory: then it is let go.
    #[inline]
    pub(crate) fn of(mut range: PipeRange) -> Option<Self> {
        let slots = Arc::get_mut(&mut range.cell)?.idle()?.slots();
        Some(Self {
            cell: range.cell,
            slots,
        })
    }

    fn cell(&mut self) -> &mut PipeCell {
        Arc::get_mut(&mut self.cell).expect("nobody else holds it")
    }

    /// Whether it has so many slots, and is this process's.
    pub(crate) fn will_do(&self, slots: u64) -> bool {
        self.slots >= slots && self.cell.is_ours()
    }

    #[inline]
    pub(crate) fn ring(&mut self) -> &mut Ring {
        self.cell().idle().expect("one pipe, empty until it is filled")
    }

    /// The pipe without the cell.
    pub(crate) fn into_pipe(self) -> Option<PooledPipe> {
        Arc::into_inner(self.cell)?.into_pipes().next()
    }

    /// The range of what has been put into the pipe by now.
    #[inline]
    pub(crate) fn filled(mut self, origin: End, stability: Stability, source: Option<FileExtent>) -> PipeRange {
        let cell = self.cell();
        cell.origin = origin;
        cell.stability = stability;
        cell.source = source;
        let state = cell.state();
        state.looks.clear();
        let mut end = 0;
        for part in &mut state.parts {
            part.start = 0;
            part.tees = 0;
            end = part.len();
        }
        PipeRange {
            cell: self.cell,
            start: 0,
            end,
        }
    }
}

/// A range of a cell: what a segment holds.
#[derive(Clone, Debug)]
pub(crate) struct PipeRange {
    pub(crate) cell: Arc<PipeCell>,
    start: u64,
    end: u64,
}

impl PipeRange {
    /// The first `len` bytes of a new cell.
    pub(crate) fn new(cell: PipeCell, len: u64) -> Self {
        Self {
            cell: Arc::new(cell),
            start: 0,
            end: len,
        }
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn len(&self) -> u64 {
        self.end - self.start
    }

    pub(crate) fn origin(&self) -> End {
        self.cell.origin
    }

    pub(crate) fn stability(&self) -> Stability {
        self.cell.stability
    }

    /// The part of a file that these bytes came from, where that is known.
    pub(crate) fn source(&self) -> Option<FileExtent> {
        self.cell
            .source
            .as_ref()
            .map(|source| source.part(self.start, self.end))
    }

    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        let crooked = planted_off_by_one(start, end);
        Self {
            cell: Arc::clone(&self.cell),
            start: self.start + start + crooked,
            end: self.start + end,
        }
    }

    pub(crate) fn advance(&mut self, n: u64) {
        self.start += n;
    }

    pub(crate) fn truncate(&mut self, n: u64) {
        self.end = self.start + n;
    }

    /// `n` bytes have been put behind the last one.
    pub(crate) fn extend(&mut self, n: u64) {
        self.end += n;
    }
}

/// For the test of the tests only: an error in the middle of a segment, which they must find.
#[cfg(feature = "__fault")]
fn planted_off_by_one(start: u64, end: u64) -> u64 {
    if start > 0 && start < end {
        crate::sys::fault::planted()
    } else {
        0
    }
}

#[cfg(not(feature = "__fault"))]
const fn planted_off_by_one(_: u64, _: u64) -> u64 {
    0
}
