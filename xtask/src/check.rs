//! `cargo xtask check`: the repository's rules, so that they hold by more than good will.

mod lexer;
mod prose;
mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::{Failure, Outcome, repo};

/// A file as the rules see it.
struct SourceFile {
    /// Relative to the repository's folder, with `/`.
    path: String,
    text: String,
}

/// One broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    /// From 1; 0 means the file as a whole.
    line: usize,
    rule: &'static str,
    message: String,
}

impl Violation {
    fn new(path: &str, line: usize, rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            rule,
            message: message.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            message,
        } = self;
        if *line == 0 {
            write!(f, "{path}: {message} [{rule}]")
        } else {
            write!(f, "{path}:{line}: {message} [{rule}]")
        }
    }
}

/// Checks all rules but those for prose.
pub(crate) fn run(root: &Path) -> Outcome {
    let (count, violations) = violations(root, Which::Rules)?;
    for violation in &violations {
        println!("{violation}");
    }
    println!(
        "check: {count} files, {} rules, {} broken",
        rules::COUNT,
        violations.len()
    );
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Failure::Found)
    }
}

/// Checks the rules for prose, and prints the number of violations per folder.
pub(crate) fn prose(root: &Path) -> Outcome {
    let (count, violations) = violations(root, Which::Prose)?;
    let mut folders: BTreeMap<&str, [usize; prose::RULES.len()]> = BTreeMap::new();
    for violation in &violations {
        println!("{violation}");
        let folder = violation.path.split_once('/').map_or(".", |(folder, _)| folder);
        let of_folder = folders.entry(folder).or_default();
        for (number, rule) in of_folder.iter_mut().zip(prose::RULES) {
            *number += usize::from(violation.rule == rule);
        }
    }
    let row = |name: &str, cells: [String; prose::RULES.len()]| {
        print!("{name:<16}");
        for cell in cells {
            print!(" {cell:>8}");
        }
        println!();
    };
    row("folder", prose::RULES.map(str::to_owned));
    for (folder, numbers) in &folders {
        row(folder, numbers.map(|number| number.to_string()));
    }
    println!("prose: {count} files, {} violations", violations.len());
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Failure::Found)
    }
}

/// Selects the rules to check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Rules,
    Prose,
}

/// Returns the number of files under `root`, and every violation in them.
fn violations(root: &Path, which: Which) -> io::Result<(usize, Vec<Violation>)> {
    let paths = repo::files(root)?;
    let mut found = match which {
        Which::Rules => rules::layout(root, &paths),
        Which::Prose => Vec::new(),
    };
    for path in &paths {
        // A file that is not text (an object file, a picture) has no lines to judge.
        let Ok(text) = String::from_utf8(fs::read(root.join(path))?) else {
            continue;
        };
        let file = SourceFile {
            path: path.clone(),
            text,
        };
        if which == Which::Prose {
            found.extend(prose::check(&file));
            continue;
        }
        found.extend(rules::forbidden(&file));
        if path == "README.md" {
            found.extend(rules::readme(&file));
        }
        if Path::new(path).extension().is_some_and(|extension| extension == "rs") {
            found.extend(rules::length(&file));
            found.extend(rules::head(&file));
            found.extend(rules::safety(&file));
        }
    }
    found.sort();
    Ok((paths.len(), found))
}

#[cfg(test)]
mod tests;
