//! Tests of the filter language, with valid and invalid filters.

use proptest::prelude::*;
use zctrace_report::{Account, Call, Cause, Endpoint, EndpointKind, Flow, Verdict};

use super::expression::{Comparison, Expression, NumericField, Side, Test, VERDICTS};
use super::*;
use crate::render::fixtures::nginx;

fn ids(text: &str) -> Vec<u64> {
    let filter = Filter::parse(text).unwrap_or_else(|mistake| panic!("{text}: {mistake}"));
    let report = nginx();
    report
        .flows
        .iter()
        .filter(|flow| filter.matches(flow) == Match::Yes)
        .map(|flow| flow.id)
        .collect()
}

#[test]
fn selects_flows_by_their_fields() {
    // 1 video → :80 moved, 2 memory → :443 copied, 3 memory → :80 copied, 4 video → :80 queued, 5 →
    // null, 6 :443 → memory.
    for (text, fit) in [
        ("", vec![1, 2, 3, 4, 5, 6]),
        ("to=tcp", vec![1, 2, 3, 4]),
        ("to=tcp::443", vec![2]),
        ("port=443", vec![2, 6]),
        ("from=memory port=80", vec![3]),
        ("copied>0 and not to=memory", vec![2, 3]),
        ("copied>0 to!=memory", vec![2, 3]),
        ("bytes >= 2G", vec![1, 2]),
        ("bytes>=2G unknown=0 moved>0", vec![1]),
        ("verdict=unknown or verdict=nothing", vec![4, 5]),
        ("code=zc1*", vec![2, 3, 6]),
        ("code=ZC31", vec![1]),
        ("call=send*", vec![1, 4]),
        ("path=/srv/*", vec![1, 4, 5]),
        ("kind=null", vec![5]),
        // The arrow is the screen's, not the flow's.
        ("VIDEO (\"→\" or sendfile)", vec![1, 4]),
        ("zc90", vec![4]),
        ("flow=2 || flow=4", vec![2, 4]),
        ("!(flow=2 or flow=4) && process=nginx", vec![1, 3, 5, 6]),
        ("not not flow=2", vec![2]),
        ("excluded>0", vec![5]),
        ("peeked>=64K", vec![1]),
        ("calls<10", vec![5]),
        ("process=ng?nx flow<=2", vec![1, 2]),
        ("process=apache", vec![]),
    ] {
        assert_eq!(ids(text), fit, "{text}");
    }
}

#[test]
fn discarded_fields_are_unknown_in_both_directions() {
    let mut flow = Flow::new(
        Endpoint::new(EndpointKind::File, "/srv/video/*"),
        Endpoint::new(EndpointKind::Various, ""),
    );
    flow.folded = 7;
    flow.set_account(Account::new(7, 0, 0));
    for (text, fit) in [
        ("path=/srv/video/a", Match::Unknown),
        ("path=/srv/*", Match::Yes),
        ("from=file:/srv/*", Match::Yes),
        ("from=file:/etc/*", Match::No),
        ("to=tcp", Match::Unknown),
        ("not to=tcp", Match::Unknown),
        ("to=tcp or from=file", Match::Yes),
        ("to=tcp and from=tcp", Match::No),
        ("port=80", Match::Unknown),
        ("process=nginx", Match::Unknown),
        ("pid=1", Match::Unknown),
        ("call=read", Match::Unknown),
        ("nginx", Match::No),
    ] {
        assert_eq!(Filter::parse(text).unwrap().matches(&flow), fit, "{text}");
    }
}

#[test]
fn errors_name_column_and_expectation() {
    for (text, says) in [
        ("to=", "column 4: found the end, expected a value for to"),
        (
            "to=tcq",
            "column 4: found `tcq`, expected an endpoint, KIND or KIND:GLOB (`tcq` is not a kind of endpoint; use one of",
        ),
        ("a and", "column 6: found the end, expected a test"),
        ("(a or b", "column 8: found the end, expected `)`"),
        ("a) b", "column 2: found `)`, expected `and`, `or` or the end"),
        (
            "prozess=x",
            "column 1: found `prozess`, expected a field: process, from",
        ),
        ("ä process<x", "column 10: found `<`, expected `=` or `!=`"),
        ("bytes>x", "column 7: found `x`, expected a number of bytes"),
        ("pid=-1", "column 5: found `-1`, expected a whole number"),
        ("verdict=fine", "column 9: found `fine`, expected one of moved, copied"),
        (
            "\"abc",
            "column 5: found the end, expected the quote that ends the one at column 1",
        ),
        ("path=\"a\\x\"", "column 8: found \\x, expected one of"),
        ("path=\"\\u{d800}\"", "column 7: found \\u{d800, expected"),
        (
            "path=\"\"",
            "column 6: found ``, expected a value for path that is not empty",
        ),
        ("\"\"", "column 1: found an empty text"),
        ("= a", "column 1: found `=`, expected a test"),
        ("\u{1b}[2J=a", "found `\u{fffd}[2J`, expected a field"),
    ] {
        let mistake = Filter::parse(text).expect_err(text).to_string();
        assert!(mistake.contains(says), "{text}: {mistake}");
        assert!(!mistake.contains(char::is_control), "{mistake:?}");
    }
}

