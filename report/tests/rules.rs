//! Tests of `Report::check`: valid reports pass, and every violated rule is found.

mod common;

use common::{demo, run};
use proptest::prelude::*;
use serde_json::{Value, json};
use zctrace_contract::Reason;
use zctrace_report::{Account, CHECK_RULES, Cause, Endpoint, EndpointKind, Flow, Peek, Report, Rule, Scope, Tier};

/// Change to a report's JSON: a JSON pointer and the new value.
type Plant = (&'static str, Value);

/// Returns the report with changes made to its JSON.
fn planted(report: &Report, plants: &[Plant]) -> Report {
    let mut value: Value = serde_json::from_str(&report.to_json()).unwrap();
    for (pointer, planted) in plants {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        match value.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")) {
            Value::Object(object) => drop(object.insert(member.to_owned(), planted.clone())),
            Value::Array(list) => list[member.parse::<usize>().unwrap()] = planted.clone(),
            other => panic!("{pointer} is in {other}"),
        }
    }
    Report::from_json(&value.to_string()).unwrap()
}

/// Asserts that a violation of the rule named `rule` is found at `at`, and returns its text.
fn assert_found(report: &Report, at: &str, rule: &str) -> String {
    let found = report.check().expect_err(&format!("{rule} at {at} must be found"));
    let hit = found
        .iter()
        .find(|v| v.at == at && format!("{:?}", v.rule).starts_with(rule));
    hit.unwrap_or_else(|| panic!("no {rule} at {at} in {found:#?}"))
        .to_string()
}

#[test]
fn each_rule_finds_the_reports_that_break_it() {
    let good = run();
    assert_eq!(good.check(), Ok(()));
    let examples = examples();
    for rule in CHECK_RULES {
        let mut tried = 0;
        for (changes, at, _) in examples.iter().filter(|(_, _, name)| *name == rule.name) {
            let broken = planted(&good, changes);
            let found = rule.violations(&broken);
            let hit = found.iter().find(|violation| violation.at == *at);
            let text = hit
                .unwrap_or_else(|| panic!("{}: nothing at {at} in {found:#?}", rule.name))
                .to_string();
            assert!(
                text.starts_with(&format!("{at}: ")) && text.len() > at.len() + 10,
                "{text}"
            );
            let all = broken.check().expect_err("a broken rule breaks the check");
            assert!(found.iter().all(|violation| all.contains(violation)), "{all:#?}");
            tried += 1;
        }
        assert!(tried > 0, "rule {:?} has no example: add one to examples()", rule.name);
        assert!(rule.requirement.ends_with('.'), "{}", rule.requirement);
    }
    for (_, _, name) in &examples {
        let rules = CHECK_RULES.iter().filter(|rule| rule.name == *name).count();
        assert_eq!(rules, 1, "{rules} rules are named {name:?}");
    }
}

