//! The rows of the flows, and how fast they are.

use std::time::Duration;

use zctrace_report::{Call, Flow};

use super::{Body, Question, RowKey, Rows, fitting};
use crate::viewer::state::{Snapshot, View};

/// A number or a text: what a row is sorted by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum By {
    Number(u64),
    Text(String),
}

pub(super) fn rows(question: &Question<'_>, now: &Snapshot) -> Rows {
    let (flows, filtered) = fitting(question, &now.report.flows);
    let title = title(View::Flows, question.sort.column);
    let rate_of = |index: u32, flow: &Flow| rate(now, question.before, index as usize, flow).unwrap_or(0);
    let key = |index: u32| now.keys.key(index as usize).unwrap_or(RowKey(index.into()));
    let rows = flows
        .into_iter()
        .map(|(index, flow)| {
            let account = &flow.account;
            let by = match title {
                "from" => By::Text(flow.from.to_string()),
                "to" => By::Text(flow.to.to_string()),
                "call" => By::Text(flow.call_names.iter().map(Call::as_str).collect()),
                "process" => By::Text(flow.process.clone()),
                "reason" => By::Text(
                    flow.reasons
                        .first()
                        .map_or(String::new(), |cause| cause.code.as_str().to_owned()),
                ),
                "moved" => By::Number(account.moved),
                "copied" => By::Number(account.copied),
                "unknown" => By::Number(account.unknown),
                "per s" => By::Number(rate_of(index, flow)),
                _ => By::Number(flow.payload),
            };
            (by, key(index), index)
        })
        .collect();
    let (keys, flows) = Rows::sorted(rows, question.sort.descending);
    Rows {
        keys,
        body: Body::Flows(flows),
        filtered,
    }
}

/// The title of a column.
pub(super) fn title(view: View, column: usize) -> &'static str {
    super::columns(view).get(column).map_or("", |column| column.title)
}

/// Bytes per second of a flow since the snapshot before; `None` if there is none, or the flow was not in it under this name.
pub(crate) fn rate(now: &Snapshot, before: Option<&Snapshot>, index: usize, flow: &Flow) -> Option<u64> {
    let before = before?;
    let key = now.keys.key(index)?;
    // A flow that is new began at nothing.
    let had = before
        .keys
        .position(key)
        .and_then(|index| before.report.flows.get(index))
        .map_or(0, |flow| flow.payload);
    per_second(flow.payload.saturating_sub(had), now.at.checked_sub(before.at)?)
}

/// So many bytes in a time.
pub(super) fn per_second(bytes: u64, time: Duration) -> Option<u64> {
    let nanoseconds = time.as_nanos();
    let rate = (u128::from(bytes) * 1_000_000_000).checked_div(nanoseconds)?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}
