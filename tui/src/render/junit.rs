//! `JUnit` XML, as CI systems read it: a test case for each assertion, or for each row of a run.

use std::fmt::Write as _;

use zctrace_report::format::{headline, size};
use zctrace_report::{AssertionOutcome, Flow, Report, Subcommand};

use super::{contradictions, notes};

/// Result of a test case.
enum TestCase {
    Passed,
    Failed(String),
    /// Neither passed nor failed. An error, because CI systems count a skipped test as passed.
    Undecided(String),
    Skipped(String),
}

/// Renders a report as XML.
pub(crate) fn junit(report: &Report) -> String {
    let of_assertions = !report.assertions.is_empty();
    let mut cases: Vec<(String, TestCase)> = if of_assertions {
        report.assertions.iter().map(assertion_case).collect()
    } else {
        report.flows.iter().map(|flow| flow_case(report, flow)).collect()
    };
    if let Some(doubt) = contradictions(report) {
        let case = TestCase::Undecided(format!("inconclusive: {doubt}"));
        cases.push(("the report keeps its own rules".to_owned(), case));
    }
    let suite = match &report.provenance.command {
        Some(made_for) => format!("zctrace {made_for}"),
        None => format!("zctrace {}", Subcommand::Run),
    };
    let count = |of: fn(&TestCase) -> bool| cases.iter().filter(|(_, case)| of(case)).count();
    let failures = count(|case| matches!(case, TestCase::Failed(_)));
    let errors = count(|case| matches!(case, TestCase::Undecided(_)));
    let skipped = count(|case| matches!(case, TestCase::Skipped(_)));
    let (tests, suite) = (cases.len(), escape(&suite));
    let seconds = report.provenance.duration_ns / 1_000_000_000;
    let milliseconds = report.provenance.duration_ns / 1_000_000 % 1000;
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        xml,
        "<testsuites name=\"zctrace\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">"
    );
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{suite}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" \
         time=\"{seconds}.{milliseconds:03}\">"
    );
    for (name, case) in &cases {
        let open = format!("    <testcase classname=\"{suite}\" name=\"{}\"", escape(name));
        let _ = match case {
            TestCase::Passed => writeln!(xml, "{open}/>"),
            TestCase::Failed(why) => writeln!(
                xml,
                "{open}>\n      <failure message=\"{0}\">{0}</failure>\n    </testcase>",
                escape(why)
            ),
            TestCase::Undecided(why) => writeln!(
                xml,
                "{open}>\n      <error message=\"{0}\">{0}</error>\n    </testcase>",
                escape(why)
            ),
            TestCase::Skipped(why) => writeln!(
                xml,
                "{open}>\n      <skipped message=\"{}\"/>\n    </testcase>",
                escape(why)
            ),
        };
    }
    let lines: Vec<String> = std::iter::once(headline(report)).chain(notes(report)).collect();
    let lines: Vec<String> = lines.iter().map(|line| escape(line)).collect();
    let _ = writeln!(xml, "    <system-out>{}</system-out>", lines.join("\n"));
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn assertion_case(assertion: &zctrace_report::Assertion) -> (String, TestCase) {
    let case = match &assertion.outcome {
        AssertionOutcome::Passed => TestCase::Passed,
        AssertionOutcome::Failed => TestCase::Failed(assertion.finding.clone()),
        AssertionOutcome::Inconclusive => TestCase::Undecided(format!("inconclusive: {}", assertion.finding)),
        AssertionOutcome::Other(word) => TestCase::Undecided(format!("{word}: {}", assertion.finding)),
    };
    (assertion.rule.clone(), case)
}

/// Returns the test case of a flow. Copied bytes fail it, and unknown bytes skip it. Flows into
/// memory pass, because they are not judged.
fn flow_case(report: &Report, flow: &Flow) -> (String, TestCase) {
    let name = format!("{}: {} → {}", flow.id, flow.from, flow.to);
    let account = &flow.account;
    let causes: Vec<String> = flow
        .reasons
        .iter()
        .map(|cause| {
            let meaning = report.explanation(&cause.code).map(|meaning| meaning.description);
            format!(
                "{} ({}): {}",
                cause.code,
                size(cause.bytes),
                meaning.unwrap_or_default()
            )
        })
        .collect();
    let of = size(account.delivered());
    let case = match flow.mark() {
        _ if flow.ends_in_memory() => TestCase::Passed,
        'x' => TestCase::Failed(format!(
            "{} of {of} were copied. {}",
            size(account.copied),
            causes.join(" ")
        )),
        '?' => TestCase::Skipped(format!(
            "inconclusive: {} of {of} are unknown. {}",
            size(account.unknown),
            causes.join(" ")
        )),
        _ => TestCase::Passed,
    };
    (name, case)
}

/// Escapes text for XML 1.0, which does not allow some characters even if they are escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // Control characters can control a terminal, and a line break in an attribute is read
            // as a space.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use zctrace_report::Assertion;

    use super::*;
    use crate::render::fixtures::{assert_snapshot, nginx};

    #[test]
    fn run_has_one_test_case_per_row() {
        assert_snapshot(&junit(&nginx()), "junit.xml");
    }

    #[test]
    fn assertions_are_test_cases_and_xml_is_escaped() {
        let mut report = nginx();
        report.assertions = vec![
            Assertion::new(
                "at most 0 copied on the path to file:\"<&'>\"",
                AssertionOutcome::Passed,
                "",
            ),
            Assertion::new("b", AssertionOutcome::Failed, "\u{1b}[2J]]>\u{0}\n<!-- \u{ffff} ä"),
            Assertion::new("c", AssertionOutcome::Inconclusive, "x"),
        ];
        let xml = junit(&report);
        assert!(
            xml.contains("tests=\"3\" failures=\"1\" errors=\"1\" skipped=\"0\""),
            "{xml}"
        );
        assert!(xml.contains("file:&quot;&lt;&amp;&apos;&gt;&quot;\"/>"), "{xml}");
        assert!(
            xml.contains("\u{fffd}[2J]]&gt;\u{fffd}\u{fffd}&lt;!-- \u{fffd} ä"),
            "{xml}"
        );
        assert_balanced(&xml);
    }

    /// Asserts that the tags are balanced.
    fn assert_balanced(xml: &str) {
        let mut open = Vec::new();
        for piece in xml.split('<').skip(1) {
            let (tag, _) = piece.split_once('>').expect("a tag ends");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{xml}");
            } else if !tag.ends_with('/') && !tag.starts_with('?') {
                open.push(tag.split(' ').next().expect("a name"));
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}
