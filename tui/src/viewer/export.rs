//! Export (`w`) to a file: the whole report as JSON, or the view as text with all its rows.
//!
//! The file must not exist yet: zctrace often runs as root, and names are mistyped. A file that
//! could not be written completely is removed.

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

/// Maximum number of rows that are written as text; the JSON has all of them.
const MAX_ROWS: usize = 10_000;

/// Width of the text unless the terminal is wider.
const WIDTH: u16 = 160;

/// Content of an export.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// The report.
    Json(std::sync::Arc<zctrace_report::Report>),
    /// The view.
    Text(String),
}

/// Returns the content to be written to a file of this name; `None` if no report exists yet.
pub(crate) fn content(state: &mut State, path: &Path) -> Option<Content> {
    let json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    let report = &state.snapshot.as_ref()?.report;
    Some(if json {
        Content::Json(report.clone())
    } else {
        Content::Text(text(state))
    })
}

/// Writes the content and returns the number of bytes.
pub(crate) fn write(path: &Path, content: &Content) -> io::Result<u64> {
    let text = match content {
        Content::Json(report) => report.to_json_pretty() + "\n",
        Content::Text(text) => text.clone(),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    // Some filesystems report a full disk only at fsync.
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(text.len() as u64)
}

/// Renders the view without its keys, with all its rows, page after page.
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
            // The last page repeats some rows.
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
    // This backend is memory and cannot fail.
    let Ok(mut terminal) = Terminal::new(TestBackend::new(state.size.width, state.size.height));
    let Ok(_) = terminal.draw(|frame| view::draw(frame, state));
    terminal.backend().buffer().clone()
}

/// Returns the lines of an area, without trailing spaces.
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
