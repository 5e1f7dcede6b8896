//! The loop: waits for keys, reports, CMD's screen, signals and lines of the log at once, gives each to the state as an action,
//! does what the effect says, and draws if something changed.
//!
//! One thread. A key is taken in at once and drawn with the next frame, which is one frame's time away at most.

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

use super::backend::Told;
use super::child_terminal::{self, Pane};
use super::export::{self, Content};
use super::keys::{self, Command};
use super::layout::layout;
use super::poller::{End, Feed, News, Order};
use super::signals::{Heard, Signals};
use super::state::{Action, Effect, Level, Phase, State};
use super::terminal::{self, Frames, Guard, panic_if_asked};
use super::view;
use crate::child::CommandStatus;
use crate::signals::ReceivedSignal;
use crate::trace_loop::StopReason;

/// Rows that one step of the wheel moves.
const WHEEL: usize = 3;

/// The screen.
type Screen = Terminal<Told<BufWriter<Frames>>>;

/// Why the loop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// A key.
    Asked {
        /// Whether the report is to be printed.
        print: bool,
    },
    /// A signal, which a command is to get too.
    Signal(ReceivedSignal),
    /// The terminal is gone.
    Hangup,
}

/// What the loop works with.
pub(crate) struct Loop<'a> {
    /// What is known.
    pub(crate) state: State,
    /// The thread that watches.
    pub(crate) feed: &'a Feed,
    /// CMD's terminal.
    pub(crate) pane: Option<Pane>,
    /// Frames a second.
    pub(crate) fps: u32,
    /// The terminal, taken.
    pub(crate) guard: &'a Guard,
    /// When the viewer started.
    pub(crate) started: Instant,
    /// What of a recording is not used, if that was said.
    pub(crate) cut: Option<String>,
}

