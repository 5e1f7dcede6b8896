//! Cells of a row of the map.

use zctrace_report::format::{count, printable};
use zctrace_report::{Call, EndpointKind, Report};

use super::table::{Cell, account_cell};
use crate::viewer::rows::{MapRow, intermediate_kinds};
use crate::viewer::theme::Role;

pub(super) fn cell<'a>(report: &'a Report, row: &'a MapRow, title: &str) -> Cell<'a> {
    match title {
        "from" => Cell::Endpoint(&row.ends[0]),
        "to" => Cell::Endpoint(&row.ends[1]),
        "path" => Cell::Text(way(report, row).into(), Role::Plain),
        "per s" => row.rate.map_or(Cell::EMPTY, |rate| Cell::size(rate, Role::Plain)),
        _ => account_cell(title, row.payload, &row.account).unwrap_or(Cell::EMPTY),
    }
}

/// Returns process, call, path and count: `→ nginx ×1 912 → pipe →`.
fn way(report: &Report, row: &MapRow) -> String {
    let Some(flow) = report.flows.get(row.largest as usize) else {
        return String::new();
    };
    let calls: Vec<&str> = flow.call_names.iter().map(Call::as_str).collect();
    let who = match (flow.process.as_str(), calls.join("+")) {
        ("", calls) => calls,
        (process, calls) => format!("{process} {calls}"),
    };
    let many = match row.flows {
        1 => String::new(),
        many => format!(" ×{}", count(many)),
    };
    let through: Vec<&str> = intermediate_kinds(flow).iter().map(EndpointKind::label).collect();
    let through = match through.join(" → ") {
        nothing if nothing.is_empty() => String::new(),
        through => format!(" → {through}"),
    };
    printable(&format!("→ {}{many}{through} →", who.trim())).into_owned()
}
