//! Streams of TCP and UNIX sockets: what was given to them by calls, and in which pages it went.

use std::collections::VecDeque;

use zctrace_records::{PageRange, PageRecord, SocketPair};

use super::address::start_of;
use super::edges::EdgeKey;
use super::parcel::{Parcel, Place};
use super::stream::{Given, Stream};
use super::witness::{Mark, Seen, SlotNames};
use crate::fast_map::Map;

/// Who gave bytes to a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Giver {
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
    pub(crate) bytes: Stream<Giver>,
    /// Its connection has ended. The receiver may still read what has arrived; what is sent next is another connection's.
    closed: bool,
}

/// All streams that are open.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    tcp: Map<SocketPair, TcpStream>,
    unix: Map<u64, UnixStream>,
    /// Streams that have ended, the oldest first.
    ended: VecDeque<(SocketPair, u64)>,
    numbers: u64,
    /// Runs that all streams keep.
    runs: usize,
}

/// Streams at the same time. More are not followed: what is given to them is unknown.
const MOST: usize = 65_536;
/// Ended streams that are kept for receivers that have not read all yet.
const ENDED: usize = 1024;
/// Runs of all streams together that may wait for the record of the call that sent them: the most that one sendfile(2) can
/// send (2 GiB) is half a million pages. With a hundred bytes each that is 60 MB at most.
const UNCLAIMED: usize = 600_000;

