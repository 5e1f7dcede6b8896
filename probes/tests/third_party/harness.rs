//! A trace with the programs in it, started as shells that wait until they are traced.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};
use zctrace_probes::probe::SetupErrorKind;
use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::Report;

use crate::mounted::Mounted;
use crate::network_namespace::own_network;
use test_support::skip;

/// Debian's directories of programs: another directory in a user's `PATH` may contain another
/// program of the same name.
pub(crate) const PATH: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// `EXT4_SUPER_MAGIC` (include/uapi/linux/magic.h).
const EXT4_SUPER_MAGIC: rustix::fs::FsWord = 0xef53;
/// A program that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One test at a time: two busy programs would only slow each other down.
static ONE: Mutex<()> = Mutex::new(());

/// A trace, and a directory for its programs.
pub(crate) struct Trace {
    tracer: Tracer,
    // Dropped before the directory that it is in.
    _mounted: Mounted,
    dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A running program. Dropping it kills it and all its descendants.
pub(crate) struct Program {
    child: Child,
    script: String,
}

impl Trace {
    /// Starts tracing, in a directory on this crate's own filesystem. Reports a skip and returns
    /// `None` if this machine cannot trace.
    pub(crate) fn start(test: &str, programs: &[&str]) -> Option<Self> {
        Self::start_in(test, programs, |_| Ok(Mounted::default()))
    }

    /// Starts tracing after `prepare` mounted filesystems in the directory or built programs there.
    /// Reports a skip also if `prepare` returns a reason why that is impossible.
    pub(crate) fn start_in(
        test: &str,
        programs: &[&str],
        prepare: impl FnOnce(&Path) -> Result<Mounted, String>,
    ) -> Option<Self> {
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<&str> = programs.iter().copied().filter(|name| find(name).is_none()).collect();
        if !missing.is_empty() {
            skip!(test, "not installed: {}", missing.join(", "));
            return None;
        }
        own_network();
        let dir = tempfile::Builder::new()
            .prefix("foreign-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a directory");
        let mounted = match prepare(dir.path()) {
            Ok(mounted) => mounted,
            Err(reason) => {
                skip!(test, "{reason}");
                return None;
            }
        };
        let tracer = match Tracer::start(Options::default()) {
            Ok(tracer) => tracer,
            Err(error) if is_missing_prerequisite(&error.kind) => {
                skip!(test, "{error}");
                return None;
            }
            Err(error) => panic!("{error}\n{}", error.hint()),
        };
        Some(Self {
            tracer,
            _mounted: mounted,
            dir,
            _alone: alone,
        })
    }

    /// Returns whether the directory is on ext4 (or ext2, ext3), which supports `O_DIRECT`, copies
    /// when asked to, and shares no blocks. Other filesystems may treat these calls differently. If
    /// not, reports a skip.
    pub(crate) fn is_on_ext4(&self, test: &str) -> bool {
        let is_ext = rustix::fs::statfs(self.dir.path()).is_ok_and(|found| found.f_type == EXT4_SUPER_MAGIC);
        if !is_ext {
            skip!(test, "{} is not on ext4", self.dir.path().display());
        }
        is_ext
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Creates a file in which every page differs, written to the disk.
    pub(crate) fn file(&self, name: &str, len: usize) -> PathBuf {
        let bytes: Vec<u8> = (0..len).map(|at| (at / 4096 * 31 + at % 251) as u8).collect();
        let path = self.path(name);
        let mut file = File::create(&path).expect("create");
        file.write_all(&bytes).expect("write");
        file.sync_all().expect("sync");
        path
    }

    pub(crate) fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("write");
        path
    }

    /// Starts a shell script that is traced from its second command on: with the first command the
    /// shell stops itself. (If the shell waited in a read of its own, the rest of that call would
    /// be traced or not, depending on timing.)
    pub(crate) fn spawn(&mut self, script: &str) -> Program {
        let program = self.shell(&format!("kill -STOP $$; {script}"));
        let stopped = waitpid(Some(program.pid()), WaitOptions::UNTRACED).expect("our child");
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "{stopped:?}");
        self.tracer
            .follow(program.child.id())
            .expect("there is room for one more process");
        program.signal(Signal::CONT);
        program
    }

