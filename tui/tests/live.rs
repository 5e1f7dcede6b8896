//! Tests of `zctrace run` and `zctrace assert` with the kernel's probes, on programs that move and
//! programs that copy.
//!
//! The traced program is this test itself, which sends a file over TCP as `ZCTRACE_TEST_SEND` says.

#[path = "live/cases.rs"]
mod cases;
mod common;
#[path = "live/gate.rs"]
mod gate;
#[path = "live/gate_files.rs"]
mod gate_files;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use common::{both, possible};
use zctrace_report::{AssertionOutcome, EndpointKind, Report, ScopeKind, Subcommand};

/// Payload.
const BYTES: usize = 4 << 20;

/// Variable that tells the traced process how to send.
const SEND: &str = "ZCTRACE_TEST_SEND";

/// If this is the traced process, sends a file over TCP to itself, and exits with `code`.
fn send_if_traced() {
    let Ok(how) = std::env::var(SEND) else { return };
    let (how, code) = how.split_once(' ').expect("how and a code");
    let path = std::env::temp_dir().join(format!("zctrace-live-{}", std::process::id()));
    fs::write(&path, vec![7; BYTES]).expect("a file");
    let mut file = File::open(&path).expect("the file");
    fs::remove_file(&path).expect("removed");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut sender = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
    let (mut receiver, _) = listener.accept().expect("accepted");
    let reader = std::thread::spawn(move || std::io::copy(&mut receiver, &mut std::io::sink()).expect("received"));
    if how == "move" {
        let mut sent = 0;
        while sent < BYTES {
            sent += rustix::fs::sendfile(&sender, &file, None, BYTES - sent).expect("sendfile");
        }
    } else {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("read");
        sender.write_all(&bytes).expect("written");
    }
    drop(sender);
    assert_eq!(reader.join().expect("the reader"), BYTES as u64);
    std::process::exit(code.parse().expect("a code"));
}

