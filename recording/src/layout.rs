//! How long the records are that a recording holds, and how records of another version become ours.
//!
//! Records are kept as the kernel's programs wrote them. Fields are only ever added to them, at the end: of a station or a row at the
//! end of its head and of each piece. So a shorter record is one whose new fields are zero, and of a longer one the end is
//! not known here.

use serde::{Deserialize, Serialize};
use zctrace_records::{
    Call, ConnectionClosed, DigestEvent, DigestState, EndpointName, IoCounterKey, IoCounters, PageRange, PageRecord,
    PageRun, PageVec, PipeSnapshot, ProcessEvent, RecordHeader, RecordKind, ZerocopyCompletion,
};

/// Bytes of each kind, in the JSON of a recording's head.
///
/// A member is named after its record. Recordings made before the records had these names use the older ones, which are
/// read as aliases: the lengths mean the same, and so a recording of version 1.0 stays readable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Layout {
    call: usize,
    #[serde(alias = "station_head")]
    page_record_head: usize,
    #[serde(alias = "piece")]
    page_range: usize,
    /// Recordings of version 1.0 have no page runs, pipe snapshots and zero-copy completions.
    #[serde(alias = "row_head", default = "page_run_head")]
    page_run_head: usize,
    #[serde(alias = "extent", default = "page_vec")]
    page_vec: usize,
    #[serde(alias = "name")]
    endpoint_name: usize,
    #[serde(alias = "process")]
    process_event: usize,
    #[serde(alias = "closed")]
    connection_closed: usize,
    #[serde(alias = "sums")]
    digest_event: usize,
    #[serde(alias = "found", default = "pipe_snapshot")]
    pipe_snapshot: usize,
    #[serde(alias = "told", default = "zerocopy_completion")]
    zerocopy_completion: usize,
    #[serde(alias = "plain_key")]
    pub(super) io_counter_key: usize,
    #[serde(alias = "plain_sum")]
    pub(super) io_counters: usize,
    #[serde(alias = "sum_row")]
    pub(super) digest_state: usize,
}

fn page_run_head() -> usize {
    PageRun::HEAD_SIZE
}

fn page_vec() -> usize {
    size_of::<PageVec>()
}

fn pipe_snapshot() -> usize {
    size_of::<PipeSnapshot>()
}

fn zerocopy_completion() -> usize {
    size_of::<ZerocopyCompletion>()
}

impl Layout {
    /// This version's.
    pub(super) const OURS: Self = Self {
        call: size_of::<Call>(),
        page_record_head: PageRecord::HEAD_SIZE,
        page_range: size_of::<PageRange>(),
        page_run_head: PageRun::HEAD_SIZE,
        page_vec: size_of::<PageVec>(),
        endpoint_name: size_of::<EndpointName>(),
        process_event: size_of::<ProcessEvent>(),
        connection_closed: size_of::<ConnectionClosed>(),
        io_counter_key: size_of::<IoCounterKey>(),
        io_counters: size_of::<IoCounters>(),
        digest_state: size_of::<DigestState>(),
        digest_event: size_of::<DigestEvent>(),
        pipe_snapshot: size_of::<PipeSnapshot>(),
        zerocopy_completion: size_of::<ZerocopyCompletion>(),
    };

    /// Whether records can be of such lengths: a record's own length has 16 bits.
    pub(super) fn is_possible(&self) -> bool {
        let lengths = [
            self.call,
            self.page_record_head,
            self.page_run_head,
            self.endpoint_name,
            self.process_event,
            self.connection_closed,
            self.digest_event,
            self.pipe_snapshot,
            self.zerocopy_completion,
            RecordHeader::SIZE + self.page_range,
            RecordHeader::SIZE + self.page_vec,
        ];
        lengths
            .iter()
            .all(|len| (RecordHeader::SIZE + 1..=usize::from(u16::MAX)).contains(len))
            && [self.io_counter_key, self.io_counters, self.digest_state]
                .iter()
                .all(|len| (1..=4096).contains(len))
    }

    /// Makes a record of this layout one of ours, in `into`. One that is not as long as it should be stays as it is: who
    /// decodes it finds it damaged.
    pub(super) fn translate<'a>(&self, record: &'a [u8], into: &'a mut Vec<u8>) -> &'a [u8] {
        if *self == Self::OURS {
            return record;
        }
        let Ok(mut header) = RecordHeader::from_bytes(record) else {
            return record;
        };
        into.clear();
        match header.kind {
            kind @ (PageRecord::KIND | PageRun::KIND) => {
                let of = |layout: &Self| match kind {
                    PageRecord::KIND => (layout.page_record_head, layout.page_range),
                    _ => (layout.page_run_head, layout.page_vec),
                };
                let ((their_head, their_piece), (our_head, our_piece)) = (of(self), of(&Self::OURS));
                let Some((head, pieces)) = record.split_at_checked(their_head) else {
                    return record;
                };
                fit(head, our_head, into);
                for piece in pieces.chunks(their_piece) {
                    if piece.len() < their_piece {
                        return record;
                    }
                    fit(piece, our_piece, into);
                }
            }
            kind => {
                let Some((theirs, ours)) = self.lengths(kind) else {
                    return record;
                };
                if record.len() != theirs {
                    return record;
                }
                fit(record, ours, into);
            }
        }
        let Ok(len) = u16::try_from(into.len()) else {
            return record;
        };
        header.len = len;
        into[..RecordHeader::SIZE].copy_from_slice(&header.to_bytes());
        into
    }

