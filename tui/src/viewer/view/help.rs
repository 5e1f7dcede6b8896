//! The help, generated from the table of bindings, the filter language and the legend; and the
//! questions.

use std::fmt::Write as _;

use super::super::keys::Group;
use crate::filter::HELP;
use crate::render::text::{TextBuffer, TextSink as _, wrap};
use crate::viewer::keys::Command;
use crate::viewer::state::{Question, State};

/// The legend of the marks.
const MARKS: [(&str, &str); 5] = [
    (
        "=",
        "moved = zero-copy, the same page: by page reference, or by the device",
    ),
    ("x", "copied: another page was observed at the destination"),
    ("?", "unknown: neither was shown; never counted as moved or copied"),
    ("-", "excluded: holes, reflinks, /dev/null; no payload"),
    ("!", "attention: a full pipe, a loss, inconsistent totals"),
];

/// Title of the help overlay.
pub(super) fn title(state: &State) -> String {
    let back = state
        .keys
        .key_of(Command::Back)
        .map(|key| key.to_string())
        .unwrap_or_default();
    format!("keys · {back}: back")
}

/// Returns the lines of the help.
pub(super) fn lines(state: &State, width: u16) -> Vec<String> {
    let mut text = TextBuffer::new(usize::from(width).max(1));
    let all = || state.keys.bindings();
    let shown = |keys: &[crate::viewer::keys::Key]| {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        keys.join(" ")
    };
    let wide = all()
        .map(|(_, keys)| shown(keys).chars().count())
        .max()
        .unwrap_or(0)
        .min(20);
    // Bindings that are inactive in this session are omitted.
    let can_be = |group: &Group| match group {
        Group::Pane => state.pane.screen.is_some(),
        Group::Replay => state.playback.is_some(),
        _ => true,
    };
    for group in Group::ALL.into_iter().filter(can_be) {
        let _ = writeln!(text, "{}", group.title());
        for (binding, keys) in all().filter(|(binding, _)| binding.group == group) {
            let keys = if keys.is_empty() {
                "(no key)".to_owned()
            } else {
                shown(keys)
            };
            wrap(&mut text, &format!("  {keys:<wide$}  "), binding.help);
        }
        text.push('\n');
    }
    text.push_str("Marks\n");
    for (mark, meaning) in MARKS {
        wrap(&mut text, &format!("{mark}  "), meaning);
    }
    text.push_str("\nFilter\n");
    for line in HELP.lines() {
        let indent = line.len() - line.trim_start().len();
        let fits = line.chars().count() + 2 <= usize::from(width);
        if fits {
            let _ = writeln!(text, "  {line}");
        } else {
            wrap(&mut text, &" ".repeat(2 + indent), line);
        }
    }
    text.text().lines().map(str::to_owned).collect()
}

/// Draws a question.
pub(super) fn question(doubt: Question, width: u16) -> Vec<String> {
    let mut text = TextBuffer::new(usize::from(width).max(1));
    text.push('\n');
    let Question::EndCommand { print } = doubt;
    wrap(&mut text, "   ", "CMD is still running. End it and quit zctrace?");
    if print {
        wrap(&mut text, "   ", "The report is printed afterwards.");
    }
    wrap(&mut text, "   ", "y ends both, n cancels");
    text.text().lines().map(str::to_owned).collect()
}
