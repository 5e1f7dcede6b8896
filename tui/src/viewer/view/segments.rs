//! Cells of a segment's row: a segment of a buffer list, or a peek at one.

use zctrace_report::format::{count, printable};
use zctrace_report::{ByteRange, JournalAgreement, Peek, Report, Segment};

use super::table::Cell;
use crate::viewer::rows::SegmentRow;
use crate::viewer::theme::Role;

pub(super) fn cell<'a>(report: &'a Report, row: SegmentRow, title: &str) -> Option<Cell<'a>> {
    match row {
        SegmentRow::Segment(index) => report
            .segments
            .get(index as usize)
            .map(|segment| of_segment(segment, title)),
        SegmentRow::Look(index) => report.peeks.get(index as usize).map(|look| of_look(look, title)),
    }
}

fn of_segment<'a>(segment: &'a Segment, title: &str) -> Cell<'a> {
    match title {
        "segment" => Cell::Text(segment.id.to_string().into(), Role::Plain),
        "call" => Cell::Text(segment.operation.as_str().into(), Role::Plain),
        "call site" => segment
            .call_site
            .as_ref()
            .map_or(Cell::EMPTY, |place| Cell::CallSite(place.to_string())),
        "bytes" => Cell::size(segment.bytes, Role::Plain),
        "range" => Cell::Text(ranges(&segment.ranges).into(), Role::Plain),
        "pipe" => segment
            .pipe
            .map_or(Cell::EMPTY, |pipe| Cell::Text(pipe.to_string().into(), Role::Plain)),
        "process" => Cell::Text(who(&segment.process, segment.pid).into(), Role::Plain),
        "journal" => {
            let role = if segment.agreement == JournalAgreement::Disagrees {
                Role::Alert
            } else {
                Role::Plain
            };
            Cell::Text(segment.agreement.as_str().into(), role)
        }
        _ => Cell::EMPTY,
    }
}

fn of_look<'a>(look: &'a Peek, title: &str) -> Cell<'a> {
    match title {
        "segment" => look
            .segment
            .map_or(Cell::EMPTY, |id| Cell::Text(id.to_string().into(), Role::Plain)),
        "call" => Cell::Text(format!("look {}", look.operation).into(), Role::Plain),
        "call site" => look
            .call_site
            .as_ref()
            .map_or(Cell::EMPTY, |place| Cell::CallSite(place.to_string())),
        "bytes" => Cell::size(look.bytes, Role::Copied),
        "range" => Cell::Text(ranges(look.range.as_slice()).into(), Role::Plain),
        // Reported by the program only: no record of the kernel covers it.
        "pipe" if look.without_pipe => Cell::Text("none".into(), Role::Plain),
        "process" => Cell::Text(who(&look.thread, look.pid).into(), Role::Plain),
        "journal" => Cell::Text(look.code.to_string().into(), Role::Plain),
        _ => Cell::EMPTY,
    }
}

/// Formats `0..65 536`, and the number of other ranges.
fn ranges(ranges: &[ByteRange]) -> String {
    match ranges {
        [] => String::new(),
        [one] => format!("{}..{}", count(one.start), count(one.end)),
        [one, others @ ..] => format!("{}..{} +{}", count(one.start), count(one.end), others.len()),
    }
}

fn who(name: &str, pid: Option<u32>) -> String {
    match (name, pid) {
        ("", None) => String::new(),
        ("", Some(pid)) => format!("pid {pid}"),
        (name, None) => printable(name).into_owned(),
        (name, Some(pid)) => format!("{} {pid}", printable(name)),
    }
}

/// Returns `x` for a peek, `!` where program and kernel disagree, `?` where they cannot be
/// compared.
pub(super) fn mark(report: &Report, row: SegmentRow) -> char {
    match row {
        SegmentRow::Look(_) => 'x',
        SegmentRow::Segment(index) => match report.segments.get(index as usize).map(|segment| &segment.agreement) {
            Some(JournalAgreement::Agrees) => '=',
            Some(JournalAgreement::Disagrees) => '!',
            _ => '?',
        },
    }
}
