//! Streams of TCP and UNIX sockets.

use std::collections::VecDeque;

use zctrace_records::SocketPair;

use super::stream::{Sent, Stream};
use super::unix_stream::UnixStream;
use crate::collections::fast_map::FastMap;
use crate::decode::observation::{Observation, PipeBufOps, SlotKind};
use crate::decode::page_record::Packet;
use crate::decode::socket_pair::Direction;
use crate::sender::Sender;
use crate::span::{Location, Span};

/// One direction of a TCP connection.
#[derive(Debug)]
pub(crate) struct TcpStream {
    /// Number of the stream, which its senders and receivers have in common.
    pub(crate) number: u64,
    pub(crate) bytes: Stream<Sender>,
    /// Bytes that recorded calls sent, whether or not their positions are known.
    sent_by_calls: u64,
    /// Both sums were taken when the sender was closed.
    is_summed: bool,
    /// The connection has ended at one side. Its receiver may still read what was delivered, and
    /// calls that waited for others are still to be matched with its packets.
    closed: bool,
}

/// Bytes of a stream, by the two ways of counting them.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct SentSums {
    /// Bytes that packets carried.
    pub(crate) carried: u64,
    /// Bytes that recorded calls sent.
    pub(crate) by_calls: u64,
}

impl SentSums {
    /// Adds the sums of another stream.
    pub(crate) fn add(&mut self, more: Self) {
        self.carried = self.carried.saturating_add(more.carried);
        self.by_calls = self.by_calls.saturating_add(more.by_calls);
    }
}

impl TcpStream {
    fn sums(&self) -> SentSums {
        SentSums {
            carried: self.bytes.carried,
            by_calls: self.sent_by_calls,
        }
    }
}

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    tcp: FastMap<Direction, TcpStream>,
    /// Directions of `tcp` with a known sender, by their addresses.
    by_pair: FastMap<SocketPair, Vec<Direction>>,
    unix: FastMap<u64, UnixStream>,
    /// Streams whose connection ended, the oldest first.
    ended: VecDeque<(Direction, u64)>,
    numbers: u64,
    /// Observations that all streams keep.
    runs: usize,
}

/// Streams that are followed at the same time. Bytes sent to others are unknown.
const MAX_STREAMS: usize = 65_536;
/// Ended streams that are kept for receivers that have not read everything.
const MAX_ENDED: usize = 1024;
/// Observations of all streams that may wait for the record of the call that sent them. One
/// sendfile(2) can send 2 GiB, which is half a million pages. With a hundred bytes each they take
/// 60 MB at most.
const MAX_UNCLAIMED: usize = 600_000;

impl Sockets {
    /// Returns the stream that a socket receives; `None` if there are too many. `pair` has the
    /// receiver first, and `first` is the sequence number from which on it receives.
    ///
    /// The sender is the socket with these addresses whose stream starts there. If several sockets
    /// could be it, the stream is one of its own, in which nothing was observed.
    pub(crate) fn tcp_to_receive(&mut self, pair: SocketPair, first: u32) -> Option<&mut TcpStream> {
        let pair = pair.reversed();
        let unknown_sender = Direction { sock: 0, first, pair };
        let senders = self.by_pair.get(&pair).map_or(&[][..], Vec::as_slice);
        let mut senders = senders.iter().filter(|sender| sender.starts_at(first));
        let direction = match (senders.next(), senders.next()) {
            (Some(one), None) => *one,
            // Recordings of earlier versions do not distinguish them; the latest is meant.
            (Some(_), Some(second)) if first == 0 => *senders.next_back().unwrap_or(second),
            _ => unknown_sender,
        };
        self.tcp(direction)
    }

