//! Configuration of the viewer: defaults, overridden by the configuration file, then the
//! environment, then the command line.
//!
//! ```toml
//! # $XDG_CONFIG_HOME/zctrace/config.toml, or ~/.config/zctrace/config.toml
//! theme = "color-blind"   # dark, light, high-contrast, color-blind, none
//! ascii = false            # only ASCII on the screen [default: what the locale says]
//! mouse = false            # wheel, click on a row, a column's title, a tab
//! fps = 30                 # frames a second at most, 1 to 60
//!
//! [keys]                   # names as the help shows them; these keys replace the command's own
//! quit = ["q", "ctrl-c"]
//! pause = "space"
//! ```
//!
//! Environment: `NO_COLOR`, `COLORTERM`, `LC_ALL`/`LC_CTYPE`/`LANG`, `ZCTRACE_THEME`,
//! `ZCTRACE_ASCII`, `ZCTRACE_MOUSE`, `ZCTRACE_FPS`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use zctrace_report::format::printable;

use super::keys::KeyMap;
use super::state::Appearance;
use super::theme::ThemeName;

/// Viewer options of the command line.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct ViewerOptions {
    /// The theme's name, validated by the command-line parser.
    pub(crate) theme: Option<String>,
    /// Draw with ASCII characters only.
    pub(crate) ascii: bool,
    /// Enable the mouse.
    pub(crate) mouse: bool,
    /// Path of another configuration file.
    pub(crate) config: Option<PathBuf>,
}

/// Names of the themes.
pub(crate) const THEMES: [&str; ThemeName::ALL.len()] = {
    let mut words = [""; ThemeName::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = ThemeName::ALL[at].name();
        at += 1;
    }
    words
};

/// The effective configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Appearance.
    pub(crate) appearance: Appearance,
    /// `true` if the mouse is enabled.
    pub(crate) mouse: bool,
    /// Maximum number of frames per second.
    pub(crate) fps: u32,
    /// Key bindings.
    pub(crate) keys: KeyMap,
}

/// Fast enough for smooth motion, and half of what a terminal over ssh can take.
const DEFAULT_FPS: u32 = 30;

/// Contents of a configuration file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    theme: Option<Spanned<String>>,
    ascii: Option<bool>,
    mouse: Option<bool>,
    fps: Option<Spanned<u32>>,
    #[serde(default)]
    keys: BTreeMap<String, Spanned<Keys>>,
}

/// One key or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a key, such as \"q\", or a list of keys")]
enum Keys {
    One(String),
    Several(Vec<String>),
}

/// Reads the configuration from all sources. The error is a sentence for the user.
pub(crate) fn load(options: &ViewerOptions) -> Result<Config, String> {
    let variable = |name: &str| std::env::var_os(name);
    let path = options.config.clone().or_else(|| default_path(&variable));
    let text = match &path {
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            // Only a file that was named explicitly must exist.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && options.config.is_none() => None,
            Err(error) => return Err(format!("{}: {error}", printable_path(path))),
        },
        None => None,
    };
    let named = path.as_deref().map(printable_path).unwrap_or_default();
    merge(text.as_deref().map(|text| (named.as_str(), text)), &variable, options)
}

fn printable_path(path: &Path) -> String {
    printable(&path.display().to_string()).into_owned()
}

/// Returns the path of the default file: XDG Base Directory Specification 0.8. A relative directory
/// must be ignored.
fn default_path(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join("zctrace/config.toml"))
}

/// Applies all sources on top of each other: defaults, file, environment, command line. `file` is
/// its name and its text.
fn merge(
    file: Option<(&str, &str)>,
    variable: &dyn Fn(&str) -> Option<OsString>,
    options: &ViewerOptions,
) -> Result<Config, String> {
    let (named, text) = file.unwrap_or_default();
    let mut config = default_config(variable);
    apply_file(&mut config, named, text)?;
    apply_environment(&mut config, variable)?;
    if let Some(word) = &options.theme {
        config.appearance.theme = parse_theme(word)?;
    }
    config.appearance.ascii |= options.ascii;
    config.mouse |= options.mouse;
    Ok(config)
}

