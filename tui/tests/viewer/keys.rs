//! Test of every key in the help of the live viewer.

use std::fs;

use rustix::process::Signal;

use crate::terminal::Terminal;
use crate::{Directory, can_trace, of_mover, position, rows};

/// Returns what a key sends, by its name in the help.
fn sent(name: &str) -> String {
    let text = match name {
        "Up" => "\x1b[A",
        "Down" => "\x1b[B",
        "Right" => "\x1b[C",
        "Left" => "\x1b[D",
        "Home" => "\x1b[H",
        "End" => "\x1b[F",
        "PgUp" => "\x1b[5~",
        "PgDn" => "\x1b[6~",
        "Enter" => "\r",
        "Esc" => "\x1b",
        "Tab" => "\t",
        "Shift-Tab" => "\x1b[Z",
        "Backspace" => "\x7f",
        "Space" => " ",
        "F1" => "\x1bOP",
        "F12" => "\x1b[24~",
        _ => "",
    };
    if !text.is_empty() {
        return text.to_owned();
    }
    if let Some(key) = name.strip_prefix("Ctrl-") {
        return char::from(key.as_bytes()[0].to_ascii_uppercase() & 0x1f).to_string();
    }
    assert_eq!(name.chars().count(), 1, "a key that this test does not know: {name}");
    name.to_owned()
}

/// Returns the keys and what they do, as the help shows them.
fn help(terminal: &mut Terminal) -> Vec<(Vec<String>, String)> {
    terminal.press("?");
    let text = terminal.wait_for("the whole help", |text| {
        text.contains("show the keys") && text.contains("Marks")
    });
    let mut entries = Vec::new();
    for line in text
        .lines()
        .skip_while(|line| *line != "Move")
        .take_while(|line| *line != "Marks")
    {
        let Some((keys, what)) = line.strip_prefix("  ").and_then(|line| line.split_once("  ")) else {
            continue;
        };
        entries.push((keys.split(' ').map(ToOwned::to_owned).collect(), what.trim().to_owned()));
    }
    terminal.press("?");
    terminal.wait("[2 Flows]");
    entries
}

#[test]
fn every_key_in_the_help_works() {
    if !can_trace("every_key_in_the_help_works") {
        return;
    }
    let directory = Directory::new("keys");
    // First with a screen that shows the whole help, then with the smallest full screen.
    let entries = {
        let above = Directory::new("help");
        let mut terminal = of_mover(&above, &[], (80, 120));
        let entries = help(&mut terminal);
        terminal.press("Q");
        terminal.wait("y ends both");
        terminal.press("y");
        assert_eq!(terminal.end(), 0);
        entries
    };
    assert!(entries.len() >= 35, "{entries:?}");
    let mut terminal = of_mover(&directory, &[], (80, 24));
    terminal.wait_for("the rows", |text| position(text).is_some());
    for (keys, what) in &entries {
        for key in keys {
            works(&mut terminal, &directory, key, what);
        }
    }
    terminal.press("Q");
    terminal.wait("y ends both");
    terminal.press("y");
    assert_eq!(terminal.end(), 0);
    let text = String::from_utf8_lossy(&terminal.written).into_owned();
    let after = text.rsplit("\x1b[?1049l").next().expect("the screen from before");
    assert!(
        after.contains("% MOVED") && after.contains("no records lost"),
        "{after}"
    );
    assert_eq!(terminal.left_behind(), [""; 0]);
}

/// Returns the view that a key shows, if it shows one.
fn shown_by(what: &str) -> Option<&'static str> {
    Some(match what {
        "next view" | "Processes" => "3 Processes",
        "previous view" | "Map: sources and sinks" => "1 Map",
        "Flows" => "2 Flows",
        "Pipes" => "4 Pipes",
        "Reasons: why bytes were copied, and hints" => "5 Reasons",
        "Segments of bufferlists, and peeks" => "6 Segments",
        "Log: messages of zctrace" => "7 Log",
        _ => return None,
    })
}

