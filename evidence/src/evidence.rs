//! The engine's state and dispatch: each record enters here and passes the three stages.

use zctrace_contract::Reason;
use zctrace_records::decode::RecordRef;
use zctrace_records::{
    Call, ConnectionClosed, DigestEvent, DigestState, EndpointName, IoCounterKey, IoCounters, PageRecord, PipeSnapshot,
    ProcessEvent, ZerocopyCompletion,
};

use crate::config::Config;
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::Endpoint;
use crate::decode::endpoints::Endpoints;
use crate::decode::excluded::Exclusion;
use crate::decode::observations::PendingObservations;
use crate::decode::page_record::PageObservation;
use crate::decode::pipe_event::PipeEvent;
use crate::decode::process_names::ProcessNames;
use crate::decode::socket_pair::Direction;
use crate::flows::counters::Counters;
use crate::flows::deliveries::Deliveries;
use crate::flows::digest_flows::DigestFlows;
use crate::flows::unseen_senders::UnseenSenders;
use crate::history::Outcome;
use crate::input::SymbolRequest;
use crate::journal::Journals;
use crate::journal::event::JournalEvent;
use crate::mirror::desync::DesyncCause;
use crate::mirror::mirror_slot::MirrorSlot;
use crate::mirror::pipe_mirror::Readiness;
use crate::mirror::pipes::Pipes;
use crate::mirror::sockets::Sockets;
use crate::sender::{EdgeKey, Sender};
use crate::span::{Span, total};
use zctrace_report::Level;

/// The evidence of one trace: turns records into flows, edges and certificates.
///
/// Fields are in the order of the stages. A record passes them from the top to the bottom.
#[derive(Debug)]
pub struct Evidence {
    pub(crate) config: Config,

    // Stage 1, decode.
    pub(crate) endpoints: Endpoints,
    pub(crate) processes: ProcessNames,
    observations: PendingObservations,

    // Stage 2, mirror and classify.
    pub(crate) pipes: Pipes,
    pub(crate) sockets: Sockets,
    pub(crate) scratch: Scratch,

    // Stage 3, flows and report.
    pub(crate) deliveries: Deliveries,
    pub(crate) digests: DigestFlows,
    pub(crate) counters: Counters,
    pub(crate) unseen: UnseenSenders,

    /// Names of segments. No verdict uses them.
    pub(crate) journals: Journals,
    /// `true` if records were lost, which can explain a missing observation.
    pub(crate) is_lossy: bool,
}

/// Buffers that are reused from call to call.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Spans that a call took from its source.
    source_spans: Vec<Span>,
    /// Slots that a call pushes, and the spans in them.
    pub(crate) slots: Vec<MirrorSlot>,
    pub(crate) pushed: Vec<Span>,
}

impl Evidence {
    /// Creates the engine before any record was received.
    pub fn new(config: Config) -> Self {
        Self {
            endpoints: Endpoints::new(config.mounts.clone()),
            processes: ProcessNames::default(),
            observations: PendingObservations::default(),
            pipes: Pipes::default(),
            sockets: Sockets::default(),
            scratch: Scratch::default(),
            deliveries: Deliveries::new(config.hash_key, config.level.clone()),
            digests: DigestFlows::new(config.level == Level::Counters),
            counters: Counters::default(),
            unseen: UnseenSenders::default(),
            journals: Journals::default(),
            is_lossy: false,
            config,
        }
    }

    /// Processes a record. Returns the request for the call site that the record names.
    pub(crate) fn record(&mut self, record: RecordRef<'_>) -> Option<SymbolRequest> {
        match record {
            RecordRef::Pages(pages) => self.page_record(pages),
            RecordRef::Call(call) => {
                self.call(call);
                return Some(SymbolRequest {
                    tgid: call.header.tgid,
                    user_ip: call.user_ip,
                });
            }
            RecordRef::Name(name) => {
                self.endpoint_name(name);
                return Some(SymbolRequest {
                    tgid: name.header.tgid,
                    user_ip: 0,
                });
            }
            RecordRef::Digest(event) => {
                self.digest_event(event);
                return Some(SymbolRequest {
                    tgid: event.state.span.tgid,
                    user_ip: event.state.span.user_ip,
                });
            }
            RecordRef::Process(event) => self.process_event(event),
            RecordRef::Closed(closed) => self.connection_closed(closed),
            RecordRef::PipeSnapshot(snapshot) => self.pipe_snapshot(snapshot),
            RecordRef::Zerocopy(completion) => self.zerocopy_completion(completion),
            RecordRef::Unknown(_) => {}
        }
        None
    }

