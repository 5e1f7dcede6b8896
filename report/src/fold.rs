//! Folding: many similar flows become a few aggregate rows. Bytes, reasons and peeks are preserved.

use std::collections::HashMap;

use super::cause;
use super::endpoint::{Endpoint, EndpointKind};
use super::flow::Flow;
use super::tier::Tier;
use super::{Call, Report};

/// Largest number of reasons in an aggregate row. If there are more, their call sites are dropped,
/// but their bytes are kept.
const MAX_REASONS: usize = 16;

/// Key by which flows are similar: process, kinds of endpoints, service port or directory, calls,
/// and reasons.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    name: Option<String>,
    process: String,
    path: Vec<EndpointKind>,
    from: (EndpointKind, String),
    to: (EndpointKind, String),
    call_names: Vec<Call>,
    codes: Vec<String>,
    tier: Option<Tier>,
    mark: char,
}

impl Report {
    /// Folds the flows into at most `max_rows` rows, but not into fewer than 2. Does nothing if
    /// there are at most that many flows.
    ///
    /// Step 1 folds similar flows: equal process name, kinds of endpoints, port or directory,
    /// calls, reasons and mark. If too many rows remain, step 2 keeps the largest rows and folds
    /// the others into one row, or into two if some of them end in memory. The numbers of flows in
    /// edges, peeks and segments are updated. Call this before `summarize`, or call `finish`.
    pub fn fold(&mut self, max_rows: usize) {
        let max_rows = max_rows.max(2);
        if self.flows.len() <= max_rows {
            return;
        }
        let report_tier = self.tier.clone();
        let mut moved_to = HashMap::new();
        let mut rows = group(std::mem::take(&mut self.flows), likeness, &report_tier, &mut moved_to);
        rows.sort_by_key(|row| (std::cmp::Reverse(row.payload), row.id));
        if rows.len() > max_rows {
            // Two rows are reserved for the rest. Flows that end in memory are not part of the
            // share, so they get a row of their own.
            let rest = rows.split_off(max_rows - 2);
            rows.extend(group(rest, Flow::ends_in_memory, &report_tier, &mut moved_to));
        }
        self.flows = rows;
        let flows_of_edges = self.edges.iter_mut().map(|edge| &mut edge.flow);
        let flows_of_looks = self.peeks.iter_mut().map(|look| &mut look.flow);
        let flows_of_segments = self.segments.iter_mut().map(|segment| &mut segment.flow);
        for id in flows_of_edges.chain(flows_of_looks).chain(flows_of_segments).flatten() {
            // Each of the two steps may have renumbered the flow.
            for _ in 0..2 {
                *id = *moved_to.get(id).unwrap_or(id);
            }
        }
    }

    /// Keeps the `max` largest edges, processes, peeks and segments, and counts the omitted ones.
    pub fn bound_lists(&mut self, max: usize) {
        self.omitted.edges += keep_largest(&mut self.edges, max, |edge| edge.bytes);
        self.omitted.processes += keep_largest(&mut self.processes, max, |process| {
            process.payload.max(process.into_memory)
        });
        self.omitted.peeks += keep_largest(&mut self.peeks, max, |look| look.bytes);
        self.omitted.segments += keep_largest(&mut self.segments, max, |segment| segment.bytes);
    }
}

/// Truncates a list to its `max` largest elements and returns the number of removed ones. A
/// truncated list is in descending order.
fn keep_largest<T>(list: &mut Vec<T>, max: usize, size: impl Fn(&T) -> u64) -> u64 {
    let gone = list.len().saturating_sub(max);
    if gone > 0 {
        list.sort_by_key(|row| std::cmp::Reverse(size(row)));
        list.truncate(max);
    }
    gone as u64
}

