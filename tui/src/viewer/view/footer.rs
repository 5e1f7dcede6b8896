//! The keys that matter here, from the table of keys.

use std::borrow::Cow;

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::pen::Pen;
use crate::viewer::keys::Where;
use crate::viewer::rows::columns;
use crate::viewer::state::{Overlay, Purpose, State};
use crate::viewer::theme::Role;

pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, state: &State) {
    if let Some(prompt) = &state.prompt {
        match &state.mistake {
            Some(mistake) if prompt.purpose == Purpose::Filter => {
                pen.write(area, &mistake.to_string(), Role::Warning);
            }
            _ => keys(pen, area, &[("enter".into(), "take it"), ("esc".into(), "give it up")]),
        }
        return;
    }
    if let Some(Overlay::Confirm(_)) = state.overlay {
        keys(pen, area, &[("y".into(), "yes"), ("n".into(), "no")]);
        return;
    }
    let holds = |holds| match holds {
        Where::Always => true,
        Where::Tables => !columns(state.view).is_empty() && state.detail().is_none(),
        Where::Pane => state.pane.screen.is_some(),
        Where::Replay => state.playback.is_some(),
    };
    let entries: Vec<(Cow<'_, str>, &str)> = state
        .keys
        .entries()
        .filter(|(entry, _)| !entry.footer.is_empty() && holds(entry.holds))
        .filter_map(|(entry, keys)| Some((Cow::Owned(keys.first()?.to_string()), entry.footer)))
        .collect();
    keys(pen, area, &entries);
}

/// Keys with what they do, as many as there is room for: one that has none is left out whole.
fn keys(pen: &mut Pen<'_>, area: Rect, entries: &[(Cow<'_, str>, &str)]) {
    let mut left = area;
    for (number, (key, what)) in entries.iter().enumerate() {
        let gap = if number == 0 { "" } else { "  " };
        let wide = gap.len() + key.width() + 1 + what.width();
        if wide > usize::from(left.width) {
            pen.aligned(left, pen.glyphs().cut(), super::pen::Side::Right, Role::Dim);
            return;
        }
        left = pen.pieces(
            left,
            [
                (gap.into(), Role::Plain),
                (key.as_ref().into(), Role::Key),
                (format!(" {what}").into(), Role::Dim),
            ],
        );
    }
}
