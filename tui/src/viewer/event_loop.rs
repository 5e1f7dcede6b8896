//! The loop: waits for keys, reports, CMD's screen, signals and lines of the log at once, gives
//! each to the state as an action, does what the effect says, and draws if something changed.
//!
//! One thread. A key is taken in at once and drawn with the next frame, which is one frame's time
//! away at most.

use std::fs::File;
use std::future::{pending, poll_fn};
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyEventKind, MouseButton, MouseEventKind};
use futures_core::Stream;
use ratatui::Terminal;
use ratatui::layout::Size;
use rustix::process::{Signal, getpid, kill_process};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::backend::SizedBackend;
use super::child_terminal::{self, ChildTerminal};
use super::export::{self, Content};
use super::keys::{self, Command};
use super::layout::layout;
use super::poller::{Ended, Poller, PollerRequest, Update};
use super::signals::{SignalEvent, Signals};
use super::state::{Action, Effect, Level, Phase, State};
use super::terminal::{self, FrameWriter, TerminalGuard, panic_if_asked};
use super::view;
use crate::child::CommandStatus;
use crate::signals::ReceivedSignal;
use crate::trace_loop::StopReason;

/// Rows that one step of the wheel moves.
const WHEEL_ROWS: usize = 3;

/// The screen.
type Screen = Terminal<SizedBackend<BufWriter<FrameWriter>>>;

/// Why the loop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExitReason {
    /// A key.
    Quit {
        /// Whether the report is to be printed.
        print: bool,
    },
    /// A signal, which a command is to get too.
    Signal(ReceivedSignal),
    /// The terminal is gone.
    Hangup,
}

/// What the loop works with.
pub(crate) struct EventLoop<'a> {
    /// What is known.
    pub(crate) state: State,
    /// The thread that watches.
    pub(crate) poller: &'a Poller,
    /// CMD's terminal.
    pub(crate) child_terminal: Option<ChildTerminal>,
    /// Frames per second.
    pub(crate) fps: u32,
    /// The terminal, taken.
    pub(crate) guard: &'a TerminalGuard,
    /// When the viewer started.
    pub(crate) started: Instant,
    /// What of a recording is not used, if that was said.
    pub(crate) truncation: Option<String>,
}

/// The screen, and when it is drawn next.
struct Display {
    screen: Screen,
    /// Time between two frames.
    frame_time: Duration,
    next_frame: Instant,
    /// Whether the state has changed since the last frame.
    is_stale: bool,
    /// Whether the terminal no longer shows the last frame.
    must_clear: bool,
}

impl Display {
    fn new(size: Size, fps: u32) -> io::Result<Self> {
        Ok(Self {
            screen: open_screen(size)?,
            frame_time: Duration::from_secs(1) / fps,
            next_frame: Instant::now(),
            is_stale: true,
            must_clear: false,
        })
    }
}

/// Result of an export: the file, and its size in bytes or the error.
type ExportResult = (PathBuf, io::Result<u64>);