    fn tcp(&mut self, direction: Direction) -> Option<&mut TcpStream> {
        let is_known = self.tcp.contains_key(&direction);
        if direction.pair.family == 0 || (self.tcp.len() >= MAX_STREAMS && !is_known) {
            return None;
        }
        if !is_known && direction.sock != 0 {
            self.by_pair.entry(direction.pair).or_default().push(direction);
        }
        let numbers = &mut self.numbers;
        Some(self.tcp.entry(direction).or_insert_with(|| {
            *numbers += 1;
            TcpStream {
                number: *numbers,
                bytes: Stream::default(),
                sent_by_calls: 0,
                is_summed: false,
                closed: false,
            }
        }))
    }

    /// Returns the stream that a socket sends.
    ///
    /// A call that waited for another one can be applied after its connection has ended. The first
    /// sequence number tells that connection from a later one of the same socket (A26). Recordings
    /// of earlier versions have no such number, so that the stream is then a new one.
    pub(crate) fn tcp_to_send(&mut self, direction: Direction) -> Option<&mut TcpStream> {
        if direction.first == 0 && self.tcp.get(&direction).is_some_and(|stream| stream.closed) {
            self.forget(direction);
        }
        self.tcp(direction)
    }

    /// Counts bytes that a recorded call sent.
    pub(crate) fn sent_by_call(&mut self, direction: Direction, bytes: u64) {
        if let Some(stream) = self.tcp_to_send(direction) {
            stream.sent_by_calls = stream.sent_by_calls.saturating_add(bytes);
        }
    }

    fn forget(&mut self, direction: Direction) {
        if let Some(stream) = self.tcp.remove(&direction) {
            self.runs = self.runs.saturating_sub(stream.bytes.len());
        }
        if let Some(senders) = self.by_pair.get_mut(&direction.pair) {
            senders.retain(|sender| *sender != direction);
            if senders.is_empty() {
                self.by_pair.remove(&direction.pair);
            }
        }
    }

    /// Records a packet and passes each sent span that it carried to `each`.
    ///
    /// Returns the number of the stream, and the positions and lengths at which an earlier packet
    /// showed another page.
    pub(crate) fn packet(
        &mut self,
        packet: &Packet<'_>,
        ops: &PipeBufOps,
        each: &mut impl FnMut(&Sent<Sender>, &Observation),
    ) -> (u64, Vec<(u64, u64)>) {
        let has_space = self.runs < MAX_UNCLAIMED;
        let Some(stream) = self.tcp_to_send(packet.direction) else {
            return (0, Vec::new());
        };
        let before = stream.bytes.len();
        stream.bytes.packets += 1;
        let mut position = stream.bytes.position(packet.sequence);
        let end = position + packet.payload.len;
        for run in packet.payload.observations(ops) {
            // If a packet declares more page bytes than payload, the excess is ignored.
            let run = Observation {
                len: run.len.min(end.saturating_sub(position)),
                is_copied_on_receive: packet.is_copied_on_receive,
                ..run
            };
            if run.len == 0 {
                break;
            }
            stream.bytes.match_packet(position, run, each);
            position += run.len;
        }
        stream.bytes.trim(has_space);
        let after = stream.bytes.len();
        let disputed = stream.bytes.take_disputed();
        let number = stream.number;
        self.runs = (self.runs + after).saturating_sub(before);
        (number, disputed)
    }

    /// Ends a connection and returns the spans that were sent and never observed. `sender` is the
    /// direction in which the closed socket sent, and `receive_first` the sequence number from
    /// which on it received.
    pub(crate) fn close(&mut self, sender: Direction, receive_first: u32) -> Vec<Sent<Sender>> {
        let back = sender.pair.reversed();
        let peers = self.by_pair.get(&back).map_or(&[][..], Vec::as_slice);
        let peers = peers.iter().filter(|peer| peer.starts_at(receive_first)).copied();
        let unknown_peer = Direction {
            sock: 0,
            first: receive_first,
            pair: back,
        };
        let directions: Vec<Direction> = peers.chain([sender, unknown_peer]).collect();
        let mut left = Vec::new();
        for direction in directions {
            let Some(stream) = self.tcp.get_mut(&direction) else {
                continue;
            };
            left.extend(stream.bytes.close());
            if !stream.closed {
                stream.closed = true;
                self.ended.push_back((direction, stream.number));
            }
        }
        while self.ended.len() > MAX_ENDED {
            let Some((direction, number)) = self.ended.pop_front() else {
                break;
            };
            // Another connection may have the addresses by now.
            if self.tcp.get(&direction).is_some_and(|stream| stream.number == number) {
                self.forget(direction);
            }
        }
        left
    }