/// Returns violations of every rule. Each one consists of changes to the report of `run`, the place
/// of the violation, and the name of the rule.
#[allow(clippy::too_many_lines)] // A table.
fn examples() -> Vec<(Vec<Plant>, &'static str, &'static str)> {
    vec![
        (vec![("/flows/0/payload", json!(1))], "flows[0]", "conservation"),
        (vec![("/edges/0/bytes", json!(1))], "edges[0]", "conservation"),
        (vec![("/processes/0/copied", json!(1))], "processes[0]", "conservation"),
        (vec![("/totals/payload", json!(1))], "totals", "conservation"),
        (vec![("/totals/moved", json!(1))], "totals", "totals"),
        (vec![("/into_memory/copied", json!(1))], "into_memory", "totals"),
        (vec![("/share/moved", json!(1.0))], "share", "share"),
        (vec![("/share/unknown", json!(0.0))], "share", "share"),
        (vec![("/share", Value::Null)], "share", "share"),
        (vec![("/flows/1/copy_bytes", json!(17))], "flows[1]", "copied bytes"),
        (vec![("/flows/0/copy_bytes", json!(17))], "flows[0]", "copied bytes"),
        (
            vec![("/flows/1/copies_per_byte", json!(0.5))],
            "flows[1]",
            "copies per byte",
        ),
        (
            vec![("/flows/1/copies_per_byte", Value::Null)],
            "flows[1]",
            "copies per byte",
        ),
        (
            vec![("/flows/1/reasons/0/bytes", json!(1_u64 << 40))],
            "flows[1]",
            "reasons exceed",
        ),
        (
            vec![("/flows/2/reasons/0/bytes", json!(1_400_001))],
            "flows[2]",
            "reasons exceed",
        ),
        (
            vec![("/flows/2/reasons/0/bytes", json!(1_399_999))],
            "flows[2]",
            "unexplained",
        ),
        (vec![("/flows/2/reasons", json!([]))], "flows[2]", "unexplained"),
        (vec![("/flows/1/reasons", json!([]))], "flows[1]", "unexplained"),
        (
            vec![("/flows/2/reasons/0/code", json!("ZC14"))],
            "flows[2]",
            "reasons exceed",
        ),
        (
            vec![("/flows/2/reasons/0/code", json!("ZC95"))],
            "flows[2].reasons[0]",
            "lost records",
        ),
        (
            vec![("/flows/0/certificate/hops/1/segments/bytes", json!(1_u64 << 40))],
            "flows[0].certificate.hops[1].segments",
            "segment names",
        ),
        (
            vec![("/flows/0/certificate/hops/1/segments/agreement", json!("agrees"))],
            "flows[0].certificate.hops[1].segments",
            "segment names",
        ),
        (
            vec![("/flows/0/certificate/hops/1/segments/detail", json!(""))],
            "flows[0].certificate.hops[1].segments",
            "journal agreement",
        ),
        (vec![("/segments/0/flow", json!(9))], "segments[0]", "references"),
        (
            vec![("/segments/0/ranges/0/start", json!(1_u64 << 40))],
            "segments[0]",
            "ranges",
        ),
        (
            vec![("/segments/0/agreement", json!("disagrees"))],
            "segments[0]",
            "journal agreement",
        ),
        (
            vec![("/flows/1/reasons/0/code", json!("because"))],
            "flows[1].reasons[0]",
            "reason codes",
        ),
        (
            vec![("/flows/0/certificate", Value::Null)],
            "flows[0]",
            "moved needs a certificate",
        ),
        (
            vec![("/flows/0/certificate/level", json!("counters"))],
            "flows[0].certificate",
            "proof",
        ),
        (
            vec![("/flows/0/certificate/hops/1/custody", json!("broken"))],
            "flows[0].certificate",
            "proof",
        ),
        (
            vec![("/flows/0/certificate/hops/1/custody", json!("not_observed"))],
            "flows[0].certificate",
            "proof",
        ),
        (
            vec![("/flows/0/certificate/hops/0/custody", json!("assumed"))],
            "flows[0].certificate.hops[0]",
            "custody",
        ),
        (
            vec![("/flows/2/certificate/hops/1/station/kind", json!("user_page"))],
            "flows[2].certificate.hops[1]",
            "custody",
        ),
        (
            vec![("/flows/0/certificate/hops/1/proof", json!("contract"))],
            "flows[0].certificate",
            "proof",
        ),
        (
            vec![("/flows/0/certificate/digest/equal", json!(1))],
            "flows[0].certificate",
            "proof",
        ),
        (
            vec![("/flows/0/certificate/horizon", json!(""))],
            "flows[0].certificate",
            "certificate",
        ),
        (
            vec![("/flows/2/certificate/bytes", json!(1_u64 << 40))],
            "flows[2].certificate",
            "certificate",
        ),
        (
            vec![("/flows/0/folded", json!(1))],
            "flows[0].certificate",
            "certificate",
        ),
        (vec![("/flows/0/folded", json!(0))], "flows[0]", "flow numbers"),
        (vec![("/flows/1/id", json!(1))], "flows[1]", "flow numbers"),
        (vec![("/flows/1/id", json!(0))], "flows[1]", "flow numbers"),
        (vec![("/flows/0/path", json!(["file", "pipe"]))], "flows[0]", "path"),
        (vec![("/edges/0/flow", json!(99))], "edges[0]", "references"),
        (
            vec![("/edges/0/reasons", json!([{"code": "ZC20", "bytes": 1}]))],
            "edges[0]",
            "reasons exceed",
        ),
        (
            vec![("/loss/programs", json!([{"program": "xmit", "sequence_gaps": 1}]))],
            "loss",
            "losses",
        ),
        (
            vec![("/overhead/per_syscall_ns", json!(-1.0))],
            "overhead.per_syscall_ns",
            "overhead",
        ),
        (
            vec![("/overhead/reader_cpu_ns", json!(1_u64 << 60))],
            "overhead.reader_cpu_ns",
            "overhead",
        ),
    ]
}