impl EventLoop<'_> {
    /// Runs until the user quits, a signal ends the viewer, or the terminal is gone. The state
    /// remains valid.
    ///
    /// The size of the terminal is queried before each frame, so that no frame is drawn for an
    /// outdated size even if its signal was lost.
    pub(crate) async fn run(&mut self, mut signals: Signals, stderr: Option<File>) -> io::Result<ExitReason> {
        let mut display = Display::new(self.state.size, self.fps)?;
        let mut events = EventStream::new();
        let mut stderr = stderr.map(pipe::Receiver::from_file).transpose()?;
        let mut partial_line = Vec::new();
        let (export_done, mut exports) = mpsc::unbounded_channel::<ExportResult>();
        let mut updates = self.poller.updates.clone();
        let mut child_screen = self.child_terminal.as_ref().map(|terminal| terminal.screen.clone());
        let mut has_poller = true;
        loop {
            panic_if_asked("main");
            let message = self.state.message.as_ref().map(|message| self.started + message.until);
            let effect = tokio::select! {
                // Keys come first, so that `q` works under load.
                biased;
                event = next_event(&mut events) => match event {
                    Some(Ok(event)) => self.on_terminal_event(&event),
                    Some(Err(_)) | None => return Ok(ExitReason::Hangup),
                },
                signal = signals.next() => match signal {
                    SignalEvent::End(signal) => return Ok(ExitReason::Signal(signal)),
                    SignalEvent::Suspend => Effect::Suspend,
                    // The terminal may have been smaller for a moment, and lost what was beyond.
                    SignalEvent::Resized => Effect::RedrawAll,
                },
                () = sleep_until(display.next_frame), if display.is_stale => {
                    self.draw(&mut display)?;
                    Effect::None
                }
                result = updates.changed(), if has_poller => {
                    if result.is_ok() {
                        let newest = updates.borrow_and_update().clone();
                        self.on_update(newest)
                    } else {
                        has_poller = false;
                        Effect::None
                    }
                }
                screen = changed_screen(&mut child_screen) => if let Some(screen) = screen {
                    self.apply(Action::Screen(screen))
                } else {
                    child_screen = None;
                    Effect::None
                },
                lines = next_lines(stderr.as_ref(), &mut partial_line) => {
                    if lines.is_none() {
                        stderr = None;
                    }
                    let mut effect = Effect::None;
                    for line in lines.into_iter().flatten() {
                        effect = self.apply(Action::Say(Level::Warning, line));
                    }
                    effect
                }
                Some((path, result)) = exports.recv() => self.on_export_done(&path, result),
                () = sleep_until_some(message) => self.apply(Action::Tick),
            };
            if let Some(exit_reason) = self.execute(effect, &mut display, &mut signals, &export_done).await? {
                return Ok(exit_reason);
            }
        }
    }

    /// Executes an effect. Returns the reason if the effect ends the loop.
    async fn execute(
        &mut self,
        effect: Effect,
        display: &mut Display,
        signals: &mut Signals,
        export_done: &mpsc::UnboundedSender<ExportResult>,
    ) -> io::Result<Option<ExitReason>> {
        match effect {
            Effect::None => return Ok(None),
            Effect::Redraw => {}
            Effect::RedrawAll => display.must_clear = true,
            Effect::Quit { print, end_command } => {
                if end_command {
                    self.poller.send(PollerRequest::Stop);
                }
                return Ok(Some(ExitReason::Quit { print }));
            }
            Effect::Suspend => {
                self.suspend(signals).await?;
                display.screen = open_screen(self.state.size)?;
            }
            Effect::Play(control) => self.poller.send(PollerRequest::Play(control)),
            Effect::Export(path) => self.export(path, export_done),
        }
        display.is_stale = true;
        Ok(None)
    }

    /// Draws a frame.
    fn draw(&mut self, display: &mut Display) -> io::Result<()> {
        let start = Instant::now();
        if std::mem::take(&mut display.must_clear) {
            display.screen.clear()?;
        }
        self.update_size(&mut display.screen);
        display.screen.draw(|frame| view::draw(frame, &self.state))?;
        // Frames keep their rhythm, so that drawing does not lower their rate. A late frame
        // shortens the time to the next one by at most an eighth.
        display.next_frame = (display.next_frame + display.frame_time).max(start + display.frame_time * 7 / 8);
        display.is_stale = false;
        Ok(())
    }

    fn apply(&mut self, action: Action) -> Effect {
        let now = self.started.elapsed();
        self.state.apply(action, now)
    }

    /// Takes in what the terminal says.
    fn on_terminal_event(&mut self, event: &Event) -> Effect {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => match keys::action(&self.state, key) {
                Some(action) => self.apply(action),
                None if self.state.pane.focused => {
                    if self
                        .child_terminal
                        .as_ref()
                        .is_some_and(|terminal| !terminal.send_key(key))
                    {
                        return self.apply(Action::Say(Level::Note, "CMD does not read its input".to_owned()));
                    }
                    Effect::None
                }
                None => Effect::None,
            },
            Event::Mouse(mouse) => match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => self.apply(Action::Click {
                    column: mouse.column,
                    row: mouse.row,
                }),
                MouseEventKind::ScrollUp => self.wheel(Command::Up),
                MouseEventKind::ScrollDown => self.wheel(Command::Down),
                _ => Effect::None,
            },
            // A new size is told by its signal, and asked when it is drawn.
            _ => Effect::None,
        }
    }

    fn wheel(&mut self, command: Command) -> Effect {
        if self.state.prompt.is_some() {
            return Effect::None;
        }
        for _ in 1..WHEEL_ROWS {
            self.apply(Action::Do(command));
        }
        self.apply(Action::Do(command))
    }

    /// Takes in what the thread that watches has to say.
    fn on_update(&mut self, update: Update) -> Effect {
        if let Some(playback) = update.playback {
            self.apply(Action::Playback(playback));
        }
        if let Some(truncation) = update.truncation
            && self.truncation.as_ref() != Some(&truncation)
        {
            // No warning: whoever ends the viewer tells it in any case.
            self.apply(Action::Say(Level::Note, truncation.clone()));
            self.truncation = Some(truncation);
        }
        if let Some(violation) = update.violation {
            let text = format!("the report is inconsistent: {violation}");
            if self.state.log.last() != Some(text.as_str()) {
                self.apply(Action::Say(Level::Error, text));
            }
        }
        if let Some(recording) = update.recording {
            self.apply(Action::Recording(recording));
        }
        if let (Some(report), Some(keys)) = (update.report, update.keys) {
            self.apply(Action::Snapshot(report, keys));
        }
        if let Some(end) = update.ended {
            self.apply(Action::Phase(phase_of(&end)));
        }
        Effect::Redraw
    }

    /// Gives CMD's terminal the size of its place.
    fn resize_child_terminal(&self) {
        let Some(terminal) = &self.child_terminal else { return };
        let place = layout(&self.state).pane;
        let size = terminal.screen.borrow().size();
        if self.state.pane.shown() && place.area() > 0 && child_terminal::grid_size(place.as_size()) != size {
            terminal.resize(place.as_size());
        }
    }

    fn export(&mut self, path: PathBuf, done: &mpsc::UnboundedSender<ExportResult>) {
        let Some(content) = export::content(&mut self.state, &path) else {
            self.apply(Action::Say(Level::Warning, "nothing to write yet".to_owned()));
            return;
        };
        let done = done.clone();
        let write = move |path: PathBuf, content: Content| {
            let result = export::write(&path, &content);
            // Nobody listens any more if it is over.
            let _ = done.send((path, result));
        };
        // A large report takes seconds to write, and a disk may hang.
        let spawned = std::thread::Builder::new()
            .name("export".to_owned())
            .spawn(move || write(path, content));
        if let Err(error) = spawned {
            self.apply(Action::Say(Level::Error, format!("cannot write: {error}")));
        }
    }

    fn on_export_done(&mut self, path: &std::path::Path, result: io::Result<u64>) -> Effect {
        let path = path.display();
        match result {
            Ok(bytes) => self.apply(Action::Say(
                Level::Note,
                format!("{} written to {path}", zctrace_report::format::size(bytes)),
            )),
            Err(error) => self.apply(Action::Say(
                Level::Error,
                format!("{path}: {error}; nothing was written"),
            )),
        }
    }

    /// Gives the terminal back and stops, until somebody has it go on.
    async fn suspend(&mut self, signals: &mut Signals) -> io::Result<()> {
        TerminalGuard::leave();
        signals.discard_continue();
        kill_process(getpid(), Signal::STOP)?;
        // The stop may come to the other threads first.
        signals.wait_for_continue().await;
        self.guard.enter()
    }

    /// Takes the size that the terminal has now, for the next frame and for CMD's terminal. One
    /// that cannot be asked any more keeps the size that it had.
    fn update_size(&mut self, screen: &mut Screen) {
        if let Ok(size) = terminal::size()
            && size != self.state.size
        {
            self.apply(Action::Resize(size));
        }
        screen.backend_mut().size = self.state.size;
        self.resize_child_terminal();
    }
}

