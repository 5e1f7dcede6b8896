//! Tests of starting, tracing and ending a command, with a tracer that observes nothing: the
//! process handling alone.
//!
//! The modules are those of the program, compiled into this test, because the program has no
//! library. The process that becomes the command is the program itself.

#[path = "../src/child/mod.rs"]
#[allow(dead_code, unused_imports)] // The program uses what the tests do not.
mod child;
#[path = "../src/exit_code.rs"]
#[allow(dead_code)]
mod exit_code;
#[path = "../src/signals.rs"]
#[allow(dead_code)]
mod signals;
#[path = "../src/terminal_io.rs"]
#[allow(dead_code)]
mod terminal_io;
#[path = "../src/trace_loop.rs"]
#[allow(dead_code)]
mod trace_loop;
#[path = "../src/tracee.rs"]
#[allow(dead_code)]
mod tracee;
#[path = "../src/tracer.rs"]
#[allow(dead_code)]
mod tracer;

#[path = "command/stopping.rs"]
mod stopping;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use child::{CommandSpec, CommandStatus, ExecError, User, WaitingChild};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signals::{ReceivedSignal, Signals};
use trace_loop::{Observer, Schedule, StopReason};
use tracee::Tracee;
use tracer::Tracer;
use zctrace_report::{Report, Scope, StillRunning, Tier};

/// Time after which an operation is considered to hang.
const PATIENCE: Duration = Duration::from_secs(60);

// --- helpers
// ---------------------------------------------------------------------------------------------------------

fn zctrace() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_zctrace"))
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn pending(command: &[&str]) -> Result<WaitingChild, ExecError> {
    let command = words(command);
    WaitingChild::spawn(
        zctrace(),
        &CommandSpec {
            command: &command,
            user: None,
            cookie: 0,
            terminal: None,
        },
    )
}

/// Tracer that observes nothing, and counts its polls.
#[derive(Default)]
struct Blind {
    polls: u64,
    /// Processes that outlive every command.
    running: Vec<StillRunning>,
}

impl Tracer for Blind {
    fn cookie(&self) -> u64 {
        0
    }

    fn poll(&mut self) {
        self.polls += 1;
    }

    fn report(&mut self, _: usize) -> Report {
        Report::new(Tier::T0, Scope::default())
    }

    fn running_processes(&self) -> Vec<StillRunning> {
        self.running.clone()
    }

    fn finish(mut self: Box<Self>, max_rows: usize) -> Report {
        self.report(max_rows)
    }
}

/// Observer that counts its calls.
#[derive(Default)]
struct Counting {
    /// Number of interim reports after which to stop.
    most: Option<u64>,
    interims: u64,
    waits: u64,
}

impl Observer for Counting {
    fn on_interim_report(&mut self, _: Report) {
        self.interims += 1;
    }

    fn on_poll(&mut self, _: &mut dyn Tracer) {}

    fn on_waiting_for_command(&mut self) {
        self.waits += 1;
    }

    fn should_stop(&mut self) -> bool {
        self.most.is_some_and(|most| self.interims >= most)
    }
}

/// Traces `tracee`; `signals` returns the received signals.
fn traced(
    mut tracee: Tracee,
    schedule: Schedule,
    signals: &mut dyn FnMut() -> Vec<ReceivedSignal>,
) -> (StopReason, Counting, Blind) {
    let (mut tracer, mut observer, start) = (Blind::default(), Counting::default(), Instant::now());
    let stopped = trace_loop::run(
        &mut tracer,
        &mut tracee,
        &schedule,
        10,
        &mut || {
            assert!(start.elapsed() < PATIENCE, "it does not end");
            signals()
        },
        &mut observer,
    );
    (stopped.expect("tracing"), observer, tracer)
}

fn ended(command: &[&str]) -> CommandStatus {
    let running = pending(command).expect("found").exec().expect("run");
    match traced(Tracee::Command(running), Schedule::default(), &mut || Vec::new()).0 {
        StopReason::CommandEnded { status, by_us: false } => status,
        other => panic!("{other:?}"),
    }
}

/// Runs this test again in another process, where `inside` names the part to execute.
fn again(test: &str, inside: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env("ZCTRACE_TEST_INSIDE", inside);
    command
}

