//! Rows of the map: sums over flows with similar endpoints. A file counts with its directory, a
//! socket with its service, a pipe and memory with all others of their kind.

use std::borrow::Cow;

use zctrace_report::{Account, Endpoint, EndpointKind, Flow};

use super::flows::{SortKey, rate, title};
use super::key::{self, ByKey};
use super::{RowData, RowKey, RowQuery, Rows, matching_flows};
use crate::viewer::state::{Snapshot, View};

/// Flows with similar endpoints.
#[derive(Clone, Debug)]
pub(crate) struct MapRow {
    /// The largest of the flows: its index in the report's list.
    pub(crate) largest: u32,
    /// Source and destination.
    pub(crate) ends: [Endpoint; 2],
    /// Number of flows.
    pub(crate) flows: u64,
    /// Sum of their bytes.
    pub(crate) payload: u64,
    /// Verdict over all of them.
    pub(crate) account: Account,
    /// Bytes per second; `None` if no rate is known.
    pub(crate) rate: Option<u64>,
}

/// Grouping key of an endpoint.
fn like(end: &Endpoint) -> (&EndpointKind, Option<u16>, Cow<'_, str>) {
    match &end.kind {
        kind if kind.is_socket() => {
            let of_name = || end.name.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            // If the address may not be the service's, its port is one of thousands.
            match end.port {
                Some(port) => (kind, Some(port), Cow::Borrowed("")),
                None if kind == &EndpointKind::Unix => (kind, None, Cow::Borrowed(&end.name)),
                None => (
                    kind,
                    of_name().filter(|&port: &u16| port < FIRST_EPHEMERAL),
                    Cow::Borrowed(""),
                ),
            }
        }
        kind if kind.is_file() => {
            let directory = end.name.rfind('/').map_or("", |slash| &end.name[..slash]);
            (kind, None, Cow::Borrowed(directory))
        }
        kind @ (EndpointKind::Pipe | EndpointKind::Memory) => (kind, None, Cow::Borrowed("")),
        kind => (kind, None, Cow::Borrowed(&end.name)),
    }
}

/// First ephemeral port of the kernel (`net.ipv4.ip_local_port_range`, 32768 by default).
const FIRST_EPHEMERAL: u16 = 32_768;

/// Kinds of endpoints between source and destination.
pub(crate) fn intermediate_kinds(flow: &Flow) -> &[EndpointKind] {
    flow.path.get(1..flow.path.len().saturating_sub(1)).unwrap_or_default()
}

fn key(flow: &Flow) -> RowKey {
    key::hash_key((
        "map",
        like(&flow.from),
        like(&flow.to),
        &flow.process,
        intermediate_kinds(flow),
        &flow.call_names,
    ))
}

/// Endpoint as the row shows it: without the parts in which several differ.
fn merge(row: &mut Endpoint, end: &Endpoint) {
    if row.name == end.name && row.port == end.port {
        return;
    }
    row.object = None;
    let (_, port, name) = like(end);
    row.port = port;
    row.name = if row.kind.is_file() {
        match name.as_ref() {
            "" if end.name.starts_with('/') => "/*".to_owned(),
            "" => "*".to_owned(),
            directory => format!("{directory}/*"),
        }
    } else {
        name.into_owned()
    };
}

pub(super) fn rows(query: &RowQuery<'_>, now: &Snapshot) -> Rows {
    let (flows, filtered) = matching_flows(query, &now.report.flows);
    let mut row_of_key: ByKey<usize> = ByKey::default();
    let mut rows: Vec<(RowKey, MapRow)> = Vec::new();
    for (index, flow) in flows {
        let key = key(flow);
        let rate = rate(now, query.before, index as usize, flow);
        let at = *row_of_key.entry(key).or_insert(rows.len());
        if let Some((_, row)) = rows.get_mut(at) {
            if flow.payload > now.report.flows[row.largest as usize].payload {
                row.largest = index;
            }
            let [from, to] = &mut row.ends;
            merge(from, &flow.from);
            merge(to, &flow.to);
            row.flows = row.flows.saturating_add(flow.folded);
            row.payload = row.payload.saturating_add(flow.payload);
            row.account += &flow.account;
            row.rate = match (row.rate, rate) {
                (Some(sum), Some(rate)) => Some(sum.saturating_add(rate)),
                (sum, rate) => sum.or(rate),
            };
        } else {
            let row = MapRow {
                largest: index,
                ends: [flow.from.clone(), flow.to.clone()],
                flows: flow.folded,
                payload: flow.payload,
                account: flow.account.clone(),
                rate,
            };
            rows.push((key, row));
        }
    }
    let title = title(View::Map, query.sort.column);
    let rows = rows
        .into_iter()
        .map(|(key, row)| {
            let account = &row.account;
            let sort_key = match title {
                "from" => SortKey::Text(row.ends[0].to_string()),
                "to" => SortKey::Text(row.ends[1].to_string()),
                "path" => SortKey::Text(now.report.flows[row.largest as usize].path_text()),
                "moved" => SortKey::Number(account.moved),
                "copied" => SortKey::Number(account.copied),
                "unknown" => SortKey::Number(account.unknown),
                "per s" => SortKey::Number(row.rate.unwrap_or(0)),
                "bytes" => SortKey::Number(row.payload),
                _ => SortKey::Number(copied_share(account)),
            };
            (sort_key, key, row)
        })
        .collect();
    let (keys, rows) = Rows::sort(rows, query.sort.descending);
    Rows {
        keys,
        body: RowData::Map(rows),
        filtered,
    }
}

/// Copied part, as a sortable number.
pub(super) fn copied_share(account: &Account) -> u64 {
    let arrived = u128::from(account.delivered());
    (u128::from(account.copied) << 32).checked_div(arrived).unwrap_or(0) as u64
}

/// Returns the indices of a row's flows.
pub(super) fn members(snapshot: &Snapshot, row: RowKey) -> impl Iterator<Item = usize> {
    let flows = snapshot.report.flows.iter().enumerate();
    flows.filter(move |(_, flow)| key(flow) == row).map(|(index, _)| index)
}

/// Returns the largest flow of a row.
pub(super) fn find(snapshot: &Snapshot, row: RowKey) -> Option<usize> {
    members(snapshot, row).max_by_key(|&index| snapshot.report.flows[index].payload)
}
