//! Tests of gaps: what can have reached an endpoint unobserved opens its rules.

use super::*;

/// Judges a report with one gap beside 1 MiB that moved.
fn with_gap(criteria: &Criteria, plant: impl Fn(&mut Report)) -> Judgment {
    let mut gap = report(vec![moved(MIB)]);
    plant(&mut gap);
    judge(&gap, criteria, None)
}

#[test]
fn unseen_sender_opens_the_rules_of_its_endpoint() {
    let unseen = |bytes| {
        let mut flow = flow(
            EndpointKind::Pipe,
            EndpointKind::Tcp,
            Account::new(0, 0, bytes),
            &[(Reason::UnseenSender, bytes)],
        );
        flow.to.name = "10.0.0.7:80".to_owned();
        flow
    };
    // Within a limit that all other unknown bytes would keep.
    let mut loose = criteria("socket", Some(Limit::Share(50 * Limit::PER_PERCENT)));
    loose.max_unknown = Some(Limit::Bytes(MIB));
    assert_eq!(outcome(vec![moved(MIB), unknown(1)], &loose), AssertionOutcome::Passed);
    let judgment = judge(&report(vec![moved(MIB), unseen(1)]), &loose, None);
    assert_eq!(judgment.outcome(), AssertionOutcome::Inconclusive);
    let open = judgment.open.expect("a reason");
    assert!(open.contains("ZC88") && open.contains("trace every process"), "{open}");
    let elsewhere = criteria("tcp:/data/b", Some(Limit::Bytes(0)));
    assert_eq!(
        outcome(vec![moved(MIB), unseen(1)], &elsewhere),
        AssertionOutcome::Passed
    );
    loose.allow = vec![Reason::UnseenSender];
    assert_eq!(outcome(vec![moved(MIB), unseen(1)], &loose), AssertionOutcome::Passed);
}

#[test]
fn gap_at_an_endpoint_opens_only_the_rules_of_that_endpoint() {
    let row = |end: Option<Endpoint>| {
        move |report: &mut Report| {
            report.coverage.not_covered.push(NotCovered {
                operation: "IORING_OP_WRITE".to_owned(),
                calls: Some(3),
                bytes: Some(4096),
                endpoint: end.clone(),
            });
        }
    };
    let none = criteria("tcp", Some(Limit::Bytes(0)));
    let file = Endpoint::new(EndpointKind::File, "/srv/a");
    let socket = Endpoint::new(EndpointKind::Tcp, "10.0.0.7:80");
    assert_eq!(
        with_gap(&none, row(Some(file.clone()))).outcome(),
        AssertionOutcome::Passed
    );
    assert_eq!(
        with_gap(&none, row(Some(socket))).outcome(),
        AssertionOutcome::Inconclusive
    );
    assert_eq!(with_gap(&none, row(None)).outcome(), AssertionOutcome::Inconclusive);
    // The source of judged bytes, and an end that may be a judged one.
    let mut from = none.clone();
    from.from = vec![Pattern::parse("file:/srv/*").unwrap()];
    assert_eq!(
        with_gap(&from, row(Some(file))).outcome(),
        AssertionOutcome::Inconclusive
    );
    let nameless = Endpoint::new(EndpointKind::File, "inode 7 of device 8:1");
    assert_eq!(
        with_gap(&from, row(Some(nameless))).outcome(),
        AssertionOutcome::Inconclusive
    );
}

#[test]
fn process_that_outlives_the_command_opens_every_rule() {
    let none = criteria("tcp", Some(Limit::Bytes(0)));
    let judgment = with_gap(&none, |report| {
        report.coverage.still_running = vec![StillRunning {
            pid: 812,
            name: "worker".to_owned(),
        }];
    });
    assert_eq!(judgment.outcome(), AssertionOutcome::Inconclusive);
    let open = judgment.open.expect("a reason");
    assert!(
        open.starts_with("1 process was still running when CMD ended: worker (812)"),
        "{open}"
    );
    assert!(open.contains("--wait"), "{open}");
}

