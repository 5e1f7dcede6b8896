//! Rows of each view, derived from a report: filtered, sorted, with keys that persist across
//! snapshots.
//!
//! [`derive()`] runs when a snapshot arrives, or when view, sort or filter change; never while
//! drawing. The content of a row is read from the report when it is drawn, so that only visible
//! rows become text. Rows that are sums over flows (map, processes, reasons) hold their sums.

mod columns;
mod events;
mod flows;
mod key;
mod log;
mod map;
mod pipes;
mod processes;
mod reasons;
mod segments;

pub(crate) use self::columns::{Align, Column, columns, default_sort};
pub(crate) use self::events::events;
pub(crate) use self::flows::rate;
pub(crate) use self::key::{FlowKeys, RowKey};
pub(crate) use self::log::LogRow;
pub(crate) use self::map::{MapRow, intermediate_kinds};
pub(crate) use self::processes::ProcessRow;
pub(crate) use self::reasons::{ASSUMED_COPY_RATE, ReasonRow, copy_time_ns};
pub(crate) use self::segments::SegmentRow;

use zctrace_report::Flow;

use super::state::{Log, Snapshot, Sort, View};
use crate::filter::{Filter, Match};

/// Inputs of `derive`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowQuery<'a> {
    /// The view.
    pub(crate) view: View,
    /// The report.
    pub(crate) now: Option<&'a Snapshot>,
    /// The previous report, for rates.
    pub(crate) before: Option<&'a Snapshot>,
    /// The lines of the log view.
    pub(crate) log: &'a Log,
    /// The sort order.
    pub(crate) sort: Sort,
    /// The filter.
    pub(crate) filter: &'a Filter,
}

/// The rows of one view.
#[derive(Clone, Default, Debug)]
pub(crate) struct Rows {
    keys: Vec<RowKey>,
    body: RowData,
    /// Effect of the filter on them.
    filtered: Filtered,
}

/// Effect of a filter on the rows of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filtered {
    /// Rows are hidden: flows where rows are flows or sums of flows, otherwise rows. For some of
    /// them the match is undecidable.
    Hidden {
        /// Number of hidden ones, including the undecidable ones.
        count: u64,
        /// Number of undecidable ones among them.
        undecided: u64,
    },
    /// The filter tests a field that these rows do not have, and hides nothing.
    NotApplicable(&'static str),
}

impl Default for Filtered {
    fn default() -> Self {
        Self::Hidden { count: 0, undecided: 0 }
    }
}

impl Filtered {
    /// Records the match of an item that counts this many times, and returns whether it is shown.
    fn admits(&mut self, result: Match, many: u64) -> bool {
        let Self::Hidden { count, undecided } = self else {
            return true;
        };
        if result == Match::Yes {
            return true;
        }
        *count = count.saturating_add(many);
        *undecided = undecided.saturating_add(if result == Match::Unknown { many } else { 0 });
        false
    }
}

/// Content of the rows.
#[derive(Clone, Default, Debug)]
pub(crate) enum RowData {
    /// No rows.
    #[default]
    Nothing,
    /// Sums over flows with similar endpoints.
    Map(Vec<MapRow>),
    /// Indices into the report's list.
    Flows(Vec<u32>),
    /// Sums over the flows of a process.
    Processes(Vec<ProcessRow>),
    /// Indices into the report's list.
    Pipes(Vec<u32>),
    /// Sums over the reasons of a code.
    Reasons(Vec<ReasonRow>),
    /// Segments, then peeks.
    Segments(Vec<SegmentRow>),
    /// Lines.
    Log(Vec<LogRow>),
}

impl Rows {
    /// Returns the number of rows.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the key at a position.
    pub(crate) fn key(&self, row: usize) -> Option<RowKey> {
        self.keys.get(row).copied()
    }

    /// Returns the position of a key.
    pub(crate) fn position(&self, key: RowKey) -> Option<usize> {
        self.keys.iter().position(|&other| other == key)
    }

    /// Returns the content.
    pub(crate) fn body(&self) -> &RowData {
        &self.body
    }

    /// Returns the effect of the filter.
    pub(crate) fn filtered(&self) -> Filtered {
        self.filtered
    }

    /// Sorts rows, each with its key and its sort value.
    fn sort<T, K: Ord>(mut rows: Vec<(K, RowKey, T)>, descending: bool) -> (Vec<RowKey>, Vec<T>) {
        // Rows that are equal in this column keep a fixed order, so that they do not jump.
        rows.sort_unstable_by(|(a, a_key, _), (b, b_key, _)| {
            let order = a.cmp(b);
            let order = if descending { order.reverse() } else { order };
            order.then(a_key.0.cmp(&b_key.0))
        });
        rows.into_iter().map(|(_, key, row)| (key, row)).unzip()
    }
}

/// Derives the rows of a view.
pub(crate) fn derive(query: &RowQuery<'_>) -> Rows {
    if query.view == View::Log {
        return log::rows(query);
    }
    let Some(now) = query.now else {
        return Rows::default();
    };
    match query.view {
        View::Map => map::rows(query, now),
        View::Flows => flows::rows(query, now),
        View::Processes => processes::rows(query, now),
        View::Pipes => pipes::rows(query, now),
        View::Reasons => reasons::rows(query, now),
        View::Segments => segments::rows(query, now),
        View::Log => Rows::default(),
    }
}

/// Returns the index of a row's subject in its list of the report (`flows` for map and flows,
/// `processes`, …), if it still exists. For the map, the largest flow of the row; for a reason, 0.
pub(crate) fn find(view: View, snapshot: &Snapshot, key: RowKey) -> Option<usize> {
    let report = &*snapshot.report;
    match view {
        View::Map => map::find(snapshot, key),
        View::Flows => snapshot.keys.position(key),
        View::Processes => report
            .processes
            .iter()
            .position(|process| key::of_pid(process.pid) == key),
        View::Pipes => report.pipes.iter().position(|pipe| key::of_pipe(pipe) == key),
        View::Reasons => reasons::code(report, key).map(|_| 0),
        View::Segments => segments::find(report, key),
        View::Log => Some(0),
    }
}

/// Returns the matching flows with their indices.
fn matching_flows<'a>(query: &RowQuery<'_>, flows: &'a [Flow]) -> (Vec<(u32, &'a Flow)>, Filtered) {
    let all = flows.iter().enumerate().map(|(index, flow)| (index as u32, flow));
    let mut filtered = Filtered::default();
    if query.filter.is_empty() {
        return (all.collect(), filtered);
    }
    let fit = all.filter(|(_, flow)| filtered.admits(query.filter.matches(flow), flow.folded));
    (fit.collect(), filtered)
}

/// Returns the flows of a row of the map.
pub(crate) fn members(snapshot: &Snapshot, key: RowKey) -> impl Iterator<Item = &Flow> {
    map::members(snapshot, key).map(|index| &snapshot.report.flows[index])
}

/// Returns the code of a row of the reasons.
pub(crate) fn code_of(snapshot: &Snapshot, key: RowKey) -> Option<String> {
    reasons::code(&snapshot.report, key).map(str::to_owned)
}
