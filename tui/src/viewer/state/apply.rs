//! Actions, and how they change the state.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratatui::layout::Size;
use zctrace_report::Report;

use super::{Detail, Edit, Level, Message, Overlay, Phase, Prompt, Purpose, Question, Snapshot, Sort, State, View};
use crate::filter::Filter;
use crate::recorder::RecordingProgress;
use crate::tracer::{PlayControl, PlaybackState};
use crate::viewer::keys::Command;
use crate::viewer::layout::{self, Hit};
use crate::viewer::rows::{self, FlowKeys};
use crate::viewer::theme::ThemeName;

/// An event.
#[derive(Clone)]
pub(crate) enum Action {
    /// A key of the table was pressed.
    Do(Command),
    /// A key changed the input line.
    Edit(Edit),
    /// The input line was submitted.
    Submit,
    /// The input line was canceled.
    Cancel,
    /// A question was answered.
    Answer(bool),
    /// A position was clicked.
    Click {
        /// Column of the screen, from 0.
        column: u16,
        /// Line of the screen, from 0.
        row: u16,
    },
    /// A new report, with the keys of its flows.
    Snapshot(Arc<Report>, Arc<FlowKeys>),
    /// The phase of the trace changed.
    Phase(Phase),
    /// Position and speed of the replay.
    Playback(PlaybackState),
    /// Progress of the recording.
    Recording(RecordingProgress),
    /// The command's terminal changed.
    Screen(Arc<vt100::Screen>),
    /// The terminal was resized.
    Resize(Size),
    /// A message to display and to log.
    Say(Level, String),
    /// Time has passed.
    Tick,
}

#[cfg(test)]
impl Action {
    /// A new report.
    pub(crate) fn snapshot(report: Arc<Report>) -> Self {
        let keys = Arc::new(FlowKeys::from_report(&report));
        Self::Snapshot(report, keys)
    }
}

/// Effect to be executed by the event loop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// Nothing: the screen is up to date.
    None,
    /// Redraw.
    Redraw,
    /// Redraw everything, whatever the terminal shows.
    RedrawAll,
    /// Quit.
    Quit {
        /// `true` to print the report.
        print: bool,
        /// `true` to end the command, which is still running.
        end_command: bool,
    },
    /// Release the terminal and stop.
    Suspend,
    /// Write the view to this file.
    Export(PathBuf),
    /// Control the replay.
    Play(PlayControl),
}

/// Display time of a message.
const MESSAGE_DURATION: Duration = Duration::from_secs(6);

/// Distance of a seek in a replay.
const SEEK_STEP: Duration = Duration::from_secs(10);

/// Columns by which wide content is scrolled.
const H_SCROLL_STEP: u16 = 8;

impl State {
    /// Applies an action that occurred at the given time.
    pub(crate) fn apply(&mut self, action: Action, now: Duration) -> Effect {
        self.now = now;
        match action {
            Action::Do(command) => self.command(command),
            Action::Edit(edit) => self.edit(edit),
            Action::Submit => self.submit(),
            Action::Cancel => self.cancel(),
            Action::Answer(yes) => self.answer(yes),
            Action::Click { column, row } => self.click(column, row),
            Action::Snapshot(report, keys) => self.set_snapshot(report, keys),
            Action::Phase(phase) => {
                self.phase = phase;
                if matches!(self.phase, Phase::Ended(_) | Phase::Failed { .. }) {
                    self.pane.running = false;
                    self.pane.focused = false;
                    self.overlay = self.overlay.filter(|overlay| !matches!(overlay, Overlay::Confirm(_)));
                }
                Effect::Redraw
            }
            Action::Playback(playback) => {
                self.playback = Some(playback);
                Effect::Redraw
            }
            Action::Recording(recording) => {
                self.recording = Some(recording);
                Effect::Redraw
            }
            Action::Screen(screen) => {
                self.pane.screen = Some(screen);
                Effect::Redraw
            }
            Action::Resize(size) => {
                self.size = size;
                self.select(self.table().cursor);
                Effect::Redraw
            }
            Action::Say(level, text) => {
                self.log.push(now, level, &text);
                self.show_message(level, text);
                if self.view == View::Log {
                    self.derive();
                }
                Effect::Redraw
            }
            Action::Tick => match &self.message {
                Some(message) if message.until <= now => {
                    self.message = None;
                    Effect::Redraw
                }
                _ => Effect::None,
            },
        }
    }

    /// Shows a message in the status line.
    fn show_message(&mut self, level: Level, text: String) {
        self.message = Some(Message {
            text,
            level,
            until: self.now + MESSAGE_DURATION,
        });
    }

    fn set_snapshot(&mut self, report: Arc<Report>, keys: Arc<FlowKeys>) -> Effect {
        if self.phase == Phase::Starting {
            self.phase = Phase::Live;
        }
        let at = match self.playback {
            // Pauses, changes the speed, or seeks.
            Some(_) => Duration::from_nanos(report.provenance.duration_ns),
            None => self.now,
        };
        let snapshot = Snapshot { report, at, keys };
        for (level, text) in rows::events(self.newest.as_ref(), &snapshot) {
            self.log.push(self.now, level, &text);
        }
        self.newest = Some(snapshot.clone());
        if !self.paused {
            self.before = self.snapshot.replace(snapshot);
            self.derive();
        }
        Effect::Redraw
    }

