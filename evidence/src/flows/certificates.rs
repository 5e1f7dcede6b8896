//! Certificates: what was observed of a flow's moved bytes at each hop of their path.

use std::collections::{BTreeMap, HashMap};

use super::flow_stats::{FlowStats, FlowTable};
use super::report_flows::{FlowPath, FlowRow};
use super::stations::{horizon, seen_by, station};
use crate::decode::endpoints::{EndpointId, Endpoints};
use crate::journal::Journals;
use zctrace_report::{Certificate, Custody, Hop, Level, PageExample, ProofKind, StationKind, Tier};

/// The rows whose bytes went into a stream, by the stream's number. Built once, because each of
/// fifty thousand connections asks for its senders.
pub(super) struct Senders<'a, 'b>(HashMap<u64, Vec<(&'a FlowPath, &'a FlowRow<'b>)>>);

impl<'a, 'b> Senders<'a, 'b> {
    /// Sorts the rows by the stream that their moved bytes were sent to.
    pub(super) fn new(rows: &'a BTreeMap<FlowPath, FlowRow<'b>>) -> Self {
        let mut senders = HashMap::<_, Vec<_>>::new();
        for (path, row) in rows {
            let stream = row.moved.produced.0;
            // 0 is no stream.
            if stream != 0 {
                senders.entry(stream).or_default().push((path, row));
            }
        }
        Self(senders)
    }

    /// Returns the row that sent all bytes which were consumed from a stream.
    fn upstream_of(&self, moved: &FlowStats) -> Option<(&'a FlowPath, &'a FlowRow<'b>)> {
        let mut rows = self.0.get(&moved.consumed.0)?.iter().copied();
        rows.find(|(_, row)| moved.consumed.1.within(&row.moved.produced.1))
    }
}

/// Returns the certificate of a row's moved bytes; `None` if no byte moved. It includes the path by
/// which the bytes came into the stream that they were consumed from, if that was observed.
pub(super) fn certificate(
    table: &FlowTable,
    (path, row): (&FlowPath, &FlowRow<'_>),
    senders: &Senders<'_, '_>,
    endpoints: &Endpoints,
    journals: &Journals,
) -> Option<Certificate> {
    let moved = &row.moved;
    if moved.bytes == 0 {
        return None;
    }
    let level = &table.level;
    let mut certificate = Certificate::new(level.clone(), horizon(endpoints, *path.hops.last()?), moved.bytes);
    let upstream = senders.upstream_of(moved);
    // The last station of the sender and the first of the receiver are one: the packet.
    let from = upstream.map_or(path.from, |(path, _)| path.from);
    certificate.hops.push(first_hop(from, moved, endpoints));
    if let Some((path, sender)) = upstream {
        for (number, to) in path.hops.iter().enumerate() {
            let bytes = sender.bytes_sent_through(number, moved);
            let has_dma = sender.hops.get(number).is_some_and(|hop| hop.has_dma);
            certificate
                .hops
                .push(hop(level, *to, (bytes, moved.pages), has_dma, endpoints));
        }
        // The segments are those of all bytes that the sender sent. The flow's bytes may be a part.
        attach_segment_names(&mut certificate, 0, path, &sender.moved, journals);
    }
    let own = certificate.hops.len();
    for (number, to) in path.hops.iter().enumerate() {
        let evidence = row.hops.get(number).cloned().unwrap_or_default();
        let observed = (evidence.bytes, moved.pages);
        certificate
            .hops
            .push(hop(level, *to, observed, evidence.has_dma, endpoints));
    }
    attach_segment_names(&mut certificate, own, path, moved, journals);
    assume_custody(&mut certificate.hops);
    if let Some((offset, len, address)) = moved.example {
        certificate.examples.push(PageExample {
            offset,
            len,
            page: table.page_name(address),
            held_by: certificate.hops.iter().map(|hop| hop.station.to_string()).collect(),
        });
    }
    certificate
        .not_proved
        .push("That the bytes were not changed in place: contents are never read.".to_owned());
    certificate
        .not_proved
        .push(format!("What happened below {}.", certificate.horizon));
    Some(certificate)
}

fn first_hop(from: EndpointId, moved: &FlowStats, endpoints: &Endpoints) -> Hop {
    let station = station(endpoints, from);
    let by = seen_by(&station.kind, &station.endpoint.kind);
    let mut hop = Hop::new(station, by, Tier::T0, ProofKind::Start, moved.bytes);
    hop.pages = moved.pages;
    hop
}

/// Returns a hop at which `bytes` bytes in `pages` pages were observed.
fn hop(level: &Level, to: EndpointId, (bytes, pages): (u64, u64), has_dma: bool, endpoints: &Endpoints) -> Hop {
    let station = station(endpoints, to);
    let (shown, by) = match level {
        Level::Digest => (ProofKind::Digest, "sums at sock_send_length and at net_dev_start_xmit"),
        _ if has_dma => (ProofKind::Dma, seen_by(&station.kind, &station.endpoint.kind)),
        _ => (ProofKind::Identity, seen_by(&station.kind, &station.endpoint.kind)),
    };
    let mut hop = Hop::new(station, by, Tier::T0, shown, bytes);
    hop.pages = pages;
    hop
}

/// Marks custody as assumed at each hop where it follows from the axiom about page references.
///
/// No probe counts page references, so custody is never observed. Each station takes its reference
/// inside the call in which the station before it drops its own (pipe slots, fragments), or holds
/// none because the call waits for the device (`O_DIRECT`). A hop outside the axiom keeps custody
/// `NotObserved`, with which the certificate does not prove *moved*.
fn assume_custody(hops: &mut [Hop]) {
    for index in 1..hops.len() {
        if hops[index].is_custody_axiomatic(&hops[index - 1]) {
            hops[index].custody = Custody::Assumed;
        }
    }
}

/// Adds the names of the bytes' segments at the last pipe of the hops from `from` on.
fn attach_segment_names(
    certificate: &mut Certificate,
    from: usize,
    path: &FlowPath,
    stats: &FlowStats,
    journals: &Journals,
) {
    let is_pipe = |hop: &&mut Hop| hop.station.kind == StationKind::PipeSlot;
    if let Some(hop) = certificate.hops[from..].iter_mut().rev().find(is_pipe) {
        let of = stats.bytes.min(hop.bytes);
        hop.segments = journals.names(&stats.pipe_positions, of, path.tgid);
        if let Some(names) = &mut hop.segments
            && names.bytes == of
        {
            // All bytes that were sent have names. The delivered bytes are a part of them, some
            // twice (tee).
            names.bytes = hop.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::flows::flow_stats::{Arrival, FlowKey};
    use crate::history::{Histories, Hop as HistoryHop, Outcome};
    use crate::mirror::pipe_position::PipePosition;
    use crate::span::{Location, Span};

    fn history(histories: &mut Histories, hops: &[(EndpointId, Outcome)]) -> crate::history::HistoryId {
        hops.iter().fold(Histories::START, |history, &(to, outcome)| {
            let hop = HistoryHop {
                nr: 275,
                tgid: 1,
                user_ip: 0,
                to,
                outcome,
            };
            histories.with(history, hop)
        })
    }

    fn stats(bytes: u64, consumed: u64, produced: u64) -> FlowStats {
        let mut stats = FlowStats {
            bytes,
            ..FlowStats::default()
        };
        for (stream, side) in [(consumed, &mut stats.consumed), (produced, &mut stats.produced)] {
            if stream != 0 {
                side.0 = stream;
                side.1.add(1000, bytes);
            }
        }
        stats
    }

    fn certificate_of(path: &FlowPath, row: &FlowRow<'_>, rows: &BTreeMap<FlowPath, FlowRow<'_>>) -> Certificate {
        let endpoints = Endpoints::new(Config::default().mounts);
        let table = FlowTable::new(0, Level::Full);
        certificate(
            &table,
            (path, row),
            &Senders::new(rows),
            &endpoints,
            &Journals::default(),
        )
        .expect("bytes moved")
    }

    #[test]
    fn hop_counts_the_bytes_observed_at_its_station() {
        let mut histories = Histories::new();
        let to = |history| FlowKey {
            from: EndpointId::MEMORY,
            to: EndpointId::PIPE,
            history,
        };
        let full = to(history(&mut histories, &[(EndpointId::PIPE, Outcome::Identity); 2]));
        // The second hop of these bytes is missing.
        let short = to(history(&mut histories, &[(EndpointId::PIPE, Outcome::Dma)]));
        let path = FlowPath {
            from: EndpointId::MEMORY,
            hops: vec![EndpointId::PIPE; 2],
            tgid: 1,
        };
        let (all, part) = (stats(4096, 0, 0), stats(100, 0, 0));
        let mut row = FlowRow::default();
        row.add(&full, &all, &histories);
        let whole = certificate_of(&path, &row, &BTreeMap::new());
        assert_eq!(whole.moved_weakness(), None);
        row.add(&short, &part, &histories);
        let lacking = certificate_of(&path, &row, &BTreeMap::new());
        assert_eq!(
            lacking.hops.iter().map(|hop| hop.bytes).collect::<Vec<_>>(),
            [4196, 4196, 4096]
        );
        let why = lacking.moved_weakness().expect("a hop lacks bytes");
        assert!(why.contains("station 3") && why.contains("4096 of 4196"), "{why}");
    }

    #[test]
    fn hop_of_the_sender_counts_the_consumed_bytes_observed_at_its_station() {
        let mut histories = Histories::new();
        let full = FlowKey {
            from: EndpointId::MEMORY,
            to: EndpointId::PIPE,
            history: history(&mut histories, &[(EndpointId::PIPE, Outcome::Identity); 2]),
        };
        let short = FlowKey {
            history: history(&mut histories, &[(EndpointId::PIPE, Outcome::Identity)]),
            ..full
        };
        let consumed = stats(4096, 7, 0);
        for (key, bytes) in [(&full, 4096), (&short, 0)] {
            let sent = stats(4096, 0, 7);
            let mut sender = FlowRow::default();
            sender.add(key, &sent, &histories);
            assert_eq!(sender.bytes_sent_through(0, &consumed), 4096);
            assert_eq!(sender.bytes_sent_through(1, &consumed), bytes);
        }
    }

    #[test]
    fn delivery_is_counted_at_its_positions_in_both_streams() {
        let mut table = FlowTable::new(0, Level::Full);
        let span = Span {
            len: 10,
            origin: EndpointId::MEMORY,
            position: 5,
            stream: 3,
            pipe_position: PipePosition::default(),
            location: Location::Unknown,
            history: Histories::START,
        };
        let at = Arrival {
            call_id: 1,
            stream: 4,
            position: 50,
            more_calls: 0,
        };
        table.add(&span, EndpointId::PIPE, at);
        let (_, stats) = table.iter().next().expect("it was added");
        assert_eq!((stats.consumed.0, stats.consumed.1.covered(5, 10)), (3, 10));
        assert_eq!((stats.produced.0, stats.produced.1.covered(50, 10)), (4, 10));
    }
}
