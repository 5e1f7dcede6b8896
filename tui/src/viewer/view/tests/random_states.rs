//! Random sizes, reports and sequences of actions: nothing panics, and no cell contains a control
//! sequence.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::layout::Size;
use zctrace_contract::Reason;
use zctrace_report::{Account, Cause, Endpoint, EndpointKind, Flow, Peek, Pipe, Process, Report, Scope, Segment, Tier};

use super::fixtures::{ALL, reports_of};
use super::{cells_of, new_state, render_to_buffer};
use crate::tracer::PlaybackState;
use crate::viewer::keys::BINDINGS;
use crate::viewer::state::{Action, Edit, Level, Phase};
use crate::viewer::theme::ThemeName;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "\\PC{0,30}",
        "[\\x00-\\x20\u{7f}-\u{9f}\u{202a}-\u{202e}\u{2066}日本\u{301}\u{200d}\u{fe0f}\u{1f468}a-z/*:.]{0,60}",
        Just("x".repeat(5000)),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>(), 0..1_u64 << 30]
}

fn kind() -> impl Strategy<Value = EndpointKind> {
    let words: Vec<&str> = EndpointKind::KNOWN.to_vec();
    prop_oneof![
        proptest::sample::select(words).prop_map(EndpointKind::from),
        name().prop_map(EndpointKind::Other)
    ]
}

fn flow() -> impl Strategy<Value = Flow> {
    let ends = (kind(), name(), kind(), name(), proptest::option::of(any::<u16>()));
    (
        ends,
        name(),
        [number(), number(), number()],
        number(),
        proptest::option::of(0..4_u32),
    )
        .prop_map(
            |((from, from_name, to, to_name, port), process, [moved, copied, unknown], folded, pid)| {
                let mut flow = Flow::new(Endpoint::new(from, from_name), Endpoint::new(to, to_name));
                flow.to.port = port;
                (flow.process, flow.pid) = (process, pid);
                (flow.folded, flow.calls, flow.peeked_bytes) = (folded.max(1), folded, unknown);
                flow.set_account(Account::new(moved, copied, unknown));
                flow.reasons = vec![Cause::new(Reason::FromMemory, copied, folded)];
                flow
            },
        )
}

/// The report need not be consistent: a viewer that panics on a wrong report shows nothing at all.
fn report() -> impl Strategy<Value = Report> {
    let made_up = (
        proptest::collection::vec(flow(), 0..12),
        name(),
        [number(), number(), number(), number()],
        proptest::collection::vec((any::<u32>(), any::<u32>()), 0..4),
    )
        .prop_map(|(flows, name, [a, b, c, d], pipes)| {
            let mut report = Report::new(Tier::Other(name.clone()), Scope::default());
            for flow in flows {
                report.add_flow(flow);
            }
            let mut process = Process::new(a as u32, name.clone());
            process.set_account(Account::new(b, c, d));
            report.processes.push(process);
            for (slots, used) in pipes {
                let pipe = Pipe::new(a, slots);
                report.pipes.push(Pipe {
                    used_slots: used,
                    bytes: Some(b),
                    processes: vec![name.clone()],
                    ..pipe
                });
            }
            let mut segment = Segment::new(a, b);
            segment.ranges = vec![(c..d).into()];
            segment.detail.clone_from(&name);
            report.segments.push(segment);
            report.peeks.push(Peek {
                method: name.clone(),
                thread: name,
                ..Peek::new(c, d)
            });
            report.loss.sequence_gaps = a;
            report.loss.recursion_misses = b;
            report.overhead.own_cpu_ns = c;
            report.overhead.copying_ns_estimate = Some(d);
            report.overhead.copy_bytes_per_second = Some(a);
            report.provenance.duration_ns = b;
            report.summarize();
            report
        });
    prop_oneof![
        made_up,
        proptest::sample::select(ALL.to_vec()).prop_map(|of| reports_of(of).1)
    ]
}

/// An action in printable form for failure messages; a screen has none.
#[derive(Clone)]
struct Step(Action);

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Action::Do(command) => write!(f, "{command:?}"),
            Action::Edit(edit) => write!(f, "{edit:?}"),
            Action::Submit => f.write_str("submit"),
            Action::Cancel => f.write_str("cancel"),
            Action::Answer(yes) => write!(f, "answer {yes}"),
            Action::Click { column, row } => write!(f, "click {column} {row}"),
            Action::Snapshot(report, _) => write!(f, "{report:?}"),
            Action::Resize(size) => write!(f, "{size}"),
            Action::Say(_, text) => write!(f, "say {text:?}"),
            Action::Phase(phase) => write!(f, "{phase:?}"),
            _ => f.write_str("something else"),
        }
    }
}

