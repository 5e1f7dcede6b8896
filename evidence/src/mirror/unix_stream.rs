//! Streams of UNIX sockets, with positions that the engine counts itself.

use std::collections::VecDeque;

use super::stream::{Sent, Stream};
use crate::decode::observation::{Observation, PipeBufOps};
use crate::decode::page_record::Message;
use crate::sender::Sender;

/// The stream that one UNIX socket sends. The kernel counts no positions here, so the engine counts
/// them from a moment at which nothing was in flight.
#[derive(Debug, Default)]
pub(crate) struct UnixStream {
    pub(crate) number: u64,
    pub(crate) bytes: Stream<Sender>,
    /// Bytes that calls sent, and bytes in messages that were consumed or discarded.
    sent: u64,
    consumed: u64,
    /// Inode of the socket, because its address is reused.
    life: Option<u64>,
    synced: bool,
    /// Messages that were consumed while their positions were not known, with their times.
    early: VecDeque<(u64, Vec<Observation>)>,
    /// Bytes that the receiver's calls took, and such calls while their positions were not known.
    received: u64,
    early_reads: VecDeque<(u64, u64)>,
}

/// `sk_wmem_alloc` of a socket with nothing in flight (net/core/sock.c: `sk_alloc()`).
const NOTHING_IN_FLIGHT: u64 = 1;
/// Messages and calls that are kept until their positions are known.
const MAX_EARLY: usize = 1024;

impl UnixStream {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Records that a call sent bytes. Returns the position of the first byte, or `None` if
    /// positions are not known, and what messages carried of spans that were sent before.
    pub(crate) fn send(
        &mut self,
        life: u64,
        in_flight: u64,
        entered_ns: u64,
        len: u64,
    ) -> (Option<u64>, Vec<(Sent<Sender>, Observation)>) {
        if self.life != Some(life) {
            // Another socket at the same address.
            *self = Self {
                number: self.number,
                life: Some(life),
                early: std::mem::take(&mut self.early),
                early_reads: std::mem::take(&mut self.early_reads),
                ..Self::default()
            };
        }
        let mut matched = Vec::new();
        if !self.synced && in_flight == NOTHING_IN_FLIGHT {
            self.synced = true;
            self.consumed = self.sent;
            // A receiver that took bytes before this moment took what was sent before it.
            let since = std::mem::take(&mut self.early_reads).into_iter();
            self.received = self.sent
                + since
                    .filter(|(at, _)| *at > entered_ns)
                    .map(|(_, len)| len)
                    .sum::<u64>();
            for (at, runs) in std::mem::take(&mut self.early) {
                if at > entered_ns {
                    matched.extend(self.carry(&runs));
                }
            }
        }
        let position = self.sent;
        self.sent = self.sent.wrapping_add(len);
        (self.synced.then_some(position), matched)
    }

    /// Records that a call of the receiver took bytes. Returns the position of the first byte, if
    /// positions are known.
    pub(crate) fn receive(&mut self, left_ns: u64, len: u64) -> Option<u64> {
        if !self.synced {
            self.early_reads.push_back((left_ns, len));
            if self.early_reads.len() > MAX_EARLY {
                self.early_reads.pop_front();
            }
            return None;
        }
        let position = self.received;
        self.received = self.received.wrapping_add(len);
        Some(position)
    }

    /// Records a message that was consumed or discarded, and returns what it carried.
    pub(crate) fn message(&mut self, message: &Message<'_>, ops: &PipeBufOps) -> Vec<(Sent<Sender>, Observation)> {
        let runs: Vec<Observation> = message.payload.observations(ops).collect();
        self.bytes.packets += 1;
        if runs.iter().map(|run| run.len).sum::<u64>() != message.payload.len {
            // Not all of the message could be read, so nothing behind it has a known position.
            self.synced = false;
            return Vec::new();
        }
        if self.synced {
            return self.carry(&runs);
        }
        self.early.push_back((message.at_ns, runs));
        if self.early.len() > MAX_EARLY {
            self.early.pop_front();
        }
        Vec::new()
    }

    fn carry(&mut self, runs: &[Observation]) -> Vec<(Sent<Sender>, Observation)> {
        let mut matched = Vec::new();
        for run in runs {
            matched.extend(self.bytes.record_packet(self.consumed, *run));
            self.consumed = self.consumed.wrapping_add(run.len);
        }
        self.bytes.trim(false);
        matched
    }
}
