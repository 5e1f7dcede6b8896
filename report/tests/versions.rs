//! Tests of reading reports of older and newer versions, and of writing them again.

mod common;

use common::{assert_committed, demo, run, sample};
use serde_json::Value;
use zctrace_contract::Reason;
use zctrace_report::{
    Agreement, EndpointKind, ReadError, ReasonCode, Report, SchemaVersion, ScopeKind, Tier, Verdict, format,
};

#[test]
fn reports_are_written_as_the_samples_hold_them() {
    assert_committed("tests/samples/demo-tier-l.json", &demo().to_json_pretty());
    assert_committed("tests/samples/run-tier-t0.json", &run().to_json_pretty());
}

#[test]
fn reports_of_this_version_survive_a_round_trip_and_keep_their_rules() {
    for (name, made) in [("demo-tier-l.json", demo()), ("run-tier-t0.json", run())] {
        assert_eq!(made.check(), Ok(()), "{name}");
        for json in [made.to_json_pretty(), made.to_json()] {
            let read = Report::from_reader(json.as_bytes()).unwrap();
            assert_eq!(read, made, "{name}");
        }
        assert!(!made.to_json().contains('\n'), "one line for --every");
    }
}

#[test]
fn the_demo_says_what_its_numbers_say() {
    let report = demo();
    assert_eq!(
        format::headline(&report),
        "33.3 % MOVED   64.0 MiB of the 192.0 MiB delivered; 64.0 MiB copied, 64.0 MiB unknown"
    );
    let verdicts: Vec<_> = report
        .flows
        .iter()
        .map(|flow| (flow.mark(), flow.verdict(), flow.agreement()))
        .collect();
    assert_eq!(
        verdicts,
        [
            ('=', Verdict::Moved, Some(Agreement::Agrees)),
            ('x', Verdict::Copied, Some(Agreement::Agrees)),
            ('?', Verdict::Unknown, None),
        ]
    );
    assert_eq!(report.flows[0].path_text(), "TCP socket → pipe → TCP socket");
    let copies: Vec<_> = report.flows.iter().map(|flow| flow.copies_per_byte).collect();
    assert_eq!(copies, [Some(0.0), Some(1.0), Some(0.0)]);
}

#[test]
fn what_ends_in_memory_is_not_in_the_share() {
    let report = run();
    assert_eq!(report.into_memory().payload, 8_493_465);
    let left: u64 = report
        .flows
        .iter()
        .filter(|flow| !flow.ends_in_memory())
        .map(|flow| flow.payload)
        .sum();
    assert_eq!(report.totals().payload, left);
    assert_eq!(report.totals().account.excluded.zero, 8192);
}

#[test]
fn a_minimal_old_report_is_read_with_defaults() {
    let report = Report::from_json(&sample("minimal-1.0.json")).unwrap();
    assert_eq!(report.schema(), SchemaVersion { major: 1, minor: 0 });
    assert_eq!(report.check(), Ok(()));
    let flow = &report.flows[0];
    assert_eq!((flow.folded, flow.calls, flow.verdict()), (1, 0, Verdict::Moved));
    assert_eq!(
        (flow.from.kind.clone(), flow.from.name.as_str()),
        (EndpointKind::File, "")
    );
    assert!(flow.path.is_empty() && flow.certificate.is_none() && flow.content_ok.is_none());
    assert!(
        report.edges.is_empty() && report.coverage.facts.is_empty() && report.provenance.zctrace_version.is_empty()
    );
    assert_eq!(flow.path_text(), "file → TCP socket");
    assert_eq!(
        report.scope.kind,
        ScopeKind::NotStated,
        "what is not said is not made up"
    );
}

#[test]
fn a_report_of_a_newer_minor_is_read_and_its_words_are_kept() {
    let report = Report::from_json(&sample("from-the-future-1.9.json")).unwrap();
    assert_eq!(report.schema(), SchemaVersion { major: 1, minor: 9 });
    assert_eq!(report.check(), Ok(()), "what a newer minor adds is no violation");
    assert_eq!(report.tier, Tier::Other("T3".to_owned()));
    let flow = &report.flows[0];
    assert_eq!(flow.to.kind, EndpointKind::Other("vsock".to_owned()));
    assert_eq!(
        flow.account.excluded.other["encrypted"], 96,
        "a new cause of excluded counts"
    );
    assert_eq!(flow.account.total(), flow.payload);
    assert_eq!(flow.verdict(), Verdict::Mixed);

    let code = ReasonCode::new("ZC77");
    assert_eq!((&flow.reasons[0].code, code.reason()), (&code, None));
    let explained = report
        .explanation(&code)
        .expect("the report explains what this version does not know");
    assert_eq!(explained.advice, "Nothing to do.");
    let known = report.explanation(&Reason::PageCacheSink.into()).unwrap();
    assert_eq!(
        known.description,
        Reason::PageCacheSink.description(),
        "what is known here is said in our words"
    );

    // A report that is written again has this version. Unknown members are dropped, unknown words
    // and codes are kept.
    let again = report.to_json();
    let value: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(value["schema"], "zctrace-report/1.0");
    assert_eq!(value["tier"], "T3");
    assert_eq!(value["flows"][0]["to"]["kind"], "vsock");
    assert_eq!(value["explanations"]["ZC77"]["advice"], "Nothing to do.");
    assert!(!again.contains("energy_joules"), "a field that is not known is dropped");
    assert_eq!(Report::from_json(&again).unwrap().flows, report.flows);
}

#[test]
fn summarizing_a_newer_report_keeps_its_explanations() {
    let mut report = Report::from_json(&sample("from-the-future-1.9.json")).unwrap();
    report.finish(50);
    assert_eq!(report.check(), Ok(()));
    assert!(report.explanation(&ReasonCode::new("ZC77")).is_some());
}

#[test]
fn another_major_is_refused_with_cause_and_mend() {
    let error = Report::from_json(&sample("another-major-2.0.json")).unwrap_err();
    assert!(matches!(error, ReadError::OtherMajor { found } if found == SchemaVersion { major: 2, minor: 0 }));
    assert_eq!(
        error.to_string(),
        "this report is of version 2.0 (zctrace-report/2.0), and this zctrace reads 1.x; read it with a newer zctrace, or make \
         the report again with this one"
    );
}

#[test]
fn a_report_cut_short_is_refused_wherever_it_is_cut() {
    let whole = demo().to_json();
    for end in (0..whole.len()).step_by(7).filter(|&end| whole.is_char_boundary(end)) {
        assert!(Report::from_json(&whole[..end]).is_err(), "cut at {end}");
    }
}
