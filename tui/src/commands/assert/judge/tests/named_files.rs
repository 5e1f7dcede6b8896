//! Tests of files that a rule names by their identity.

use super::*;

pub(super) fn end(kind: EndpointKind, name: &str) -> Endpoint {
    let mut end = Endpoint::new(kind, name);
    end.object = end.kind.is_file().then(|| format!("8:1:{}", name.len()));
    end
}

pub(super) fn between(from: Endpoint, to: Endpoint, account: Account, reasons: &[(Reason, u64)]) -> Flow {
    let mut flow = flow(from.kind.clone(), to.kind.clone(), account, reasons);
    (flow.from, flow.to) = (from, to);
    flow
}

pub(super) fn source() -> Endpoint {
    end(EndpointKind::File, "/srv/a")
}

pub(super) fn copy(from: Endpoint, to: Endpoint, bytes: u64) -> Flow {
    between(from, to, Account::new(0, bytes, 0), &[(Reason::IntoMemory, bytes)])
}

#[test]
fn file_of_a_rule_matches_whatever_its_name_is() {
    let mut rule = criteria("file:/data/b", Some(Limit::Bytes(0)));
    let elsewhere = end(EndpointKind::File, "/data/temporary");
    let object = elsewhere.object.clone().expect("an identity");
    let flows = || {
        vec![
            between(
                source(),
                end(EndpointKind::DirectFile, "/data/b"),
                Account::new(MIB, 0, 0),
                &[],
            ),
            copy(end(EndpointKind::Memory, ""), elsewhere.clone(), 7),
        ]
    };
    assert_eq!(outcome(flows(), &rule), AssertionOutcome::Passed);
    let pattern = rule.to[0].clone();
    let mut resolved = crate::commands::assert::files::Resolved::default();
    resolved.possible.insert(object.clone(), "it was renamed".to_owned());
    rule.files.of = vec![(pattern.clone(), resolved.clone())];
    let judgment = judge(&report(flows()), &rule, None);
    assert_eq!(judgment.outcome(), AssertionOutcome::Inconclusive);
    assert!(judgment.open.expect("a reason").contains("it was renamed"));
    resolved.certain.insert(object);
    rule.files.of = vec![(pattern, resolved)];
    assert_eq!(outcome(flows(), &rule), AssertionOutcome::Failed);
    rule.files.unseen_writers = vec!["it grew".to_owned()];
    let flows = || {
        vec![between(
            source(),
            end(EndpointKind::DirectFile, "/data/b"),
            Account::new(MIB, 0, 0),
            &[],
        )]
    };
    assert_eq!(outcome(flows(), &rule), AssertionOutcome::Inconclusive);
}

#[test]
fn call_of_unknown_length_on_a_file_of_the_rule_leaves_it_open() {
    let mut rule = criteria("file:/data/b", Some(Limit::Bytes(0)));
    let elsewhere = end(EndpointKind::File, "/data/temporary");
    let mut run = report(vec![between(
        source(),
        end(EndpointKind::DirectFile, "/data/b"),
        Account::new(MIB, 0, 0),
        &[],
    )]);
    run.coverage.not_covered.push(NotCovered {
        operation: "a loop device over a file".to_owned(),
        calls: Some(1),
        bytes: None,
        endpoint: Some(elsewhere.clone()),
    });
    assert_eq!(judge(&run, &rule, None).outcome(), AssertionOutcome::Passed);
    let mut resolved = crate::commands::assert::files::Resolved::default();
    resolved.certain.extend(elsewhere.object);
    rule.files.of = vec![(rule.to[0].clone(), resolved)];
    let judgment = judge(&run, &rule, None);
    assert_eq!(judgment.outcome(), AssertionOutcome::Inconclusive);
    assert!(judgment.open.expect("a reason").contains("a loop device"));
}