    fn lengths(&self, kind: RecordKind) -> Option<(usize, usize)> {
        let ours = Self::OURS;
        Some(match kind {
            Call::KIND => (self.call, ours.call),
            EndpointName::KIND => (self.endpoint_name, ours.endpoint_name),
            ProcessEvent::KIND => (self.process_event, ours.process_event),
            ConnectionClosed::KIND => (self.connection_closed, ours.connection_closed),
            DigestEvent::KIND => (self.digest_event, ours.digest_event),
            PipeSnapshot::KIND => (self.pipe_snapshot, ours.pipe_snapshot),
            ZerocopyCompletion::KIND => (self.zerocopy_completion, ours.zerocopy_completion),
            _ => return None,
        })
    }
}

/// Adds the first `len` bytes, with zeroes for those that are missing.
fn fit(bytes: &[u8], len: usize, into: &mut Vec<u8>) {
    let end = into.len() + len;
    into.extend_from_slice(&bytes[..bytes.len().min(len)]);
    into.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use zctrace_records::decode::Record;

    fn record(kind: RecordKind, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mut header = RecordHeader::from_bytes(&{
            let mut head = [0; 32];
            head[28] = 1;
            head[30] = 32;
            head
        })
        .unwrap();
        (header.kind, header.len) = (kind, len as u16);
        bytes[..32].copy_from_slice(&header.to_bytes());
        bytes
    }

    #[test]
    fn shorter_records_get_zeroes_and_longer_ones_lose_their_end() {
        let kinds = [
            Call::KIND,
            EndpointName::KIND,
            ProcessEvent::KIND,
            ConnectionClosed::KIND,
            DigestEvent::KIND,
        ];
        for (change, kind) in [-8_isize, 8]
            .into_iter()
            .flat_map(|change| kinds.map(|kind| (change, kind)))
        {
            let other = |len: usize| len.checked_add_signed(change).unwrap();
            let ours = Layout::OURS;
            let theirs = Layout {
                call: other(ours.call),
                endpoint_name: other(ours.endpoint_name),
                process_event: other(ours.process_event),
                connection_closed: other(ours.connection_closed),
                digest_event: other(ours.digest_event),
                ..ours
            };
            let (len, _) = theirs.lengths(kind).unwrap();
            let old = record(kind, len);
            let mut room = Vec::new();
            let new = theirs.translate(&old, &mut room);
            assert!(Record::from_bytes(new).is_ok(), "{kind:?}");
            let same = len.min(new.len());
            assert_eq!(new[32..same], old[32..same]);
            assert!(new[same..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn pieces_of_a_station_are_fitted_one_by_one() {
        let ours = Layout::OURS;
        let theirs = Layout {
            page_record_head: ours.page_record_head + 8,
            page_range: ours.page_range - 8,
            ..ours
        };
        let count = std::mem::offset_of!(PageRecord, count);
        let mut old = record(PageRecord::KIND, theirs.page_record_head + 3 * theirs.page_range);
        old[count..count + 2].copy_from_slice(&3_u16.to_ne_bytes());
        let mut room = Vec::new();
        let new = theirs.translate(&old, &mut room);
        let Ok(Record::Pages(station)) = Record::from_bytes(new) else {
            panic!("a station")
        };
        assert_eq!(station.count, 3);
        let page = u64::from_ne_bytes(
            old[theirs.page_record_head + theirs.page_range..][..8]
                .try_into()
                .unwrap(),
        );
        assert_eq!(station.ranges[1].page, page);
        assert_eq!((station.ranges[1].offset, station.ranges[1].len), (0, 0));
    }

    #[test]
    fn rows_are_fitted_as_stations_are() {
        let ours = Layout::OURS;
        let theirs = Layout {
            page_run_head: ours.page_run_head + 16,
            page_vec: ours.page_vec + 8,
            ..ours
        };
        let count = std::mem::offset_of!(PageRun, count);
        let mut old = record(PageRun::KIND, theirs.page_run_head + 3 * theirs.page_vec);
        old[count..count + 2].copy_from_slice(&3_u16.to_ne_bytes());
        let mut room = Vec::new();
        let Ok(Record::Pages(station)) = Record::from_bytes(theirs.translate(&old, &mut room)) else {
            panic!("a row")
        };
        assert_eq!(station.count, 3);
        let page = u64::from_ne_bytes(
            old[theirs.page_run_head + 2 * theirs.page_vec..][..8]
                .try_into()
                .unwrap(),
        );
        assert_eq!(station.ranges[2].page, page);
    }

    #[test]
    fn what_is_not_as_long_as_it_says_stays_damaged() {
        let theirs = Layout {
            call: 100,
            ..Layout::OURS
        };
        let mut room = Vec::new();
        for len in [32, 99, 101, 900] {
            let old = record(Call::KIND, len);
            assert_eq!(theirs.translate(&old, &mut room), old);
        }
        assert_eq!(theirs.translate(&[1, 2], &mut room), [1, 2]);
        assert!(
            !Layout { call: 32, ..theirs }.is_possible()
                && !Layout {
                    page_range: 65_535,
                    ..theirs
                }
                .is_possible()
        );
        assert!(Layout::OURS.is_possible());
    }
}
