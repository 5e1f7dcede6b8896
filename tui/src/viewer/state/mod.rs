//! All that the viewer knows. The view shows it and changes nothing; [`State::apply`] changes it and shows nothing.
//!
//! # What a view may rely on
//!
//! * `snapshot` passed [`Report::check`](zctrace_report::Report::check)'s invariants or is `None` (phase `Starting`). While
//!   paused it stays the one that was shown when the pause began; `newest` goes on, for the header.
//! * `before` is the snapshot that rates are taken against: older than `snapshot`, of the same trace, or `None`.
//! * `rows()` are those of the present view, sort and filter, of `snapshot`. They are derived when one of these changes, never
//!   while drawing. `table().cursor < rows().len()` unless there are none, and `table().scroll` is such that the cursor is
//!   within the lines of [`layout`](super::layout::layout)`.rows`.
//! * The cursor stays on its row by [`RowKey`], wherever that is sorted to; on the first line it stays there, and so it does on
//!   the last line of the log.
//! * A [`Detail`] on the stack may be of a row that is gone: then its `index` is `None`, and that is to be said.
//! * Schedule are [`Duration`]s since the viewer started: no clock is asked.
//! * Names, paths, peers and lines of the log are foreign: `zctrace_report::text::printable` before they are drawn.

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

/// A report, and when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// What was known.
    pub(crate) report: Arc<Report>,
    /// When, since the viewer started; of a recording its own time.
    pub(crate) at: Duration,
    /// The identities of its flows.
    pub(crate) keys: Arc<FlowKeys>,
}

/// What lies over the rest and takes the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Overlay {
    /// The keys; scrolled by so many lines.
    Help {
        /// Lines that are above the screen.
        scroll: usize,
    },
    /// A question to be answered with y or n.
    Confirm(Question),
}

/// What is to be confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// To end while the command runs: it is asked to end.
    EndCommand {
        /// Whether the report is to be printed then.
        print: bool,
    },
}

/// How it looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Appearance {
    /// Colors.
    pub(crate) theme: ThemeName,
    /// Whether only ASCII may be drawn.
    pub(crate) ascii: bool,
    /// Whether the terminal shows 24-bit colors.
    pub(crate) true_color: bool,
}

/// A line for the user, which goes away by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// What is said.
    pub(crate) text: String,
    /// How bad it is.
    pub(crate) level: Level,
    /// When it goes.
    pub(crate) until: Duration,
}

/// All that the viewer knows.
#[derive(Debug)]
pub(crate) struct State {
    /// What is shown.
    pub(crate) snapshot: Option<Snapshot>,
    /// What rates are taken against.
    pub(crate) before: Option<Snapshot>,
    /// The newest there is, if paused; else the same as `snapshot`.
    pub(crate) newest: Option<Snapshot>,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// Whether what is shown stands still, while tracing goes on.
    pub(crate) paused: bool,
    /// Where a replay is; `None` if live.
    pub(crate) playback: Option<PlaybackState>,
    /// How the recording goes that is made beside, if one is.
    pub(crate) recording: Option<RecordingProgress>,
    /// Which view.
    pub(crate) view: View,
    /// Cursor, scroll and sort of each view.
    tables: [TableState; View::ALL.len()],
    /// The rows of the present view.
    rows: Rows,
    /// Which rows are shown.
    pub(crate) filter: Filter,
    /// The filter as it was typed.
    pub(crate) filter_text: String,
    /// What is being typed, if anything; then it takes the keys.
    pub(crate) prompt: Option<Prompt>,
    /// Why the text in the prompt is no filter: then the last one that was goes on.
    pub(crate) filter_error: Option<ParseError>,
    /// What was opened, the last on top.
    pub(crate) details: Vec<Detail>,
    /// What lies over all.
    pub(crate) overlay: Option<Overlay>,
    /// What is said to the user.
    pub(crate) message: Option<Message>,
    /// What happened.
    pub(crate) log: Log,
    /// The command's terminal.
    pub(crate) pane: Pane,
    /// The keys.
    pub(crate) keys: Arc<KeyMap>,
    /// How it looks.
    pub(crate) appearance: Appearance,
    /// Of the terminal.
    pub(crate) size: Size,
    /// What time it is.
    pub(crate) now: Duration,
}

impl State {
    /// Nothing is known yet.
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

    /// Cursor, scroll and sort of the present view.
    pub(crate) fn table(&self) -> &TableState {
        &self.tables[self.view as usize]
    }

    /// The rows of the present view.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Which row the cursor is on.
    pub(crate) fn selected(&self) -> Option<RowKey> {
        self.rows.key(self.table().cursor)
    }

    /// What was opened last.
    pub(crate) fn detail(&self) -> Option<&Detail> {
        self.details.last()
    }

    fn table_mut(&mut self) -> &mut TableState {
        &mut self.tables[self.view as usize]
    }

    /// Derives the rows anew, and keeps the cursor on its row.
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
            // Who stays at the end of the log wants to see what comes.
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

    /// Puts the cursor on a row, or the nearest there is, and scrolls so that it is visible.
    fn select(&mut self, row: usize) {
        let cursor = row.min(self.rows.len().saturating_sub(1));
        let page = self.page();
        let on = self.rows.key(cursor);
        let last = self.rows.len().saturating_sub(page);
        // Who stays there wants to see what is there, whichever it is: at the top, or where the newest line of the log comes.
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

    /// Does something as if the terminal had another size; then all is as it was.
    pub(crate) fn with_size<T>(&mut self, size: Size, something: impl FnOnce(&mut Self) -> T) -> T {
        let before = (self.size, *self.table(), self.details.clone());
        self.size = size;
        let result = something(self);
        self.size = before.0;
        *self.table_mut() = before.1;
        self.details = before.2;
        result
    }

    /// Scrolls to this row, or this line of what was opened, or as near as it goes. Which one is the first now.
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

    /// How many rows are visible, at least 1.
    pub(crate) fn page(&self) -> usize {
        usize::from(super::layout::layout(self).rows.height).max(1)
    }
}
