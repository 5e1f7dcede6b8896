//! The views.

/// A view, in the order of the tabs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum View {
    /// Flows summed by kinds of endpoints.
    Map,
    /// The flows of the report.
    Flows,
    /// The processes.
    Processes,
    /// The pipes.
    Pipes,
    /// The reasons for copies and unknowns.
    Reasons,
    /// Segments of buffer lists, and peeks at them.
    Segments,
    /// Messages about zctrace itself.
    Log,
}

impl View {
    /// All views.
    pub(crate) const ALL: [Self; 7] = [
        Self::Map,
        Self::Flows,
        Self::Processes,
        Self::Pipes,
        Self::Reasons,
        Self::Segments,
        Self::Log,
    ];

    /// Returns the name on the tab.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Map => "Map",
            Self::Flows => "Flows",
            Self::Processes => "Processes",
            Self::Pipes => "Pipes",
            Self::Reasons => "Reasons",
            Self::Segments => "Segments",
            Self::Log => "Log",
        }
    }

    /// Returns the next view, cyclically.
    pub(crate) fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }

    /// Returns the previous view, cyclically.
    pub(crate) fn previous(self) -> Self {
        Self::ALL[(self as usize + Self::ALL.len() - 1) % Self::ALL.len()]
    }
}
