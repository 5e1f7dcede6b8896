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
pub(crate) struct Table {
    /// The row that is picked, from 0.
    pub(crate) cursor: usize,
    /// The first row that is visible.
    pub(crate) scroll: usize,
    /// Columns of the screen that wide contents are moved to the left by.
    pub(crate) aside: u16,
    /// The order.
    pub(crate) sort: Sort,
    /// Which row the cursor stays on.
    pub(super) on: Option<RowKey>,
}

impl Table {
    /// At the top, sorted by what [`rows::first_sort`] says.
    pub(super) fn of(view: View) -> Self {
        Self {
            cursor: 0,
            scroll: 0,
            aside: 0,
            sort: rows::first_sort(view),
            on: None,
        }
    }
}
