//! Comparison of screens with reviewed snapshots in `snapshots/`: the text, and below it the ranges
//! of each style. `UPDATE_EXPECT=1 cargo test -p zctrace snapshots` updates them; read the
//! difference.

mod fixtures;
mod many;
mod random_states;

use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use ratatui::style::Style;

use self::fixtures::{Scenario, reports_of};
use super::draw;
use crate::recorder::RecordingProgress;
use crate::tracer::PlaybackState;
use crate::viewer::keys::{Command, KeyMap};
use crate::viewer::state::{Action, Appearance, Edit, Level, Phase, State, View};
use crate::viewer::theme::ThemeName;

/// Sizes at which a screen must be correct.
const SIZES: [(u16, u16); 4] = [(80, 24), (120, 40), (200, 60), (60, 15)];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/viewer/view/tests/snapshots")
}

/// Returns a state before the first report.
pub(super) fn new_state(size: (u16, u16), theme: ThemeName, ascii: bool) -> State {
    let appearance = Appearance {
        theme,
        ascii,
        true_color: false,
    };
    State::new(Arc::new(KeyMap::default()), appearance, Size::new(size.0, size.1))
}

pub(super) fn render_to_buffer(state: &State) -> Buffer {
    let backend = TestBackend::new(state.size.width.max(1), state.size.height.max(1));
    let mut terminal = Terminal::new(backend).expect("memory");
    terminal.draw(|frame| draw(frame, state)).expect("memory");
    terminal.backend().buffer().clone()
}

/// Returns the text, then the styles: each line that has any, as `line: from-to style`.
fn snapshot_text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut text = format!("{}x{}\n", area.width, area.height);
    for y in 0..area.height {
        let mut line = String::new();
        let mut skip = 0;
        for x in 0..area.width {
            let symbol = buffer[(x, y)].symbol();
            if skip == 0 {
                line.push_str(symbol);
                skip = unicode_width::UnicodeWidthStr::width(symbol).max(1);
            }
            skip -= 1;
        }
        let _ = writeln!(text, "|{}", line.trim_end());
    }
    for y in 0..area.height {
        let mut runs: Vec<(u16, u16, String)> = Vec::new();
        for x in 0..area.width {
            let cell = &buffer[(x, y)];
            let style = style_text(cell.style());
            match runs.last_mut() {
                Some((_, to, last)) if *last == style && *to + 1 == x => *to = x,
                _ if style.is_empty() => {}
                _ => runs.push((x, x, style)),
            }
        }
        if !runs.is_empty() {
            let runs: Vec<String> = runs
                .iter()
                .map(|(from, to, style)| format!("{from}-{to} {style}"))
                .collect();
            let _ = writeln!(text, "{y}: {}", runs.join(", "));
        }
    }
    text
}

fn style_text(style: Style) -> String {
    let mut words = Vec::new();
    for (color, what) in [(style.fg, ""), (style.bg, "on ")] {
        match color {
            None | Some(ratatui::style::Color::Reset) => {}
            Some(color) => words.push(format!("{what}{color}")),
        }
    }
    if !style.add_modifier.is_empty() {
        words.push(format!("{:?}", style.add_modifier));
    }
    words.join(" ")
}

/// A screen that is compared with its snapshot.
struct Case {
    name: String,
    state: State,
}

/// With two reports a second apart, so that there are rates.
fn live(of: Scenario, size: (u16, u16), theme: ThemeName, ascii: bool) -> State {
    let mut state = new_state(size, theme, ascii);
    let (before, now) = reports_of(of);
    act(&mut state, 59, Action::snapshot(Arc::new(before)));
    act(&mut state, 60, Action::snapshot(Arc::new(now)));
    state
}

fn act(state: &mut State, second: u64, action: Action) {
    state.apply(action, Duration::from_secs(second));
}

fn go(state: &mut State, commands: &[Command]) {
    for &command in commands {
        act(state, 61, Action::Do(command));
    }
}

