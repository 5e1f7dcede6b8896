//! A ring that is far too small: losses are reported, and nothing is claimed for lost records.

use zctrace_probes::probe::announce;
use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::EndpointKind::{File, Tcp};

use crate::fixtures::{file_with, pattern, receive, tcp_connection};
use crate::harness::{exclusive, started_or_skip, totals};

#[test]
fn ring_buffer_of_one_page_loses_records_and_reports_it() {
    const TEST: &str = "attack_loss::ring_buffer_of_one_page_loses_records_and_reports_it";
    const LEN: usize = 4 << 20;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let options = Options {
        ring_bytes: 4096,
        ..Options::default()
    };
    let Some(tracer) = started_or_skip(TEST, Tracer::start(options)) else {
        return;
    };
    announce(tracer.cookie());
    let (near, far) = tcp_connection();
    let far = receive(far, LEN);
    // Nothing reads the ring meanwhile.
    let mut at = 0;
    while at < LEN {
        let mut from = at as u64;
        at += rustix::fs::sendfile(&near, &source, Some(&mut from), LEN - at).expect("sendfile");
    }
    far.join().expect("received");
    let report = tracer.finish(1000);
    assert!(
        report.loss.any() && report.loss.reserve_failures > 0,
        "{:?}",
        report.loss
    );
    assert_eq!(report.check(), Ok(()));
    let observed = totals(&report, &File, &Tcp);
    assert!(
        observed.moved < LEN as u64,
        "a page of records cannot hold the proof of {LEN} bytes: {observed:?}"
    );
    assert_eq!(observed.copied, 0, "{observed:?}");
}
