//! Cursor, scroll position and sort order of a view.

use super::View;
use crate::viewer::rows::{self, RowKey};

/// Sort column and direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sort {
    /// Index into [`rows::columns`] of the view.
    pub(crate) column: usize,
    /// Descending order.
    pub(crate) descending: bool,
}

/// Cursor, scroll position and sort order of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TableState {
    /// Selected row, from 0.
    pub(crate) cursor: usize,
    /// First visible row.
    pub(crate) scroll: usize,
    /// Columns by which wide content is scrolled to the left.
    pub(crate) h_scroll: u16,
    /// Sort order.
    pub(crate) sort: Sort,
    /// Key of the row that the cursor stays on.
    pub(super) anchor: Option<RowKey>,
}

impl TableState {
    /// Returns the initial state: at the top, sorted by [`rows::default_sort`].
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