fn typed(state: &mut State, text: &str) {
    go(state, &[Command::Filter]);
    for c in text.chars() {
        act(state, 61, Action::Edit(Edit::Insert(c)));
    }
}

/// A random number of rows or columns.
fn cells_of(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("not 0")
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, state: State| cases.push(Case { name, state });
    at_all_sizes(&mut add);
    in_all_themes(&mut add);
    in_all_states(&mut add);
    with_more(&mut add);
    cases
}

fn name(view: View) -> String {
    view.title().to_lowercase()
}

/// Compares a screen with its snapshot.
type Add<'a> = &'a mut dyn FnMut(String, State);

fn at_all_sizes(add: Add<'_>) {
    for size in SIZES {
        let at = format!("{}x{}", size.0, size.1);
        for view in View::ALL {
            let mut state = live(Scenario::Live, size, ThemeName::Dark, false);
            go(&mut state, &[Command::Show(view)]);
            add(format!("{}-{at}", name(view)), state);
        }
        let mut state = live(Scenario::Live, size, ThemeName::Dark, false);
        go(&mut state, &[Command::Show(View::Flows), Command::Open]);
        add(format!("certificate-{at}"), state);
        let mut state = live(Scenario::Loss, size, ThemeName::Dark, false);
        go(&mut state, &[Command::Show(View::Flows)]);
        add(format!("loss-{at}"), state);
        let mut state = live(Scenario::Hostile, size, ThemeName::Dark, false);
        go(&mut state, &[Command::Show(View::Flows)]);
        add(format!("hostile-{at}"), state);
        let mut state = live(Scenario::Live, size, ThemeName::Dark, false);
        go(&mut state, &[Command::Help]);
        add(format!("help-{at}"), state);
    }
}

fn in_all_themes(add: Add<'_>) {
    for theme in [
        ThemeName::Light,
        ThemeName::HighContrast,
        ThemeName::ColorBlind,
        ThemeName::None,
    ] {
        for view in [View::Map, View::Flows, View::Reasons] {
            let mut state = live(Scenario::Live, (80, 24), theme, false);
            go(&mut state, &[Command::Show(view)]);
            add(format!("{}-{}", name(view), theme.name()), state);
        }
        let state = live(Scenario::Loss, (80, 24), theme, false);
        add(format!("loss-{}", theme.name()), state);
    }
}

fn in_all_states(add: Add<'_>) {
    for size in [(80, 24), (60, 15)] {
        let at = format!("{}x{}", size.0, size.1);
        let dark = |of| live(of, size, ThemeName::Dark, false);
        add(format!("starting-{at}"), new_state(size, ThemeName::Dark, false));
        let mut state = new_state(size, ThemeName::Dark, false);
        let failed = Phase::Failed {
            cause: "the kernel refused to load the probes: CAP_BPF and CAP_PERFMON are missing".to_owned(),
            hint: "sudo zctrace, or once: sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep \"$(command -v zctrace)\""
                .to_owned(),
        };
        act(&mut state, 1, Action::Phase(failed));
        add(format!("no-privileges-{at}"), state);
        add(format!("empty-{at}"), dark(Scenario::Empty));
        add(format!("inconclusive-{at}"), dark(Scenario::Inconclusive));
        for view in [View::Map, View::Processes, View::Pipes, View::Reasons, View::Segments] {
            let mut state = dark(Scenario::Live);
            go(&mut state, &[Command::Show(view), Command::Open]);
            add(format!("open-{}-{at}", name(view)), state);
        }
        let mut state = dark(Scenario::Live);
        typed(&mut state, "to=tcp::443 and cop");
        add(format!("filter-typed-{at}"), state);
        let mut state = dark(Scenario::Live);
        typed(&mut state, "to=tcq");
        add(format!("filter-error-{at}"), state);
        let mut state = dark(Scenario::Live);
        typed(&mut state, "port=443");
        act(&mut state, 62, Action::Submit);
        add(format!("filtered-{at}"), state);
        let mut state = dark(Scenario::Live);
        typed(&mut state, "process=postgres");
        act(&mut state, 62, Action::Submit);
        add(format!("filtered-to-nothing-{at}"), state);
        for (view, text) in [
            (View::Pipes, "process=ingest"),
            (View::Pipes, "port=443"),
            (View::Log, "attached"),
        ] {
            let mut state = dark(Scenario::Live);
            typed(&mut state, text);
            act(&mut state, 62, Action::Submit);
            go(&mut state, &[Command::Show(view)]);
            let field = text.split('=').next().unwrap_or_default();
            add(format!("filtered-{}-by-{field}-{at}", name(view)), state);
        }
    }
}

