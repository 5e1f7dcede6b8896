//! Cells of a flow's row.

use zctrace_report::format::count;
use zctrace_report::{Call, Flow};

use super::table::{Cell, account_cell};
use crate::render;
use crate::viewer::rows::rate;
use crate::viewer::state::{Snapshot, State};
use crate::viewer::theme::Role;

pub(super) fn cell<'a>(state: &'a State, snapshot: &'a Snapshot, index: usize, title: &str) -> Option<Cell<'a>> {
    let flow = snapshot.report.flows.get(index)?;
    Some(match title {
        "from" => Cell::Endpoint(&flow.from),
        "to" => Cell::Endpoint(&flow.to),
        "call" => {
            let calls: Vec<&str> = flow.call_names.iter().map(Call::as_str).collect();
            Cell::Text(calls.join("+").into(), Role::Plain)
        }
        "process" => Cell::Text(process(flow).into(), Role::Plain),
        "reason" => Cell::Text(reason(flow).into(), Role::Plain),
        "per s" => {
            let rate = rate(snapshot, state.before.as_ref(), index, flow);
            rate.map_or(Cell::EMPTY, |rate| Cell::size(rate, Role::Plain))
        }
        _ => account_cell(title, flow.payload, &flow.account)?,
    })
}

fn process(flow: &Flow) -> String {
    let many = match flow.folded {
        1 => String::new(),
        many => format!(" ×{}", count(many)),
    };
    match (flow.process.as_str(), flow.pid) {
        ("", None) => many.trim_start().to_owned(),
        ("", Some(pid)) => format!("{pid}{many}"),
        (name, _) => format!("{name}{many}"),
    }
}

/// Returns the code that explains most bytes; for moved bytes that were peeked at, the code of the
/// peek.
fn reason(flow: &Flow) -> String {
    match render::main_reason(flow) {
        none if none.is_empty() && flow.peeked_bytes > 0 => "peeked".to_owned(),
        reasons => reasons,
    }
}
