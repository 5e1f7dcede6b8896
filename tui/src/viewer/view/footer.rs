//! Footer: the keys that are relevant now, from the table of bindings.

use std::borrow::Cow;

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::cell_writer::CellWriter;
use crate::viewer::keys::{Command, Context};
use crate::viewer::rows::columns;
use crate::viewer::state::{Overlay, Purpose, State};
use crate::viewer::theme::Role;

pub(super) fn draw(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    if let Some(prompt) = &state.prompt {
        match &state.filter_error {
            Some(filter_error) if prompt.purpose == Purpose::Filter => {
                writer.write(area, &filter_error.to_string(), Role::Warning);
            }
            _ => keys(writer, area, &[("enter".into(), "apply"), ("esc".into(), "cancel")]),
        }
        return;
    }
    if let Some(Overlay::Confirm(_)) = state.overlay {
        keys(writer, area, &[("y".into(), "yes"), ("n".into(), "no")]);
        return;
    }
    let is_active = |context| match context {
        Context::Always => true,
        Context::Tables => !columns(state.view).is_empty() && state.detail().is_none(),
        Context::Pane => state.pane.screen.is_some(),
        Context::Replay => state.playback.is_some(),
    };
    let entries = state
        .keys
        .bindings()
        .filter(|(binding, _)| !binding.footer.is_empty() && is_active(binding.context));
    let entries = entries.filter_map(|(binding, keys)| {
        let always = matches!(binding.command, Command::Help | Command::Quit);
        Some((always, (Cow::Owned(keys.first()?.to_string()), binding.footer)))
    });
    // Help and quit come last and are the last to be dropped.
    let (always, others): (Vec<_>, Vec<_>) = entries.partition(|(always, _)| *always);
    let [always, mut others] = [always, others].map(|list| list.into_iter().map(|(_, key)| key).collect::<Vec<_>>());
    // The last key needs no gap after it.
    let room = (usize::from(area.width) + GAP.len()).saturating_sub(wide(&always));
    if wide(&others) > room {
        let room = room.saturating_sub(MARK + GAP.len());
        while wide(&others) > room {
            others.pop();
        }
        others.push((writer.glyphs().ellipsis().into(), ""));
    }
    others.extend(always);
    keys(writer, area, &others);
}

/// Returns the width in columns of these keys with their texts and gaps.
fn wide(entries: &[Key<'_>]) -> usize {
    entries
        .iter()
        .map(|(key, what)| key.width() + 1 + what.width() + GAP.len())
        .sum()
}

/// Gap between two keys.
const GAP: &str = "  ";

/// Width of the mark that shows that there are more keys.
const MARK: usize = 1;

/// A key with its text.
type Key<'a> = (Cow<'a, str>, &'a str);

/// Returns the keys that fit, with their texts; a key that does not fit is omitted whole.
fn keys(writer: &mut CellWriter<'_>, area: Rect, entries: &[Key<'_>]) {
    let mut left = area;
    for (number, (key, what)) in entries.iter().enumerate() {
        let gap = if number == 0 { "" } else { GAP };
        let wide = gap.len() + key.width() + usize::from(!what.is_empty()) + what.width();
        if wide > usize::from(left.width) {
            writer.write_aligned(
                left,
                writer.glyphs().ellipsis(),
                super::cell_writer::Side::Right,
                Role::Dim,
            );
            return;
        }
        left = writer.write_spans(
            left,
            [
                (gap.into(), Role::Plain),
                (key.as_ref().into(), Role::Key),
                (
                    if what.is_empty() {
                        "".into()
                    } else {
                        format!(" {what}").into()
                    },
                    Role::Dim,
                ),
            ],
        );
    }
}
