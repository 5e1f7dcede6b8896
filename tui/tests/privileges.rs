//! Tests of the privileges of zctrace during a trace, and of the command: as few as possible, and
//! the usual ones.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use common::{both, possible};
use zctrace_report::Report;

const ZCTRACE: &str = env!("CARGO_BIN_EXE_zctrace");

/// Bits of capability sets (include/uapi/linux/capability.h).
const KILL: u64 = 1 << 5;
const SYS_PTRACE: u64 = 1 << 19;
const BPF: u64 = 1 << 39;

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_remove("SUDO_UID")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{}: {}", output.status, both(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Returns a line of `/proc/PID/status`.
fn line<'a>(status: &'a str, name: &str) -> &'a str {
    let found = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

fn set(status: &str, name: &str) -> u64 {
    u64::from_str_radix(line(status, name), 16).expect("a set")
}

#[test]
fn zctrace_drops_capabilities_and_the_command_keeps_its_own() {
    const TEST: &str = "zctrace_drops_capabilities_and_the_command_keeps_its_own";
    if !possible(TEST) {
        return;
    }
    // The command runs only after zctrace has dropped its privileges.
    let status = output(
        ZCTRACE,
        &["run", "-o", "/dev/null", "--", "sh", "-c", "cat /proc/$PPID/status"],
    );
    assert_eq!(line(&status, "Name"), "zctrace");
    let before = output("cat", &["/proc/self/status"]);
    let kept = (BPF | SYS_PTRACE | KILL) & set(&before, "CapPrm");
    assert_eq!(
        (set(&status, "CapPrm"), set(&status, "CapEff")),
        (kept, kept),
        "{status}"
    );
    assert_eq!((set(&status, "CapInh"), set(&status, "CapAmb")), (0, 0), "{status}");
    assert_eq!(
        (line(&status, "NoNewPrivs"), line(&status, "Groups")),
        ("1", ""),
        "{status}"
    );

    let alone = output("cat", &["/proc/self/status"]);
    let watched = output(ZCTRACE, &["run", "-o", "/dev/null", "--", "cat", "/proc/self/status"]);
    for name in [
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
    ] {
        assert_eq!(line(&watched, name), line(&alone, name), "{name}");
    }
}

/// Returns the user `nobody`, who exists everywhere. Returns `None`, and reports that, if this
/// process may not switch users.
fn another_user(test: &str) -> Option<&'static str> {
    if run("setpriv", &["--reuid=nobody", "--clear-groups", "true"])
        .status
        .success()
    {
        return Some("nobody");
    }
    test_support::skip!(test, "this process may not become nobody");
    None
}

#[test]
fn other_users_command_gets_signals_and_call_sites() {
    const TEST: &str = "other_users_command_gets_signals_and_call_sites";
    if !possible(TEST) {
        return;
    }
    let Some(user) = another_user(TEST) else { return };
    // The command ends by the signal that it is sent, long before it would end by itself.
    let slept = run(
        ZCTRACE,
        &["run", "--user", user, "--duration", "200ms", "--", "sleep", "600"],
    );
    assert_eq!(slept.status.code(), Some(0), "{}", both(&slept));

    // The command reads until zctrace ends it, so that it exists when its descriptors are
    // inspected.
    let reads = "while :; do read line </etc/passwd; done";
    let json = output(
        ZCTRACE,
        &[
            "run",
            "--user",
            user,
            "--duration",
            "500ms",
            "--format",
            "json",
            "--",
            "sh",
            "-c",
            reads,
        ],
    );
    let report = Report::from_json(&json).expect("a report");
    let causes = report.edges.iter().flat_map(|edge| &edge.reasons);
    let objects: Vec<_> = causes
        .filter_map(|cause| cause.call_site.as_ref()?.object.as_deref())
        .collect();
    assert!(
        objects.iter().any(|object| object.contains("+0x")),
        "{:#?}",
        report.edges
    );
}

