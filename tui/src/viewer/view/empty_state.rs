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
        Phase::Failed { cause, hint } => return (format!("Tracing failed: {cause}."), hint.clone()),
        Phase::Starting if state.playback.is_some() => return words("The recording is being read.", ""),
        Phase::Starting => return words("The probes are being attached.", ""),
        Phase::Ended(why) if state.snapshot.is_none() => {
            return (format!("{why}. There is no report."), String::new());
        }
        Phase::Ended(_) | Phase::Live => {}
    }
    if state.view == View::Log && state.log.lines().len() == 0 {
        return words("The log is empty.", "");
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
            format!("No {what} matches the filter {}.", state.filter),
            format!("{key} clears the filter."),
        );
    }
    match state.view {
        View::Map | View::Flows if flows == 0 && state.playback.is_some() => words(
            "No bytes were delivered up to this time in the recording.",
            "Bytes delivered later are shown as the replay continues.",
        ),
        View::Map | View::Flows if flows == 0 => words(
            "No bytes were delivered yet: no call that moves or copies bytes between files, sockets, pipes and memory has \
             returned.",
            "New flows are shown as soon as the program transfers bytes.",
        ),
        View::Processes => words("No process has moved or copied bytes yet.", ""),
        View::Pipes => words(
            "No call on a pipe was observed. The pipe that sendfile uses inside the kernel is not listed.",
            "",
        ),
        View::Reasons if flows == 0 => words("No bytes were delivered yet, so there are no reasons.", ""),
        View::Reasons => words("Nothing was copied, and nothing is unknown.", ""),
        View::Segments => words(
            "No segments: no traced program writes a journal of its bufferlists.",
            "A program that uses the crate bufferlist writes one by default, unless BUFFERLIST_JOURNAL=0 is set.",
        ),
        View::Map | View::Flows | View::Log => words("No rows.", ""),
    }
}
