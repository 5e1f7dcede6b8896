//! What was seen inside a call, before its own record came: slots of pipes, requests to disks, messages.

use std::borrow::Cow;

use zctrace_records::{Call, PageRange, PageRecord, PipeSnapshot, station_kind};

/// A station, apart from its pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StationHeader {
    pub(crate) station: u16,
    pub(crate) flags: u32,
    pub(crate) linear: u32,
    pub(crate) object: u64,
    pub(crate) position: u64,
    number: u32,
    /// Where its pieces end among those of all.
    end: usize,
}

/// The stations of one call.
#[derive(Debug, Default)]
pub(crate) struct CallObservations {
    parts: Vec<StationHeader>,
    pieces: Vec<PageRange>,
}

impl CallObservations {
    pub(crate) fn add(&mut self, station: &PageRecord) {
        let count = usize::from(station.count).min(station.ranges.len());
        self.pieces.extend_from_slice(&station.ranges[..count]);
        self.parts.push(StationHeader {
            station: station.station,
            flags: station.flags,
            linear: station.linear,
            object: station.object,
            position: station.position,
            number: station.part,
            end: self.pieces.len(),
        });
    }

    /// Nothing was seen; the room stays.
    pub(crate) fn clear(&mut self) {
        self.parts.clear();
        self.pieces.clear();
    }

    /// Whether it has room of its own.
    pub(crate) fn has_room(&self) -> bool {
        self.parts.capacity() > 0
    }

    /// Those of a kind, with their pieces.
    pub(crate) fn of(&self, kind: u16) -> impl Iterator<Item = (&StationHeader, &[PageRange])> {
        let starts = std::iter::once(0).chain(self.parts.iter().map(|part| part.end));
        self.parts
            .iter()
            .zip(starts)
            .filter(move |(part, _)| part.station == kind)
            .map(|(part, start)| (part, &self.pieces[start..part.end]))
    }

    /// The pieces that were seen at a kind of station, in order. None if a record of them was lost: a list with a hole would
    /// put each piece behind the hole in the wrong place.
    pub(crate) fn pieces(&self, call: &Call, kind: u16) -> Cow<'_, [PageRange]> {
        if !self.is_whole(call) {
            return Cow::default();
        }
        let mut stations = self.of(kind).map(|(_, pieces)| pieces);
        let first = stations.next().unwrap_or_default();
        let mut all = Cow::Borrowed(first);
        for more in stations {
            all.to_mut().extend_from_slice(more);
        }
        all
    }

    /// Whether the stations of pipes that the call says it wrote are all here.
    fn is_whole(&self, call: &Call) -> bool {
        let of = |kind| self.in_a_row(kind);
        let counts = of(station_kind::PIPE_SOURCE).zip(of(station_kind::PIPE_SINK));
        counts.is_some_and(|(source, sink)| source + sink == call.page_records)
    }

    /// How many records of a kind there are; `None` if one of them is missing.
    fn in_a_row(&self, kind: u16) -> Option<u32> {
        let mut next = 0;
        for part in self.parts.iter().filter(|part| part.station == kind) {
            if part.number != next {
                return None;
            }
            next += 1;
        }
        Some(next)
    }

    /// The slots of a pipe that was found, in order; `None` if not all of them were seen.
    pub(crate) fn found(&self, found: &PipeSnapshot) -> Option<impl Iterator<Item = &PageRange>> {
        let kind = station_kind::PIPE_SNAPSHOT;
        let observed =
            self.in_a_row(kind) == Some(found.page_records) && self.of(kind).all(|(part, _)| part.flags == 0);
        observed.then(|| self.of(kind).flat_map(|(_, pieces)| pieces))
    }
}
