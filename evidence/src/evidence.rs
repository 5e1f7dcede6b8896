//! The coordinator.

use std::collections::HashMap;

use zctrace_contract::Reason;
use zctrace_records::{
    Call, ConnectionClosed, EndpointName, EndpointState, IoCounterKey, IoCounters, PageRecord, ProcessEvent, call_flag,
    nr, process_event_kind, station_kind,
};

use crate::classify::rule::Observation;
use crate::classify::sinks;
use crate::collections::fast_map::FastMap;
use crate::config::Config;
use crate::decode::endpoints::{EndpointForm, EndpointId, Endpoints, form_of};
use crate::decode::observations::CallObservations;
use crate::flows::digest::Digests;
use crate::flows::digest_flows;
use crate::flows::edges::{EdgeKey, Edges, InFlight};
use crate::flows::flow_stats::{Arrival, Flows, Pages, Symbols};
use crate::flows::io_counters;
use crate::flows::zerocopy::Notices;
use crate::history::{Histories, HistoryId, Hop, Outcome};
use crate::journal::event::JournalEvent;
use crate::journal::{FlowsOf, Segments};
use crate::mirror::pipe_mirror::{MirrorSlot, PipeMirror, Readiness};
use crate::mirror::pipe_usage;
use crate::mirror::reorder::{ReorderBuffer, readiness};
use crate::mirror::sockets::{Sender, Sockets};
use crate::mirror::stream::Sent;
use crate::span::{Location, Span, total};
use zctrace_report::{self as report, NotObserved};

/// The evidence of one run.
#[derive(Debug)]
pub struct Evidence {
    pub(crate) config: Config,
    pub(crate) ends: Endpoints,
    pub(crate) histories: Histories,
    pub(crate) flows: Flows,
    pub(crate) edges: Edges,
    pub(crate) sockets: Sockets,
    pub(crate) mirrors: FastMap<u64, PipeMirror>,
    /// Stations that belong to calls whose own record has not come yet.
    pub(crate) parts: FastMap<u64, CallObservations>,
    /// Room for such, used again, as that of the next four is: what is as large as this the allocator neither gives nor takes
    /// quickly.
    pub(crate) spare: Vec<CallObservations>,
    pub(crate) taken: Vec<Span>,
    pub(crate) batch: DeliveryBatch,
    pub(crate) slots: Vec<MirrorSlot>,
    pub(crate) inside: Vec<Span>,
    pub(crate) waiting: ReorderBuffer,
    pub(crate) processes: FastMap<u32, String>,
    pub(crate) plain: HashMap<IoCounterKey, IoCounters>,
    pub(crate) digests: Digests,
    pub(crate) found: HashMap<digest_flows::Key, digest_flows::Found>,
    /// Calls of which nothing can be said: entered before watching began, forged, of 32-bit programs.
    pub(crate) excluded: ExcludedCalls,
    pub(crate) lost: bool,
    pub(crate) segments: Segments,
    pub(crate) notices: Notices,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExcludedCalls {
    pub(crate) without_entry: u64,
    pub(crate) other_file: u64,
    pub(crate) compat: u64,
    pub(crate) bytes: u64,
}

/// Pipes that are followed at the same time, and calls whose stations wait for them.
const MAX_PIPES: usize = 65_536;

/// Stations of calls whose room is kept for later ones.
const MAX_SPARE: usize = 16;

/// A call with what was seen inside it.
#[derive(Debug)]
pub(crate) struct ObservedCall {
    pub(crate) call: Call,
    pub(crate) parts: CallObservations,
}

/// Spans that record_hop_batched an edge one after the other: of most of them the same is to be noted.
#[derive(Debug, Default)]
pub(crate) struct HopBatch {
    /// The history before, what became of the bytes, and the history that makes.
    pub(crate) latest: Option<(HistoryId, Outcome, HistoryId)>,
    pub(crate) bytes: u64,
}

/// Spans that arrived one after the other and differ in their places only.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) span: Span,
    pub(crate) outcome: Outcome,
    pub(crate) by: Sender,
    pub(crate) at: u64,
    pub(crate) pages: Pages,
}

impl Delivery {
    /// Whether the next one goes on where these end.
    #[inline]
    pub(crate) fn is_followed_by(&self, next: &Sent<Sender>, outcome: Outcome) -> bool {
        let (last, span) = (&self.span, &next.span);
        outcome == self.outcome
            && self.at.checked_add(last.len) == Some(next.at)
            && (last.origin, last.history, last.stream) == (span.origin, span.history, span.stream)
            && (last.stream == 0 || last.position.checked_add(last.len) == Some(span.position))
            && last.pipe_position.number == span.pipe_position.number
            && (last.pipe_position.number == 0 || last.pipe_position.plus(last.len) == span.pipe_position)
            && self.by == next.by
    }
}

