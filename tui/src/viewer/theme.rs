//! Colors and glyphs. Color never carries meaning alone: a glyph, a word or a position always shows
//! it too.

use std::borrow::Cow;

use ratatui::style::{Color, Modifier, Style};

/// A color theme.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ThemeName {
    /// For dark backgrounds.
    #[default]
    Dark,
    /// For light backgrounds.
    Light,
    /// Maximum contrast.
    HighContrast,
    /// Blue for moved and orange for copied.
    ColorBlind,
    /// No colors, as `NO_COLOR` requests.
    None,
}

impl ThemeName {
    /// All themes, in the order in which a key cycles through them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Dark,
        Self::Light,
        Self::HighContrast,
        Self::ColorBlind,
        Self::None,
    ];

    /// Returns the name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::HighContrast => "high-contrast",
            Self::ColorBlind => "color-blind",
            Self::None => "none",
        }
    }
}

/// Role of a text, which decides its style.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Ordinary text.
    Plain,
    /// Less important text.
    Dim,
    /// The verdict, and titles.
    Strong,
    /// Titles of columns.
    Head,
    /// Title of the sort column.
    Sorted,
    /// The active view.
    Active,
    /// The selected row.
    Cursor,
    /// A key.
    Key,
    /// Moved.
    Moved,
    /// Copied.
    Copied,
    /// Unknown.
    Unknown,
    /// Excluded bytes.
    Excluded,
    /// Something that must be noticed: a loss, a failure.
    Alert,
    /// A warning.
    Warning,
}

impl Role {
    /// Returns the role of a mark.
    pub(crate) const fn from_mark(mark: char) -> Self {
        match mark {
            '=' => Self::Moved,
            'x' => Self::Copied,
            '?' => Self::Unknown,
            '!' => Self::Alert,
            '-' => Self::Excluded,
            _ => Self::Plain,
        }
    }
}

/// Style of each role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Theme {
    name: ThemeName,
    true_color: bool,
}

impl Theme {
    /// Returns the theme of this name, for a terminal with or without 24-bit colors.
    pub(crate) const fn new(name: ThemeName, true_color: bool) -> Self {
        Self { name, true_color }
    }

    /// Returns the style of a role.
    pub(crate) fn style(self, role: Role) -> Style {
        let style = Style::new().add_modifier(modifier(role));
        match self.color(role) {
            Some(color) => style.fg(color),
            None => style,
        }
    }

    fn color(self, role: Role) -> Option<Color> {
        // The 24-bit color, and the nearest of the 16 or 256 colors of other terminals.
        let (rgb, ansi) = match (self.name, role) {
            (ThemeName::None, _) | (_, Role::Plain | Role::Strong | Role::Cursor | Role::Active | Role::Sorted) => {
                return None;
            }

            (ThemeName::Dark, Role::Moved) => ((126, 200, 120), Color::Green),
            (ThemeName::Dark, Role::Copied) => ((240, 113, 105), Color::LightRed),
            (ThemeName::Dark, Role::Unknown | Role::Warning) => ((230, 196, 84), Color::Yellow),
            (ThemeName::Dark | ThemeName::ColorBlind, Role::Excluded | Role::Dim) => ((140, 144, 150), Color::DarkGray),
            (ThemeName::Dark, Role::Head) => ((130, 170, 220), Color::Cyan),
            (ThemeName::Dark, Role::Key) => ((150, 190, 235), Color::LightCyan),
            (ThemeName::Dark, Role::Alert) => ((255, 120, 110), Color::LightRed),

            (ThemeName::Light, Role::Moved) => ((0, 110, 40), Color::Green),
            (ThemeName::Light, Role::Copied | Role::Alert) => ((176, 20, 20), Color::Red),
            (ThemeName::Light, Role::Unknown | Role::Warning) => ((135, 90, 0), Color::Indexed(94)),
            (ThemeName::Light, Role::Excluded | Role::Dim) => ((95, 98, 104), Color::Indexed(241)),
            (ThemeName::Light, Role::Head | Role::Key) => ((20, 70, 150), Color::Blue),

            (ThemeName::HighContrast, Role::Moved) => ((0, 255, 0), Color::LightGreen),
            (ThemeName::HighContrast, Role::Copied | Role::Alert) => ((255, 80, 80), Color::LightRed),
            (ThemeName::HighContrast, Role::Unknown | Role::Warning) => ((255, 255, 0), Color::LightYellow),
            (ThemeName::HighContrast, Role::Excluded | Role::Dim | Role::Head | Role::Key) => {
                ((255, 255, 255), Color::White)
            }

            // Okabe and Ito's colors, which people with any common kind of color blindness can
            // distinguish.
            (ThemeName::ColorBlind, Role::Moved) => ((86, 180, 233), Color::LightBlue),
            (ThemeName::ColorBlind, Role::Copied | Role::Alert) => ((230, 159, 0), Color::Indexed(214)),
            (ThemeName::ColorBlind, Role::Unknown | Role::Warning) => ((204, 121, 167), Color::Indexed(175)),
            (ThemeName::ColorBlind, Role::Head | Role::Key) => ((190, 200, 215), Color::Gray),
        };
        Some(if self.true_color {
            Color::Rgb(rgb.0, rgb.1, rgb.2)
        } else {
            ansi
        })
    }
}

