//! The report of a demo: the rows as flows, and what could not run as what cannot be seen here.

use std::time::{Duration, SystemTime};

use probes::report::{Alive, Fact, MadeFor, Report, Scope, ScopeKind, Tier};

use super::Failure;
use super::paths::Done;

/// Makes the report. The flows are numbered in the order of `rows`.
pub(crate) fn report(rows: &[Done], failures: &[Failure], started: SystemTime, took: Duration) -> Report {
    let mut scope = Scope::new(ScopeKind::Library);
    scope.pids = vec![std::process::id()];
    let mut report = Report::new(Tier::L, scope);
    report.made_by.command = Some(MadeFor::Demo);
    env!("CARGO_PKG_VERSION").clone_into(&mut report.made_by.zctrace);
    report.made_by.kernel = kernel();
    let since = started.duration_since(SystemTime::UNIX_EPOCH).ok();
    report.made_by.started_unix_ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    report.made_by.duration_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    for row in rows {
        let id = report.add_flow(row.flow.clone());
        report.looks.extend(row.looks.iter().cloned().map(|mut look| {
            look.flow = Some(id);
            look
        }));
    }
    report.coverage.facts = failures.iter().map(fact).collect();
    report.finish(rows.len().max(2));
    report
}

/// A path that could not run is a fact that is absent here.
fn fact(failure: &Failure) -> Fact {
    Fact {
        name: failure.name.to_owned(),
        seen_by: String::new(),
        tier: Tier::L,
        alive: Alive::Absent,
        proven_unix_ms: None,
        why_not: failure.cause.to_string(),
        mend: String::new(),
    }
}

/// The kernel's release.
pub(crate) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
