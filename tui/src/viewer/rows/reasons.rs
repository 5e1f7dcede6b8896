//! Rows of the reasons: one per code, with the bytes that it explains and their estimated cost.

use std::collections::{BTreeMap, HashSet};

use zctrace_contract::reason::Class;
use zctrace_report::{ReasonCode, Report};

use super::flows::{SortKey, title};
use super::{RowData, RowKey, RowQuery, Rows, key, matching_flows};
use crate::viewer::state::{Snapshot, View};

/// Assumed copy rate of one CPU in bytes per second where none was measured: typical of servers of
/// the last ten years for data that is not in the cache. Every estimate that rests on it says so.
pub(crate) const ASSUMED_COPY_RATE: u64 = 4 << 30;

/// A reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReasonRow {
    /// Code.
    pub(crate) code: ReasonCode,
    /// Bytes that the reason explains; a byte that was copied twice counts twice.
    pub(crate) bytes: u64,
    /// Calls that the reason explains; 0 if they were not counted.
    pub(crate) calls: u64,
}

impl ReasonRow {
    /// Returns whether the reason explains copies. Unknown bytes have no cost.
    pub(crate) fn is_copy(&self) -> bool {
        self.code.class() == Some(Class::Copy)
    }
}

/// Estimates the CPU time of copying this many bytes, in nanoseconds, from the measured rate or the
/// assumed one.
pub(crate) fn copy_time_ns(report: &Report, bytes: u64) -> u64 {
    let rate = report
        .overhead
        .copy_bytes_per_second
        .filter(|&rate| rate > 0)
        .unwrap_or(ASSUMED_COPY_RATE);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX)
}

pub(super) fn rows(query: &RowQuery<'_>, now: &Snapshot) -> Rows {
    let report = &now.report;
    let (flows, filtered) = matching_flows(query, &report.flows);
    let mut sums: BTreeMap<&ReasonCode, (u64, u64)> = BTreeMap::new();
    let mut add = |code, bytes: u64, calls: u64| {
        let sum: &mut (u64, u64) = sums.entry(code).or_default();
        *sum = (sum.0.saturating_add(bytes), sum.1.saturating_add(calls));
    };
    for cause in flows.iter().flat_map(|(_, flow)| &flow.reasons) {
        add(&cause.code, cause.bytes, cause.calls);
    }
    let all = query.filter.is_empty();
    let ids: HashSet<u64> = flows.iter().filter(|_| !all).map(|(_, flow)| flow.id).collect();
    for look in &report.peeks {
        if all || look.flow.is_some_and(|flow| ids.contains(&flow)) {
            add(&look.code, look.bytes, look.calls);
        }
    }
    let title = title(View::Reasons, query.sort.column);
    let rows = sums
        .into_iter()
        .map(|(code, (bytes, calls))| {
            let row = ReasonRow {
                code: code.clone(),
                bytes,
                calls,
            };
            let sort_key = match title {
                "bytes" => SortKey::Number(bytes),
                "calls" => SortKey::Number(calls),
                "~ CPU" => SortKey::Number(if row.is_copy() { bytes } else { 0 }),
                _ => SortKey::Text(code.as_str().to_owned()),
            };
            (sort_key, of(code), row)
        })
        .collect();
    let (keys, rows) = Rows::sort(rows, query.sort.descending);
    Rows {
        keys,
        body: RowData::Reasons(rows),
        filtered,
    }
}

fn of(code: &ReasonCode) -> RowKey {
    key::hash_key(("reason", code))
}

/// Returns the code of a row, if the report still has it.
pub(super) fn code(report: &Report, row: RowKey) -> Option<&str> {
    let of_flows = report
        .flows
        .iter()
        .flat_map(|flow| &flow.reasons)
        .map(|cause| &cause.code);
    let of_looks = report.peeks.iter().map(|look| &look.code);
    of_flows
        .chain(of_looks)
        .find(|code| of(code) == row)
        .map(ReasonCode::as_str)
}
