//! Comparison of output with committed files.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Environment variable of `expect-test` that asks for an update of the committed files.
const UPDATE: &str = "UPDATE_EXPECT";

/// Returns whether this run updates the committed files instead of comparing with them.
#[must_use]
pub fn is_updating() -> bool {
    std::env::var_os(UPDATE).is_some()
}

/// Asserts that `text` is the content of a committed file, or writes it there when updating.
///
/// # Panics
///
/// If the text differs from the file; the difference is printed.
pub fn assert_snapshot(file: impl AsRef<Path>, text: &str) {
    expect_test::expect_file![file.as_ref()].assert_eq(text);
}

/// Asserts that a folder holds exactly these committed files, given by name and content.
///
/// Other files in the folder are stale, if they have the `extension` (or with `None`): they fail
/// the assertion, and are removed when updating. Every difference is printed, not only the first
/// one.
///
/// # Panics
///
/// If a file differs, is missing or is stale, or if a name is given twice.
pub fn assert_snapshots(
    folder: impl AsRef<Path>,
    extension: Option<&str>,
    files: impl IntoIterator<Item = (String, String)>,
) {
    let folder = folder.as_ref();
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for (name, text) in files {
        let file = folder.join(&name);
        if catch_unwind(AssertUnwindSafe(|| assert_snapshot(&file, &text))).is_err() {
            wrong.push(format!("{name} differs"));
        }
        assert!(names.insert(name.clone()), "{name} is given twice");
    }
    for entry in std::fs::read_dir(folder).expect("the folder of snapshots") {
        let path = entry.expect("an entry of the folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_snapshot = extension.is_none_or(|wanted| path.extension().is_some_and(|found| found == wanted));
        if !is_snapshot || names.contains(&name) {
            continue;
        }
        if is_updating() {
            std::fs::remove_file(&path).expect("the stale file is removed");
        } else {
            wrong.push(format!("{name} is stale"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}: {}; if this is intended, update the files: {UPDATE}=1 cargo test",
        folder.display(),
        wrong.join(", ")
    );
}

/// Asserts that `bytes` are the content of a committed file, or writes them there when updating.
///
/// # Panics
///
/// If the bytes differ from the file; the position of the first difference is printed.
pub fn assert_binary_snapshot(file: impl AsRef<Path>, bytes: &[u8]) {
    let file = file.as_ref();
    let found = std::fs::read(file).unwrap_or_default();
    if found == bytes {
        return;
    }
    if is_updating() {
        std::fs::write(file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        return;
    }
    let at = found.iter().zip(bytes).position(|(found, made)| found != made);
    panic!(
        "{}: {} bytes instead of {}, the first difference is at byte {}; if this is intended: {UPDATE}=1 cargo test",
        file.display(),
        bytes.len(),
        found.len(),
        at.unwrap_or_else(|| found.len().min(bytes.len()))
    );
}