fn likeness(flow: &Flow) -> Likeness {
    let mut codes: Vec<String> = flow
        .reasons
        .iter()
        .map(|cause| cause.code.as_str().to_owned())
        .collect();
    codes.sort();
    codes.dedup();
    Likeness {
        name: flow.name.clone(),
        process: flow.process.clone(),
        path: flow.path.clone(),
        from: (flow.from.kind.clone(), prefix(&flow.from)),
        to: (flow.to.kind.clone(), prefix(&flow.to)),
        call_names: flow.call_names.clone(),
        codes,
        tier: flow.tier.clone(),
        mark: flow.mark(),
    }
}

/// Returns the part of an endpoint's name by which endpoints fold: a socket's port or a file's
/// directory. Other names are numbers, so they are ignored.
fn prefix(end: &Endpoint) -> String {
    if end.kind.is_socket() {
        end.port.map(|port| format!(":{port}")).unwrap_or_default()
    } else if end.kind.is_file() {
        match end.name.rfind('/') {
            Some(slash) => format!("{}/*", &end.name[..slash]),
            None => String::new(),
        }
    } else if end.kind == EndpointKind::Pipe {
        String::new()
    } else {
        end.name.clone()
    }
}

/// Folds flows with equal `alike` keys, in the order of the first flow of each key. `moved_to`
/// receives the new number of each folded flow.
fn group<K: Eq + std::hash::Hash>(
    flows: Vec<Flow>,
    alike: impl Fn(&Flow) -> K,
    report_tier: &Tier,
    moved_to: &mut HashMap<u64, u64>,
) -> Vec<Flow> {
    let mut rows: Vec<Flow> = Vec::new();
    let mut of_key: HashMap<K, usize> = HashMap::new();
    for flow in flows {
        let key = alike(&flow);
        if let Some(&index) = of_key.get(&key) {
            moved_to.insert(flow.id, rows[index].id);
            merge(&mut rows[index], flow, report_tier);
        } else {
            of_key.insert(key, rows.len());
            rows.push(flow);
        }
    }
    rows
}

/// Folds `flow` into `row`. Members that differ are dropped, and numbers are added.
fn merge(row: &mut Flow, flow: Flow, report_tier: &Tier) {
    // The certificate of the largest flow represents the row. Rows are compared by the bytes that
    // their certificates cover, because a row may be an aggregate already.
    let covers = |flow: &Flow| flow.certificate.as_ref().map(|certificate| certificate.bytes);
    if covers(&flow) > covers(row) {
        row.certificate = flow.certificate;
    }
    // A row of several tiers gets the lowest one, because it cannot claim more.
    if row.tier != flow.tier {
        let of = |tier: &Option<Tier>| tier.clone().unwrap_or_else(|| report_tier.clone());
        row.tier = Some(of(&row.tier).or_lesser(&of(&flow.tier)));
    }
    merge_end(&mut row.from, &flow.from);
    merge_end(&mut row.to, &flow.to);
    if row.path != flow.path {
        row.path.clear();
    }
    if row.name != flow.name {
        row.name = None;
    }
    if row.pid != flow.pid {
        row.pid = None;
    }
    if row.process != flow.process {
        row.process.clear();
    }
    for call in flow.call_names {
        if !row.call_names.contains(&call) {
            row.call_names.push(call);
        }
    }
    if row.oracle != flow.oracle {
        row.oracle = None;
    }
    // One flow with wrong content makes the whole row wrong. One flow without a comparison makes
    // the row not compared.
    row.content_ok = match (row.content_ok, flow.content_ok) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    };
    row.folded = row.folded.saturating_add(flow.folded);
    row.calls = row.calls.saturating_add(flow.calls);
    row.payload = row.payload.saturating_add(flow.payload);
    // A copied byte was copied at least once. `copy_bytes` may be lower here because `summarize`
    // runs later.
    row.copy_bytes = row.copy_bytes.max(row.account.copied);
    row.copy_bytes = row.copy_bytes.saturating_add(flow.copy_bytes.max(flow.account.copied));
    row.account += &flow.account;
    row.peeked_bytes = row.peeked_bytes.saturating_add(flow.peeked_bytes);
    row.copies_per_byte = None;
    cause::merge(&mut row.reasons, &flow.reasons, MAX_REASONS);
}