#[test]
fn output_files_are_opened_before_privileges_are_dropped() {
    const TEST: &str = "output_files_are_opened_before_privileges_are_dropped";
    if !possible(TEST) {
        return;
    }
    // A directory of another user, which only a process with CAP_DAC_OVERRIDE may write to.
    let Some(user) = another_user(TEST) else { return };
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
    let other_directory = dir.path().join("theirs");
    std::fs::create_dir(&other_directory).expect("mkdir");
    std::fs::set_permissions(&other_directory, PermissionsExt::from_mode(0o700)).expect("chmod");
    output("chown", &[user, other_directory.to_str().expect("a path")]);
    let path = |name: &str| other_directory.join(name).display().to_string();
    let (report, baseline, source) = (path("report"), path("baseline"), dir.path().join("source"));
    std::fs::write(&source, vec![7; 100_000]).expect("write");
    let sink = dir.path().join("sink").display().to_string();
    let asserted = [
        "assert",
        "--to",
        "file",
        "--save-baseline",
        &baseline,
        "-o",
        &report,
        "--format",
        "json",
        "--",
    ];
    let source = source.display().to_string();
    let copy = ["dd", "bs=10k", &format!("if={source}"), &format!("of={sink}")];
    let done = run(ZCTRACE, &[&asserted[..], &copy].concat());
    assert_eq!(done.status.code(), Some(0), "{}", both(&done));
    let read = |path: &str| std::fs::read_to_string(path).expect("written");
    assert!(Report::from_json(&read(&report)).is_ok());
    let first = read(&baseline);
    assert!(first.contains("copied"), "{first}");

    // A shorter baseline replaces a longer one, and an inconclusive run leaves none.
    std::fs::write(&baseline, "x".repeat(100_000)).expect("write");
    let done = run(ZCTRACE, &[&asserted[..], &copy].concat());
    assert_eq!(
        (done.status.code(), read(&baseline).len()),
        (Some(0), first.len()),
        "{}",
        both(&done)
    );
    std::fs::remove_file(&baseline).expect("rm");
    let done = run(ZCTRACE, &[&asserted[..], &["true"]].concat());
    assert_eq!(done.status.code(), Some(3), "nothing was delivered: {}", both(&done));
    let left = std::fs::metadata(&baseline).map_or(0, |data| data.len());
    assert_eq!(left, 0, "nothing is known of that run");
}

#[test]
fn names_each_missing_capability() {
    const TEST: &str = "names_each_missing_capability";
    if !possible(TEST) {
        return;
    }
    let with = |capabilities: &str, arguments: &[&str]| {
        let bounds = format!("--bounding-set=-all{capabilities}");
        run("setpriv", &[&[bounds.as_str(), ZCTRACE][..], arguments].concat())
    };
    if !with("", &["--version"]).status.success() {
        return test_support::skip!(TEST, "capabilities cannot be taken away here");
    }
    let started = ["run", "-o", "/dev/null", "--", "echo", "started"];
    for (capabilities, missing, hint) in [
        ("", &["CAP_BPF", "CAP_PERFMON"][..], "--cap-add BPF --cap-add PERFMON"),
        (",+perfmon", &["CAP_BPF"], "--cap-add BPF"),
        (",+bpf", &["CAP_PERFMON"], "--cap-add PERFMON"),
    ] {
        let output = with(capabilities, &started);
        let printed = both(&output);
        assert_eq!(output.status.code(), Some(4), "{capabilities}: {printed}");
        assert!(!printed.contains("started"), "{printed}");
        let named = format!("needs {}, which", missing.join(" and "));
        assert!(
            printed.contains(&named) && printed.contains("→ you are root without it"),
            "{printed}"
        );
        assert!(printed.contains(hint), "{printed}");
    }
    for capabilities in [",+bpf,+perfmon", ",+sys_admin"] {
        let output = with(capabilities, &started);
        assert_eq!(output.status.code(), Some(0), "{capabilities}: {}", both(&output));
    }
}