#[test]
fn planted_peeks_are_found() {
    let good = demo();
    assert_found(
        &planted(&good, &[("/peeks/0/flow", json!(9))]),
        "peeks[0]",
        "NoSuchFlow",
    );
    assert_found(&planted(&good, &[("/peeks/0/code", json!("ZC"))]), "peeks[0]", "Code");
    assert_found(
        &planted(&good, &[("/peeks/0/range/start", json!(65_537))]),
        "peeks[0]",
        "Range",
    );
}

#[test]
fn a_share_of_nothing_is_refused() {
    let mut empty = Report::new(Tier::L, Scope::default());
    empty.finish(10);
    assert_eq!((empty.check(), empty.share()), (Ok(()), None));
    let whole = json!({"moved": 1.0, "copied": 0.0, "unknown": 0.0});
    assert_found(&planted(&empty, &[("/share", whole)]), "share", "Share");
}

#[test]
fn at_tier_l_moved_needs_no_certificate_but_a_higher_tier_does() {
    let moved = demo();
    assert_eq!(moved.check(), Ok(()));
    assert_found(
        &planted(&moved, &[("/tier", json!("T0"))]),
        "flows[0]",
        "MovedWithoutCertificate",
    );
    let by_library = planted(&moved, &[("/tier", json!("T0")), ("/flows/0/tier", json!("L"))]);
    assert_eq!(by_library.check(), Ok(()));
}

#[test]
fn numbers_too_large_to_add_are_found_and_do_not_wrap() {
    let huge = [
        ("/flows/0/moved", json!(u64::MAX)),
        ("/flows/0/copied", json!(1_000_000_u64)),
    ];
    let says = assert_found(&planted(&demo(), &huge), "flows[0]", "Conservation");
    assert!(says.contains("18446744073710551615"), "{says}");
    let mut report = Report::new(Tier::L, Scope::default());
    for _ in 0..2 {
        let mut flow = Flow::new(
            Endpoint::new(EndpointKind::File, "a"),
            Endpoint::new(EndpointKind::File, "b"),
        );
        flow.set_account(Account::new(u64::MAX, 0, 0));
        report.add_flow(flow);
    }
    report.finish(10);
    assert_found(&report, "totals", "Totals");
}

