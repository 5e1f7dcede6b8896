//! Tests that this machine cannot run say so.

use std::fs::File;
use std::io::Write;

/// Writes to stderr itself: what `eprint!` writes is shown only if the test fails.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Reports a test as skipped: a line for people, and one more in the file that `BUFFERLIST_SKIPS` names, for machines.
pub(crate) fn skip(test: &str, reason: &str) {
    let line = format!("SKIP {test}: {}\n", reason.replace('\n', " "));
    say(&line);
    if let Some(path) = std::env::var_os("BUFFERLIST_SKIPS") {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .expect("BUFFERLIST_SKIPS");
        file.write_all(line.as_bytes()).expect("BUFFERLIST_SKIPS");
    }
}
