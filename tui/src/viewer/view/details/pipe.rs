//! The details of a pipe.

use zctrace_report::Report;
use zctrace_report::format::{count, duration, printable, size};

use super::super::pipes;
use crate::render::text::{TextBuffer, TextSink as _, wrap};

pub(super) fn write(text: &mut TextBuffer, report: &Report, index: usize) -> String {
    let Some(pipe) = report.pipes.get(index) else {
        return String::new();
    };
    let bytes = match pipe.bytes {
        Some(bytes) => format!("{} in it", size(bytes)),
        None => "content unknown: an untraced process used the pipe, or a record is missing".to_owned(),
    };
    let mut lines = vec![
        format!("{} of {} slots in use, {bytes}", pipe.used_slots, pipe.slots),
        format!(
            "at most {} slots were in use after a call; {} calls",
            pipe.max_used_slots,
            count(pipe.calls)
        ),
        format!("used by {}", printable(&pipes::processes(pipe))),
    ];
    if pipe.resizes > 0 {
        lines.push(format!("resized {} times during the trace", pipe.resizes));
    }
    if pipe.idle_ns > 0 {
        lines.push(format!(
            "idle for {} before the last call on any pipe",
            duration(pipe.idle_ns)
        ));
    }
    for line in &lines {
        wrap(text, "   ", line);
    }
    text.push('\n');
    wrap(
        text,
        "   ",
        "A pipe is full when all slots are in use, even if they hold few bytes: a splice of one byte uses a slot.",
    );
    wrap(text, "   ", &pipes::limits(report));
    format!("pipe {}", pipe.inode)
}
