//! `w`: what is shown, to a file: the whole report as JSON, or the view as text with all its rows.
//!
//! The file must not be there yet: who runs zctrace is often root, and a name is quickly mistyped. A file that could not be
//! written whole is taken away again.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};

use super::layout::{layout, max_scroll};
use super::state::State;
use super::view;

/// Rows of a view that are written as text; the JSON has all.
const MAX_ROWS: usize = 10_000;

/// The width of the text, if the terminal is not wider.
const WIDTH: u16 = 160;

/// What is written.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// The report.
    Json(std::sync::Arc<zctrace_report::Report>),
    /// The view.
    Text(String),
}

/// What is to be written to a file of this name. Nothing if nothing was reported yet.
pub(crate) fn content(state: &mut State, path: &Path) -> Option<Content> {
    let json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    let report = &state.snapshot.as_ref()?.report;
    Some(if json {
        Content::Json(report.clone())
    } else {
        Content::Text(text(state))
    })
}

/// Writes it. How many bytes.
pub(crate) fn write(path: &Path, content: &Content) -> io::Result<u64> {
    let text = match content {
        Content::Json(report) => report.to_json_pretty() + "\n",
        Content::Text(text) => text.clone(),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    // Some filesystems say that there is no room only when all is to be on the disk.
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(text.len() as u64)
}

/// The view as it is drawn, without its keys, with all its rows one page after the other.
fn text(state: &mut State) -> String {
    let (size, pane) = (state.size, std::mem::take(&mut state.pane));
    let message = state.message.take();
    let width = size.width.max(WIDTH);
    let text = state.with_size(Size::new(width, size.height.max(24)), |state| {
        let lines_of_page = state.page();
        let rows = if state.detail().is_some() {
            max_scroll(state) + lines_of_page
        } else {
            state.rows().len()
        };
        let mut lines = Vec::new();
        let mut from = 0;
        while from < rows.clamp(1, MAX_ROWS) {
            let first = state.scroll_to(from);
            let buffer = draw_to_buffer(state);
            let parts = layout(state);
            if lines.is_empty() {
                for part in [parts.header, parts.tabs, parts.titles] {
                    lines.extend(lines_of(&buffer, part));
                }
            }
            // The last page shows some rows again.
            lines.extend(lines_of(&buffer, parts.rows).into_iter().skip(from - first.min(from)));
            from += lines_of_page;
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        if rows > MAX_ROWS {
            lines.push(format!("… {} more rows: write *.json for all", rows - MAX_ROWS));
        }
        lines.push(String::new());
        lines.join("\n")
    });
    state.pane = pane;
    state.message = message;
    text
}

fn draw_to_buffer(state: &State) -> Buffer {
    // This backend is memory, and has no errors.
    let Ok(mut terminal) = Terminal::new(TestBackend::new(state.size.width, state.size.height));
    let Ok(_) = terminal.draw(|frame| view::draw(frame, state));
    terminal.backend().buffer().clone()
}

/// The lines of a part of what was drawn, without the space behind them.
fn lines_of(buffer: &Buffer, part: Rect) -> Vec<String> {
    let line = |y: u16| {
        let mut line = String::new();
        let mut x = part.x;
        while x < part.right() {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol))
                .unwrap_or(1)
                .max(1);
        }
        line.trim_end().to_owned()
    };
    (part.y..part.bottom()).map(line).collect()
}
