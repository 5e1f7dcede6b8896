//! A cell without bytes, kept for reuse.

use super::{PipeCell, PipeRange};
use crate::endpoint::kind::Endpoint;
use crate::pipe::owned_pipe::OwnedPipe;
use crate::pipe::pool::{Pool, PooledPipe};
use crate::segment::{FileExtent, SegmentId, Stability};
use std::sync::Arc;

/// Cell with one empty pipe and no other holder. Bytes put into the pipe turn it into an ordinary
/// cell. A loop that fills and empties the same pipe reuses the cell as well, and so allocates
/// nothing.
#[derive(Debug)]
pub(crate) struct IdleCell {
    cell: Arc<PipeCell>,
    slots: u64,
}

impl IdleCell {
    /// Creates a cell around an empty pipe.
    pub(crate) fn new(pipe: PooledPipe, pool: &Pool) -> Self {
        debug_assert!(pipe.ledger.is_empty());
        let slots = pipe.slots();
        // The segment ID is assigned together with the bytes.
        let cell = PipeCell::new(
            (SegmentId::UNASSIGNED, 0),
            Endpoint::default(),
            Stability::Volatile,
            None,
            pipe,
            pool,
        );
        Self {
            cell: Arc::new(cell),
            slots,
        }
    }

    /// Reclaims the cell of a range that has been sent.
    ///
    /// Returns `None`, and drops the range, if the cell has another holder, consists of several
    /// pipes, or is memory.
    #[inline]
    pub(crate) fn reclaim(mut range: PipeRange) -> Option<Self> {
        let slots = Arc::get_mut(&mut range.cell)?.idle_pipe()?.slots();
        Some(Self {
            cell: range.cell,
            slots,
        })
    }

    fn cell(&mut self) -> &mut PipeCell {
        Arc::get_mut(&mut self.cell).expect("an idle cell has one holder")
    }

    /// Returns whether the pipe has `slots` slots and belongs to this process.
    pub(crate) fn has_capacity(&self, slots: u64) -> bool {
        self.slots >= slots && self.cell.is_from_this_process()
    }

    #[inline]
    pub(crate) fn pipe(&mut self) -> &mut OwnedPipe {
        self.cell().idle_pipe().expect("an idle cell has one empty pipe")
    }

    /// Returns the pipe and drops the cell.
    pub(crate) fn into_pipe(self) -> Option<PooledPipe> {
        Arc::into_inner(self.cell)?.into_pipes().next()
    }

    /// Turns the cell into the range of the bytes that have been put into its pipe.
    #[inline]
    pub(crate) fn into_range(
        mut self,
        id: SegmentId,
        origin: Endpoint,
        stability: Stability,
        source: Option<FileExtent>,
    ) -> PipeRange {
        let cell = self.cell();
        cell.segment = (id, 0);
        cell.origin = origin;
        cell.stability = stability;
        cell.source = source;
        let state = cell.state();
        state.cached_peeks.clear();
        let mut end = 0;
        for chunk in &mut state.chunks {
            chunk.start = 0;
            chunk.tee_count = 0;
            end = chunk.len();
        }
        PipeRange::from_shared(self.cell, end)
    }
}
