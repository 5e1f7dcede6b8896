//! Sinks that are sockets: bytes are matched with the packets or messages that carried them.

use super::memory_copy_reason;
use crate::classify::rule::classify;
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::{TcpState, UnixState};
use crate::decode::observation::Observation;
use crate::decode::page_record::{Message, Packet};
use crate::evidence::Evidence;
use crate::history::Outcome;
use crate::sender::Sender;
use crate::span::{Span, total};
use zctrace_contract::Reason;

impl Evidence {
    /// Matches a packet with the bytes that calls sent.
    pub(crate) fn packet(&mut self, packet: &Packet<'_>) {
        let mut batch = self.deliveries.take_batch();
        let ops = self.config.pipe_buf_ops;
        let (stream, disputed) = self.sockets.packet(packet, &ops, &mut |sent, observation| {
            batch.add(sent, observation, in_packet(&sent.span, observation));
        });
        self.deliveries.deliver_batch(batch);
        for (position, len) in disputed {
            // The kernel linearized the retransmission or moved it to another page, and it may be
            // what arrived.
            self.deliveries.dispute(stream, position, len, Reason::KernelCopies);
        }
    }

    /// Matches a UNIX message with the bytes that calls sent.
    pub(crate) fn message(&mut self, message: &Message<'_>) {
        let mut batch = self.deliveries.take_batch();
        let ops = self.config.pipe_buf_ops;
        let (taken, discarded) = self.sockets.unix(message.sender).message(message, &ops);
        for (sent, observation) in &taken {
            batch.add(sent, observation, in_message(&sent.span, observation));
        }
        for (sent, observation) in &discarded {
            let outcome = match in_message(&sent.span, observation) {
                // The pages reached the receiver's queue, and no receiver read them.
                Outcome::Identity | Outcome::Zero => Outcome::Unknown(Reason::Unread),
                outcome => outcome,
            };
            batch.add(sent, observation, outcome);
        }
        self.deliveries.deliver_batch(batch);
    }

    pub(super) fn deliver_to_tcp(&mut self, tcp: &TcpState, spans: &[Span], mut by: Sender) {
        let len = total(spans);
        // TCP Fast Open sends data with the SYN, which takes the number before the first byte.
        let with_syn = tcp.direction.first == tcp.entry_sequence && u64::from(tcp.advance()) == len + 1;
        let stream = if with_syn || u64::from(tcp.advance()) == len {
            self.sockets.tcp_to_send(tcp.direction)
        } else {
            None
        };
        let Some(stream) = stream else {
            // Another writer ran at the same time, or a protocol on top added bytes of its own.
            return self.deliver_unknown(spans, Reason::NotObserved, &by);
        };
        by.stream = stream.number;
        let position = stream
            .bytes
            .position(tcp.entry_sequence.wrapping_add(u32::from(with_syn)));
        let mut batch = self.deliveries.take_batch();
        let mut refused = Vec::new();
        stream
            .bytes
            .record_send(position, spans, by, &mut refused, &mut |sent, observation| {
                batch.add(sent, observation, in_packet(&sent.span, observation));
            });
        self.deliveries.deliver_batch(batch);
        self.deliver_unknown(&refused, Reason::NotObserved, &by);
    }

    pub(super) fn deliver_to_unix(&mut self, call: &ObservedCall, unix: &UnixState, spans: &[Span], mut by: Sender) {
        let stream = self.sockets.unix(unix.sock);
        let (position, early) = stream.send(unix.ino, unix.wmem_at_entry, call.entered_ns, total(spans));
        by.stream = stream.number;
        let mut batch = self.deliveries.take_batch();
        for (sent, observation) in &early {
            batch.add(sent, observation, in_message(&sent.span, observation));
        }
        let mut refused = Vec::new();
        // A write copies by contract, whichever messages carry its bytes.
        let is_copy = call.source.is_memory();
        if let (Some(at), false) = (position, is_copy) {
            stream
                .bytes
                .record_send(at, spans, by, &mut refused, &mut |sent, observation| {
                    batch.add(sent, observation, in_message(&sent.span, observation));
                });
        } else {
            refused.extend_from_slice(spans);
        }
        self.deliveries.deliver_batch(batch);
        if is_copy {
            self.deliver_all(&refused, Outcome::Copied(memory_copy_reason(call)), &by);
        } else {
            self.deliver_unknown(&refused, Reason::NotObserved, &by);
        }
    }
}

/// Classifies bytes in a packet.
fn in_packet(span: &Span, observation: &Observation) -> Outcome {
    if observation.is_copied_on_receive {
        return Outcome::Unknown(Reason::NotObserved);
    }
    classify(span.location, observation)
}

/// Classifies bytes in a UNIX message.
///
/// The kernel counts no positions of UNIX streams, so the engine counts them. An equal page proves
/// that it counted correctly. Another page proves only an error of the count, so it is no witness
/// of a copy.
fn in_message(span: &Span, observation: &Observation) -> Outcome {
    match classify(span.location, observation) {
        Outcome::Copied(_) => Outcome::Unknown(Reason::NotObserved),
        other => other,
    }
}