fn merge_end(row: &mut Endpoint, end: &Endpoint) {
    if row == end {
        return;
    }
    let (ours, theirs) = (prefix(row), prefix(end));
    row.object = None;
    // Names that are dropped leave the row's name open, which is what they would be matched for.
    let drops_names = !(row.other_names.is_empty() && end.other_names.is_empty());
    row.other_names.clear();
    if row.kind != end.kind {
        *row = Endpoint::new(EndpointKind::Various, "");
        return;
    }
    for (ours, theirs) in [
        (&mut row.port, end.port),
        (&mut row.local_port, end.local_port),
        (&mut row.peer_port, end.peer_port),
    ] {
        if *ours != theirs {
            *ours = None;
        }
    }
    if row.name != end.name || drops_names {
        // The name of a folded socket is its port. A folded file keeps the directory if it is the
        // same.
        row.name = if row.kind.is_file() && ours == theirs {
            ours
        } else {
            String::new()
        };
    }
}

#[cfg(test)]
mod tests {
    use zctrace_contract::Reason;

    use super::*;
    use crate::{Account, Cause, Certificate, Custody, Hop, Level, Peek, ProofKind, Scope, Station, StationKind};

    fn connection(n: u64, port: u16) -> Flow {
        let mut to = Endpoint::new(EndpointKind::Tcp, format!("10.0.0.{n}:{}", 40_000 + n));
        to.port = Some(port);
        let mut flow = Flow::new(Endpoint::new(EndpointKind::File, format!("/srv/video/{n}.mp4")), to);
        flow.process = "nginx".to_owned();
        flow.calls = 2;
        flow.set_account(Account::new(1000 + n, 0, 0));
        flow
    }

    fn report(flows: impl IntoIterator<Item = Flow>) -> Report {
        let mut report = Report::new(Tier::L, Scope::default());
        for flow in flows {
            report.add_flow(flow);
        }
        report
    }

    #[test]
    fn like_connections_become_one_row_that_says_how_many() {
        let mut report = report((0..100).map(|n| connection(n, if n % 4 == 0 { 443 } else { 80 })));
        report.peeks.push(Peek {
            flow: Some(100),
            ..Peek::new(1, 1)
        });
        report.finish(10);
        report.check().unwrap();
        let rows: Vec<_> = report.flows.iter().map(|f| (f.to.port, f.folded, f.calls)).collect();
        assert_eq!(rows, [(Some(80), 75, 150), (Some(443), 25, 50)]);
        assert_eq!(report.flows[0].from.name, "/srv/video/*");
        assert_eq!(report.flows[0].to.to_string(), "TCP socket :80");
        assert_eq!(
            report.peeks[0].flow,
            Some(report.flows[0].id),
            "the last connection went to port 80"
        );
    }

    #[test]
    fn few_flows_stay_as_they_are() {
        let mut report = report((0..3).map(|n| connection(n, 80)));
        let before = report.flows.clone();
        report.fold(3);
        assert_eq!(report.flows, before);
    }

    #[test]
    fn unlike_flows_are_bounded_and_what_ends_in_memory_stays_apart() {
        let mut flows: Vec<Flow> = (0..40).map(|n| connection(n, 1000 + n as u16)).collect();
        for n in 0..5 {
            let mut read = connection(n, 1);
            read.to = Endpoint::new(EndpointKind::Memory, format!("worker {n}"));
            read.path = vec![EndpointKind::File, EndpointKind::Memory];
            read.set_account(Account::new(0, n + 1, 0));
            read.reasons.push(Cause::new(Reason::IntoMemory, n + 1, 1));
            flows.push(read);
        }
        let mut report = report(flows);
        report.summarize();
        let before = (report.totals().clone(), report.into_memory().clone());
        report.finish(6);
        report.check().unwrap();
        assert_eq!(report.flows.len(), 6);
        assert_eq!((report.totals().clone(), report.into_memory().clone()), before);
        assert_eq!(report.flows.iter().map(|f| f.folded).sum::<u64>(), 45);
        let memory = report.flows.iter().find(|f| f.ends_in_memory()).unwrap();
        assert_eq!((memory.folded, memory.reasons[0].bytes), (5, 15));
    }

