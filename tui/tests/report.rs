//! Tests of `zctrace report` with saved reports, and of `zctrace` without arguments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use zctrace_report::Report;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("zctrace can be run")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Returns the path of a report that is committed beside the types.
fn sample(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../report/tests/samples", name]
        .iter()
        .collect();
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn shows_a_saved_report_within_the_width() {
    for (name, says) in [
        ("run-tier-t0.json", "71.0 % MOVED   "),
        ("demo-tier-l.json", "33.3 % MOVED   "),
        ("minimal-1.0.json", "100.0 % MOVED   "),
        ("from-the-future-1.9.json", "50.0 % MOVED   "),
    ] {
        let output = run(&["report", &sample(name)]);
        let text = out(&output);
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{name}");
        assert!(text.starts_with(says), "{name}\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{name}\n{text}");
        assert!(!text.contains('\u{1b}'), "no color but on a terminal");
    }
}

#[test]
fn filtered_report_is_marked_in_every_format() {
    let file = sample("run-tier-t0.json");
    let output = run(&[
        "report",
        &file,
        "--filter",
        "from=memory and to=tcp",
        "--format",
        "json",
    ]);
    let report = Report::from_json(&out(&output)).expect("a report");
    assert_eq!((output.status.code(), report.check()), (Some(0), Ok(())));
    assert!(!report.flows.is_empty() && report.flows.iter().all(|flow| flow.from.kind.as_str() == "memory"));
    let filtered = report.filter.expect("it says so");
    assert_eq!(filtered.expression, "from=memory and to=tcp");
    assert!(
        filtered.omitted_flows > 0 && filtered.omitted_payload > 0,
        "{filtered:?}"
    );
    let text = out(&run(&["report", &file, "--filter", "from=memory and to=tcp"]));
    assert!(text.contains("delivered and matching the filter"), "{text}");
    assert!(text.contains("filter `from=memory and to=tcp` excludes"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let output = run(&["report", &file, "--filter", "to=tcp and bytes>x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("column 18: found `x`, expected a number of bytes"),
        "{}",
        err(&output)
    );
}

#[test]
fn shows_a_certificate_hop_by_hop() {
    let text = out(&run(&["report", &sample("run-tier-t0.json"), "--flow", "1"]));
    assert!(text.starts_with("MOVED THROUGH BOTH STAGES   "), "{text}");
    for part in ["net_dev_start_xmit", "page c41e07", "not proved", "balance: moved"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let output = run(&["report", &sample("run-tier-t0.json"), "--flow", "77"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("there are 1, 2, 3, 4"), "{}", err(&output));
}

#[test]
fn json_round_trips_and_one_flow_is_a_report() {
    let saved = sample("run-tier-t0.json");
    let whole = Report::from_json(&fs::read_to_string(&saved).expect("the sample")).expect("a report");
    let again = Report::from_json(&out(&run(&["report", &saved, "--format", "json"]))).expect("a report");
    assert_eq!(again, whole);
    let json = out(&run(&["report", &saved, "--format", "json", "--flow", "3"]));
    let one = Report::from_json(&json).expect("a report");
    assert_eq!((one.check(), one.flows.len()), (Ok(()), 1));
}

#[test]
fn writes_junit_to_a_file() {
    let file = std::env::temp_dir().join(format!("zctrace-report-{}.xml", std::process::id()));
    let name = file.to_str().expect("UTF-8");
    let output = run(&["report", &sample("run-tier-t0.json"), "--format", "junit", "-o", name]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), ""));
    let xml = fs::read_to_string(&file).expect("it was written");
    assert!(
        xml.starts_with("<?xml") && xml.contains("tests=\"4\" failures=\"1\""),
        "{xml}"
    );
    fs::remove_file(file).expect("removed");
    let output = run(&["report", &sample("run-tier-t0.json"), "-o", "/no/such/place"]);
    assert_eq!(output.status.code(), Some(4), "{}", err(&output));
}

#[test]
fn rejects_invalid_and_inconsistent_reports() {
    let broken = std::env::temp_dir().join(format!("zctrace-broken-{}.json", std::process::id()));
    let json = fs::read_to_string(sample("minimal-1.0.json")).expect("the sample");
    let mut value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    value["flows"][0]["moved"] = 1.into();
    fs::write(&broken, value.to_string()).expect("a file");
    let output = run(&["report", broken.to_str().expect("UTF-8")]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""));
    assert!(err(&output).contains("is inconsistent"), "{}", err(&output));
    fs::remove_file(&broken).expect("removed");
    for (name, says) in [
        (sample("another-major-2.0.json"), "newer zctrace"),
        ("/dev/null".to_owned(), "not valid JSON"),
        ("/no/such/file".to_owned(), "No such file"),
    ] {
        let output = run(&["report", &name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(err(&output).contains(says), "{name}: {}", err(&output));
    }
    assert!(!Path::new(&broken).exists());
}

#[test]
fn without_a_terminal_the_overview_is_printed() {
    let output = run(&[]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""));
    assert!(
        err(&output).contains("live viewer needs a terminal"),
        "{}",
        err(&output)
    );
    assert!(err(&output).contains("zctrace run"), "{}", err(&output));
}

#[test]
fn missing_process_is_a_usage_error() {
    let output = run(&["-p", "2147483646"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("process 2147483646"), "{}", err(&output));
}
