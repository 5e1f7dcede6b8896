//! Text of a judgment: PASSED, FAILED or INCONCLUSIVE first, then the rules, flows, reasons and
//! hints.

use zctrace_report::format::{percent, printable, size};
use zctrace_report::{Assertion, AssertionOutcome, Report};

use super::criteria::{Criteria, Limit, exact_bytes};
use super::judge::{Judgment, NOTHING, UNDECIDED_ENDS};
use crate::child::CommandStatus;
use crate::render::text::wrap;
use crate::render::{from_memory_line, scope_line, write_body, write_reasons};

/// Renders a judgment. `remarks` are further lines, such as the files that were written.
pub(super) fn judgment_text(
    report: &Report,
    criteria: &Criteria,
    judgment: &Judgment,
    command: Option<CommandStatus>,
    remarks: &[String],
) -> String {
    let mut text = String::new();
    let failure = command.and_then(failure_of);
    write_verdict(&mut text, criteria, judgment, failure.as_deref());
    wrap(&mut text, "         ", &deliveries(criteria, judgment));
    if judgment.bytes_judged.from_memory > 0 {
        wrap(
            &mut text,
            "         ",
            &from_memory_line(judgment.bytes_judged.from_memory),
        );
    }
    wrap(&mut text, "         ", &scope_line(report));
    if let Some(how) = &failure {
        wrap(&mut text, "  !!     ", &format!("the command itself failed: {how}"));
    }
    text.push('\n');
    for rule in &judgment.rules {
        let mark = match rule.outcome {
            AssertionOutcome::Passed => "=  passed     ",
            AssertionOutcome::Failed => "x  failed     ",
            _ => "?  undecided  ",
        };
        wrap(
            &mut text,
            mark,
            &format!("{}: {}", printable(&rule.rule), printable(&rule.finding)),
        );
    }
    let judged = |id| judgment.flows.contains(&id);
    match judgment.outcome() {
        // A passed judgment needs no hints, but copies within the limit are listed.
        AssertionOutcome::Passed => write_reasons(&mut text, report, judged),
        AssertionOutcome::Failed => write_body(&mut text, report, judged),
        // The missing bytes may belong to any flow.
        _ => write_body(&mut text, report, |_| true),
    }
    if !remarks.is_empty() {
        text.push('\n');
        for line in remarks {
            wrap(&mut text, "  ", line);
        }
    }
    text
}

/// Returns how the command failed, if it did.
fn failure_of(status: CommandStatus) -> Option<String> {
    match status {
        CommandStatus::Exited(0) => None,
        CommandStatus::Exited(code) => Some(format!("it exited with {code}")),
        CommandStatus::Signaled(signal) => Some(format!("signal {signal} ended it")),
    }
}

/// Writes the first line. A rule that passed by what a failed command did is not the outcome.
fn write_verdict(text: &mut String, criteria: &Criteria, judgment: &Judgment, failure: Option<&str>) {
    let but = failure.map_or_else(String::new, |how| format!("CMD failed ({how}); "));
    let first = |outcome: &AssertionOutcome| judgment.rules.iter().find(|rule| rule.outcome == *outcome);
    let found = |rule: Option<&Assertion>| rule.map_or_else(String::new, |rule| printable(&rule.finding).into_owned());
    match judgment.outcome() {
        AssertionOutcome::Failed => {
            let rest = match criteria.max_copied {
                Some(limit) => {
                    let bytes = judgment.bytes_judged.copied + judgment.bytes_judged.peeked;
                    let share = match limit {
                        Limit::Bytes(_) => String::new(),
                        Limit::Share(_) => format!(" ({})", percent_of(bytes, judgment.bytes_judged.delivered)),
                    };
                    format!("{}{share} were copied; the limit is {limit}", exact_bytes(bytes))
                }
                None => found(first(&AssertionOutcome::Failed)),
            };
            wrap(text, "FAILED   ", &format!("{but}{rest}"));
        }
        AssertionOutcome::Passed => {
            let bytes_judged = &judgment.bytes_judged;
            let limit = match criteria.max_copied {
                Some(limit) => format!("the limit is {limit}"),
                None => "no limit is given".to_owned(),
            };
            let rest = format!(
                "{} of the {} delivered to {} were copied; {limit}",
                exact_bytes(bytes_judged.copied + bytes_judged.peeked),
                exact_bytes(bytes_judged.delivered.into()),
                criteria.endpoints(),
            );
            match failure {
                Some(how) => wrap(text, "CMD FAILED   ", &format!("{how}; until then {rest}")),
                None => wrap(text, "PASSED   ", &rest),
            }
        }
        _ => {
            // An endpoint without any delivered bytes is the most useful reason.
            let nothing = judgment.rules.iter().find(|rule| {
                rule.outcome == AssertionOutcome::Inconclusive
                    && judgment.bytes_judged.delivered == 0
                    && (rule.finding.starts_with(NOTHING) || rule.finding.contains(UNDECIDED_ENDS))
            });
            let mut rest = match (nothing, &judgment.open) {
                (None, Some(open)) => printable(open).into_owned(),
                (nothing, _) => found(nothing.or_else(|| first(&AssertionOutcome::Inconclusive))),
            };
            if nothing.is_some_and(|rule| rule.finding.starts_with(NOTHING)) {
                rest.push_str(" (did the test run?)");
            }
            wrap(text, "INCONCLUSIVE   ", &format!("{but}{rest}"));
        }
    }
}