    /// Returns the sums of a socket that is closed; `None` if they were taken before.
    pub(crate) fn take_sums(&mut self, direction: &Direction) -> Option<SentSums> {
        let stream = self.tcp.get_mut(direction).filter(|stream| !stream.is_summed)?;
        stream.is_summed = true;
        Some(stream.sums())
    }

    /// Returns the sender's socket and the sums of each stream whose sender is known and open.
    pub(crate) fn open_sums(&self) -> impl Iterator<Item = (u64, SentSums)> {
        let known = self
            .tcp
            .iter()
            .filter(|(direction, stream)| direction.sock != 0 && !stream.is_summed);
        known.map(|(direction, stream)| (direction.sock, stream.sums()))
    }

    /// Returns the stream that a UNIX socket sends.
    pub(crate) fn unix(&mut self, sock: u64) -> &mut UnixStream {
        if self.unix.len() >= MAX_STREAMS {
            self.unix.clear();
        }
        let numbers = &mut self.numbers;
        self.unix.entry(sock).or_insert_with(|| {
            *numbers += 1;
            UnixStream::new(*numbers)
        })
    }

    /// Returns all spans in flight, each with the number of packets of its stream (0 if its
    /// connection has ended), in the order in which the streams were first observed.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (&Sent<Sender>, u64)> {
        // Nothing is queued in a socket whose connection has ended.
        let queued = |stream: &TcpStream| if stream.closed { 0 } else { stream.bytes.packets };
        let tcp = self
            .tcp
            .values()
            .map(|stream| (stream.number, &stream.bytes, queued(stream)));
        let unix = self
            .unix
            .values()
            .map(|stream| (stream.number, &stream.bytes, stream.bytes.packets));
        let mut streams: Vec<_> = tcp.chain(unix).collect();
        streams.sort_unstable_by_key(|(number, ..)| *number);
        streams
            .into_iter()
            .flat_map(|(_, bytes, packets)| bytes.in_flight().map(move |sent| (sent, packets)))
    }

    /// Returns whether a UNIX socket was observed.
    pub(crate) fn has_unix_streams(&self) -> bool {
        !self.unix.is_empty()
    }

    /// Returns whether any span is in flight.
    pub(crate) fn has_in_flight(&self) -> bool {
        let open = self.tcp.values().filter(|stream| !stream.closed);
        let tcp = open.map(|stream| &stream.bytes);
        let unix = self.unix.values().map(|stream| &stream.bytes);
        tcp.chain(unix).any(|bytes| bytes.in_flight().next().is_some())
    }
}

/// Appends the spans that a TCP receiver took from `position` on: located where packets carried
/// them, elsewhere unknown. `is_remote` says that the sender's address is not of this host.
pub(crate) fn append_received(stream: &TcpStream, is_remote: bool, position: u64, span: Span, spans: &mut Vec<Span>) {
    let len = span.len;
    let blank = if stream.bytes.packets == 0 && is_remote {
        Location::Remote
    } else {
        Location::Unknown
    };
    let mut at = position;
    let push = |spans: &mut Vec<Span>, from: u64, len: u64, location: Location| {
        if len > 0 {
            spans.push(Span {
                len,
                position: from,
                location,
                ..span
            });
        }
    };
    for (start, run) in stream.bytes.runs(position, len) {
        push(spans, at, start - at, blank);
        let location = match (run.start, run.slot_kind) {
            (Some(_), SlotKind::Zero) | (None, _) => Location::Unknown,
            (Some(start), _) => Location::Page(start),
        };
        push(spans, start, run.len, location);
        at = start + run.len;
    }
    push(spans, at, position + len - at, blank);
}
