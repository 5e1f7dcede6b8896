//! Tests of `zctrace doctor` and `zctrace selftest` on this machine, with and without privileges.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// UID of an unprivileged user: the default of `fs.overflowuid` on all distributions.
const NOBODY: u32 = 65_534;

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn zctrace(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("zctrace can be run")
}

/// A copy of zctrace that an unprivileged user can run, removed at the end.
struct Unprivileged(PathBuf);

impl Unprivileged {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("zctrace-{test}-{}", std::process::id()));
        fs::create_dir(&dir).expect("a directory");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("its permissions");
        let binary = dir.join("zctrace");
        fs::copy(env!("CARGO_BIN_EXE_zctrace"), &binary).expect("a copy of zctrace");
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("its permissions");
        Self(dir)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.0.join("zctrace"));
        command
            .args(arguments)
            .stdin(Stdio::null())
            .current_dir("/")
            .env_remove("SUDO_UID");
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().expect("zctrace can be run")
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the first line that the program printed, which says why it cannot trace.
fn first_line(output: &Output) -> String {
    both(output).lines().next().unwrap_or_default().to_owned()
}

fn assert_fits(text: &str) {
    for line in text.lines().filter(|line| !line.contains("sudo ")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn selftest_passes_here() {
    const TEST: &str = "selftest_passes_here";
    let output = zctrace(&["selftest"]);
    if output.status.code() == Some(4) {
        return test_support::skip!(TEST, "{}", first_line(&output));
    }
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.starts_with("PASSED   "), "{printed}");
    let last = printed.lines().last().unwrap_or_default();
    assert!(
        last.ends_with(" passed, 0 failed") && !last.starts_with("0 "),
        "{printed}"
    );
    assert_fits(&printed);

    let output = zctrace(&["selftest", "--json"]);
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        table["trials"].as_array().is_some_and(|trials| trials.len() >= 12),
        "{table}"
    );

    // A memory filesystem has no disk. A trial that cannot run is listed and does not fail.
    if Path::new("/dev/shm").is_dir() {
        let output = zctrace(&["selftest", "--dir", "/dev/shm"]);
        let printed = both(&output);
        assert_eq!(output.status.code(), Some(0), "{printed}");
        assert!(
            printed.contains("absent") && printed.contains("--dir DIR names another"),
            "{printed}"
        );
        assert!(printed.ends_with(" passed, 0 failed\n"), "{printed}");
    }
}

#[test]
fn report_dates_its_verified_facts() {
    const TEST: &str = "report_dates_its_verified_facts";
    let output = zctrace(&["run", "--format", "json", "--", "true"]);
    if output.status.code() == Some(4) {
        return test_support::skip!(TEST, "{}", first_line(&output));
    }
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let facts = report["coverage"]["facts"].as_array().expect("facts");
    let slots = facts.iter().find(|fact| fact["name"] == "pages in pipe slots");
    let slots = slots.expect("the first of the facts");
    assert_eq!(slots["status"], "verified", "{facts:#?}");
    assert!(
        slots["verified_unix_ms"].as_u64().is_some_and(|when| when > 0),
        "{facts:#?}"
    );
}

#[test]
fn doctor_finds_this_machine_ready() {
    const TEST: &str = "doctor_finds_this_machine_ready";
    let output = zctrace(&["selftest"]);
    if output.status.code() == Some(4) {
        return test_support::skip!(TEST, "{}", first_line(&output));
    }
    let output = zctrace(&["doctor", "--all"]);
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(
        printed.starts_with("READY   ") && printed.contains("on every system call of every process"),
        "{printed}"
    );
    assert_fits(&printed);
    let output = zctrace(&["doctor", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["ready"], true);
    let ns = |name: &str| found["cost"][name]["ns"].as_f64().expect(name);
    // Reports of this boot contain the measured cost.
    let output = zctrace(&["run", "--format", "json", "--", "true"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let printed = report["overhead"]["per_syscall_ns"].as_f64();
    assert!(printed.is_some_and(|ns| ns >= 0.0), "{report:#}");
    assert!(ns("bare_syscall") > 0.0 && ns("bare_splice") > 0.0, "{found:#}");
}

#[test]
fn missing_privileges_come_with_a_hint() {
    let zctrace = Unprivileged::new("hints");
    let output = zctrace.run(&["doctor"]);
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.starts_with("NOT READY   1 thing to fix; then "), "{printed}");
    let setcap = "sudo setcap cap_bpf,cap_perfmon";
    for expected in ["without CAP_BPF, CAP_PERFMON", setcap, "not measured"] {
        assert!(printed.contains(expected), "{expected}\n{printed}");
    }
    assert_fits(&printed);
    let output = zctrace.run(&["doctor", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["ready"], false);
    assert_eq!(found["problems"][0]["area"], "privileges");

    for arguments in [
        &["run", "--", "touch", "/tmp/zctrace-must-not-start"][..],
        &["assert", "--to", "file", "--max-copied", "0", "--", "true"],
        &["selftest"],
        &["selftest", "--json"],
    ] {
        let output = zctrace.run(arguments);
        let printed = both(&output);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}\n{printed}");
        assert!(
            printed.contains("CAP_BPF and CAP_PERFMON") && printed.contains(setcap),
            "{arguments:?}\n{printed}"
        );
    }
    assert!(!Path::new("/tmp/zctrace-must-not-start").exists());
}

#[test]
fn missing_btf_is_a_clear_error() {
    let output = zctrace(&["doctor", "--btf", "/nonexistent"]);
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.starts_with("NOT READY   "), "{printed}");
    assert!(
        printed.contains("/nonexistent") && printed.contains("CONFIG_DEBUG_INFO_BTF=y"),
        "{printed}"
    );
    assert_fits(&printed);
}

#[test]
fn version_names_the_ebpf_object() {
    let output = zctrace(&["--version"]);
    let printed = both(&output);
    assert!(
        printed.starts_with(&format!("zctrace {} (eBPF object ", env!("CARGO_PKG_VERSION"))),
        "{printed}"
    );
    let output = zctrace(&["selftest", "--dir", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(2), "{}", both(&output));
}
