//! Tests of `zctrace demo` and `zctrace explain` as users run them, by their output and exit codes.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use zctrace_contract::Reason;
use zctrace_report::{FactStatus, JSON_SCHEMA, OracleVerdict, Report, Subcommand, Tier};

fn zctrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    zctrace(arguments).output().expect("zctrace can be run")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// An empty temporary directory, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("zctrace-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a directory of our own");
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    fn entries(&self) -> usize {
        fs::read_dir(&self.0).expect("the directory").count()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the exit code of a successful demo here: 3 if the filesystem has no direct I/O, which
/// the output then says.
fn well(dir: &Path) -> i32 {
    let name = dir.join(".zctrace-direct");
    let file = File::create(&name).expect("a file");
    let direct = rustix::fs::fcntl_getfl(&file)
        .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::DIRECT));
    fs::remove_file(&name).expect("it can be removed");
    if direct.is_ok() { 0 } else { 3 }
}

#[test]
fn table_has_a_row_per_path_and_fits_the_screen() {
    let dir = Dir::new();
    let output = run(&["demo", "--size", "1MiB", "--dir", dir.name()]);
    let text = out(&output);
    assert_eq!(output.status.code(), Some(well(&dir.0)), "{text}{}", err(&output));
    for path in [
        "file → pipe → TCP → pipe → file",
        "file → pipe → TCP → pipe → disk",
        "file → TCP (sendfile)",
        "TCP → pipe → TCP",
        "file → pipe → UNIX → pipe → TCP",
        "memory → pipe → TCP (vmsplice)",
        "memory → disk",
        "one file → 2 sinks: TCP (tee)",
        "one file → 2 sinks: UNIX",
        "file → pipe → TCP, with a peek",
        "peek: tee and read",
        "peek: tee, memfd and mmap",
        "memory → TCP (plain send)",
    ] {
        assert!(
            text.lines()
                .any(|line| line.get(3..).is_some_and(|rest| rest.starts_with(path))),
            "{path}\n{text}"
        );
    }
    assert!(
        text.lines()
            .next()
            .is_some_and(|line| line.contains("PATHS PASSED") && line.contains('%')),
        "{text}"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        // Data read by a device ends in pages of the device's own.
        let may_be_private = line.contains("→ disk") && text.contains("STAGES");
        assert!(
            !line.starts_with("= ") || line.contains("shared") || may_be_private,
            "{line}"
        );
        assert!(!line.starts_with("x  f") || line.contains("ZC"), "{line}");
    }
    assert!(text.contains("TCP_MAXSEG was set to") || well(&dir.0) == 3, "{text}");
    assert!(text.contains("paths/peek.rs:"), "the call site of the peek\n{text}");
    assert!(text.contains("Not proved"), "{text}");
    assert!(
        !text.contains('\u{1b}') && err(&output).is_empty(),
        "no color and no progress in a pipe"
    );
}

/// Returns the report of a demo of the given size.
fn report(size: &str) -> (Report, Dir) {
    let dir = Dir::new();
    let output = run(&["demo", "--json", "--size", size, "--dir", dir.name()]);
    assert_eq!(output.status.code(), Some(well(&dir.0)), "{size}: {}", err(&output));
    let json = out(&output);
    let report = Report::from_json(&json).expect("the output is a report and nothing else");
    assert_eq!(report.check(), Ok(()), "{size}");
    let schema = serde_json::from_str(JSON_SCHEMA).expect("the schema is JSON");
    let instance = serde_json::from_str(&json).expect("the report is JSON");
    let schema = jsonschema::draft202012::new(&schema).expect("the schema is a schema");
    let errors: Vec<String> = schema.iter_errors(&instance).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new(), "{size}");
    (report, dir)
}