/// What packets or messages carried of what calls gave, in order.
#[derive(Debug, Default)]
pub(crate) struct DeliveryBatch {
    pub(crate) all: Vec<Delivery>,
}

impl DeliveryBatch {
    /// Adds what was carried, in what, and what that makes of it.
    #[inline]
    pub(crate) fn carried(&mut self, given: &Sent<Sender>, seen: &Observation, outcome: Outcome) {
        let mut location = given.span.location;
        if let (Outcome::Identity, Some(start)) = (outcome, seen.start) {
            location = Location::Page(start);
        }
        let pages = Pages::of(location, given.span.position, given.span.len);
        if let Some(before) = self.all.last_mut()
            && before.is_followed_by(given, outcome)
        {
            before.span.len += given.span.len;
            before.pages.add(pages);
            return;
        }
        self.all.push(Delivery {
            span: Span { location, ..given.span },
            outcome,
            by: given.by,
            at: given.at,
            pages,
        });
    }
}

impl Evidence {
    /// Nothing has happened yet.
    pub fn new(config: Config) -> Self {
        let digests = Digests::new(config.level == report::Level::Counters);
        Self {
            ends: Endpoints::new(config.mounts.clone()),
            flows: Flows::new(config.hash_key, config.level.clone()),
            config,
            histories: Histories::new(),
            edges: Edges::default(),
            sockets: Sockets::default(),
            mirrors: FastMap::default(),
            parts: FastMap::default(),
            spare: Vec::new(),
            taken: Vec::new(),
            batch: DeliveryBatch::default(),
            slots: Vec::new(),
            inside: Vec::new(),
            waiting: ReorderBuffer::default(),
            processes: FastMap::default(),
            plain: HashMap::new(),
            digests,
            found: HashMap::new(),
            excluded: ExcludedCalls::default(),
            lost: false,
            segments: Segments::default(),
            notices: Notices::default(),
        }
    }

    /// Takes what people call an end.
    pub fn endpoint_name(&mut self, name: &EndpointName) {
        self.ends.name(name);
    }

    /// Takes what happened to a process.
    pub fn process_event(&mut self, process: &ProcessEvent) {
        if process.event == process_event_kind::PIPE_RESIZED {
            if let Some(mirror) = self.mirrors.get_mut(&process.detail) {
                mirror.lose();
            }
            return;
        }
        let tgid = if process.event == process_event_kind::FORK {
            process.child
        } else {
            process.header.tgid
        };
        let end = process
            .comm
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(process.comm.len());
        let name = String::from_utf8_lossy(&process.comm[..end]).into_owned();
        if self.processes.len() < MAX_PIPES {
            self.processes.insert(tgid, name);
        }
    }

    /// Takes pages that were seen at a station.
    pub fn page_record(&mut self, station: &PageRecord) {
        match station.station {
            station_kind::PACKET => {
                let flags = station.flags;
                let mut batch = std::mem::take(&mut self.batch);
                self.sockets
                    .packet(station, &self.config.pipe_buf_ops, &mut |given, seen| {
                        batch.carried(given, seen, sinks::carried(&given.span, seen, flags));
                    });
                self.arrived(batch);
            }
            station_kind::UNIX => {
                let names = self.config.pipe_buf_ops;
                let mut batch = std::mem::take(&mut self.batch);
                for (given, seen) in &self.sockets.unix(station.object).message(station, &names) {
                    batch.carried(given, seen, sinks::in_message(&given.span, seen));
                }
                self.arrived(batch);
                if station.call_id != 0 {
                    self.part(station);
                }
            }
            _ => self.part(station),
        }
    }

    pub(crate) fn part(&mut self, station: &PageRecord) {
        if self.parts.len() >= MAX_PIPES {
            // Calls whose records were lost: what waits for them waits in vain.
            self.parts.clear();
        }
        let spare = &mut self.spare;
        let part = self.parts.entry(station.call_id);
        part.or_insert_with(|| spare.pop().unwrap_or_default()).add(station);
    }

    /// A watched connection has ended.
    pub fn connection_closed(&mut self, closed: &ConnectionClosed) {
        for given in self.sockets.closed(closed.pair) {
            let outcome = Outcome::Unknown(self.never_seen());
            self.arrive_given(&given, outcome);
        }
    }

