//! The doctor's screens, on findings that are made up.

use std::path::PathBuf;

use zctrace_probes::layout::plan::Plan;
use zctrace_probes::probe::Program;

use super::cost::Measured;
use super::*;
use crate::render::fixtures::{assert_fits, same_as};

const HOUR: u64 = 3_600_000;

fn measured(ns: f64, noise_ns: f64) -> Measured {
    Measured { ns, noise_ns }
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
            others: true,
        },
        kernel: "6.18.44".to_owned(),
        types: Ok(Types {
            path: PathBuf::from("/sys/kernel/btf/vmlinux"),
            found: 77,
            missing: Vec::new(),
            fatal: false,
            plan: Plan::default(),
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
        loaded: Tried::Done(Loaded {
            programs: vec![program("sys_enter", 31_234), program("sys_exit", 24_000)],
            left_out: Vec::new(),
            took: measured(61e6, 2e6),
            away: measured(22e6, 2e6),
        }),
        cost: Tried::Done(Cost {
            bare: measured(71.0, 1.0),
            tax: measured(45.2, 1.4),
            splice: measured(655.0, 5.0),
            traced: measured(1312.0, 31.0),
            reader: measured(902.0, 12.0),
            ring_bytes: 16 << 20,
            call_bytes: 930.0,
        }),
        selftest: None,
        coverage: foreseen(None, None),
        now_unix_ms: 3 * HOUR,
    };
    for fact in &mut findings.coverage.facts {
        (fact.alive, fact.proven_unix_ms) = (Alive::Yes, Some(HOUR));
        fact.why_not.clear();
    }
    findings
}

fn unprivileged() -> Findings {
    Findings {
        privileges: Privileges {
            uid: 1000,
            missing: vec!["CAP_BPF", "CAP_PERFMON"],
            others: false,
        },
        loaded: Tried::No("what is to be mended comes first"),
        cost: Tried::No("what is to be mended comes first"),
        coverage: foreseen(None, None),
        ..ready()
    }
}

fn shown(findings: &Findings, all: bool, name: &str) -> String {
    let text = render::screen(findings, all);
    assert_fits(&text);
    same_as(&text, name);
    text
}

#[test]
fn the_screens_are_the_committed_ones() {
    shown(&ready(), false, "doctor-ready.txt");
    shown(&ready(), true, "doctor-all.txt");
    let text = shown(&unprivileged(), false, "doctor-unprivileged.txt");
    assert!(
        text.starts_with("NOT READY   1 thing to mend; then 10 of 10 facts can be seen here"),
        "{text}"
    );
    assert!(
        text.contains("sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep /usr/bin/zctrace\n"),
        "{text}"
    );
}

#[test]
fn what_the_kernel_refuses_is_to_be_mended() {
    let refused = Tried::Failed(
        "refused".to_owned(),
        "do this".to_owned(),
        "0: R1=ctx()\nprocessed 1 insns".to_owned(),
    );
    let mut findings = Findings {
        loaded: refused,
        cost: Tried::No("nothing is attached"),
        coverage: foreseen(None, None),
        ..ready()
    };
    let text = shown(&findings, true, "doctor-refused.txt");
    assert!(text.contains("R1=ctx()"));
    findings.types = Err(("no BTF".to_owned(), "build one".to_owned()));
    let mends = findings.mends();
    assert_eq!(
        mends.iter().map(|mend| mend.what).collect::<Vec<_>>(),
        ["kernel", "programs"]
    );
    assert!(render::screen(&findings, false).starts_with("NOT READY   2 things to mend\n"));
}

#[test]
fn a_program_that_is_not_there_takes_its_facts_away() {
    let mut findings = ready();
    let Tried::Done(loaded) = &mut findings.loaded else {
        panic!("loaded")
    };
    loaded.left_out.push(("consume_skb", "no such tracepoint".to_owned()));
    let loaded = loaded.clone();
    not_loaded(&mut findings.coverage, &loaded);
    assert_eq!(findings.facts(), (8, 10));
    assert!(findings.mends().is_empty(), "the others can be seen all the same");
    let text = shown(&findings, false, "doctor-partly.txt");
    assert!(text.contains("-  pages in UNIX messages"), "{text}");
}

#[test]
fn root_without_capabilities_is_in_a_container() {
    let mut findings = unprivileged();
    findings.privileges.uid = 0;
    let mends = findings.mends();
    assert!(mends[0].cause.contains("root, but without CAP_BPF") && mends[0].steps[0].contains("container"));
}

#[test]
fn machines_read_the_same() {
    for (findings, ready) in [(ready(), true), (unprivileged(), false)] {
        let value: serde_json::Value = serde_json::from_str(&json::json(&findings)).expect("JSON");
        assert_eq!(value["ready"], ready);
        assert_eq!(value["cost"].is_null(), !ready);
        assert_eq!(value["coverage"]["facts"].as_array().map(Vec::len), Some(10));
    }
}

#[test]
fn paths_are_quoted_for_a_shell() {
    assert_eq!(quote("/usr/bin/zctrace"), "/usr/bin/zctrace");
    assert_eq!(quote("/a b/it's"), r"'/a b/it'\''s'");
}

#[test]
fn ages_are_short() {
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