/// Runs `zctrace` with the given arguments on this test, as the process that sends in the given way
/// and exits with the given code.
fn traced(test: &str, arguments: &[&str], how: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    command
        .args(arguments)
        .arg("--")
        .arg(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", test, "--nocapture"])
        .env(SEND, how)
        .env("TMPDIR", std::env::temp_dir());
    command
        .env_remove("SUDO_UID")
        .stdin(Stdio::null())
        .output()
        .expect("zctrace can be run")
}

#[test]
fn assertion_passes_fails_or_is_inconclusive() {
    const TEST: &str = "assertion_passes_fails_or_is_inconclusive";
    send_if_traced();
    if !possible(TEST) {
        return;
    }
    for (to, how, code, says) in [
        ("tcp", "move 0", 0, "PASSED   "),
        (
            "tcp",
            "copy 0",
            1,
            "FAILED   4 194 304 bytes were copied; the limit is 0",
        ),
        ("unix", "move 0", 3, "INCONCLUSIVE   nothing was delivered to unix"),
        ("tcp", "move 9", 5, "CMD FAILED   it exited with 9; until then 0 of"),
        ("tcp", "copy 9", 5, "FAILED   CMD failed (it exited with 9); "),
    ] {
        let output = traced(TEST, &["assert", "--to", to, "--max-copied", "0"], how);
        let printed = both(&output);
        assert_eq!(output.status.code(), Some(code), "{to} {how}\n{printed}");
        assert!(printed.contains(says), "{to} {how}\n{printed}");
    }
}

#[test]
fn run_returns_the_commands_code_and_a_consistent_report() {
    const TEST: &str = "run_returns_the_commands_code_and_a_consistent_report";
    send_if_traced();
    if !possible(TEST) {
        return;
    }
    let file: PathBuf = std::env::temp_dir().join(format!("zctrace-live-{}.json", std::process::id()));
    let name = file.to_str().expect("UTF-8");
    let output = traced(TEST, &["run", "--format", "json", "-o", name], "move 7");
    assert_eq!(output.status.code(), Some(7), "{}", both(&output));
    let report = Report::from_json(&fs::read_to_string(&file).expect("written")).expect("a report");
    assert_eq!(report.check(), Ok(()));
    assert_eq!(report.provenance.command, Some(Subcommand::Run));
    assert_eq!((&report.scope.kind, report.scope.follow), (&ScopeKind::Command, true));
    let sent = report
        .flows
        .iter()
        .find(|flow| flow.to.kind == EndpointKind::Tcp)
        .expect("the flow");
    assert_eq!(
        (sent.payload, sent.account.moved),
        (BYTES as u64, BYTES as u64),
        "{sent:?}"
    );

    let output = traced(
        TEST,
        &[
            "assert",
            "--to",
            "tcp",
            "--max-copied",
            "1%",
            "--format",
            "json",
            "-o",
            name,
        ],
        "copy 0",
    );
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let report = Report::from_json(&fs::read_to_string(&file).expect("written")).expect("a report");
    assert_eq!(report.check(), Ok(()));
    assert!(
        report
            .assertions
            .iter()
            .any(|assertion| assertion.outcome == AssertionOutcome::Failed)
    );
    fs::remove_file(file).expect("removed");
}

#[test]
fn baseline_is_written_and_shows_regressions() {
    const TEST: &str = "baseline_is_written_and_shows_regressions";
    send_if_traced();
    if !possible(TEST) {
        return;
    }
    let file: PathBuf = std::env::temp_dir().join(format!("zctrace-live-baseline-{}.json", std::process::id()));
    let name = file.to_str().expect("UTF-8");
    let output = traced(TEST, &["assert", "--to", "tcp", "--save-baseline", name], "move 0");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let compare = ["assert", "--to", "tcp", "--baseline", name];
    let output = traced(TEST, &compare, "move 0");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let output = traced(TEST, &compare, "copy 0");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let printed = both(&output);
    assert!(
        printed.contains("+4.0 MiB copied in memory:tcp, ZC14, since the baseline"),
        "{printed}"
    );
    fs::remove_file(file).expect("removed");
}

/// Runs `zctrace` on a recording.
fn shown(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("zctrace can be run")
}

#[test]
fn recording_replays_to_the_same_report() {
    const TEST: &str = "recording_replays_to_the_same_report";
    send_if_traced();
    if !possible(TEST) {
        return;
    }
    let dir = std::env::temp_dir().join(format!("zctrace-live-recording-{}", std::process::id()));
    fs::create_dir(&dir).expect("a directory");
    let name = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    let (recording, live) = (name("a.zct"), name("a.json"));
    let output = traced(
        TEST,
        &["run", "--format", "json", "--record", &recording, "-o", &live],
        "move 7",
    );
    assert_eq!(output.status.code(), Some(7), "{}", both(&output));
    let mode = fs::metadata(&recording).expect("a recording").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let output = shown(&["report", &recording, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    // Everything except `made_by` must be equal.
    let mut live = Report::from_json(&fs::read_to_string(live).expect("written")).expect("a report");
    live.provenance.command = Some(Subcommand::Report);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        live.to_json_pretty() + "\n",
        "the recording tells something else"
    );
    let output = shown(&["replay", &recording, "--speed", "max", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let last = String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .map(Report::from_json);
    let last = last.expect("a line").expect("a report");
    assert_eq!(last, live, "it was played to its end");

    let mut bytes = fs::read(&recording).expect("the recording");
    bytes.truncate(bytes.len() - 1);
    fs::write(&recording, bytes).expect("cut");
    let output = shown(&["report", &recording]);
    assert_eq!(output.status.code(), Some(3), "{}", both(&output));
    assert!(
        both(&output).contains("the recording is cut short"),
        "{}",
        both(&output)
    );

    let output = traced(TEST, &["record", "-o", &recording], "copy 9");
    assert_eq!(output.status.code(), Some(9), "{}", both(&output));
    let printed = both(&output);
    assert!(printed.contains("zctrace: recorded "), "{printed}");
    let output = shown(&["report", &recording, "--rows", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert!(both(&output).contains("4.0 MiB"), "{}", both(&output));
    fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn failed_recording_starts_nothing() {
    const TEST: &str = "failed_recording_starts_nothing";
    send_if_traced();
    if !possible(TEST) {
        return;
    }
    for (file, says) in [
        ("/dev/full", "the recording could not be started"),
        ("/nowhere/a.zct", "/nowhere/a.zct: No such file"),
    ] {
        let output = traced(TEST, &["run", "--record", file], "move 7");
        assert_eq!(output.status.code(), Some(4), "{}", both(&output));
        assert!(both(&output).contains(says), "{}", both(&output));
    }
}

#[test]
fn full_disk_ends_the_recording_but_not_the_run() {
    const TEST: &str = "full_disk_ends_the_recording_but_not_the_run";
    // The mount of this script has space for the header, and not for what follows.
    const SCRIPT: &str = "mount -t tmpfs -o size=8k none \"$1\" || exit 99
        \"$2\" run --record \"$1/a.zct\" -- \"$3\" --exact \"$4\" --nocapture; code=$?
        \"$2\" report \"$1/a.zct\" >/dev/null; echo report $?
        exit $code";
    send_if_traced();
    if !possible(TEST) {
        return;
    }
    let dir = std::env::temp_dir().join(format!("zctrace-live-full-{}", std::process::id()));
    fs::create_dir(&dir).expect("a directory");
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", SCRIPT, "sh"])
        .arg(&dir)
        .arg(env!("CARGO_BIN_EXE_zctrace"))
        .arg(std::env::current_exe().expect("this test"))
        .arg(TEST)
        .env(SEND, "move 0")
        .env_remove("SUDO_UID")
        .stdin(Stdio::null())
        .output()
        .expect("unshare can be run");
    fs::remove_dir(dir).expect("removed");
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(4), "{printed}");
    // The report is complete, the error is printed, and the recording can be read up to the
    // failure.
    for part in [
        "MOVED   ",
        "ended early: No space left on device",
        "report 3\n",
        "cut short",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
}
