//! Titles and rows of a view: chooses the columns that fit and their positions, then draws the
//! visible rows cell by cell.

use std::borrow::Cow;

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;
use zctrace_report::format::size;
use zctrace_report::{Account, Endpoint};

use super::cell_writer::{CellWriter, Side};
use super::{bar, flows, map, pipes, processes, reasons, segments};
use crate::render;
use crate::viewer::rows::{Align, Column, RowData, columns};
use crate::viewer::state::{State, View};
use crate::viewer::theme::Role;

/// Columns before the first one: cursor, mark, space.
const GUTTER: u16 = 3;

/// Minimum width of a column of names.
const MIN_NAME_WIDTH: u16 = 4;

/// Content of a cell.
pub(super) enum Cell<'a> {
    /// A text.
    Text(Cow<'a, str>, Role),
    /// An endpoint: if too long it loses the beginning of its name and keeps its kind.
    Endpoint(&'a Endpoint),
    /// A call site: if too long it loses its beginning, because the line number is at the end.
    CallSite(String),
    /// A bar of verdicts.
    Bar(&'a Account),
    /// A bar of a part and a whole.
    Gauge(u64, u64),
}

impl Cell<'_> {
    pub(super) const EMPTY: Self = Self::Text(Cow::Borrowed(""), Role::Plain);

    /// Returns a cell for a number of bytes; 0 is drawn as less important.
    pub(super) fn size(bytes: u64, role: Role) -> Self {
        Self::Text(size(bytes).into(), if bytes == 0 { Role::Dim } else { role })
    }

    /// Returns a cell for an unknown number.
    pub(super) const fn unknown() -> Self {
        Self::Text(Cow::Borrowed("–"), Role::Dim)
    }
}

/// Returns moved, copied, unknown or the sum of an account, by the title of the column.
pub(super) fn account_cell<'a>(title: &str, payload: u64, account: &'a Account) -> Option<Cell<'a>> {
    // If nothing is known, 0 would claim too much.
    let nothing_known = account.unknown > 0 && account.unknown == account.delivered();
    Some(match title {
        "bytes" => Cell::size(payload, Role::Plain),
        "moved" | "copied" if nothing_known => Cell::unknown(),
        "moved" => Cell::size(account.moved, Role::Moved),
        "copied" => Cell::size(account.copied, Role::Copied),
        "unknown" => Cell::size(account.unknown, Role::Unknown),
        "= x ?" => Cell::Bar(account),
        _ => return None,
    })
}

/// Returns the columns that fit, each with its index, its first screen column and its width, and
/// whether others were dropped.
fn visible_columns(view: View, area: Rect) -> (Vec<(usize, u16, u16)>, bool) {
    let all = columns(view);
    let gap = if area.width >= 100 { 2 } else { 1 };
    let mut kept: Vec<(usize, u16)> = all
        .iter()
        .enumerate()
        .map(|(index, column)| (index, column.width))
        .collect();
    let needed = |kept: &[(usize, u16)]| {
        let wide: u16 = kept.iter().map(|(_, wide)| wide + gap).sum();
        (GUTTER + wide).saturating_sub(gap)
    };
    let mut room = area.width;
    while needed(&kept) > room {
        let last = kept.iter().copied().filter(|&(index, _)| all[index].drop_order > 0);
        let Some((last, _)) = last.max_by_key(|&(index, _)| all[index].drop_order) else {
            break;
        };
        kept.retain(|&(index, _)| index != last);
        // One column for the mark of dropped columns.
        room = area.width.saturating_sub(1);
    }
    shrink(&mut kept, all, needed, room);
    // Columns of names share the remaining space.
    let left = room.saturating_sub(needed(&kept));
    let parts: u16 = kept.iter().map(|&(index, _)| all[index].flex).sum();
    let mut given = 0;
    let mut part = 0;
    for (index, wide) in &mut kept {
        part += all[*index].flex;
        let until = u32::from(left) * u32::from(part) / u32::from(parts.max(1));
        let more = (until as u16).saturating_sub(given);
        given += more;
        *wide += more;
    }
    let mut at = area.x + GUTTER.min(area.width);
    let places: Vec<_> = kept
        .iter()
        .map(|&(index, wide)| {
            let place = (index, at, wide);
            at = at.saturating_add(wide + gap);
            place
        })
        .filter(|&(_, at, wide)| at + wide <= area.right())
        .collect();
    let others = places.len() < all.len();
    (places, others)
}

