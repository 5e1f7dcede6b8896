//! The complete state of the viewer. The view reads it and changes nothing; [`State::apply`]
//! changes it and draws nothing.
//!
//! # Invariants for views
//!
//! * `snapshot` passed [`Report::check`](zctrace_report::Report::check)'s invariants or is `None`
//!   (phase `Starting`). While paused it is the snapshot that was shown when the pause began;
//!   `newest` is updated, for the header.
//! * `before` is the snapshot that rates are computed against: older than `snapshot`, of the same
//!   trace, or `None`.
//! * `rows()` are those of the present view, sort and filter, of `snapshot`. They are derived when
//!   one of these changes, never while drawing. `table().cursor < rows().len()` unless there are no
//!   rows, and `table().scroll` keeps the cursor within the lines of
//!   [`layout`](super::layout::layout)`.rows`.
//! * The cursor stays on its row by [`RowKey`], wherever that row is sorted to. On the first line
//!   it stays on that line, and so it does on the last line of the log.
//! * The row of a [`Detail`] on the stack may no longer exist: then its `index` is `None`, and the
//!   view says so.
//! * Times are [`Duration`]s since the viewer started: no clock is read.
//! * Names, paths, peers and lines of the log are foreign text: `zctrace_report::format::printable`
//!   before they are drawn.

mod apply;
mod detail;
mod log;
mod pane;
mod phase;
mod prompt;
mod table;
mod view;

use std::sync::Arc;
use std::time::Duration;

use ratatui::layout::Size;
use zctrace_report::Report;

pub(crate) use self::apply::{Action, Effect};
pub(crate) use self::detail::Detail;
pub(crate) use self::log::{Level, Log};
pub(crate) use self::pane::Pane;
pub(crate) use self::phase::Phase;
pub(crate) use self::prompt::{Edit, Prompt, Purpose};
pub(crate) use self::table::{Sort, TableState};
pub(crate) use self::view::View;
use super::keys::KeyMap;
use super::rows::{self, FlowKeys, RowKey, RowQuery, Rows};
use super::theme::ThemeName;
use crate::filter::{Filter, ParseError};
use crate::recorder::RecordingProgress;
use crate::tracer::PlaybackState;

/// A report with its time.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The report.
    pub(crate) report: Arc<Report>,
    /// Time since the viewer started; for a recording, the recording's own time.
    pub(crate) at: Duration,
    /// Keys of its flows.
    pub(crate) keys: Arc<FlowKeys>,
}

/// Overlay that covers the screen and takes the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Overlay {
    /// The help, scrolled.
    Help {
        /// Lines scrolled out above the screen.
        scroll: usize,
    },
    /// A question, answered with y or n.
    Confirm(Question),
}

/// An action that needs confirmation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// Quitting while the command runs, which ends it.
    EndCommand {
        /// `true` to print the report then.
        print: bool,
    },
}

/// Appearance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Appearance {
    /// Colors.
    pub(crate) theme: ThemeName,
    /// `true` if only ASCII may be drawn.
    pub(crate) ascii: bool,
    /// `true` if the terminal supports 24-bit colors.
    pub(crate) true_color: bool,
}

/// A message that disappears by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// Text.
    pub(crate) text: String,
    /// Severity.
    pub(crate) level: Level,
    /// Time at which it disappears.
    pub(crate) until: Duration,
}

/// The complete state of the viewer.
#[derive(Debug)]
pub(crate) struct State {
    /// Displayed snapshot.
    pub(crate) snapshot: Option<Snapshot>,
    /// Snapshot that rates are computed against.
    pub(crate) before: Option<Snapshot>,
    /// The newest snapshot while paused; otherwise equal to `snapshot`.
    pub(crate) newest: Option<Snapshot>,
    /// Phase of the trace.
    pub(crate) phase: Phase,
    /// `true` if the display is frozen while tracing continues.
    pub(crate) paused: bool,
    /// Position of a replay; `None` if live.
    pub(crate) playback: Option<PlaybackState>,
    /// Progress of a concurrent recording, if there is one.
    pub(crate) recording: Option<RecordingProgress>,
    /// Active view.
    pub(crate) view: View,
    /// Cursor, scroll position and sort order of each view.
    tables: [TableState; View::ALL.len()],
    /// Rows of the active view.
    rows: Rows,
    /// Active filter.
    pub(crate) filter: Filter,
    /// Filter text as typed.
    pub(crate) filter_text: String,
    /// Input line, if one is open; it then takes the keys.
    pub(crate) prompt: Option<Prompt>,
    /// Error in the prompt's filter text; the last valid filter stays active.
    pub(crate) filter_error: Option<ParseError>,
    /// Stack of detail views, the last opened on top.
    pub(crate) details: Vec<Detail>,
    /// Overlay that covers everything.
    pub(crate) overlay: Option<Overlay>,
    /// Current message.
    pub(crate) message: Option<Message>,
    /// Log.
    pub(crate) log: Log,
    /// The command's terminal.
    pub(crate) pane: Pane,
    /// Key bindings.
    pub(crate) keys: Arc<KeyMap>,
    /// Appearance.
    pub(crate) appearance: Appearance,
    /// Size of the terminal.
    pub(crate) size: Size,
    /// Current time since the viewer started.
    pub(crate) now: Duration,
}