    fn command(&mut self, command: Command) -> Effect {
        if let Some(Overlay::Help { scroll }) = self.overlay {
            return self.command_in_help(command, scroll);
        }
        match command {
            Command::Quit => return self.quit(false),
            Command::QuitAndPrint => return self.quit(true),
            Command::Help => self.overlay = Some(Overlay::Help { scroll: 0 }),
            Command::NextView => self.show(self.view.next()),
            Command::PreviousView => self.show(self.view.previous()),
            Command::Show(view) => self.show(view),
            Command::Up => self.move_cursor(-1),
            Command::Down => self.move_cursor(1),
            Command::PageUp => self.move_cursor(-self.page().cast_signed()),
            Command::PageDown => self.move_cursor(self.page().cast_signed()),
            Command::Top => self.move_cursor(isize::MIN),
            Command::Bottom => self.move_cursor(isize::MAX),
            Command::Left => self.scroll_horizontally(|offset| offset.saturating_sub(H_SCROLL_STEP)),
            Command::Right => self.scroll_horizontally(|offset| offset.saturating_add(H_SCROLL_STEP).min(4096)),
            Command::Open => self.open(),
            Command::Back => self.back(),
            Command::Pause => return self.pause(),
            Command::Sort | Command::SortRight => self.sort_by(1),
            Command::SortLeft => self.sort_by(-1),
            Command::ReverseSort => {
                let sort = &mut self.table_mut().sort;
                sort.descending = !sort.descending;
                self.derive();
            }
            Command::Filter => self.prompt = Some(Prompt::new(Purpose::Filter, &self.filter_text)),
            Command::Export => {
                let name = self.export_file_name();
                self.prompt = Some(Prompt::new(Purpose::Export, &name));
            }
            Command::Theme => self.next_theme(),
            Command::Keyboard => {
                self.pane.focused = self.pane.running && !self.pane.focused;
                self.pane.hidden &= !self.pane.focused;
            }
            Command::TogglePane => self.pane.hidden = !self.pane.hidden,
            Command::EnlargePane => self.pane.large = !self.pane.large,
            Command::Faster => return self.play(PlayControl::Faster),
            Command::Slower => return self.play(PlayControl::Slower),
            Command::SeekBack => return self.play(PlayControl::Back(SEEK_STEP)),
            Command::SeekAhead => return self.play(PlayControl::Ahead(SEEK_STEP)),
            Command::Redraw => return Effect::RedrawAll,
            Command::Suspend => return Effect::Suspend,
        }
        // Showing or hiding the pane changes the number of rows per page.
        self.select(self.table().cursor);
        Effect::Redraw
    }

    /// Applies a command while the help is shown.
    fn command_in_help(&mut self, command: Command, scroll: usize) -> Effect {
        let page = self.page();
        let scroll = match command {
            Command::Quit => return self.quit(false),
            Command::QuitAndPrint => return self.quit(true),
            Command::Up => scroll.saturating_sub(1),
            Command::Down => scroll + 1,
            Command::PageUp => scroll.saturating_sub(page),
            Command::PageDown => scroll + page,
            Command::Top => 0,
            Command::Bottom => usize::MAX,
            Command::Redraw => return Effect::RedrawAll,
            _ => {
                self.overlay = None;
                return Effect::Redraw;
            }
        };
        let most = layout::max_scroll(self);
        self.overlay = Some(Overlay::Help {
            scroll: scroll.min(most),
        });
        Effect::Redraw
    }

    fn quit(&mut self, print: bool) -> Effect {
        if self.pane.running {
            self.overlay = Some(Overlay::Confirm(Question::EndCommand { print }));
            return Effect::Redraw;
        }
        Effect::Quit {
            print,
            end_command: false,
        }
    }

    fn answer(&mut self, yes: bool) -> Effect {
        match self.overlay.take() {
            Some(Overlay::Confirm(Question::EndCommand { print })) if yes => Effect::Quit {
                print,
                end_command: true,
            },
            _ => Effect::Redraw,
        }
    }

    fn show(&mut self, view: View) {
        self.details.clear();
        self.view = view;
        self.derive();
    }

    /// Moves the cursor, or scrolls the open detail view.
    fn move_cursor(&mut self, by: isize) {
        let most = layout::max_scroll(self);
        if let Some(detail) = self.details.last_mut() {
            detail.scroll = detail.scroll.saturating_add_signed(by).min(most);
        } else {
            self.select(self.table().cursor.saturating_add_signed(by));
        }
    }

    fn scroll_horizontally(&mut self, change: impl Fn(u16) -> u16) {
        let table = self.table_mut();
        table.h_scroll = change(table.h_scroll);
    }

