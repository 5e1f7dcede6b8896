//! What was opened: the certificate of a flow with its reasons and advice, the flows of a row of the map, of a process, of a
//! reason, and all that is known of a pipe or a segment. The words are those of the text screens.

use std::fmt::Write as _;

use ratatui::layout::Rect;
use zctrace_report::text::{count, duration, printable, size};
use zctrace_report::{Flow, Report};

use super::cell_writer::Pen;
use super::{log, pipes, reasons};
use crate::render;
use crate::render::text::{TextBuffer, TextSink, wrap};
use crate::viewer::rows::{self, Body};
use crate::viewer::state::{Detail, Snapshot, State, View};
use crate::viewer::theme::Role;

/// Flows that are listed of a row that stands for many.
const LISTED: usize = 50;

/// The title, and the lines in so many columns.
pub(super) fn text(state: &State, detail: &Detail, width: u16) -> (String, Vec<String>) {
    let mut sheet = TextBuffer::new(usize::from(width).max(1));
    let title = if let (Some(snapshot), Some(index)) = (&state.snapshot, detail.index) {
        write(&mut sheet, state, snapshot, detail, index)
    } else {
        wrap(
            &mut sheet,
            "   ",
            "This row is gone: it is not in the last report any more.",
        );
        "gone".to_owned()
    };
    let back = state.keys.key_of(crate::viewer::keys::Command::Back);
    let back = back.map(|key| format!(" · {key} goes back")).unwrap_or_default();
    let lines = sheet.text().lines().map(str::to_owned).collect();
    (format!("{title}{back}"), lines)
}

fn write(sheet: &mut TextBuffer, state: &State, snapshot: &Snapshot, detail: &Detail, index: usize) -> String {
    let report = &*snapshot.report;
    match detail.view {
        View::Flows => {
            let Some(flow) = report.flows.get(index) else {
                return String::new();
            };
            render::write_certificate(sheet, report, flow);
            format!("flow {}", flow.id)
        }
        View::Map => {
            let members: Vec<&Flow> = rows::members(snapshot, detail.key).collect();
            list(sheet, "the flows of this row", &members);
            if let Some(flow) = report.flows.get(index) {
                sheet.push_str("\nthe largest of them\n\n");
                render::write_certificate(sheet, report, flow);
            }
            "map".to_owned()
        }
        View::Processes => process(sheet, report, index),
        View::Pipes => pipe(sheet, report, index),
        View::Reasons => reason(sheet, snapshot, detail),
        View::Segments => segment(sheet, report, index),
        View::Log => line(sheet, state, detail),
    }
}

/// Flows, the largest first, a line each.
fn list(sheet: &mut TextBuffer, title: &str, flows: &[&Flow]) {
    let mut flows: Vec<&Flow> = flows.to_vec();
    flows.sort_by_key(|flow| (std::cmp::Reverse(flow.payload), flow.id));
    let _ = writeln!(sheet, "{title}");
    for flow in flows.iter().take(LISTED) {
        let account = &flow.account;
        let many = if flow.folded > 1 {
            format!(" ×{}", count(flow.folded))
        } else {
            String::new()
        };
        let mut text = format!("{} → {}{many}: {}", flow.from, flow.to, size(flow.payload));
        for (bytes, word) in [
            (account.moved, "moved"),
            (account.copied, "copied"),
            (account.unknown, "unknown"),
            (account.neither.total(), "neither"),
        ] {
            if bytes > 0 && bytes < flow.payload {
                let _ = write!(text, ", {} {word}", size(bytes));
            } else if bytes > 0 {
                let _ = write!(text, " {word}");
            }
        }
        let codes = render::reasons(flow);
        if !codes.is_empty() {
            let _ = write!(text, ", {codes}");
        }
        wrap(sheet, &format!("{}  ", flow.mark()), &text);
    }
    if flows.len() > LISTED {
        let _ = writeln!(sheet, "   and {} more", count((flows.len() - LISTED) as u64));
    }
}

fn process(sheet: &mut TextBuffer, report: &Report, index: usize) -> String {
    let Some(process) = report.processes.get(index) else {
        return String::new();
    };
    let account = &process.account;
    let parent = process
        .parent
        .map(|parent| format!(", parent {parent}"))
        .unwrap_or_default();
    let own = process
        .own_pid
        .map(|own| format!(", {own} in its own namespace"))
        .unwrap_or_default();
    let alive = if process.alive {
        ""
    } else {
        ", not seen alive at the end"
    };
    wrap(
        sheet,
        "   ",
        &format!("{} (pid {}{own}{parent}){alive}", printable(&process.name), process.pid),
    );
    if let Some(cgroup) = &process.cgroup {
        wrap(sheet, "   ", &format!("cgroup {}", printable(cgroup)));
    }
    wrap(
        sheet,
        "   ",
        &format!(
            "gave {}: {} moved, {} copied, {} unknown, {} neither; took {} into its memory; {} calls",
            size(process.payload),
            size(account.moved),
            size(account.copied),
            size(account.unknown),
            size(account.neither.total()),
            size(process.into_memory),
            count(process.calls)
        ),
    );
    sheet.push('\n');
    let flows: Vec<&Flow> = report
        .flows
        .iter()
        .filter(|flow| flow.pid == Some(process.pid))
        .collect();
    if flows.is_empty() {
        wrap(
            sheet,
            "   ",
            "Its flows were folded with those of others, so that they cannot be told apart here.",
        );
    } else {
        list(sheet, "its flows", &flows);
        let ids: std::collections::HashSet<u64> = flows.iter().map(|flow| flow.id).collect();
        render::why(sheet, report, |id| ids.contains(&id));
    }
    format!("process {}", process.pid)
}

