//! Tests of signals, of limited durations, and of the end of running processes.

use super::*;

/// A command whose exit code tells which signal it received, and which creates a file when it is
/// ready for one.
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

    /// Returns a source that sends a signal once, when the command is ready.
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
        ..Schedule::default()
    };
    let running = pending(&["sleep", "600"]).expect("found").exec().expect("run");
    let (stopped, observer, tracer) = traced(Tracee::Command(running), schedule, &mut || Vec::new());
    let status = CommandStatus::Signaled(15);
    assert_eq!(stopped, StopReason::CommandEnded { status, by_us: true });
    // The exact number depends on the load of the machine.
    assert!(observer.interims > 0 && tracer.polls > 0);
    // A command that exits by itself after SIGTERM has its own exit code.
    let tells = Tells::new("time-is-up");
    let tracee = Tracee::Command(tells.run());
    // The duration starts with the trace.
    while !tells.is_ready() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let schedule = Schedule {
        duration: Some(Duration::from_millis(1)),
        report_interval: None,
        ..Schedule::default()
    };
    let (stopped, ..) = traced(tracee, schedule, &mut || Vec::new());
    let status = CommandStatus::Exited(21);
    assert_eq!(stopped, StopReason::CommandEnded { status, by_us: false });
}

#[test]
fn signal_ends_the_wait_for_processes() {
    let running = pending(&["true"]).expect("found").exec().expect("run");
    let pid = Pid::from_raw(running.pid() as i32).expect("a number");
    let mut tracer = Blind {
        running: vec![StillRunning {
            pid: 1,
            name: "init".to_owned(),
        }],
        ..Blind::default()
    };
    let schedule = Schedule {
        wait: Some(Duration::from_secs(3600)),
        ..Schedule::default()
    };
    let (mut observer, start) = (Counting::default(), Instant::now());
    // The command has no PID any more once its end was noticed.
    let mut signals = || {
        assert!(start.elapsed() < PATIENCE, "it does not end");
        match rustix::process::test_kill_process(pid) {
            Ok(()) => Vec::new(),
            Err(_) => caught(SIGINT, true),
        }
    };
    let mut tracee = Tracee::Command(running);
    let stopped = trace_loop::run(&mut tracer, &mut tracee, &schedule, 10, &mut signals, &mut observer);
    let status = CommandStatus::Exited(0);
    let expected = StopReason::CommandEnded { status, by_us: false };
    assert_eq!((stopped.expect("tracing"), observer.waits), (expected, 0));
    // Without processes to wait for, nothing is waited for.
    tracer.running.clear();
    let mut tracee = Tracee::Command(pending(&["true"]).expect("found").exec().expect("run"));
    let mut none = || {
        assert!(start.elapsed() < PATIENCE, "it does not end");
        Vec::new()
    };
    let stopped = trace_loop::run(&mut tracer, &mut tracee, &schedule, 10, &mut none, &mut observer);
    assert_eq!(stopped.expect("tracing"), expected);
}

#[test]
fn interim_reports_come_at_the_interval_until_stopped() {
    let mut long = Command::new("sleep").arg("600").spawn().expect("sleep");
    let schedule = Schedule {
        duration: None,
        report_interval: Some(Duration::from_millis(1)),
        ..Schedule::default()
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
    // An unreaped child of this test counts as exited.
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
        ..Schedule::default()
    };
    let tracee = Tracee::processes(&[long.id()]).expect("it runs");
    assert_eq!(traced(tracee, schedule, &mut || Vec::new()).0, StopReason::Finished);
    long.kill().and_then(|()| long.wait()).expect("it ends");
    assert_eq!(
        traced(Tracee::Unbounded, schedule, &mut || Vec::new()).0,
        StopReason::Finished
    );
}

/// Terminal keys send the signal to zctrace and to the command. The command must receive it once,
/// not twice.
#[test]
fn ctrl_c_reaches_the_command_once() {
    const TEST: &str = "stopping::ctrl_c_reaches_the_command_once";
    const MARK: &str = "ZCTRACE_TEST_MARK";
    if let Some(terminal) = inside() {
        rustix::process::setsid().expect("a session of our own");
        // The first terminal that a session leader opens becomes its controlling terminal.
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
    // Time for a second signal, which must not come.
    std::thread::sleep(Duration::from_millis(400));
    let _ = fs::remove_dir_all(mark.parent().expect("a directory"));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn signals_have_senders_and_ignored_ones_stay_ignored() {
    const TEST: &str = "stopping::signals_have_senders_and_ignored_ones_stay_ignored";
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
            // As `nohup` does.
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
