//! Rows of the log.

use std::time::Duration;

use super::{Filtered, RowData, RowQuery, Rows, key};
use crate::viewer::state::Level;

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogRow {
    /// Time since the viewer started.
    pub(crate) at: Duration,
    /// Severity.
    pub(crate) level: Level,
    /// Text, not yet sanitized for printing.
    pub(crate) text: String,
}

/// The newest line comes last.
pub(super) fn rows(query: &RowQuery<'_>) -> Rows {
    let mut filtered = query
        .filter
        .field_missing_for_log()
        .map_or_else(Filtered::default, Filtered::NotApplicable);
    let lines = query.log.lines();
    let (keys, rows) = lines
        .filter(|line| filtered.admits(query.filter.match_log_line(&line.text), 1))
        .map(|line| {
            let row = LogRow {
                at: line.at,
                level: line.level,
                text: line.text.clone(),
            };
            (key::hash_key(("log", line.number)), row)
        })
        .unzip();
    Rows {
        keys,
        body: RowData::Log(rows),
        filtered,
    }
}