impl Loop<'_> {
    /// Runs until it is left. What is known stays, for whoever wants to tell it.
    ///
    /// The size is asked of the terminal before each frame: no frame is drawn for a size that is known to be past, whatever
    /// became of the signal for it.
    pub(crate) async fn run(&mut self, mut signals: Signals, stderr: Option<File>) -> io::Result<Left> {
        let mut screen = open(self.state.size)?;
        let mut events = EventStream::new();
        let mut stderr = stderr.map(pipe::Receiver::from_file).transpose()?;
        let mut half_line = Vec::new();
        let (exported, mut exports) = mpsc::unbounded_channel::<(PathBuf, io::Result<u64>)>();
        let mut news = self.feed.news.clone();
        let mut drawn_by_cmd = self.pane.as_ref().map(|pane| pane.screen.clone());
        let frame = Duration::from_secs(1) / self.fps;
        let mut due = Instant::now();
        let (mut changed, mut listening) = (true, true);
        // What the terminal shows is not what was drawn last.
        let mut wiped = false;
        loop {
            panic_if_asked("main");
            let message = self.state.message.as_ref().map(|message| self.started + message.until);
            let effect = tokio::select! {
                // Keys first: who presses q under load means it.
                biased;
                event = next(&mut events) => match event {
                    Some(Ok(event)) => self.take(&event),
                    Some(Err(_)) | None => return Ok(Left::Hangup),
                },
                signal = signals.next() => match signal {
                    Heard::End(caught) => return Ok(Left::Signal(caught)),
                    Heard::Stop => Effect::Suspend,
                    // It may have had another size for a moment, and lost what was beyond it.
                    Heard::Resized => Effect::RedrawAll,
                },
                () = sleep_until(due), if changed => {
                    let began = Instant::now();
                    if std::mem::take(&mut wiped) {
                        screen.clear()?;
                    }
                    self.fit(&mut screen);
                    screen.draw(|frame| view::draw(frame, &self.state))?;
                    // In step with the frames before, so that drawing takes nothing from their number; but one that is late
                    // has not all of the next one's time.
                    due = (due + frame).max(began + frame * 7 / 8);
                    changed = false;
                    Effect::None
                }
                more = news.changed(), if listening => {
                    if more.is_ok() {
                        let newest = news.borrow_and_update().clone();
                        self.hear(newest)
                    } else {
                        listening = false;
                        Effect::None
                    }
                }
                more = changed_screen(&mut drawn_by_cmd) => if let Some(contents) = more {
                    self.apply(Action::Screen(contents))
                } else {
                    drawn_by_cmd = None;
                    Effect::None
                },
                lines = lines(stderr.as_ref(), &mut half_line) => {
                    if lines.is_none() {
                        stderr = None;
                    }
                    let mut effect = Effect::None;
                    for line in lines.into_iter().flatten() {
                        effect = self.apply(Action::Say(Level::Warning, line));
                    }
                    effect
                }
                Some((path, result)) = exports.recv() => self.written(&path, result),
                () = at(message) => self.apply(Action::Tick),
            };
            match effect {
                Effect::None => continue,
                Effect::Redraw => {}
                Effect::RedrawAll => wiped = true,
                Effect::Quit { print, end_command } => {
                    if end_command {
                        self.feed.order(Order::Enough);
                    }
                    return Ok(Left::Asked { print });
                }
                Effect::Suspend => {
                    self.suspend(&mut signals).await?;
                    screen = open(self.state.size)?;
                }
                Effect::Play(play) => self.feed.order(Order::Play(play)),
                Effect::Export(path) => self.export(path, &exported),
            }
            changed = true;
        }
    }

    fn apply(&mut self, action: Action) -> Effect {
        let now = self.started.elapsed();
        self.state.apply(action, now)
    }

    /// Takes in what the terminal says.
    fn take(&mut self, event: &Event) -> Effect {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => match keys::action(&self.state, key) {
                Some(action) => self.apply(action),
                None if self.state.pane.focused => {
                    if self.pane.as_ref().is_some_and(|pane| !pane.press(key)) {
                        return self.apply(Action::Say(Level::Note, "CMD does not read its keys".to_owned()));
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
        for _ in 1..WHEEL {
            self.apply(Action::Do(command));
        }
        self.apply(Action::Do(command))
    }

    /// Takes in what the thread that watches has to say.
    fn hear(&mut self, news: News) -> Effect {
        if let Some(playback) = news.playback {
            self.apply(Action::Playback(playback));
        }
        if let Some(cut) = news.cut
            && self.cut.as_ref() != Some(&cut)
        {
            // No warning: whoever ends the viewer tells it in any case.
            self.apply(Action::Say(Level::Note, cut.clone()));
            self.cut = Some(cut);
        }
        if let Some(broken) = news.broken {
            let text = format!("the report breaks its own rules: {broken}");
            if self.state.log.last() != Some(text.as_str()) {
                self.apply(Action::Say(Level::Error, text));
            }
        }
        if let Some(recording) = news.recording {
            self.apply(Action::Recording(recording));
        }
        if let (Some(report), Some(keys)) = (news.report, news.keys) {
            self.apply(Action::Snapshot(report, keys));
        }
        if let Some(end) = news.ended {
            self.apply(Action::Phase(phase(&end)));
        }
        Effect::Redraw
    }

    /// Gives CMD's terminal the size of its place.
    fn fit_pane(&self) {
        let Some(pane) = &self.pane else { return };
        let place = layout(&self.state).pane;
        let size = pane.screen.borrow().size();
        if self.state.pane.shown() && place.area() > 0 && child_terminal::cells(place.as_size()) != size {
            pane.resize(place.as_size());
        }
    }

    fn export(&mut self, path: PathBuf, done: &mpsc::UnboundedSender<(PathBuf, io::Result<u64>)>) {
        let Some(content) = export::content(&mut self.state, &path) else {
            self.apply(Action::Say(Level::Warning, "there is nothing to write yet".to_owned()));
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

    fn written(&mut self, path: &std::path::Path, result: io::Result<u64>) -> Effect {
        let path = path.display();
        match result {
            Ok(bytes) => self.apply(Action::Say(
                Level::Note,
                format!("{} written to {path}", zctrace_report::text::size(bytes)),
            )),
            Err(error) => self.apply(Action::Say(
                Level::Error,
                format!("{path}: {error}; nothing was written"),
            )),
        }
    }

    /// Gives the terminal back and stops, until somebody has it go on.
    async fn suspend(&mut self, signals: &mut Signals) -> io::Result<()> {
        Guard::leave();
        signals.forget_continue();
        kill_process(getpid(), Signal::STOP)?;
        // The stop may come to the other threads first.
        signals.continued().await;
        self.guard.enter()
    }

    /// Takes the size that the terminal has now, for the next frame and for CMD's terminal. One that cannot be asked any more
    /// keeps the size that it had.
    fn fit(&mut self, screen: &mut Screen) {
        if let Ok(size) = terminal::size()
            && size != self.state.size
        {
            self.apply(Action::Resize(size));
        }
        screen.backend_mut().size = self.state.size;
        self.fit_pane();
    }
}

/// A screen of which nothing is known to be drawn. Its size changes when the state's does, never while a frame is made.
fn open(size: Size) -> io::Result<Screen> {
    // In one piece, for a terminal shows half a frame if it gets half a frame: what a screen full of attributes takes.
    let out = BufWriter::with_capacity(1 << 18, Frames);
    let mut screen = Terminal::new(Told::new(out, size))?;
    screen.clear()?;
    Ok(screen)
}

/// How it ended, for the user.
fn phase(end: &End) -> Phase {
    match end {
        End::Failed(cause) => Phase::Failed {
            cause: cause.clone(),
            mend: String::new(),
        },
        End::Stopped(StopReason::Finished) => Phase::Ended("watching has ended".to_owned()),
        End::Stopped(StopReason::CommandAbandoned(_)) => Phase::Ended("CMD was left alone".to_owned()),
        End::Stopped(StopReason::CommandEnded { status, .. }) => Phase::Ended(match status {
            CommandStatus::Exited(code) => format!("CMD ended with code {code}"),
            CommandStatus::Signaled(signal) => format!("CMD was ended by signal {signal}"),
        }),
    }
}

/// The next thing that the terminal says.
async fn next(events: &mut EventStream) -> Option<io::Result<Event>> {
    poll_fn(|context| Pin::new(&mut *events).poll_next(context)).await
}

/// What CMD has drawn, once it has drawn something else. `None` if it will not draw any more; waits for ever if there is none.
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

/// Whole lines that were written to standard error. `None` if nothing more will come; waits for ever if it is not taken.
async fn lines(pipe: Option<&pipe::Receiver>, half: &mut Vec<u8>) -> Option<Vec<String>> {
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
    half.extend_from_slice(&buffer[..got]);
    // A program that never ends its line must not fill the memory.
    if half.len() > 1 << 16 {
        half.push(b'\n');
    }
    let end = half.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let whole: Vec<u8> = half.drain(..end).collect();
    let text = String::from_utf8_lossy(&whole);
    Some(text.lines().map(ToOwned::to_owned).collect())
}

/// Waits for a time; for ever if there is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
