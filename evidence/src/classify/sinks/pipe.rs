//! Sink: a pipe. Each new slot holds consecutive bytes of the call.

use super::direct::requests;
use super::slot_extents::slot_extents;
use crate::classify::rule::classify;
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::{Endpoint, PipeState};
use crate::decode::observation::{Observation, PipeBufOps, SlotKind, observations_of};
use crate::decode::observations::CallStation;
use crate::decode::page_address::{Owner, PAGE, PageAddress, page_owner};
use crate::evidence::Evidence;
use crate::flows::deliveries::HopBatch;
use crate::history::Outcome;
use crate::journal::PipeTransfer;
use crate::mirror::desync::DesyncCause;
use crate::mirror::mirror_slot::MirrorSlot;
use crate::sender::Sender;
use crate::span::{Location, Span, SpanCursor, total};
use zctrace_contract::Reason;
use zctrace_records::PageRange;

impl Evidence {
    pub(super) fn deliver_to_pipe(&mut self, call: &ObservedCall, pipe: &PipeState, spans: &[Span], by: &Sender) {
        let mut ranges = call.slots(CallStation::PipeSink);
        let unobserved = (pipe.slots_pushed() as usize).saturating_sub(ranges.len());
        let is_larger = ranges.len() == pipe.slot_count as usize && unobserved as u64 <= call.bytes / PAGE;
        if call.copies_from_memory() && unobserved > 0 && is_larger {
            // A write that is larger than the pipe overwrote its own first slots. Their content is
            // known by contract (A9), only their pages are not.
            ranges
                .to_mut()
                .splice(..0, std::iter::repeat_n(PageRange::default(), unobserved));
        }
        let Some((appended_len, extents)) = slot_extents(call, pipe, spans, &ranges) else {
            self.pipes.desync(pipe.pipe, DesyncCause::SlotsIndivisible);
            let outcome = self.outcome_in_desynced_pipe(call);
            for span in spans {
                self.deliveries.record_hop(*span, outcome, by);
            }
            return;
        };
        let ops = self.config.pipe_buf_ops;
        let classifier = PipeClassifier::new(call, &ops, self.locations_at_sender(call, spans));
        let first_position = self.pipes.write_position(pipe);
        let mut pipe_position = first_position;
        let mut hops = HopBatch::default();
        let mut rest = SpanCursor::new(spans);
        // No probe observed the page of bytes that were appended to the last slot.
        let mut appended = Vec::new();
        let outcome = classifier.outcome_of_appended();
        rest.take(appended_len, |span| {
            let span = Span {
                pipe_position,
                location: Location::Unknown,
                ..span
            };
            appended.push(self.deliveries.record_hop_batched(span, outcome, by, &mut hops));
            pipe_position = pipe_position.plus(span.len);
        });
        let mut slots = std::mem::take(&mut self.scratch.slots);
        let mut pushed = std::mem::take(&mut self.scratch.pushed);
        let mut done = 0;
        for (range, (start, len)) in ranges.iter().zip(extents.of(&ranges)) {
            let observation = Observation::new(range, start, len, &ops);
            let spans_before = pushed.len();
            let mut at = 0;
            rest.take(len, |span| {
                let part = observation.part(at, span.len);
                let outcome = classifier.classify(&span, &part, done + at);
                let span = Span {
                    pipe_position,
                    location: part.start.map_or(Location::Unknown, Location::Page),
                    ..span
                };
                pushed.push(self.deliveries.record_hop_batched(span, outcome, by, &mut hops));
                at += span.len;
                pipe_position = pipe_position.plus(span.len);
            });
            done += len;
            let (spans, end) = (pushed.len() - spans_before, start.map(|start| start.plus(len)));
            slots.push(MirrorSlot {
                len: at,
                spans,
                end,
                owner: page_owner(range),
            });
        }
        self.deliveries.end_hop_batch(&mut hops, by);
        // A desynced mirror keeps no spans. The edge has its outcome, and bytes that leave the pipe
        // later are unknown.
        let result = self.pipes.push(pipe, &appended, &slots, &pushed);
        self.deliver_evicted(pipe);
        if result.is_ok() {
            let transfer = PipeTransfer::new(call, pipe, first_position, call.bytes, true);
            self.journals.transferred(transfer);
        }
        slots.clear();
        pushed.clear();
        (self.scratch.slots, self.scratch.pushed) = (slots, pushed);
    }

