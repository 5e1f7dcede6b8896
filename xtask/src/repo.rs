//! The repository's directory and files, and runs of cargo in it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, Outcome};

/// Returns the workspace's directory: the parent of this package's.
pub(crate) fn root() -> PathBuf {
    // cargo sets the variable for the run; the compiled-in value may be that of another clone with
    // a shared target directory.
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}

/// Runs cargo in `root` with `environment` added, printing the command first.
pub(crate) fn cargo(root: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let shown: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("{name}='{value}' "))
        .collect();
    eprintln!("+ {}cargo {}", shown.concat(), arguments.join(" "));
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Broken(format!("cargo {}: {status}", arguments.join(" "))))
    }
}

/// Returns the repository's files, relative to `root`, sorted: those that git tracks and those that
/// it would add. Without git, or if git refuses, all files outside `target` and `.git`.
pub(crate) fn files(root: &Path) -> io::Result<Vec<String>> {
    let mut files = if let Some(files) = from_git(root) {
        files
    } else {
        let mut found = Vec::new();
        walk(root, "", &mut found)?;
        found
    };
    files.sort();
    files.dedup();
    Ok(files)
}

fn from_git(root: &Path) -> Option<Vec<String>> {
    // A directory inside another repository, as a temporary one may be, is not a repository of its
    // own.
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    // A tracked file may have been deleted from the working tree.
    Some(
        text.split('\0')
            .filter(|path| !path.is_empty() && root.join(path).is_file())
            .map(str::to_owned)
            .collect(),
    )
}

fn walk(root: &Path, below: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name();
        if name == OsStr::new("target") || name == OsStr::new(".git") {
            continue;
        }
        let name = name.to_string_lossy();
        let path = if below.is_empty() {
            name.into_owned()
        } else {
            format!("{below}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(root, &path, found)?;
        } else if kind.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// Runs a program to its end and returns its output. Its standard error becomes the error.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .output()
        .map_err(|error| Failure::Broken(format!("{command:?}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Broken(format!(
        "{command:?}: {}: {}",
        output.status,
        complaint.trim()
    )))
}
