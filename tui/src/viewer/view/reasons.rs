//! Cells of a reason's row.

use zctrace_contract::reason::Class;
use zctrace_report::Report;
use zctrace_report::format::{count, duration, size};

use super::table::Cell;
use crate::viewer::rows::{ASSUMED_COPY_RATE, ReasonRow, copy_time_ns};
use crate::viewer::theme::Role;

pub(super) fn cell<'a>(report: &Report, row: &ReasonRow, title: &str) -> Cell<'a> {
    let meaning = || report.explanation(&row.code);
    match title {
        "code" => Cell::Text(row.code.to_string().into(), Role::Strong),
        "bytes" => Cell::size(row.bytes, Role::from_mark(mark(row))),
        "calls" if row.calls > 0 => Cell::Text(count(row.calls).into(), Role::Plain),
        "~ CPU" if row.is_copy() => Cell::Text(duration(copy_time_ns(report, row.bytes)).into(), Role::Plain),
        "calls" | "~ CPU" => Cell::unknown(),
        "reason" => {
            let sentence = meaning().map(|meaning| meaning.description);
            let sentence = sentence.unwrap_or_else(|| "This version of zctrace does not know the code.".to_owned());
            Cell::Text(sentence.into(), Role::Plain)
        }
        "hint" => Cell::Text(
            meaning().map(|meaning| meaning.advice).unwrap_or_default().into(),
            Role::Plain,
        ),
        _ => Cell::EMPTY,
    }
}

/// Returns what it explains.
pub(super) fn mark(row: &ReasonRow) -> char {
    match row.code.class() {
        Some(Class::Copy) => 'x',
        Some(Class::Unknown) => '?',
        None => ' ',
    }
}

/// Returns the assumption behind the estimate of CPU time.
pub(super) fn basis(report: &Report) -> String {
    match report.overhead.copy_bytes_per_second {
        Some(rate) => format!("~ CPU is an estimate: bytes / {} per second, measured here", size(rate)),
        None => format!(
            "~ CPU is an estimate: bytes / {} per second, assumed, not measured",
            size(ASSUMED_COPY_RATE)
        ),
    }
}
