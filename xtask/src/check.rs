//! `cargo xtask check`: the repository's rules, so that they hold by more than good will.

mod rules;
mod rust_text;

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

pub(crate) fn run(root: &Path) -> Outcome {
    let (count, violations) = violations(root)?;
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

/// How many files there are, and every rule that is broken under `root`.
fn violations(root: &Path) -> io::Result<(usize, Vec<Violation>)> {
    let paths = repo::files(root)?;
    let mut found = rules::layout(root, &paths);
    for path in &paths {
        // What is not text (an object file, a picture) has no lines to judge.
        let Ok(text) = String::from_utf8(fs::read(root.join(path))?) else {
            continue;
        };
        let file = SourceFile {
            path: path.clone(),
            text,
        };
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