    /// Records the name of an endpoint.
    pub fn endpoint_name(&mut self, name: &EndpointName) {
        self.endpoints.name(name);
    }

    /// Records an event of a process.
    pub fn process_event(&mut self, event: &ProcessEvent) {
        match PipeEvent::of(event) {
            Some(PipeEvent::Resized { pipe }) => self.pipes.desync(pipe, DesyncCause::Resized),
            Some(PipeEvent::Opened { pipe, opens }) => {
                if self.pipes.opened(pipe, opens) {
                    // Calls that still wait for another one belong to the pipe that is gone.
                    self.apply_waiting();
                    self.pipes.desync(pipe, DesyncCause::Reopened);
                }
            }
            None => self.processes.observe(event),
        }
    }

    /// Processes page ranges that were observed at a station.
    pub fn page_record(&mut self, record: &PageRecord) {
        match PageObservation::of(record) {
            PageObservation::Packet(packet) => self.packet(&packet),
            PageObservation::Message(message) => {
                self.message(&message);
                if message.is_in_call {
                    self.observations.add(record);
                }
            }
            PageObservation::InCall => self.observations.add(record),
        }
    }

    /// Processes a call, at its exit. Its page records arrived before.
    pub fn call(&mut self, call: &Call) {
        self.journals.called(call);
        let observations = self.observations.take(call.call_id);
        let observed = ObservedCall::new(call, observations, &self.config.no_direct_io);
        let now_ns = observed.exited_ns;
        if let Endpoint::Tcp(tcp) = &observed.sink
            && observed.bytes > 0
        {
            // Also those of a call that waits, because the connection may be closed before it is
            // applied.
            self.sockets.sent_by_call(tcp.direction, observed.bytes);
        }
        match Exclusion::of(call) {
            Some(exclusion) => {
                self.counters.excluded.add(exclusion);
                self.pipes.desync_pipes_of(&observed, DesyncCause::ExcludedCall);
            }
            None if observed.bytes == 0 => {
                let edge = self.edge_of(&observed);
                self.deliveries.edges.failed(edge);
            }
            // The bytes stay in the socket, and another call delivers them.
            None if observed.is_socket_peek() => self.counters.peeks.add(&observed),
            None => self.apply_or_wait(observed),
        }
        // Waiting calls can depend on this call, and further ones on those.
        self.apply_ready();
        while let Some(call) = self.pipes.next_expired(now_ns) {
            self.apply(&call);
            self.apply_ready();
        }
    }

    /// Processes a snapshot of a pipe that existed before tracing started. Its page records arrived
    /// before.
    pub fn pipe_snapshot(&mut self, snapshot: &PipeSnapshot) {
        let observations = self.observations.take(snapshot.call_id);
        self.pipes.adopt_snapshot(snapshot, &observations);
        self.observations.recycle(observations);
    }

    /// Processes the end of a traced connection. Bytes that no probe has observed stay unobserved.
    pub fn connection_closed(&mut self, closed: &ConnectionClosed) {
        let outcome = Outcome::Unknown(self.reason_not_observed());
        let sender = Direction::new(closed.sock, closed.send_first, closed.pair);
        if let Some(id) = self.endpoints.socket(closed.sock) {
            let sums = self.sockets.take_sums(&sender);
            self.unseen.closed(id, sums);
            self.endpoints.socket_closed(closed.sock);
        }
        for sent in self.sockets.close(sender, closed.receive_first) {
            self.deliveries.deliver_sent(&sent, outcome);
        }
    }

    /// Processes the kernel's notification that a send without copy is complete.
    pub fn zerocopy_completion(&mut self, completion: &ZerocopyCompletion) {
        self.counters.zerocopy.add(completion, &mut self.endpoints);
    }