impl State {
    /// Creates the state before the first report.
    pub(crate) fn new(keys: Arc<KeyMap>, appearance: Appearance, size: Size) -> Self {
        Self {
            snapshot: None,
            before: None,
            newest: None,
            phase: Phase::Starting,
            paused: false,
            playback: None,
            recording: None,
            view: View::Flows,
            tables: View::ALL.map(TableState::new),
            rows: Rows::default(),
            filter: Filter::default(),
            filter_text: String::new(),
            prompt: None,
            filter_error: None,
            details: Vec::new(),
            overlay: None,
            message: None,
            log: Log::default(),
            pane: Pane::default(),
            keys,
            appearance,
            size,
            now: Duration::ZERO,
        }
    }

    /// Returns cursor, scroll position and sort order of the active view.
    pub(crate) fn table(&self) -> &TableState {
        &self.tables[self.view as usize]
    }

    /// Returns the rows of the active view.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Returns the key of the selected row.
    pub(crate) fn selected(&self) -> Option<RowKey> {
        self.rows.key(self.table().cursor)
    }

    /// Returns the top detail view.
    pub(crate) fn detail(&self) -> Option<&Detail> {
        self.details.last()
    }

    fn table_mut(&mut self) -> &mut TableState {
        &mut self.tables[self.view as usize]
    }

    /// Derives the rows again and keeps the cursor on its row.
    fn derive(&mut self) {
        let on = self.table().anchor;
        self.rows = rows::derive(&RowQuery {
            view: self.view,
            now: self.snapshot.as_ref(),
            before: self.before.as_ref(),
            log: &self.log,
            sort: self.table().sort,
            filter: &self.filter,
        });
        let position = on.and_then(|key| self.rows.position(key));
        let cursor = match position {
            Some(position) => position,
            // A cursor at the end of the log follows new lines.
            None if on.is_none() && self.view == View::Log => usize::MAX,
            None => self.table().cursor,
        };
        self.select(cursor);
        for detail in &mut self.details {
            detail.index = self
                .snapshot
                .as_ref()
                .and_then(|snapshot| rows::find(detail.view, snapshot, detail.key));
        }
    }

    /// Selects a row, or the nearest existing one, and scrolls so that it is visible.
    fn select(&mut self, row: usize) {
        let cursor = row.min(self.rows.len().saturating_sub(1));
        let page = self.page();
        let on = self.rows.key(cursor);
        let last = self.rows.len().saturating_sub(page);
        // On the first line, or on the last line of the log, the cursor stays on the line instead
        // of its row.
        let home = if self.view == View::Log {
            self.rows.len().saturating_sub(1)
        } else {
            0
        };
        let table = self.table_mut();
        table.cursor = cursor;
        table.anchor = on.filter(|_| cursor != home);
        table.scroll = table.scroll.min(last).clamp((cursor + 1).saturating_sub(page), cursor);
    }

    /// Runs `f` with a temporary terminal size and restores the previous size.
    pub(crate) fn with_size<T>(&mut self, size: Size, something: impl FnOnce(&mut Self) -> T) -> T {
        let before = (self.size, *self.table(), self.details.clone());
        self.size = size;
        let result = something(self);
        self.size = before.0;
        *self.table_mut() = before.1;
        self.details = before.2;
        result
    }

    /// Scrolls to this row, or to this line of the detail view, as far as possible. Returns the
    /// first visible one.
    pub(crate) fn scroll_to(&mut self, first: usize) -> usize {
        let most = super::layout::max_scroll(self);
        if let Some(detail) = self.details.last_mut() {
            detail.scroll = first.min(most);
            return detail.scroll;
        }
        let last = self.rows.len().saturating_sub(self.page());
        let table = self.table_mut();
        table.scroll = first.min(last);
        table.cursor = table.scroll;
        table.scroll
    }

    /// Returns the number of visible rows, at least 1.
    pub(crate) fn page(&self) -> usize {
        usize::from(super::layout::layout(self).rows.height).max(1)
    }
}
