//! Rows of the pipes.

use super::flows::{SortKey, title};
use super::{Filtered, RowData, RowQuery, Rows, key};
use crate::viewer::state::{Snapshot, View};

/// Returns the matching pipes; all of them if the filter tests fields that pipes do not have.
pub(super) fn rows(query: &RowQuery<'_>, now: &Snapshot) -> Rows {
    let mut filtered = query
        .filter
        .field_missing_for_pipes()
        .map_or_else(Filtered::default, Filtered::NotApplicable);
    let title = title(View::Pipes, query.sort.column);
    let rows = now
        .report
        .pipes
        .iter()
        .enumerate()
        .filter(|(_, pipe)| filtered.admits(query.filter.match_pipe(pipe), 1))
        .map(|(index, pipe)| {
            let part = (u64::from(pipe.used_slots) << 32)
                .checked_div(pipe.slots.into())
                .unwrap_or(0);
            let sort_key = match title {
                "pipe" => SortKey::Number(pipe.inode),
                "process" => SortKey::Text(pipe.processes.join(" ")),
                "used" => SortKey::Number(pipe.used_slots.into()),
                "peak" => SortKey::Number(pipe.max_used_slots.into()),
                "bytes" => SortKey::Number(pipe.bytes.unwrap_or(0)),
                "calls" => SortKey::Number(pipe.calls),
                "resized" => SortKey::Number(pipe.resizes.into()),
                "idle" => SortKey::Number(pipe.idle_ns),
                _ => SortKey::Number(part),
            };
            (sort_key, key::of_pipe(pipe), index as u32)
        })
        .collect();
    let (keys, rows) = Rows::sort(rows, query.sort.descending);
    Rows {
        keys,
        body: RowData::Pipes(rows),
        filtered,
    }
}
