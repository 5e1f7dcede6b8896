//! Reporting of tests that cannot run on this machine.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Environment variable that names the file to which skips are appended.
const LIST: &str = "ZCTRACE_SKIPS";

/// Reports that a test, or a part of it, cannot run on this machine.
///
/// `skip!(name, "reason {value}", …)` writes `SKIP name: reason` to standard error and appends the
/// line to the file named by `ZCTRACE_SKIPS`, where `.ci/run` compares it with `.ci/allowed-skips`.
/// The macro does not return from the test; write `return skip!(…)` to do so.
#[macro_export]
macro_rules! skip {
    ($test:expr, $($reason:tt)+) => {
        $crate::report_skip($test, ::core::format_args!($($reason)+))
    };
}

/// Writes to standard error even if the test harness captures the output of `eprint!`.
pub fn print_uncaptured(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Implements [`skip!`]. Line breaks in `reason` become spaces, because a skip is one line.
///
/// # Panics
///
/// If the file named by `ZCTRACE_SKIPS` cannot be written.
pub fn report_skip(test: &str, reason: impl Display) {
    let line = line(test, &reason.to_string());
    print_uncaptured(&line);
    if let Some(path) = std::env::var_os(LIST) {
        append(Path::new(&path), &line);
    }
}

fn line(test: &str, reason: &str) -> String {
    format!("SKIP {test}: {}\n", reason.trim_end().replace('\n', " "))
}

/// Appends with one write, so that lines of tests that run at the same time do not mix.
fn append(path: &Path, line: &str) {
    let file = File::options().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_one_line_and_is_appended() {
        let dir = std::env::temp_dir().join(format!("zctrace-test-support-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let file = dir.join("skips");
        append(&file, &line("module::test", "no privilege:\nlacks CAP_BPF\n"));
        append(&file, &line("other", "no disk"));
        let written = std::fs::read_to_string(&file).expect("the list of skips");
        assert_eq!(
            written,
            "SKIP module::test: no privilege: lacks CAP_BPF\nSKIP other: no disk\n"
        );
        std::fs::remove_dir_all(dir).expect("the folder is removed");
    }
}