/// Adding one byte to any number on which a sum, a share or a verdict depends must be found.
#[test]
fn whichever_byte_number_is_off_by_one_the_check_notices() {
    const COUNTED: [&str; 9] = [
        "payload",
        "moved",
        "copied",
        "unknown",
        "zero",
        "cloned",
        "discarded",
        "copy_bytes",
        "bytes",
    ];
    let mut tried = 0;
    for report in [demo(), run()] {
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        for list in ["/flows", "/edges", "/processes", "/totals", "/into_memory"] {
            let mut leaves = Vec::new();
            integers(value.pointer(list).unwrap(), list.to_owned(), &mut leaves);
            for (pointer, number) in leaves {
                let name = pointer.rsplit('/').next().unwrap();
                // Reasons may explain fewer bytes than copies wrote, and a certificate may cover
                // fewer bytes than the flow.
                let may_be_less = pointer.contains("/reasons/") || pointer.contains("/certificate/");
                if !COUNTED.contains(&name) || may_be_less {
                    continue;
                }
                let mut off = value.clone();
                *off.pointer_mut(&pointer).unwrap() = json!(number + 1);
                let off = Report::from_json(&off.to_string()).unwrap();
                assert!(off.check().is_err(), "{pointer} + 1 went unnoticed");
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "only {tried} numbers were tried");
}

fn integers(value: &Value, at: String, into: &mut Vec<(String, u64)>) {
    match value {
        Value::Object(object) => {
            for (name, inner) in object {
                integers(inner, format!("{at}/{name}"), into);
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                integers(inner, format!("{at}/{index}"), into);
            }
        }
        Value::Number(number) => into.extend(number.as_u64().map(|n| (at, n))),
        _ => {}
    }
}

fn any_end() -> impl Strategy<Value = Endpoint> {
    let kinds = prop_oneof![
        Just(EndpointKind::File),
        Just(EndpointKind::Tcp),
        Just(EndpointKind::Memory),
        Just(EndpointKind::Null),
        Just(EndpointKind::Other("vsock".to_owned()))
    ];
    (kinds, "(/[ab])?/[a-c]", proptest::option::of(1_u16..4)).prop_map(|(kind, name, port)| {
        let mut end = Endpoint::new(kind, name);
        end.port = port;
        end
    })
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let bytes = || prop_oneof![Just(0_u64), 1_u64..100, 0_u64..1 << 50];
    let accounts = (bytes(), bytes(), bytes(), bytes(), bytes());
    (any_end(), any_end(), accounts, 1_u64..4, "[xy]").prop_map(|(from, to, numbers, times, process)| {
        let (moved, copied, unknown, zero, new) = numbers;
        let mut flow = Flow::new(from, to);
        let mut account = Account::new(moved, copied, unknown);
        account.excluded.zero = zero;
        if new > 0 {
            account.excluded.other.insert("new".to_owned(), new);
        }
        flow.set_account(account);
        flow.process = process;
        flow.copy_bytes = copied * times;
        if copied > 0 {
            flow.reasons.push(Cause::new(Reason::KernelCopies, copied * times, 1));
        }
        if unknown > 0 {
            flow.reasons.push(Cause::new(Reason::NotShown, unknown, 1));
        }
        flow
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Folding into any number of rows must keep the rules, and preserve bytes, reasons, flow
    /// counts and references.
    #[test]
    fn folding_loses_nothing(flows in proptest::collection::vec(any_flow(), 0..40), rows in 0_usize..12) {
        let mut whole = Report::new(Tier::L, Scope::default());
        for flow in flows {
            let id = whole.add_flow(flow);
            whole.peeks.push(Peek { flow: Some(id), ..Peek::new(id, 1) });
        }
        let mut folded = whole.clone();
        whole.finish(usize::MAX);
        folded.finish(rows);
        prop_assert_eq!(whole.check(), Ok(()));
        prop_assert_eq!(folded.check(), Ok(()));
        prop_assert!(folded.flows.len() <= rows.max(2).min(whole.flows.len()));
        prop_assert_eq!(folded.totals(), whole.totals());
        prop_assert_eq!(folded.into_memory(), whole.into_memory());
        prop_assert_eq!(folded.share(), whole.share());
        let flows = |report: &Report| report.flows.iter().map(|flow| flow.folded).sum::<u64>();
        prop_assert_eq!(flows(&folded), whole.flows.len() as u64);
        for of in [Reason::KernelCopies, Reason::NotShown] {
            let explained = |report: &Report| -> u64 {
                let all = report.flows.iter().flat_map(|flow| &flow.reasons);
                all.filter(|cause| cause.code.reason() == Some(of)).map(|cause| cause.bytes).sum()
            };
            prop_assert_eq!(explained(&folded), explained(&whole));
        }
        // A peek refers to a row that has its flow's kind of endpoint, or to the row of the rest.
        for look in &folded.peeks {
            let row = folded.flow(look.flow.unwrap()).unwrap();
            let flow = whole.flow(look.bytes).unwrap();
            prop_assert!(row.to.kind == flow.to.kind || row.to.kind == EndpointKind::Various);
            prop_assert_eq!(row.ends_in_memory(), flow.ends_in_memory());
        }
    }

    /// A report that is written and read again is equal, including its fractions.
    #[test]
    fn any_report_survives_a_round_trip(flows in proptest::collection::vec(any_flow(), 0..8)) {
        let mut report = Report::new(Tier::L, Scope::default());
        for flow in flows {
            report.add_flow(flow);
        }
        report.finish(50);
        prop_assert_eq!(&Report::from_json(&report.to_json()).unwrap(), &report);
    }
}

#[test]
fn a_violation_says_its_rule_in_words() {
    let rule = Rule::Unexplained {
        class: "unknown",
        bytes: 7,
    };
    assert_eq!(rule.to_string(), "7 unknown bytes have no reason");
}
