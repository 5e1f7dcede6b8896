//! The details of a segment of a bufferlist, or of a peek at one.

use zctrace_report::Report;
use zctrace_report::format::{count, printable, size};

use crate::render;
use crate::render::text::{TextBuffer, TextSink as _, wrap};

pub(super) fn write(text: &mut TextBuffer, report: &Report, index: usize) -> String {
    let (title, flow) = if let Some(segment) = report.segments.get(index) {
        let mut lines = vec![format!(
            "{} put into pipe {}",
            size(segment.bytes),
            number(segment.pipe)
        )];
        if !segment.operation.is_empty() {
            lines.push(format!("made by {}", printable(&segment.operation)));
        }
        if let Some(place) = &segment.call_site {
            lines.push(format!("at {place}"));
        }
        let ranges: Vec<String> = segment
            .ranges
            .iter()
            .map(|r| format!("{}..{}", count(r.start), count(r.end)))
            .collect();
        lines.push(format!("bytes {} of it", ranges.join(", ")));
        lines.push(format!(
            "of {} (pid {})",
            printable(&segment.process),
            number(segment.pid)
        ));
        let why = if segment.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", printable(&segment.detail))
        };
        lines.push(format!("journal compared with the kernel: {}{why}", segment.agreement));
        for line in &lines {
            wrap(text, "   ", line);
        }
        (format!("segment {}", segment.id), segment.flow)
    } else {
        let Some(look) = index
            .checked_sub(report.segments.len())
            .and_then(|index| report.peeks.get(index))
        else {
            return String::new();
        };
        wrap(text, "   ", &render::peek_line(look));
        text.push('\n');
        render::write_one_reason(text, report, look.code.as_str());
        ("peek".to_owned(), look.flow)
    };
    if let Some(flow) = flow.and_then(|id| report.flow(id)) {
        text.push('\n');
        render::write_certificate(text, report, flow);
    }
    title
}

fn number(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| number.to_string())
}
