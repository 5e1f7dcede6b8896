//! Shared by the tests: endpoints, test bytes, child processes, and watchdogs.

#![allow(dead_code)] // Each test binary uses its own part.

use bufferlist::{BufferList, Sink, Source, Step};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::fmt::Debug;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No test takes a tenth of this on the slowest machine; one that takes longer hangs.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(120);

/// Size of a page, and of a pipe slot filled from a file.
pub(crate) fn page() -> usize {
    rustix::param::page_size()
}

// --- children ------------------------------------------------------------------------------------

/// Name of the test that a child is to run.
const CHILD: &str = "BUFFERLIST_TEST_CHILD";

/// Held while a child is started.
static STARTING: Mutex<()> = Mutex::new(());

/// A child process in which one test runs alone, and its user.
#[derive(Default)]
pub(crate) struct Child {
    /// Runs as this user, without any privileges.
    user: Option<u32>,
}

impl Child {
    /// A child of the same user.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A child of another user; this process must be root.
    pub(crate) fn user(user: u32) -> Self {
        Self { user: Some(user) }
    }

    /// Runs `body` in a process of its own: this test binary, started again for the one test. In
    /// the child it runs here; in the parent this returns when the child has passed.
    ///
    /// # Panics
    ///
    /// If the child fails or hangs.
    pub(crate) fn run(self, test: &str, body: impl FnOnce()) {
        if let Some(output) = self.output(test, body) {
            let said = String::from_utf8_lossy(&output.stderr);
            let (skipped, other): (Vec<&str>, Vec<&str>) =
                said.split_inclusive('\n').partition(|line| line.starts_with("SKIP "));
            test_support::print_uncaptured(&skipped.concat());
            eprint!("{}", other.concat());
            assert!(
                output.status.success(),
                "the child of {test}: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stdout)
            );
        }
    }

    /// Like [`run`](Self::run), for children that are expected to fail. Returns `None` in the
    /// child.
    pub(crate) fn output(self, test: &str, body: impl FnOnce()) -> Option<Output> {
        if std::env::var(CHILD).as_deref() == Ok(test) {
            body();
            return None;
        }
        let me = std::env::current_exe().expect("the test binary's path");
        // One at a time: a child that another thread starts holds our copy open for writing until
        // it execs, and a file that is open for writing cannot be executed (ETXTBSY).
        let starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        // Another user may not be able to reach the directory that this binary was built in.
        let folder = self.user.map(|_| readable_folder());
        let program = folder.as_ref().map_or_else(
            || me.clone(),
            |folder| {
                let copy = folder.path().join("test");
                std::fs::copy(&me, &copy).expect("copy the test binary");
                copy
            },
        );
        let mut command = Command::new(program);
        command
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, test)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(user) = self.user {
            command.uid(user).gid(user).current_dir("/");
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{test}: {error}"));
        drop(starting);
        let output = wait_for(child, test);
        // A filter that matches no test passes, so a renamed test would test nothing.
        let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
        assert!(ran, "there is no test {test}");
        Some(output)
    }
}

/// Returns a directory that every user can read.
fn readable_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("open the folder");
    folder
}

/// Waits for a child, and kills it if it hangs.
fn wait_for(child: std::process::Child, test: &str) -> Output {
    let id = rustix::process::Pid::from_child(&child);
    let (done, is_done) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let hangs = matches!(is_done.recv_timeout(WATCHDOG), Err(mpsc::RecvTimeoutError::Timeout));
        if hangs {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
        hangs
    });
    let output = child.wait_with_output().expect("wait for the child");
    drop(done);
    assert!(
        !watchdog.join().expect("watchdog"),
        "{test} hangs\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Forks this process, which must run one test alone, without exec. The child runs `body` and
/// exits; the parent gets its message and exit status.
pub(crate) fn fork(body: impl FnOnce() -> String) -> (String, ExitStatus) {
    use std::os::unix::process::ExitStatusExt;
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    let (mut read, mut write) = (File::from(read), File::from(write));
    // SAFETY: fork() in a process with threads allows only async-signal-safe work in the child
    // unless no other thread holds a lock. The test runs alone in its process and all its other
    // threads wait, so none does. The child ends by _exit, so nothing of the parent is unwound
    // twice.
    let id = unsafe { libc::fork() };
    assert!(id >= 0, "fork: {}", std::io::Error::last_os_error());
    if id == 0 {
        drop(read);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        let code = i32::from(result.is_err());
        if let Ok(message) = result {
            let _ = write.write_all(message.as_bytes());
        }
        // SAFETY: _exit takes no pointers and ends the process at once.
        unsafe { libc::_exit(code) };
    }
    drop(write);
    let mut message = String::new();
    read.read_to_string(&mut message).expect("the child's message");
    let mut status = 0;
    // SAFETY: waitpid writes one int to `status`, which is a live int; `id` is a child of this
    // process.
    let waited = unsafe { libc::waitpid(id, &raw mut status, 0) };
    assert_eq!(waited, id, "waitpid: {}", std::io::Error::last_os_error());
    (message, ExitStatus::from_raw(status))
}

/// Returns the number of open descriptors of this process.
pub(crate) fn open_files() -> usize {
    // One descriptor belongs to the directory being read.
    std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count() - 1
}

// --- watchdogs -----------------------------------------------------------------------------------

/// Runs `body` on a thread of its own and panics if it hangs.
pub(crate) fn with_watchdog<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = body();
        let _ = done.send(());
        result
    });
    match is_done.recv_timeout(WATCHDOG) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// Polls until the condition is true, for effects of another thread or of the network stack.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WATCHDOG, "timed out waiting: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

