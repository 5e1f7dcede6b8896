//! Starting, watching and ending a command, with a tracer that sees nothing: the process handling alone.
//!
//! The modules are the program's own, built into this test, since the program has no library; what becomes the command is
//! the program itself.

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
use zctrace_report::{Report, Scope, Tier};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

// --- helpers ---------------------------------------------------------------------------------------------------------

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

/// A tracer that sees nothing, and counts what it is asked.
#[derive(Default)]
struct Blind {
    polls: u64,
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

    fn finish(mut self: Box<Self>, max_rows: usize) -> Report {
        self.report(max_rows)
    }
}

/// An observer that counts.
#[derive(Default)]
struct Counting {
    /// How many reports are enough.
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

/// Traces `tracee`; `signals` says which signals came.
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

/// This test, run again in a process of its own, where `inside` names what it is to do.
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

/// A directory of our own.
fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("zctrace-command-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("a directory");
    path
}

fn caught(signal: i32, by_kernel: bool) -> Vec<ReceivedSignal> {
    vec![ReceivedSignal { signal, by_kernel }]
}

// --- how it ends -----------------------------------------------------------------------------------------------------

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
        // As a shell has it: it is the interpreter that is not found.
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

// --- what it gets ----------------------------------------------------------------------------------------------------

/// What the command sees of its world; this process runs it, and its output is the command's.
#[test]
fn command_inherits_its_environment_and_no_extra_descriptors() {
    const TEST: &str = "command_inherits_its_environment_and_no_extra_descriptors";
    if inside().is_some() {
        // What is open besides: nothing of it may come through.
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
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let directory = format!("\n{}\n", dir.display());
    for part in ["in=hello\n", "env=a b\n", &directory, "zero=sh\n", "err\n"] {
        assert!(said.contains(part), "{part:?}\n{said}");
    }
    let after = |word: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(word));
        line.unwrap_or_else(|| panic!("{word}\n{said}")).trim().to_owned()
    };
    assert_eq!(
        after("traced="),
        after("plain="),
        "descriptors and signals are as if run by hand\n{said}"
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
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let uid = |name: &str| {
        let output = Command::new("id").args(["-u", name]).output().expect("id");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(said.contains(&uid("nobody")), "{said}");
    assert!(said.contains(" nobody nobody\n"), "{said}");
    assert!(
        said.contains("CapEff:\t0000000000000000"),
        "nothing of root is left\n{said}"
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

// --- signals and times -----------------------------------------------------------------------------------------------

/// A command that says by its code which signal came, and by a file that it is ready for one.
struct Tells(PathBuf);

impl Tells {
    fn new(name: &str) -> Self {
        Self(directory(name))
    }

    fn run(&self) -> child::RunningCommand {
        let ready = self.0.join("ready");
        let script = format!(
            "trap 'exit 21' TERM; trap 'exit 22' INT; trap 'exit 23' HUP; trap 'exit 24' QUIT; \
             : >{}; while :; do sleep 0.02; done",
            ready.display()
        );
        pending(&["sh", "-c", &script]).expect("found").exec().expect("run")
    }

    fn is_ready(&self) -> bool {
        self.0.join("ready").exists()
    }

    /// Signals that come once, when the command is ready.
    fn once(&self, signal: i32, by_kernel: bool) -> impl FnMut() -> Vec<ReceivedSignal> {
        let mut sent = false;
        move || {
            if sent || !self.is_ready() {
                return Vec::new();
            }
            sent = true;
            caught(signal, by_kernel)
        }
    }
}

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn signals_are_forwarded_and_the_report_is_awaited() {
    for (signal, code) in [(SIGTERM, 21), (SIGINT, 22), (1, 23), (3, 24)] {
        let tells = Tells::new(&format!("signal-{signal}"));
        let tracee = Tracee::Command(tells.run());
        let (stopped, ..) = traced(tracee, Schedule::default(), &mut tells.once(signal, false));
        let status = CommandStatus::Exited(code);
        assert_eq!(
            stopped,
            StopReason::CommandEnded { status, by_us: false },
            "signal {signal}"
        );
    }
}

#[test]
fn terminal_signals_are_not_duplicated_and_two_abandon_the_command() {
    let tells = Tells::new("twice");
    let running = tells.run();
    let pid = Pid::from_raw(running.pid() as i32).expect("a number");
    let mut number = 0;
    let mut twice = || {
        if !tells.is_ready() || number == 2 {
            return Vec::new();
        }
        number += 1;
        caught(SIGINT, true)
    };
    let (stopped, observer, _) = traced(Tracee::Command(running), Schedule::default(), &mut twice);
    assert_eq!((stopped, observer.waits), (StopReason::CommandAbandoned(SIGINT), 1));
    kill_process(pid, Signal::KILL).expect("it runs on, for it got no signal");
}

#[test]
fn duration_limit_terminates_the_command() {
    let schedule = Schedule {
        duration: Some(Duration::from_millis(300)),
        report_interval: Some(Duration::from_millis(100)),
    };
    let running = pending(&["sleep", "600"]).expect("found").exec().expect("run");
    let (stopped, observer, tracer) = traced(Tracee::Command(running), schedule, &mut || Vec::new());
    let status = CommandStatus::Signaled(15);
    assert_eq!(stopped, StopReason::CommandEnded { status, by_us: true });
    // How many there are is a matter of how busy the machine is.
    assert!(observer.interims > 0 && tracer.polls > 0);
    // One that ends by itself, if after being asked, has its own code.
    let tells = Tells::new("time-is-up");
    let tracee = Tracee::Command(tells.run());
    // Time runs from when tracing begins.
    while !tells.is_ready() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let schedule = Schedule {
        duration: Some(Duration::from_millis(1)),
        report_interval: None,
    };
    let (stopped, ..) = traced(tracee, schedule, &mut || Vec::new());
    let status = CommandStatus::Exited(21);
    assert_eq!(stopped, StopReason::CommandEnded { status, by_us: false });
}

#[test]
fn interim_reports_come_at_the_interval_until_stopped() {
    let mut long = Command::new("sleep").arg("600").spawn().expect("sleep");
    let schedule = Schedule {
        duration: None,
        report_interval: Some(Duration::from_millis(1)),
    };
    let mut tracee = Tracee::processes(&[long.id()]).expect("it runs");
    let mut observer = Counting {
        most: Some(3),
        ..Counting::default()
    };
    let mut tracer = Blind::default();
    let stopped = trace_loop::run(&mut tracer, &mut tracee, &schedule, 10, &mut Vec::new, &mut observer);
    assert_eq!(
        (stopped.expect("tracing"), observer.interims),
        (StopReason::Finished, 3)
    );
    long.kill().and_then(|()| long.wait()).expect("it ends");
}

#[test]
fn running_processes_are_traced_to_their_end_or_a_signal() {
    let mut short = Command::new("sleep").arg("0.3").spawn().expect("sleep");
    // A child of ours that nobody waits for yet is as good as gone.
    let tracee = Tracee::processes(&[short.id()]).expect("it runs");
    assert_eq!(
        traced(tracee, Schedule::default(), &mut || Vec::new()).0,
        StopReason::Finished
    );
    assert!(short.try_wait().expect("it is ours").is_some(), "it ended before");
    assert_eq!(Tracee::processes(&[short.id()]).expect_err("it is gone").0, short.id());

    let mut long = Command::new("sleep").arg("600").spawn().expect("sleep");
    let tracee = Tracee::processes(&[long.id()]).expect("it runs");
    let (stopped, ..) = traced(tracee, Schedule::default(), &mut || caught(SIGINT, true));
    assert_eq!(stopped, StopReason::Finished);
    assert!(long.try_wait().expect("it is ours").is_none(), "it is left as it was");
    let schedule = Schedule {
        duration: Some(Duration::from_millis(100)),
        report_interval: None,
    };
    let tracee = Tracee::processes(&[long.id()]).expect("it runs");
    assert_eq!(traced(tracee, schedule, &mut || Vec::new()).0, StopReason::Finished);
    long.kill().and_then(|()| long.wait()).expect("it ends");
    assert_eq!(
        traced(Tracee::Unbounded, schedule, &mut || Vec::new()).0,
        StopReason::Finished
    );
}

/// The keys of a terminal reach zctrace and the command at once, so that it must get the signal once, not twice.
#[test]
fn ctrl_c_reaches_the_command_once() {
    const TEST: &str = "ctrl_c_reaches_the_command_once";
    const MARK: &str = "ZCTRACE_TEST_MARK";
    if let Some(terminal) = inside() {
        rustix::process::setsid().expect("a session of our own");
        // Whoever leads a session gets the first terminal that it opens.
        let _terminal = File::options()
            .read(true)
            .write(true)
            .open(terminal)
            .expect("a terminal");
        let mut signals = Signals::catch().expect("signals");
        let script = "n=0; trap 'n=$((n+1)); : >\"$ZCTRACE_TEST_MARK.signal\"' INT; : >\"$ZCTRACE_TEST_MARK\"; \
                      while [ -e \"$ZCTRACE_TEST_MARK\" ]; do sleep 0.02; done; exit $((40 + n))";
        let running = pending(&["sh", "-c", script]).expect("found").exec().expect("run");
        let mut came = Vec::new();
        let (stopped, observer, _) = traced(Tracee::Command(running), Schedule::default(), &mut || {
            let now = signals.take();
            came.extend_from_slice(&now);
            now
        });
        assert_eq!(came, caught(SIGINT, true));
        let status = CommandStatus::Exited(41);
        assert_eq!(
            (stopped, observer.waits),
            (StopReason::CommandEnded { status, by_us: false }, 1)
        );
        return;
    }
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let Ok(keys) = rustix::pty::openpt(flags) else {
        return test_support::skip!(TEST, "there are no pseudo-terminals here");
    };
    rustix::pty::grantpt(&keys)
        .and_then(|()| rustix::pty::unlockpt(&keys))
        .expect("ours");
    let terminal = rustix::pty::ptsname(&keys, Vec::new()).expect("its name");
    let mark = directory("keys").join("mark");
    let mut child = again(TEST, terminal.to_str().expect("UTF-8"));
    child
        .env(MARK, &mark)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = child.spawn().expect("this test");
    let wait_for = |file: &Path| {
        let start = Instant::now();
        while !file.exists() {
            assert!(start.elapsed() < PATIENCE, "{} never comes", file.display());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait_for(&mark);
    rustix::io::write(&keys, b"\x03").expect("Ctrl-C");
    wait_for(&mark.with_extension("signal"));
    // For one more, which must not come.
    std::thread::sleep(Duration::from_millis(400));
    let _ = fs::remove_dir_all(mark.parent().expect("a directory"));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn signals_have_senders_and_ignored_ones_stay_ignored() {
    const TEST: &str = "signals_have_senders_and_ignored_ones_stay_ignored";
    let me = || rustix::process::getpid();
    match inside().as_deref() {
        Some("catch") => {
            let mut signals = Signals::catch().expect("signals");
            kill_process(me(), Signal::TERM).expect("sent");
            let start = Instant::now();
            let mut came = Vec::new();
            while came.is_empty() && start.elapsed() < PATIENCE {
                came = signals.take();
            }
            assert_eq!(came, caught(SIGTERM, false));
            assert_eq!(signals.take(), Vec::new());
        }
        Some("ignored") => {
            let mut signals = Signals::catch().expect("signals");
            kill_process(me(), Signal::HUP).expect("sent");
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(signals.take(), Vec::new());
            assert_eq!(
                ended(&["sh", "-c", "kill -HUP $$; exit 8"]).exit_code(),
                8,
                "the command ignores it too"
            );
        }
        _ => {
            let output = again(TEST, "catch").output().expect("this test");
            assert!(output.status.success(), "{}", text(&output));
            // As nohup does it.
            let this = again(TEST, "ignored");
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
                .arg(this.get_program());
            shell
                .args(this.get_args())
                .env("ZCTRACE_TEST_INSIDE", "ignored")
                .arg0("sh");
            let output = shell.output().expect("a shell");
            assert!(output.status.success(), "{}", text(&output));
        }
    }
}
