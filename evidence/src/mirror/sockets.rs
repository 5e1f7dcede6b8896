//! Streams of TCP and UNIX sockets: what was given to them by calls, and in which pages it went.

use std::collections::VecDeque;

use zctrace_records::{PageRange, PageRecord, SocketPair};

use crate::classify::rule::{Observation, PipeBufOps, SlotKind};
use crate::collections::fast_map::FastMap;
use crate::decode::page_address::start_of;
use crate::flows::edges::EdgeKey;
use crate::mirror::stream::{Sent, Stream};
use crate::span::{Location, Span};

/// Who gave bytes to a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sender {
    pub(crate) edge: EdgeKey,
    pub(crate) user_ip: u64,
    pub(crate) serial: u64,
    /// The number of the stream that they were given to; 0: none.
    pub(crate) stream: u64,
}

/// One direction of a TCP connection.
#[derive(Debug)]
pub(crate) struct TcpStream {
    /// Its number: what was put in and what was taken out have it in common.
    pub(crate) number: u64,
    pub(crate) bytes: Stream<Sender>,
    /// Its connection has ended. The receiver may still read what has arrived; what is sent next is another connection's.
    closed: bool,
}

/// All streams that are open.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    tcp: FastMap<SocketPair, TcpStream>,
    unix: FastMap<u64, UnixStream>,
    /// Streams that have ended, the oldest first.
    ended: VecDeque<(SocketPair, u64)>,
    numbers: u64,
    /// Runs that all streams keep.
    runs: usize,
}

/// Streams at the same time. More are not followed: what is given to them is unknown.
const MAX_STREAMS: usize = 65_536;
/// Ended streams that are kept for receivers that have not read all yet.
const MAX_ENDED: usize = 1024;
/// Runs of all streams together that may wait for the record of the call that sent them: the most that one sendfile(2) can
/// send (2 GiB) is half a million pages. With a hundred bytes each that is 60 MB at most.
const MAX_UNCLAIMED: usize = 600_000;

impl Sockets {
    /// The stream in this direction, to read from; `None` if there are too many.
    pub(crate) fn tcp(&mut self, pair: SocketPair) -> Option<&mut TcpStream> {
        if pair.family == 0 || (self.tcp.len() >= MAX_STREAMS && !self.tcp.contains_key(&pair)) {
            return None;
        }
        let numbers = &mut self.numbers;
        Some(self.tcp.entry(pair).or_insert_with(|| {
            *numbers += 1;
            TcpStream {
                number: *numbers,
                bytes: Stream::default(),
                closed: false,
            }
        }))
    }

    /// The stream in this direction, to send into: if the one that is known has ended it is a new one.
    pub(crate) fn tcp_to_send(&mut self, pair: SocketPair) -> Option<&mut TcpStream> {
        if self.tcp.get(&pair).is_some_and(|stream| stream.closed) {
            self.forget(pair);
        }
        self.tcp(pair)
    }

    fn forget(&mut self, pair: SocketPair) {
        if let Some(stream) = self.tcp.remove(&pair) {
            self.runs = self.runs.saturating_sub(stream.bytes.len());
        }
    }

    /// A packet: tells `each` what it carried of what calls gave.
    pub(crate) fn packet(
        &mut self,
        station: &PageRecord,
        names: &PipeBufOps,
        each: &mut impl FnMut(&Sent<Sender>, &Observation),
    ) {
        let room = self.runs < MAX_UNCLAIMED;
        let Some(stream) = self.tcp_to_send(station.pair) else {
            return;
        };
        let before = stream.bytes.len();
        stream.bytes.packets += 1;
        let mut position = stream.bytes.position(station.position as u32);
        let end = position + u64::from(station.total);
        for run in observations_of(station.linear, pieces_of(station), names) {
            // A packet that says it has more pages than bytes is not believed beyond its bytes.
            let run = Observation {
                len: run.len.min(end.saturating_sub(position)),
                ..run
            };
            if run.len == 0 {
                break;
            }
            stream.bytes.see(position, run, each);
            position += run.len;
        }
        stream.bytes.trim(room);
        let after = stream.bytes.len();
        self.runs = (self.runs + after).saturating_sub(before);
    }