    /// Records were lost: what is missing from now on may be missing for that.
    pub fn records_lost(&mut self) {
        self.lost = true;
        self.segments.kernel_lost();
    }

    /// Takes what plain reads and writes have added up to, from the beginning of the run.
    pub fn io_counters(&mut self, sums: impl IntoIterator<Item = (IoCounterKey, IoCounters)>) {
        self.plain.extend(sums);
    }

    /// Takes what is new in a program's journal. What the kernel recorded until then must have come before.
    pub fn journal_event(&mut self, event: &JournalEvent) {
        self.segments.ingest(event);
    }

    /// Takes a call, at its exit: its stations have come before.
    pub fn call(&mut self, call: Call) {
        self.segments.called(&call);
        let now_ns = call.header.timestamp_ns;
        let parts = self.parts.remove(&call.call_id).unwrap_or_default();
        self.apply_or_wait(ObservedCall { call, parts });
        // What waited for this one can go now, and what waited for that.
        while let Some(observed) = self.waiting.next_ready(&mut self.mirrors) {
            self.apply(&observed);
        }
        while let Some(observed) = self.waiting.pop_expired(now_ns) {
            self.desync_pipes_of(&observed.call);
            self.apply(&observed);
        }
    }

    /// What still waits for a call that never came is taken as it is.
    pub fn end_of_trace(&mut self) {
        while let Some(observed) = self.waiting.pop_any() {
            self.desync_pipes_of(&observed.call);
            self.apply(&observed);
            while let Some(observed) = self.waiting.next_ready(&mut self.mirrors) {
                self.apply(&observed);
            }
        }
        let mut mirrors: Vec<_> = self.mirrors.iter_mut().collect();
        // In an order that is the same when a recording is read.
        mirrors.sort_unstable_by_key(|(pipe, _)| **pipe);
        let left: Vec<Span> = mirrors.into_iter().flat_map(|(_, mirror)| mirror.leave()).collect();
        for span in &left {
            self.left_in_a_pipe(span);
        }
    }

    /// Bytes that stayed in a pipe, or left it by somebody who is not watched: the pipe is their end.
    pub(crate) fn left_in_a_pipe(&mut self, span: &Span) {
        if span.history == Histories::START {
            // It was there before: no call that was seen moved it.
            return;
        }
        self.flows.arrive(span, EndpointId::PIPE, Arrival::default());
    }

    pub(crate) fn apply_or_wait(&mut self, observed: ObservedCall) {
        if !self.is_believed(&observed.call) || observed.call.result <= 0 {
            return;
        }
        match readiness(&observed.call, &mut self.mirrors) {
            Readiness::Ready => {
                self.apply(&observed);
                self.keep(observed.parts);
            }
            Readiness::Early => self.waiting.push(observed),
            Readiness::Impossible => {
                self.desync_pipes_of(&observed.call);
                self.apply(&observed);
            }
        }
    }

    /// Keeps the room of a call's stations for the next one.
    pub(crate) fn keep(&mut self, mut parts: CallObservations) {
        if self.spare.len() < MAX_SPARE && parts.has_room() {
            parts.clear();
            self.spare.push(parts);
        }
    }

    /// A call is believed if its own entry was seen, by a 64-bit program, and its descriptors meant the same all along.
    pub(crate) fn is_believed(&mut self, call: &Call) -> bool {
        let bytes = call.result.max(0) as u64;
        let count = if call.flags & call_flag::COMPAT != 0 {
            &mut self.excluded.compat
        } else if call.flags & call_flag::ENTRY_OBSERVED == 0 {
            &mut self.excluded.without_entry
        } else if call.flags & call_flag::FD_CHANGED != 0 {
            &mut self.excluded.other_file
        } else {
            if call.result <= 0 {
                let key = self.edge_key(call);
                self.edges.failed(key);
            }
            return true;
        };
        *count += 1;
        self.excluded.bytes = self.excluded.bytes.saturating_add(bytes);
        self.desync_pipes_of(call);
        false
    }

    pub(crate) fn desync_pipes_of(&mut self, call: &Call) {
        for end in [&call.source, &call.sink] {
            if form_of(end) == EndpointForm::Pipe
                && let Some(mirror) = self.mirrors.get_mut(&end.object)
            {
                mirror.lose();
            }
        }
    }

    pub(crate) fn edge_key(&mut self, call: &Call) -> EdgeKey {
        EdgeKey {
            tgid: call.header.tgid,
            nr: call.nr,
            from: self.ends.of(&call.source),
            to: self.ends.of(&call.sink),
        }
    }