#[test]
fn end_without_a_name_is_undecided() {
    let to = |kind, name: &str| {
        let mut flow = copied(MIB);
        flow.to = Endpoint::new(kind, name);
        flow.path[1] = flow.to.kind.clone();
        flow
    };
    let out = criteria("file:*out", Some(Limit::Bytes(0)));
    let good = || {
        let mut flow = moved(4096);
        flow.to = Endpoint::new(EndpointKind::DirectFile, "/srv/out");
        flow.path[1] = EndpointKind::DirectFile;
        flow
    };
    assert_eq!(outcome(vec![good()], &out), AssertionOutcome::Passed);
    for name in ["", "inode 7 of device 8:1", "[7]", "several files"] {
        let nameless = to(EndpointKind::File, name);
        assert_eq!(
            outcome(vec![good(), nameless], &out),
            AssertionOutcome::Inconclusive,
            "{name:?}"
        );
    }
    let named = to(EndpointKind::File, "/srv/log");
    assert_eq!(outcome(vec![good(), named], &out), AssertionOutcome::Passed);
    let socket = to(EndpointKind::Unix, "[7]");
    assert_eq!(outcome(vec![good(), socket], &out), AssertionOutcome::Passed, "no file");
}

#[test]
fn lost_origin_is_undecided_where_an_origin_is_asked_for() {
    let lost = |from, reason| flow(from, EndpointKind::Tcp, Account::new(0, 0, 1), &[(reason, 1)]);
    let mut from_file = criteria("tcp", Some(Limit::Share(50 * Limit::PER_PERCENT)));
    let flows = |flow| vec![moved(MIB), flow];
    for (from, reason) in [
        (EndpointKind::Pipe, Reason::NotObserved),
        (EndpointKind::Memory, Reason::OriginLost),
        (EndpointKind::Memory, Reason::LeftInPipe),
    ] {
        from_file.from.clear();
        let flow = lost(from, reason);
        assert_eq!(
            outcome(flows(flow.clone()), &from_file),
            AssertionOutcome::Passed,
            "from anywhere"
        );
        from_file.from = vec![Pattern::parse("file:/srv/*").unwrap()];
        assert_eq!(
            outcome(flows(flow), &from_file),
            AssertionOutcome::Inconclusive,
            "{reason:?}"
        );
    }
    let known = lost(EndpointKind::Unix, Reason::NotObserved);
    assert_eq!(outcome(flows(known), &from_file), AssertionOutcome::Passed);
}

#[test]
fn report_that_contradicts_itself_shows_nothing() {
    let none = criteria("tcp", Some(Limit::Bytes(0)));
    for flow in [moved(MIB), copied(MIB)] {
        let mut wrong = report(vec![flow]);
        wrong.flows[0].payload += 1;
        assert!(!wrong.note_violations());
        let judgment = judge(&wrong, &none, None);
        assert_eq!(judgment.outcome(), AssertionOutcome::Inconclusive, "{judgment:?}");
        let open = judgment.open.expect("a reason");
        assert!(open.contains("flows[0]"), "{open}");
    }
}

#[test]
fn no_rule_about_bytes_passes_while_another_is_open() {
    let none = criteria("tcp", Some(Limit::Bytes(0)));
    let judgment = with_gap(&none, |report| report.loss.reserve_failures = 1);
    let copies = &judgment.rules[0];
    assert_eq!(copies.outcome, AssertionOutcome::Inconclusive);
    assert!(copies.finding.ends_with("as far as was observed"), "{copies:?}");
    assert!(judgment.open.expect("a reason").starts_with("1 record was lost"));
    // A copy is shown whatever is missing.
    let mut dirty = report(vec![copied(1)]);
    dirty.loss.reserve_failures = 1;
    assert_eq!(judge(&dirty, &none, None).open, None);
}

#[test]
fn bytes_that_moved_from_memory_are_told() {
    let none = criteria("tcp", Some(Limit::Bytes(0)));
    let vmspliced = flow(EndpointKind::Memory, EndpointKind::Tcp, Account::new(4096, 0, 0), &[]);
    let judgment = judge(&report(vec![moved(MIB), vmspliced]), &none, None);
    assert_eq!(judgment.outcome(), AssertionOutcome::Passed);
    assert_eq!(judgment.bytes_judged.from_memory, 4096);
    let found = &judgment.rules[0].finding;
    assert!(
        found.contains("4 096 bytes that moved were in the program's memory before"),
        "{found}"
    );
}