    /// Starts a script that is not traced.
    pub(crate) fn shell(&self, script: &str) -> Program {
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("set -e; {script}")])
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", PATH.join(":"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // A process group of its own, so that nothing of it remains when the test fails.
            .process_group(0)
            .spawn()
            .expect("/bin/sh");
        Program {
            child,
            script: script.to_owned(),
        }
    }

    /// Runs a traced script to its end.
    pub(crate) fn run(&mut self, script: &str) {
        let program = self.spawn(script);
        self.wait(program);
    }

    /// Waits for the end of a program, which must succeed.
    pub(crate) fn wait(&mut self, mut program: Program) {
        let status = self.end_of(&mut program);
        assert!(status.success(), "`{}`: {status}", program.script);
    }

    /// Sends a signal to a program that does not handle it, and waits for its end.
    pub(crate) fn end(&mut self, mut program: Program, signal: Signal) {
        program.signal(signal);
        let status = self.end_of(&mut program);
        assert_eq!(status.signal(), Some(signal.as_raw()), "`{}`: {status}", program.script);
    }

    fn end_of(&mut self, program: &mut Program) -> ExitStatus {
        let mut status = None;
        let what = format!("the end of `{}`", program.script);
        self.until(&what, || {
            status = program.child.try_wait().expect("our child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Continues tracing until a condition is true.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let started = Instant::now();
        loop {
            self.tracer.poll();
            if done() {
                return;
            }
            assert!(started.elapsed() < TIMEOUT, "waiting for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a socket listens at an address of this host, without connecting to it.
    pub(crate) fn until_listening(&mut self, address: SocketAddrV4) {
        // See proc_net_tcp(5): addresses in hexadecimal, in the order of memory; 0A is LISTEN.
        let host = u32::from_ne_bytes(address.ip().octets());
        let wanted = format!(": {host:08X}:{:04X} 00000000:0000 0A", address.port());
        self.until(&format!("a listener at {address}"), || {
            std::fs::read_to_string("/proc/thread-self/net/tcp").is_ok_and(|table| table.contains(&wanted))
        });
    }

    /// Waits until a socket of IPv6 listens at a port of all addresses.
    pub(crate) fn until_listening_on_any(&mut self, port: u16) {
        let wanted = format!(": {:032X}:{port:04X} {:032X}:0000 0A", 0, 0);
        self.until(&format!("a listener at [::]:{port}"), || {
            std::fs::read_to_string("/proc/thread-self/net/tcp6").is_ok_and(|table| table.contains(&wanted))
        });
    }

    /// Ends the trace and returns the report, which must be consistent and without loss.
    pub(crate) fn finish(self) -> Report {
        let report = self.tracer.finish(10_000);
        if std::env::var_os("SHOW").is_some() {
            eprintln!("{}", report.to_json_pretty());
        }
        assert!(!report.loss.any(), "{:?}", report.loss);
        if let Err(violations) = report.check() {
            panic!("{violations:?}");
        }
        report
    }
}

impl Program {
    /// Sends a signal to the program itself.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its PID cannot be reused until it has been waited for.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Returns whether this user may not trace, or this kernel lacks what tracing needs.
fn is_missing_prerequisite(kind: &SetupErrorKind) -> bool {
    match kind {
        SetupErrorKind::NoPrivilege { .. } | SetupErrorKind::NoBtf(_) | SetupErrorKind::NoTracepoint { .. } => true,
        // root in a container, or under lockdown.
        SetupErrorKind::Refused { error, .. } => error.kind() == std::io::ErrorKind::PermissionDenied,
        _ => false,
    }
}

fn find(program: &str) -> Option<PathBuf> {
    PATH.iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists())
}

/// Builds a program in a directory with a compiler, which must succeed.
pub(crate) fn build(dir: &Path, command: &[&str], environment: &[(&str, &str)]) {
    let run = Command::new(find(command[0]).expect("it was looked for"))
        .args(&command[1..])
        .current_dir(dir)
        .env_clear()
        .env("PATH", PATH.join(":"))
        .envs(environment.iter().copied())
        .output();
    let output = run.expect("a compiler");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Returns an unused address. The part of 127.0.0.0/8 is unique to this process: two servers that
/// set `SO_REUSEPORT` (haproxy does) would otherwise share an address with those of a concurrent
/// run of these tests.
pub(crate) fn free_address() -> SocketAddrV4 {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    // PIDs have 22 bits (`PID_MAX_LIMIT`), so none gives the usual 127.0.0.1.
    let host = Ipv4Addr::new(127, 64 | a, b, c);
    let listener = std::net::TcpListener::bind((host, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    SocketAddrV4::new(host, port)
}

/// Returns the words of a file as numbers.
pub(crate) fn numbers(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).expect("read");
    text.split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect()
}
