//! Status line above the keys: the input line, else the current message, else the selection and the
//! basis of the numbers.

use std::borrow::Cow;

use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use unicode_width::UnicodeWidthStr;
use zctrace_report::format::count;

use super::cell_writer::{CellWriter, prefix};
use super::{pipes, reasons};
use crate::viewer::rows::{Filtered, columns};
use crate::viewer::state::{Level, Phase, Prompt, Purpose, State, View};
use crate::viewer::theme::Role;

pub(super) fn draw(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    if let Some(prompt) = &state.prompt {
        typed(writer, area, prompt);
    } else if let Some(message) = &state.message {
        let role = match message.level {
            Level::Note => Role::Strong,
            Level::Warning => Role::Warning,
            Level::Error => Role::Alert,
        };
        writer.write(area, &message.text, role);
    } else {
        here(writer, area, state);
    }
}

/// Draws the input line with its cursor always visible.
fn typed(writer: &mut CellWriter<'_>, area: Rect, prompt: &Prompt) {
    let what = match prompt.purpose {
        Purpose::Filter => "filter: ",
        Purpose::Export => "write to: ",
    };
    let area = writer.write(area, what, Role::Strong);
    if area.is_empty() {
        return;
    }
    let room = usize::from(area.width).saturating_sub(1);
    let before = &prompt.text[..prompt.cursor];
    // Scrolls only as far as needed to show the cursor.
    let mut shown = before;
    let mut cut = "";
    while shown.width() + cut.len().min(1) > room && !shown.is_empty() {
        cut = writer.glyphs().ellipsis();
        shown = &shown[shown.chars().next().map_or(0, char::len_utf8)..];
    }
    let left = writer.write(area, &format!("{cut}{shown}"), Role::Plain);
    writer.write(left, &prompt.text[prompt.cursor..], Role::Plain);
    let cursor = Rect::new(left.x, left.y, left.width.min(1), left.height.min(1));
    let cursor = cursor.intersection(area);
    writer
        .buffer()
        .set_style(cursor, Style::new().add_modifier(Modifier::REVERSED));
}

/// Returns a description of the selection.
fn here(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    let mut said: Vec<(Cow<'_, str>, Role)> = Vec::new();
    match &state.phase {
        Phase::Ended(why) => said.push((format!("{why} · ").into(), Role::Strong)),
        Phase::Failed { cause, .. } => said.push((format!("{cause} · ").into(), Role::Warning)),
        Phase::Starting | Phase::Live => {}
    }
    if !state.filter.is_empty() {
        said.push((format!("{} · ", filtered(state)).into(), Role::Warning));
    }
    if state.rows().len() > 0 && state.detail().is_none() {
        let table = state.table();
        let row = format!(
            "{} of {}",
            count(table.cursor as u64 + 1),
            count(state.rows().len() as u64)
        );
        said.push((row.into(), Role::Plain));
        if let Some(column) = columns(state.view).get(table.sort.column) {
            let way = if table.sort.descending { "largest" } else { "smallest" };
            said.push((
                format!(", by {}, {way} first", prefix(column.title, 20)).into(),
                Role::Dim,
            ));
        }
    }
    if let Some(note) = note(state) {
        let gap = if said.is_empty() { "" } else { " · " };
        said.push((format!("{gap}{note}").into(), Role::Dim));
    }
    if let Some((last, _)) = said.last_mut() {
        let trimmed = last.trim_end_matches(" · ").to_owned();
        *last = trimmed.into();
    }
    writer.write_spans(area, said);
}

/// Returns the effect of the filter on the view.
fn filtered(state: &State) -> String {
    let (one, many) = match state.view {
        View::Pipes => ("pipe", "pipes"),
        View::Log => ("line", "lines"),
        _ => ("flow", "flows"),
    };
    match state.rows().filtered() {
        Filtered::NotApplicable(field) => format!("filter {} does not apply: a {one} has no `{field}`", state.filter),
        Filtered::Hidden {
            count: hidden,
            undecided,
        } => {
            let what = if hidden == 1 { one } else { many };
            let text = format!("filter {} hides {} {what}", state.filter, count(hidden));
            match undecided {
                0 => text,
                _ => format!("{text} ({} may match)", count(undecided)),
            }
        }
    }
}

/// Returns the basis of the view's numbers.
fn note(state: &State) -> Option<String> {
    let report = &state.snapshot.as_ref()?.report;
    if state.rows().len() == 0 {
        return None;
    }
    let omitted = &report.omitted;
    let more = |more: u64| (more > 0).then(|| format!("{} more are not listed", count(more)));
    match state.view {
        View::Pipes => Some(pipes::limits(report)),
        View::Reasons => Some(reasons::basis(report)),
        View::Processes => more(omitted.processes),
        View::Segments => more(omitted.segments.saturating_add(omitted.peeks)),
        View::Log => more(state.log.discarded()),
        View::Map | View::Flows => None,
    }
}
