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
    /// No call of the receiver overlapped the moment from which on positions are counted, so that
    /// `received` is exact.
    is_received_exact: bool,
    early_reads: VecDeque<(u64, u64)>,
}

/// Spans that a message carried, each with what was observed of it.
pub(crate) type Carried = Vec<(Sent<Sender>, Observation)>;

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
    pub(crate) fn send(&mut self, life: u64, in_flight: u64, entered_ns: u64, len: u64) -> (Option<u64>, Carried) {
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
            let taken = since
                .filter(|(at, _)| *at > entered_ns)
                .map(|(_, len)| len)
                .sum::<u64>();
            self.received = self.sent + taken;
            self.is_received_exact = taken == 0;
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

    /// Records a message that was consumed or discarded, and returns what it carried: first the
    /// bytes that a receiver took, and then those that the kernel discarded.
    pub(crate) fn message(&mut self, message: &Message<'_>, ops: &PipeBufOps) -> (Carried, Carried) {
        let runs: Vec<Observation> = message.payload.observations(ops).collect();
        self.bytes.packets += 1;
        if runs.iter().map(|run| run.len).sum::<u64>() != message.payload.len {
            // Not all of the message could be read, so nothing behind it has a known position.
            self.synced = false;
            return Default::default();
        }
        if self.synced {
            // A discarded message can have been taken in part: it stays in the queue until all of
            // it was read (net/unix/af_unix.c: `unix_stream_read_generic()`).
            let taken = match (message.is_dropped, self.is_received_exact) {
                (false, _) => u64::MAX,
                (true, true) => self.received.saturating_sub(self.consumed),
                (true, false) => 0,
            };
            let (taken, discarded) = split_runs(runs, taken);
            return (self.carry(&taken), self.carry(&discarded));
        }
        self.early.push_back((message.at_ns, runs));
        if self.early.len() > MAX_EARLY {
            self.early.pop_front();
        }
        Default::default()
    }

    fn carry(&mut self, runs: &[Observation]) -> Carried {
        let mut matched = Vec::new();
        for run in runs {
            matched.extend(self.bytes.record_packet(self.consumed, *run));
            self.consumed = self.consumed.wrapping_add(run.len);
        }
        self.bytes.trim(false);
        matched
    }
}

/// Splits observations after `len` bytes.
fn split_runs(runs: Vec<Observation>, len: u64) -> (Vec<Observation>, Vec<Observation>) {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let mut left = len;
    for run in runs {
        let of_first = run.len.min(left);
        left -= of_first;
        if of_first > 0 {
            first.push(run.part(0, of_first));
        }
        if of_first < run.len {
            rest.push(run.part(of_first, run.len - of_first));
        }
    }
    (first, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::observation::SlotKind;
    use crate::decode::page_address::{Owner, PageAddress};

    #[test]
    fn observations_are_split_at_a_byte() {
        let run = |start: u64, len| Observation {
            start: Some(PageAddress(start)),
            owner: Owner::NotRead,
            slot_kind: SlotKind::Plain,
            is_copied_on_receive: false,
            len,
        };
        let runs = || vec![run(0, 100), run(1000, 50)];
        assert_eq!(split_runs(runs(), 0), (vec![], runs()));
        assert_eq!(split_runs(runs(), 100), (vec![run(0, 100)], vec![run(1000, 50)]));
        assert_eq!(
            split_runs(runs(), 120),
            (vec![run(0, 100), run(1000, 20)], vec![run(1020, 30)])
        );
        assert_eq!(split_runs(runs(), u64::MAX), (runs(), vec![]));
    }
}
