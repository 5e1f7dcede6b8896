//! What tests of the program have in common.

#![allow(dead_code)] // Each takes what it needs.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

/// All that it said.
pub(crate) fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Whether probes can be loaded here. If not that is reported, as bufferlist's tests do it.
pub(crate) fn possible(test: &str) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    let output = command
        .args(["run", "--", "true"])
        .output()
        .expect("zctrace can be run");
    if output.status.code() != Some(4) {
        return true;
    }
    skip(test, both(&output).lines().next().unwrap_or_default());
    false
}

/// Reports a test as skipped: a line for people, and one more in the file that `BUFFERLIST_SKIPS` names, for machines.
pub(crate) fn skip(test: &str, reason: &str) {
    let line = format!("SKIP {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("BUFFERLIST_SKIPS") {
        let file = File::options().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("{}: {error}", Path::new(&path).display()));
    }
}
