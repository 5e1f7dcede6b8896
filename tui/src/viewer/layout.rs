//! What lies where on a screen of this size: used by the view to draw, and by the state to know how many rows a page has and
//! what was clicked. Pure.

use ratatui::layout::Rect;

use super::state::{State, View};

/// The parts of the screen. A part that has no room is empty.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Layout {
    /// Share, scope, tier, coverage, loss, rate, cost.
    pub(crate) header: Rect,
    /// The names of the views.
    pub(crate) tabs: Rect,
    /// The titles of the columns.
    pub(crate) titles: Rect,
    /// The rows, one line each; or the text of a detail, or of an overlay.
    pub(crate) rows: Rect,
    /// The terminal of CMD, without its frame. Its size is that of the pty.
    pub(crate) pane: Rect,
    /// The line above the pane.
    pub(crate) pane_title: Rect,
    /// The filter as it is typed, or the last message, or what the cursor is on.
    pub(crate) status: Rect,
    /// The keys.
    pub(crate) footer: Rect,
}

/// What is at a place of the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hit {
    /// The name of a view.
    Tab(View),
    /// The title of a column of the view.
    Column(usize),
    /// A line of the rows, from 0 for the first that is visible.
    Row(usize),
    /// CMD's terminal.
    Pane,
}

/// Where everything is.
pub(crate) fn layout(state: &State) -> Layout {
    let (width, height) = (state.size.width, state.size.height);
    let mut top = 0;
    let mut take = |lines: u16| {
        let lines = lines.min(height - top);
        let rect = Rect::new(0, top, width, lines);
        top += lines;
        rect
    };
    let header = take(4);
    let tabs = take(1);
    let titles = take(1);
    let wanted = if state.pane.shown() { height / 3 } else { 0 };
    let body = height.saturating_sub(8 + wanted + u16::from(wanted > 0));
    let rows = take(body);
    let pane_title = take(u16::from(wanted > 0));
    let pane = take(wanted);
    let status = take(1);
    let footer = take(1);
    Layout {
        header,
        tabs,
        titles,
        rows,
        pane,
        pane_title,
        status,
        footer,
    }
}

/// What is at this place, if it can be clicked.
pub(crate) fn hit(state: &State, column: u16, row: u16) -> Option<Hit> {
    let layout = layout(state);
    let at = ratatui::layout::Position::new(column, row);
    if layout.rows.contains(at) {
        return Some(Hit::Row(usize::from(row - layout.rows.y)));
    }
    layout.pane.contains(at).then_some(Hit::Pane)
}

/// How far down the text of the present detail or overlay can be scrolled: its lines, less those that are visible.
pub(crate) fn overflow(_: &State) -> usize {
    0
}
