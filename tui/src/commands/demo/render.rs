//! Text output of the demo: the verdict, a row for each path, the reasons, and what is not proved.

use std::fmt::Write as _;

use zctrace_contract::Reason;
use zctrace_probes::probe::SetupError;
use zctrace_report::format::{duration, percent, printable, size};
use zctrace_report::{Flow, OracleVerdict, Peek, Report};

use super::PathFailure;
use super::fixture::Fixture;
use super::judge::Judgment;
use super::paths::PathResult;
use super::{certificate, footnotes};
use crate::render::text::{WIDTH, wrap};

/// Renders the result.
///
/// `not_traced` is why there is no evidence of the kernel.
pub(crate) fn demo_text(
    fixture: &Fixture,
    report: &Report,
    rows: &[PathResult],
    failures: &[PathFailure],
    not_traced: Option<&SetupError>,
) -> String {
    let mut text = String::new();
    write_verdict(&mut text, report, rows, failures);
    let dir = fixture.dir().display().to_string();
    let scene = format!(
        "{} over each path in {}, files in {}, kernel {}",
        size(fixture.payload().len()),
        duration(report.provenance.duration_ns),
        printable(&dir),
        printable(&report.provenance.kernel_release)
    );
    wrap(&mut text, "", &scene);
    text.push('\n');
    write_problems(&mut text, rows, failures);
    write_table(&mut text, rows);
    write_failures(&mut text, failures);
    certificate::write_longest(&mut text, rows, not_traced);
    footnotes::write_reasons(&mut text, rows);
    footnotes::write_notes(&mut text, fixture, rows, not_traced.is_none());
    text
}

/// Writes the first line: the outcome, and the share of moved bytes.
fn write_verdict(text: &mut String, report: &Report, rows: &[PathResult], failures: &[PathFailure]) {
    let all = rows.len() + failures.len();
    let wrong = rows
        .iter()
        .filter(|row| matches!(row.judgment, Judgment::Failed(_)))
        .count();
    let held = rows.iter().filter(|row| row.judgment == Judgment::Passed).count();
    let outcome = if wrong > 0 {
        format!("FAILED ON {wrong} OF {all} PATHS")
    } else if held == all {
        format!("ALL {all} PATHS PASSED")
    } else {
        format!("{held} OF {all} PATHS PASSED, {} INCONCLUSIVE", all - held)
    };
    let account = &report.totals().account;
    let marked = |mark| rows.iter().filter(|row| mark_of(row) == mark).count();
    let _ = writeln!(
        text,
        "{outcome}   {} moved, {} copied, {} unknown ({} of the bytes moved)",
        marked('='),
        marked('x'),
        marked('?'),
        percent(account.moved, account.delivered())
    );
    if wrong == 0 && held > 0 {
        wrap(
            text,
            "",
            "passed: the delivered bytes are the sent ones (SHA-256), and no receipt contradicts the oracle, which changes a page \
             after it was moved and reads it at the destination",
        );
    }
}

/// Writes the disagreements and the inconclusive paths.
fn write_problems(text: &mut String, rows: &[PathResult], failures: &[PathFailure]) {
    for row in rows {
        let name = name(&row.flow);
        match &row.judgment {
            Judgment::Passed => {}
            Judgment::Failed(why) => wrap(text, "!! FAILED        ", &format!("{name}: {}", printable(why))),
            Judgment::Inconclusive(why) => wrap(text, "?? INCONCLUSIVE  ", &format!("{name}: {}", printable(why))),
        }
    }
    let troubled = rows.iter().any(|row| row.judgment != Judgment::Passed);
    if troubled || (rows.is_empty() && !failures.is_empty()) {
        text.push('\n');
    }
}

