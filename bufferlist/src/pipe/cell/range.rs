//! What a segment holds of a cell.

use super::PipeCell;
use crate::endpoint::kind::Endpoint;
use crate::segment::{FileExtent, Stability};
use std::sync::Arc;

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
        Self::from_shared(Arc::new(cell), len)
    }

    /// The first `len` bytes of a cell.
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

    /// The part of a file that these bytes came from, where that is known.
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

    /// `n` bytes have been put behind the last one.
    pub(crate) fn extend(&mut self, n: u64) {
        self.end += n;
    }
}

/// For the test of the tests only: an error in the middle of a segment, which they must find.
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
