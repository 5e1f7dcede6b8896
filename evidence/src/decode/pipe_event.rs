//! Events of processes that concern a pipe.

use zctrace_records::{ProcessEvent, process_event_kind};

/// How often a pipe was opened since it was made, plus one, each modulo 2^16.
///
/// Every pipe starts with one of each (fs/pipe.c: `alloc_pipe_info()`), and each open of a FIFO
/// adds one (`fifo_open()`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Opens {
    pub(crate) reads: u16,
    pub(crate) writes: u16,
}

impl Opens {
    /// Returns the counts after these opens of a new FIFO.
    pub(crate) fn of_new_pipe(self) -> Self {
        Self {
            reads: self.reads.wrapping_add(1),
            writes: self.writes.wrapping_add(1),
        }
    }

    /// Decodes the counts: for reading in the lower half, for writing in the upper.
    pub(crate) fn of(word: u32) -> Self {
        Self {
            reads: word as u16,
            writes: (word >> 16) as u16,
        }
    }

    /// Returns whether these counts can be later ones of the pipe that had `earlier`.
    pub(crate) fn follow(self, earlier: Self) -> bool {
        let ahead = |now: u16, then: u16| now.wrapping_sub(then) < 1 << 15;
        ahead(self.reads, earlier.reads) && ahead(self.writes, earlier.writes)
    }
}

/// An open(2) of a FIFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opened {
    /// Counts after it.
    pub(crate) opens: Opens,
    /// Modes of the open: for reading, and for writing.
    pub(crate) reads: bool,
    pub(crate) writes: bool,
}

/// Event of a process that concerns a pipe, named by the address of its `pipe_inode_info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PipeEvent {
    /// The pipe was resized.
    Resized { pipe: u64 },
    /// A FIFO was opened.
    Opened { pipe: u64, opens: Opened },
}

impl PipeEvent {
    /// Decodes an event; `None` if it concerns no pipe.
    pub(crate) fn of(event: &ProcessEvent) -> Option<Self> {
        let pipe = event.detail;
        match event.event & !process_event_kind::FIFO_MODE {
            process_event_kind::PIPE_RESIZED => Some(Self::Resized { pipe }),
            process_event_kind::FIFO_OPENED => Some(Self::Opened {
                pipe,
                opens: Opened {
                    opens: Opens::of(event.child),
                    reads: event.event & 1 << 8 != 0,
                    writes: event.event & 2 << 8 != 0,
                },
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_another_pipe_do_not_follow() {
        let opens = |reads, writes| Opens { reads, writes };
        assert!(opens(1, 1).follow(opens(1, 1)) && opens(2, 1).follow(opens(1, 1)));
        assert!(!opens(1, 1).follow(opens(2, 1)) && !opens(3, 0).follow(opens(2, 1)));
        assert!(opens(2, 0).follow(opens(u16::MAX, 0)), "they wrap");
    }
}