/// Returns the defaults, which depend on the locale and the terminal.
fn default_config(variable: &dyn Fn(&str) -> Option<OsString>) -> Config {
    let utf8 = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| {
        let value = variable(name)?.to_string_lossy().to_ascii_lowercase();
        (!value.is_empty()).then(|| value.contains("utf-8") || value.contains("utf8"))
    });
    Config {
        appearance: Appearance {
            theme: ThemeName::default(),
            ascii: !utf8.unwrap_or(false),
            true_color: variable("COLORTERM").is_some_and(|value| value == "truecolor" || value == "24bit"),
        },
        mouse: false,
        fps: DEFAULT_FPS,
        keys: KeyMap::default(),
    }
}

/// Applies the configuration file. An error has the file's name and the line.
fn apply_file(config: &mut Config, named: &str, text: &str) -> Result<(), String> {
    let at = |offset: usize, why: &str| {
        let line = 1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count();
        format!("{named}, line {line}: {}", printable(why))
    };
    let file_config: ConfigFile = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        at(offset, error.message())
    })?;
    if let Some(word) = file_config.theme {
        let offset = word.span().start;
        config.appearance.theme = parse_theme(word.as_ref()).map_err(|why| at(offset, &why))?;
    }
    config.appearance.ascii = file_config.ascii.unwrap_or(config.appearance.ascii);
    config.mouse = file_config.mouse.unwrap_or(config.mouse);
    if let Some(number) = file_config.fps {
        config.fps = parse_fps(*number.as_ref()).map_err(|why| at(number.span().start, &why))?;
    }
    if !file_config.keys.is_empty() {
        let first = file_config
            .keys
            .values()
            .map(|keys| keys.span().start)
            .min()
            .unwrap_or(0);
        let mut changes = Vec::new();
        for (name, keys) in file_config.keys {
            let offset = keys.span().start;
            let keys = match keys.into_inner() {
                Keys::One(key) => vec![key],
                Keys::Several(keys) => keys,
            };
            let change = (name, keys);
            // Each binding alone, to report its line; conflicts with the others are found below.
            KeyMap::check(&change).map_err(|error| at(offset, &error.to_string()))?;
            changes.push(change);
        }
        config.keys = KeyMap::new(&changes).map_err(|error| at(first, &error.to_string()))?;
    }
    Ok(())
}

/// Applies the environment variables.
fn apply_environment(config: &mut Config, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<(), String> {
    if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        config.appearance.theme = ThemeName::None;
    }
    let env_value =
        |name: &str| variable(name).map(|value| (format!("{name}: "), value.to_string_lossy().into_owned()));
    if let Some((named, word)) = env_value("ZCTRACE_THEME") {
        config.appearance.theme = parse_theme(&word).map_err(|why| named + &why)?;
    }
    if let Some((named, word)) = env_value("ZCTRACE_ASCII") {
        config.appearance.ascii = parse_bool(&word).map_err(|why| named + &why)?;
    }
    if let Some((named, word)) = env_value("ZCTRACE_MOUSE") {
        config.mouse = parse_bool(&word).map_err(|why| named + &why)?;
    }
    if let Some((named, word)) = env_value("ZCTRACE_FPS") {
        let number = word
            .parse()
            .map_err(|_| format!("{named}`{}` is not a number", printable(&word)))?;
        config.fps = parse_fps(number).map_err(|why| named + &why)?;
    }
    Ok(())
}

fn parse_theme(word: &str) -> Result<ThemeName, String> {
    let found = ThemeName::ALL.into_iter().find(|theme| theme.name() == word);
    found.ok_or_else(|| format!("`{}` is not a theme; there are {}", printable(word), THEMES.join(", ")))
}

fn parse_fps(number: u32) -> Result<u32, String> {
    if (1..=60).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} frames per second is out of range; use 1 to 60"))
    }
}

