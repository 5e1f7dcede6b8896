//! The screen of a judgement: PASSED, FAILED or INCONCLUSIVE first, then which rule, where, why and what to do.

use zctrace_report::text::{percent, printable, size};
use zctrace_report::{Assertion, Outcome, Report};

use super::judge::Judgement;
use super::terms::{Limit, Terms, bytes_of};
use crate::command::Ended;
use crate::screen::wrap;
use crate::screens;

/// The whole screen. `told` says what else there is to know, a line each: files that were written.
pub(super) fn screen(
    report: &Report,
    terms: &Terms,
    judgement: &Judgement,
    command: Option<Ended>,
    told: &[String],
) -> String {
    let mut text = String::new();
    verdict(&mut text, terms, judgement);
    wrap(&mut text, "         ", &arrivals(terms, judgement));
    wrap(&mut text, "         ", &screens::trust(report));
    if let Some(ended) = command.filter(|ended| *ended != Ended::Code(0)) {
        let how = match ended {
            Ended::Code(code) => format!("the command itself failed: it exited with {code}"),
            Ended::Signal(signal) => format!("the command itself failed: signal {signal} ended it"),
        };
        wrap(&mut text, "  !!     ", &how);
    }
    text.push('\n');
    for rule in &judgement.rules {
        let mark = match rule.outcome {
            Outcome::Held => "=  held    ",
            Outcome::Broken => "x  broken  ",
            _ => "?  open    ",
        };
        wrap(
            &mut text,
            mark,
            &format!("{}: {}", printable(&rule.rule), printable(&rule.found)),
        );
    }
    let judged = |id| judgement.flows.contains(&id);
    match judgement.outcome() {
        // What held needs no mending; what was copied within the limit is worth a line each all the same.
        Outcome::Held => screens::why(&mut text, report, judged),
        Outcome::Broken => screens::body(&mut text, report, judged),
        // What is missing may be anywhere.
        _ => screens::body(&mut text, report, |_| true),
    }
    if !told.is_empty() {
        text.push('\n');
        for line in told {
            wrap(&mut text, "  ", line);
        }
    }
    text
}

/// The first line.
fn verdict(text: &mut String, terms: &Terms, judgement: &Judgement) {
    let first = |outcome: &Outcome| judgement.rules.iter().find(|rule| rule.outcome == *outcome);
    let found = |rule: Option<&Assertion>| rule.map_or_else(String::new, |rule| printable(&rule.found).into_owned());
    match judgement.outcome() {
        Outcome::Broken => {
            let rest = match terms.max_copied {
                Some(limit) => {
                    let bytes = judgement.sums.copied + judgement.sums.looked;
                    let share = match limit {
                        Limit::Bytes(_) => String::new(),
                        Limit::Share(_) => format!(" ({})", percent_of(bytes, judgement.sums.arrived)),
                    };
                    format!("{}{share} were copied; the limit is {limit}", bytes_of(bytes))
                }
                None => found(first(&Outcome::Broken)),
            };
            wrap(text, "FAILED   ", &rest);
        }
        Outcome::Held => {
            let sums = &judgement.sums;
            let limit = match terms.max_copied {
                Some(limit) => format!("the limit is {limit}"),
                None => "no limit was given".to_owned(),
            };
            let rest = format!(
                "{} of the {} that arrived at {} were copied; {limit}",
                bytes_of(sums.copied + sums.looked),
                bytes_of(sums.arrived.into()),
                terms.ends(),
            );
            wrap(text, "PASSED   ", &rest);
        }
        _ => {
            // That nothing arrived says more than what else is missing then.
            let nothing = judgement.rules.iter().find(|rule| {
                rule.outcome == Outcome::Open
                    && judgement.sums.arrived == 0
                    && rule.found.starts_with("nothing arrived")
            });
            let mut rest = found(nothing.or_else(|| first(&Outcome::Open)));
            if nothing.is_some() {
                rest.push_str(" (did the test run?)");
            }
            wrap(text, "INCONCLUSIVE   ", &rest);
        }
    }
}

/// Looks are not bytes that arrived, so all is not the most.
fn percent_of(bytes: u128, arrived: u64) -> String {
    percent(u64::try_from(bytes).unwrap_or(u64::MAX), arrived)
}

/// What arrived, and what became of it.
fn arrivals(terms: &Terms, judgement: &Judgement) -> String {
    let sums = &judgement.sums;
    let wide = |bytes: u128| size(u64::try_from(bytes).unwrap_or(u64::MAX));
    let looks = if sums.looked > 0 {
        format!("; {} were also copied out on the way", wide(sums.looked))
    } else {
        String::new()
    };
    format!(
        "{} arrived at {}: {} copied, {} unknown{looks}",
        size(sums.arrived),
        terms.ends(),
        wide(sums.copied),
        wide(sums.unknown),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assert::judge::judge;
    use crate::filter::Pattern;
    use crate::screens::samples::{assert_fits, nginx, same_as};

    fn shown(report: &Report, to: &str, max_copied: Limit, command: Option<Ended>) -> String {
        let terms = Terms {
            to: vec![Pattern::parse(to).unwrap()],
            from: Vec::new(),
            max_copied: Some(max_copied),
            max_unknown: None,
            min_bytes: 0,
            allow: Vec::new(),
        };
        let judgement = judge(report, &terms, None);
        let text = screen(report, &terms, &judgement, command, &["report: a.json".to_owned()]);
        assert_fits(&text);
        text
    }

    #[test]
    fn a_failure_says_how_much_and_the_limit_and_where() {
        let mut report = nginx();
        report.coverage.not_observed.clear();
        let text = shown(&report, "tcp", Limit::Bytes(0), Some(Ended::Code(0)));
        same_as(&text, "failed.txt");
        let text = shown(&report, "tcp", Limit::Bytes(0), Some(Ended::Signal(11)));
        assert!(text.contains("signal 11 ended it"), "{text}");
    }

    #[test]
    fn a_pass_and_an_open_one_are_told_apart_by_their_first_word() {
        let mut report = nginx();
        report.coverage.not_observed.clear();
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
                "INCONCLUSIVE   nothing arrived at unix, so there is nothing to judge (did the test run?)"
            ),
            "{text}"
        );
        report.loss.reserve_failures = 1;
        let text = shown(&report, "tcp", half, None);
        assert!(text.starts_with("INCONCLUSIVE   1 record was lost"), "{text}");
    }
}
