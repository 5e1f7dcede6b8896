//! Keys: the table of bindings ([`BINDINGS`]), the map from keys to commands ([`KeyMap`]), and the
//! meaning of a key in the current state ([`action`]).

mod bindings;
mod key;

use std::collections::HashMap;
use std::fmt;

use crossterm::event::KeyEvent;

pub(crate) use self::bindings::{BINDINGS, Binding, Command, Context, Group};
pub(crate) use self::key::Key;
use super::state::{Action, Edit, Overlay, State};

/// Map from keys to commands.
#[derive(Clone, Debug)]
pub(crate) struct KeyMap {
    by_key: HashMap<Key, Command>,
    /// The keys of each binding, in the order of the table.
    by_binding: Vec<Vec<Key>>,
}

/// Error in a key configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum KeymapError {
    /// The command does not exist.
    UnknownCommand(String),
    /// The key does not exist.
    InvalidKey(String),
    /// One key is bound to two commands.
    Conflict(Key, &'static str, &'static str),
    /// A mandatory command (`quit`, `help` or `keyboard`) has no key.
    MissingKey(&'static str),
}

impl fmt::Display for KeymapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCommand(name) => {
                let names: Vec<&str> = BINDINGS.iter().map(|binding| binding.name).collect();
                write!(f, "unknown command `{name}`; there are {}", names.join(", "))
            }
            Self::InvalidKey(text) => write!(
                f,
                "`{text}` is not a key; use a character, or space, enter, esc, tab, up, pageup, f12 …, optionally after ctrl- or alt-"
            ),
            Self::Conflict(key, one, other) => write!(f, "the key {key} is bound to `{one}` and to `{other}`"),
            Self::MissingKey(name) => write!(f, "`{name}` needs a key"),
        }
    }
}

impl Default for KeyMap {
    fn default() -> Self {
        // A test checks the table for this.
        Self::new(&[]).unwrap_or_else(|_| Self {
            by_key: HashMap::new(),
            by_binding: vec![Vec::new(); BINDINGS.len()],
        })
    }
}

impl KeyMap {
    /// Builds the map from the table's default keys. Each command named here gets the given keys
    /// and no others; a key given to it is taken from the command that has it by default.
    pub(crate) fn new(changes: &[(String, Vec<String>)]) -> Result<Self, KeymapError> {
        let parse = |text: &str| Key::parse(text).ok_or_else(|| KeymapError::InvalidKey(text.to_owned()));
        let mut chosen: HashMap<&str, Vec<Key>> = HashMap::new();
        for (name, keys) in changes {
            let binding = BINDINGS.iter().find(|binding| binding.name == name);
            let binding = binding.ok_or_else(|| KeymapError::UnknownCommand(name.clone()))?;
            let keys = keys.iter().map(|key| parse(key)).collect::<Result<_, _>>()?;
            chosen.insert(binding.name, keys);
        }
        let taken: Vec<Key> = chosen.values().flatten().copied().collect();
        let mut by_key: HashMap<Key, Command> = HashMap::new();
        let mut by_binding = Vec::with_capacity(BINDINGS.len());
        for binding in BINDINGS {
            let keys = if let Some(keys) = chosen.get(binding.name) {
                keys.clone()
            } else {
                let keys = binding
                    .keys
                    .iter()
                    .map(|key| parse(key))
                    .collect::<Result<Vec<_>, _>>()?;
                keys.into_iter().filter(|key| !taken.contains(key)).collect()
            };
            for &key in &keys {
                if let Some(other) = by_key.insert(key, binding.command) {
                    return Err(KeymapError::Conflict(key, name_of(other), binding.name));
                }
            }
            if keys.is_empty() && [Command::Quit, Command::Help, Command::Keyboard].contains(&binding.command) {
                return Err(KeymapError::MissingKey(binding.name));
            }
            by_binding.push(keys);
        }
        Ok(Self { by_key, by_binding })
    }

    /// Returns whether a change is valid by itself.
    pub(crate) fn check((name, keys): &(String, Vec<String>)) -> Result<(), KeymapError> {
        if BINDINGS.iter().all(|binding| binding.name != name) {
            return Err(KeymapError::UnknownCommand(name.clone()));
        }
        match keys.iter().find(|key| Key::parse(key).is_none()) {
            Some(key) => Err(KeymapError::InvalidKey(key.clone())),
            None => Ok(()),
        }
    }

    /// Returns the command of this key.
    pub(crate) fn command(&self, key: Key) -> Option<Command> {
        self.by_key.get(&key).copied()
    }

