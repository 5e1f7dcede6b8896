//! The event loop: waits for keys, reports, the command's screen, signals and lines of standard
//! error at once, applies each to the state as an action, executes the effect, and draws changes.
//!
//! The loop runs in one thread. It applies a key immediately and draws the result with the next
//! frame, at most one frame time later.

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

/// Number of rows that one step of the mouse wheel moves.
const WHEEL_ROWS: usize = 3;

/// Screen of the viewer.
type Screen = Terminal<SizedBackend<BufWriter<FrameWriter>>>;

/// Reason why the loop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExitReason {
    /// The user quit.
    Quit {
        /// `true` to print the report.
        print: bool,
    },
    /// A signal, which zctrace forwards to the command.
    Signal(ReceivedSignal),
    /// The terminal was closed.
    Hangup,
}

/// State and resources of the loop.
pub(crate) struct EventLoop<'a> {
    /// State of the viewer.
    pub(crate) state: State,
    /// Thread that polls the tracer.
    pub(crate) poller: &'a Poller,
    /// Terminal of the command.
    pub(crate) child_terminal: Option<ChildTerminal>,
    /// Maximum number of frames per second.
    pub(crate) fps: u32,
    /// Acquired terminal.
    pub(crate) guard: &'a TerminalGuard,
    /// Start of the viewer.
    pub(crate) started: Instant,
    /// Unused part of a recording, as it was last shown.
    pub(crate) truncation: Option<String>,
}

/// Screen, and the time of its next frame.
struct Display {
    screen: Screen,
    /// Time between two frames.
    frame_time: Duration,
    next_frame: Instant,
    /// `true` if the state has changed since the last frame.
    is_stale: bool,
    /// `true` if the terminal no longer shows the last frame.
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
    /// Runs until the user quits, a signal ends the viewer, or the terminal is closed. The state
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
                // Keys have priority, so that `q` works under load.
                biased;
                event = next_event(&mut events) => match event {
                    Some(Ok(event)) => self.on_terminal_event(&event),
                    Some(Err(_)) | None => return Ok(ExitReason::Hangup),
                },
                signal = signals.next() => match signal {
                    SignalEvent::End(signal) => return Ok(ExitReason::Signal(signal)),
                    SignalEvent::Suspend => Effect::Suspend,
                    // The terminal may have been smaller for a moment and lost the cells beyond.
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

    /// Handles an event of the terminal.
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
            // SIGWINCH reports a new size, and `draw` queries it.
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

    /// Handles an update of the poller thread.
    fn on_update(&mut self, update: Update) -> Effect {
        if let Some(playback) = update.playback {
            self.apply(Action::Playback(playback));
        }
        if let Some(truncation) = update.truncation
            && self.truncation.as_ref() != Some(&truncation)
        {
            // A note, because the command line prints this after the viewer has ended.
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

    /// Resizes the command's terminal to its area on the screen.
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
            // Fails if the loop has ended, so that the result is no longer of use.
            let _ = done.send((path, result));
        };
        // Written in a thread, because a large report takes seconds and a disk can hang.
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

    /// Releases the terminal and stops this process. Acquires the terminal after SIGCONT.
    async fn suspend(&mut self, signals: &mut Signals) -> io::Result<()> {
        TerminalGuard::leave();
        signals.discard_continue();
        kill_process(getpid(), Signal::STOP)?;
        // Other threads can stop before this one, which then continues for a moment.
        signals.wait_for_continue().await;
        self.guard.enter()
    }

    /// Applies the current size of the terminal to the next frame and the command's terminal. If
    /// the query fails, the previous size stays.
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

/// Creates a screen and clears the terminal. The screen gets its size from the state before each
/// frame, never while a frame is drawn.
fn open_screen(size: Size) -> io::Result<Screen> {
    // The buffer holds a whole frame of a screen full of attributes. A terminal that receives a
    // part of a frame shows that part.
    let out = BufWriter::with_capacity(1 << 18, FrameWriter);
    let mut screen = Terminal::new(SizedBackend::new(out, size))?;
    screen.clear()?;
    Ok(screen)
}

/// Describes the end of the trace for the user.
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

/// Waits for the next event of the terminal. Returns `None` at the end of its input.
async fn next_event(events: &mut EventStream) -> Option<io::Result<Event>> {
    poll_fn(|context| Pin::new(&mut *events).poll_next(context)).await
}

/// Waits until the command's screen has changed and returns it. Returns `None` after the last
/// change; waits forever if there is no command.
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

/// Waits for complete lines on standard error and returns them. Returns `None` at its end; waits
/// forever if standard error is not redirected.
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
    // Bounds the memory for a line that never ends.
    if partial.len() > 1 << 16 {
        partial.push(b'\n');
    }
    let end = partial.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let whole: Vec<u8> = partial.drain(..end).collect();
    let text = String::from_utf8_lossy(&whole);
    Some(text.lines().map(ToOwned::to_owned).collect())
}

/// Waits until a time; forever if it is `None`.
async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
