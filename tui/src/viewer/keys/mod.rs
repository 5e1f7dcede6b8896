//! Keys: the table of commands ([`TABLE`]), which key gives which ([`KeyMap`]), and what a key means right now ([`action`]).

mod bindings;
mod key;

use std::collections::HashMap;
use std::fmt;

use crossterm::event::KeyEvent;

pub(crate) use self::bindings::{Command, Entry, Group, TABLE, Where};
pub(crate) use self::key::Key;
use super::state::{Action, Edit, Overlay, State};

/// Which key gives which command.
#[derive(Clone, Debug)]
pub(crate) struct KeyMap {
    of_key: HashMap<Key, Command>,
    /// The keys of each entry of the table, in its order.
    of_entry: Vec<Vec<Key>>,
}

/// Why keys cannot be given so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Clash {
    /// There is no such command.
    NoCommand(String),
    /// That is no key.
    NoKey(String),
    /// One key for two commands.
    Twice(Key, &'static str, &'static str),
    /// A command without a key that cannot be done without: `quit`, `help` or `keyboard`.
    NoWayOut(&'static str),
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommand(name) => {
                let names: Vec<&str> = TABLE.iter().map(|entry| entry.name).collect();
                write!(f, "there is no command `{name}`; there are {}", names.join(", "))
            }
            Self::NoKey(text) => write!(
                f,
                "`{text}` is no key; one is a character, or space, enter, esc, tab, up, pageup, f12 …, with ctrl- or alt- before it"
            ),
            Self::Twice(key, one, other) => write!(f, "the key {key} is given to `{one}` and to `{other}`"),
            Self::NoWayOut(name) => write!(f, "`{name}` needs a key"),
        }
    }
}

impl Default for KeyMap {
    fn default() -> Self {
        // A test holds the table to it.
        Self::new(&[]).unwrap_or_else(|_| Self {
            of_key: HashMap::new(),
            of_entry: vec![Vec::new(); TABLE.len()],
        })
    }
}

impl KeyMap {
    /// The table's own keys, but for those commands that are named: these have the keys given here, and no others. A key that
    /// is given away is taken from the command that had it by the table.
    pub(crate) fn new(changes: &[(String, Vec<String>)]) -> Result<Self, Clash> {
        let parse = |text: &str| Key::parse(text).ok_or_else(|| Clash::NoKey(text.to_owned()));
        let mut chosen: HashMap<&str, Vec<Key>> = HashMap::new();
        for (name, keys) in changes {
            let entry = TABLE.iter().find(|entry| entry.name == name);
            let entry = entry.ok_or_else(|| Clash::NoCommand(name.clone()))?;
            let keys = keys.iter().map(|key| parse(key)).collect::<Result<_, _>>()?;
            chosen.insert(entry.name, keys);
        }
        let taken: Vec<Key> = chosen.values().flatten().copied().collect();
        let mut of_key: HashMap<Key, Command> = HashMap::new();
        let mut of_entry = Vec::with_capacity(TABLE.len());
        for entry in TABLE {
            let keys = if let Some(keys) = chosen.get(entry.name) {
                keys.clone()
            } else {
                let keys = entry.keys.iter().map(|key| parse(key)).collect::<Result<Vec<_>, _>>()?;
                keys.into_iter().filter(|key| !taken.contains(key)).collect()
            };
            for &key in &keys {
                if let Some(other) = of_key.insert(key, entry.command) {
                    return Err(Clash::Twice(key, name_of(other), entry.name));
                }
            }
            if keys.is_empty() && [Command::Quit, Command::Help, Command::Keyboard].contains(&entry.command) {
                return Err(Clash::NoWayOut(entry.name));
            }
            of_entry.push(keys);
        }
        Ok(Self { of_key, of_entry })
    }

    /// Whether a change by itself makes sense.
    pub(crate) fn check((name, keys): &(String, Vec<String>)) -> Result<(), Clash> {
        if TABLE.iter().all(|entry| entry.name != name) {
            return Err(Clash::NoCommand(name.clone()));
        }
        match keys.iter().find(|key| Key::parse(key).is_none()) {
            Some(key) => Err(Clash::NoKey(key.clone())),
            None => Ok(()),
        }
    }

    /// What this key does.
    pub(crate) fn command(&self, key: Key) -> Option<Command> {
        self.of_key.get(&key).copied()
    }

    /// The table, with the keys there are now.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'static Entry, &[Key])> {
        TABLE.iter().zip(self.of_entry.iter().map(Vec::as_slice))
    }

    /// The first key of a command, if it has one.
    pub(crate) fn key_of(&self, command: Command) -> Option<Key> {
        self.entries()
            .find(|(entry, _)| entry.command == command)
            .and_then(|(_, keys)| keys.first().copied())
    }
}

fn name_of(command: Command) -> &'static str {
    let entry = TABLE.iter().find(|entry| entry.command == command);
    entry.map_or("", |entry| entry.name)
}

/// What a key means in this state. Nothing if it means nothing; and if CMD has the keyboard everything but the way out is its.
pub(crate) fn action(state: &State, event: &KeyEvent) -> Option<Action> {
    use crossterm::event::{KeyCode, KeyModifiers};

    let key = Key::of(event);
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
            _ => key.types().map(|c| Action::Edit(Edit::Insert(c))),
        };
    }
    if let Some(Overlay::Confirm(_)) = state.overlay {
        return match event.code {
            KeyCode::Char('y' | 'Y') | KeyCode::Enter => Some(Action::Answer(true)),
            KeyCode::Char('n' | 'N') | KeyCode::Esc => Some(Action::Answer(false)),
            // Who asks a second time means it.
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
    fn the_table_gives_no_key_and_no_name_twice() {
        let map = KeyMap::new(&[]).unwrap();
        assert_eq!(
            map.of_key.len(),
            TABLE.iter().map(|entry| entry.keys.len()).sum::<usize>()
        );
        let mut names: Vec<&str> = TABLE.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
        assert!(
            TABLE
                .iter()
                .all(|entry| !entry.keys.is_empty() && !entry.help.is_empty())
        );
    }

    #[test]
    fn keys_are_given_away_and_clashes_are_found() {
        let map = KeyMap::new(&[change("quit", &["x"]), change("sort", &["q"])]).unwrap();
        let command = |text: &str| map.command(Key::parse(text).unwrap());
        assert_eq!(command("x"), Some(Command::Quit));
        assert_eq!(command("q"), Some(Command::Sort));
        assert_eq!((command("s"), command("ctrl-c")), (None, None));
        let clash = |changes: &[(String, Vec<String>)]| KeyMap::new(changes).unwrap_err().to_string();
        let twice = clash(&[change("up", &["x"]), change("down", &["x"])]);
        assert!(
            twice.contains("key x") && twice.contains("`up`") && twice.contains("`down`"),
            "{twice}"
        );
        assert!(clash(&[change("up", &["x", "x"])]).contains("key x"));
        assert!(clash(&[change("nothing", &["x"])]).contains("there is no command `nothing`; there are up, down"));
        assert!(clash(&[change("up", &["xx"])]).contains("`xx` is no key"));
        assert_eq!(clash(&[change("quit", &[])]), "`quit` needs a key");
        assert_eq!(clash(&[change("up", &["?", "f1"])]), "`help` needs a key");
    }
}