    fn open(&mut self) {
        let Some(key) = self.selected().filter(|_| self.details.is_empty()) else {
            return;
        };
        let snapshot = self.snapshot.as_ref();
        self.details.push(Detail {
            view: self.view,
            key,
            index: snapshot.and_then(|snapshot| rows::find(self.view, snapshot, key)),
            scroll: 0,
        });
    }

    /// Closes the detail view that was opened last; without one, clears the filter.
    fn back(&mut self) {
        if self.details.pop().is_none() && !self.filter_text.is_empty() {
            self.filter_by("");
        }
    }

    fn pause(&mut self) -> Effect {
        if self.playback.is_some() {
            return Effect::Play(PlayControl::TogglePause);
        }
        self.paused = !self.paused;
        if !self.paused
            && let Some(newest) = self.newest.clone()
        {
            self.before = self.snapshot.replace(newest);
            self.derive();
        }
        Effect::Redraw
    }

    fn play(&mut self, play: PlayControl) -> Effect {
        if self.playback.is_some() {
            Effect::Play(play)
        } else {
            Effect::None
        }
    }

    fn sort_by(&mut self, step: isize) {
        let columns = rows::columns(self.view).len();
        if columns > 0 {
            let column = self.table().sort.column.cast_signed() + step;
            self.sort_column(column.rem_euclid(columns.cast_signed()).cast_unsigned());
        }
    }

    fn sort_column(&mut self, column: usize) {
        let Some(chosen) = rows::columns(self.view).get(column) else {
            return;
        };
        self.table_mut().sort = Sort {
            column,
            descending: chosen.descending,
        };
        self.derive();
    }

    /// Returns a file name made of the view and the time of the snapshot, to the second.
    fn export_file_name(&self) -> String {
        let of = self.snapshot.as_ref().map(|snapshot| &snapshot.report.provenance);
        let ms = of.and_then(|by| Some(by.started_unix_ms? + by.duration_ns / 1_000_000));
        let seconds = ms.unwrap_or(0) / 1000;
        format!("zctrace-{}-{seconds}.json", self.view.title().to_lowercase())
    }

    fn next_theme(&mut self) {
        let all = ThemeName::ALL;
        let at = all
            .iter()
            .position(|&theme| theme == self.appearance.theme)
            .unwrap_or(0);
        self.appearance.theme = all[(at + 1) % all.len()];
        self.show_message(Level::Note, format!("theme: {}", self.appearance.theme.name()));
    }

    fn edit(&mut self, edit: Edit) -> Effect {
        let Some(prompt) = &mut self.prompt else {
            return Effect::None;
        };
        prompt.edit(edit);
        if prompt.purpose == Purpose::Filter {
            let text = prompt.text.clone();
            self.try_filter(&text);
        }
        Effect::Redraw
    }

    /// Sets the filter if the text is valid.
    fn try_filter(&mut self, text: &str) {
        match Filter::parse(text) {
            Ok(filter) => {
                self.filter_error = None;
                if filter != self.filter {
                    self.filter = filter;
                    self.derive();
                }
            }
            Err(filter_error) => self.filter_error = Some(filter_error),
        }
    }

    /// Sets the filter if the text is valid.
    pub(crate) fn filter_by(&mut self, text: &str) {
        self.try_filter(text);
        text.clone_into(&mut self.filter_text);
    }

    fn submit(&mut self) -> Effect {
        // A line with an error stays in the prompt.
        if self.filter_error.is_some() {
            return Effect::None;
        }
        let Some(prompt) = self.prompt.take() else {
            return Effect::None;
        };
        match prompt.purpose {
            Purpose::Filter => self.filter_by(prompt.text.trim()),
            Purpose::Export if prompt.text.is_empty() => {}
            Purpose::Export => return Effect::Export(prompt.text.into()),
        }
        Effect::Redraw
    }

    fn cancel(&mut self) -> Effect {
        self.prompt = None;
        self.filter_error = None;
        // The previous filter.
        let text = self.filter_text.clone();
        self.try_filter(&text);
        Effect::Redraw
    }

    fn click(&mut self, column: u16, row: u16) -> Effect {
        if self.overlay.is_some() || self.prompt.is_some() {
            return Effect::None;
        }
        let hit = layout::hit(self, column, row);
        self.pane.focused = hit == Some(Hit::Pane);
        match hit {
            Some(Hit::Tab(view)) => self.show(view),
            Some(Hit::Column(column)) if self.table().sort.column == column => {
                return self.command(Command::ReverseSort);
            }
            Some(Hit::Column(column)) => self.sort_column(column),
            Some(Hit::Row(line)) if self.details.is_empty() => {
                let row = self.table().scroll + line;
                if row >= self.rows().len() {
                    return Effect::None;
                }
                if row == self.table().cursor {
                    self.open();
                }
                self.select(row);
            }
            Some(Hit::Row(_)) | None => return Effect::None,
            Some(Hit::Pane) => {}
        }
        Effect::Redraw
    }
}
