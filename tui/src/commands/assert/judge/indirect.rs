//! Bytes of the judged sources that can have reached the judged sinks by way of another end.
//!
//! A flow begins where a call took its bytes. What a program read into its memory, or copied into
//! another file, has that memory or file as its source when it goes on, and a rule with `--from`
//! does not match it. Whether the bytes that went on are those that came is not observed.

use std::collections::BTreeSet;

use zctrace_report::{Endpoint, EndpointKind, Report};

use crate::commands::assert::criteria::Criteria;
use crate::filter::Match;

/// Bytes that went from the judged sources elsewhere, and on to the judged sinks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Indirect {
    /// Bytes that went from the sources to memory and other ends.
    pub(crate) into: u64,
    /// Bytes that went from there to the sinks, and are not judged.
    pub(crate) out: u64,
    /// Bytes that went from memory to the sinks, and are not judged, while no call was observed to
    /// bring bytes of the sources there. A private mapping of a source is not observed.
    pub(crate) from_memory: u64,
}

/// Place where bytes can stay and be taken from. Sockets are one place for each kind, because the
/// two sides of a connection are different ends.
type Place = (String, String);

fn place(end: &Endpoint) -> Option<Place> {
    let kind = end.kind.as_str().to_owned();
    match end.kind {
        EndpointKind::Null | EndpointKind::Terminal => None,
        EndpointKind::Memory => Some((kind, String::new())),
        _ if end.kind.is_socket() => Some((kind, String::new())),
        _ => {
            // A file is the same whether it is open with O_DIRECT or not.
            let kind = if end.kind.is_file() { "file".to_owned() } else { kind };
            Some((kind, end.object.clone().unwrap_or_else(|| end.name.clone())))
        }
    }
}

/// Returns what can have gone from the sources to the sinks unnoticed. It is nothing if the rule
/// names no sources.
pub(super) fn indirect(report: &Report, criteria: &Criteria) -> Indirect {
    let mut found = Indirect::default();
    if criteria.from.is_empty() {
        return found;
    }
    // Bytes that reached a judged sink were judged there.
    let elsewhere: Vec<_> = report
        .flows
        .iter()
        .filter(|flow| flow.payload > 0 && criteria.matches_sink(&flow.to, flow.folded) != Match::Yes)
        .collect();
    let mut reached = BTreeSet::new();
    for flow in &elsewhere {
        if criteria.matches_source(&flow.from, flow.folded) != Match::No
            && let Some(place) = place(&flow.to)
        {
            found.into = found.into.saturating_add(flow.payload);
            reached.insert(place);
        }
    }
    loop {
        let known = reached.len();
        for flow in &elsewhere {
            if place(&flow.from).is_some_and(|from| reached.contains(&from)) {
                reached.extend(place(&flow.to));
            }
        }
        if reached.len() == known {
            break;
        }
    }
    for flow in &report.flows {
        let is_reached = place(&flow.from).is_some_and(|from| reached.contains(&from));
        let goes_to_sink = criteria.matches_sink(&flow.to, flow.folded) != Match::No;
        if !goes_to_sink || criteria.matches(flow) != Match::No {
            continue;
        }
        if is_reached {
            found.out = found.out.saturating_add(flow.account.delivered());
        } else if flow.from.kind == EndpointKind::Memory {
            found.from_memory = found.from_memory.saturating_add(flow.account.delivered());
        }
    }
    if found.out == 0 {
        found.into = 0;
    }
    found
}
