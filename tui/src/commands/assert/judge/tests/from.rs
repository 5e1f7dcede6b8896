//! Tests of rules with `--from`, of ends without an address, and of notes.

use super::named_files::{between, copy, end, source};
use super::*;

fn sink() -> Endpoint {
    end(EndpointKind::Tcp, "10.0.0.7:80")
}

fn good() -> Flow {
    between(source(), sink(), Account::new(MIB, 0, 0), &[])
}

#[test]
fn bytes_of_the_source_that_may_go_on_by_another_way_leave_it_open() {
    let mut rule = criteria("tcp:*:80", Some(Limit::Bytes(0)));
    rule.from = vec![Pattern::parse("file:/srv/*").unwrap()];
    let memory = || end(EndpointKind::Memory, "");
    let unix = |name: &str| end(EndpointKind::Unix, name);
    let other = || end(EndpointKind::File, "/tmp/other");
    let ways = [
        vec![copy(source(), memory(), 5), copy(memory(), sink(), 4)],
        vec![
            copy(source(), other(), 5),
            between(other(), sink(), Account::new(4, 0, 0), &[]),
        ],
        vec![
            copy(source(), unix("[1]"), 5),
            copy(unix("[2]"), memory(), 5),
            copy(memory(), sink(), 4),
        ],
    ];
    for way in ways {
        let flows = [vec![good()], way].concat();
        let judgment = judge(&report(flows.clone()), &rule, None);
        assert_eq!(judgment.outcome(), AssertionOutcome::Inconclusive, "{flows:?}");
        let open = judgment.open.expect("a reason");
        assert!(
            open.contains("5 bytes of these sources") && open.contains("and 4 bytes from there"),
            "{open}"
        );
        // Within the limit even if all of them are the sources' own.
        let mut loose = rule.clone();
        loose.max_copied = Some(Limit::Bytes(4));
        let judgment = judge(&report(flows.clone()), &loose, None);
        assert_eq!(judgment.outcome(), AssertionOutcome::Passed);
        assert!(
            judgment.rules[0].finding.contains("judge without --from"),
            "{judgment:?}"
        );
        loose.from.clear();
        assert_eq!(outcome(flows, &loose), AssertionOutcome::Passed, "judged directly");
    }
    // Headers from memory are no bytes of a source that nothing read, nor of one that only the
    // receiver read.
    let received = copy(end(EndpointKind::Tcp, "10.0.0.7:4000"), memory(), 5);
    let elsewhere = copy(end(EndpointKind::File, "/etc/conf"), memory(), 5);
    let flows = vec![good(), copy(memory(), sink(), 4), received, elsewhere];
    let judgment = judge(&report(flows), &rule, None);
    assert_eq!(judgment.outcome(), AssertionOutcome::Passed);
    let finding = &judgment.rules[0].finding;
    assert!(finding.contains("4 bytes from memory are not judged"), "{finding}");
}

#[test]
fn nothing_but_ends_without_an_address_is_told() {
    let rule = criteria("udp::7810", Some(Limit::Bytes(0)));
    let sent = copy(end(EndpointKind::Memory, ""), end(EndpointKind::Udp, "[4711]"), 100);
    let judgment = judge(&report(vec![sent]), &rule, None);
    assert_eq!(judgment.outcome(), AssertionOutcome::Inconclusive);
    let finding = &judgment
        .rules
        .iter()
        .find(|rule| rule.rule.starts_with("something"))
        .expect("a rule")
        .finding;
    assert!(
        finding.starts_with("100 bytes went to ends of which it is not known"),
        "{finding}"
    );
    let spaced = criteria("udp::7810 ", Some(Limit::Bytes(0)));
    let judgment = judge(&report(vec![good()]), &spaced, None);
    assert!(judgment.open.expect("a reason").contains("white space"));
}

#[test]
fn buffered_bytes_in_a_file_of_a_direct_rule_are_told() {
    let direct = end(EndpointKind::DirectFile, "/data/b");
    let buffered = end(EndpointKind::File, "/data/b");
    let flows = vec![
        between(source(), direct, Account::new(MIB, 0, 0), &[]),
        copy(end(EndpointKind::Memory, ""), buffered, 7),
    ];
    let judgment = judge(
        &report(flows.clone()),
        &criteria("direct_file:/data/b", Some(Limit::Bytes(0))),
        None,
    );
    assert_eq!(judgment.outcome(), AssertionOutcome::Passed);
    assert!(
        judgment.rules[0]
            .finding
            .contains("7 bytes reached the same files by descriptors of another kind"),
        "{judgment:?}"
    );
    assert_eq!(
        outcome(flows, &criteria("file:/data/b", Some(Limit::Bytes(0)))),
        AssertionOutcome::Failed
    );
}