fn parse_bool(word: &str) -> Result<bool, String> {
    match word {
        "1" | "true" | "yes" => Ok(true),
        "" | "0" | "false" | "no" => Ok(false),
        _ => Err(format!("`{}` is not 1 or 0", printable(word))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viewer::keys::{Command, Key};

    fn merged(file: &str, environment: &[(&str, &str)], options: &ViewerOptions) -> Result<Config, String> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        merge(Some(("c.toml", file)), &variable, options)
    }

    #[test]
    fn each_layer_overrides_the_previous_one() {
        let dark = ViewerOptions {
            theme: Some("dark".to_owned()),
            ascii: true,
            mouse: true,
            config: None,
        };
        let none = ViewerOptions::default();
        for (file, environment, options, expected) in [
            ("", &[][..], &none, (ThemeName::Dark, true, false, 30)),
            (
                "",
                &[("LANG", "de_AT.UTF-8")],
                &none,
                (ThemeName::Dark, false, false, 30),
            ),
            (
                "",
                &[("LANG", "C"), ("LC_ALL", "C.utf8")],
                &none,
                (ThemeName::Dark, false, false, 30),
            ),
            (
                "theme = 'light'\nascii = false\nmouse = true\nfps = 10",
                &[("LC_ALL", "C")],
                &none,
                (ThemeName::Light, false, true, 10),
            ),
            (
                "theme = 'light'",
                &[("NO_COLOR", "1")],
                &none,
                (ThemeName::None, true, false, 30),
            ),
            (
                "theme = 'light'",
                &[("NO_COLOR", "")],
                &none,
                (ThemeName::Light, true, false, 30),
            ),
            (
                "theme = 'light'\nmouse = true",
                &[
                    ("ZCTRACE_THEME", "color-blind"),
                    ("ZCTRACE_MOUSE", "0"),
                    ("ZCTRACE_FPS", "5"),
                ],
                &none,
                (ThemeName::ColorBlind, true, false, 5),
            ),
            (
                "ascii = false",
                &[("NO_COLOR", "1"), ("ZCTRACE_THEME", "light")],
                &dark,
                (ThemeName::Dark, true, true, 30),
            ),
        ] {
            let config = merged(file, environment, options).unwrap();
            let found = (
                config.appearance.theme,
                config.appearance.ascii,
                config.mouse,
                config.fps,
            );
            assert_eq!(found, expected, "{file} {environment:?} {options:?}");
        }
    }

    #[test]
    fn configuration_remaps_keys() {
        let config = merged(
            "[keys]\nquit = 'x'\nup = ['ctrl-p', 'k']",
            &[],
            &ViewerOptions::default(),
        )
        .unwrap();
        assert_eq!(config.keys.command(Key::parse("x").unwrap()), Some(Command::Quit));
        assert_eq!(config.keys.command(Key::parse("ctrl-p").unwrap()), Some(Command::Up));
        assert_eq!(config.keys.command(Key::parse("q").unwrap()), None);
    }

    #[test]
    fn errors_name_the_line() {
        for (file, says) in [
            (
                "\ncolor = 'dark'",
                "c.toml, line 2: unknown field `color`, expected one of",
            ),
            ("theme = 'dark\u{1b}'", "c.toml, line 1: "),
            (
                "mouse = true\n\ntheme = 'pink'",
                "c.toml, line 3: `pink` is not a theme; there are dark, light",
            ),
            ("fps = 0", "line 1: 0 frames"),
            ("fps = 'x'", "line 1: invalid type"),
            ("[keys]\nup = 'k'\nqut = 'q'", "line 3: unknown command `qut`"),
            ("[keys]\nup = ['k', 'kk']", "line 2: `kk` is not a key"),
            ("[keys]\nup = 7", "line 2: data did not match"),
            (
                "[keys]\n\nup = 'x'\ndown = 'x'",
                "line 3: the key x is bound to `up` and to `down`",
            ),
            ("[keys]\nquit = []", "`quit` needs a key"),
        ] {
            let why = merged(file, &[], &ViewerOptions::default()).unwrap_err();
            let expected = says.replace("data did not match", "a key, such as");
            assert!(why.contains(&expected) && !why.contains('\n'), "{file:?}: {why}");
        }
        for (name, value) in [
            ("ZCTRACE_THEME", "x"),
            ("ZCTRACE_FPS", "many"),
            ("ZCTRACE_ASCII", "perhaps"),
        ] {
            let why = merged("", &[(name, value)], &ViewerOptions::default()).unwrap_err();
            assert!(why.starts_with(name), "{why}");
        }
    }

    #[test]
    fn default_path_follows_xdg() {
        let of = |home: &str, xdg: &str| {
            default_path(&|name| {
                let value = if name == "HOME" { home } else { xdg };
                (!value.is_empty()).then(|| value.into())
            })
        };
        assert_eq!(of("/h", "/x"), Some("/x/zctrace/config.toml".into()));
        assert_eq!(of("/h", "x"), Some("/h/.config/zctrace/config.toml".into()));
        assert_eq!(of("/h", ""), Some("/h/.config/zctrace/config.toml".into()));
        assert_eq!(of("", ""), None);
    }
}