/// Returns the style of a role without colors.
const fn modifier(role: Role) -> Modifier {
    match role {
        Role::Strong | Role::Key | Role::Warning => Modifier::BOLD,
        Role::Copied | Role::Unknown | Role::Moved | Role::Excluded | Role::Plain | Role::Dim => Modifier::empty(),
        Role::Head => Modifier::UNDERLINED,
        Role::Sorted => Modifier::BOLD.union(Modifier::UNDERLINED),
        Role::Active | Role::Alert => Modifier::BOLD.union(Modifier::REVERSED),
        Role::Cursor => Modifier::REVERSED,
    }
}

/// The character set for drawing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Glyphs {
    ascii: bool,
}

impl Glyphs {
    /// ASCII only, or UTF-8.
    pub(crate) const fn new(ascii: bool) -> Self {
        Self { ascii }
    }

    /// Returns the mark of truncated text.
    pub(crate) const fn ellipsis(self) -> &'static str {
        if self.ascii { ">" } else { "…" }
    }

    /// Returns the line between two parts of the screen.
    pub(crate) const fn rule(self) -> &'static str {
        if self.ascii { "-" } else { "─" }
    }

    /// Converts a text to this character set. Characters outside ASCII are replaced by ASCII
    /// spellings, or by `?`.
    pub(crate) fn text(self, text: &str) -> Cow<'_, str> {
        if !self.ascii || text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let mut plain = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                c if c.is_ascii() => plain.push(c),
                '→' => plain.push_str("->"),
                '…' => plain.push('>'),
                '–' | '─' | '—' => plain.push('-'),
                '×' => plain.push('x'),
                '●' => plain.push('*'),
                '≈' => plain.push('~'),
                'µ' => plain.push('u'),
                '├' | '└' => plain.push('+'),
                '│' | '·' => plain.push('|'),
                '▲' => plain.push('^'),
                '▼' => plain.push('v'),
                _ => plain.push('?'),
            }
        }
        Cow::Owned(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 14] = [
        Role::Plain,
        Role::Dim,
        Role::Strong,
        Role::Head,
        Role::Sorted,
        Role::Active,
        Role::Cursor,
        Role::Key,
        Role::Moved,
        Role::Copied,
        Role::Unknown,
        Role::Excluded,
        Role::Alert,
        Role::Warning,
    ];

    #[test]
    fn monochrome_theme_uses_modifiers_only() {
        let theme = Theme::new(ThemeName::None, true);
        for role in ROLES {
            assert_eq!((theme.style(role).fg, theme.style(role).bg), (None, None), "{role:?}");
        }
        for role in [Role::Alert, Role::Cursor, Role::Active, Role::Strong] {
            assert!(!theme.style(role).add_modifier.is_empty(), "{role:?}");
        }
    }

    #[test]
    fn verdict_colors_differ_in_every_theme() {
        for name in ThemeName::ALL.into_iter().filter(|&name| name != ThemeName::None) {
            for true_color in [false, true] {
                let theme = Theme::new(name, true_color);
                let [moved, copied, unknown] =
                    [Role::Moved, Role::Copied, Role::Unknown].map(|role| theme.style(role).fg);
                assert!(
                    moved.is_some() && moved != copied && copied != unknown && unknown != moved,
                    "{name:?}"
                );
            }
        }
    }

    #[test]
    fn ascii_mode_draws_only_ascii() {
        let ascii = Glyphs::new(true);
        assert_eq!(ascii.text("a → b · 3 µs ≈ … ä"), "a -> b | 3 us ~ > ?");
        assert!(ascii.ellipsis().is_ascii() && ascii.rule().is_ascii());
        assert_eq!(Glyphs::new(false).text("→"), "→");
    }
}