/// A random screen of the command, on a terminal that is resized meanwhile. It is at least as large
/// as the pane.
fn terminal() -> impl Strategy<Value = [((u16, u16), Vec<u8>); 2]> {
    let bytes = || {
        let piece = prop_oneof![
            4 => any::<u8>().prop_map(|byte| vec![byte]),
            2 => "\\x1b\\[[0-9;?]{0,6}[A-Za-z@`]".prop_map(String::into_bytes),
            2 => "[a-z日\u{301}\u{17d8}\r\n\t\u{8}]".prop_map(String::into_bytes),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    };
    let one = || ((1..30_u16, 3..90_u16), bytes());
    [one(), one()]
}

fn screen([(size, before), (other, after)]: &[((u16, u16), Vec<u8>); 2]) -> vt100::Screen {
    let mut parser = vt100::Parser::new(cells_of(size.0), cells_of(size.1), 0);
    parser.process(before);
    parser.screen_mut().set_size(cells_of(other.0), cells_of(other.1));
    parser.process(after);
    parser.screen().clone()
}

fn action() -> impl Strategy<Value = Step> {
    let command = proptest::sample::select(BINDINGS).prop_map(|entry| Step(Action::Do(entry.command)));
    let edit = prop_oneof![
        4 => "\\PC".prop_map(|text| Edit::Insert(text.chars().next().unwrap_or('x'))),
        2 => proptest::sample::select("to=tcp(\"!x> ".chars().collect::<Vec<_>>()).prop_map(Edit::Insert),
        1 => proptest::sample::select(vec![Edit::Backspace, Edit::Delete, Edit::DeleteWord, Edit::Left, Edit::Home]),
    ];
    let phase = (name(), name(), 0..4).prop_map(|(cause, hint, which)| match which {
        0 => Phase::Starting,
        1 => Phase::Live,
        2 => Phase::Ended(cause),
        _ => Phase::Failed { cause, hint },
    });
    let playback = (any::<u32>(), any::<u32>(), any::<bool>()).prop_map(|(at, of, paused)| PlaybackState {
        position: Duration::from_secs(at.into()),
        length: Duration::from_secs(of.into()),
        speed: 0.5,
        paused,
    });
    let screen = terminal().prop_map(|input| Step(Action::Screen(Arc::new(screen(&input)))));
    prop_oneof![
        12 => command,
        4 => edit.prop_map(|edit| Step(Action::Edit(edit))),
        1 => Just(Step(Action::Submit)),
        1 => Just(Step(Action::Cancel)),
        1 => any::<bool>().prop_map(|yes| Step(Action::Answer(yes))),
        2 => (0..310_u16, 0..110_u16).prop_map(|(column, row)| Step(Action::Click { column, row })),
        3 => report().prop_map(|report| Step(Action::snapshot(Arc::new(report)))),
        1 => phase.prop_map(|phase| Step(Action::Phase(phase))),
        1 => playback.prop_map(|at| Step(Action::Playback(at))),
        1 => screen,
        2 => (0..301_u16, 0..101_u16).prop_map(|(width, height)| Step(Action::Resize(Size::new(width, height)))),
        1 => name().prop_map(|text| Step(Action::Say(Level::Error, text))),
        1 => Just(Step(Action::Tick)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn terminal_emulator_accepts_any_input(input in terminal()) {
        let (rows, columns) = screen(&input).size();
        prop_assert_eq!((rows.get(), columns.get()), input[1].0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_actions_never_panic_or_emit_control_characters(
        size in (1..301_u16, 1..101_u16),
        theme in proptest::sample::select(ThemeName::ALL.to_vec()),
        ascii: bool,
        actions in proptest::collection::vec(action(), 0..24),
    ) {
        let mut state = new_state(size, theme, ascii);
        state.pane.running = size.0 % 2 == 0;
        let mut screens = vec![render_to_buffer(&state)];
        for (second, Step(action)) in actions.into_iter().enumerate() {
            state.apply(action, Duration::from_millis(second as u64 * 250));
            screens.push(render_to_buffer(&state));
        }
        for cell in screens.iter().flat_map(|screen| &screen.content) {
            let symbol = cell.symbol();
            prop_assert!(!symbol.contains(char::is_control), "{:?}", symbol);
            prop_assert!(!symbol.contains(['\u{202e}', '\u{200f}', '\u{2066}']), "{:?}", symbol);
        }
    }
}