/// A screen of which nothing is known to be drawn. Its size changes when the state's does, never
/// while a frame is made.
fn open_screen(size: Size) -> io::Result<Screen> {
    // In one piece, for a terminal shows partial a frame if it gets partial a frame: what a screen
    // full of attributes takes.
    let out = BufWriter::with_capacity(1 << 18, FrameWriter);
    let mut screen = Terminal::new(SizedBackend::new(out, size))?;
    screen.clear()?;
    Ok(screen)
}

/// How it ended, for the user.
fn phase_of(end: &Ended) -> Phase {
    match end {
        Ended::Failed(cause) => Phase::Failed {
            cause: cause.clone(),
            hint: String::new(),
        },
        Ended::Stopped(StopReason::Finished) => Phase::Ended("tracing has ended".to_owned()),
        Ended::Stopped(StopReason::CommandAbandoned(_)) => Phase::Ended("CMD was left running".to_owned()),
        Ended::Stopped(StopReason::CommandEnded { status, .. }) => Phase::Ended(match status {
            CommandStatus::Exited(code) => format!("CMD ended with code {code}"),
            CommandStatus::Signaled(signal) => format!("CMD was ended by signal {signal}"),
        }),
    }
}

/// The next thing that the terminal says.
async fn next_event(events: &mut EventStream) -> Option<io::Result<Event>> {
    poll_fn(|context| Pin::new(&mut *events).poll_next(context)).await
}

/// What CMD has drawn, once it has drawn something else. `None` if it will not draw any more; waits
/// for ever if there is none.
async fn changed_screen(
    screen: &mut Option<tokio::sync::watch::Receiver<std::sync::Arc<vt100::Screen>>>,
) -> Option<std::sync::Arc<vt100::Screen>> {
    match screen {
        None => pending().await,
        Some(screen) => {
            screen.changed().await.ok()?;
            Some(screen.borrow_and_update().clone())
        }
    }
}

/// Whole lines that were written to standard error. `None` if nothing more will come; waits for
/// ever if it is not taken.
async fn next_lines(pipe: Option<&pipe::Receiver>, partial: &mut Vec<u8>) -> Option<Vec<String>> {
    let Some(pipe) = pipe else {
        return pending().await;
    };
    let mut buffer = [0; 4096];
    let got = loop {
        pipe.readable().await.ok()?;
        match pipe.try_read(&mut buffer) {
            Ok(got) => break got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    };
    if got == 0 {
        return None;
    }
    partial.extend_from_slice(&buffer[..got]);
    // A program that never ends its line must not fill the memory.
    if partial.len() > 1 << 16 {
        partial.push(b'\n');
    }
    let end = partial.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let whole: Vec<u8> = partial.drain(..end).collect();
    let text = String::from_utf8_lossy(&whole);
    Some(text.lines().map(ToOwned::to_owned).collect())
}

/// Waits for a time; for ever if there is none.
async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
