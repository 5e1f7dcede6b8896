//! Where one is in a view, and how it is sorted.

use super::View;
use crate::viewer::rows::{self, RowKey};

/// By which column, and which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sort {
    /// Position in [`rows::columns`] of the view.
    pub(crate) column: usize,
    /// Large values first.
    pub(crate) descending: bool,
}

/// Cursor, scroll and sort of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TableState {
    /// The row that is picked, from 0.
    pub(crate) cursor: usize,
    /// The first row that is visible.
    pub(crate) scroll: usize,
    /// Columns of the screen that wide contents are moved to the left by.
    pub(crate) h_scroll: u16,
    /// The order.
    pub(crate) sort: Sort,
    /// Which row the cursor stays on.
    pub(super) anchor: Option<RowKey>,
}

impl TableState {
    /// At the top, sorted by what [`rows::default_sort`] says.
    pub(super) fn new(view: View) -> Self {
        Self {
            cursor: 0,
            scroll: 0,
            h_scroll: 0,
            sort: rows::default_sort(view),
            anchor: None,
        }
    }
}
