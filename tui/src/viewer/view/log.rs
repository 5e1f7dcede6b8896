//! Rows of the log, newest last.

use std::time::Duration;

use ratatui::layout::Rect;

use super::cell_writer::CellWriter;
use crate::viewer::rows::RowData;
use crate::viewer::state::{Level, State};
use crate::viewer::theme::Role;

pub(super) fn draw(writer: &mut CellWriter<'_>, titles: Rect, area: Rect, state: &State) {
    writer.write(titles, "   time      message", Role::Head);
    let RowData::Log(lines) = state.rows().body() else {
        return;
    };
    let table = state.table();
    for (at, (row, line)) in lines
        .iter()
        .enumerate()
        .skip(table.scroll)
        .take(area.height.into())
        .enumerate()
    {
        let area = Rect::new(area.x, area.y + at as u16, area.width, 1);
        let (mark, role) = match line.level {
            Level::Note => (" ", Role::Plain),
            Level::Warning => ("?", Role::Warning),
            Level::Error => ("!", Role::Alert),
        };
        let cursor = if row == table.cursor { ">" } else { " " };
        let rest = writer.write_spans(
            area,
            [
                (cursor.into(), Role::Strong),
                (mark.into(), role),
                (format!(" {}  ", clock(line.at)).into(), Role::Dim),
            ],
        );
        let text = writer.scrolled(&line.text, table.h_scroll, rest.width.into());
        let role = if line.level == Level::Error {
            Role::Strong
        } else {
            Role::Plain
        };
        writer.write(rest, &text, role);
        if row == table.cursor {
            writer.paint(area, Role::Cursor);
        }
    }
}

/// Formats a time since the viewer started: `00:01:07`.
pub(super) fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
