//! Rows of the processes. With a filter they are sums over the matching flows.

use zctrace_report::Account;

use super::flows::{SortKey, title};
use super::key::{self, ByKey};
use super::map::copied_share;
use super::{Filtered, RowData, RowQuery, Rows, matching_flows};
use crate::viewer::state::{Snapshot, View};

/// A process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessRow {
    /// Process ID.
    pub(crate) pid: u32,
    /// Name.
    pub(crate) name: String,
    /// Bytes that it sent.
    pub(crate) payload: u64,
    /// Verdict over those bytes.
    pub(crate) account: Account,
    /// Bytes that it read into its memory.
    pub(crate) into_memory: u64,
    /// Calls that returned bytes.
    pub(crate) calls: u64,
}

pub(super) fn rows(query: &RowQuery<'_>, now: &Snapshot) -> Rows {
    let report = &now.report;
    let (rows, filtered) = if query.filter.is_empty() {
        let all = report.processes.iter().map(|process| ProcessRow {
            pid: process.pid,
            name: process.name.clone(),
            payload: process.payload,
            account: process.account.clone(),
            into_memory: process.into_memory,
            calls: process.calls,
        });
        (all.collect(), Filtered::default())
    } else {
        rows_of_matching_flows(query, now)
    };
    let title = title(View::Processes, query.sort.column);
    let rows = rows
        .into_iter()
        .map(|row| {
            let sort_key = match title {
                "pid" => SortKey::Number(row.pid.into()),
                "process" => SortKey::Text(row.name.clone()),
                "bytes" => SortKey::Number(row.payload),
                "moved" => SortKey::Number(row.account.moved),
                "copied" => SortKey::Number(row.account.copied),
                "unknown" => SortKey::Number(row.account.unknown),
                "to memory" => SortKey::Number(row.into_memory),
                "calls" => SortKey::Number(row.calls),
                _ => SortKey::Number(copied_share(&row.account)),
            };
            (sort_key, key::of_pid(row.pid), row)
        })
        .collect();
    let (keys, rows) = Rows::sort(rows, query.sort.descending);
    Rows {
        keys,
        body: RowData::Processes(rows),
        filtered,
    }
}

/// Returns a row for each process of the matching flows, with the totals of these flows.
fn rows_of_matching_flows(query: &RowQuery<'_>, now: &Snapshot) -> (Vec<ProcessRow>, Filtered) {
    let (flows, filtered) = matching_flows(query, &now.report.flows);
    let mut row_of_key: ByKey<usize> = ByKey::default();
    let mut rows: Vec<ProcessRow> = Vec::new();
    for (_, flow) in flows {
        let Some(pid) = flow.pid else { continue };
        let at = *row_of_key.entry(key::of_pid(pid)).or_insert(rows.len());
        if at == rows.len() {
            rows.push(ProcessRow {
                pid,
                name: flow.process.clone(),
                payload: 0,
                account: Account::default(),
                into_memory: 0,
                calls: 0,
            });
        }
        let row = &mut rows[at];
        row.calls = row.calls.saturating_add(flow.calls);
        if flow.ends_in_memory() {
            row.into_memory = row.into_memory.saturating_add(flow.payload);
        } else {
            row.payload = row.payload.saturating_add(flow.payload);
            row.account += &flow.account;
        }
    }
    (rows, filtered)
}