#[test]
fn json_is_a_consistent_report() {
    let (report, dir) = report("1MiB");
    assert!(matches!(report.tier, Tier::L | Tier::T0), "{}", report.tier);
    assert_eq!(report.provenance.command, Some(Subcommand::Demo));
    let absent = report
        .coverage
        .facts
        .iter()
        .filter(|fact| fact.tier == Tier::L && fact.status == FactStatus::Unavailable);
    assert_eq!(report.flows.len() + absent.clone().count(), 13, "{:?}", report.coverage);
    assert!(absent.count() == 0 || well(&dir.0) == 3, "{:?}", report.coverage);
    for flow in &report.flows {
        assert_eq!(
            (flow.payload, flow.content_ok),
            (1 << 20, Some(true)),
            "{:?}",
            flow.name
        );
        assert!(
            matches!(flow.oracle, Some(OracleVerdict::Shared | OracleVerdict::Private)),
            "{:?}",
            flow.name
        );
    }
    let moved = report.flows.iter().filter(|flow| flow.account.moved == 1 << 20).count();
    let copied = report
        .flows
        .iter()
        .filter(|flow| flow.account.copied == 1 << 20)
        .count();
    assert!(moved >= 6 && copied >= 4, "{moved} moved, {copied} copied");
    let peek = report
        .peeks
        .iter()
        .find(|peek| peek.bytes == 65_536)
        .expect("the peek on the path");
    let flow = peek.flow.and_then(|id| report.flow(id)).expect("its flow");
    assert_eq!(
        (peek.code.as_str(), flow.peeked_bytes, flow.account.moved),
        ("ZC31", 65_536, 1 << 20)
    );
    let call_site = peek.call_site.as_ref().expect("its place");
    assert!(call_site.file.ends_with("peek.rs") && call_site.line > 0, "{call_site}");
}

/// If this process may trace, the certificate of the longest path covers every page, and those of
/// the others almost all. A packet that a timer sends in the context of a thread in which the host
/// runs no tracing programs is unknown.
#[test]
fn kernel_evidence_certifies_the_longest_path() {
    const LEN: u64 = 64 << 20;
    let (report, dir) = report("64MiB");
    if report.tier != Tier::T0 {
        let why = "needs root, or CAP_BPF and CAP_PERFMON, and raw tracepoints";
        return test_support::skip!("kernel_evidence_certifies_the_longest_path", "{why}");
    }
    // Two programs run for every packet and message of the machine, so that other load makes the
    // kernel skip them now and then.
    let of_unix = |program: &str| matches!(program, "consume_skb" | "kfree_skb");
    let ours = report.loss.programs.iter().filter(|row| !of_unix(&row.program));
    assert_eq!(ours.count(), 0, "{:?}", report.loss);
    for flow in &report.flows {
        assert_eq!(flow.payload, LEN, "{flow:#?}");
        assert!(flow.account.unknown < LEN / 100, "{flow:#?}");
    }
    if well(&dir.0) == 3 {
        return test_support::skip!(
            "kernel_evidence_certifies_the_longest_path",
            "its chain: no direct I/O here"
        );
    }
    let chain = report
        .flows
        .iter()
        .find(|flow| flow.name.as_deref() == Some("file → pipe → TCP → pipe → disk"))
        .expect("the chain");
    assert_eq!(chain.account.moved, LEN);
    let certificate = chain.certificate.as_ref().expect("a certificate");
    assert_eq!(certificate.moved_weakness(), None);
    let kinds: Vec<&str> = certificate.hops.iter().map(|hop| hop.station.kind.as_str()).collect();
    assert_eq!(kinds, ["page_cache", "pipe_slot", "skb_frag", "pipe_slot", "bio_vec"]);
    for hop in &certificate.hops {
        assert_eq!((hop.bytes, hop.pages), (LEN, LEN / 4096), "{hop:?}");
    }
}

#[test]
fn any_size_works() {
    for (size, bytes) in [
        ("1", 1),
        ("4095", 4095),
        ("5000", 5000),
        ("65537", 65_537),
        ("1048577", 1_048_577),
    ] {
        let (report, _) = report(size);
        for flow in &report.flows {
            let blocks = u64::next_multiple_of(bytes, 4096);
            assert!(
                [bytes, blocks].contains(&flow.payload),
                "{size}: {:?} {}",
                flow.name,
                flow.payload
            );
            assert_eq!(flow.content_ok, Some(true), "{size}: {:?}", flow.name);
        }
    }
    let text = out(&run(&["demo", "--size", "5000"]));
    assert!(text.contains("whole blocks: 8192 bytes instead of 5000"), "{text}");
}

