//! The rows of each view, derived from a report: filtered, sorted, with an identity that lasts from snapshot to snapshot.
//!
//! [`derive()`] is called when a snapshot comes or view, sort or filter change; never while drawing. What a row shows is looked
//! up in the report when it is drawn, so that only what is visible is made into text; rows that are sums over flows (of the
//! map, processes and reasons) hold their sums.

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

/// What `derive` needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowQuery<'a> {
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
    body: RowData,
    /// What the filter does to them.
    filtered: Filtered,
}

/// What a filter does to the rows of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filtered {
    /// It hides so many: flows where rows are flows or made of them, else rows. Of some of them it cannot be told whether they fit.
    Hidden {
        /// How many do not fit, or may not.
        count: u64,
        /// Of these: how many may fit.
        undecided: u64,
    },
    /// It asks for a field that is not there, and hides nothing.
    NotApplicable(&'static str),
}

impl Default for Filtered {
    fn default() -> Self {
        Self::Hidden { count: 0, undecided: 0 }
    }
}

impl Filtered {
    /// Takes down whether something fits, that stands for so many, and says whether it is shown.
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

/// What the rows are.
#[derive(Clone, Default, Debug)]
pub(crate) enum RowData {
    /// None.
    #[default]
    Nothing,
    /// Sums over flows with like ends.
    Map(Vec<MapRow>),
    /// Places in the report's list.
    Flows(Vec<u32>),
    /// Sums over flows of a process.
    Processes(Vec<ProcessRow>),
    /// Places in the report's list.
    Pipes(Vec<u32>),
    /// Sums over reasons of a code.
    Reasons(Vec<ReasonRow>),
    /// Segments, then looks.
    Segments(Vec<SegmentRow>),
    /// Lines.
    Log(Vec<LogRow>),
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

    /// What they are.
    pub(crate) fn body(&self) -> &RowData {
        &self.body
    }

    /// What the filter does to them.
    pub(crate) fn filtered(&self) -> Filtered {
        self.filtered
    }

    /// Puts rows into an order, each with its key and what it is sorted by.
    fn sort<T, K: Ord>(mut rows: Vec<(K, RowKey, T)>, descending: bool) -> (Vec<RowKey>, Vec<T>) {
        // Rows that are the same by this column keep an order of their own, so that they do not jump about.
        rows.sort_unstable_by(|(a, a_key, _), (b, b_key, _)| {
            let order = a.cmp(b);
            let order = if descending { order.reverse() } else { order };
            order.then(a_key.0.cmp(&b_key.0))
        });
        rows.into_iter().map(|(_, key, row)| (key, row)).unzip()
    }
}

/// The rows of a view.
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

/// Where in its list of the report (`flows` for Map and Flows, `processes`, …) the thing of this row is, if it is still there.
/// Of the map it is the largest flow of the row; of a reason, 0.
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

/// The flows that fit, with their places.
fn matching_flows<'a>(query: &RowQuery<'_>, flows: &'a [Flow]) -> (Vec<(u32, &'a Flow)>, Filtered) {
    let all = flows.iter().enumerate().map(|(index, flow)| (index as u32, flow));
    let mut filtered = Filtered::default();
    if query.filter.is_empty() {
        return (all.collect(), filtered);
    }
    let fit = all.filter(|(_, flow)| filtered.admits(query.filter.matches(flow), flow.folded));
    (fit.collect(), filtered)
}

/// The flows of a row of the map.
pub(crate) fn members(snapshot: &Snapshot, key: RowKey) -> impl Iterator<Item = &Flow> {
    map::members(snapshot, key).map(|index| &snapshot.report.flows[index])
}

/// The code behind a row of the reasons.
pub(crate) fn code_of(snapshot: &Snapshot, key: RowKey) -> Option<String> {
    reasons::code(&snapshot.report, key).map(str::to_owned)
}
