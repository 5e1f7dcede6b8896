//! Segments of bufferlists: the ones that a flow's bytes belong to, their call sites, and whether
//! the program's journal agrees with the kernel.

use std::fmt::Write as _;

use zctrace_report::format::{count, printable, size};
use zctrace_report::{Flow, JournalAgreement, Report, Segment, SegmentNames};

use crate::render::text::{TextSink, wrap};

/// Maximum number of segments shown of a flow. Their IDs are useful to a user who searches the
/// program's own log; the JSON has all.
const MAX_SEGMENTS: usize = 4;

/// Describes the segments of the bytes at a stage, in a line.
pub(crate) fn segment_names(names: &SegmentNames, of: u64) -> String {
    let mut line = names.text();
    if names.bytes < of {
        let _ = write!(line, " ({} of {} bytes)", count(names.bytes), count(of));
    }
    if let Some(pid) = names.pid {
        let _ = write!(line, " of pid {pid}");
    }
    line.push_str(match names.agreement {
        JournalAgreement::Agrees => ", as the pipe shows",
        JournalAgreement::Disagrees => ": DISAGREES with the pipe",
        _ => ": not fully compared",
    });
    if !names.detail.is_empty() {
        line.push_str(". ");
        line.push_str(&printable(&names.detail));
    }
    line
}

/// Writes the largest segments of a flow, with their call sites.
pub(super) fn write_flow_segments(text: &mut impl TextSink, of: &Report, flow: &Flow) {
    let mut segments: Vec<&Segment> = of.segments.iter().filter(|row| row.flow == Some(flow.id)).collect();
    segments.sort_by_key(|row| (std::cmp::Reverse(row.bytes), row.pid, row.id));
    for segment in segments.iter().take(MAX_SEGMENTS) {
        wrap(text, "   segment  ", &segment_line(segment));
    }
    let more = segments.len().saturating_sub(MAX_SEGMENTS);
    if more > 0 {
        wrap(
            text,
            "            ",
            &format!("and {} more (in the JSON)", count(more as u64)),
        );
    }
}

/// Writes the segments whose journal entries the kernel contradicts.
pub(super) fn write_disagreements(text: &mut impl TextSink, report: &Report) {
    let wrong: Vec<&Segment> = report
        .segments
        .iter()
        .filter(|segment| segment.agreement == JournalAgreement::Disagrees)
        .collect();
    if wrong.is_empty() {
        return;
    }
    text.push_str("\nDISAGREES: a program's journal and the kernel's pipes\n");
    for segment in wrong.iter().take(MAX_SEGMENTS) {
        wrap(text, "  segment  ", &segment_line(segment));
        wrap(text, "           ", &printable(&segment.detail));
    }
    if wrong.len() > MAX_SEGMENTS {
        wrap(
            text,
            "           ",
            &format!("and {} more (in the JSON)", wrong.len() - MAX_SEGMENTS),
        );
    }
}

/// Describes a segment: `17, 64.0 KiB, fill at src/ingest.rs:41, ingest (4711), pipe 90121`.
fn segment_line(segment: &Segment) -> String {
    let mut words = vec![segment.id.to_string(), size(segment.bytes)];
    let made = printable(&segment.operation);
    match (&segment.call_site, made.is_empty()) {
        (Some(place), false) => words.push(format!("{made} at {place}")),
        (Some(place), true) => words.push(format!("made at {place}")),
        (None, false) => words.push(made.into_owned()),
        (None, true) => {}
    }
    match (segment.process.as_str(), segment.pid) {
        ("", Some(pid)) => words.push(format!("pid {pid}")),
        (name, Some(pid)) => words.push(format!("{} ({pid})", printable(name))),
        (_, None) => {}
    }
    if let Some(pipe) = segment.pipe {
        words.push(format!("pipe {pipe}"));
    }
    words.join(", ")
}