    /// Delivers spans to the pipe that an untraced consumer must have taken.
    fn deliver_evicted(&mut self, pipe: &PipeState) {
        for span in self.pipes.evict_overwritten(pipe) {
            self.deliveries.deliver_to_pipe(&span);
        }
    }

    /// Returns where the sender put the bytes of a call on a UNIX socket, as far as that is known;
    /// `None` if their positions in the stream are not known.
    fn locations_at_sender(&mut self, call: &ObservedCall, spans: &[Span]) -> Option<Vec<(u64, u64, Location)>> {
        match (&call.source, spans.first()) {
            (Endpoint::UnixStream(unix), Some(first)) if first.stream != 0 => {
                let stream = self.sockets.unix(unix.peer);
                Some(stream.bytes.locations(first.position, total(spans)))
            }
            _ => None,
        }
    }

    /// Returns the outcome of bytes whose slots are not known: unknown, unless the call copies by
    /// contract, whichever slots the bytes went through.
    fn outcome_in_desynced_pipe(&self, call: &ObservedCall) -> Outcome {
        if call.copies_from_memory() {
            Outcome::Copied(Reason::FromMemory)
        } else {
            Outcome::Unknown(self.reason_not_observed())
        }
    }
}

/// Decides the outcome of bytes that enter a pipe, by the kind of their source.
struct PipeClassifier {
    /// The call copies by contract: write and the like.
    is_write: bool,
    /// Read requests inside the call, if the source is open with `O_DIRECT`.
    requests: Option<Vec<Observation>>,
    /// Messages that were consumed inside the call, if the source is a UNIX socket.
    messages: Option<UnixMessages>,
    /// The source copies into fresh pages: it has no way to pass its own.
    is_copied: bool,
    /// Another page is no witness of a copy. Between pipes whole slots are passed on, and positions
    /// of a connection may be wrong by a byte.
    is_identity_only: bool,
}

impl PipeClassifier {
    fn new(call: &ObservedCall, ops: &PipeBufOps, sent: Option<Vec<(u64, u64, Location)>>) -> Self {
        let messages = match &call.source {
            Endpoint::UnixStream(unix) => Some(UnixMessages::new(call, unix.peer, ops, sent)),
            _ => None,
        };
        let requests = matches!(call.source, Endpoint::Direct(_)).then(|| requests(call, CallStation::BioRead, ops));
        Self {
            is_write: call.copies_from_memory(),
            requests,
            messages,
            // fs/splice.c: `copy_splice_read()`; none of them has a `splice_read` of its own.
            is_copied: matches!(call.source, Endpoint::Copying | Endpoint::Udp),
            is_identity_only: matches!(call.source, Endpoint::Pipe(_)) || call.receive_surplus() != 0,
        }
    }

    /// Returns the outcome of bytes that were appended to the last slot.
    fn outcome_of_appended(&self) -> Outcome {
        if self.is_write {
            Outcome::Copied(Reason::FromMemory)
        } else {
            Outcome::Unknown(Reason::NotObserved)
        }
    }

    /// Returns the outcome of `span`, which is `at` bytes into the call and is now in
    /// `observation`.
    fn classify(&self, span: &Span, observation: &Observation, at: u64) -> Outcome {
        if self.is_write {
            return Outcome::Copied(Reason::FromMemory);
        }
        if self.is_copied && observation.slot_kind != SlotKind::Zero {
            return Outcome::Copied(Reason::KernelCopies);
        }
        if let Some(requests) = &self.requests {
            return match request_at(requests, at) {
                Some((start, len)) if Some(start) == observation.start && len >= observation.len => Outcome::Dma,
                _ => Outcome::Unknown(Reason::DirectDevice),
            };
        }
        if let Some(messages) = &self.messages {
            return messages.classify(observation, at);
        }
        match classify(span.location, observation) {
            Outcome::Copied(_) if self.is_identity_only => Outcome::Unknown(Reason::NotObserved),
            other => other,
        }
    }
}