    /// A call whose turn it is.
    pub(crate) fn apply(&mut self, observed: &ObservedCall) {
        let edge = self.edge_key(&observed.call);
        self.edges.call(edge);
        let by = Sender {
            edge,
            user_ip: observed.call.user_ip,
            serial: observed.call.call_id,
            stream: 0,
        };
        let mut spans = std::mem::take(&mut self.taken);
        self.take(observed, &mut spans);
        debug_assert_eq!(total(&spans), observed.call.result as u64);
        self.give(observed, &spans, by);
        spans.clear();
        self.taken = spans;
        pipe_usage::note(&mut self.mirrors, observed);
    }

    /// A span that has gone over an edge: what became of it is added to the edge and to its history.
    pub(crate) fn record_hop(&mut self, span: Span, outcome: Outcome, by: &Sender) -> Span {
        self.edges.bytes(by.edge, outcome, by.user_ip, by.serial, span.len);
        self.with_step(span, outcome, by)
    }

    /// The same, one of several: the edge is told of all of them by [`record_hop_batch`](Self::record_hop_batch).
    pub(crate) fn record_hop_batched(
        &mut self,
        span: Span,
        outcome: Outcome,
        by: &Sender,
        hops: &mut HopBatch,
    ) -> Span {
        if let Some((before, of, history)) = hops.latest
            && (before, of) == (span.history, outcome)
        {
            hops.bytes = hops.bytes.saturating_add(span.len);
            return Span { history, ..span };
        }
        self.record_hop_batch(hops, by);
        let record_hop = self.with_step(span, outcome, by);
        *hops = HopBatch {
            latest: Some((span.history, outcome, record_hop.history)),
            bytes: span.len,
        };
        record_hop
    }

    pub(crate) fn record_hop_batch(&mut self, hops: &mut HopBatch, by: &Sender) {
        if let Some((_, outcome, _)) = hops.latest.take() {
            self.edges.bytes(by.edge, outcome, by.user_ip, by.serial, hops.bytes);
        }
    }

    pub(crate) fn with_step(&mut self, span: Span, outcome: Outcome, by: &Sender) -> Span {
        let moved = !matches!(outcome, Outcome::Copied(_) | Outcome::Unknown(_));
        let step = Hop {
            nr: by.edge.nr,
            tgid: by.edge.tgid,
            user_ip: if moved { 0 } else { by.user_ip },
            to: by.edge.to,
            outcome,
        };
        Span {
            history: self.histories.with(span.history, step),
            ..span
        }
    }

    /// A span that arrived over its last edge.
    pub(crate) fn arrive(&mut self, span: Span, outcome: Outcome, by: &Sender, stream: u64, place: u64) {
        let pages = Pages::of(span.location, span.position, span.len);
        self.arrive_on(span, pages, outcome, by, (stream, place));
    }

    /// The same, in pages that are counted already. At this place of that stream.
    pub(crate) fn arrive_on(
        &mut self,
        span: Span,
        pages: Pages,
        outcome: Outcome,
        by: &Sender,
        (stream, place): (u64, u64),
    ) {
        let span = self.record_hop(span, outcome, by);
        let at = Arrival {
            serial: by.serial,
            stream,
            place,
            more_calls: 0,
        };
        self.flows.arrive_on(&span, &pages, by.edge.to, at);
    }

    pub(crate) fn arrive_given(&mut self, given: &Sent<Sender>, outcome: Outcome) {
        self.arrive(given.span, outcome, &given.by, given.by.stream, given.at);
    }

    /// Takes all that arrived. Its room is kept.
    pub(crate) fn arrived(&mut self, mut batch: DeliveryBatch) {
        for all in batch.all.drain(..) {
            self.arrive_on(all.span, all.pages, all.outcome, &all.by, (all.by.stream, all.at));
        }
        self.batch = batch;
    }

    /// The reason for what was given to a socket and never seen on its way.
    pub(crate) fn never_seen(&self) -> Reason {
        if self.lost {
            Reason::LostRecords
        } else {
            Reason::NotObserved
        }
    }

    /// Begins a new account: flows, edges and sums start at nothing. What is known of mirrors, streams and names stays, for the
    /// bytes in them do.
    pub fn reset(&mut self) {
        self.flows = Flows::new(self.config.hash_key, self.config.level.clone());
        self.reset_digest_rows();
        self.edges = Edges::default();
        self.plain.clear();
        self.excluded = ExcludedCalls::default();
        self.segments.reset();
        self.notices.reset();
    }

