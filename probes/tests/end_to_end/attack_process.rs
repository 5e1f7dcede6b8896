//! Attacks by processes that fork, exec and are killed.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;

use zctrace_report::EndpointKind::{File, Tcp};

use crate::child::{self, Child, is_child, rerun_command, stage, wait_until_blocked_in};
use crate::fixtures::{
    file_with, pattern, pipe, receive, sendfile_all, splice_all, splice_once, tcp_connection, thread_id,
    write_until_full,
};
use crate::harness::{exclusive, flows, moved, reasons, totals, traced, traced_child};

const SPLICE: i64 = 275;
const SENDFILE: i64 = 40;

#[test]
fn process_killed_during_sendfile() {
    const TEST: &str = "attack_process::process_killed_during_sendfile";
    const LEN: usize = 64 << 20;
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = std::fs::File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(dir.path().join("a"))
            .expect("create");
        source.set_len(LEN as u64).expect("ftruncate");
        std::fs::remove_dir_all(dir.path()).expect("remove");
        let (near, _far) = tcp_connection();
        child::attach();
        child::signal_ready();
        sendfile_all(&source, 0, &near, LEN);
        unreachable!("nobody reads it");
    }
    let _exclusive = exclusive();
    let Some(report) = traced_child(TEST, |cookie| {
        let mut child = Child::start(TEST, cookie);
        child.wait_ready();
        child.resume();
        let tasks = || std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("its threads");
        // The test runs in the only thread that sleeps in sendfile.
        loop {
            let sleeps = tasks().flatten().any(|task| {
                let syscall = std::fs::read_to_string(task.path().join("syscall"));
                syscall.is_ok_and(|syscall| syscall.starts_with(&format!("{SENDFILE} ")))
            });
            if sleeps {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.kill();
    }) else {
        return;
    };
    let result = totals(&report, &File, &Tcp);
    eprintln!("killed: {result:?}");
    assert!(result.moved > 0 && result.total() < LEN as u64, "{result:?}");
    assert_eq!(result.copied, 0, "{result:?}");
    // Bytes that were queued when it died were never sent, and are reported so.
    let reasons: u64 = reasons(&report, &File, &Tcp).values().sum();
    assert_eq!(reasons, result.unknown);
}

#[test]
fn process_that_executes_another_program() {
    const TEST: &str = "attack_process::process_that_executes_another_program";
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = file_with(&dir.path().join("a"), &pattern(100_000));
        let (near, far) = tcp_connection();
        let far = receive(far, 100_000);
        if stage() == 0 {
            child::attach();
        }
        sendfile_all(&source, 0, &near, 100_000);
        far.join().expect("received");
        if stage() == 0 {
            drop(dir);
            // A thread that sleeps in a call dies at execve(2).
            let pipe = pipe();
            let (sender, receiver) = mpsc::channel();
            std::thread::spawn(move || {
                sender.send(thread_id()).expect("the test");
                splice_once(&pipe.read, None, &near, None, 1);
            });
            wait_until_blocked_in(std::process::id(), receiver.recv().expect("its thread"), SPLICE);
            panic!("{}", rerun_command(TEST, 1).exec());
        }
        return;
    }
    let _exclusive = exclusive();
    let Some(report) = traced_child(TEST, |cookie| child::run(TEST, cookie)) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(200_000),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    let pids: BTreeSet<_> = flows(&report, &File, &Tcp).iter().map(|flow| flow.pid).collect();
    assert_eq!(pids.len(), 1, "it is one process");
}

#[test]
fn fork_during_a_call() {
    const TEST: &str = "attack_process::fork_during_a_call";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(4096));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 4096);
        let pipe = pipe();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sender.send(thread_id()).expect("the test");
                splice_all(&pipe.read, None, &near, None, 4096);
            });
            wait_until_blocked_in(std::process::id(), receiver.recv().expect("its thread"), SPLICE);
            for _ in 0..3 {
                assert!(Command::new("true").status().expect("true").success());
            }
            splice_once(&source, Some(&mut 0), &pipe.write, None, 4096);
        });
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(4096),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
}

/// Body of each of a hundred children: it forks nothing, allocates nothing and exits silently.
fn send_as_a_child(source: &std::fs::File, near: &TcpStream) {
    // SAFETY: the child only makes system calls and exits without running destructors.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "{}", std::io::Error::last_os_error());
        if pid == 0 {
            let done = rustix::fs::sendfile(near, source, Some(&mut 0), 4096);
            libc::_exit(i32::from(done != Ok(4096)));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert_eq!(status, 0);
    }
}

#[test]
fn a_hundred_children() {
    const TEST: &str = "attack_process::a_hundred_children";
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = file_with(&dir.path().join("a"), &pattern(4096));
        let (near, far) = tcp_connection();
        let far = receive(far, 100 * 4096);
        child::attach();
        for _ in 0..100 {
            send_as_a_child(&source, &near);
        }
        far.join().expect("received");
        return;
    }
    let _exclusive = exclusive();
    let Some(report) = traced_child(TEST, |cookie| child::run(TEST, cookie)) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(100 * 4096),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    let pids: BTreeSet<_> = flows(&report, &File, &Tcp).iter().map(|flow| flow.pid).collect();
    assert_eq!(pids.len(), 100);
}

#[test]
fn many_processes_share_one_full_connection() {
    const TEST: &str = "attack_process::many_processes_share_one_full_connection";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(64 * 4096));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let filled = write_until_full(&near);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            // Two senders wait for space, and their bytes are interleaved.
            for _ in 0..2 {
                let sender = sender.clone();
                let (source, near) = (&source, &near);
                scope.spawn(move || {
                    sender.send(thread_id()).expect("the test");
                    sendfile_all(source, 0, near, 64 * 4096);
                });
            }
            for _ in 0..2 {
                wait_until_blocked_in(std::process::id(), receiver.recv().expect("its thread"), SENDFILE);
            }
            receive(far, filled + 2 * 64 * 4096).join().expect("received");
        });
    }) else {
        return;
    };
    let result = totals(&report, &File, &Tcp);
    eprintln!("two senders: {result:?}");
    assert_eq!((result.total(), result.copied), (2 * 64 * 4096, 0), "{result:?}");
}
