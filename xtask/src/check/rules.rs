//! The rules themselves: a file in, violations out. Only the layout looks at the disk.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::lexer::{self, UnsafeSite};
use super::{SourceFile, Violation};

/// How many rules there are, for the closing line.
pub(super) const COUNT: usize = 6;

/// The folders of the repository, each a package. A new reader sees from these names where a thing
/// is.
pub(super) const FOLDERS: [&str; 12] = [
    "bench",
    "bufferlist",
    "contract",
    "evidence",
    "probes",
    "probes-common",
    "probes-ebpf",
    "recording",
    "report",
    "test-support",
    "tui",
    "xtask",
];

/// Other files at the top.
pub(super) const FILES: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "RELEASE.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    CI,
];

const CI: &str = ".ci/run";

/// Maximum number of lines of a Rust file. A longer file usually has more than one subject.
pub(super) const MAX_LINES: usize = 500;

/// Rust files that may exceed [`MAX_LINES`], each with the reason.
pub(super) const LONG_FILES: [(&str, &str); 1] = [(
    "bufferlist/tests/error_matrix.rs",
    "a table: every pair of endpoint kinds with the kernel's answer and the library's",
)];

/// Commands that the README must name, for a reader who has just cloned the repository.
pub(super) const README_COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo test --workspace"];

/// A mark that no file may hold, and the condition that makes it one.
struct Mark {
    text: &'static str,
    why: &'static str,
    matches: fn(before: Option<char>, after: Option<char>) -> bool,
}

// Put together from parts, so that this file does not hold what it forbids.
const MARKS: [Mark; 7] = [
    Mark {
        text: concat!("/wo", "rk/"),
        why: "a path of one machine",
        matches: starts_a_path,
    },
    Mark {
        text: concat!("/ho", "me/"),
        why: "a path of one machine",
        matches: starts_a_path,
    },
    Mark {
        text: concat!("to", "do!("),
        why: "an unfinished place",
        matches: starts_a_word,
    },
    Mark {
        text: concat!("unimpl", "emented!("),
        why: "an unfinished place",
        matches: starts_a_word,
    },
    Mark {
        text: concat!("db", "g!("),
        why: "a debugging aid",
        matches: starts_a_word,
    },
    Mark {
        text: concat!("FIX", "ME"),
        why: "an unfinished place",
        matches: is_a_word,
    },
    Mark {
        text: concat!("XX", "X"),
        why: "an unfinished place",
        matches: is_a_word,
    },
];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// An absolute path: not the middle of a relative one, of a URL, or of one that starts with a
/// variable.
fn starts_a_path(before: Option<char>, _: Option<char>) -> bool {
    before.is_none_or(|c| !is_word(c) && !".-~})*>".contains(c))
}

fn starts_a_word(before: Option<char>, _: Option<char>) -> bool {
    before.is_none_or(|c| !is_word(c))
}

fn is_a_word(before: Option<char>, after: Option<char>) -> bool {
    before.is_none_or(|c| !is_word(c)) && after.is_none_or(|c| !is_word(c))
}

/// Every folder and file of the layout is there, and `.ci/run` can be run.
pub(super) fn layout(root: &Path, paths: &[String]) -> Vec<Violation> {
    const RULE: &str = "layout";
    let has = |path: &str| paths.iter().any(|have| have == path);
    let folders = FOLDERS.map(|folder| format!("{folder}/Cargo.toml"));
    let mut found: Vec<Violation> = folders
        .iter()
        .map(String::as_str)
        .chain(FILES)
        .filter(|path| !has(path))
        .map(|path| Violation::new(path, 0, RULE, "is missing"))
        .collect();
    let executable = |path| std::fs::metadata(root.join(path)).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
    if has(CI) && !executable(CI) {
        found.push(Violation::new(CI, 0, RULE, "is not executable"));
    }
    found
}

/// Checks that the file is at most [`MAX_LINES`] long, or is one of [`LONG_FILES`]. One of those
/// must still be longer, so that the list has no obsolete rows.
pub(super) fn length(file: &SourceFile) -> Vec<Violation> {
    let lines = file.text.lines().count();
    let is_listed = LONG_FILES.iter().any(|(path, _)| *path == file.path);
    let message = match (lines > MAX_LINES, is_listed) {
        (true, false) => format!("has {lines} lines, at most {MAX_LINES} are allowed"),
        (false, true) => format!("has {lines} lines and needs no row in LONG_FILES"),
        _ => return Vec::new(),
    };
    vec![Violation::new(&file.path, 0, "length", message)]
}

/// The first line says what the file is about.
pub(super) fn head(file: &SourceFile) -> Vec<Violation> {
    match file.text.lines().next().and_then(|line| line.strip_prefix("//!")) {
        Some(subject) if !subject.trim().is_empty() => Vec::new(),
        _ => vec![Violation::new(
            &file.path,
            1,
            "head",
            "does not start with a `//!` line that says what the file is",
        )],
    }
}

/// No line holds one of the [`MARKS`].
pub(super) fn forbidden(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        for mark in &MARKS {
            let hit = line.match_indices(mark.text).any(|(at, text)| {
                (mark.matches)(line[..at].chars().next_back(), line[at + text.len()..].chars().next())
            });
            if hit {
                let message = format!("holds `{}`: {}", mark.text, mark.why);
                found.push(Violation::new(&file.path, number, "forbidden", message));
            }
        }
    }
    found
}

/// The README names the two commands that CI runs in a fresh clone.
pub(super) fn readme(file: &SourceFile) -> Vec<Violation> {
    README_COMMANDS
        .iter()
        .filter(|command| !file.text.contains(*command))
        .map(|command| Violation::new(&file.path, 0, "readme", format!("does not name `{command}`")))
        .collect()
}

/// In `src`, each unsafe block, function, impl, trait and extern block says above it why it is
/// sound, or what its caller must see to.
pub(super) fn safety(file: &SourceFile) -> Vec<Violation> {
    if !file.path.split('/').any(|part| part == "src") {
        return Vec::new();
    }
    lexer::unsafe_sites(&file.text)
        .into_iter()
        .filter(|site| !site.explained)
        .map(|UnsafeSite { line, what, .. }| {
            let message = format!("{what} has no SAFETY comment or `# Safety` section above it");
            Violation::new(&file.path, line, "safety", message)
        })
        .collect()
}
