//! Tests of processes in other PID namespaces. From outside they are selected by their outer PIDs;
//! inside of a namespace PIDs are rejected, because the probes observe other ones.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{both, possible};
use zctrace_report::{EndpointKind, Report};

const ZCTRACE: &str = env!("CARGO_BIN_EXE_zctrace");

/// `cat` as the init process of a PID namespace.
struct Nested {
    unshare: Child,
    /// Its PID in the namespace of this test.
    pid: u32,
}

impl Nested {
    fn start(to: &Path) -> Option<Self> {
        let sink = std::fs::File::create(to).expect("create");
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--pid", "--fork", "--kill-child", "cat"])
            .stdin(Stdio::piped())
            .stdout(sink)
            .stderr(Stdio::null());
        let mut unshare = unshare.spawn().expect("unshare(1) can be run");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        loop {
            // The process does not exist yet, or is not `cat` yet, or will never exist.
            if unshare.try_wait().expect("wait").is_some() {
                return None;
            }
            let child = std::fs::read_to_string(&children).unwrap_or_default();
            if let Ok(pid) = child.trim().parse()
                && std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "cat\n")
            {
                return Some(Self { unshare, pid });
            }
            std::thread::yield_now();
        }
    }

    /// Keeps the process busy until `done` returns true.
    fn feed(&mut self, mut done: impl FnMut() -> bool) {
        let mut stdin = self.unshare.stdin.take().expect("its stdin");
        while !done() {
            stdin.write_all(&[7; 4096]).expect("it reads");
        }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
    }
}

/// Returns whether this process has PIDs that the probes observe.
fn is_outside() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name.as_os_str() == "pid:[4026531836]")
}

#[test]
fn nested_namespace_process_is_named_by_its_outer_pid() {
    const TEST: &str = "nested_namespace_process_is_named_by_its_outer_pid";
    if !possible(TEST) {
        return;
    }
    if !is_outside() {
        return test_support::skip!(TEST, "this is inside of a PID namespace");
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(mut nested) = Nested::start(&dir.path().join("sink")) else {
        return test_support::skip!(TEST, "no PID namespace can be made here");
    };
    let pid = nested.pid;
    let mut zctrace = Command::new(ZCTRACE)
        .args(["run", "--duration", "500ms", "--format", "json", "-p", &pid.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("zctrace can be run");
    // A report fits into a pipe, so that the program ends without being read.
    nested.feed(|| zctrace.try_wait().expect("wait").is_some());
    let output = zctrace.wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", both(&output));
    let report = Report::from_json(std::str::from_utf8(&output.stdout).expect("text")).expect("a report");
    assert_eq!(report.scope.pids, [pid]);
    let process = report.processes.iter().find(|process| process.pid == pid);
    let process = process.unwrap_or_else(|| panic!("{:#?}", report.processes));
    assert_eq!((process.ns_pid, process.name.as_str()), (Some(1), "cat"));
    let written: u64 = report
        .edges
        .iter()
        .filter(|edge| edge.pid == Some(pid) && edge.to.endpoint.kind == EndpointKind::File)
        .map(|edge| edge.bytes)
        .sum();
    assert!(written > 0, "{:#?}", report.edges);
    let places = report
        .edges
        .iter()
        .flat_map(|edge| &edge.reasons)
        .filter(|cause| cause.call_site.is_some());
    assert!(places.count() > 0, "{:#?}", report.edges);
}

fn inside(arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", ZCTRACE]);
    command.args(arguments).output().expect("unshare(1) can be run")
}

#[test]
fn pid_namespace_rejects_pids_and_accepts_commands() {
    const TEST: &str = "pid_namespace_rejects_pids_and_accepts_commands";
    if !possible(TEST) {
        return;
    }
    if !inside(&["--version"]).status.success() {
        return test_support::skip!(TEST, "no PID namespace can be made here");
    }
    let output = inside(&["run", "--duration", "10ms", "-p", "1"]);
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(4), "{printed}");
    assert!(
        printed.contains("those of a container's PID namespace") && printed.contains("→"),
        "{printed}"
    );
    let output = inside(&["run", "--format", "json", "--", "cat", "/etc/passwd"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    let report = Report::from_json(&text[text.find("\n{").expect("a report")..]).expect("a report");
    assert!(
        report
            .edges
            .iter()
            .any(|edge| edge.to.endpoint.kind == EndpointKind::Memory && edge.bytes > 0),
        "{:#?}",
        report.edges
    );
}
