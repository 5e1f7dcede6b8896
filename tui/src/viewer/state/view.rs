//! Which view is shown.

/// The views, in the order of their tabs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum View {
    /// From where to where, by kinds of ends.
    Map,
    /// The flows of the report.
    Flows,
    /// The processes.
    Processes,
    /// The pipes that bytes went through.
    Pipes,
    /// Why bytes were copied or are unknown.
    Reasons,
    /// Segments of bufferlists, and looks at them.
    Segments,
    /// What happened to zctrace.
    Log,
}

impl View {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Map,
        Self::Flows,
        Self::Processes,
        Self::Pipes,
        Self::Reasons,
        Self::Segments,
        Self::Log,
    ];

    /// The name on its tab.
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

    /// The one after it, round and round.
    pub(crate) fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }

    /// The one before it.
    pub(crate) fn previous(self) -> Self {
        Self::ALL[(self as usize + Self::ALL.len() - 1) % Self::ALL.len()]
    }
}