impl Sockets {
    /// The stream in this direction, to read from; `None` if there are too many.
    pub(crate) fn tcp(&mut self, pair: SocketPair) -> Option<&mut TcpStream> {
        if pair.family == 0 || (self.tcp.len() >= MOST && !self.tcp.contains_key(&pair)) {
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
        names: &SlotNames,
        each: &mut impl FnMut(&Given<Giver>, &Seen),
    ) {
        let room = self.runs < UNCLAIMED;
        let Some(stream) = self.tcp_to_send(station.pair) else {
            return;
        };
        let before = stream.bytes.len();
        stream.bytes.packets += 1;
        let mut place = stream.bytes.place(station.position as u32);
        let end = place + u64::from(station.total);
        for run in runs_of(station.linear, pieces_of(station), names) {
            // A packet that says it has more pages than bytes is not believed beyond its bytes.
            let run = Seen {
                len: run.len.min(end.saturating_sub(place)),
                ..run
            };
            if run.len == 0 {
                break;
            }
            stream.bytes.see(place, run, each);
            place += run.len;
        }
        stream.bytes.trim(room);
        let after = stream.bytes.len();
        self.runs = (self.runs + after).saturating_sub(before);
    }

    /// A connection has ended: returns what was given and never seen under way.
    pub(crate) fn closed(&mut self, pair: SocketPair) -> Vec<Given<Giver>> {
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
        while self.ended.len() > ENDED {
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
        if self.unix.len() >= MOST {
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
    pub(crate) fn under_way(&self) -> impl Iterator<Item = (&Given<Giver>, u64)> {
        let tcp = self.tcp.values().map(|stream| (stream.number, &stream.bytes));
        let unix = self.unix.values().map(|stream| (stream.number, &stream.bytes));
        let mut streams: Vec<_> = tcp.chain(unix).collect();
        streams.sort_unstable_by_key(|(number, _)| *number);
        streams
            .into_iter()
            .flat_map(|(_, bytes)| bytes.unseen().map(|given| (given, bytes.packets)))
    }

    /// Whether there is a UNIX socket among them.
    pub(crate) fn met_unix(&self) -> bool {
        !self.unix.is_empty()
    }

    /// Whether there is anything of that kind.
    pub(crate) fn any_under_way(&self) -> bool {
        let tcp = self.tcp.values().map(|stream| &stream.bytes);
        let unix = self.unix.values().map(|stream| &stream.bytes);
        tcp.chain(unix).any(|bytes| bytes.unseen().next().is_some())
    }
}

/// The runs of a packet or message, in the order of its bytes.
pub(crate) fn runs_of(linear: u32, pieces: &[PageRange], names: &SlotNames) -> impl Iterator<Item = Seen> {
    let linear = (linear > 0).then(|| Seen::linear(u64::from(linear)));
    linear.into_iter().chain(pieces.iter().map(|piece| seen(piece, names)))
}

fn pieces_of(station: &PageRecord) -> &[PageRange] {
    &station.ranges[..usize::from(station.count).min(station.ranges.len())]
}

pub(crate) fn seen(piece: &PageRange, names: &SlotNames) -> Seen {
    Seen::new(piece, start_of(piece), u64::from(piece.len), names)
}

/// What one UNIX socket sent. The kernel counts nothing here, so places are counted from a moment at which nothing was under
/// way.
#[derive(Debug, Default)]
pub(crate) struct UnixStream {
    pub(crate) number: u64,
    pub(crate) bytes: Stream<Giver>,
    /// Bytes that calls gave; bytes that were consumed or thrown away.
    sent: u64,
    consumed: u64,
    /// Which socket of this address it is.
    life: Option<u64>,
    synced: bool,
    /// Messages that were consumed while it was not known where they belong.
    early: VecDeque<(u64, Vec<Seen>)>,
    /// Bytes that calls of the receiver took; and such calls while it was not known where their bytes belong.
    received: u64,
    early_reads: VecDeque<(u64, u64)>,
}

/// `sk_wmem_alloc` of a socket with nothing under way (net/core/sock.c, `sk_alloc`).
const NOTHING_UNDER_WAY: u64 = 1;
/// Messages that are remembered until it is known where they belong.
const EARLY: usize = 1024;

impl UnixStream {
    /// A call gave bytes. Returns the place of the first, or `None` if places are not known; and what messages have carried
    /// of what was given before.
    pub(crate) fn send(
        &mut self,
        life: u64,
        under_way: u64,
        entered_ns: u64,
        len: u64,
    ) -> (Option<u64>, Vec<(Given<Giver>, Seen)>) {
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
        if !self.synced && under_way == NOTHING_UNDER_WAY {
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
        let place = self.sent;
        self.sent = self.sent.wrapping_add(len);
        (self.synced.then_some(place), matched)
    }

    /// A call of the receiver took bytes. Returns the place of the first, if places are known.
    pub(crate) fn receive(&mut self, left_ns: u64, len: u64) -> Option<u64> {
        if !self.synced {
            self.early_reads.push_back((left_ns, len));
            if self.early_reads.len() > EARLY {
                self.early_reads.pop_front();
            }
            return None;
        }
        let place = self.received;
        self.received = self.received.wrapping_add(len);
        Some(place)
    }

    /// A message was consumed or thrown away.
    pub(crate) fn message(&mut self, station: &PageRecord, names: &SlotNames) -> Vec<(Given<Giver>, Seen)> {
        let runs: Vec<Seen> = runs_of(station.linear, pieces_of(station), names).collect();
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
        if self.early.len() > EARLY {
            self.early.pop_front();
        }
        Vec::new()
    }

    fn carry(&mut self, runs: &[Seen]) -> Vec<(Given<Giver>, Seen)> {
        let mut matched = Vec::new();
        for run in runs {
            matched.extend(self.bytes.seen(self.consumed, *run));
            self.consumed = self.consumed.wrapping_add(run.len);
        }
        self.bytes.trim(false);
        matched
    }
}

/// Adds the parcels that a TCP receiver took: what packets showed of them, and the rest unseen.
pub(crate) fn taken_from(stream: &TcpStream, place: u64, len: u64, parcel: Parcel, parcels: &mut Vec<Parcel>) {
    let blank = if stream.bytes.packets == 0 {
        Place::Remote
    } else {
        Place::Unseen
    };
    let mut at = place;
    let push = |parcels: &mut Vec<Parcel>, from: u64, len: u64, place: Place| {
        if len > 0 {
            parcels.push(Parcel {
                len,
                position: from,
                place,
                ..parcel
            });
        }
    };
    for (start, run) in stream.bytes.runs(place, len) {
        push(parcels, at, start - at, blank);
        let place = match (run.start, run.mark) {
            (Some(_), Mark::Zero) | (None, _) => Place::Unseen,
            (Some(start), _) => Place::At(start),
        };
        push(parcels, start, run.len, place);
        at = start + run.len;
    }
    push(parcels, at, place + len - at, blank);
}
