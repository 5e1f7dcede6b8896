//! The whole of a trace, on this kernel: real calls of this process, and what the report says of them.
//!
//! Needs root and raw tracepoints; without them each test is reported as skipped.

mod calls;
mod skip;

use std::sync::{Mutex, MutexGuard, PoisonError};

use calls::{all, connection, direct, file_with, once, pattern, pipe, wide_pipe};
use probes::probe::{SetupErrorKind, announce};
use probes::report::{EndKind, Flow, Report};
use probes::trace::{Options, Tracer};

/// One at a time: a trace follows a process, and all tests here are one.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `body` under a trace of this process, and returns the report. `None` if this machine cannot trace.
fn traced(test: &str, body: impl FnOnce()) -> Option<Report> {
    let tracer = match Tracer::start(Options::default()) {
        Ok(tracer) => tracer,
        Err(error) if matches!(error.kind, SetupErrorKind::NoPrivilege { .. }) => {
            skip::skip(test, &error.to_string());
            return None;
        }
        Err(error) => panic!("{error}\n{}", error.mend()),
    };
    announce(tracer.cookie());
    body();
    let report = tracer.finish(10_000);
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{}", report.to_json_pretty());
    }
    assert!(!report.loss.any(), "{:?}", report.loss);
    if let Err(violations) = report.check() {
        panic!("{violations:?}");
    }
    Some(report)
}

/// The one flow between two kinds of ends.
fn flow<'a>(report: &'a Report, from: &EndKind, to: &EndKind) -> &'a Flow {
    let mut found = report.flows.iter().filter(|flow| flow.from.kind == *from && flow.to.kind == *to);
    let flow = found.next().unwrap_or_else(|| panic!("no flow {from} → {to}: {:#?}", report.flows));
    assert!(found.next().is_none(), "more than one flow {from} → {to}: {:#?}", report.flows);
    flow
}

fn parts(flow: &Flow) -> (u64, u64, u64) {
    (flow.account.moved, flow.account.copied, flow.account.unknown)
}

#[test]
fn the_same_page_at_five_stations() {
    const TEST: &str = "the_same_page_at_five_stations";
    const LEN: usize = 4 << 20;
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a.bin"), &pattern(LEN));
    let sink = direct(&dir.path().join("b.bin"));
    let Some(report) = traced(TEST, || {
        let (near, far) = connection();
        let (out, back) = (wide_pipe(16), wide_pipe(64));
        let mut at = 0;
        while at < LEN {
            let n = once(&source, Some(&mut (at as u64)), &out.write, None, 7 * 4096);
            all(&out.read, None, &near, None, n);
            let mut left = n;
            while left > 0 {
                let m = once(&far, None, &back.write, None, left);
                all(&back.read, None, &sink, Some((at + n - left) as u64), m);
                left -= m;
            }
            at += n;
        }
    }) else {
        return;
    };
    let len = LEN as u64;
    let sent = flow(&report, &EndKind::File, &EndKind::Tcp);
    assert_eq!(parts(sent), (len, 0, 0), "{sent:#?}");
    let stored = flow(&report, &EndKind::Tcp, &EndKind::DirectFile);
    assert_eq!(parts(stored), (len, 0, 0), "{stored:#?}");
    let certificate = stored.certificate.as_ref().expect("a certificate");
    assert_eq!(certificate.hops.len(), 5, "{certificate:#?}");
    assert!(certificate.hops.iter().all(|hop| hop.bytes == len && hop.pages == len / 4096), "{certificate:#?}");
    assert_eq!(certificate.cannot_back_moved(), None);
    let _ = pipe;
}
