//! Tabs: the names of the views with their keys, and on the right how much the filter hides of the
//! active view.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;
use zctrace_report::format::count;

use super::cell_writer::{CellWriter, Side};
use crate::viewer::keys::Command;
use crate::viewer::rows::Filtered;
use crate::viewer::state::{State, View};
use crate::viewer::theme::Role;

/// Returns the tabs with their texts. If not all names fit, only the active view keeps its own.
fn tabs(state: &State, width: u16) -> Vec<(View, String)> {
    let key = |view| {
        state
            .keys
            .key_of(Command::Show(view))
            .map(|key| format!("{key} "))
            .unwrap_or_default()
    };
    let with_names = |all: bool| -> Vec<(View, String)> {
        let tab = |view: View| {
            let here = view == state.view;
            let key = key(view);
            match (here, all) {
                (true, _) => format!("[{key}{}]", view.title()),
                (false, true) => format!(" {key}{} ", view.title()),
                (false, false) if key.is_empty() => format!(" {} ", &view.title()[..1]),
                (false, false) => format!(" {key}"),
            }
        };
        View::ALL.into_iter().map(|view| (view, tab(view))).collect()
    };
    let all = with_names(true);
    let wide: usize = all.iter().map(|(_, text)| text.width()).sum();
    if wide <= usize::from(width) {
        all
    } else {
        with_names(false)
    }
}

pub(super) fn draw(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    let tabs = tabs(state, area.width);
    let pieces = tabs.into_iter().map(|(view, text)| {
        let role = if view == state.view { Role::Active } else { Role::Plain };
        (text.into(), role)
    });
    let left = writer.write_spans(area, pieces);
    let filtered = filtered(state);
    // Whole or not at all: the status line shows it too.
    let room = usize::from(left.width).saturating_sub(1);
    if let Some(text) = filtered.iter().find(|text| text.width() < room) {
        writer.write_aligned(left, text, Side::Right, Role::Warning);
    }
}

/// Returns the effect of the filter on this view, in a short and a shorter form; empty without a
/// filter.
fn filtered(state: &State) -> Vec<String> {
    match state.rows().filtered() {
        _ if state.filter.is_empty() => Vec::new(),
        Filtered::NotApplicable(_) => vec!["all shown".to_owned()],
        Filtered::Hidden { count: hidden, .. } => vec![format!("{} hidden", count(hidden)), "filtered".to_owned()],
    }
}

/// Returns the tab at this column.
pub(super) fn tab_at(state: &State, area: Rect, column: u16) -> Option<View> {
    let mut at = usize::from(area.x);
    let column = usize::from(column);
    for (view, text) in tabs(state, area.width) {
        at += text.width();
        if column < at {
            return Some(view);
        }
    }
    None
}
