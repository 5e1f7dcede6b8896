//! Streams of UNIX sockets, with positions that the engine counts itself.

use std::collections::VecDeque;

use super::stream::{Sent, Stream};
use crate::decode::observation::{Observation, PipeBufOps};
use crate::decode::page_record::Message;
use crate::sender::Sender;

/// What one UNIX socket sent. The kernel counts nothing here, so places are counted from a moment at which nothing was under
/// way.
#[derive(Debug, Default)]
pub(crate) struct UnixStream {
    pub(crate) number: u64,
    pub(crate) bytes: Stream<Sender>,
    /// Bytes that calls gave; bytes that were consumed or thrown away.
    sent: u64,
    consumed: u64,
    /// Which socket of this address it is.
    life: Option<u64>,
    synced: bool,
    /// Messages that were consumed while it was not known where they belong.
    early: VecDeque<(u64, Vec<Observation>)>,
    /// Bytes that calls of the receiver took; and such calls while it was not known where their bytes belong.
    received: u64,
    early_reads: VecDeque<(u64, u64)>,
}

/// `sk_wmem_alloc` of a socket with nothing under way (net/core/sock.c, `sk_alloc`).
const NOTHING_IN_FLIGHT: u64 = 1;
/// Messages that are remembered until it is known where they belong.
const MAX_EARLY: usize = 1024;

impl UnixStream {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// A call gave bytes. Returns the place of the first, or `None` if places are not known; and what messages have carried
    /// of what was given before.
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
            // Who took bytes before this moment took what was sent before it.
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

    /// A call of the receiver took bytes. Returns the place of the first, if places are known.
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

    /// A message was consumed or thrown away.
    pub(crate) fn message(&mut self, message: &Message<'_>, ops: &PipeBufOps) -> Vec<(Sent<Sender>, Observation)> {
        let runs: Vec<Observation> = message.payload.observations(ops).collect();
        self.bytes.packets += 1;
        if runs.iter().map(|run| run.len).sum::<u64>() != message.payload.len {
            // Not all of it could be read: nothing after it has a place.
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
