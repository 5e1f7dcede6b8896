//! Helpers of several tests of the program.

#![allow(dead_code)] // Each takes what it needs.

use std::process::{Command, Output};

/// Returns standard output and standard error.
pub(crate) fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Returns whether probes can be loaded here. If not, reports that, as the tests of bufferlist do.
pub(crate) fn possible(test: &str) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    let output = command
        .args(["run", "--", "true"])
        .output()
        .expect("zctrace can be run");
    if output.status.code() != Some(4) {
        return true;
    }
    test_support::skip!(test, "{}", both(&output).lines().next().unwrap_or_default());
    false
}
