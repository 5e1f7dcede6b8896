//! The command's terminal. The command's output is parsed by the pty's own emulator, and only its
//! cells are drawn.

use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::cell_writer::CellWriter;
use crate::viewer::keys::Command;
use crate::viewer::state::State;
use crate::viewer::theme::{Role, ThemeName};

/// Draws the line above the pane.
pub(super) fn title(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    let line = writer.glyphs().rule();
    let key = state
        .keys
        .key_of(Command::Keyboard)
        .map(|key| key.to_string())
        .unwrap_or_default();
    let (what, role) = match (state.pane.focused, state.pane.running) {
        (true, _) => (format!(" keys go to CMD; {key}: back to zctrace "), Role::Active),
        (false, true) => (format!(" CMD is running; {key} sends keys to it "), Role::Strong),
        (false, false) => (" CMD has ended ".to_owned(), Role::Strong),
    };
    let rest = writer.write_spans(area, [(line.repeat(2).into(), Role::Dim), (what.into(), role)]);
    writer.write(rest, &line.repeat(rest.width.into()), Role::Dim);
}

/// Draws its cells.
pub(super) fn draw(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    let Some(screen) = &state.pane.screen else { return };
    let colored = state.appearance.theme != ThemeName::None;
    for row in 0..area.height {
        let mut column = 0;
        while column < area.width {
            let Some(cell) = screen.cell(row, column) else { break };
            let wide = if cell.is_wide() { 2 } else { 1 };
            let place = Rect::new(area.x + column, area.y + row, wide.min(area.width - column), 1);
            let style = style(cell, colored);
            let text = if cell.has_contents() { cell.contents() } else { " " };
            writer.write(place, text, Role::Plain);
            writer.buffer().set_style(place, style);
            column += wide;
        }
    }
    let (row, column) = screen.cursor_position();
    if state.pane.focused && !screen.hide_cursor() && row < area.height && column < area.width {
        let place = Rect::new(area.x + column, area.y + row, 1, 1);
        writer
            .buffer()
            .set_style(place, Style::new().add_modifier(Modifier::REVERSED));
    }
}

fn style(cell: &vt100::Cell, colored: bool) -> Style {
    let color = |color| match color {
        vt100::Color::Default => Color::Reset,
        vt100::Color::Idx(index) => Color::Indexed(index),
        vt100::Color::Rgb(r, g, b) => Color::Rgb(r, g, b),
    };
    let mut style = Style::new();
    if colored {
        style = style.fg(color(cell.fgcolor())).bg(color(cell.bgcolor()));
    }
    for (set, modifier) in [
        (cell.bold(), Modifier::BOLD),
        (cell.dim(), Modifier::DIM),
        (cell.italic(), Modifier::ITALIC),
        (cell.underline(), Modifier::UNDERLINED),
        (cell.inverse(), Modifier::REVERSED),
    ] {
        if set {
            style = style.add_modifier(modifier);
        }
    }
    style
}
