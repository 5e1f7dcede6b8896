//! Tests of the doctor's output, on synthetic findings.

use std::path::PathBuf;

use zctrace_probes::layout::offsets::KernelOffsets;
use zctrace_probes::probe::Program;

use super::cost::Measurement;
use super::*;
use crate::render::fixtures::{assert_fits, assert_snapshot};

const HOUR: u64 = 3_600_000;

fn measurement(ns: f64, noise_ns: f64) -> Measurement {
    Measurement { ns, noise_ns }
}

fn ready() -> Findings {
    let program = |name, instructions| Program {
        name,
        attached: true,
        verified_instructions: Some(instructions),
    };
    let mut findings = Findings {
        program: "/usr/bin/zctrace".to_owned(),
        privileges: Privileges {
            uid: 0,
            missing: Vec::new(),
            can_trace_other_users: true,
        },
        kernel: "6.18.44".to_owned(),
        types: Ok(BtfInfo {
            path: PathBuf::from("/sys/kernel/btf/vmlinux"),
            found: 77,
            missing: Vec::new(),
            fatal: false,
            plan: KernelOffsets::default(),
        }),
        lockdown: Some("none".to_owned()),
        settings: [
            ("perf_event_paranoid", Some("2")),
            ("kptr_restrict", Some("0")),
            ("unprivileged_bpf_disabled", None),
        ]
        .map(|(name, value)| Setting {
            name,
            value: value.map(str::to_owned),
        })
        .into(),
        loaded: Attempt::Done(LoadResult {
            programs: vec![program("sys_enter", 31_234), program("sys_exit", 24_000)],
            left_out: Vec::new(),
            load_time: measurement(61e6, 2e6),
            detach_time: measurement(22e6, 2e6),
        }),
        cost: Attempt::Done(Cost {
            bare: measurement(71.0, 1.0),
            syscall_overhead: measurement(45.2, 1.4),
            splice: measurement(655.0, 5.0),
            traced: measurement(1312.0, 31.0),
            reader: measurement(902.0, 12.0),
            ring_bytes: 16 << 20,
            call_bytes: 930.0,
        }),
        selftest: None,
        coverage: expected_coverage(None, None),
        now_unix_ms: 3 * HOUR,
    };
    for fact in &mut findings.coverage.facts {
        (fact.status, fact.verified_unix_ms) = (FactStatus::Verified, Some(HOUR));
        fact.missing_reason.clear();
    }
    findings
}

fn unprivileged() -> Findings {
    Findings {
        privileges: Privileges {
            uid: 1000,
            missing: vec!["CAP_BPF", "CAP_PERFMON"],
            can_trace_other_users: false,
        },
        loaded: Attempt::Skipped("fix the problems first"),
        cost: Attempt::Skipped("fix the problems first"),
        coverage: expected_coverage(None, None),
        ..ready()
    }
}

fn shown(findings: &Findings, all: bool, name: &str) -> String {
    let text = render::doctor_text(findings, all);
    assert_fits(&text);
    assert_snapshot(&text, name);
    text
}

#[test]
fn text_matches_snapshots() {
    shown(&ready(), false, "doctor-ready.txt");
    shown(&ready(), true, "doctor-all.txt");
    let text = shown(&unprivileged(), false, "doctor-unprivileged.txt");
    assert!(
        text.starts_with("NOT READY   1 thing to fix; then 11 of 11 checks are possible here"),
        "{text}"
    );
    assert!(
        text.contains("sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep /usr/bin/zctrace\n"),
        "{text}"
    );
}

#[test]
fn refused_program_is_a_problem() {
    let refused = Attempt::Failed(
        "refused".to_owned(),
        "do this".to_owned(),
        "0: R1=ctx()\nprocessed 1 insns".to_owned(),
    );
    let mut findings = Findings {
        loaded: refused,
        cost: Attempt::Skipped("nothing is attached"),
        coverage: expected_coverage(None, None),
        ..ready()
    };
    let text = shown(&findings, true, "doctor-refused.txt");
    assert!(text.contains("R1=ctx()"));
    findings.types = Err(("no BTF".to_owned(), "build one".to_owned()));
    let problems = findings.problems();
    assert_eq!(
        problems.iter().map(|mend| mend.area).collect::<Vec<_>>(),
        ["kernel", "programs"]
    );
    assert!(render::doctor_text(&findings, false).starts_with("NOT READY   2 things to fix\n"));
}

#[test]
fn program_that_is_not_loaded_marks_its_facts_absent() {
    let mut findings = ready();
    let Attempt::Done(loaded) = &mut findings.loaded else {
        panic!("loaded")
    };
    loaded.left_out.push(("consume_skb", "no such tracepoint".to_owned()));
    let loaded = loaded.clone();
    mark_not_loaded(&mut findings.coverage, &loaded);
    assert_eq!(findings.facts(), (9, 11));
    assert!(findings.problems().is_empty(), "the others can be seen all the same");
    let text = shown(&findings, false, "doctor-partly.txt");
    assert!(text.contains("-  pages in UNIX messages"), "{text}");
}

#[test]
fn root_without_capabilities_gets_container_hints() {
    let mut findings = unprivileged();
    findings.privileges.uid = 0;
    let problems = findings.problems();
    assert!(problems[0].cause.contains("root, but without CAP_BPF") && problems[0].hints[0].contains("container"));
}

#[test]
fn json_has_the_same_content() {
    for (findings, ready) in [(ready(), true), (unprivileged(), false)] {
        let value: serde_json::Value = serde_json::from_str(&json::to_json(&findings)).expect("JSON");
        assert_eq!(value["ready"], ready);
        assert_eq!(value["cost"].is_null(), !ready);
        assert_eq!(value["coverage"]["facts"].as_array().map(Vec::len), Some(11));
    }
}

#[test]
fn quotes_paths_for_a_shell() {
    assert_eq!(quote("/usr/bin/zctrace"), "/usr/bin/zctrace");
    assert_eq!(quote("/a b/it's"), r"'/a b/it'\''s'");
}

#[test]
fn formats_ages() {
    for (milliseconds, said) in [
        (0, "just now"),
        (59_000, "59 s ago"),
        (600_000, "10 min ago"),
        (2 * HOUR, "2 h ago"),
        (72 * HOUR, "3 days ago"),
    ] {
        assert_eq!(render::ago(milliseconds), said);
    }
}
