//! `zctrace assert` on programs that move bytes by requests of `io_uring`: this test, started
//! again.

#![allow(unsafe_code)] // The requests are made by system calls.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

use common::{both, possible};

#[path = "../../probes/tests/end_to_end/uring.rs"]
#[allow(dead_code)] // The tests of the probes take more of it.
mod uring;

use uring::{Request, Ring};

/// Set in the process that `zctrace` starts; names what it does.
const ROLE: &str = "ZCTRACE_TEST_URING";
/// Bytes that are sent.
const LEN: usize = 1 << 20;

/// Runs the role of this process, if it has one.
fn run_role() -> bool {
    let Some(role) = std::env::var_os(ROLE) else {
        return false;
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (mut far, _) = listener.accept().expect("accept");
    let receiver = std::thread::spawn(move || far.read_exact(&mut vec![0; LEN]).expect("receive"));
    let mut ring = Ring::new(0);
    match role.to_str() {
        Some("send") => send(&mut ring, &near),
        Some("splice") => splice(&mut ring, &near),
        other => panic!("{other:?} is no role"),
    }
    receiver.join().expect("received");
    true
}

fn send(ring: &mut Ring, to: &TcpStream) {
    let bytes = vec![3_u8; LEN];
    let mut at = 0;
    while at < LEN {
        at += ring.run(Request::with_memory(uring::SEND, to, bytes[at..].as_ptr(), LEN - at));
    }
}

fn splice(ring: &mut Ring, to: &TcpStream) {
    let mut file = tempfile();
    file.write_all(&vec![3; LEN]).expect("write");
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let mut at = 0;
    while at < LEN {
        let mut filled = Request::splice(&file, &write, 65_536);
        filled.address = at as u64;
        let mut left = ring.run(filled);
        at += left;
        while left > 0 {
            left -= ring.run(Request::splice(&read, to, left));
        }
    }
}

/// Creates a file without a name.
fn tempfile() -> std::fs::File {
    let path = std::env::temp_dir().join(format!("zctrace-uring-{}", std::process::id()));
    let mut options = std::fs::File::options();
    let file = options.create(true).truncate(true).read(true).write(true).open(&path);
    std::fs::remove_file(&path).expect("remove");
    file.expect("create")
}

/// Judges this test in a role.
fn judged(test: &str, role: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zctrace"))
        .args(["assert", "--to", "tcp", "--max-copied", "0", "--"])
        .arg(std::env::current_exe().expect("a path"))
        .args([test, "--exact", "--nocapture"])
        .env(ROLE, role)
        .output()
        .expect("zctrace can be run")
}

#[test]
fn sends_by_requests_break_a_rule_against_copies() {
    const TEST: &str = "sends_by_requests_break_a_rule_against_copies";
    if run_role() || !possible(TEST) {
        return;
    }
    let output = judged(TEST, "send");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
}

#[test]
fn splices_by_requests_leave_a_rule_against_copies_open() {
    const TEST: &str = "splices_by_requests_leave_a_rule_against_copies_open";
    if run_role() || !possible(TEST) {
        return;
    }
    let output = judged(TEST, "splice");
    assert_eq!(output.status.code(), Some(3), "{}", both(&output));
}
