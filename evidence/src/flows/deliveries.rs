//! Interface from classification to flows: each hop with its outcome, each delivery once.

use super::edges::Edges;
use super::flow_stats::{Arrival, FlowTable, Pages};
use crate::decode::endpoints::EndpointId;
use crate::decode::observation::Observation;
use crate::history::{Histories, HistoryId, Hop, Outcome};
use crate::mirror::stream::Sent;
use crate::sender::{EdgeKey, Sender};
use crate::span::{Location, Span};
use zctrace_contract::Reason;
use zctrace_report::Level;

/// Everything that classification hands over: histories of hops, edges, and flows of deliveries.
#[derive(Debug)]
pub(crate) struct Deliveries {
    pub(crate) histories: Histories,
    pub(crate) flows: FlowTable,
    pub(crate) edges: Edges,
    /// Buffer of an empty batch, for reuse.
    spare: DeliveryBatch,
}

/// Consecutive spans that cross one edge. Most have the same history and outcome, so the edge is
/// updated once for all of them.
#[derive(Debug, Default)]
pub(crate) struct HopBatch {
    /// History before the hop, outcome, and history after it.
    latest: Option<(HistoryId, Outcome, HistoryId)>,
    bytes: u64,
}

/// Spans that were delivered one after the other and differ in their locations only.
#[derive(Clone, Debug)]
struct Delivery {
    span: Span,
    outcome: Outcome,
    by: Sender,
    /// Position in the sink's stream.
    at: u64,
    pages: Pages,
}

impl Delivery {
    /// Returns whether `next` continues the delivery.
    #[inline]
    fn is_continued_by(&self, next: &Sent<Sender>, outcome: Outcome) -> bool {
        let (last, span) = (&self.span, &next.span);
        outcome == self.outcome
            && self.at.checked_add(last.len) == Some(next.at)
            && (last.origin, last.history, last.stream) == (span.origin, span.history, span.stream)
            && (last.stream == 0 || last.position.checked_add(last.len) == Some(span.position))
            && last.pipe_position.epoch == span.pipe_position.epoch
            && (last.pipe_position.epoch == 0 || last.pipe_position.plus(last.len) == span.pipe_position)
            && self.by == next.by
    }
}

/// Spans that packets or messages carried, in order.
#[derive(Debug, Default)]
pub(crate) struct DeliveryBatch {
    deliveries: Vec<Delivery>,
}

impl DeliveryBatch {
    /// Adds a sent span with its observation in a packet or message, and the outcome.
    #[inline]
    pub(crate) fn add(&mut self, sent: &Sent<Sender>, observation: &Observation, outcome: Outcome) {
        let mut location = sent.span.location;
        if let (Outcome::Identity, Some(start)) = (outcome, observation.start) {
            location = Location::Page(start);
        }
        let pages = Pages::of(location, sent.span.position, sent.span.len);
        if let Some(last) = self.deliveries.last_mut()
            && last.is_continued_by(sent, outcome)
        {
            last.span.len += sent.span.len;
            last.pages.add(pages);
            return;
        }
        self.deliveries.push(Delivery {
            span: Span { location, ..sent.span },
            outcome,
            by: sent.by,
            at: sent.at,
            pages,
        });
    }
}

impl Deliveries {
    /// Creates an empty account. `hash_key` anonymizes page addresses.
    pub(crate) fn new(hash_key: u64, level: Level) -> Self {
        Self {
            histories: Histories::new(),
            flows: FlowTable::new(hash_key, level),
            edges: Edges::default(),
            spare: DeliveryBatch::default(),
        }
    }

    /// Resets flows and edges. Histories stay, because spans in pipes and streams refer to
    /// them.
    pub(crate) fn reset(&mut self) {
        self.flows.reset();
        self.edges = Edges::default();
    }

    /// Adds a hop to a span's history and its outcome to the edge.
    pub(crate) fn record_hop(&mut self, span: Span, outcome: Outcome, by: &Sender) -> Span {
        self.edges.bytes(by.edge, outcome, by.user_ip, by.call_id, span.len);
        self.with_hop(span, outcome, by)
    }

