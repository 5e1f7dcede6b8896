//! Layout: the areas of a screen of a given size. The view uses it to draw, and the state uses it
//! to compute rows per page and to resolve clicks. Pure.

use ratatui::layout::Rect;

use super::state::{State, View};
use super::view;

/// Areas of the screen. An area without space is empty.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Layout {
    /// Share, scope, tier, coverage, loss, rate, overhead.
    pub(crate) header: Rect,
    /// Names of the views.
    pub(crate) tabs: Rect,
    /// Titles of the columns.
    pub(crate) titles: Rect,
    /// The rows, one line each; or the text of a detail view or an overlay.
    pub(crate) rows: Rect,
    /// The command's terminal, without its frame. Its size is that of the pty.
    pub(crate) pane: Rect,
    /// The line above the pane.
    pub(crate) pane_title: Rect,
    /// The filter being typed, or the latest message, or a description of the selected row.
    pub(crate) status: Rect,
    /// The keys.
    pub(crate) footer: Rect,
}

/// Target of a click.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hit {
    /// The name of a view.
    Tab(View),
    /// The title of a column of the view.
    Column(usize),
    /// A line of the rows; 0 is the first visible one.
    Row(usize),
    /// The command's terminal.
    Pane,
}

/// Rows that must be visible before the header gets a second line or a pane gets any.
const MIN_ROWS: u16 = 5;

/// Maximum number of header lines.
const HEADER_LINES: u16 = 4;

/// Computes all areas. With few lines, the verdict comes first, then rows, tabs, status, titles and
/// keys.
pub(crate) fn layout(state: &State) -> Layout {
    let (width, height) = (state.size.width, state.size.height);
    let mut free = height;
    let [mut header, mut rows, tabs, status, titles, footer] = [(); 6].map(|()| take_lines(&mut free, 1, 0));
    header += take_lines(&mut free, HEADER_LINES - 1, MIN_ROWS);
    let mut pane = 0;
    let mut pane_title = 0;
    if state.pane.shown() && free > MIN_ROWS {
        let wanted = if state.pane.large {
            free - MIN_ROWS / 2
        } else {
            height / 3
        };
        pane_title = take_lines(&mut free, 1, 0);
        pane = take_lines(&mut free, wanted, MIN_ROWS / 2);
    }
    rows += free;

    let mut top = 0;
    let mut place = |lines: u16| {
        let rect = Rect::new(0, top, width, lines);
        top += lines;
        rect
    };
    Layout {
        header: place(header),
        tabs: place(tabs),
        titles: place(titles),
        rows: place(rows),
        pane_title: place(pane_title),
        pane: place(pane),
        status: place(status),
        footer: place(footer),
    }
}

/// Takes this many of the free lines, or as many as there are beyond `keep`.
fn take_lines(free: &mut u16, wanted: u16, keep: u16) -> u16 {
    let lines = wanted.min(free.saturating_sub(keep));
    *free -= lines;
    lines
}

/// Returns the clickable target at this position.
pub(crate) fn hit(state: &State, column: u16, row: u16) -> Option<Hit> {
    let layout = layout(state);
    let at = ratatui::layout::Position::new(column, row);
    if layout.tabs.contains(at) {
        return view::tab_at(state, column).map(Hit::Tab);
    }
    if layout.titles.contains(at) {
        return view::column_at(state, column).map(Hit::Column);
    }
    if layout.rows.contains(at) {
        return Some(Hit::Row(usize::from(row - layout.rows.y)));
    }
    layout.pane.contains(at).then_some(Hit::Pane)
}

/// Returns how far down the text of the present detail view or overlay can be scrolled: its lines
/// minus the visible ones.
pub(crate) fn max_scroll(state: &State) -> usize {
    view::text_height(state).saturating_sub(layout(state).rows.height.into())
}