    fn certified(n: u64, bytes: u64) -> Flow {
        let mut flow = connection(n, 80);
        flow.set_account(Account::new(bytes, 0, 0));
        let mut certificate = Certificate::new(Level::Full, format!("eth{n}"), bytes);
        for shown in [ProofKind::Start, ProofKind::Identity] {
            let station = Station::new(StationKind::SkbFrag, flow.to.clone());
            let mut hop = Hop::new(station, "net_dev_start_xmit", Tier::T0, shown, bytes);
            if hop.proof != ProofKind::Start {
                hop.custody = Custody::Assumed;
            }
            certificate.hops.push(hop);
        }
        flow.certificate = Some(certificate);
        flow
    }

    #[test]
    fn the_largest_evidence_stands_for_a_row_and_the_least_tier_for_several() {
        let mut by_library = certified(4, 1);
        by_library.certificate = None;
        by_library.tier = Some(Tier::L);
        by_library.from.kind = EndpointKind::Unix;
        by_library.path[0] = EndpointKind::Unix;
        let mut report = report([certified(0, 10), certified(1, 30), certified(2, 20), by_library]);
        report.tier = Tier::T0;
        let mut rows = report.clone();
        rows.finish(2);
        rows.check().unwrap();
        assert_eq!(rows.flows.len(), 2);
        let row = rows.flow(1).unwrap();
        assert_eq!((row.folded, row.tier.clone()), (3, None));
        assert_eq!(row.certificate.as_ref().unwrap().horizon, "eth1");

        // With two more groups the rest becomes one row of both tiers. It claims no more than the
        // library does.
        for n in [5, 6] {
            let mut other = certified(n, 100);
            other.to.port = Some(n as u16);
            report.add_flow(other);
        }
        report.finish(3);
        report.check().unwrap();
        let rest = report
            .flows
            .iter()
            .find(|flow| flow.from.kind == EndpointKind::Various)
            .unwrap();
        assert_eq!(rest.tier, Some(Tier::L));
    }

    #[test]
    fn copies_are_added_whether_or_not_they_were_counted_twice() {
        let copied = |n, copy_bytes| {
            let mut flow = connection(n, 80);
            flow.set_account(Account::new(0, 10, 0));
            flow.copy_bytes = copy_bytes;
            flow.reasons.push(Cause::new(Reason::KernelCopies, 10, 1));
            flow
        };
        // `copy_bytes` 0 means 10 here because `summarize` has not run yet. 20 means that each byte
        // was copied twice.
        let mut report = report([copied(0, 0), copied(1, 20), copied(2, 0)]);
        report.finish(2);
        report.check().unwrap();
        assert_eq!((report.flows.len(), report.flows[0].copy_bytes), (1, 40));
    }

    #[test]
    fn one_wrong_content_is_not_folded_away() {
        let mut flows: Vec<Flow> = (0..3).map(|n| connection(n, 80)).collect();
        for (flow, ok) in flows.iter_mut().zip([Some(true), Some(false), None]) {
            flow.content_ok = ok;
        }
        let mut report = report(flows);
        report.finish(1);
        assert_eq!((report.flows.len(), report.flows[0].content_ok), (1, Some(false)));
    }

    #[test]
    fn lists_keep_their_largest_and_count_the_rest() {
        let mut report = report([]);
        report.peeks = (0..10).map(|n| Peek::new(n, 1)).collect();
        report.bound_lists(3);
        assert_eq!(
            report.peeks.iter().map(|look| look.bytes).collect::<Vec<_>>(),
            [9, 8, 7]
        );
        assert_eq!((report.omitted.peeks, report.omitted.edges), (7, 0));
    }
}