#[test]
fn leaves_no_files_even_after_a_kill() {
    let dir = Dir::new();
    run(&["demo", "--size", "64KiB", "--dir", dir.name()]);
    assert_eq!(dir.entries(), 0);
    let mut child = zctrace(&["demo", "--size", "1GiB", "--dir", dir.name()])
        .stdout(Stdio::null())
        .spawn()
        .expect("zctrace can be run");
    // The files have no names, so that their descriptors show that they exist.
    let files = format!("/proc/{}/fd", child.id());
    let is_at_work = || {
        let mut files = fs::read_dir(&files).expect("its descriptors").flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|file| file.starts_with(&dir.0)))
    };
    while !is_at_work() {
        assert!(child.try_wait().expect("a child").is_none(), "it has ended");
        sleep(Duration::from_millis(1));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    assert_eq!(dir.entries(), 0);
}

#[test]
fn reports_missing_or_unwritable_directory() {
    for (dir, code) in [("/does/not/exist", 2), ("/dev/null", 2), ("/proc", 3)] {
        let output = run(&["demo", "--dir", dir]);
        assert_eq!(output.status.code(), Some(code), "{dir}");
        assert!(
            out(&output).is_empty() && err(&output).contains(dir),
            "{}",
            err(&output)
        );
    }
}

#[test]
fn demo_needs_no_privileges() {
    let dir = Dir::new();
    let binary = dir.0.join("zctrace");
    fs::copy(env!("CARGO_BIN_EXE_zctrace"), &binary).expect("a copy that anybody can reach");
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o777)).expect("open to all");
    let mut command = Command::new(&binary);
    command
        .args(["demo", "--size", "1MiB", "--dir", dir.name()])
        .stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        // The user `nobody`.
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().expect("zctrace can be run");
    assert_eq!(
        output.status.code(),
        Some(well(&dir.0)),
        "{}{}",
        out(&output),
        err(&output)
    );
}

#[test]
fn matrix_shows_which_pairs_share_pages() {
    let output = run(&["demo", "--matrix"]);
    let text = out(&output);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{text}");
    assert!(
        text.lines()
            .next()
            .is_some_and(|line| line.contains("PAIRS SHARE PAGES")),
        "{text}"
    );
    assert!(
        text.contains("TCP→pipe") && text.contains("= shared") && text.contains("x private"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn explains_each_reason_code() {
    let all = out(&run(&["explain"]));
    for reason in Reason::all() {
        assert!(all.contains(reason.code()), "{all}");
        let output = run(&["explain", &reason.code().to_lowercase()]);
        let text = out(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(0));
        assert!(text.contains(reason.code()), "{text}");
        assert!(
            text.contains(reason.description()) && text.contains(reason.advice()),
            "{text}"
        );
    }
    let output = run(&["explain", "ZC999"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""));
    assert!(err(&output).contains("ZC999"), "{}", err(&output));
}

#[test]
fn rejects_unknown_options() {
    for arguments in [
        &["run", "-p", "0"][..],
        &["assert", "--", "true"],
        &["demo", "--size", "0"],
        &["demo", "--size", "64MB"],
        &[],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(out(&output).is_empty() && !err(&output).is_empty(), "{arguments:?}");
    }
    assert!(err(&run(&["calibrate"])).contains("unrecognized subcommand"));
    assert_eq!(run(&["demo", "--help"]).status.code(), Some(0));
}

#[test]
fn closed_pipe_is_no_error_and_full_disk_is() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = zctrace(&["explain"])
        .stdout(writer)
        .output()
        .expect("zctrace can be run");
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    let full = File::create("/dev/full").expect("/dev/full");
    let output = zctrace(&["explain"]).stdout(full).output().expect("zctrace can be run");
    assert_eq!(output.status.code(), Some(4));
    assert!(err(&output).contains("could not write"), "{}", err(&output));
}
