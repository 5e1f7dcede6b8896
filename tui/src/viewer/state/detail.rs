//! Detail views, opened with Enter.

use super::View;
use crate::viewer::rows::RowKey;

/// A detail view: the certificate of a flow, the flows of a process, a reason with its advice, and
/// so on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Detail {
    /// The view of its row, which determines the kind of the subject.
    pub(crate) view: View,
    /// Key of the row.
    pub(crate) key: RowKey,
    /// Index in its list of the snapshot ([`rows::find`](crate::viewer::rows::find)); `None` if it
    /// no longer exists.
    pub(crate) index: Option<usize>,
    /// Lines scrolled out above the screen.
    pub(crate) scroll: usize,
}
