//! The rows of each view, derived from a report: filtered, sorted, with an identity that lasts from snapshot to snapshot.
//!
//! [`derive`] is called when a snapshot comes or view, sort or filter change; never while drawing.

use super::state::{Log, Snapshot, Sort, View};
use crate::filter::Filter;

/// Which row it is, in every snapshot: numbers of flows change when new ones come, so this is a hash of what the row is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct RowKey(pub(crate) u64);

/// A column of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Column {
    /// What stands above it.
    pub(crate) title: &'static str,
    /// Whether large values are wanted first, when it is sorted by for the first time.
    pub(crate) descending: bool,
}

/// The columns of a view, in their order on the screen. [`Sort::column`] is a position in it. Empty if it cannot be sorted.
pub(crate) fn columns(_: View) -> &'static [Column] {
    &[]
}

/// What `derive` needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// Which rows.
    pub(crate) view: View,
    /// Of this.
    pub(crate) now: Option<&'a Snapshot>,
    /// And rates against this.
    pub(crate) before: Option<&'a Snapshot>,
    /// The lines of the log view.
    pub(crate) log: &'a Log,
    /// In this order.
    pub(crate) sort: Sort,
    /// Only these.
    pub(crate) filter: &'a Filter,
}

/// The rows of one view.
#[derive(Clone, Default, Debug)]
pub(crate) struct Rows {
    keys: Vec<RowKey>,
}

impl Rows {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Which one stands there.
    pub(crate) fn key(&self, row: usize) -> Option<RowKey> {
        self.keys.get(row).copied()
    }

    /// Where this one stands.
    pub(crate) fn position(&self, key: RowKey) -> Option<usize> {
        self.keys.iter().position(|&other| other == key)
    }
}

/// The rows of a view.
pub(crate) fn derive(question: &Question<'_>) -> Rows {
    let _ = (
        question.view,
        question.now,
        question.before,
        question.log,
        question.sort,
        question.filter,
    );
    Rows::default()
}

/// Where in its list of the report (`flows` for Map and Flows, `processes`, …) the thing of this row is, if it is still there.
pub(crate) fn find(_view: View, _snapshot: &Snapshot, _key: RowKey) -> Option<usize> {
    None
}

/// How a view is sorted before anybody chooses.
pub(crate) fn first_sort(_: View) -> Sort {
    Sort {
        column: 0,
        descending: true,
    }
}
