//! Rows of the flows, and their rates.

use std::time::Duration;

use zctrace_report::{Call, Flow};

use super::{RowData, RowKey, RowQuery, Rows, matching_flows};
use crate::viewer::state::{Snapshot, View};

/// Sort value of a row: a number or a text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum SortKey {
    Number(u64),
    Text(String),
}

pub(super) fn rows(query: &RowQuery<'_>, now: &Snapshot) -> Rows {
    let (flows, filtered) = matching_flows(query, &now.report.flows);
    let title = title(View::Flows, query.sort.column);
    let rate_of = |index: u32, flow: &Flow| rate(now, query.before, index as usize, flow).unwrap_or(0);
    let key = |index: u32| now.keys.key(index as usize).unwrap_or(RowKey(index.into()));
    let rows = flows
        .into_iter()
        .map(|(index, flow)| {
            let account = &flow.account;
            let sort_key = match title {
                "from" => SortKey::Text(flow.from.to_string()),
                "to" => SortKey::Text(flow.to.to_string()),
                "call" => SortKey::Text(flow.call_names.iter().map(Call::as_str).collect()),
                "process" => SortKey::Text(flow.process.clone()),
                "reason" => SortKey::Text(
                    flow.reasons
                        .first()
                        .map_or(String::new(), |cause| cause.code.as_str().to_owned()),
                ),
                "moved" => SortKey::Number(account.moved),
                "copied" => SortKey::Number(account.copied),
                "unknown" => SortKey::Number(account.unknown),
                "per s" => SortKey::Number(rate_of(index, flow)),
                _ => SortKey::Number(flow.payload),
            };
            (sort_key, key(index), index)
        })
        .collect();
    let (keys, flows) = Rows::sort(rows, query.sort.descending);
    Rows {
        keys,
        body: RowData::Flows(flows),
        filtered,
    }
}

/// Title of a column.
pub(super) fn title(view: View, column: usize) -> &'static str {
    super::columns(view).get(column).map_or("", |column| column.title)
}

/// Returns the bytes per second of a flow since the previous snapshot; `None` without one, or if
/// that snapshot does not contain the flow under this key.
pub(crate) fn rate(now: &Snapshot, before: Option<&Snapshot>, index: usize, flow: &Flow) -> Option<u64> {
    let before = before?;
    let key = now.keys.key(index)?;
    // A new flow started at zero.
    let had = before
        .keys
        .position(key)
        .and_then(|index| before.report.flows.get(index))
        .map_or(0, |flow| flow.payload);
    per_second(flow.payload.saturating_sub(had), now.at.checked_sub(before.at)?)
}

/// Computes bytes per second.
pub(super) fn per_second(bytes: u64, time: Duration) -> Option<u64> {
    let nanoseconds = time.as_nanos();
    let rate = (u128::from(bytes) * 1_000_000_000).checked_div(nanoseconds)?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}
