//! A pipe with its ledger.

use super::dev_null::dev_null;
use super::ledger::{Ledger, SlotLayout};
use crate::fork_generation;
use crate::journal::{self, EntryTemplate, Operation};
use crate::sys::{self, Sys};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Pipe whose descriptors no other code has. Its ledger is therefore exact, and a call on it never
/// blocks.
#[derive(Debug)]
pub(crate) struct OwnedPipe {
    read: OwnedFd,
    write: OwnedFd,
    slots: u64,
    generation: u32,
    pub(crate) ledger: Ledger,
    /// Bytes ever put in, which is the position of the next byte in the pipe's stream.
    bytes_put: u64,
    /// Inode number of the pipe; 0 until the journal asks for it.
    inode: AtomicU64,
}

impl OwnedPipe {
    /// Creates a pipe of the system's default size (16 slots; two if the user's quota of pipe pages
    /// is used up, pipe(7)).
    pub(crate) fn new() -> Sys<Self> {
        let (read, write) = sys::pipe()?;
        journal::on_pipe_created();
        let bytes = sys::pipe_size(write.as_fd())?;
        let page = sys::page_size();
        Ok(Self {
            read,
            write,
            slots: (bytes / page) as u64,
            generation: fork_generation::generation(),
            ledger: Ledger::new(page as u64),
            bytes_put: 0,
            inode: AtomicU64::new(0),
        })
    }

