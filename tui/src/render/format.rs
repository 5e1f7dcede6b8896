//! The output formats of reports.

/// Output format of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Text for people.
    Text,
    /// JSON: indented, or one line for each report of a series.
    Json,
    /// `JUnit` XML, as CI systems read it.
    Junit,
}

impl Format {
    /// All formats, with the default first.
    pub(crate) const ALL: [Self; 3] = [Self::Text, Self::Json, Self::Junit];

    /// Returns the name of the format on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Junit => "junit",
        }
    }

    /// Returns the format with the given name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Returns whether a series of reports can be written to one file.
    pub(crate) const fn allows_series(self) -> bool {
        !matches!(self, Self::Junit)
    }
}

/// Place of a report in the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placement {
    /// The only report.
    Only,
    /// One of a series, with others to follow.
    Interim,
    /// The last one of a series.
    Last,
}
