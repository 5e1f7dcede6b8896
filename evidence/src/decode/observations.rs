//! Page observations of calls, kept until the record of the call arrives.

use std::borrow::Cow;

use zctrace_records::{PageRange, PageRecord, PipeSnapshot, page_record_flag, station_kind};

use crate::collections::fast_map::FastMap;

/// Calls whose observations are kept at the same time.
const MAX_CALLS: usize = 65_536;
/// Emptied buffers that are kept for reuse.
const MAX_SPARE: usize = 16;

/// Station inside a call at which page ranges were observed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CallStation {
    /// Slots that the call took bytes from, at its exit.
    PipeSource,
    /// Slots that the call filled, at its exit.
    PipeSink,
    /// A read request to a disk.
    BioRead,
    /// A write request to a disk.
    BioWrite,
    /// A UNIX message that was consumed.
    Message,
    /// A UNIX message that was discarded unread.
    DroppedMessage,
    /// Slots of a pipe that existed before tracing started.
    PipeSnapshot,
}

impl CallStation {
    fn of(record: &PageRecord) -> Option<Self> {
        let has = |flag| record.flags & flag != 0;
        Some(match record.station {
            station_kind::PIPE_SOURCE => Self::PipeSource,
            station_kind::PIPE_SINK => Self::PipeSink,
            station_kind::BIO if has(page_record_flag::WRITE) => Self::BioWrite,
            station_kind::BIO => Self::BioRead,
            station_kind::UNIX if has(page_record_flag::DROPPED) => Self::DroppedMessage,
            station_kind::UNIX => Self::Message,
            station_kind::PIPE_SNAPSHOT => Self::PipeSnapshot,
            _ => return None,
        })
    }
}

/// A page record without its page ranges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StationHeader {
    station: CallStation,
    /// Payload bytes in the linear part, before the page ranges.
    pub(crate) linear: u32,
    /// The pipe, socket or device.
    pub(crate) object: u64,
    /// Pipes: ring position of the first range.
    pub(crate) position: u64,
    /// Not all ranges could be read.
    is_truncated: bool,
    /// Number of this record among those of its call and station.
    number: u32,
    /// End of its ranges among those of the call.
    end: usize,
}

/// Page observations made during one call.
#[derive(Debug, Default)]
pub(crate) struct CallObservations {
    stations: Vec<StationHeader>,
    ranges: Vec<PageRange>,
}

impl CallObservations {
    fn add(&mut self, record: &PageRecord) {
        let Some(station) = CallStation::of(record) else { return };
        let count = usize::from(record.count).min(record.ranges.len());
        self.ranges.extend_from_slice(&record.ranges[..count]);
        self.stations.push(StationHeader {
            station,
            linear: record.linear,
            object: record.object,
            position: record.position,
            is_truncated: record.flags != 0,
            number: record.part,
            end: self.ranges.len(),
        });
    }

    /// Removes all observations and keeps the buffers.
    fn clear(&mut self) {
        self.stations.clear();
        self.ranges.clear();
    }

    /// Returns whether any buffer is allocated.
    fn is_allocated(&self) -> bool {
        self.stations.capacity() > 0
    }

    /// Returns the records of a station, each with its page ranges, in order.
    pub(crate) fn at(&self, station: CallStation) -> impl Iterator<Item = (&StationHeader, &[PageRange])> {
        let starts = std::iter::once(0).chain(self.stations.iter().map(|header| header.end));
        self.stations
            .iter()
            .zip(starts)
            .filter(move |(header, _)| header.station == station)
            .map(|(header, start)| (header, &self.ranges[start..header.end]))
    }

    /// Returns all page ranges of a station, in order.
    pub(crate) fn ranges(&self, station: CallStation) -> Cow<'_, [PageRange]> {
        let mut records = self.at(station).map(|(_, ranges)| ranges);
        let mut all = Cow::Borrowed(records.next().unwrap_or_default());
        for more in records {
            all.to_mut().extend_from_slice(more);
        }
        all
    }

    /// Returns whether all of the call's `expected` records of pipe slots arrived.
    pub(crate) fn has_all_pipe_records(&self, expected: u32) -> bool {
        let source = self.consecutive(CallStation::PipeSource);
        let sink = self.consecutive(CallStation::PipeSink);
        source.zip(sink).is_some_and(|(source, sink)| source + sink == expected)
    }

    /// Returns the number of records of a station; `None` if their numbers have a hole.
    fn consecutive(&self, station: CallStation) -> Option<u32> {
        let mut next = 0;
        for header in self.stations.iter().filter(|header| header.station == station) {
            if header.number != next {
                return None;
            }
            next += 1;
        }
        Some(next)
    }

    /// Returns the slots of a pipe snapshot, in order; `None` if not all of them were recorded.
    pub(crate) fn snapshot_slots(&self, snapshot: &PipeSnapshot) -> Option<impl Iterator<Item = &PageRange>> {
        let station = CallStation::PipeSnapshot;
        let is_complete = self.consecutive(station) == Some(snapshot.page_records)
            && self.at(station).all(|(header, _)| !header.is_truncated);
        is_complete.then(|| self.at(station).flat_map(|(_, ranges)| ranges))
    }
}

/// Observations of calls whose own record has not arrived.
#[derive(Debug, Default)]
pub(crate) struct PendingObservations {
    by_call: FastMap<u64, CallObservations>,
    /// Emptied buffers. Allocating and freeing blocks of this size is slow.
    spare: Vec<CallObservations>,
}

impl PendingObservations {
    /// Keeps a page record for the call that it belongs to.
    pub(crate) fn add(&mut self, record: &PageRecord) {
        if self.by_call.len() >= MAX_CALLS {
            // The records of these calls were lost, so their observations are never requested.
            self.by_call.clear();
        }
        let spare = &mut self.spare;
        let observations = self.by_call.entry(record.call_id);
        observations
            .or_insert_with(|| spare.pop().unwrap_or_default())
            .add(record);
    }

    /// Removes and returns the observations of a call.
    pub(crate) fn take(&mut self, call_id: u64) -> CallObservations {
        self.by_call.remove(&call_id).unwrap_or_default()
    }

    /// Returns buffers for reuse.
    pub(crate) fn recycle(&mut self, mut observations: CallObservations) {
        if self.spare.len() < MAX_SPARE && observations.is_allocated() {
            observations.clear();
            self.spare.push(observations);
        }
    }
}
