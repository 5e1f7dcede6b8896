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
