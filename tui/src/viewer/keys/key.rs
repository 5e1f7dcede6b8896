//! Keys: their notation in the configuration and the help, and their form in terminal events.

use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key with its modifiers. Shift is part of the character, as in terminal events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    code: KeyCode,
    modifiers: KeyModifiers,
}

/// Keys with names.
const NAMED_KEYS: [(&str, KeyCode); 16] = [
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("pageup", KeyCode::PageUp),
    ("pagedown", KeyCode::PageDown),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backtab", KeyCode::BackTab),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("space", KeyCode::Char(' ')),
];

impl Key {
    /// Parses `q`, `G`, `space`, `f12`, `ctrl-c`, `alt-left`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut modifiers = KeyModifiers::NONE;
        let mut rest = text;
        loop {
            if let Some(after) = rest.strip_prefix("ctrl-").filter(|after| !after.is_empty()) {
                modifiers |= KeyModifiers::CONTROL;
                rest = after;
            } else if let Some(after) = rest.strip_prefix("alt-").filter(|after| !after.is_empty()) {
                modifiers |= KeyModifiers::ALT;
                rest = after;
            } else {
                break;
            }
        }
        let mut characters = rest.chars();
        let code = match (characters.next(), characters.next()) {
            (Some(c), None) if !c.is_control() && c != ' ' => KeyCode::Char(c),
            _ => match NAMED_KEYS.iter().find(|(name, _)| *name == rest) {
                Some((_, code)) => *code,
                None => KeyCode::F(
                    rest.strip_prefix('f')?
                        .parse()
                        .ok()
                        .filter(|number| (1..=24).contains(number))?,
                ),
            },
        };
        Some(Self { code, modifiers }.normalized())
    }

    /// Converts a terminal event.
    pub(crate) fn from_event(event: &KeyEvent) -> Self {
        let kept = KeyModifiers::CONTROL | KeyModifiers::ALT;
        Self {
            code: event.code,
            modifiers: event.modifiers & kept,
        }
        .normalized()
    }

    /// A terminal sends the same byte for several Ctrl keys: one of them represents all.
    fn normalized(self) -> Self {
        if !self.modifiers.contains(KeyModifiers::CONTROL) {
            return self;
        }
        let code = match self.code {
            // 0x1c to 0x1f are Ctrl with \ ] ^ _; crossterm calls them 4 to 7.
            KeyCode::Char('4') => KeyCode::Char('\\'),
            KeyCode::Char('5') => KeyCode::Char(']'),
            KeyCode::Char('6') => KeyCode::Char('^'),
            KeyCode::Char('7') => KeyCode::Char('_'),
            KeyCode::Char(c) => KeyCode::Char(c.to_ascii_lowercase()),
            other => other,
        };
        Self { code, ..self }
    }

    /// Returns the character that the key types, if any.
    pub(crate) fn typed_char(self) -> Option<char> {
        match self.code {
            KeyCode::Char(c) if self.modifiers.is_empty() => Some(c),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    /// Formats the key for the help: `q`, `Ctrl-C`, `F12`, `PgUp`. The view chooses between arrows
    /// and names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.modifiers.contains(KeyModifiers::CONTROL) {
            f.write_str("Ctrl-")?;
        }
        if self.modifiers.contains(KeyModifiers::ALT) {
            f.write_str("Alt-")?;
        }
        match self.code {
            KeyCode::Char(' ') => f.write_str("Space"),
            KeyCode::Char(c) if self.modifiers.contains(KeyModifiers::CONTROL) => {
                write!(f, "{}", c.to_ascii_uppercase())
            }
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(number) => write!(f, "F{number}"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            KeyCode::BackTab => f.write_str("Shift-Tab"),
            KeyCode::Delete => f.write_str("Del"),
            KeyCode::Insert => f.write_str("Ins"),
            code => write!(f, "{code:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_displays_keys() {
        for (text, shown) in [
            ("q", "q"),
            ("G", "G"),
            ("?", "?"),
            ("space", "Space"),
            ("ctrl-c", "Ctrl-C"),
            ("ctrl-]", "Ctrl-]"),
            ("alt-x", "Alt-x"),
            ("f12", "F12"),
            ("f", "f"),
            ("-", "-"),
            ("ctrl--", "Ctrl--"),
            ("pageup", "PgUp"),
            ("backtab", "Shift-Tab"),
        ] {
            assert_eq!(
                Key::parse(text).map(|key| key.to_string()).as_deref(),
                Some(shown),
                "{text}"
            );
        }
        for text in ["", " ", "qq", "f0", "f25", "ctrl-", "ctrl-alt-", "shift-a", "\n"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }

    #[test]
    fn terminal_events_match_parsed_keys() {
        let sent = |c, modifiers| Key::from_event(&KeyEvent::new(KeyCode::Char(c), modifiers));
        assert_eq!(Some(sent('5', KeyModifiers::CONTROL)), Key::parse("ctrl-]"));
        assert_eq!(Some(sent('G', KeyModifiers::SHIFT)), Key::parse("G"));
        assert_eq!(sent('G', KeyModifiers::SHIFT).typed_char(), Some('G'));
        assert_eq!(sent('c', KeyModifiers::CONTROL).typed_char(), None);
    }
}