    /// Returns the number of slots.
    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }

    /// Grows the pipe to `slots` slots. Must be called on an empty pipe only, because a resize
    /// moves its contents.
    ///
    /// If the size is not available (`/proc/sys/fs/pipe-max-size`, the user's quota), the pipe
    /// keeps its size. That is not an error.
    pub(crate) fn grow(&mut self, slots: u64) {
        debug_assert!(self.ledger.is_empty());
        if slots <= self.slots {
            return;
        }
        let page = sys::page_size();
        // The kernel rounds up to a power of two of pages, and returns the new size (`fs/pipe.c`:
        // `round_pipe_size()`).
        if let Ok(bytes) = sys::set_pipe_size(self.write.as_fd(), slots as usize * page) {
            self.slots = (bytes / page) as u64;
        }
    }

    /// Returns whether this process created the pipe.
    pub(crate) fn is_from_this_process(&self) -> bool {
        self.generation == fork_generation::generation()
    }

    /// Returns the number of slots that are certainly free.
    pub(crate) fn free_slots(&self) -> u64 {
        self.slots.saturating_sub(self.ledger.slots().at_most)
    }

    /// Returns whether a byte can be put in. Uses the ledger if it is conclusive, and otherwise
    /// asks the kernel (`POLLOUT` is set while a slot is free; `fs/pipe.c`: `pipe_poll()`).
    pub(crate) fn has_free_slot(&self) -> bool {
        let used = self.ledger.slots();
        if used.at_most < self.slots {
            return true;
        }
        used.at_least < self.slots
            && sys::wait(self.write.as_fd(), sys::Wait::Out, Some(Duration::ZERO)).unwrap_or(false)
    }

    #[inline]
    pub(crate) fn reader(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    #[inline]
    pub(crate) fn writer(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }

    /// Records `bytes` that a call has put in.
    #[inline]
    pub(crate) fn record_fill(&mut self, bytes: u64, layout: SlotLayout) {
        let free = self.free_slots();
        self.bytes_put += bytes;
        self.ledger
            .fill(bytes, layout, if free == 0 { self.slots } else { free });
    }

    /// Records `bytes` that a call has taken out.
    #[inline]
    pub(crate) fn record_drain(&mut self, bytes: u64) {
        self.ledger.drain(bytes);
    }

    /// Writes a journal entry for the `bytes` that were put in last, if the journal is watched.
    #[inline]
    pub(crate) fn journal_put(&self, bytes: u64, template: &EntryTemplate) {
        if journal::watched() {
            self.write_entry(template, bytes, self.bytes_put - bytes);
        }
    }

    /// Writes a journal entry for the `bytes` that were taken out last, if the journal is watched.
    #[inline]
    pub(crate) fn journal_taken(&self, bytes: u64, template: &EntryTemplate) {
        if journal::watched() {
            self.write_entry(template, bytes, self.bytes_put - self.ledger.bytes() - bytes);
        }
    }

    #[cold]
    fn write_entry(&self, template: &EntryTemplate, bytes: u64, stream: u64) {
        let mut inode = self.inode.load(Relaxed);
        if inode == 0 {
            inode = sys::stat(self.read.as_fd()).map_or(0, |stat| stat.st_ino);
            self.inode.store(inode, Relaxed);
        }
        journal::write(template, bytes, inode, stream);
    }

    /// Returns whether the pipe can be reused: empty by the ledger, and the kernel agrees.
    pub(crate) fn is_clean(&self) -> bool {
        self.ledger.is_empty() && self.is_from_this_process() && sys::bytes_readable(self.read.as_fd()) == Ok(0)
    }

    /// Discards the first `n` bytes: to `/dev/null` without a copy or, where that is refused, by
    /// reading them.
    pub(crate) fn discard(&mut self, n: u64, template: &EntryTemplate) -> Sys<()> {
        let mut left = n;
        let mut scratch = Vec::new();
        while left > 0 {
            let len = left.min(sys::MAX_COUNT as u64) as usize;
            let discarded = match dev_null() {
                Some(dev_null) => sys::splice(self.reader(), None, dev_null, None, len, false),
                None => Err(Errno::NOENT),
            };
            let discarded = if let Ok(discarded) = discarded {
                discarded
            } else {
                scratch.clear();
                sys::read(self.reader(), &mut scratch, len.min(64 * 1024))?
            };
            if discarded == 0 {
                // This process holds the write end, so a pipe that is not empty by the ledger
                // cannot be at its end.
                return Err(Errno::IO);
            }
            self.record_drain(discarded as u64);
            self.journal_taken(discarded as u64, &template.advanced_by(n - left));
            left -= discarded as u64;
        }
        Ok(())
    }

    /// Tees the first `n` bytes of `from`, which keeps them, into this pipe, and returns how many
    /// were tee'd.
    ///
    /// This pipe must be empty. tee(2) always begins at the head of the source, so a second call
    /// would duplicate the first bytes.
    pub(crate) fn tee_from(&mut self, from: &Self, n: u64, template: &EntryTemplate) -> Sys<u64> {
        debug_assert!(self.ledger.is_empty());
        let got = sys::tee(from.reader(), self.writer(), n as usize)? as u64;
        self.ledger = from.ledger.prefix(got);
        self.bytes_put += got;
        self.journal_put(got, template);
        Ok(got)
    }

    /// Moves the first `n` bytes of `from` into this pipe by reference, and returns how many were
    /// moved.
    pub(crate) fn move_from(&mut self, from: &mut Self, n: u64, template: &EntryTemplate) -> Sys<u64> {
        debug_assert!(self.ledger.is_empty());
        let got = sys::splice(from.reader(), None, self.writer(), None, n as usize, false)? as u64;
        self.ledger = from.ledger.prefix(got);
        self.bytes_put += got;
        from.record_drain(got);
        let half = |operation| EntryTemplate { operation, ..*template };
        from.journal_taken(got, &half(Operation::SplitOut));
        self.journal_put(got, &half(Operation::SplitIn));
        Ok(got)
    }

    /// Reads `n` bytes and appends them to `into`. If the kernel refuses, the bytes read before are
    /// in `into` and no longer in the pipe.
    pub(crate) fn read(&mut self, into: &mut Vec<u8>, n: u64, template: &EntryTemplate) -> Sys<()> {
        let mut left = n;
        while left > 0 {
            let got = sys::read(self.reader(), into, left as usize)? as u64;
            if got == 0 {
                return Err(Errno::IO);
            }
            self.record_drain(got);
            self.journal_taken(got, &template.advanced_by(n - left));
            left -= got;
        }
        Ok(())
    }
}
