//! State of the command's terminal.

use std::fmt;
use std::sync::Arc;

#[allow(clippy::struct_excessive_bools)] // Each may be so or not whatever the others are.
/// The command's terminal. Exists only if zctrace started a command.
#[derive(Clone, Default)]
pub(crate) struct Pane {
    /// Latest screen, not shared, made by the thread that reads the pty.
    pub(crate) screen: Option<Arc<vt100::Screen>>,
    /// `true` if the pane is hidden.
    pub(crate) hidden: bool,
    /// `true` if the pane is maximized.
    pub(crate) large: bool,
    /// `true` if the command is running.
    pub(crate) running: bool,
    /// `true` if keys go to the command.
    pub(crate) focused: bool,
}

impl Pane {
    /// Returns whether the pane has an area on the screen.
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
