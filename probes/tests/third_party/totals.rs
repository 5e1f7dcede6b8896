//! Sums of a report over all bytes between two kinds of endpoints, by edges and by flows.

use std::path::Path;

use zctrace_contract::Reason;
use zctrace_report::{Account, Endpoint, EndpointKind, ReasonCode, Report};

/// An endpoint: its kind, and its name if that matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndpointMatch<'a> {
    kind: &'a EndpointKind,
    path: Option<&'a Path>,
}

pub(crate) const MEMORY: EndpointMatch<'_> = any(&EndpointKind::Memory);
pub(crate) const TCP: EndpointMatch<'_> = any(&EndpointKind::Tcp);
pub(crate) const PIPE: EndpointMatch<'_> = any(&EndpointKind::Pipe);

pub(crate) const fn any(kind: &EndpointKind) -> EndpointMatch<'_> {
    EndpointMatch { kind, path: None }
}

pub(crate) fn file(path: &Path) -> EndpointMatch<'_> {
    EndpointMatch {
        kind: &EndpointKind::File,
        path: Some(path),
    }
}

pub(crate) fn direct_file(path: &Path) -> EndpointMatch<'_> {
    EndpointMatch {
        kind: &EndpointKind::DirectFile,
        path: Some(path),
    }
}

impl EndpointMatch<'_> {
    fn is(&self, end: &Endpoint) -> bool {
        end.kind == *self.kind && self.path.is_none_or(|path| Path::new(&end.name) == path)
    }
}

/// Returns the verdicts of all bytes that calls moved from one endpoint to another.
pub(crate) fn edges(report: &Report, from: EndpointMatch<'_>, to: EndpointMatch<'_>) -> Account {
    let mut sum = Account::default();
    for edge in &report.edges {
        if from.is(&edge.from.endpoint) && to.is(&edge.to.endpoint) {
            sum += &edge.account;
        }
    }
    sum
}

/// Returns the verdicts of all bytes with one origin and one destination.
pub(crate) fn flows(report: &Report, from: EndpointMatch<'_>, to: EndpointMatch<'_>) -> Account {
    let mut sum = Account::default();
    for flow in &report.flows {
        if from.is(&flow.from) && to.is(&flow.to) {
            sum += &flow.account;
        }
    }
    sum
}

pub(crate) fn moved(bytes: u64) -> Account {
    Account::new(bytes, 0, 0)
}

pub(crate) fn copied(bytes: u64) -> Account {
    Account::new(0, bytes, 0)
}

/// Asserts that edges and flows between two endpoints agree on this result.
#[track_caller]
pub(crate) fn assert_both(report: &Report, from: EndpointMatch<'_>, to: EndpointMatch<'_>, wanted: &Account) {
    let all = || format!("{from:?} → {to:?}\n{}", overview(report));
    assert_eq!(edges(report, from, to), *wanted, "edges {}", all());
    assert_eq!(flows(report, from, to), *wanted, "flows {}", all());
}

/// Returns the bytes of flows between two endpoints with a given reason.
pub(crate) fn bytes_with_reasons(
    report: &Report,
    from: EndpointMatch<'_>,
    to: EndpointMatch<'_>,
    reasons: &[Reason],
) -> u64 {
    let codes: Vec<ReasonCode> = reasons.iter().map(|&reason| reason.into()).collect();
    let flows = report
        .flows
        .iter()
        .filter(|flow| from.is(&flow.from) && to.is(&flow.to));
    let causes = flows.flat_map(|flow| &flow.reasons);
    causes
        .filter(|cause| codes.contains(&cause.code))
        .map(|cause| cause.bytes)
        .sum()
}

/// Formats all edges and flows, one line each, for failure messages.
pub(crate) fn overview(report: &Report) -> String {
    let line = |account: &Account| {
        let Account {
            moved,
            copied,
            unknown,
            excluded: neither,
        } = account;
        format!(
            "moved {moved} copied {copied} unknown {unknown} neither {}",
            neither.total()
        )
    };
    let edges = report.edges.iter().map(|edge| {
        let (from, to) = (&edge.from.endpoint, &edge.to.endpoint);
        format!(
            "edge {:?} {} {from} → {to}: {} calls, {}\n",
            edge.pid,
            edge.call,
            edge.calls,
            line(&edge.account)
        )
    });
    let flows = report.flows.iter().map(|flow| {
        let codes: Vec<String> = flow
            .reasons
            .iter()
            .map(|cause| format!("{} {}", cause.code, cause.bytes))
            .collect();
        format!(
            "flow {:?} {} → {}: {}, {codes:?}\n",
            flow.pid,
            flow.from,
            flow.to,
            line(&flow.account)
        )
    });
    edges.chain(flows).collect()
}
