//! What lay in pipes when watching began.
//!
//! Nobody saw who put it there, so it comes from the pipe itself. From there on its pages are as good as any: what is found
//! is taken for a call that filled an empty ring, and believed only as long as the next call takes up exactly there.

use std::collections::VecDeque;

use probes_common::{EndState, Found, Station, station_kind};

use super::address::start_of;
use super::ends::EndId;
use super::lanes::Lane;
use super::parcel::{Parcel, Place};
use super::ring::Slot;
use super::trail::Trails;
use super::{Evidence, pipes, ring_of};

impl Evidence {
    /// Takes a pipe that was there before. Its stations have come already.
    pub fn found(&mut self, found: &Found) {
        let stations = self.parts.remove(&found.serial).unwrap_or_default();
        let end = &found.end;
        pipes::found(&mut self.rings, found);
        if let Some(slots) = slots_of(found, &stations) {
            ring_of(&mut self.rings, end).find(end, slots);
        }
        self.keep(stations);
    }
}

/// What was in the pipe, slot by slot; `None` if that was not seen whole, or changed while it was looked at.
fn slots_of(found: &Found, stations: &[Station]) -> Option<Vec<Slot>> {
    let end = &found.end;
    let (head, tail) = ((end.before >> 32) as u32, end.before as u32);
    let stood_still = (end.before, end.tail_before, end.last_before) == (end.after, end.tail_after, last(end));
    let all_there = stations.len() == found.stations as usize
        && (0..).zip(stations).all(|(part, station)| {
            station.station == station_kind::PIPE_FOUND && station.part == part && station.flags == 0
        });
    if !stood_still || !all_there {
        return None;
    }
    let mut slots = Vec::new();
    let mut position = 0;
    for piece in stations
        .iter()
        .flat_map(|station| &station.pieces[..usize::from(station.count).min(station.pieces.len())])
    {
        let (start, len) = (start_of(piece)?, u64::from(piece.len));
        let parcel = Parcel {
            len,
            origin: EndId::PIPE,
            position,
            stream: 0,
            lane: Lane::default(),
            place: Place::At(start),
            trail: Trails::START,
        };
        position += len;
        slots.push(Slot {
            parcels: VecDeque::from([parcel]),
            end: Some(start.plus(len)),
        });
    }
    (slots.len() as u32 == head.wrapping_sub(tail)).then_some(slots)
}

/// The length of the last slot afterwards: of an empty ring there is none.
fn last(end: &EndState) -> u32 {
    let (head, tail) = ((end.before >> 32) as u32, end.before as u32);
    if head == tail { end.last_before } else { end.last_after }
}
