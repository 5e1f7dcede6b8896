//! Attacks on calls in progress: descriptors that change, and tracing that begins in the middle.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::mpsc;

use zctrace_probes::probe::announce;
use zctrace_report::EndKind::{File, Pipe as InPipe, Tcp};

use crate::calls::{all, file_with, once, pattern, pipe, plain_connection, receive, thread_id};
use crate::child::wait_until_it_sleeps_in;
use crate::harness::{alone, flows, not_observed, sum, traced, watched};

const SPLICE: i64 = 275;
const LEN: usize = 8 * 4096;

#[test]
fn a_descriptor_that_is_exchanged_inside_the_call() {
    const TEST: &str = "attack_calls::a_descriptor_that_is_exchanged_inside_the_call";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (used, other) = (pipe(), pipe());
        // Another pipe with as many bytes in it, which the call does not touch.
        assert_eq!(once(&source, Some(&mut 0), &other.write, None, LEN), LEN);
        let (near, far) = plain_connection();
        let far = receive(far, LEN);
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tell.send(thread_id()).expect("the test");
                assert_eq!(once(&used.read, None, &near, None, LEN), LEN);
            });
            wait_until_it_sleeps_in(std::process::id(), told.recv().expect("its thread"), SPLICE);
            // SAFETY: dup2 onto a descriptor that this test owns. Changing what it refers to is the
            // attack; no other code uses it.
            assert!(unsafe { libc::dup2(other.read.as_raw_fd(), used.read.as_raw_fd()) } >= 0);
            assert_eq!(once(&source, Some(&mut 0), &used.write, None, LEN), LEN);
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
fn a_descriptor_that_is_closed_inside_the_call() {
    const TEST: &str = "attack_calls::a_descriptor_that_is_closed_inside_the_call";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let used = pipe();
        let (near, far) = plain_connection();
        let far = receive(far, LEN);
        let (tell, told) = mpsc::channel();
        let read = used.read.into_raw_fd();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tell.send(thread_id()).expect("the test");
                // SAFETY: the descriptor is open until the call has taken its own reference to the
                // file.
                let pipe = unsafe { std::os::fd::BorrowedFd::borrow_raw(read) };
                assert_eq!(once(pipe, None, &near, None, LEN), LEN);
            });
            wait_until_it_sleeps_in(std::process::id(), told.recv().expect("its thread"), SPLICE);
            // SAFETY: the descriptor is owned here, and nothing else closes it.
            drop(unsafe { OwnedFd::from_raw_fd(read) });
            assert_eq!(once(&source, Some(&mut 0), &used.write, None, LEN), LEN);
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
fn a_call_that_slept_when_tracing_began() {
    const TEST: &str = "attack_calls::a_call_that_slept_when_tracing_began";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = watched(TEST, |cookie| {
        let pipe = pipe();
        let (near, far) = plain_connection();
        let far = receive(far, 3 * LEN);
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tell.send(thread_id()).expect("the test");
                assert_eq!(once(&pipe.read, None, &near, None, LEN), LEN);
            });
            wait_until_it_sleeps_in(std::process::id(), told.recv().expect("its thread"), SPLICE);
            announce(cookie);
            assert_eq!(once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
        });
        // The mirror of its ring is desynced; bytes put into it later are known again once the ring
        // was observed empty.
        for _ in 0..2 {
            assert_eq!(once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
            all(&pipe.read, None, &near, None, LEN);
        }
        far.join().expect("received");
    }) else {
        return;
    };
    assert_eq!(not_observed(&report, "calls that were entered before"), 1);
    let (known, lost) = (sum(&report, &File, &Tcp), sum(&report, &InPipe, &Tcp));
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
