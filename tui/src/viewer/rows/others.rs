//! The rows of the pipes, of the segments and looks, and of the log.

use std::time::Duration;

use zctrace_report::{Place, Report};

use super::flows::{By, title};
use super::{Body, Filtered, Question, RowKey, Rows, fitting, key};
use crate::viewer::state::{Level, Snapshot, View};

/// A segment or a look, by its place in the report's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentRow {
    /// In `segments`.
    Segment(u32),
    /// In `looks`.
    Look(u32),
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogRow {
    /// When, since the viewer started.
    pub(crate) at: Duration,
    /// How bad.
    pub(crate) level: Level,
    /// What. Not printable yet.
    pub(crate) text: String,
}

/// The newest line comes last, as it was written.
pub(super) fn log(question: &Question<'_>) -> Rows {
    let mut filtered = question
        .filter
        .field_missing_for_log()
        .map_or_else(Filtered::default, Filtered::Not);
    let lines = question.log.lines();
    let (keys, rows) = lines
        .filter(|line| filtered.shows(question.filter.match_log_line(&line.text), 1))
        .map(|line| {
            let row = LogRow {
                at: line.at,
                level: line.level,
                text: line.text.clone(),
            };
            (key::of(("log", line.number)), row)
        })
        .unzip();
    Rows {
        keys,
        body: Body::Log(rows),
        filtered,
    }
}

/// The pipes that fit; all of them if the filter asks for what pipes do not have.
pub(super) fn pipes(question: &Question<'_>, now: &Snapshot) -> Rows {
    let mut filtered = question
        .filter
        .field_missing_for_pipes()
        .map_or_else(Filtered::default, Filtered::Not);
    let title = title(View::Pipes, question.sort.column);
    let rows = now
        .report
        .pipes
        .iter()
        .enumerate()
        .filter(|(_, pipe)| filtered.shows(question.filter.match_pipe(pipe), 1))
        .map(|(index, pipe)| {
            let part = (u64::from(pipe.used) << 32).checked_div(pipe.slots.into()).unwrap_or(0);
            let by = match title {
                "pipe" => By::Number(pipe.inode),
                "process" => By::Text(pipe.processes.join(" ")),
                "used" => By::Number(pipe.used.into()),
                "most" => By::Number(pipe.most_used.into()),
                "bytes" => By::Number(pipe.bytes.unwrap_or(0)),
                "calls" => By::Number(pipe.calls),
                "resized" => By::Number(pipe.resized.into()),
                "idle" => By::Number(pipe.idle_ns),
                _ => By::Number(part),
            };
            (by, key::of_pipe(pipe), index as u32)
        })
        .collect();
    let (keys, rows) = Rows::sorted(rows, question.sort.descending);
    Rows {
        keys,
        body: Body::Pipes(rows),
        filtered,
    }
}

/// Segments and looks of the flows that fit; of no flow, if there is no filter.
pub(super) fn segments(question: &Question<'_>, now: &Snapshot) -> Rows {
    let report = &now.report;
    let (flows, filtered) = fitting(question, &report.flows);
    let all = question.filter.is_empty();
    let ids: std::collections::HashSet<u64> = flows.iter().map(|(_, flow)| flow.id).collect();
    let shown = |flow: Option<u64>| all || flow.is_some_and(|flow| ids.contains(&flow));
    let title = title(View::Segments, question.sort.column);
    let at = |place: Option<&Place>| place.map(ToString::to_string).unwrap_or_default();
    let of_pid = |pid: Option<u32>| By::Number(pid.unwrap_or(0).into());
    let segments = report
        .segments
        .iter()
        .enumerate()
        .filter(|(_, segment)| shown(segment.flow));
    let segments = segments.map(|(index, segment)| {
        let by = match title {
            "segment" => By::Number(segment.id),
            "what" => By::Text(segment.operation.clone()),
            "where" => By::Text(at(segment.place.as_ref())),
            "range" => By::Number(segment.ranges.first().map_or(0, |range| range.start)),
            "pipe" => By::Number(segment.pipe.unwrap_or(0)),
            "process" => of_pid(segment.pid),
            "accounts" => By::Text(segment.agreement.as_str().to_owned()),
            _ => By::Number(segment.bytes),
        };
        (by, key::of_segment(segment), SegmentRow::Segment(index as u32))
    });
    let looks = report.looks.iter().enumerate().filter(|(_, look)| shown(look.flow));
    let looks = looks.map(|(index, look)| {
        let by = match title {
            "segment" => By::Number(look.segment.unwrap_or(0)),
            "what" => By::Text(look.operation.clone()),
            "where" => By::Text(at(look.place.as_ref())),
            "range" => By::Number(look.range.map_or(0, |range| range.start)),
            "pipe" => By::Number(0),
            "process" => of_pid(look.pid),
            "accounts" => By::Text(String::new()),
            _ => By::Number(look.bytes),
        };
        (by, key::of_look(look), SegmentRow::Look(index as u32))
    });
    let (keys, rows) = Rows::sorted(segments.chain(looks).collect(), question.sort.descending);
    Rows {
        keys,
        body: Body::Segments(rows),
        filtered,
    }
}

/// The place of a segment; of a look the place after all segments.
pub(super) fn find_segment(report: &Report, row: RowKey) -> Option<usize> {
    let segments = report.segments.iter().map(key::of_segment);
    let looks = report.looks.iter().map(key::of_look);
    segments.chain(looks).position(|key| key == row)
}
