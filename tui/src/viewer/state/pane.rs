//! What is known of the terminal of the command.

use std::fmt;
use std::sync::Arc;

#[allow(clippy::struct_excessive_bools)] // Each may be so or not whatever the others are.
/// The terminal of CMD, as the state knows it. There is none unless zctrace started a command.
#[derive(Clone, Default)]
pub(crate) struct Pane {
    /// What is on it: shared with nobody, made by the thread that reads the pty, the newest only.
    pub(crate) screen: Option<Arc<vt100::Screen>>,
    /// Whether it is not to be drawn.
    pub(crate) hidden: bool,
    /// Whether it has most of the screen.
    pub(crate) large: bool,
    /// Whether CMD still runs.
    pub(crate) running: bool,
    /// Whether the keys go to CMD.
    pub(crate) focused: bool,
}

impl Pane {
    /// Whether it has a place on the screen.
    pub(crate) fn shown(&self) -> bool {
        self.screen.is_some() && !self.hidden
    }
}

impl fmt::Debug for Pane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pane")
            .field("screen", &self.screen.is_some())
            .field("hidden", &self.hidden)
            .field("large", &self.large)
            .field("running", &self.running)
            .field("focused", &self.focused)
            .finish()
    }
}
