//! Colours and glyphs.

/// Which colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ThemeName {
    /// For dark backgrounds.
    #[default]
    Dark,
    /// For light backgrounds.
    Light,
    /// As different as can be.
    HighContrast,
    /// Blue for moved and orange for copied.
    ColourBlind,
    /// No colours at all, as `NO_COLOR` asks for.
    None,
}

impl ThemeName {
    /// All, in the order in which a key goes through them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Dark,
        Self::Light,
        Self::HighContrast,
        Self::ColourBlind,
        Self::None,
    ];

    /// The word for it in the configuration.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::HighContrast => "high-contrast",
            Self::ColourBlind => "colour-blind",
            Self::None => "none",
        }
    }
}