fn pipe(sheet: &mut TextBuffer, report: &Report, index: usize) -> String {
    let Some(pipe) = report.pipes.get(index) else {
        return String::new();
    };
    let bytes = match pipe.bytes {
        Some(bytes) => format!("{} in it", size(bytes)),
        None => "what is in it is not known: somebody who is not watched used it, or a record is missing".to_owned(),
    };
    let mut lines = vec![
        format!("{} of {} slots in use, {bytes}", pipe.used, pipe.slots),
        format!(
            "at most {} slots were in use after a call; {} calls",
            pipe.most_used,
            count(pipe.calls)
        ),
        format!("used by {}", printable(&pipes::processes(pipe))),
    ];
    if pipe.resized > 0 {
        lines.push(format!(
            "its size was changed {} times while it was watched",
            pipe.resized
        ));
    }
    if pipe.idle_ns > 0 {
        lines.push(format!(
            "not used for {} before the last call on any pipe",
            duration(pipe.idle_ns)
        ));
    }
    for line in &lines {
        wrap(sheet, "   ", line);
    }
    sheet.push('\n');
    wrap(
        sheet,
        "   ",
        "A pipe is full when its slots are, however few bytes are in them: a splice of one byte takes a slot.",
    );
    wrap(sheet, "   ", &pipes::limits(report));
    format!("pipe {}", pipe.inode)
}

fn reason(sheet: &mut TextBuffer, snapshot: &Snapshot, detail: &Detail) -> String {
    let report = &*snapshot.report;
    let Some(code) = rows::code_of(snapshot, detail.key) else {
        return String::new();
    };
    render::why_one(sheet, report, &code);
    sheet.push('\n');
    wrap(sheet, "   ", &reasons::basis(report));
    sheet.push('\n');
    let has = |flow: &&Flow| flow.reasons.iter().any(|cause| cause.code.as_str() == code);
    let flows: Vec<&Flow> = report.flows.iter().filter(has).collect();
    if !flows.is_empty() {
        list(sheet, "the flows that it explains", &flows);
    }
    printable(&code).into_owned()
}

fn segment(sheet: &mut TextBuffer, report: &Report, index: usize) -> String {
    let (title, flow) = if let Some(segment) = report.segments.get(index) {
        let mut lines = vec![format!(
            "{} put into pipe {}",
            size(segment.bytes),
            number(segment.pipe)
        )];
        if !segment.operation.is_empty() {
            lines.push(format!("made by {}", printable(&segment.operation)));
        }
        if let Some(place) = &segment.place {
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
        let why = if segment.why.is_empty() {
            String::new()
        } else {
            format!(": {}", printable(&segment.why))
        };
        lines.push(format!(
            "the program's account against the kernel's: {}{why}",
            segment.agreement
        ));
        for line in &lines {
            wrap(sheet, "   ", line);
        }
        (format!("segment {}", segment.id), segment.flow)
    } else {
        let Some(look) = index
            .checked_sub(report.segments.len())
            .and_then(|index| report.looks.get(index))
        else {
            return String::new();
        };
        wrap(sheet, "   ", &render::who(look));
        sheet.push('\n');
        render::why_one(sheet, report, look.code.as_str());
        ("look".to_owned(), look.flow)
    };
    if let Some(flow) = flow.and_then(|id| report.flow(id)) {
        sheet.push('\n');
        render::write_certificate(sheet, report, flow);
    }
    title
}

fn number(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| number.to_string())
}

fn line(sheet: &mut TextBuffer, state: &State, detail: &Detail) -> String {
    let row = state.rows().position(detail.key);
    let line = match state.rows().body() {
        Body::Log(lines) => row.and_then(|row| lines.get(row)),
        _ => None,
    };
    if let Some(line) = line {
        wrap(sheet, &format!("{}  ", log::clock(line.at)), &printable(&line.text));
    }
    "log".to_owned()
}

/// Draws lines, from one of them on. Those that begin with a mark have its colour.
pub(super) fn lines(pen: &mut Pen<'_>, area: Rect, lines: &[String], scroll: usize) {
    let visible = lines.iter().enumerate().skip(scroll).take(area.height.into());
    for (at, (number, line)) in visible.enumerate() {
        let area = Rect::new(area.x, area.y + at as u16, area.width, 1);
        // A mark is one byte.
        let mark = line
            .chars()
            .next()
            .filter(|_| line.get(1..).is_some_and(|rest| rest.starts_with("  ")));
        match (mark, line.split_once("   ")) {
            (Some(mark), _) if Role::of_mark(mark) != Role::Plain => {
                let rest = pen.write(area, &line[..1], Role::of_mark(mark));
                pen.write(rest, &line[1..], Role::Plain);
            }
            // The verdict, in capitals, stands before three spaces.
            (_, Some((verdict, rest))) if number == 0 && !verdict.is_empty() && verdict.to_uppercase() == verdict => {
                let left = pen.write(area, verdict, Role::Strong);
                pen.write(left, &format!("   {rest}"), Role::Plain);
            }
            _ => {
                pen.write(area, line, Role::Plain);
            }
        }
    }
}

/// Which lines of how many are to be seen, if not all are.
pub(super) fn extent(lines: usize, scroll: usize, height: u16) -> Option<String> {
    let last = scroll.saturating_add(height.into()).min(lines);
    let first = scroll.saturating_add(1).min(last);
    (scroll > 0 || last < lines).then(|| format!(" lines {first} to {last} of {} ", count(lines as u64)))
}