#[test]
fn length_and_depth_are_limited() {
    for text in [
        "(".repeat(4000),
        "not ".repeat(1000),
        "!".repeat(4000),
        "a ".repeat(2000),
        "x".repeat(100_000),
    ] {
        match Filter::parse(&text) {
            Ok(filter) => assert!(!filter.is_empty()),
            Err(mistake) => assert!(mistake.column > 0),
        }
    }
    let deep = format!("{}a{}", "(".repeat(60), ")".repeat(60));
    assert_eq!(Filter::parse(&deep), Filter::parse("a"));
}

#[test]
fn filtered_report_is_consistent_and_marked() {
    let mut report = nginx();
    Filter::parse("to=tcp::443 or path=/srv/video/a.mp4")
        .unwrap()
        .apply(&mut report);
    assert_eq!(report.check(), Ok(()));
    assert_eq!(report.flows.iter().map(|flow| flow.id).collect::<Vec<_>>(), [2]);
    assert_eq!(report.totals().payload, report.flows[0].payload);
    let filtered = report.filter.clone().expect("it says so");
    // Each of the two folded rows of videos may be that of the video searched for, or from a client
    // whose port is 443; the flow to /dev/null is one flow, with its own name.
    assert_eq!(
        (filtered.omitted_flows, filtered.undecided_flows),
        (1912 + 1912 + 3 + 1 + 300, 1912 + 1912 + 3)
    );
    let text = crate::render::report_text(&report);
    assert!(text.contains("delivered and matching the filter"), "{text}");
    assert!(
        text.contains("may match: folded rows have discarded their names"),
        "{text}"
    );
    Filter::parse("process=nginx").unwrap().apply(&mut report);
    assert_eq!(
        report.filter.unwrap().expression,
        "(to=tcp::443 or path=/srv/video/a.mp4) and (process=nginx)"
    );
}

#[test]
fn process_totals_follow_the_remaining_flows() {
    let mut report = nginx();
    report.flows[1].pid = Some(813);
    Filter::parse("port=443").unwrap().apply(&mut report);
    assert_eq!(report.processes.len(), 1);
    let process = &report.processes[0];
    assert_eq!((process.pid, process.payload), (813, report.flows[0].payload));
    assert_eq!(report.check(), Ok(()));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9/.:*?]{1,12}",
        Just("and".to_owned()),
        Just("NOT".to_owned()),
        Just("||".to_owned()),
        "[ -~]{1,12}",
        "\\PC{1,8}",
        "[\\x00-\\x1f\"\\\\(){}=<>!\u{202e}\u{a0}]{1,6}",
    ]
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> + use<T> {
    proptest::sample::select(all.to_vec())
}

fn end() -> impl Strategy<Value = Pattern> {
    (
        one_of(&["file", "socket", "device", "tcp", "direct_file", "memory"]),
        proptest::option::of(text()),
    )
        .prop_map(|(kind, glob)| {
            let pattern = glob.map_or_else(|| kind.to_owned(), |glob| format!("{kind}:{glob}"));
            Pattern::parse(&pattern).expect("a pattern")
        })
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        text().prop_map(Test::Word),
        text().prop_map(Test::Process),
        text().prop_map(Test::Path),
        text().prop_map(Test::Call),
        text().prop_map(Test::Code),
        (one_of(&[Side::From, Side::To, Side::Either]), end()).prop_map(|(side, end)| Test::End(side, end)),
        one_of(&VERDICTS).prop_map(Test::Verdict),
        (one_of(NumericField::ALL), one_of(Comparison::ALL), any::<u64>())
            .prop_map(|(n, c, value)| Test::Number(n, c, value)),
    ]
}

fn expression() -> impl Strategy<Value = Expression> {
    test().prop_map(Expression::Test).prop_recursive(6, 40, 4, |inner| {
        let list = || proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            inner.clone().prop_map(|inner| Expression::Not(Box::new(inner))),
            list().prop_map(Expression::and),
            list().prop_map(Expression::or),
        ]
    })
}