// --- bytes and ends ------------------------------------------------------------------------------

/// Returns bytes without repetition (xorshift64*): a lost, duplicated or swapped byte is visible.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Asserts that two byte slices are equal; if not, reports the position, not the content.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    if got != expected {
        let at = got.iter().zip(expected).position(|(a, b)| a != b);
        panic!(
            "{} bytes where {} were expected; the first that differs is at {:?}",
            got.len(),
            expected.len(),
            at.unwrap_or(got.len().min(expected.len()))
        );
    }
}

/// Returns a temporary file with these bytes.
pub(crate) fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("temporary file");
    file.write_all(bytes).expect("write");
    file
}

/// Returns the content of a file.
pub(crate) fn contents(file: &File) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let len = file.metadata().expect("metadata").len() as usize;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

/// Returns a pipe with both ends non-blocking.
pub(crate) fn nonblocking_pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("pipe")
}

/// Returns both ends of a TCP connection over the loopback device.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let far = listener.accept().expect("accept").0;
    (near, far)
}

/// Returns both ends of a UNIX stream connection.
pub(crate) fn unix_pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("socketpair")
}

/// Returns both ends of a stream connection, by name: `"TCP"` or `"UNIX"`.
pub(crate) fn stream_pair(kind: &str) -> (OwnedFd, OwnedFd) {
    match kind {
        "TCP" => {
            let (near, far) = tcp_pair();
            (near.into(), far.into())
        }
        "UNIX" => {
            let (near, far) = unix_pair();
            (near.into(), far.into())
        }
        _ => unreachable!("no such kind: {kind}"),
    }
}

/// Limits the queues between two sockets: otherwise several megabytes fit into a TCP connection on
/// one host.
pub(crate) fn small_queues(near: impl AsFd, far: impl AsFd) {
    for fd in [near.as_fd(), far.as_fd()] {
        rustix::net::sockopt::set_socket_send_buffer_size(fd, 64 * 1024).expect("SO_SNDBUF");
        rustix::net::sockopt::set_socket_recv_buffer_size(fd, 64 * 1024).expect("SO_RCVBUF");
    }
}

/// Sets `O_NONBLOCK` permanently.
pub(crate) fn set_nonblocking<F: AsFd>(fd: F) -> F {
    let flags = rustix::fs::fcntl_getfl(&fd).expect("F_GETFL");
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).expect("F_SETFL");
    fd
}

/// Returns whether `O_NONBLOCK` is set.
pub(crate) fn is_nonblocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).expect("F_GETFL").contains(OFlags::NONBLOCK)
}

/// Returns the number of bytes that can be read from a pipe or socket.
pub(crate) fn queued(fd: impl AsFd) -> u64 {
    rustix::io::ioctl_fionread(fd).expect("FIONREAD")
}

/// Returns the bytes in the send queue of a TCP socket: all of them, and those that were not
/// transmitted yet.
pub(crate) fn send_queue(socket: impl AsFd) -> (usize, usize) {
    use std::os::fd::AsRawFd;
    // include/uapi/linux/sockios.h
    const SIOCOUTQNSD: libc::Ioctl = 0x894b;
    let ask = |request| {
        let mut bytes: libc::c_int = 0;
        // SAFETY: both requests write an int to the address that they are given, which is that of
        // `bytes`.
        let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), request, &raw mut bytes) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        bytes as usize
    };
    (ask(libc::TIOCOUTQ), ask(SIOCOUTQNSD))
}

/// Waits until `bytes` have arrived at a socket.
pub(crate) fn wait_for_bytes(fd: impl AsFd, bytes: usize) {
    wait_until("bytes arrive", || queued(&fd) >= bytes as u64);
}

