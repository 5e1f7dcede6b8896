//! Source side of a call: the bytes it took, their locations and their histories.

use crate::decode::call::ObservedCall;
use crate::decode::endpoint::{Endpoint, PipeState};
use crate::decode::endpoints::EndpointId;
use crate::decode::observations::CallStation;
use crate::decode::page_address::{Owner, end_of, owner_of, page_owner, truncated_at};
use crate::evidence::Evidence;
use crate::history::{Histories, Hop, Outcome};
use crate::journal::PipeTransfer;
use crate::mirror::mirror_slot::{ObservedSlot, OwnerAtPop};
use crate::mirror::pipe_position::PipePosition;
use crate::mirror::sockets::append_received;
use crate::sender::EdgeKey;
use crate::span::{Location, Span};
use zctrace_contract::Reason;
use zctrace_records::PageRange;

/// Slots of the largest ring (fs/pipe.c: `round_pipe_size()`).
const MAX_SLOTS: usize = 1 << 20;

impl Evidence {
    /// Adds the spans that a call took to `into`. Their lengths add up to the call's result.
    pub(crate) fn resolve_source(&mut self, call: &ObservedCall, edge: &EdgeKey, into: &mut Vec<Span>) {
        let len = call.bytes;
        let mut span = Span {
            len,
            origin: edge.from,
            position: 0,
            stream: 0,
            pipe_position: PipePosition::default(),
            location: Location::Unknown,
            history: Histories::START,
        };
        match &call.source {
            Endpoint::Pipe(pipe) => return self.consume_pipe(call, pipe, span, into),
            Endpoint::Tcp(tcp) => {
                // Another reader of the socket makes the counters disagree with the result. Then no
                // position is known.
                if call.receive_surplus() <= 1
                    && let Some(stream) = self.sockets.tcp_to_receive(tcp.direction.pair, tcp.receive_first)
                {
                    let position = stream.bytes.position(tcp.entry_sequence);
                    span.stream = stream.number;
                    let is_remote = !self.config.is_peer_local(&tcp.direction);
                    return append_received(stream, is_remote, position, span, into);
                }
            }
            Endpoint::Memory(memory) => {
                span.position = memory.address;
                // vmsplice passes the caller's pages from however many buffers (A8). The kind of
                // the slot is what shows it, so the address need not be right for all of them.
                if memory.is_contiguous || call.is_vmsplice() {
                    span.location = Location::Memory(memory.address);
                }
            }
            Endpoint::Direct(file) => {
                span.position = file.offset;
                span.location = if file.is_offset_exact(len) {
                    Location::Device
                } else {
                    Location::Uncertain
                };
            }
            Endpoint::Buffered(file) => {
                span.position = file.offset;
                span.location = if file.is_offset_exact(len) {
                    Location::File {
                        mapping: file.mapping,
                        position: file.offset,
                        pages: self.config.pages_of(file),
                        copies: self.config.copies_of(file),
                    }
                } else {
                    Location::Uncertain
                };
            }
            Endpoint::UnixStream(unix) => {
                if unix.peer != 0 {
                    let stream = self.sockets.unix(unix.peer);
                    if let Some(position) = stream.receive(call.exited_ns, len) {
                        span.position = position;
                        span.stream = stream.number;
                    }
                }
            }
            Endpoint::Null | Endpoint::Copying | Endpoint::Udp | Endpoint::Other => {}
        }
        into.push(span);
    }

    fn consume_pipe(&mut self, call: &ObservedCall, pipe: &PipeState, span: Span, into: &mut Vec<Span>) {
        let position = self.pipes.read_position(pipe);
        let taken = if call.is_tee() {
            let duplicates = call.slots(CallStation::PipeSink);
            self.pipes
                .peek(pipe, span.len, duplicates.iter().map(observed_slot), into)
        } else {
            let unread = unread_slots(call, pipe);
            let slots = call.slots(CallStation::PipeSource);
            let ends = std::iter::repeat_n(ObservedSlot::default(), unread).chain(slots.iter().map(observed_slot));
            self.pipes.pop(pipe, span.len, ends, into)
        };
        if taken.is_err() {
            // The pipe's content is unknown, and so is its origin.
            let hop = Hop {
                nr: call.nr,
                tgid: call.tgid,
                user_ip: 0,
                to: EndpointId::PIPE,
                outcome: Outcome::Unknown(if self.is_lossy {
                    Reason::LostRecords
                } else {
                    Reason::OriginLost
                }),
            };
            into.push(Span {
                history: self.deliveries.histories.with(Histories::START, hop),
                ..span
            });
        } else if !call.is_tee() {
            self.journals
                .transferred(PipeTransfer::new(call, pipe, position, span.len, false));
        }
    }
}

fn observed_slot(range: &PageRange) -> ObservedSlot {
    ObservedSlot {
        end: end_of(range),
        owner: match owner_of(range) {
            Owner::NotRead => OwnerAtPop::NotRead,
            _ => match (page_owner(range), truncated_at(range)) {
                (Some(owner), _) => OwnerAtPop::Known(owner),
                (None, Some(position)) => OwnerAtPop::Truncated(position),
                (None, None) => OwnerAtPop::Kernel,
            },
        },
    }
}

/// Returns how many slots at the tail could not be read any more, before the first that could.
fn unread_slots(call: &ObservedCall, pipe: &PipeState) -> usize {
    let first = call.observations.at(CallStation::PipeSource).next();
    let unread = first.map_or(0, |(header, _)| (header.position as u32).wrapping_sub(pipe.entry.tail));
    // A larger number is no slot count, and no reason to compare as many slots.
    if unread as usize > MAX_SLOTS {
        0
    } else {
        unread as usize
    }
}