    /// A connection has ended: returns what was given and never seen under way.
    pub(crate) fn closed(&mut self, pair: SocketPair) -> Vec<Sent<Sender>> {
        let mut left = Vec::new();
        for pair in [pair, pair.reversed()] {
            if let Some(stream) = self.tcp.get_mut(&pair)
                && !stream.closed
            {
                stream.closed = true;
                left.extend(stream.bytes.close());
                self.ended.push_back((pair, stream.number));
            }
        }
        while self.ended.len() > MAX_ENDED {
            let Some((pair, number)) = self.ended.pop_front() else {
                break;
            };
            // Another connection may have the addresses by now.
            if self.tcp.get(&pair).is_some_and(|stream| stream.number == number) {
                self.forget(pair);
            }
        }
        left
    }

    /// The stream of messages of a UNIX socket.
    pub(crate) fn unix(&mut self, sock: u64) -> &mut UnixStream {
        if self.unix.len() >= MAX_STREAMS {
            self.unix.clear();
        }
        let numbers = &mut self.numbers;
        self.unix.entry(sock).or_insert_with(|| {
            *numbers += 1;
            UnixStream {
                number: *numbers,
                ..UnixStream::default()
            }
        })
    }

    /// All that was given and not seen under way, in the order in which the streams were met.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (&Sent<Sender>, u64)> {
        let tcp = self.tcp.values().map(|stream| (stream.number, &stream.bytes));
        let unix = self.unix.values().map(|stream| (stream.number, &stream.bytes));
        let mut streams: Vec<_> = tcp.chain(unix).collect();
        streams.sort_unstable_by_key(|(number, _)| *number);
        streams
            .into_iter()
            .flat_map(|(_, bytes)| bytes.unseen().map(|given| (given, bytes.packets)))
    }

    /// Whether there is a UNIX socket among them.
    pub(crate) fn has_unix_streams(&self) -> bool {
        !self.unix.is_empty()
    }

    /// Whether there is anything of that kind.
    pub(crate) fn has_in_flight(&self) -> bool {
        let tcp = self.tcp.values().map(|stream| &stream.bytes);
        let unix = self.unix.values().map(|stream| &stream.bytes);
        tcp.chain(unix).any(|bytes| bytes.unseen().next().is_some())
    }
}

/// The runs of a packet or message, in the order of its bytes.
pub(crate) fn observations_of(
    linear: u32,
    pieces: &[PageRange],
    names: &PipeBufOps,
) -> impl Iterator<Item = Observation> {
    let linear = (linear > 0).then(|| Observation::linear(u64::from(linear)));
    linear.into_iter().chain(pieces.iter().map(|piece| seen(piece, names)))
}

fn pieces_of(station: &PageRecord) -> &[PageRange] {
    &station.ranges[..usize::from(station.count).min(station.ranges.len())]
}

pub(crate) fn seen(piece: &PageRange, names: &PipeBufOps) -> Observation {
    Observation::new(piece, start_of(piece), u64::from(piece.len), names)
}

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
    pub(crate) fn message(&mut self, station: &PageRecord, names: &PipeBufOps) -> Vec<(Sent<Sender>, Observation)> {
        let runs: Vec<Observation> = observations_of(station.linear, pieces_of(station), names).collect();
        self.bytes.packets += 1;
        if runs.iter().map(|run| run.len).sum::<u64>() != u64::from(station.total) {
            // Not all of it could be read: nothing after it has a place.
            self.synced = false;
            return Vec::new();
        }
        if self.synced {
            return self.carry(&runs);
        }
        self.early.push_back((station.header.timestamp_ns, runs));
        if self.early.len() > MAX_EARLY {
            self.early.pop_front();
        }
        Vec::new()
    }

    fn carry(&mut self, runs: &[Observation]) -> Vec<(Sent<Sender>, Observation)> {
        let mut matched = Vec::new();
        for run in runs {
            matched.extend(self.bytes.seen(self.consumed, *run));
            self.consumed = self.consumed.wrapping_add(run.len);
        }
        self.bytes.trim(false);
        matched
    }
}

/// Adds the spans that a TCP receiver took: what packets showed of them, and the rest unseen.
pub(crate) fn taken_from(stream: &TcpStream, position: u64, len: u64, span: Span, spans: &mut Vec<Span>) {
    let blank = if stream.bytes.packets == 0 {
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
        let location = match (run.start, run.mark) {
            (Some(_), SlotKind::Zero) | (None, _) => Location::Unknown,
            (Some(start), _) => Location::Page(start),
        };
        push(spans, start, run.len, location);
        at = start + run.len;
    }
    push(spans, at, position + len - at, blank);
}
