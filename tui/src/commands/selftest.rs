//! `zctrace selftest`: performs known moves and known copies, and shows how the probes classify
//! them.

use std::fmt::Write as _;
use std::path::PathBuf;

use zctrace_probes::facts::{SelftestResults, Trial, Verdict};
use zctrace_probes::selftest;
use zctrace_report::format::{count, printable, size};

use crate::render::text::{shorten, wrap};
use crate::tracer::SetupError;
use crate::{exit_code, output, session, terminal_io};

/// Options of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Directory of the test files.
    pub(crate) dir: Option<PathBuf>,
    /// `true` to print JSON.
    pub(crate) json: bool,
    /// BTF file to use instead of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
}

/// Runs the subcommand and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    if let Some(dir) = options.dir.as_ref().filter(|dir| !dir.is_dir()) {
        terminal_io::eprint(&format!("{} is not a directory", printable(&dir.display().to_string())));
        return exit_code::USAGE;
    }
    let table = match selftest::run_with_btf(options.dir.as_deref(), options.btf.as_deref()) {
        Ok(table) => table,
        Err(error) => return session::print_setup_error(&SetupError::from(&error)),
    };
    let code = if table.passed() {
        exit_code::SUCCESS
    } else {
        exit_code::CHECK_FAILED
    };
    if options.json {
        return terminal_io::print(&to_json(&table), code);
    }
    output::print_screen(&selftest_text(&table), code)
}

/// Renders the results as JSON.
fn to_json(table: &SelftestResults) -> String {
    let counts = table.counts();
    let all = serde_json::json!({
        "schema": "zctrace-selftest/1.0",
        "passed": counts.passed,
        "failed": counts.failed,
        "absent": counts.absent,
        "key": table.key,
        "made_unix_ms": table.made_unix_ms,
        "took_ms": table.took_ms,
        "dir": table.dir,
        "trials": table.trials,
    });
    format!("{all:#}\n")
}

/// Renders the results as text.
fn selftest_text(table: &SelftestResults) -> String {
    let counts = table.counts();
    let mut text = String::new();
    let absent = match counts.absent {
        0 => String::new(),
        n => format!(", {n} could not run here"),
    };
    let verdict = if counts.failed > 0 {
        "FAILED   reports of this kernel are not fully reliable"
    } else if counts.passed == 0 {
        "NOT RUN   no trial could run here"
    } else {
        "PASSED   known moves were classified as moved, and known copies as copied"
    };
    let _ = writeln!(text, "{verdict}");
    let object = table.key.object.get(..12).unwrap_or(&table.key.object);
    let scene = format!(
        "{} trials in {} ms, files in {}, kernel {}, object {object}{absent}",
        table.trials.len(),
        table.took_ms,
        printable(&table.dir),
        printable(table.key.kernel.split(' ').next().unwrap_or_default()),
    );
    wrap(&mut text, "", &scene);
    let _ = writeln!(
        text,
        "\n   {:<30}{:<34}{:<10}{:>9}  result",
        "trial", "verified fact", "expected", "bytes"
    );
    for trial in &table.trials {
        write_row(&mut text, trial);
    }
    let _ = writeln!(text, "\n{} passed, {} failed", counts.passed, counts.failed);
    text
}

fn write_row(text: &mut String, trial: &Trial) {
    let mark = match trial.verdict {
        Verdict::Yes => '=',
        Verdict::Wrong => 'x',
        Verdict::Silent => '?',
        Verdict::Absent => '-',
    };
    let name = shorten(&printable(&trial.name), 28);
    let fact = shorten(&printable(&trial.fact), 33);
    let _ = writeln!(
        text,
        "{mark}  {name:<30}{fact:<34}{:<10}{:>9}  {}",
        trial.expected.as_str(),
        size(trial.bytes),
        trial.verdict.as_str()
    );
    if trial.verdict == Verdict::Yes {
        return;
    }
    let seen = trial.observed;
    let parts = [
        (seen.moved, "moved"),
        (seen.copied, "copied"),
        (seen.zero, "zero"),
        (seen.unknown, "unknown"),
    ];
    let parts = parts.iter().filter(|(bytes, _)| *bytes > 0);
    let parts: Vec<String> = parts.map(|(bytes, word)| format!("{} {word}", count(*bytes))).collect();
    let seen = if parts.is_empty() {
        String::new()
    } else {
        format!(" (observed: {})", parts.join(", "))
    };
    wrap(text, "      ", &format!("{}{seen}", printable(&trial.reason)));
}

#[cfg(test)]
mod tests {
    use zctrace_probes::facts::{CacheKey, Expected, Observed};

    use super::*;
    use crate::render::fixtures::{assert_fits, assert_snapshot};

    fn trial(name: &str, fact: &str, expected: Expected, seen: [u64; 4], verdict: Verdict, reason: &str) -> Trial {
        let [moved, copied, zero, unknown] = seen;
        Trial {
            name: name.to_owned(),
            fact: fact.to_owned(),
            expected,
            bytes: 32 << 10,
            observed: Observed {
                moved,
                copied,
                zero,
                unknown,
            },
            verdict,
            reason: reason.to_owned(),
        }
    }

    /// Returns results with two failed trials and one that could not run.
    fn failed() -> SelftestResults {
        const ALL: u64 = 32 << 10;
        SelftestResults {
            key: CacheKey {
                trials: 1,
                boot: String::new(),
                kernel: "6.18.44 #1 SMP".to_owned(),
                object: "3f9c".repeat(16),
            },
            made_unix_ms: 0,
            took_ms: 231,
            dir: "/tmp".to_owned(),
            trials: vec![
                trial(
                    "sendfile → TCP",
                    "pages in packets",
                    Expected::Moved,
                    [ALL, 0, 0, 0],
                    Verdict::Yes,
                    "",
                ),
                trial(
                    "write → TCP",
                    "pages in packets",
                    Expected::Copied,
                    [ALL, 0, 0, 0],
                    Verdict::Wrong,
                    "32768 bytes were said to be moved",
                ),
                trial(
                    "file → pipe → UNIX",
                    "pages in UNIX messages",
                    Expected::Moved,
                    [4096, 0, 0, ALL - 4096],
                    Verdict::Silent,
                    "28672 of 32768 bytes were not seen",
                ),
                trial(
                    "file → pipe → O_DIRECT file",
                    "pages to and from disks",
                    Expected::Moved,
                    [0; 4],
                    Verdict::Absent,
                    "/tmp is on a filesystem with no block device; --dir DIR names another",
                ),
            ],
        }
    }

    #[test]
    fn text_matches_snapshots() {
        let shown = selftest_text(&failed());
        assert_fits(&shown);
        assert_snapshot(&shown, "selftest-failed.txt");
        let mut table = failed();
        for trial in &mut table.trials {
            (trial.verdict, trial.reason) = (Verdict::Yes, String::new());
        }
        let shown = selftest_text(&table);
        assert_fits(&shown);
        assert_snapshot(&shown, "selftest-passed.txt");
        assert_eq!(shown.lines().last(), Some("4 passed, 0 failed"));
    }

    #[test]
    fn json_has_the_same_content() {
        let value: serde_json::Value = serde_json::from_str(&to_json(&failed())).expect("JSON");
        let counts = ["passed", "failed", "absent"].map(|name| value[name].as_u64());
        assert_eq!(counts, [Some(1), Some(2), Some(1)]);
        assert_eq!(value["trials"][1]["verdict"], "wrong");
    }
}