    /// Whether a traced call was made on a UNIX socket: only then it matters what was missed of messages.
    pub fn has_unix_streams(&self) -> bool {
        self.sockets.has_unix_streams()
    }

    /// Whether bytes that were given to sockets have not been seen on their way yet.
    pub fn has_data_in_flight(&self) -> bool {
        self.sockets.has_in_flight() || self.digests.has_data_in_flight()
    }

    /// Puts all that is known now into a report: flows, edges, looks, processes and what was not observed.
    ///
    /// What is still under way is unknown in it, and stays under way.
    pub fn fill(&self, report: &mut report::Report, symbols: &Symbols<'_>) {
        // Flows with what is under way, without changing what is known.
        let mut flows = self.flows.clone();
        let mut histories = self.histories.clone();
        let mut in_flight = Vec::new();
        for (given, packets) in self.sockets.in_flight() {
            let reason = match packets {
                _ if self.lost => Reason::LostRecords,
                0 => Reason::NotObserved,
                _ => Reason::StillQueued,
            };
            let outcome = Outcome::Unknown(reason);
            in_flight.push(InFlight {
                edge: given.by.edge,
                outcome,
                user_ip: given.by.user_ip,
                serial: given.by.serial,
                bytes: given.span.len,
                calls: 1,
                new_calls: 0,
            });
            let step = Hop {
                nr: given.by.edge.nr,
                tgid: given.by.edge.tgid,
                user_ip: given.by.user_ip,
                to: given.by.edge.to,
                outcome,
            };
            let span = Span {
                history: histories.with(given.span.history, step),
                ..given.span
            };
            let at = Arrival {
                serial: given.by.serial,
                stream: given.by.stream,
                place: given.at,
                more_calls: 0,
            };
            flows.arrive(&span, given.by.edge.to, at);
        }
        self.add_found(&mut flows, &mut histories, &mut in_flight);
        let mut flows_of = FlowsOf::new();
        flows.fill(report, &self.ends, &histories, symbols, (&self.segments, &mut flows_of));
        self.edges.fill(report, &in_flight, &self.ends, symbols);
        self.fill_digests(report);
        io_counters::fill(report, &self.plain, &self.ends, symbols);
        self.excluded.fill(report);
        self.segments.fill(report, &flows_of, &|pid| {
            self.processes.get(&pid).cloned().unwrap_or_default()
        });
        self.fill_processes(report);
        pipe_usage::fill(report, &self.mirrors, &self.processes);
        self.fill_notices(report);
    }

    pub(crate) fn fill_processes(&self, report: &mut report::Report) {
        for flow in &mut report.flows {
            if let Some(name) = flow.pid.and_then(|pid| self.processes.get(&pid)) {
                flow.process.clone_from(name);
            }
        }
        let mut pids: Vec<u32> = report.flows.iter().filter_map(|flow| flow.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        for pid in pids {
            let mut process = report::Process::new(pid, self.processes.get(&pid).cloned().unwrap_or_default());
            for flow in report.flows.iter().filter(|flow| flow.pid == Some(pid)) {
                process.calls += flow.calls;
                if flow.ends_in_memory() {
                    process.into_memory += flow.payload;
                } else {
                    process.account += &flow.account;
                }
            }
            process.payload = process.account.total();
            report.processes.push(process);
        }
    }
}

impl ExcludedCalls {
    pub(crate) fn fill(self, report: &mut report::Report) {
        let rows = [
            (
                "calls that were entered before watching began, or whose result was forged (seccomp)",
                self.without_entry,
            ),
            (
                "calls whose descriptor meant another file at their end",
                self.other_file,
            ),
            ("splice, tee, vmsplice and sendfile of 32-bit programs", self.compat),
        ];
        for (what, calls) in rows {
            if calls > 0 {
                report.coverage.not_observed.push(NotObserved {
                    what: what.to_owned(),
                    calls: Some(calls),
                    bytes: None,
                });
            }
        }
    }
}

/// Whether a call only hands pages or bytes of the caller's memory on.
pub(crate) fn is_vmsplice(call: &Call) -> bool {
    call.nr == nr::VMSPLICE
}

/// The state of an end's ring, by the pipe's address.
pub(crate) fn mirror_of<'a>(mirrors: &'a mut FastMap<u64, PipeMirror>, end: &EndpointState) -> &'a mut PipeMirror {
    if mirrors.len() >= MAX_PIPES && !mirrors.contains_key(&end.object) {
        // Forgetting a ring is safe: it is met anew, and nothing is said of it until it has been seen empty.
        mirrors.clear();
    }
    mirrors.entry(end.object).or_default()
}
