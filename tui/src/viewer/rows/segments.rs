//! Rows of the segments and peeks.

use std::collections::HashSet;

use zctrace_report::{CallSite, Report};

use super::flows::{SortKey, title};
use super::{RowData, RowKey, RowQuery, Rows, key, matching_flows};
use crate::viewer::state::{Snapshot, View};

/// A segment or a peek, by its index in the report's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentRow {
    /// Index into `segments`.
    Segment(u32),
    /// Index into `peeks`.
    Look(u32),
}

/// Returns the segments and peeks of matching flows, and without a filter also those of no flow.
pub(super) fn rows(query: &RowQuery<'_>, now: &Snapshot) -> Rows {
    let report = &now.report;
    let (flows, filtered) = matching_flows(query, &report.flows);
    let all = query.filter.is_empty();
    let ids: HashSet<u64> = flows.iter().map(|(_, flow)| flow.id).collect();
    let shown = |flow: Option<u64>| all || flow.is_some_and(|flow| ids.contains(&flow));
    let title = title(View::Segments, query.sort.column);
    let at = |place: Option<&CallSite>| place.map(ToString::to_string).unwrap_or_default();
    let of_pid = |pid: Option<u32>| SortKey::Number(pid.unwrap_or(0).into());
    let segments = report
        .segments
        .iter()
        .enumerate()
        .filter(|(_, segment)| shown(segment.flow));
    let segments = segments.map(|(index, segment)| {
        let sort_key = match title {
            "segment" => SortKey::Number(segment.id),
            "call" => SortKey::Text(segment.operation.clone()),
            "call site" => SortKey::Text(at(segment.call_site.as_ref())),
            "range" => SortKey::Number(segment.ranges.first().map_or(0, |range| range.start)),
            "pipe" => SortKey::Number(segment.pipe.unwrap_or(0)),
            "process" => of_pid(segment.pid),
            "journal" => SortKey::Text(segment.agreement.as_str().to_owned()),
            _ => SortKey::Number(segment.bytes),
        };
        (sort_key, key::of_segment(segment), SegmentRow::Segment(index as u32))
    });
    let looks = report.peeks.iter().enumerate().filter(|(_, look)| shown(look.flow));
    let looks = looks.map(|(index, look)| {
        let sort_key = match title {
            "segment" => SortKey::Number(look.segment.unwrap_or(0)),
            "call" => SortKey::Text(look.operation.clone()),
            "call site" => SortKey::Text(at(look.call_site.as_ref())),
            "range" => SortKey::Number(look.range.map_or(0, |range| range.start)),
            "pipe" => SortKey::Number(0),
            "process" => of_pid(look.pid),
            "journal" => SortKey::Text(String::new()),
            _ => SortKey::Number(look.bytes),
        };
        (sort_key, key::of_look(look), SegmentRow::Look(index as u32))
    });
    let (keys, rows) = Rows::sort(segments.chain(looks).collect(), query.sort.descending);
    Rows {
        keys,
        body: RowData::Segments(rows),
        filtered,
    }
}

/// Returns the position of a segment; peeks follow all segments.
pub(super) fn find(report: &Report, row: RowKey) -> Option<usize> {
    let segments = report.segments.iter().map(key::of_segment);
    let looks = report.peeks.iter().map(key::of_look);
    segments.chain(looks).position(|key| key == row)
}
