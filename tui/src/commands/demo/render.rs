//! The demo's one screen: the verdict, a row for each path, why, and what it does not prove.

use std::fmt::Write as _;

use zctrace_contract::Reason;
use zctrace_probes::probe::SetupError;
use zctrace_report::text::{duration, percent, printable, size};
use zctrace_report::{Flow, Look, OracleWord, Report};

use super::Failure;
use super::fixture::Stage;
use super::judge::Judgement;
use super::paths::Done;
use super::{certificate, footnotes};
use crate::render::text::{WIDTH, wrap};

/// The whole screen.
///
/// `not_traced` is why the kernel was not asked.
pub(crate) fn table(
    stage: &Stage,
    report: &Report,
    rows: &[Done],
    failures: &[Failure],
    not_traced: Option<&SetupError>,
) -> String {
    let mut text = String::new();
    verdict(&mut text, report, rows, failures);
    let dir = stage.dir().display().to_string();
    let scene = format!(
        "{} over each path in {}, files in {}, kernel {}",
        size(stage.content().len()),
        duration(report.made_by.duration_ns),
        printable(&dir),
        printable(&report.made_by.kernel)
    );
    wrap(&mut text, "", &scene);
    text.push('\n');
    trouble(&mut text, rows, failures);
    body(&mut text, rows);
    could_not_run(&mut text, failures);
    certificate::proof(&mut text, rows, not_traced);
    footnotes::why(&mut text, rows);
    footnotes::notes(&mut text, stage, rows, not_traced.is_none());
    text
}

/// The first line: whether all held, and the share.
fn verdict(text: &mut String, report: &Report, rows: &[Done], failures: &[Failure]) {
    let all = rows.len() + failures.len();
    let wrong = rows
        .iter()
        .filter(|row| matches!(row.judgement, Judgement::Disagrees(_)))
        .count();
    let held = rows.iter().filter(|row| row.judgement == Judgement::Held).count();
    let outcome = if wrong > 0 {
        format!("DISAGREEMENT ON {wrong} OF {all} PATHS")
    } else if held == all {
        format!("ALL {all} PATHS HELD")
    } else {
        format!("{held} OF {all} PATHS HELD, {} NOT SHOWN HERE", all - held)
    };
    let account = &report.totals().account;
    let marked = |mark| rows.iter().filter(|row| mark_of(row) == mark).count();
    let _ = writeln!(
        text,
        "{outcome}   {} moved, {} copied, {} unknown ({} of the bytes moved)",
        marked('='),
        marked('x'),
        marked('?'),
        percent(account.moved, account.arrived())
    );
    if wrong == 0 && held > 0 {
        wrap(
            text,
            "",
            "held: what arrived is what was sent (SHA-256), and no receipt contradicts the oracle, which changes a page \
             after it was moved and looks at the far end",
        );
    }
}

/// What disagrees or could not be said, before anything else.
fn trouble(text: &mut String, rows: &[Done], failures: &[Failure]) {
    for row in rows {
        let name = name(&row.flow);
        match &row.judgement {
            Judgement::Held => {}
            Judgement::Disagrees(why) => wrap(text, "!! DISAGREES  ", &format!("{name}: {}", printable(why))),
            Judgement::Open(why) => wrap(text, "?? NOT SHOWN  ", &format!("{name}: {}", printable(why))),
        }
    }
    let troubled = rows.iter().any(|row| row.judgement != Judgement::Held);
    if troubled || (rows.is_empty() && !failures.is_empty()) {
        text.push('\n');
    }
}

