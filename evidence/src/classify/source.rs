//! What a call took from its source: which bytes, and where they lay.

use zctrace_records::{Call, PageRange, call_flag, nr, station_kind};

use crate::decode::endpoints::EndpointId;
use crate::decode::endpoints::{EndpointForm, form_of};
use crate::decode::page_address::PageAddress;
use crate::evidence::{Evidence, ObservedCall, mirror_of};
use crate::history::{Histories, Hop, Outcome};
use crate::journal::PipeTransfer;
use crate::mirror::pipe_position::PipePosition;
use crate::mirror::reorder::is_peek;
use crate::mirror::sockets::taken_from;
use crate::span::{Location, Span};
use zctrace_contract::Reason;

/// `MSG_PEEK` (include/linux/socket.h): what is read stays.
const MSG_PEEK: u32 = 2;

impl Evidence {
    /// Adds the spans that a call took to `into`: as many bytes as it returned.
    pub(crate) fn take(&mut self, observed: &ObservedCall, into: &mut Vec<Span>) {
        let call = &observed.call;
        let len = call.result as u64;
        let mut span = Span {
            len,
            origin: self.ends.of(&call.source),
            position: 0,
            stream: 0,
            pipe_position: PipePosition::default(),
            location: Location::Unknown,
            history: Histories::START,
        };
        match form_of(&call.source) {
            EndpointForm::Pipe => return self.take_from_pipe(observed, span, into),
            EndpointForm::Tcp => {
                let pair = call.source.pair.reversed();
                // Other readers of the same socket make the counters disagree with the result: then nothing is known.
                if surplus(call) <= 1
                    && let Some(stream) = self.sockets.tcp(pair)
                {
                    let place = stream.bytes.position(call.source.before as u32);
                    span.stream = stream.number;
                    return taken_from(stream, place, len, span, into);
                }
            }
            EndpointForm::Memory => {
                span.position = call.memory;
                if call.flags & call_flag::CONTIGUOUS != 0 {
                    span.location = Location::Memory(call.memory);
                }
            }
            EndpointForm::Buffered => {
                span.position = call.source.before;
                span.location = Location::File {
                    mapping: call.source.object,
                    position: call.source.before,
                };
            }
            EndpointForm::Direct => {
                span.position = call.source.before;
                span.location = Location::Device;
            }
            EndpointForm::UnixStream => {
                let peeks = matches!(call.nr, nr::RECVFROM | nr::RECVMSG) && call.op_flags & MSG_PEEK != 0;
                if call.source.extra != 0 && !peeks {
                    let stream = self.sockets.unix(call.source.extra);
                    if let Some(place) = stream.receive(call.header.timestamp_ns, len) {
                        span.position = place;
                        span.stream = stream.number;
                    }
                }
            }
            EndpointForm::Null | EndpointForm::Other => {}
        }
        into.push(span);
    }

    fn take_from_pipe(&mut self, observed: &ObservedCall, span: Span, into: &mut Vec<Span>) {
        let call = &observed.call;
        let mirror = mirror_of(&mut self.mirrors, &call.source);
        let pipe_position = mirror.next_taken(|| self.segments.new_epoch());
        let taken = if is_peek(call) {
            mirror.peek(&call.source, span.len, into)
        } else {
            let cut = observed.cut_before(station_kind::PIPE_SOURCE, call.source.before as u32);
            let seen = observed.parts.pieces(call, station_kind::PIPE_SOURCE);
            let ends = std::iter::repeat_n(None, cut).chain(seen.iter().map(end_of));
            mirror.take(&call.source, span.len, ends, into)
        };
        if taken.is_ok() && !is_peek(call) {
            let seen = PipeTransfer::new(call, &call.source, pipe_position, span.len, false);
            self.segments.seen(seen);
        }
        if taken.is_err() {
            // What was in the pipe is not known, nor where it came from.
            let step = Hop {
                nr: call.nr,
                tgid: call.header.tgid,
                user_ip: 0,
                to: EndpointId::PIPE,
                outcome: Outcome::Unknown(Reason::NotObserved),
            };
            into.push(Span {
                history: self.histories.with(Histories::START, step),
                ..span
            });
        }
    }
}

impl ObservedCall {
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
pub(crate) fn surplus(call: &Call) -> u32 {
    let taken = (call.source.after as u32).wrapping_sub(call.source.before as u32);
    taken.wrapping_sub(call.result as u32)
}

/// Where the last byte of a slot ends. It stays when bytes are taken from the front, except by writes to files.
pub(crate) fn end_of(piece: &PageRange) -> Option<PageAddress> {
    crate::decode::page_address::start_of(piece).map(|start| start.plus(u64::from(piece.len)))
}