/// Elements that appear only occasionally.
fn with_more(add: Add<'_>) {
    let size = (80, 24);
    let dark = |of| live(of, size, ThemeName::Dark, false);
    let mut state = dark(Scenario::Live);
    go(
        &mut state,
        &[Command::Pause, Command::Down, Command::Down, Command::Sort],
    );
    add("paused-sorted".to_owned(), state);
    let mut state = dark(Scenario::Live);
    act(
        &mut state,
        61,
        Action::Phase(Phase::Ended("CMD ended with code 0".to_owned())),
    );
    add("ended".to_owned(), state);
    let mut state = dark(Scenario::Live);
    let playback = PlaybackState {
        position: Duration::from_secs(67),
        length: Duration::from_secs(4000),
        speed: 2.0,
        paused: false,
    };
    act(&mut state, 61, Action::Playback(playback));
    add("replay".to_owned(), state);
    for (name, has_failed) in [("recording", false), ("recording-failed", true)] {
        let mut state = dark(Scenario::Live);
        let recording = RecordingProgress {
            name: "of-a-server-in-a-long-night.zct".to_owned(),
            bytes: 37 << 20,
            has_failed,
        };
        act(&mut state, 61, Action::Recording(recording));
        add(name.to_owned(), state);
    }
    let mut state = dark(Scenario::Live);
    act(
        &mut state,
        61,
        Action::Say(Level::Error, "disk full: /tmp/x.json was not written".to_owned()),
    );
    go(&mut state, &[Command::Show(View::Log)]);
    add("message".to_owned(), state);
    let mut state = dark(Scenario::Live);
    go(&mut state, &[Command::Right, Command::Right]);
    add("moved-aside".to_owned(), state);
    for view in [View::Map, View::Pipes] {
        let mut state = live(Scenario::Live, size, ThemeName::None, true);
        go(&mut state, &[Command::Show(view)]);
        add(format!("{}-ascii", name(view)), state);
    }
    let mut state = live(Scenario::Live, (120, 40), ThemeName::Dark, false);
    let mut parser = vt100::Parser::new(cells_of(12), cells_of(120), 0);
    parser.process(
        b"\x1b[32m$ \x1b[1mcurl\x1b[0m -s http://127.0.0.1/a\r\n\x1b[7minverse\x1b[0m \xe6\x97\xa5\xe6\x9c\xac plain",
    );
    state.pane.running = true;
    act(&mut state, 61, Action::Screen(Arc::new(parser.screen().clone())));
    add("pane".to_owned(), state);
    let mut state = dark(Scenario::Live);
    state.pane.running = true;
    go(&mut state, &[Command::QuitAndPrint]);
    add("confirm".to_owned(), state);
}

/// No text waits for space that never comes.
#[test]
fn prompt_works_at_any_width() {
    for width in 1..30 {
        let mut state = live(Scenario::Live, (width, 15), ThemeName::Dark, false);
        typed(&mut state, "to=tcp 日本");
        go(&mut state, &[Command::Help]);
        assert_eq!(render_to_buffer(&state).area.width, width);
    }
}

#[test]
fn snapshots() {
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    let files = cases.iter().map(|case| {
        (
            format!("{}.txt", case.name),
            snapshot_text(&render_to_buffer(&case.state)),
        )
    });
    test_support::assert_snapshots(folder(), Some("txt"), files);
}