/// The paths that could not run, with each cause once.
fn could_not_run(text: &mut String, failures: &[Failure]) {
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

/// What is in one line of the table.
struct Line {
    mark: char,
    cells: [String; 6],
    why: Option<Reason>,
}

/// The flow's own mark; of a row that disagrees no other can be believed.
fn mark_of(row: &Done) -> char {
    match row.judgement {
        Judgement::Disagrees(_) => '!',
        _ => row.flow.mark(),
    }
}

/// The table proper: what disagrees, what moves, then what nobody can say, then what copies.
fn body(text: &mut String, rows: &[Done]) {
    let mut lines = Vec::new();
    for mark in ['!', '=', '?', 'x', '-'] {
        for row in rows.iter().filter(|row| mark_of(row) == mark) {
            lines.push(Line {
                mark,
                ..line_of_flow(&row.flow)
            });
            if row.flow.looked > 0 {
                lines.extend(row.looks.iter().map(line_of_look));
            }
        }
    }
    let heads = ["path", "bytes", "moved", "copied", "unknown", "oracle"].map(str::to_owned);
    let head = Line {
        mark: ' ',
        cells: heads,
        why: None,
    };
    let wide = |column: usize| {
        let cells = std::iter::once(&head)
            .chain(&lines)
            .map(|line| line.cells[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(wide);
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

fn line_of_flow(flow: &Flow) -> Line {
    let account = &flow.account;
    let oracle = match &flow.oracle {
        Some(word @ (OracleWord::Shared | OracleWord::Private)) => word.as_str().to_owned(),
        _ => "–".to_owned(),
    };
    let [payload, moved, copied, unknown] = [flow.payload, account.moved, account.copied, account.unknown].map(size);
    Line {
        mark: flow.mark(),
        cells: [name(flow), payload, moved, copied, unknown, oracle],
        why: flow.reasons.first().and_then(|cause| cause.code.reason()),
    }
}

/// A look is a line of its own below its path, whose bytes arrived all the same.
fn line_of_look(look: &Look) -> Line {
    let none = String::new;
    Line {
        mark: 'x',
        cells: [
            "   └ the look".to_owned(),
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
    use crate::commands::demo::fixture::Cause;
    use crate::commands::demo::{code, paths, report};
    use crate::exit_code;
    use zctrace_probes::probe::SetupErrorKind;

    #[test]
    fn each_label_fits_beside_the_longest_path() {
        for reason in Reason::all() {
            assert!(reason.label().len() <= 10, "{reason}");
        }
        assert!(paths::ALL.iter().all(|path| path.name.chars().count() <= 31));
    }

    fn not_traced() -> SetupError {
        SetupErrorKind::Other("planted".to_owned()).into()
    }

    /// The screen of one real path, as `change` leaves it.
    fn screen(change: impl Fn(&mut Done), failures: &[Failure]) -> (String, u8) {
        let stage = Stage::new(std::env::temp_dir(), 4096).expect("a stage");
        let mut rows = (paths::ALL[2].run)(&stage).expect("sendfile works everywhere");
        rows.iter_mut().for_each(change);
        let error = not_traced();
        let report = report::report(&rows, failures, Err(&error), SystemTime::now(), Duration::ZERO);
        assert_eq!(report.check(), Ok(()));
        (
            table(&stage, &report, &rows, failures, Some(&error)),
            code(&rows, failures),
        )
    }

    #[test]
    fn a_disagreement_is_the_first_thing_said() {
        let plant = |row: &mut Done| row.judgement = Judgement::Disagrees("planted\u{1b}[2J".to_owned());
        let (text, code) = screen(plant, &[]);
        assert_eq!(code, exit_code::CHECK_FAILED);
        assert!(text.starts_with("DISAGREEMENT ON 1 OF 1 PATHS   0 moved"), "{text}");
        assert!(
            text.contains("\n!  file → TCP (sendfile)"),
            "no mark of a claim\n{text}"
        );
        assert!(text.contains("!! DISAGREES  file → TCP (sendfile): planted"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("held:"), "{text}");
    }

    #[test]
    fn what_could_not_run_is_said_and_does_not_pass() {
        let failure = |name| Failure {
            name,
            cause: Cause::new("no such thing\r"),
        };
        let (text, code) = screen(|_| {}, &[failure("a → b"), failure("c → d")]);
        assert_eq!(code, exit_code::INCONCLUSIVE);
        assert!(text.starts_with("1 OF 3 PATHS HELD, 2 NOT SHOWN HERE"), "{text}");
        assert!(
            text.contains("-  a → b\n-  c → d\n      └ could not run here: no such thing") && !text.contains('\r'),
            "{text}"
        );
        let (_, code) = screen(|row| row.judgement = Judgement::Open(String::new()), &[]);
        assert_eq!(code, exit_code::INCONCLUSIVE);
        assert_eq!(screen(|_| {}, &[]).1, exit_code::SUCCESS);
    }
}