/// UNIX messages that were consumed inside a call.
struct UnixMessages {
    observations: Vec<Observation>,
    /// Known locations where the sender put the bytes: distance from the call's first byte, length
    /// and location.
    sent: Vec<(u64, u64, Location)>,
    /// `true` if the positions of the sender's bytes are known.
    is_positioned: bool,
    /// `true` if the messages hold as many bytes as the call read.
    is_complete: bool,
}

impl UnixMessages {
    fn new(call: &ObservedCall, peer: u64, ops: &PipeBufOps, sent: Option<Vec<(u64, u64, Location)>>) -> Self {
        let messages = call.observations.at(CallStation::Message);
        let observations: Vec<Observation> = messages
            .filter(|(header, _)| header.object == peer)
            .flat_map(|(header, ranges)| observations_of(header.linear, ranges, ops))
            .collect();
        let len: u64 = observations.iter().map(|observation| observation.len).sum();
        Self {
            is_positioned: sent.is_some(),
            is_complete: len == call.bytes,
            observations,
            sent: sent.unwrap_or_default(),
        }
    }

    /// Returns whether all bytes of `seen`, which is `at` bytes into the call, are where their
    /// sender put them. A message of which a part is left is not consumed, so it was not observed.
    fn is_where_sent(&self, observed: &Observation, at: u64) -> bool {
        let mut done = 0;
        for (from, len, location) in &self.sent {
            let Some(skip) = (at + done).checked_sub(*from).filter(|skip| skip < len) else {
                continue;
            };
            let n = (len - skip).min(observed.len - done);
            if classify(location.plus(skip), &observed.part(done, n)) != Outcome::Identity {
                return false;
            }
            done += n;
            if done == observed.len {
                return true;
            }
        }
        false
    }

    fn classify(&self, observed: &Observation, at: u64) -> Outcome {
        let Some(start) = observed.start else {
            return Outcome::Unknown(Reason::NotObserved);
        };
        if observed.slot_kind == SlotKind::Zero {
            return Outcome::Zero;
        }
        // Identity requires these bytes of this page in a message that was consumed inside the
        // call.
        let contains = |message: &Observation| {
            message
                .start
                .is_some_and(|at| at <= start && start.0 + observed.len <= at.0 + message.len)
        };
        if self.observations.iter().any(contains) || self.is_where_sent(observed, at) {
            return Outcome::Identity;
        }
        // A message of which a part was read before makes all positions behind it wrong, unless the
        // sender's positions are known.
        let is_kernel_owned = matches!(observed.owner, Owner::Kernel { .. });
        let is_certain = self.is_complete && self.is_positioned && is_kernel_owned;
        if is_certain && is_linear(&self.observations, at, observed.len) {
            Outcome::Copied(Reason::KernelCopies)
        } else {
            Outcome::Unknown(Reason::PeerDependent)
        }
    }
}

/// Returns where byte `at` of the requests is, and how many bytes follow it in its request.
fn request_at(requests: &[Observation], at: u64) -> Option<(PageAddress, u64)> {
    let mut before = 0;
    for request in requests {
        if at < before + request.len {
            let skip = at - before;
            return request.start.map(|start| (start.plus(skip), request.len - skip));
        }
        before += request.len;
    }
    None
}

/// Returns whether bytes `[at, at + len)` of the messages are all in linear parts.
fn is_linear(messages: &[Observation], at: u64, len: u64) -> bool {
    let mut before = 0;
    messages.iter().all(|message| {
        let is_apart = before + message.len <= at || before >= at + len;
        before += message.len;
        is_apart || message.slot_kind == SlotKind::Linear
    })
}
