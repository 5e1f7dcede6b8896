//! What lay in pipes when watching began.
//!
//! Nobody saw who put it there, so it comes from the pipe itself. From there on its pages are as good as any: what is found
//! is taken for a call that filled an empty ring, and believed only as long as the next call takes up exactly there.

use zctrace_records::{EndpointState, PipeSnapshot};

use super::address::start_of;
use super::ends::EndId;
use super::lanes::Lane;
use super::parcel::{Parcel, Place};
use super::parts::Parts;
use super::ring::Slot;
use super::trail::Trails;
use super::{Evidence, pipes, ring_of};

impl Evidence {
    /// Takes a pipe that was there before. Its stations have come already.
    pub fn found(&mut self, found: &PipeSnapshot) {
        let parts = self.parts.remove(&found.call_id).unwrap_or_default();
        pipes::found(&mut self.rings, found);
        if let Some((parcels, slots)) = lay_in(found, &parts) {
            ring_of(&mut self.rings, &found.endpoint).find(&found.endpoint, parcels, slots);
        }
        self.keep(parts);
    }
}

/// What lay in the pipe, a parcel for each slot; `None` if that was not seen whole, or changed while it was looked at.
fn lay_in(found: &PipeSnapshot, parts: &Parts) -> Option<(Vec<Parcel>, Vec<Slot>)> {
    let end = &found.endpoint;
    let stood_still = (end.before, end.tail_before, end.last_before) == (end.after, end.tail_after, last(end));
    if !stood_still {
        return None;
    }
    let (mut parcels, mut slots) = (Vec::new(), Vec::new());
    let mut position = 0;
    for piece in parts.found(found)? {
        let (start, len) = (start_of(piece)?, u64::from(piece.len));
        parcels.push(Parcel {
            len,
            origin: EndId::PIPE,
            position,
            stream: 0,
            lane: Lane::default(),
            place: Place::At(start),
            trail: Trails::START,
        });
        slots.push(Slot {
            len,
            parcels: 1,
            end: Some(start.plus(len)),
        });
        position += len;
    }
    let (head, tail) = ((end.before >> 32) as u32, end.before as u32);
    (slots.len() as u32 == head.wrapping_sub(tail)).then_some((parcels, slots))
}

/// The length of the last slot afterwards: of an empty ring there is none.
fn last(end: &EndpointState) -> u32 {
    let (head, tail) = ((end.before >> 32) as u32, end.before as u32);
    if head == tail { end.last_before } else { end.last_after }
}
