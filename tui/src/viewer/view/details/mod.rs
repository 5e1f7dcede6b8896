//! Detail views: the certificate of a flow with its reasons and advice; the flows of a row of the
//! map, of a process, of a reason; and all data of a pipe or a segment. The texts are those of the
//! text report.

mod flow_list;
mod log_line;
mod pipe;
mod process;
mod reason;
mod segment;

use ratatui::layout::Rect;
use zctrace_report::Flow;
use zctrace_report::format::count;

use super::cell_writer::CellWriter;
use crate::render;
use crate::render::text::{TextBuffer, TextSink as _, wrap};
use crate::viewer::keys::Command;
use crate::viewer::rows;
use crate::viewer::state::{Detail, Snapshot, State, View};
use crate::viewer::theme::Role;

/// Returns the title, and the lines wrapped to this many columns.
pub(super) fn text(state: &State, detail: &Detail, width: u16) -> (String, Vec<String>) {
    let mut text = TextBuffer::new(usize::from(width).max(1));
    let title = if let (Some(snapshot), Some(index)) = (&state.snapshot, detail.index) {
        write(&mut text, state, snapshot, detail, index)
    } else {
        wrap(&mut text, "   ", "This row is not in the latest report.");
        "gone".to_owned()
    };
    let back = state.keys.key_of(Command::Back);
    let back = back.map(|key| format!(" · {key}: back")).unwrap_or_default();
    let lines = text.text().lines().map(str::to_owned).collect();
    (format!("{title}{back}"), lines)
}

fn write(text: &mut TextBuffer, state: &State, snapshot: &Snapshot, detail: &Detail, index: usize) -> String {
    let report = &*snapshot.report;
    match detail.view {
        View::Flows => {
            let Some(flow) = report.flows.get(index) else {
                return String::new();
            };
            render::write_certificate(text, report, flow);
            format!("flow {}", flow.id)
        }
        View::Map => {
            let members: Vec<&Flow> = rows::members(snapshot, detail.key).collect();
            flow_list::write(text, "flows of this row", &members);
            if let Some(flow) = report.flows.get(index) {
                text.push_str("\nlargest flow\n\n");
                render::write_certificate(text, report, flow);
            }
            "map".to_owned()
        }
        View::Processes => process::write(text, report, index),
        View::Pipes => pipe::write(text, report, index),
        View::Reasons => reason::write(text, snapshot, detail),
        View::Segments => segment::write(text, report, index),
        View::Log => log_line::write(text, state, detail),
    }
}

/// Draws lines from a given one on. Lines that begin with a mark have its color.
pub(super) fn lines(writer: &mut CellWriter<'_>, area: Rect, lines: &[String], scroll: usize) {
    let visible = lines.iter().enumerate().skip(scroll).take(area.height.into());
    for (at, (number, line)) in visible.enumerate() {
        let area = Rect::new(area.x, area.y + at as u16, area.width, 1);
        // A mark is one byte.
        let mark = line
            .chars()
            .next()
            .filter(|_| line.get(1..).is_some_and(|rest| rest.starts_with("  ")));
        match (mark, line.split_once("   ")) {
            (Some(mark), _) if Role::from_mark(mark) != Role::Plain => {
                let rest = writer.write(area, &line[..1], Role::from_mark(mark));
                writer.write(rest, &line[1..], Role::Plain);
            }
            // The verdict, in capitals, precedes three spaces.
            (_, Some((verdict, rest))) if number == 0 && !verdict.is_empty() && verdict.to_uppercase() == verdict => {
                let left = writer.write(area, verdict, Role::Strong);
                writer.write(left, &format!("   {rest}"), Role::Plain);
            }
            _ => {
                writer.write(area, line, Role::Plain);
            }
        }
    }
}

/// Returns which of the lines are visible, if not all are.
pub(super) fn line_range(lines: usize, scroll: usize, height: u16) -> Option<String> {
    let last = scroll.saturating_add(height.into()).min(lines);
    let first = scroll.saturating_add(1).min(last);
    (scroll > 0 || last < lines).then(|| format!(" lines {first} to {last} of {} ", count(lines as u64)))
}
