//! Text shown instead of rows when there are none: the cause, and what to do.

use ratatui::layout::Rect;

use super::cell_writer::CellWriter;
use super::details;
use crate::render::text::{TextBuffer, TextSink as _, wrap};
use crate::viewer::keys::Command;
use crate::viewer::rows::Filtered;
use crate::viewer::state::{Phase, State, View};

pub(super) fn draw(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    let mut text = TextBuffer::new(area.width.into());
    text.push('\n');
    let (title, rest) = explanation(state);
    wrap(&mut text, "   ", &title);
    if !rest.is_empty() {
        wrap(&mut text, "   → ", &rest);
    }
    let lines: Vec<String> = text.text().lines().map(str::to_owned).collect();
    details::lines(writer, area, &lines, 0);
}

fn explanation(state: &State) -> (String, String) {
    let words = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    match &state.phase {
        Phase::Failed { cause, hint } => return (format!("Watching failed: {cause}."), hint.clone()),
        Phase::Starting if state.playback.is_some() => return words("The recording is being read.", ""),
        Phase::Starting => return words("The probes are being attached. Nothing was reported yet.", ""),
        Phase::Ended(why) if state.snapshot.is_none() => {
            return (format!("{why}. Nothing was reported."), String::new());
        }
        Phase::Ended(_) | Phase::Live => {}
    }
    if state.view == View::Log && state.log.lines().len() == 0 {
        return words("Nothing has happened yet.", "");
    }
    let flows = state
        .snapshot
        .as_ref()
        .map_or(0, |snapshot| snapshot.report.flows.len());
    // Nothing is hidden, so nothing was observed.
    let hides = !matches!(
        state.rows().filtered(),
        Filtered::NotApplicable(_) | Filtered::Hidden { count: 0, .. }
    );
    if !state.filter.is_empty() && hides {
        let key = state
            .keys
            .key_of(Command::Back)
            .map(|key| key.to_string())
            .unwrap_or_default();
        let what = match state.view {
            View::Pipes => "pipe",
            View::Log => "line",
            _ => "flow",
        };
        return (
            format!("No {what} fits the filter {}.", state.filter),
            format!("{key} takes the filter away."),
        );
    }
    match state.view {
        View::Map | View::Flows if flows == 0 && state.playback.is_some() => words(
            "No bytes have arrived anywhere until this time of the recording.",
            "What arrived later is shown when it is played.",
        ),
        View::Map | View::Flows if flows == 0 => words(
            "No bytes have arrived anywhere yet: no call that moves or copies bytes between files, sockets, pipes and memory \
             was seen to end.",
            "Let the program work; what it does from now on is shown at once.",
        ),
        View::Processes => words("No process was seen to move or copy bytes yet.", ""),
        View::Pipes => words(
            "No call on a pipe was seen. sendfile has a pipe of its own inside the kernel, which is not listed.",
            "",
        ),
        View::Reasons if flows == 0 => words("Nothing has arrived yet, so there is nothing to explain.", ""),
        View::Reasons => words("Nothing was copied, and nothing is unknown.", ""),
        View::Segments => words(
            "No segments: no program that is watched keeps a journal of bufferlists.",
            "A program with the crate bufferlist keeps one by itself, unless BUFFERLIST_JOURNAL=0 is set.",
        ),
        View::Map | View::Flows | View::Log => words("No rows.", ""),
    }
}
