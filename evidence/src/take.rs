//! What a call took from its source: which bytes, and where they lay.

use zctrace_records::{Call, PageRange, call_flag, nr, station_kind};

use super::address::Address;
use super::ends::{Form, form_of};
use super::lanes::Lane;
use super::parcel::{Parcel, Place};
use super::segments::Passage;
use super::sockets::taken_from;
use super::trail::{Outcome, Step, Trails};
use super::waiting::only_looks;
use super::{Evidence, Whole, ring_of};
use crate::ends::EndId;
use zctrace_contract::Reason;

/// `MSG_PEEK` (include/linux/socket.h): what is read stays.
const MSG_PEEK: u32 = 2;

impl Evidence {
    /// Adds the parcels that a call took to `into`: as many bytes as it returned.
    pub(super) fn take(&mut self, whole: &Whole, into: &mut Vec<Parcel>) {
        let call = &whole.call;
        let len = call.result as u64;
        let mut parcel = Parcel {
            len,
            origin: self.ends.of(&call.source),
            position: 0,
            stream: 0,
            lane: Lane::default(),
            place: Place::Unseen,
            trail: Trails::START,
        };
        match form_of(&call.source) {
            Form::Pipe => return self.take_from_pipe(whole, parcel, into),
            Form::Tcp => {
                let pair = call.source.pair.reversed();
                // Other readers of the same socket make the counters disagree with the result: then nothing is known.
                if surplus(call) <= 1
                    && let Some(stream) = self.sockets.tcp(pair)
                {
                    let place = stream.bytes.place(call.source.before as u32);
                    parcel.stream = stream.number;
                    return taken_from(stream, place, len, parcel, into);
                }
            }
            Form::Memory => {
                parcel.position = call.memory;
                if call.flags & call_flag::CONTIGUOUS != 0 {
                    parcel.place = Place::Memory(call.memory);
                }
            }
            Form::Buffered => {
                parcel.position = call.source.before;
                parcel.place = Place::File {
                    mapping: call.source.object,
                    position: call.source.before,
                };
            }
            Form::Direct => {
                parcel.position = call.source.before;
                parcel.place = Place::Device;
            }
            Form::UnixStream => {
                let peeks = matches!(call.nr, nr::RECVFROM | nr::RECVMSG) && call.op_flags & MSG_PEEK != 0;
                if call.source.extra != 0 && !peeks {
                    let stream = self.sockets.unix(call.source.extra);
                    if let Some(place) = stream.receive(call.header.timestamp_ns, len) {
                        parcel.position = place;
                        parcel.stream = stream.number;
                    }
                }
            }
            Form::Null | Form::Other => {}
        }
        into.push(parcel);
    }

    fn take_from_pipe(&mut self, whole: &Whole, parcel: Parcel, into: &mut Vec<Parcel>) {
        let call = &whole.call;
        let ring = ring_of(&mut self.rings, &call.source);
        let lane = ring.next_taken(|| self.segments.new_lane());
        let taken = if only_looks(call) {
            ring.peek(&call.source, parcel.len, into)
        } else {
            let cut = whole.cut_before(station_kind::PIPE_SOURCE, call.source.before as u32);
            let seen = whole.parts.pieces(call, station_kind::PIPE_SOURCE);
            let ends = std::iter::repeat_n(None, cut).chain(seen.iter().map(end_of));
            ring.take(&call.source, parcel.len, ends, into)
        };
        if taken.is_ok() && !only_looks(call) {
            let seen = Passage::new(call, &call.source, lane, parcel.len, false);
            self.segments.seen(seen);
        }
        if taken.is_err() {
            // What was in the pipe is not known, nor where it came from.
            let step = Step {
                nr: call.nr,
                tgid: call.header.tgid,
                user_ip: 0,
                to: EndId::PIPE,
                outcome: Outcome::Unknown(Reason::NotObserved),
            };
            into.push(Parcel {
                trail: self.trails.with(Trails::START, step),
                ..parcel
            });
        }
    }
}

impl Whole {
    /// How many slots from position `from` on could not be looked at any more, before the first one that could.
    fn cut_before(&self, kind: u16, from: u32) -> usize {
        let first = self.parts.of(kind).next();
        let cut = first.map_or(0, |(part, _)| (part.position as u32).wrapping_sub(from));
        // No ring has more slots (fs/pipe.c, `round_pipe_size`); what is not a position is no reason to make room.
        if cut > 1 << 20 { 0 } else { cut as usize }
    }
}

/// How far a TCP receiver went on beyond what the call returned. One is the end of the stream, which counts as a byte
/// (net/ipv4/tcp.c, `tcp_read_sock`), or another reader's byte: then places may be wrong by it.
pub(super) fn surplus(call: &Call) -> u32 {
    let taken = (call.source.after as u32).wrapping_sub(call.source.before as u32);
    taken.wrapping_sub(call.result as u32)
}

/// Where the last byte of a slot ends. It stays when bytes are taken from the front, except by writes to files.
pub(super) fn end_of(piece: &PageRange) -> Option<Address> {
    super::address::start_of(piece).map(|start| start.plus(u64::from(piece.len)))
}
