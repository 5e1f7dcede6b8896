//! Attacks on calls in progress: descriptors that change, and tracing that begins in the middle.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::mpsc;

use zctrace_probes::probe::announce;
use zctrace_report::EndpointKind::{File, Pipe as InPipe, Tcp};

use crate::child::wait_until_blocked_in;
use crate::fixtures::{file_with, pattern, pipe, receive, splice_all, splice_once, tcp_connection, thread_id};
use crate::harness::{exclusive, flows, not_observed, totals, traced, traced_child};

const SPLICE: i64 = 275;
const LEN: usize = 8 * 4096;

#[test]
fn descriptor_replaced_during_the_call() {
    const TEST: &str = "attack_calls::descriptor_replaced_during_the_call";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (used, other) = (pipe(), pipe());
        // Another pipe with as many bytes in it, which the call does not touch.
        assert_eq!(splice_once(&source, Some(&mut 0), &other.write, None, LEN), LEN);
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tell.send(thread_id()).expect("the test");
                assert_eq!(splice_once(&used.read, None, &near, None, LEN), LEN);
            });
            wait_until_blocked_in(std::process::id(), told.recv().expect("its thread"), SPLICE);
            // SAFETY: dup2 onto a descriptor that this test owns. Changing what it refers to is the
            // attack; no other code uses it.
            assert!(unsafe { libc::dup2(other.read.as_raw_fd(), used.read.as_raw_fd()) } >= 0);
            assert_eq!(splice_once(&source, Some(&mut 0), &used.write, None, LEN), LEN);
        });
        assert!(far.join().expect("received") == pattern(LEN));
    }) else {
        return;
    };
    // The bytes moved, but the descriptor refers to another file: nothing is claimed.
    assert!(
        flows(&report, &File, &Tcp).is_empty() && flows(&report, &InPipe, &Tcp).is_empty(),
        "{:#?}",
        report.flows
    );
    assert_eq!(not_observed(&report, "calls whose descriptor"), 1);
}

#[test]
fn descriptor_closed_during_the_call() {
    const TEST: &str = "attack_calls::descriptor_closed_during_the_call";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let used = pipe();
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let (tell, told) = mpsc::channel();
        let read = used.read.into_raw_fd();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tell.send(thread_id()).expect("the test");
                // SAFETY: the descriptor is open until the call has taken its own reference to the
                // file.
                let pipe = unsafe { std::os::fd::BorrowedFd::borrow_raw(read) };
                assert_eq!(splice_once(pipe, None, &near, None, LEN), LEN);
            });
            wait_until_blocked_in(std::process::id(), told.recv().expect("its thread"), SPLICE);
            // SAFETY: the descriptor is owned here, and nothing else closes it.
            drop(unsafe { OwnedFd::from_raw_fd(read) });
            assert_eq!(splice_once(&source, Some(&mut 0), &used.write, None, LEN), LEN);
        });
        assert!(far.join().expect("received") == pattern(LEN));
    }) else {
        return;
    };
    assert!(
        flows(&report, &File, &Tcp).is_empty() && flows(&report, &InPipe, &Tcp).is_empty(),
        "{:#?}",
        report.flows
    );
    assert_eq!(not_observed(&report, "calls whose descriptor"), 1);
}

#[test]
fn call_that_blocks_since_before_tracing_is_excluded() {
    const TEST: &str = "attack_calls::call_that_blocks_since_before_tracing_is_excluded";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced_child(TEST, |cookie| {
        let pipe = pipe();
        let (near, far) = tcp_connection();
        let far = receive(far, 3 * LEN);
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tell.send(thread_id()).expect("the test");
                assert_eq!(splice_once(&pipe.read, None, &near, None, LEN), LEN);
            });
            wait_until_blocked_in(std::process::id(), told.recv().expect("its thread"), SPLICE);
            announce(cookie);
            assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
        });
        // The mirror of its ring is desynced; bytes put into it later are known again once the ring
        // was observed empty.
        for _ in 0..2 {
            assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
            splice_all(&pipe.read, None, &near, None, LEN);
        }
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(not_observed(&report, "calls that were entered before"), 1);
    let (known, lost) = (totals(&report, &File, &Tcp), totals(&report, &InPipe, &Tcp));
    eprintln!("after a call that was not seen: {known:?}; of unknown origin: {lost:?}");
    // In the mirror, the ring still holds the bytes that the unseen call took: until that is
    // detected, nothing is known of it.
    assert_eq!(known.moved + lost.unknown, 2 * LEN as u64, "{:#?}", report.flows);
    assert_eq!(
        (known.copied, known.unknown, lost.moved, lost.copied),
        (0, 0, 0, 0),
        "{known:?} {lost:?}"
    );
}