/// Writes the paths that could not run, with each cause once.
fn write_failures(text: &mut String, failures: &[PathFailure]) {
    let mut causes: Vec<String> = Vec::new();
    for failure in failures {
        let cause = failure.cause.to_string();
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    for cause in causes {
        for failure in failures.iter().filter(|failure| failure.cause.to_string() == cause) {
            let _ = writeln!(text, "-  {}", failure.name);
        }
        wrap(text, "      └ could not run here: ", &cause);
    }
}

/// A line of the table.
struct Line {
    mark: char,
    cells: [String; 6],
    why: Option<Reason>,
}

/// Returns the mark of a row. A disagreement overrides the mark of the flow.
fn mark_of(row: &PathResult) -> char {
    match row.judgment {
        Judgment::Failed(_) => '!',
        _ => row.flow.mark(),
    }
}

/// Writes the table: disagreements, moved, unknown, copied, then excluded.
fn write_table(text: &mut String, rows: &[PathResult]) {
    let mut lines = Vec::new();
    for mark in ['!', '=', '?', 'x', '-'] {
        for row in rows.iter().filter(|row| mark_of(row) == mark) {
            lines.push(Line {
                mark,
                ..flow_line(&row.flow)
            });
            if row.flow.peeked_bytes > 0 {
                lines.extend(row.peeks.iter().map(peek_line));
            }
        }
    }
    let titles = ["path", "bytes", "moved", "copied", "unknown", "oracle"].map(str::to_owned);
    let head = Line {
        mark: ' ',
        cells: titles,
        why: None,
    };
    let width_of = |column: usize| {
        let cells = std::iter::once(&head)
            .chain(&lines)
            .map(|line| line.cells[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width_of);
    for (index, line) in std::iter::once(&head).chain(&lines).enumerate() {
        let mut out = format!("{}  {:<width$}", line.mark, line.cells[0], width = widths[0]);
        for (cell, width) in line.cells.iter().zip(widths).take(5).skip(1) {
            let _ = write!(out, "  {cell:>width$}");
        }
        let _ = write!(out, "  {:<width$}  ", line.cells[5], width = widths[5]);
        if index == 0 {
            out.push_str("why");
        }
        if let Some(reason) = line.why {
            let room = WIDTH.saturating_sub(out.chars().count());
            let full = format!("{} {}", reason.code(), reason.label());
            out.push_str(if full.chars().count() <= room {
                &full
            } else {
                reason.code()
            });
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
}

fn flow_line(flow: &Flow) -> Line {
    let account = &flow.account;
    let oracle = match &flow.oracle {
        Some(word @ (OracleVerdict::Shared | OracleVerdict::Private)) => word.as_str().to_owned(),
        _ => "–".to_owned(),
    };
    let [payload, moved, copied, unknown] = [flow.payload, account.moved, account.copied, account.unknown].map(size);
    Line {
        mark: flow.mark(),
        cells: [name(flow), payload, moved, copied, unknown, oracle],
        why: flow.reasons.first().and_then(|cause| cause.code.reason()),
    }
}

/// Returns the line of a peek, below its path.
fn peek_line(look: &Peek) -> Line {
    let none = String::new;
    Line {
        mark: 'x',
        cells: [
            "   └ the peek".to_owned(),
            none(),
            none(),
            size(look.bytes),
            none(),
            none(),
        ],
        why: look.code.reason(),
    }
}

pub(super) fn name(flow: &Flow) -> String {
    printable(flow.name.as_deref().unwrap_or("a path without a name")).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::commands::demo::fixture::DemoError;
    use crate::commands::demo::{exit_code_of, paths, report};
    use crate::exit_code;
    use zctrace_probes::probe::SetupErrorKind;

    #[test]
    fn reason_labels_fit_beside_the_longest_path() {
        for reason in Reason::all() {
            assert!(reason.label().len() <= 10, "{reason}");
        }
        assert!(paths::ALL.iter().all(|path| path.name.chars().count() <= 31));
    }

    fn not_traced() -> SetupError {
        SetupErrorKind::Other("planted".to_owned()).into()
    }

    /// Returns the output for one real path after `change`, and the exit code.
    fn demo_text_of(change: impl Fn(&mut PathResult), failures: &[PathFailure]) -> (String, u8) {
        let fixture = Fixture::new(std::env::temp_dir(), 4096).expect("a stage");
        let mut rows = (paths::ALL[2].run)(&fixture).expect("sendfile works everywhere");
        rows.iter_mut().for_each(change);
        let error = not_traced();
        let report = report::report(&rows, failures, Err(&error), SystemTime::now(), Duration::ZERO);
        assert_eq!(report.check(), Ok(()));
        (
            demo_text(&fixture, &report, &rows, failures, Some(&error)),
            exit_code_of(&rows, failures),
        )
    }

    #[test]
    fn disagreement_comes_first() {
        let plant = |row: &mut PathResult| row.judgment = Judgment::Failed("planted\u{1b}[2J".to_owned());
        let (text, code) = demo_text_of(plant, &[]);
        assert_eq!(code, exit_code::CHECK_FAILED);
        assert!(text.starts_with("FAILED ON 1 OF 1 PATHS   0 moved"), "{text}");
        assert!(
            text.contains("\n!  file → TCP (sendfile)"),
            "no mark of a claim\n{text}"
        );
        assert!(
            text.contains("!! FAILED        file → TCP (sendfile): planted"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}') && !text.contains("passed:"), "{text}");
    }

    #[test]
    fn paths_that_cannot_run_are_listed_and_inconclusive() {
        let failure = |name| PathFailure {
            name,
            cause: DemoError::new("no such thing\r"),
        };
        let (text, code) = demo_text_of(|_| {}, &[failure("a → b"), failure("c → d")]);
        assert_eq!(code, exit_code::INCONCLUSIVE);
        assert!(text.starts_with("1 OF 3 PATHS PASSED, 2 INCONCLUSIVE"), "{text}");
        assert!(
            text.contains("-  a → b\n-  c → d\n      └ could not run here: no such thing") && !text.contains('\r'),
            "{text}"
        );
        let (_, code) = demo_text_of(|row| row.judgment = Judgment::Inconclusive(String::new()), &[]);
        assert_eq!(code, exit_code::INCONCLUSIVE);
        assert_eq!(demo_text_of(|_| {}, &[]).1, exit_code::SUCCESS);
    }
}
