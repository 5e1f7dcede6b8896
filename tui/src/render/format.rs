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
        match self {
            Self::Text | Self::Json => true,
            Self::Junit => false,
        }
    }

    /// Returns the formats that can hold this kind of output, in the order of [`Format::ALL`].
    fn for_output(kind: OutputKind) -> impl Iterator<Item = Self> {
        let is_series = kind == OutputKind::Series;
        Self::ALL
            .into_iter()
            .filter(move |format| !is_series || format.allows_series())
    }

    /// Returns what the help adds to the format's name for this kind of output; often nothing.
    const fn remark(self, kind: OutputKind) -> &'static str {
        match (self, kind) {
            (Self::Json, OutputKind::Series) => " (one line each)",
            (Self::Junit, OutputKind::Flows) => " (a test case per row)",
            (Self::Junit, OutputKind::Judgment) => " (a test case per rule)",
            _ => "",
        }
    }

    /// Lists the formats for this kind of output, for the help: `text, json, junit`.
    pub(crate) fn list(kind: OutputKind) -> String {
        let formats = Self::for_output(kind).map(|format| format!("{}{}", format.name(), format.remark(kind)));
        formats.collect::<Vec<_>>().join(", ")
    }

    /// Lists the formats that allow a series of reports, for an error: `text or json`.
    pub(crate) fn list_for_series() -> String {
        let names: Vec<_> = Self::for_output(OutputKind::Series).map(Self::name).collect();
        names.join(" or ")
    }
}

/// Kind of a subcommand's output, which decides the formats that it can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OutputKind {
    /// Report of a run.
    Flows,
    /// Judgment of a run.
    Judgment,
    /// Stored report.
    Stored,
    /// Series of reports.
    Series,
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