/// Narrows the columns of names if even the remaining columns do not fit.
fn shrink(kept: &mut [(usize, u16)], all: &[Column], needed: impl Fn(&[(usize, u16)]) -> u16, room: u16) {
    while needed(kept) > room {
        let widest = kept
            .iter_mut()
            .filter(|(index, wide)| all[*index].flex > 0 && *wide > MIN_NAME_WIDTH)
            .max_by_key(|(_, wide)| *wide);
        match widest {
            Some((_, wide)) => *wide -= 1,
            None => break,
        }
    }
}

/// Returns the column at this position of the title line.
pub(super) fn column_at(view: View, area: Rect, column: u16) -> Option<usize> {
    let (places, _) = visible_columns(view, area);
    let here = |&&(_, at, wide): &&(usize, u16, u16)| (at..at + wide).contains(&column);
    places.iter().find(here).map(|&(index, _, _)| index)
}

/// Draws the title line.
pub(super) fn titles(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    let sort = state.table().sort;
    let (places, others) = visible_columns(state.view, area);
    for (index, at, wide) in places {
        let column = &columns(state.view)[index];
        let cell = Rect::new(at, area.y, wide, area.height.min(1));
        let sorted = index == sort.column;
        // `v` for descending, `^` for ascending: letters, so that the order is visible without
        // colors.
        let arrow = if sort.descending { 'v' } else { '^' };
        let room = usize::from(wide);
        let title = match sorted {
            true if column.title.width() + 2 <= room => format!("{} {arrow}", column.title),
            true => format!(
                "{}{arrow}",
                super::cell_writer::prefix(column.title, room.saturating_sub(1))
            ),
            false => column.title.to_owned(),
        };
        let role = if sorted { Role::Sorted } else { Role::Head };
        writer.write_aligned(cell, &title, side(column), role);
    }
    if others && area.width > 0 {
        let last = Rect::new(area.right() - 1, area.y, 1, area.height.min(1));
        writer.write(last, writer.glyphs().ellipsis(), Role::Dim);
    }
}

fn side(column: &Column) -> Side {
    match column.align {
        Align::Left => Side::Left,
        Align::Right => Side::Right,
    }
}

/// Draws the visible rows.
pub(super) fn rows(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    let (places, _) = visible_columns(state.view, area);
    let table = state.table();
    let visible = (table.scroll..state.rows().len()).take(area.height.into());
    for (line, row) in visible.enumerate() {
        let area = Rect::new(area.x, area.y + line as u16, area.width, 1);
        let mark = mark(state, row);
        let gutter = writer.write(area, if row == table.cursor { ">" } else { " " }, Role::Strong);
        writer.write(gutter, mark.encode_utf8(&mut [0; 4]), Role::from_mark(mark));
        for &(index, at, wide) in &places {
            let column = &columns(state.view)[index];
            let place = Rect::new(at, area.y, wide, 1);
            draw(writer, place, column, cell(state, row, column.title), table.h_scroll);
        }
        if row == table.cursor {
            writer.paint(area, Role::Cursor);
        }
    }
}

