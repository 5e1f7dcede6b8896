//! Ranges of cells, which segments hold.

use super::PipeCell;
use crate::endpoint::kind::Endpoint;
use crate::segment::{FileExtent, Stability};
use std::sync::Arc;

/// Range of a cell: the contents of a pipe segment.
#[derive(Clone, Debug)]
pub(crate) struct PipeRange {
    pub(crate) cell: Arc<PipeCell>,
    start: u64,
    end: u64,
}

impl PipeRange {
    /// Returns the range of the first `len` bytes of a new cell.
    pub(crate) fn new(cell: PipeCell, len: u64) -> Self {
        Self::from_shared(Arc::new(cell), len)
    }

    /// Returns the range of the first `len` bytes of a cell.
    pub(super) fn from_shared(cell: Arc<PipeCell>, len: u64) -> Self {
        Self {
            cell,
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

    pub(crate) fn origin(&self) -> Endpoint {
        self.cell.origin
    }

    pub(crate) fn stability(&self) -> Stability {
        self.cell.stability
    }

    /// Returns the file extent that the bytes came from, if it is known.
    pub(crate) fn source(&self) -> Option<FileExtent> {
        self.cell
            .source
            .as_ref()
            .map(|source| source.part(self.start, self.end))
    }

    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        let offset = injected_off_by_one(start, end);
        Self {
            cell: Arc::clone(&self.cell),
            start: self.start + start + offset,
            end: self.start + end,
        }
    }

    pub(crate) fn advance(&mut self, n: u64) {
        self.start += n;
    }

    pub(crate) fn truncate(&mut self, n: u64) {
        self.end = self.start + n;
    }

    /// Extends the range by `n` bytes that have been put behind its last one.
    pub(crate) fn extend(&mut self, n: u64) {
        self.end += n;
    }
}

/// Returns the off-by-one that a test injects into the splitting of segments, to show that the
/// property test finds it.
#[cfg(feature = "__fault")]
fn injected_off_by_one(start: u64, end: u64) -> u64 {
    if start > 0 && start < end {
        crate::sys::fault::injected_off_by_one()
    } else {
        0
    }
}

#[cfg(not(feature = "__fault"))]
const fn injected_off_by_one(_: u64, _: u64) -> u64 {
    0
}
