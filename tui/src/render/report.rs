//! Text of a report: the verdict with its share and scope, then flows, reasons with hints, and
//! caveats.

use std::fmt::Write as _;

use zctrace_report::format::{count, duration, headline, printable, size};
use zctrace_report::{AssertionOutcome, Report, ScopeKind};

use super::{caveats, contradictions, flow_table, reasons, segments};
use crate::render::text::wrap;

/// Renders a report as text.
pub(crate) fn report_text(report: &Report) -> String {
    let mut text = String::new();
    // Shares of contradicting figures must not be the first thing that is read.
    if let Some(doubt) = contradictions(report) {
        wrap(&mut text, "INCONSISTENT   ", &doubt);
    }
    write_headline(&mut text, &headline(report));
    wrap(&mut text, "               ", &scope_line(report));
    write_filter(&mut text, report);
    write_assertions(&mut text, report);
    write_body(&mut text, report, |_| true);
    text
}

/// Writes everything below the verdict. The reasons are those of the flows that `selected` picks by
/// number.
pub(crate) fn write_body(text: &mut String, report: &Report, selected: impl Fn(u64) -> bool) {
    flow_table::write(text, report);
    reasons::write_reasons(text, report, selected);
    segments::write_disagreements(text, report);
    caveats::write(text, report);
}

/// Writes a verdict, with its continuation lines aligned.
fn write_headline(text: &mut String, line: &str) {
    match line.split_once("   ") {
        Some((verdict, rest)) => wrap(text, &format!("{verdict}   "), rest),
        None => wrap(text, "", line),
    }
}

/// Returns the scope, the duration, the tier, the number of flows, and the lost records.
pub(crate) fn scope_line(report: &Report) -> String {
    let flows = report
        .flows
        .iter()
        .fold(0_u64, |sum, flow| sum.saturating_add(flow.folded));
    let plural = if flows == 1 { "" } else { "s" };
    let lost = match report.loss.records() {
        0 => "no records lost".to_owned(),
        1 => "1 record LOST".to_owned(),
        some => format!("{} records LOST", count(some)),
    };
    format!(
        "{}, {}, tier {}, {} flow{plural}, {lost}",
        scope(report),
        duration(report.provenance.duration_ns),
        printable(report.tier.as_str()),
        count(flows)
    )
}

/// Writes the filter, if the report is filtered.
fn write_filter(text: &mut String, report: &Report) {
    if let Some(line) = filter_line(report) {
        wrap(text, "               ", &line);
    }
}

/// Returns the filter, and how much it excludes.
pub(crate) fn filter_line(report: &Report) -> Option<String> {
    let filtered = report.filter.as_ref()?;
    let plural = if filtered.omitted_flows == 1 { "" } else { "s" };
    let mut line = format!(
        "filter `{}` excludes {} flow{plural}, {}",
        printable(&filtered.expression),
        count(filtered.omitted_flows),
        size(filtered.omitted_payload)
    );
    if filtered.undecided_flows > 0 {
        let _ = write!(
            line,
            "; {} of them, {}, may match: folded rows have discarded their names",
            count(filtered.undecided_flows),
            size(filtered.undecided_payload)
        );
    }
    Some(line)
}

/// Returns the scope of the trace.
pub(crate) fn scope(report: &Report) -> String {
    let scope = &report.scope;
    let mut text = match &scope.kind {
        ScopeKind::Machine => "the whole machine".to_owned(),
        ScopeKind::Command => format!("`{}`", printable(&scope.command.join(" "))),
        ScopeKind::Processes => {
            let pids: Vec<String> = scope.pids.iter().map(ToString::to_string).collect();
            format!("pid {}", pids.join(", "))
        }
        ScopeKind::Cgroup => format!("cgroup {}", printable(scope.cgroup.as_deref().unwrap_or("?"))),
        ScopeKind::Library => "the bufferlists of one process".to_owned(),
        ScopeKind::NotStated => "scope not stated".to_owned(),
        ScopeKind::Other(word) => printable(word).into_owned(),
    };
    if let Some(user) = &scope.user {
        let _ = write!(text, " as {}", printable(user));
    }
    if scope.follow && matches!(scope.kind, ScopeKind::Command | ScopeKind::Processes) {
        text.push_str(" and descendants");
    }
    text
}

/// Writes the assertions, if there are any.
fn write_assertions(text: &mut String, report: &Report) {
    if report.assertions.is_empty() {
        return;
    }
    text.push_str("\nassertions\n");
    for assertion in &report.assertions {
        let outcome = match &assertion.outcome {
            AssertionOutcome::Passed => "passed",
            AssertionOutcome::Failed => "failed",
            AssertionOutcome::Inconclusive => "undecided",
            other @ AssertionOutcome::Other(_) => other.as_str(),
        };
        let first = format!("  {:<9}  ", printable(outcome));
        let (rule, found) = (printable(&assertion.rule), printable(&assertion.finding));
        wrap(text, &first, &format!("{rule}: {found}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::{assert_fits, assert_snapshot, nginx};

    #[test]
    fn report_of_a_server_matches_snapshot() {
        let mut of = nginx();
        let text = report_text(&of);
        assert_fits(&text);
        assert_snapshot(&text, "nginx.txt");
        of.loss.recursion_misses = 3;
        assert!(report_text(&of).contains("3 records LOST"));
    }

    #[test]
    fn empty_report_has_no_table_and_no_percentage() {
        let mut of = nginx();
        of.flows.clear();
        of.processes.clear();
        of.summarize();
        let text = report_text(&of);
        assert!(text.starts_with("NO PAYLOAD DELIVERED   no payload"), "{text}");
        assert!(!text.contains("bytes       moved") && !text.contains('%'), "{text}");
    }

    #[test]
    fn hostile_names_cannot_control_the_terminal_or_exceed_the_width() {
        let mut of = nginx();
        let nasty = format!("/srv/\u{1b}[2J\r\n{}/x", "long".repeat(60));
        for flow in &mut of.flows {
            flow.from.name.clone_from(&nasty);
            flow.to.name.clone_from(&nasty);
            flow.process.clone_from(&nasty);
        }
        of.processes
            .iter_mut()
            .for_each(|process| process.name.clone_from(&nasty));
        let text = report_text(&of);
        assert!(!text.contains(['\u{1b}', '\r']), "{text}");
        assert_fits(&text);
    }
}