fn draw(writer: &mut CellWriter<'_>, place: Rect, column: &Column, cell: Cell<'_>, h_scroll: u16) {
    let room = usize::from(place.width);
    // Only columns whose width depends on the screen are scrolled.
    let h_scroll = if column.flex > 0 { h_scroll } else { 0 };
    match cell {
        Cell::Text(text, role) => {
            let text = writer.scrolled(&text, h_scroll, room);
            writer.write_aligned(place, &text, side(column), role);
        }
        Cell::CallSite(text) => {
            let h_scroll = if h_scroll == 0 { u16::MAX } else { h_scroll };
            let text = writer.scrolled(&text, h_scroll, room);
            writer.write_aligned(place, &text, Side::Left, Role::Plain);
        }
        Cell::Endpoint(end) if h_scroll == 0 => {
            writer.write_aligned(place, &render::shorten_endpoint(end, room), Side::Left, Role::Plain);
        }
        Cell::Endpoint(end) => {
            let text = end.to_string();
            let text = writer.scrolled(&text, h_scroll, room);
            writer.write_aligned(place, &text, Side::Left, Role::Plain);
        }
        Cell::Bar(account) => bar::draw(writer, place, account),
        Cell::Gauge(part, whole) => {
            let cells = u128::from(part) * u128::from(place.width);
            let cells = cells.div_ceil(u128::from(whole.max(1))).min(u128::from(place.width)) as usize;
            let text = format!("{}{}", "#".repeat(cells), ".".repeat(room - cells));
            let role = if part >= whole { Role::Warning } else { Role::Plain };
            writer.write(place, &text, role);
        }
    }
}

/// Returns the mark for a row that deserves attention.
fn mark(state: &State, row: usize) -> char {
    let Some(snapshot) = &state.snapshot else { return ' ' };
    let report = &snapshot.report;
    match state.rows().body() {
        RowData::Map(rows) => rows[row].account.mark(),
        RowData::Flows(rows) => report
            .flows
            .get(rows[row] as usize)
            .map_or(' ', zctrace_report::Flow::mark),
        RowData::Processes(rows) => rows[row].account.mark(),
        RowData::Pipes(rows) => report.pipes.get(rows[row] as usize).map_or(' ', pipes::mark),
        RowData::Reasons(rows) => reasons::mark(&rows[row]),
        RowData::Segments(rows) => segments::mark(report, rows[row]),
        RowData::Log(_) | RowData::Nothing => ' ',
    }
}

fn cell<'a>(state: &'a State, row: usize, title: &str) -> Cell<'a> {
    let Some(snapshot) = &state.snapshot else {
        return Cell::EMPTY;
    };
    let report = &*snapshot.report;
    let found = match state.rows().body() {
        RowData::Map(rows) => Some(map::cell(report, &rows[row], title)),
        RowData::Flows(rows) => flows::cell(state, snapshot, rows[row] as usize, title),
        RowData::Processes(rows) => Some(processes::cell(&rows[row], title)),
        RowData::Pipes(rows) => report
            .pipes
            .get(rows[row] as usize)
            .map(|pipe| pipes::cell(pipe, title)),
        RowData::Reasons(rows) => Some(reasons::cell(report, &rows[row], title)),
        RowData::Segments(rows) => segments::cell(report, rows[row], title),
        RowData::Log(_) | RowData::Nothing => None,
    };
    found.unwrap_or(Cell::EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_never_overlap_or_exceed_the_width() {
        for view in View::ALL {
            for width in 0..300 {
                let area = Rect::new(0, 0, width, 1);
                let (places, others) = visible_columns(view, area);
                let mut end = 0;
                for &(_, at, wide) in &places {
                    assert!(at >= end && at + wide <= width, "{view:?} {width} {places:?}");
                    end = at + wide;
                }
                assert_eq!(others, places.len() < columns(view).len());
                if width >= 200 {
                    assert!(!others, "{view:?} {width}");
                }
                if width >= 80 {
                    let stays = columns(view).iter().filter(|column| column.drop_order == 0).count();
                    assert!(places.len() >= stays, "{view:?} {width}");
                }
            }
        }
    }

    #[test]
    fn finds_columns_where_titles_are_drawn() {
        let area = Rect::new(0, 5, 120, 1);
        for view in View::ALL {
            for (index, at, wide) in visible_columns(view, area).0 {
                assert_eq!(super::column_at(view, area, at), Some(index));
                assert_eq!(super::column_at(view, area, at + wide - 1), Some(index));
            }
        }
        assert_eq!(super::column_at(View::Flows, area, 0), None);
    }
}