/// Returns the share of the delivered bytes. It can exceed 100 %, because peeks are not delivered
/// bytes.
fn percent_of(bytes: u128, arrived: u64) -> String {
    percent(u64::try_from(bytes).unwrap_or(u64::MAX), arrived)
}

/// Describes the delivered bytes and their verdicts.
fn deliveries(criteria: &Criteria, judgment: &Judgment) -> String {
    let bytes_judged = &judgment.bytes_judged;
    let wide = |bytes: u128| size(u64::try_from(bytes).unwrap_or(u64::MAX));
    let looks = if bytes_judged.peeked > 0 {
        format!("; {} were also peeked on the path", wide(bytes_judged.peeked))
    } else {
        String::new()
    };
    format!(
        "{} delivered to {}: {} copied, {} unknown{looks}",
        size(bytes_judged.delivered),
        criteria.endpoints(),
        wide(bytes_judged.copied),
        wide(bytes_judged.unknown),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::assert::Files;
    use crate::commands::assert::judge::judge;
    use crate::filter::Pattern;
    use crate::render::fixtures::{assert_fits, assert_snapshot, nginx};

    fn shown(report: &Report, to: &str, max_copied: Limit, command: Option<CommandStatus>) -> String {
        let criteria = Criteria {
            to: vec![Pattern::parse(to).unwrap()],
            from: Vec::new(),
            max_copied: Some(max_copied),
            max_unknown: None,
            min_bytes: 0,
            allow: Vec::new(),
            files: Files::default(),
        };
        let judgment = judge(report, &criteria, None);
        let text = judgment_text(report, &criteria, &judgment, command, &["report: a.json".to_owned()]);
        assert_fits(&text);
        text
    }

    #[test]
    fn failure_shows_amount_limit_and_flows() {
        let mut report = nginx();
        report.coverage.not_covered.clear();
        let text = shown(&report, "tcp", Limit::Bytes(0), Some(CommandStatus::Exited(0)));
        assert_snapshot(&text, "failed.txt");
        let text = shown(&report, "tcp", Limit::Bytes(0), Some(CommandStatus::Signaled(11)));
        assert!(text.contains("signal 11 ended it"), "{text}");
    }

    #[test]
    fn first_word_is_the_outcome() {
        let mut report = nginx();
        report.coverage.not_covered.clear();
        let half = Limit::Share(50 * Limit::PER_PERCENT);
        let text = shown(&report, "tcp", half, None);
        assert!(text.starts_with("PASSED   2 902 523 904 bytes of the "), "{text}");
        let percent = Limit::Share(Limit::PER_PERCENT);
        let text = shown(&report, "tcp", percent, None);
        assert!(
            text.starts_with("FAILED   2 902 523 904 bytes (29.1 %) were copied; the limit is 1 %\n"),
            "{text}"
        );
        let text = shown(&report, "unix", half, None);
        assert!(
            text.starts_with(
                "INCONCLUSIVE   nothing was delivered to unix, so there is nothing to judge (did the test run?)"
            ),
            "{text}"
        );
        report.loss.reserve_failures = 1;
        let text = shown(&report, "tcp", half, None);
        assert!(text.starts_with("INCONCLUSIVE   1 record was lost"), "{text}");
    }
}
