//! A trace continues with the remaining privileges after dropping the others.

use zctrace_probes::probe::{SetupErrorKind, drop_capabilities};
use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::EndKind::{File, Memory, Tcp};

use crate::calls::{file_with, pattern, plain_connection, receive, send_all};
use crate::child::{Child, is_child, ready};
use crate::harness::{alone, begun, copied, moved, sum};

#[test]
fn a_process_is_followed_after_rights_were_given_up() {
    const TEST: &str = "least::a_process_is_followed_after_rights_were_given_up";
    const LEN: usize = 100_000;
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = file_with(&dir.path().join("a"), &pattern(LEN));
        let (near, far) = plain_connection();
        ready();
        let far = receive(far, LEN);
        send_all(&source, 0, &near, LEN);
        far.join().expect("received");
        return;
    }
    let _alone = alone();
    let Some(tracer) = begun(TEST, Tracer::start(Options::default())) else {
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
        child.go_on();
        tracer.poll();
        child.end();
        tracer.finish(1000)
    });
    let report = watching.join().expect("the trace");
    assert!(!report.loss.any(), "{:?}", report.loss);
    assert_eq!(report.check(), Ok(()));
    assert_eq!(sum(&report, &File, &Tcp), moved(LEN));
    // I/O counters are in a map, which is read with the remaining privileges.
    assert_eq!(sum(&report, &Tcp, &Memory), copied(LEN));
}