    /// Processes a change of a connection's digests.
    pub fn digest_event(&mut self, event: &DigestEvent) {
        self.digests.event(event, &mut self.endpoints);
    }

    /// Replaces the digests of open connections, by the address of the socket.
    pub fn open_digests(&mut self, states: &[(u64, DigestState)]) {
        for (sock, state) in states {
            self.digests.open(*sock, state, &mut self.endpoints);
        }
    }

    /// Replaces counters of plain reads and writes.
    pub fn io_counters(&mut self, counters: impl IntoIterator<Item = (IoCounterKey, IoCounters)>) {
        self.counters.io.extend(counters);
    }

    /// Processes an event of a program's journal. The records of the calls that it describes must
    /// have been received.
    pub fn journal_event(&mut self, event: &JournalEvent) {
        self.journals.ingest(event);
    }

    /// Notes that records were lost: observations that are missing from now on may be missing
    /// because of that.
    pub fn records_lost(&mut self) {
        self.is_lossy = true;
        self.journals.records_lost();
    }

    /// Processes the end of the trace: applies the calls that still wait, and delivers what is left
    /// in pipes.
    pub fn end_of_trace(&mut self) {
        self.apply_waiting();
        for span in self.pipes.drain_at_end() {
            self.deliveries.deliver_to_pipe(&span);
        }
    }

    /// Starts a new account: flows, edges and counters start at zero. Mirrors, streams and names
    /// stay, because the bytes in them do.
    pub fn reset(&mut self) {
        self.deliveries.reset();
        self.digests.reset();
        self.counters.reset();
        self.unseen.reset(&self.sockets, &self.endpoints);
        self.journals.reset();
        self.pipes.reset();
    }

    /// Returns whether a traced call used a UNIX stream socket. Only then lost messages matter.
    pub fn has_unix_streams(&self) -> bool {
        self.sockets.has_unix_streams()
    }

    /// Returns whether bytes that were sent to sockets are still in flight.
    pub fn has_data_in_flight(&self) -> bool {
        self.sockets.has_in_flight() || self.digests.has_data_in_flight()
    }

    fn apply_or_wait(&mut self, call: ObservedCall) {
        match self.pipes.readiness(&call) {
            Readiness::Ready => {
                self.apply(&call);
                self.observations.recycle(call.observations);
            }
            Readiness::Early => self.pipes.wait(call),
            Readiness::Impossible => {
                self.pipes.desync_pipes_of(&call, DesyncCause::Overlap);
                self.apply(&call);
            }
        }
    }

    /// Applies all calls that wait for another one, whose pipes are desynced.
    fn apply_waiting(&mut self) {
        while let Some(call) = self.pipes.next_at_end() {
            self.apply(&call);
            self.apply_ready();
        }
    }

    fn apply_ready(&mut self) {
        while let Some(call) = self.pipes.next_ready() {
            self.apply(&call);
        }
    }

    /// Applies a call: takes spans from its source and delivers them to its sink.
    fn apply(&mut self, call: &ObservedCall) {
        let edge = self.edge_of(call);
        self.deliveries.edges.call(edge);
        let by = Sender {
            edge,
            user_ip: call.user_ip,
            call_id: call.call_id,
            stream: 0,
        };
        let mut spans = std::mem::take(&mut self.scratch.source_spans);
        self.resolve_source(call, &edge, &mut spans);
        debug_assert_eq!(total(&spans), call.bytes);
        self.deliver(call, &spans, by);
        spans.clear();
        self.scratch.source_spans = spans;
        self.pipes.observe_usage(call);
    }

    fn edge_of(&mut self, call: &ObservedCall) -> EdgeKey {
        EdgeKey {
            tgid: call.tgid,
            nr: call.nr,
            from: self.endpoints.id_of(&call.source_identity),
            to: self.endpoints.id_of(&call.sink_identity),
        }
    }

    /// Returns the reason for bytes that no probe observed.
    pub(crate) fn reason_not_observed(&self) -> Reason {
        if self.is_lossy {
            Reason::LostRecords
        } else {
            Reason::NotObserved
        }
    }
}
