//! The report of a demo: the rows as flows, and paths that could not run as facts that are absent.

use std::time::{Duration, SystemTime};

use zctrace_probes::probe::SetupError;
use zctrace_report::{Fact, FactStatus, Report, Scope, ScopeKind, Subcommand, Tier};

use super::PathFailure;
use super::paths::PathResult;

/// Builds the report. The flows are numbered in the order of `rows`. `kernel` is the report of the
/// whole trace, or why there is none.
pub(crate) fn report(
    rows: &[PathResult],
    failures: &[PathFailure],
    kernel: Result<&Report, &SetupError>,
    started: SystemTime,
    took: Duration,
) -> Report {
    let mut scope = Scope::new(ScopeKind::Library);
    scope.pids = vec![std::process::id()];
    let mut report = Report::new(if kernel.is_ok() { Tier::T0 } else { Tier::L }, scope);
    report.provenance.command = Some(Subcommand::Demo);
    env!("CARGO_PKG_VERSION").clone_into(&mut report.provenance.zctrace_version);
    report.provenance.kernel_release = release();
    let since = started.duration_since(SystemTime::UNIX_EPOCH).ok();
    report.provenance.started_unix_ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    report.provenance.duration_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    for row in rows {
        let mut flow = row.flow.clone();
        // Without evidence of the kernel the library's account stands, and its tier says so.
        flow.tier.get_or_insert(Tier::L);
        let id = report.add_flow(flow);
        report.peeks.extend(row.peeks.iter().cloned().map(|mut look| {
            look.flow = Some(id);
            look
        }));
        report.segments.extend(row.segments.iter().cloned().map(|mut segment| {
            segment.flow = Some(id);
            segment
        }));
    }
    if let Ok(kernel) = kernel {
        report.provenance.object_hash.clone_from(&kernel.provenance.object_hash);
        report.loss = kernel.loss.clone();
        report.coverage = kernel.coverage.clone();
        report.overhead = kernel.overhead.clone();
    }
    report.coverage.facts.extend(failures.iter().map(fact));
    report.finish(rows.len().max(2));
    report
}

/// Converts a path that could not run to an absent fact.
fn fact(failure: &PathFailure) -> Fact {
    Fact {
        name: failure.name.to_owned(),
        observed_by: String::new(),
        tier: Tier::L,
        status: FactStatus::Unavailable,
        verified_unix_ms: None,
        missing_reason: failure.cause.to_string(),
        hint: String::new(),
    }
}

/// Returns the release of the kernel.
pub(crate) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