    /// Iterates over the table with the current keys.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (&'static Binding, &[Key])> {
        BINDINGS.iter().zip(self.by_binding.iter().map(Vec::as_slice))
    }

    /// Returns the first key of a command, if it has one.
    pub(crate) fn key_of(&self, command: Command) -> Option<Key> {
        self.bindings()
            .find(|(binding, _)| binding.command == command)
            .and_then(|(_, keys)| keys.first().copied())
    }
}

fn name_of(command: Command) -> &'static str {
    let binding = BINDINGS.iter().find(|binding| binding.command == command);
    binding.map_or("", |binding| binding.name)
}

/// Returns the action of a key in this state; `None` if it has none. While the command has the
/// keyboard, every key except the one that returns it goes to the command.
pub(crate) fn action(state: &State, event: &KeyEvent) -> Option<Action> {
    use crossterm::event::{KeyCode, KeyModifiers};

    let key = Key::from_event(event);
    let command = state.keys.command(key);
    if state.pane.focused {
        return (command == Some(Command::Keyboard)).then_some(Action::Do(Command::Keyboard));
    }
    if state.prompt.is_some() {
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        return match event.code {
            KeyCode::Enter => Some(Action::Submit),
            KeyCode::Esc => Some(Action::Cancel),
            KeyCode::Char('c') if control => Some(Action::Cancel),
            KeyCode::Char('w') if control => Some(Action::Edit(Edit::DeleteWord)),
            KeyCode::Char('u') if control => Some(Action::Edit(Edit::DeleteToStart)),
            KeyCode::Char('a') if control => Some(Action::Edit(Edit::Home)),
            KeyCode::Char('e') if control => Some(Action::Edit(Edit::End)),
            KeyCode::Backspace => Some(Action::Edit(Edit::Backspace)),
            KeyCode::Delete => Some(Action::Edit(Edit::Delete)),
            KeyCode::Left => Some(Action::Edit(Edit::Left)),
            KeyCode::Right => Some(Action::Edit(Edit::Right)),
            KeyCode::Home => Some(Action::Edit(Edit::Home)),
            KeyCode::End => Some(Action::Edit(Edit::End)),
            _ => key.typed_char().map(|c| Action::Edit(Edit::Insert(c))),
        };
    }
    if let Some(Overlay::Confirm(_)) = state.overlay {
        return match event.code {
            KeyCode::Char('y' | 'Y') | KeyCode::Enter => Some(Action::Answer(true)),
            KeyCode::Char('n' | 'N') | KeyCode::Esc => Some(Action::Answer(false)),
            // A second request is meant.
            _ if command == Some(Command::Quit) => Some(Action::Answer(true)),
            _ => None,
        };
    }
    command.map(Action::Do)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, keys: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), keys.iter().map(|&key| key.to_owned()).collect())
    }

    #[test]
    fn bindings_have_unique_keys_and_names() {
        let map = KeyMap::new(&[]).unwrap();
        assert_eq!(
            map.by_key.len(),
            BINDINGS.iter().map(|binding| binding.keys.len()).sum::<usize>()
        );
        let mut names: Vec<&str> = BINDINGS.iter().map(|binding| binding.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BINDINGS.len());
        assert!(
            BINDINGS
                .iter()
                .all(|binding| !binding.keys.is_empty() && !binding.help.is_empty())
        );
    }

    #[test]
    fn remapping_reassigns_keys_and_reports_conflicts() {
        let map = KeyMap::new(&[change("quit", &["x"]), change("sort", &["q"])]).unwrap();
        let command = |text: &str| map.command(Key::parse(text).unwrap());
        assert_eq!(command("x"), Some(Command::Quit));
        assert_eq!(command("q"), Some(Command::Sort));
        assert_eq!((command("s"), command("ctrl-c")), (None, None));
        let error = |changes: &[(String, Vec<String>)]| KeyMap::new(changes).unwrap_err().to_string();
        let twice = error(&[change("up", &["x"]), change("down", &["x"])]);
        assert!(
            twice.contains("key x") && twice.contains("`up`") && twice.contains("`down`"),
            "{twice}"
        );
        assert!(error(&[change("up", &["x", "x"])]).contains("key x"));
        assert!(error(&[change("nothing", &["x"])]).contains("unknown command `nothing`; there are up, down"));
        assert!(error(&[change("up", &["xx"])]).contains("`xx` is not a key"));
        assert_eq!(error(&[change("quit", &[])]), "`quit` needs a key");
        assert_eq!(error(&[change("up", &["?", "f1"])]), "`help` needs a key");
    }
}
