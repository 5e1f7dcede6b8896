//! Cells of a process's row.

use zctrace_report::format::count;

use super::table::{Cell, account_cell};
use crate::viewer::rows::ProcessRow;
use crate::viewer::theme::Role;

pub(super) fn cell<'a>(row: &'a ProcessRow, title: &str) -> Cell<'a> {
    match title {
        "pid" => Cell::Text(row.pid.to_string().into(), Role::Plain),
        "process" => Cell::Text(row.name.as_str().into(), Role::Plain),
        "to memory" => Cell::size(row.into_memory, Role::Plain),
        "calls" => Cell::Text(count(row.calls).into(), Role::Plain),
        _ => account_cell(title, row.payload, &row.account).unwrap_or(Cell::EMPTY),
    }
}
