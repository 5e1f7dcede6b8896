//! Drawing: a pure function of the state. Only visible rows become text.
//!
//! ```text
//! header.rs   share, scope, tier, coverage, loss, rate, overhead    4 lines, or fewer
//! tabs.rs     the views
//! table.rs    titles and rows of a view; the cells of each view are in a file of their own:
//!             map.rs flows.rs processes.rs pipes.rs reasons.rs segments.rs log.rs
//! details/    instead of the rows: a detail view                   help.rs   or the help
//! pane.rs     the command's terminal
//! status.rs   input line, message, or selection
//! footer.rs   the keys
//! ```
//!
//! All text goes through `cell_writer.rs`, which sanitizes it and truncates it with a mark.

mod bar;
mod cell_writer;
mod details;
mod empty_state;
mod flows;
mod footer;
mod header;
mod help;
mod log;
mod map;
mod pane;
mod pipes;
mod processes;
mod reasons;
mod segments;
mod status;
mod table;
mod tabs;

#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use self::cell_writer::CellWriter;
use super::layout::layout;
use super::state::{Overlay, State, View};
use crate::viewer::theme::Role;

/// Draws the whole screen.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &State) {
    // The frame may be smaller than the size in the state.
    let area = frame.area();
    let parts = layout(state);
    let writer = &mut CellWriter::new(frame.buffer_mut(), state.appearance);
    let within = |part: Rect| part.intersection(area);
    header::draw(writer, within(parts.header), state);
    tabs::draw(writer, within(parts.tabs), state);
    body(writer, within(parts.titles), within(parts.rows), state);
    if state.pane.shown() {
        pane::title(writer, within(parts.pane_title), state);
        pane::draw(writer, within(parts.pane), state);
    }
    status::draw(writer, within(parts.status), state);
    footer::draw(writer, within(parts.footer), state);
}

fn body(writer: &mut CellWriter<'_>, titles: Rect, rows: Rect, state: &State) {
    if let Some((title, lines, scroll)) = text(state, rows.width) {
        let mut left = titles;
        if let Some(extent) = details::line_range(lines.len(), scroll, rows.height) {
            let wide = (extent.width() as u16).min(titles.width);
            writer.write_aligned(titles, &extent, cell_writer::Side::Right, Role::Active);
            left.width -= wide;
        }
        writer.write(left, &title, Role::Strong);
        details::lines(writer, rows, &lines, scroll);
    } else if state.rows().len() == 0 {
        empty_state::draw(writer, rows, state);
    } else if state.view == View::Log {
        log::draw(writer, titles, rows, state);
    } else {
        table::titles(writer, titles, state);
        table::rows(writer, rows, state);
    }
}

/// Returns the text that is shown instead of rows, if any: its title, its lines in this many
/// columns, and the number of lines scrolled out above.
fn text(state: &State, width: u16) -> Option<(String, Vec<String>, usize)> {
    match state.overlay {
        Some(Overlay::Help { scroll }) => return Some((help::title(state), help::lines(state, width), scroll)),
        Some(Overlay::Confirm(doubt)) => return Some((String::new(), help::question(doubt, width), 0)),
        None => {}
    }
    let detail = state.detail()?;
    let (title, lines) = details::text(state, detail, width);
    Some((title, lines, detail.scroll))
}

/// Returns the number of lines of the text that is shown instead of rows; 0 if there is none.
pub(crate) fn text_height(state: &State) -> usize {
    text(state, layout(state).rows.width).map_or(0, |(_, lines, _)| lines.len())
}

/// Returns the view whose tab is at this column.
pub(crate) fn tab_at(state: &State, column: u16) -> Option<View> {
    tabs::tab_at(state, layout(state).tabs, column)
}

/// Returns the column of the view that is at this column of the title line.
pub(crate) fn column_at(state: &State, column: u16) -> Option<usize> {
    if state.detail().is_some() || state.rows().len() == 0 {
        return None;
    }
    table::column_at(state.view, layout(state).titles, column)
}
