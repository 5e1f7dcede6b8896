//! A trace continues with the remaining privileges after dropping the others.

use zctrace_probes::probe::{SetupErrorKind, drop_capabilities};
use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::EndpointKind::{File, Memory, Tcp};

use crate::child::{Child, is_child, signal_ready};
use crate::fixtures::{file_with, pattern, receive, sendfile_all, tcp_connection};
use crate::harness::{copied, exclusive, moved, started_or_skip, totals};

#[test]
fn process_is_followed_after_capabilities_were_dropped() {
    const TEST: &str = "least_privilege::process_is_followed_after_capabilities_were_dropped";
    const LEN: usize = 100_000;
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = file_with(&dir.path().join("a"), &pattern(LEN));
        let (near, far) = tcp_connection();
        signal_ready();
        let far = receive(far, LEN);
        sendfile_all(&source, 0, &near, LEN);
        far.join().expect("received");
        return;
    }
    let _exclusive = exclusive();
    let Some(tracer) = started_or_skip(TEST, Tracer::start(Options::default())) else {
        return;
    };
    let mut child = Child::start(TEST, tracer.cookie());
    child.wait_ready();
    // On a thread of its own, because privileges are dropped per thread.
    let watching = std::thread::spawn(move || {
        let mut tracer = tracer;
        drop_capabilities(false).expect("less is always allowed");
        let again = Tracer::start(Options::default()).expect_err("it may not attach any more");
        assert!(matches!(again.kind, SetupErrorKind::NoPrivilege { .. }), "{again}");
        tracer.follow(child.id()).expect("followed");
        child.resume();
        tracer.poll();
        child.wait_success();
        tracer.finish(1000)
    });
    let report = watching.join().expect("the trace");
    assert!(!report.loss.any(), "{:?}", report.loss);
    assert_eq!(report.check(), Ok(()));
    assert_eq!(totals(&report, &File, &Tcp), moved(LEN));
    // I/O counters are in a map, which is read with the remaining privileges.
    assert_eq!(totals(&report, &Tcp, &Memory), copied(LEN));
}
