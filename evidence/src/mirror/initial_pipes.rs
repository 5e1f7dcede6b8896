//! What lay in pipes when watching began.
//!
//! Nobody saw who put it there, so it comes from the pipe itself. From there on its pages are as good as any: what is found
//! is taken for a call that filled an empty ring, and believed only as long as the next call takes up exactly there.

use zctrace_records::{EndpointState, PipeSnapshot};

use crate::decode::endpoints::EndpointId;
use crate::decode::observations::CallObservations;
use crate::decode::page_address::start_of;
use crate::evidence::{Evidence, mirror_of};
use crate::history::Histories;
use crate::mirror::pipe_mirror::MirrorSlot;
use crate::mirror::pipe_position::PipePosition;
use crate::mirror::pipe_usage;
use crate::span::{Location, Span};

impl Evidence {
    /// Takes a pipe that was there before. Its stations have come already.
    pub fn pipe_snapshot(&mut self, found: &PipeSnapshot) {
        let parts = self.parts.remove(&found.call_id).unwrap_or_default();
        pipe_usage::found(&mut self.mirrors, found);
        if let Some((spans, slots)) = lay_in(found, &parts) {
            mirror_of(&mut self.mirrors, &found.endpoint).find(&found.endpoint, spans, slots);
        }
        self.keep(parts);
    }
}

/// What lay in the pipe, a span for each slot; `None` if that was not seen whole, or changed while it was looked at.
fn lay_in(found: &PipeSnapshot, parts: &CallObservations) -> Option<(Vec<Span>, Vec<MirrorSlot>)> {
    let end = &found.endpoint;
    let stood_still = (end.before, end.tail_before, end.last_before) == (end.after, end.tail_after, last(end));
    if !stood_still {
        return None;
    }
    let (mut spans, mut slots) = (Vec::new(), Vec::new());
    let mut position = 0;
    for piece in parts.found(found)? {
        let (start, len) = (start_of(piece)?, u64::from(piece.len));
        spans.push(Span {
            len,
            origin: EndpointId::PIPE,
            position,
            stream: 0,
            pipe_position: PipePosition::default(),
            location: Location::Page(start),
            history: Histories::START,
        });
        slots.push(MirrorSlot {
            len,
            spans: 1,
            end: Some(start.plus(len)),
        });
        position += len;
    }
    let (head, tail) = ((end.before >> 32) as u32, end.before as u32);
    (slots.len() as u32 == head.wrapping_sub(tail)).then_some((spans, slots))
}

/// The length of the last slot afterwards: of an empty ring there is none.
fn last(end: &EndpointState) -> u32 {
    let (head, tail) = ((end.before >> 32) as u32, end.before as u32);
    if head == tail { end.last_before } else { end.last_after }
}