fn inside() -> Option<String> {
    std::env::var("ZCTRACE_TEST_INSIDE").ok()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Creates a directory for this test.
fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("zctrace-command-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("a directory");
    path
}

fn caught(signal: i32, by_kernel: bool) -> Vec<ReceivedSignal> {
    vec![ReceivedSignal { signal, by_kernel }]
}

// --- how it ends
// -----------------------------------------------------------------------------------------------------

#[test]
fn exit_code_is_the_commands_or_128_plus_signal() {
    assert_eq!(ended(&["true"]).exit_code(), 0);
    assert_eq!(ended(&["sh", "-c", "exit 7"]).exit_code(), 7);
    assert_eq!(ended(&["sh", "-c", "exit 255"]).exit_code(), 255);
    assert_eq!(ended(&["sh", "-c", "kill -TERM $$"]), CommandStatus::Signaled(15));
    assert_eq!(ended(&["sh", "-c", "kill -KILL $$"]).exit_code(), 137);
}

#[test]
fn unrunnable_command_is_126_or_127_with_a_reason() {
    let dir = directory("not-runnable");
    let data = dir.join("data");
    fs::write(&data, "no program").expect("a file");
    let broken = dir.join("broken");
    fs::write(&broken, "#!/no/such/interpreter\n").expect("a file");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("its mode");
    for (command, code, says) in [
        ("no-such-command-here", 127, "not found in PATH"),
        ("/no/such/file", 127, "No such file"),
        (data.to_str().expect("UTF-8"), 126, "Permission denied"),
        (dir.to_str().expect("UTF-8"), 126, "Permission denied"),
        // As in a shell: the interpreter is not found.
        (broken.to_str().expect("UTF-8"), 127, "No such file"),
        ("", 127, "no name"),
    ] {
        let error = pending(&[command]).and_then(WaitingChild::exec).expect_err(command);
        assert_eq!(error.code, Some(code), "{command}: {error}");
        assert!(error.to_string().contains(says), "{command}: {error}");
    }
    fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn nothing_runs_before_the_release() {
    let dir = directory("go");
    let mark = dir.join("mark");
    let command = ["touch", mark.to_str().expect("UTF-8")];
    let child = pending(&command).expect("found");
    std::thread::sleep(Duration::from_millis(50));
    let of = fs::read_to_string(format!("/proc/{}/comm", child.pid())).expect("it waits");
    assert_ne!(of.trim(), "touch");
    drop(child);
    assert!(!mark.exists(), "dropped is gone");
    let child = pending(&command).expect("found");
    let pid = child.pid();
    let running = child.exec().expect("run");
    assert_eq!(running.pid(), pid, "the number is known before it runs");
    traced(Tracee::Command(running), Schedule::default(), &mut || Vec::new());
    assert!(mark.exists());
    fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn grandchild_does_not_delay_the_end() {
    let dir = directory("grandchild");
    let number = dir.join("number");
    let script = format!("sleep 600 >/dev/null 2>&1 & echo $! >{}; exit 3", number.display());
    assert_eq!(ended(&["sh", "-c", &script]).exit_code(), 3);
    let number = fs::read_to_string(number).expect("the number of the child's child");
    let grandchild = Pid::from_raw(number.trim().parse().expect("a number")).expect("a number");
    kill_process(grandchild, Signal::KILL).expect("it runs on");
    fs::remove_dir_all(dir).expect("removed");
    assert_eq!(ended(&["sh", "-c", "sh -c 'exit 9'; exit $?"]).exit_code(), 9);
}

// --- what it gets
// ----------------------------------------------------------------------------------------------------

/// Test of the environment and the descriptors that the command inherits. The process started here
/// writes the command's output.
#[test]
fn command_inherits_its_environment_and_no_extra_descriptors() {
    const TEST: &str = "command_inherits_its_environment_and_no_extra_descriptors";
    if inside().is_some() {
        // Open descriptors that the command must not inherit.
        let _more = File::open("/dev/null").expect("a file");
        let world = "ls /proc/self/fd | wc -l; grep -E 'Sig(Blk|Ign)' /proc/self/status";
        let plain = Command::new("sh")
            .args(["-c", world])
            .stdin(Stdio::null())
            .output()
            .expect("sh");
        println!("\nplain={}", text(&plain).replace('\n', " "));
        let script = format!(
            "read line; echo \"in=$line\"; echo \"env=$KEPT\"; pwd -P; echo \"zero=$0\"; \
             echo \"traced=$({{ {world}; }} | tr '\\n' ' ')\"; echo err >&2; exit 4"
        );
        let script = script.as_str();
        assert_eq!(ended(&["sh", "-c", script]).exit_code(), 4);
        return;
    }
    let dir = directory("world").canonicalize().expect("a directory");
    let mut child = again(TEST, "world");
    child.env("KEPT", "a b").current_dir(&dir);
    child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = child.spawn().expect("this test");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"hello\nrest\n")
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    let directory = format!("\n{}\n", dir.display());
    for part in ["in=hello\n", "env=a b\n", &directory, "zero=sh\n", "err\n"] {
        assert!(printed.contains(part), "{part:?}\n{printed}");
    }
    let after = |word: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(word));
        line.unwrap_or_else(|| panic!("{word}\n{printed}")).trim().to_owned()
    };
    assert_eq!(
        after("traced="),
        after("plain="),
        "descriptors and signals are as if run by hand\n{printed}"
    );
    fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn root_switches_to_the_user_with_all_groups() {
    const TEST: &str = "root_switches_to_the_user_with_all_groups";
    if !rustix::process::geteuid().is_root() {
        test_support::skip!(TEST, "it takes root to become someone else");
        return;
    }
    if inside().is_some() {
        let user = User::resolve(Some("nobody"))
            .expect("nobody is everywhere")
            .expect("not root");
        let command = words(&[
            "sh",
            "-c",
            "id -u; id -G; echo \"$HOME $USER $LOGNAME\"; grep CapEff /proc/self/status",
        ]);
        let wanted = CommandSpec {
            command: &command,
            user: Some(&user),
            cookie: 0,
            terminal: None,
        };
        let running = WaitingChild::spawn(zctrace(), &wanted)
            .expect("found")
            .exec()
            .expect("run");
        traced(Tracee::Command(running), Schedule::default(), &mut || Vec::new());
        return;
    }
    let output = again(TEST, "user").env("SUDO_UID", "0").output().expect("this test");
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    let uid = |name: &str| {
        let output = Command::new("id").args(["-u", name]).output().expect("id");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(printed.contains(&uid("nobody")), "{printed}");
    assert!(printed.contains(" nobody nobody\n"), "{printed}");
    assert!(
        printed.contains("CapEff:\t0000000000000000"),
        "nothing of root is left\n{printed}"
    );
}

#[test]
fn sudo_caller_gets_commands_outside_of_path() {
    const TEST: &str = "sudo_caller_gets_commands_outside_of_path";
    if !rustix::process::geteuid().is_root() {
        test_support::skip!(TEST, "it takes root to become someone else");
        return;
    }
    let home = directory("home");
    let bin = home.join(".cargo/bin");
    fs::create_dir_all(&bin).expect("a directory");
    fs::write(bin.join("own-tool-of-zctrace"), "#!/bin/sh\nexit 6\n").expect("a program");
    for path in [&home, &home.join(".cargo"), &bin, &bin.join("own-tool-of-zctrace")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    let user = User {
        name: "caller".to_owned(),
        uid: 12_345,
        gid: 12_345,
        groups: vec![12_345],
        home: Some((home.clone(), "/bin/sh".into())),
    };
    let command = words(&["own-tool-of-zctrace"]);
    let wanted = CommandSpec {
        command: &command,
        user: Some(&user),
        cookie: 0,
        terminal: None,
    };
    let child = WaitingChild::spawn(zctrace(), &wanted).expect("found");
    assert_eq!(
        child.path_outside_path(),
        Some(bin.join("own-tool-of-zctrace").as_path())
    );
    let running = child.exec().expect("run");
    let (stopped, ..) = traced(Tracee::Command(running), Schedule::default(), &mut || Vec::new());
    assert_eq!(
        stopped,
        StopReason::CommandEnded {
            status: CommandStatus::Exited(6),
            by_us: false
        }
    );
    fs::remove_dir_all(home).expect("removed");
}
