//! The details of a line of the log: the whole line.

use zctrace_report::format::printable;

use super::super::log;
use crate::render::text::{TextBuffer, wrap};
use crate::viewer::rows::RowData;
use crate::viewer::state::{Detail, State};

pub(super) fn write(text: &mut TextBuffer, state: &State, detail: &Detail) -> String {
    let row = state.rows().position(detail.key);
    let line = match state.rows().body() {
        RowData::Log(lines) => row.and_then(|row| lines.get(row)),
        _ => None,
    };
    if let Some(line) = line {
        wrap(text, &format!("{}  ", log::clock(line.at)), &printable(&line.text));
    }
    "log".to_owned()
}
