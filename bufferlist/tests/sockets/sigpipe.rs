//! `SIGPIPE`, which splice(2) raises and sendmsg(2) need not.

use crate::common::{
    self, Child, assert_same, nonblocking_pipe, pattern, pipe_list, set_nonblocking, stream_pair, unix_pair,
};
use bufferlist::{BufferList, ErrorKind, Sink};
use rustix::io::Errno;
use std::os::unix::process::ExitStatusExt;

/// H16, the kernel behavior: splice(2) has no `MSG_NOSIGNAL`. With SIGPIPE at its default, which
/// Rust's `main` changes but a C program's does not, a splice to a closed peer kills the process; a
/// write by the library does not.
#[test]
fn default_sigpipe_kills_the_process() {
    let splices = || {
        // SAFETY: SIG_DFL installs no handler, so no code runs in signal context.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (near, far) = unix_pair();
        drop(far);
        let mut sink = Sink::stream(set_nonblocking(&near)).expect("sink");
        // Memory is sent by sendmsg(2) with MSG_NOSIGNAL: an error.
        let error = BufferList::from("memory").splice_to(&mut sink).expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
        eprintln!("alive after the write");
        let _ = pipe_list(b"pages").splice_to(&mut sink);
        eprintln!("alive after the splice");
    };
    let Some(output) = Child::new().output("sigpipe::default_sigpipe_kills_the_process", splices) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("alive after the write"), "{said}");
    if said.contains("alive after the splice") {
        // The splice raised no signal, so the warning at `Sink` would be obsolete.
        return test_support::skip!(
            "sigpipe::default_sigpipe_kills_the_process",
            "on this kernel a splice raises no signal"
        );
    }
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{}\n{said}", output.status);
}

/// With SIGPIPE ignored, as Rust's `main` sets it, it is an error like any other.
#[test]
fn ignored_sigpipe_is_reported_as_error() {
    for (near, far) in [stream_pair("TCP"), stream_pair("UNIX"), {
        let (read, write) = nonblocking_pipe();
        (write, read)
    }] {
        drop(far);
        let mut sink = Sink::stream(set_nonblocking(near)).expect("sink");
        let bytes = pattern(100, 12);
        let mut list = pipe_list(&bytes);
        let mut failure = None;
        common::wait_until("the sink notices", || {
            // TCP accepts the first write and learns of the reset from the peer's answer.
            if list.is_empty() {
                list = pipe_list(&bytes);
            }
            failure = list.splice_to(&mut sink).err();
            failure.is_some()
        });
        let error = failure.expect("an error");
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert_eq!(error.raw_os_error(), Some(Errno::PIPE.raw_os_error()), "{error}");
        assert_same(&list.to_bytes().expect("peek"), &bytes);
    }
}