/// Presses a key where it has an effect, and checks the effect. Returns to the first row of the
/// flows.
#[allow(clippy::too_many_lines)] // A table: one entry for each line of the help.
fn works(terminal: &mut Terminal, directory: &Directory, key: &str, what: &str) {
    let name = format!("{key}: {what}");
    let pressed = sent(key);
    let at = |row: usize| move |text: &str| position(text).is_some_and(|position| position.0 == row);
    let on_view = |view: &'static str| move |text: &str| text.contains(&format!("[{view}]"));
    let first = |terminal: &mut Terminal| {
        terminal.press("2g");
        terminal.wait_for("the first flow", |text| on_view("2 Flows")(text) && at(1)(text))
    };
    let text = first(terminal);
    let (_, all) = position(&text).expect("a place");
    assert!(all > 20, "more rows than a page has: {text}");
    match what {
        "up one row" => {
            terminal.press("jj");
            terminal.wait_for("the third row", at(3));
            terminal.press(&pressed);
            terminal.wait_for(&name, at(2));
        }
        "down one row" => {
            terminal.press(&pressed);
            terminal.wait_for(&name, at(2));
        }
        "up one page" => {
            terminal.press("G");
            terminal.wait_for("last row", at(all));
            terminal.press(&pressed);
            terminal.wait_for(&name, |text| position(text).is_some_and(|(row, _)| row < all - 3));
        }
        "down one page" => {
            terminal.press(&pressed);
            terminal.wait_for(&name, |text| position(text).is_some_and(|(row, _)| row > 4));
        }
        "first row" => {
            terminal.press("G");
            terminal.wait_for("last row", at(all));
            terminal.press(&pressed);
            terminal.wait_for(&name, at(1));
        }
        "last row" => {
            terminal.press(&pressed);
            terminal.wait_for(&name, at(all));
        }
        "scroll wide columns left" | "scroll wide columns right" => {
            let before = rows(&text).join("\n");
            let (right, left) = if what.ends_with("right") {
                (pressed.as_str(), "h")
            } else {
                ("l", pressed.as_str())
            };
            terminal.press(right);
            terminal.wait_for(&name, |text| rows(text).join("\n") != before);
            terminal.press(left);
            terminal.wait_for(&name, |text| rows(text).join("\n") == before);
        }
        "open the row: certificate, hints, details" => {
            terminal.press(&pressed);
            terminal.wait_for(&name, |text| text.contains("Esc: back") && text.contains("MiB from "));
            terminal.press("\x1b");
            // If Esc is sent together with the next key, both are read as one key.
            terminal.wait_for("the rows", |text| !text.contains("Esc: back") && at(1)(text));
        }
        "back: close the details, or clear the filter" => {
            terminal.press("\r");
            terminal.wait("Esc: back");
            terminal.press(&pressed);
            terminal.wait_for(&name, at(1));
            terminal.press("/to=file\r");
            terminal.wait_for("fewer rows", |text| position(text).is_some_and(|(_, of)| of < all));
            terminal.press(&pressed);
            terminal.wait_for(&name, |text| position(text) == Some((1, all)));
        }
        _ if shown_by(what).is_some() => {
            let view = shown_by(what).expect("a view");
            let from = if view == "1 Map" { "3" } else { "1" };
            if !matches!(what, "next view" | "previous view") {
                terminal.press(from);
                terminal.wait_for("another view", |text| !on_view("2 Flows")(text));
            }
            terminal.press(&pressed);
            terminal.wait_for(&name, on_view(view));
        }
        "show matching rows only" => {
            terminal.press(&pressed);
            terminal.wait("filter:");
            // The filter applies while it is typed, and Esc cancels it.
            terminal.press("process=cp");
            terminal.wait_for(&name, |text| text.contains("process=cp") && !text.contains("of 37"));
            terminal.press("\x1b");
            terminal.wait_for(&name, |text| position(text) == Some((1, all)));
        }
        "pause the display (tracing continues), or a replay" => {
            terminal.press(&pressed);
            terminal.wait("PAUSED");
            terminal.press(&pressed);
            terminal.wait("LIVE");
        }
        "write the view to a file: *.json, else text" => {
            for (name_of_file, holds) in [("view.json", "\"schema\""), ("view.txt", "[2 Flows]")] {
                let path = directory.0.join(name_of_file);
                terminal.press(&pressed);
                terminal.wait("write to:");
                terminal.press(&format!("\x15{}\r", path.display()));
                terminal.wait(" written to ");
                let written = fs::read_to_string(&path).expect("what was written");
                assert!(written.contains(holds), "{written}");
                if name_of_file == "view.txt" {
                    let flows = written
                        .lines()
                        .filter(|line| line.contains(" KiB") || line.contains(" B "))
                        .count();
                    assert!(
                        flows >= 20 && written.contains("no records lost"),
                        "all rows: {written}"
                    );
                } else {
                    let report = zctrace_report::Report::from_json(&written).expect("a report");
                    assert!(report.check().is_ok() && report.flows.len() == all, "{written}");
                }
            }
            // An existing file is left alone, with an error.
            terminal.press(&format!("{pressed}\x15{}\r", directory.0.join("view.json").display()));
            terminal.wait("File exists");
            terminal.press(&format!("{pressed}\x15/dev/full/no\r"));
            terminal.wait("Not a directory");
        }
        "next theme" => {
            for theme in ["light", "high-contrast", "color-blind", "none", "dark"] {
                terminal.press(&pressed);
                terminal.wait(&format!("theme: {theme}"));
                assert_eq!(terminal.is_colored(), theme != "none", "{theme}");
            }
        }
        "redraw the screen" => {
            terminal.written.clear();
            terminal.press(&pressed);
            terminal.wait_for_bytes(b"\x1b[2J");
            first(terminal);
        }
        "sort by the next column" | "sort by the column to the right" => {
            terminal.press(&pressed);
            terminal.wait("by moved, largest first");
            terminal.press("<");
            terminal.wait("by bytes, largest first");
        }
        "sort by the column to the left" => {
            terminal.press(&pressed);
            terminal.wait("by call");
            terminal.press(">");
            terminal.wait("by bytes, largest first");
        }
        "reverse the sort order" => {
            terminal.press(&pressed);
            terminal.wait("by bytes, smallest first");
            terminal.press(&pressed);
            terminal.wait("by bytes, largest first");
        }
        "send keys to CMD, or back to zctrace" => {
            terminal.press(&pressed);
            terminal.wait("keys go to CMD");
            // The key is typed, echoed by the terminal, and repeated by `cat`; `q` is a letter
            // here.
            let word = format!("quite-{}", key.len());
            terminal.press(&format!("{word}\r"));
            terminal.wait_for(&name, |text| text.matches(&word).count() == 2);
            terminal.press(&pressed);
            terminal.wait("sends keys to it");
        }
        "hide or show the terminal" => {
            terminal.press(&pressed);
            terminal.wait_for(&name, |text| !text.contains("CMD is running"));
            terminal.press(&pressed);
            terminal.wait("CMD is running");
        }
        "enlarge or shrink the terminal" => {
            let line = |text: &str| text.lines().position(|line| line.contains("CMD is running"));
            let before = line(&text).expect("the pane");
            terminal.press(&pressed);
            terminal.wait_for(&name, |text| line(text).is_some_and(|now| now < before));
            terminal.press(&pressed);
            terminal.wait_for(&name, |text| line(text) == Some(before));
        }
        "show the keys" => {
            terminal.press(&pressed);
            terminal.wait("keys ·");
            terminal.press("\x1b");
            terminal.wait_for(&name, |text| !text.contains("keys ·") && at(1)(text));
        }
        "suspend; `fg` in the shell continues" => {
            terminal.press(&pressed);
            terminal.wait_stopped();
            assert_eq!(terminal.left_behind(), [""; 0]);
            terminal.signal(Signal::CONT);
            first(terminal);
        }
        "quit" | "quit, and print the report" => {
            terminal.press(&pressed);
            terminal.wait("y ends both");
            terminal.press("n");
            terminal.wait_for(&name, at(1));
        }
        _ => panic!("the help names a key that this test does not press: {name}"),
    }
}
