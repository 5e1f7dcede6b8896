//! Drawing: a pure function of the state.

use ratatui::Frame;

use super::state::State;

/// Draws the whole screen.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &State) {
    let _ = (frame, state);
}