/// Reads to the end of a stream, on a thread.
pub(crate) fn reader(stream: impl Into<OwnedFd>) -> JoinHandle<Vec<u8>> {
    let mut stream = File::from(stream.into());
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("read to the end");
        bytes
    })
}

/// Returns what can be read from a stream now, without waiting.
pub(crate) fn read_available(fd: impl AsFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match rustix::io::read(&fd, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return bytes,
            Ok(got) => bytes.extend_from_slice(&buffer[..got]),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => panic!("read: {errno}"),
        }
    }
}

/// Returns what one read gives.
pub(crate) fn read_available_once(fd: impl AsFd) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 16];
    let got = rustix::io::read(&fd, &mut buffer).expect("read");
    buffer.truncate(got);
    buffer
}

/// Makes one non-blocking splice system call.
pub(crate) fn raw_splice(
    from: impl AsFd,
    from_at: Option<&mut u64>,
    to: impl AsFd,
    to_at: Option<&mut u64>,
    len: usize,
) -> rustix::io::Result<usize> {
    rustix::pipe::splice(from, from_at, to, to_at, len, SpliceFlags::NONBLOCK)
}

/// Returns the name of an error number, for tables.
pub(crate) fn errno_name(errno: rustix::io::Errno) -> String {
    use rustix::io::Errno as E;
    let name = match errno {
        E::AGAIN => "EAGAIN",
        E::BADF => "EBADF",
        E::BUSY => "EBUSY",
        E::CONNRESET => "ECONNRESET",
        E::INVAL => "EINVAL",
        E::ISDIR => "EISDIR",
        E::MSGSIZE => "EMSGSIZE",
        E::NOSPC => "ENOSPC",
        E::OPNOTSUPP => "EOPNOTSUPP",
        E::PERM => "EPERM",
        E::PIPE => "EPIPE",
        E::SPIPE => "ESPIPE",
        other => return format!("errno {}", other.raw_os_error()),
    };
    name.to_owned()
}

/// Result of a system call: a number, or the name of an error.
pub(crate) fn answer(result: rustix::io::Result<usize>) -> String {
    result.map_or_else(errno_name, |number| number.to_string())
}

/// Table of the kernel's answers, each row with the answers that are allowed.
#[derive(Default)]
pub(crate) struct ErrnoTable {
    table: String,
    wrong: Vec<String>,
}

impl ErrnoTable {
    /// Adds one answer, and the allowed ones.
    pub(crate) fn row(&mut self, what: &str, got: rustix::io::Result<usize>, allowed: &[rustix::io::Result<usize>]) {
        use std::fmt::Write as _;
        let mut line = format!("{what:<60} {}", answer(got));
        if !allowed.contains(&got) {
            let allowed: Vec<String> = allowed.iter().map(|&allowed| answer(allowed)).collect();
            let _ = write!(line, "  (expected {})", allowed.join(" or "));
            self.wrong.push(line.clone());
        }
        let _ = writeln!(self.table, "{line}");
    }

    /// Prints the table.
    ///
    /// # Panics
    ///
    /// If an answer was not allowed.
    pub(crate) fn finish(self, title: &str) {
        eprintln!("{title}\n{}", self.table);
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}

// --- lists ---------------------------------------------------------------------------------------

/// Returns a list with all bytes of a source, which must not block.
pub(crate) fn fill_all<F: AsFd + Debug>(source: &mut Source<F>, at_a_time: u64) -> BufferList {
    let mut list = BufferList::new();
    loop {
        match list.splice_from(source, at_a_time).expect("splice_from") {
            Step::Moved(_) => {}
            Step::End => return list,
            Step::Blocked(side) => panic!("blocked at the {side:?}"),
        }
    }
}

/// Returns a list of one pipe segment with these bytes, received from a file.
pub(crate) fn pipe_list(bytes: &[u8]) -> BufferList {
    let file = file_with(bytes);
    let mut source = Source::file(&file, ..).expect("source").threshold(0);
    let list = fill_all(&mut source, 1 << 20);
    assert!(
        list.segments()
            .all(|segment| segment.kind() == bufferlist::SegmentKind::Pipe)
    );
    list
}

/// Sends a whole list to a sink, which must not block. Returns the number of bytes sent.
pub(crate) fn send_all<F: AsFd + Debug>(list: &mut BufferList, sink: &mut Sink<F>) -> u64 {
    let mut total = 0;
    loop {
        match list.splice_to(sink).expect("splice_to") {
            Step::Moved(receipt) => total += receipt.total(),
            Step::End => return total,
            Step::Blocked(side) => panic!("blocked at the {side:?}"),
        }
    }
}