    /// Adds a hop to a span's history. The edge is updated when the batch ends, by
    /// [`end_hop_batch`](Self::end_hop_batch).
    pub(crate) fn record_hop_batched(
        &mut self,
        span: Span,
        outcome: Outcome,
        by: &Sender,
        batch: &mut HopBatch,
    ) -> Span {
        if let Some((before, latest, history)) = batch.latest
            && (before, latest) == (span.history, outcome)
        {
            batch.bytes = batch.bytes.saturating_add(span.len);
            return Span { history, ..span };
        }
        self.end_hop_batch(batch, by);
        let next = self.with_hop(span, outcome, by);
        *batch = HopBatch {
            latest: Some((span.history, outcome, next.history)),
            bytes: span.len,
        };
        next
    }

    /// Adds the bytes of a batch to the edge.
    pub(crate) fn end_hop_batch(&mut self, batch: &mut HopBatch, by: &Sender) {
        if let Some((_, outcome, _)) = batch.latest.take() {
            self.edges.bytes(by.edge, outcome, by.user_ip, by.call_id, batch.bytes);
        }
    }

    fn with_hop(&mut self, span: Span, outcome: Outcome, by: &Sender) -> Span {
        Span {
            history: self.histories.with(span.history, Hop::of(outcome, by)),
            ..span
        }
    }

    /// Delivers a span to a sink that is no stream.
    pub(crate) fn deliver(&mut self, span: Span, outcome: Outcome, by: &Sender) {
        self.deliver_at(span, outcome, by, 0, 0);
    }

    /// Delivers a span that a call sent to a stream.
    pub(crate) fn deliver_sent(&mut self, sent: &Sent<Sender>, outcome: Outcome) {
        self.deliver_at(sent.span, outcome, &sent.by, sent.by.stream, sent.at);
    }

    fn deliver_at(&mut self, span: Span, outcome: Outcome, by: &Sender, stream: u64, position: u64) {
        let pages = Pages::of(span.location, span.position, span.len);
        self.deliver_pages(span, &pages, outcome, by, (stream, position));
    }

    /// Delivers a span whose pages are counted already, at a position of a stream.
    fn deliver_pages(
        &mut self,
        span: Span,
        pages: &Pages,
        outcome: Outcome,
        by: &Sender,
        (stream, position): (u64, u64),
    ) {
        let span = self.record_hop(span, outcome, by);
        let at = Arrival {
            call_id: by.call_id,
            stream,
            position,
            more_calls: 0,
        };
        self.flows.add_pages(&span, pages, by.edge.to, at);
    }

    /// Reclassifies bytes that were moved to a position of a stream: a later packet carried them in
    /// another page.
    pub(crate) fn dispute(&mut self, stream: u64, position: u64, len: u64, reason: Reason) {
        for (key, bytes) in self.flows.produced_at(stream, position, len) {
            let Some(hop) = self.histories.hops(key.history).next() else {
                continue;
            };
            if !matches!(self.histories.outcome(key.history), Outcome::Identity | Outcome::Dma) {
                continue;
            }
            let outcome = Outcome::Copied(reason);
            let history = self
                .histories
                .with(self.histories.before(key.history), Hop { outcome, ..hop });
            self.flows.move_bytes(key, history, (stream, position, len), bytes);
            let edge = EdgeKey {
                tgid: hop.tgid,
                nr: hop.nr,
                from: key.from,
                to: key.to,
            };
            self.edges.reclassify(edge, hop.outcome, outcome, bytes);
        }
    }

    /// Returns an empty batch.
    pub(crate) fn take_batch(&mut self) -> DeliveryBatch {
        std::mem::take(&mut self.spare)
    }

    /// Delivers a batch.
    pub(crate) fn deliver_batch(&mut self, mut batch: DeliveryBatch) {
        for one in batch.deliveries.drain(..) {
            self.deliver_pages(one.span, &one.pages, one.outcome, &one.by, (one.by.stream, one.at));
        }
        self.spare = batch;
    }

    /// Delivers bytes that stayed in a pipe, or that a consumer which is not traced took: the pipe
    /// is their last endpoint. They are not moved, because no call was observed that took them.
    pub(crate) fn deliver_to_pipe(&mut self, span: &Span) {
        // Pre-existing bytes were not moved by any observed call.
        let Some(hop) = self.histories.hops(span.history).next() else {
            return;
        };
        let history = match self.histories.outcome(span.history) {
            Outcome::Copied(_) | Outcome::Unknown(_) => span.history,
            _ => self.histories.with(
                self.histories.before(span.history),
                Hop {
                    outcome: Outcome::Unknown(Reason::LeftInPipe),
                    ..hop
                },
            ),
        };
        self.flows
            .add(&Span { history, ..*span }, EndpointId::PIPE, Arrival::default());
    }
}
