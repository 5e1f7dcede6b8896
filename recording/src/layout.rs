//! How long the records are that a recording holds, and how records of another version become ours.
//!
//! Records are kept as the kernel's programs wrote them. Fields are only ever added to them, at the end: of a station or a row at the
//! end of its head and of each piece. So a shorter record is one whose new fields are zero, and of a longer one the end is
//! not known here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zctrace_records::{
    DigestState, FIXED_RECORDS, IoCounterKey, IoCounters, PageRange, PageRecord, PageRun, PageVec, RecordHeader,
    RecordKind,
};

/// Lengths in bytes, in the JSON of a recording's head by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, usize>", into = "BTreeMap<String, usize>")]
pub(super) struct Layout {
    /// Records of a fixed size, in the order of [`FIXED_RECORDS`].
    fixed: [usize; FIXED_RECORDS.len()],
    page_record_head: usize,
    page_range: usize,
    page_run_head: usize,
    page_vec: usize,
    pub(super) io_counter_key: usize,
    pub(super) io_counters: usize,
    pub(super) digest_state: usize,
}

/// Names of version 1.0 for lengths that every recording has. They were used until the records had the names that they
/// have now; the lengths mean the same.
const OLD_NAMES: [(&str, &str); 9] = [
    ("page_record_head", "station_head"),
    ("page_range", "piece"),
    ("endpoint_name", "name"),
    ("process_event", "process"),
    ("connection_closed", "closed"),
    ("digest_event", "sums"),
    ("io_counter_key", "plain_key"),
    ("io_counters", "plain_sum"),
    ("digest_state", "sum_row"),
];

/// Names of version 1.1, likewise, for lengths that recordings of version 1.0 do not have.
const OLD_NAMES_OF_NEWER: [(&str, &str); 4] = [
    ("page_run_head", "row_head"),
    ("page_vec", "extent"),
    ("pipe_snapshot", "found"),
    ("zerocopy_completion", "told"),
];

impl TryFrom<BTreeMap<String, usize>> for Layout {
    type Error = String;

    /// A length that is missing is ours if version 1.0 did not have it: no such record is in the recording.
    fn try_from(lengths: BTreeMap<String, usize>) -> Result<Self, String> {
        let mut layout = Self::OURS;
        for (name, length) in layout.entries() {
            let old = OLD_NAMES.iter().find(|(new, _)| *new == name);
            let of_newer = OLD_NAMES_OF_NEWER.iter().find(|(new, _)| *new == name);
            let theirs = lengths.get(name).or_else(|| lengths.get(old.or(of_newer)?.1)).copied();
            match theirs {
                Some(theirs) => *length = theirs,
                None if old.is_some() || name == "call" => return Err(format!("no length of `{name}`")),
                None => {}
            }
        }
        Ok(layout)
    }
}

impl From<Layout> for BTreeMap<String, usize> {
    fn from(mut layout: Layout) -> Self {
        let entries = layout.entries().into_iter();
        entries.map(|(name, length)| (name.to_owned(), *length)).collect()
    }
}

impl Layout {
    /// This version's.
    pub(super) const OURS: Self = Self {
        fixed: {
            let mut sizes = [0; FIXED_RECORDS.len()];
            let mut index = 0;
            while index < sizes.len() {
                sizes[index] = FIXED_RECORDS[index].size;
                index += 1;
            }
            sizes
        },
        page_record_head: PageRecord::HEAD_SIZE,
        page_range: size_of::<PageRange>(),
        page_run_head: PageRun::HEAD_SIZE,
        page_vec: size_of::<PageVec>(),
        io_counter_key: size_of::<IoCounterKey>(),
        io_counters: size_of::<IoCounters>(),
        digest_state: size_of::<DigestState>(),
    };

    /// All lengths with their names.
    fn entries(&mut self) -> Vec<(&'static str, &mut usize)> {
        let fixed = FIXED_RECORDS.iter().zip(&mut self.fixed);
        fixed
            .map(|(record, length)| (record.name, length))
            .chain([
                ("page_record_head", &mut self.page_record_head),
                ("page_range", &mut self.page_range),
                ("page_run_head", &mut self.page_run_head),
                ("page_vec", &mut self.page_vec),
                ("io_counter_key", &mut self.io_counter_key),
                ("io_counters", &mut self.io_counters),
                ("digest_state", &mut self.digest_state),
            ])
            .collect()
    }

    /// Whether records can be of such lengths: a record's own length has 16 bits.
    pub(super) fn is_possible(&self) -> bool {
        let of_elements = [self.page_range, self.page_vec].map(|element| RecordHeader::SIZE + element);
        let heads = [self.page_record_head, self.page_run_head];
        let mut of_records = self.fixed.into_iter().chain(heads).chain(of_elements);
        let mut of_rows = [self.io_counter_key, self.io_counters, self.digest_state].into_iter();
        of_records.all(|len| (RecordHeader::SIZE + 1..=usize::from(u16::MAX)).contains(&len))
            && of_rows.all(|len| (1..=4096).contains(&len))
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
        let at = FIXED_RECORDS.iter().position(|record| record.kind == kind)?;
        Some((self.fixed[at], Self::OURS.fixed[at]))
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
    use zctrace_records::Call;
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
        for (change, kind) in [-8_isize, 8]
            .into_iter()
            .flat_map(|change| FIXED_RECORDS.map(|record| (change, record.kind)))
        {
            let ours = Layout::OURS;
            let theirs = Layout {
                fixed: ours.fixed.map(|len| len.checked_add_signed(change).unwrap()),
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
    fn names_of_older_recordings_are_understood() {
        let ours = serde_json::to_value(Layout::OURS).unwrap();
        assert_eq!(serde_json::from_value::<Layout>(ours.clone()).unwrap(), Layout::OURS);
        let mut old = ours.clone();
        let lengths = old.as_object_mut().unwrap();
        for (new, old) in OLD_NAMES.iter().chain(&OLD_NAMES_OF_NEWER) {
            let length = lengths.remove(*new).unwrap();
            lengths.insert((*old).to_owned(), (length.as_u64().unwrap() + 8).into());
        }
        let read: Layout = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(read.page_vec, Layout::OURS.page_vec + 8);
        assert_eq!(
            read.lengths(RecordKind(7)).unwrap().0,
            Layout::OURS.lengths(RecordKind(7)).unwrap().0 + 8
        );
        // Version 1.0 had no page runs and no snapshots; what it had must be there.
        let lengths = old.as_object_mut().unwrap();
        lengths.remove("extent");
        assert_eq!(
            serde_json::from_value::<Layout>(old.clone()).unwrap().page_vec,
            Layout::OURS.page_vec
        );
        for name in ["call", "piece"] {
            let mut without = old.clone();
            without.as_object_mut().unwrap().remove(name);
            assert!(serde_json::from_value::<Layout>(without).is_err());
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
        let with_call = |length| {
            let mut layout = Layout::OURS;
            layout.fixed[0] = length;
            layout
        };
        assert_eq!(FIXED_RECORDS[0].kind, Call::KIND);
        let theirs = with_call(100);
        let mut room = Vec::new();
        for len in [32, 99, 101, 900] {
            let old = record(Call::KIND, len);
            assert_eq!(theirs.translate(&old, &mut room), old);
        }
        assert_eq!(theirs.translate(&[1, 2], &mut room), [1, 2]);
        assert!(
            !with_call(32).is_possible()
                && !Layout {
                    page_range: 65_535,
                    ..theirs
                }
                .is_possible()
        );
        assert!(Layout::OURS.is_possible());
    }
}
