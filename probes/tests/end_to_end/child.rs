//! Traced child processes: this test binary, started again.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use zctrace_probes::probe::announce;

/// Cookie to announce; set in a child.
const COOKIE: &str = "ZCTRACE_TEST_COOKIE";
/// Stage of a child.
const STAGE: &str = "ZCTRACE_TEST_STAGE";

/// Returns whether this process is a child. It announces itself only when it calls [`attach`].
pub(crate) fn is_child() -> bool {
    std::env::var_os(COOKIE).is_some()
}

/// Returns the stage of this child: 0 at first.
pub(crate) fn stage() -> u32 {
    std::env::var(STAGE).map_or(0, |stage| stage.parse().expect("a number"))
}

/// Announces this process, which is traced from here on.
pub(crate) fn attach() {
    let cookie = std::env::var(COOKIE).expect("a cookie").parse().expect("a number");
    announce(cookie);
}

/// Notifies the parent that this child has reached its position, and waits for the answer.
pub(crate) fn signal_ready() {
    let mut out = std::io::stderr();
    out.write_all(b"READY\n").expect("stderr");
    let mut answer = [0];
    std::io::stdin().read_exact(&mut answer).expect("the parent's answer");
}

/// A child process.
pub(crate) struct Child(std::process::Child);

/// Returns a command that runs this test binary.
pub(crate) fn rerun_command(test: &str, stage: u32) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary's path"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(STAGE, stage.to_string());
    command
}

impl Child {
    /// Starts the test `test` in a process of its own.
    pub(crate) fn start(test: &str, cookie: u64) -> Self {
        Self::start_with(test, cookie, &[])
    }

    /// Starts the test `test` with additional environment variables.
    pub(crate) fn start_with(test: &str, cookie: u64, environment: &[(&str, &str)]) -> Self {
        let child = rerun_command(test, 0)
            .env(COOKIE, cookie.to_string())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start this binary");
        Self(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has called [`signal_ready`].
    pub(crate) fn wait_ready(&mut self) {
        let mut printed = Vec::new();
        let mut byte = [0];
        let from = self.0.stderr.as_mut().expect("its stderr");
        while !printed.ends_with(b"READY\n") {
            let n = from.read(&mut byte).expect("its stderr");
            assert!(n == 1, "it ended early: {}", String::from_utf8_lossy(&printed));
            printed.push(byte[0]);
        }
    }

    /// Releases a child that has called [`signal_ready`].
    pub(crate) fn resume(&mut self) {
        self.0
            .stdin
            .as_mut()
            .expect("its stdin")
            .write_all(b"g")
            .expect("write");
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }

    /// Waits for its end, which must be successful.
    pub(crate) fn wait_success(mut self) {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().expect("wait");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}\n{out}\n{printed}", output.status);
        assert!(out.contains("running 1 test"), "there is no such test: {out}");
        let skipped = printed.split_inclusive('\n').filter(|line| line.starts_with("SKIP "));
        test_support::print_uncaptured(&skipped.collect::<String>());
    }
}

/// Runs the test `test` in a process of its own, to its end.
pub(crate) fn run(test: &str, cookie: u64) {
    Child::start(test, cookie).wait_success();
}

/// Waits until a thread sleeps inside a system call.
pub(crate) fn wait_until_blocked_in(process: u32, thread: u32, number: i64) {
    let path = format!("/proc/{process}/task/{thread}/syscall");
    let inside = format!("{number} ");
    for _ in 0..120_000 {
        if std::fs::read_to_string(&path)
            .expect("what it does")
            .starts_with(&inside)
        {
            return;
        }
        std::thread::sleep(std::time::Duration::from_micros(500));
    }
    panic!("{path} never said {number}");
}