fn flow() -> impl Strategy<Value = Flow> {
    (text(), text(), text(), any::<[u32; 3]>(), 1..3_u64).prop_map(|(from, to, process, parts, folded)| {
        let mut flow = Flow::new(
            Endpoint::new(EndpointKind::File, from),
            Endpoint::new(EndpointKind::Tcp, to),
        );
        flow.process = process;
        flow.folded = folded;
        flow.call_names = vec![Call::Splice];
        flow.set_account(Account::new(parts[0].into(), parts[1].into(), parts[2].into()));
        flow.reasons = vec![Cause::new(zctrace_contract::Reason::FromMemory, 1, 1)];
        flow
    })
}

proptest! {
    #[test]
    fn display_and_parse_round_trip(expression in expression(), flow in flow()) {
        let filter = Filter(Some(expression));
        let printed = filter.to_string();
        prop_assume!(printed.len() <= 4096);
        prop_assert!(!printed.contains(char::is_control), "{:?}", printed);
        let again = Filter::parse(&printed);
        prop_assert_eq!(again.as_ref(), Ok(&filter), "{}", printed);
        prop_assert_eq!(again.unwrap().matches(&flow), filter.matches(&flow));
    }

    #[test]
    fn any_text_parses_or_fails_cleanly(text in prop_oneof![
        "\\PC{0,40}",
        "(to|from|bytes|and|or|not|\\(|\\)|=|!|<|>|\"|\\\\|:| |a|\\*|1K){0,30}",
    ]) {
        match Filter::parse(&text) {
            Ok(filter) => {
                let printed = filter.to_string();
                if printed.len() <= 4096 {
                    prop_assert_eq!(Filter::parse(&printed), Ok(filter), "{}", printed);
                }
            }
            Err(mistake) => {
                prop_assert!((1..=text.chars().count() + 1).contains(&mistake.column), "{}", mistake);
                prop_assert!(!mistake.to_string().contains(char::is_control));
            }
        }
    }

    #[test]
    fn negation_inverts_a_match(expression in expression(), flow in flow()) {
        let opposite = Expression::Not(Box::new(expression.clone()));
        let (is, is_not) = (Filter(Some(expression)).matches(&flow), Filter(Some(opposite)).matches(&flow));
        prop_assert_eq!(is == Match::Yes, is_not == Match::No);
        prop_assert_eq!(is == Match::Unknown, is_not == Match::Unknown);
    }
}

#[test]
fn parses_every_verdict() {
    for verdict in VERDICTS {
        let of = |verdict: Verdict| Filter::parse(&format!("verdict={verdict}"));
        assert!(of(verdict).is_ok());
    }
}

#[test]
fn matches_pipes_and_log_lines_by_their_fields() {
    use zctrace_report::Pipe;

    let mut pipe = Pipe::new(90_121, 16);
    (pipe.calls, pipe.bytes) = (7, Some(4096));
    pipe.pids = vec![811, 812];
    pipe.processes = vec!["nginx".to_owned(), "worker".to_owned()];
    let mut unknown = Pipe::new(4, 16);
    unknown.pids = vec![1, 2, 3, 4, 5, 6, 7, 8];
    let filter = |text: &str| Filter::parse(text).expect(text);
    for (text, known, not_known) in [
        ("process=nginx", Match::Yes, Match::Unknown),
        ("process=n*x pid=812", Match::Yes, Match::Unknown),
        ("process=curl", Match::No, Match::Unknown),
        ("not process=curl", Match::Yes, Match::Unknown),
        ("pid=8", Match::No, Match::Yes),
        ("pid=9", Match::No, Match::Unknown),
        ("bytes>=4K calls<8", Match::Yes, Match::Unknown),
        ("calls>7", Match::No, Match::No),
        ("NGIN or 9012", Match::Yes, Match::No),
        ("", Match::Yes, Match::Yes),
    ] {
        assert_eq!(filter(text).field_missing_for_pipes(), None, "{text}");
        assert_eq!(filter(text).match_pipe(&pipe), known, "{text}");
        assert_eq!(filter(text).match_pipe(&unknown), not_known, "{text}");
    }
    for (text, pipes, lines) in [
        ("nginx and not (curl or wget)", None, None),
        ("nginx pid=3", None, Some("pid")),
        ("process=nginx (to=tcp or calls>3)", Some("to"), Some("process")),
        ("kind=pipe", Some("kind"), Some("kind")),
        ("copied>0 verdict=moved", Some("copied"), Some("copied")),
        ("flow=3", Some("flow"), Some("flow")),
    ] {
        assert_eq!(filter(text).field_missing_for_pipes(), pipes, "{text}");
        assert_eq!(filter(text).field_missing_for_log(), lines, "{text}");
    }
    assert_eq!(
        filter("Turned not nginx").match_log_line("turned copied: a"),
        Match::Yes
    );
    assert_eq!(filter("\"copied: b\"").match_log_line("turned copied: a"), Match::No);
}
