//! What was opened with Enter.

use super::View;
use crate::viewer::rows::RowKey;

/// One thing, in full: the certificate of a flow, the flows of a process, a reason with its advice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Detail {
    /// Of which view it is a row, which says what kind of thing it is.
    pub(crate) view: View,
    /// Which row.
    pub(crate) key: RowKey,
    /// Where it is in its list of the snapshot ([`rows::find`](crate::viewer::rows::find)); `None` if it is gone.
    pub(crate) index: Option<usize>,
    /// Lines of its text that are above the screen.
    pub(crate) scroll: usize,
}
