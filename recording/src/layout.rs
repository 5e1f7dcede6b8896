//! Lengths of the records in a recording, and the conversion of records of other versions.
//!
//! Records are stored as the eBPF programs wrote them. Later versions only add fields at the end of
//! a record; in page records and page runs, at the end of the header and of each page range. So a
//! shorter record gets zeros for its missing fields, and a longer one loses its unknown fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zctrace_records::{
    DigestState, FIXED_RECORDS, IoCounterKey, IoCounters, PageRange, PageRecord, PageRun, PageVec, RecordHeader,
    RecordKind,
};

/// Lengths of records and rows in bytes. The JSON of a recording's header has them by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, usize>", into = "BTreeMap<String, usize>")]
pub(super) struct Layout {
    /// Lengths of records of fixed size, in the order of [`FIXED_RECORDS`].
    fixed: [usize; FIXED_RECORDS.len()],
    page_record_head: usize,
    page_range: usize,
    page_run_head: usize,
    page_vec: usize,
    pub(super) io_counter_key: usize,
    pub(super) io_counters: usize,
    pub(super) digest_state: usize,
}

/// Current name and name in format version 1.0 of the lengths that every recording has. The lengths
/// have the same meaning under both names.
const NAMES_IN_1_0: [(&str, &str); 9] = [
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

/// Current name and former name in format version 1.1 of the lengths that version 1.0 does not
/// have.
const NAMES_IN_1_1: [(&str, &str); 4] = [
    ("page_run_head", "row_head"),
    ("page_vec", "extent"),
    ("pipe_snapshot", "found"),
    ("zerocopy_completion", "told"),
];

impl TryFrom<BTreeMap<String, usize>> for Layout {
    type Error = String;

    /// Reads the lengths. A missing length gets its current value if version 1.0 does not have it,
    /// because the recording then contains no such record.
    ///
    /// # Errors
    ///
    /// Fails if a length that version 1.0 has is missing.
    fn try_from(lengths: BTreeMap<String, usize>) -> Result<Self, String> {
        let mut layout = Self::CURRENT;
        for (name, length) in layout.entries() {
            let name_in_1_0 = NAMES_IN_1_0.iter().find(|(new, _)| *new == name);
            let name_in_1_1 = NAMES_IN_1_1.iter().find(|(new, _)| *new == name);
            let recorded = lengths
                .get(name)
                .or_else(|| lengths.get(name_in_1_0.or(name_in_1_1)?.1))
                .copied();
            match recorded {
                Some(recorded) => *length = recorded,
                None if name_in_1_0.is_some() || name == "call" => return Err(format!("no length of `{name}`")),
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
    /// Lengths in this version.
    pub(super) const CURRENT: Self = Self {
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

    /// Returns all lengths with their names.
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

    /// Returns whether records and rows can have these lengths. The length in a record's header has
    /// 16 bits.
    pub(super) fn is_valid(&self) -> bool {
        let element_records = [self.page_range, self.page_vec].map(|element| RecordHeader::SIZE + element);
        let heads = [self.page_record_head, self.page_run_head];
        let mut record_lengths = self.fixed.into_iter().chain(heads).chain(element_records);
        let mut row_lengths = [self.io_counter_key, self.io_counters, self.digest_state].into_iter();
        record_lengths.all(|len| (RecordHeader::SIZE + 1..=usize::from(u16::MAX)).contains(&len))
            && row_lengths.all(|len| (1..=4096).contains(&len))
    }

    /// Converts a record of this layout to the current layout, using `into` as buffer.
    ///
    /// Returns a record of wrong length unchanged, so that its decoder rejects it.
    pub(super) fn translate<'a>(&self, record: &'a [u8], into: &'a mut Vec<u8>) -> &'a [u8] {
        if *self == Self::CURRENT {
            return record;
        }
        let Ok(mut header) = RecordHeader::from_bytes(record) else {
            return record;
        };
        into.clear();
        match header.kind {
            kind @ (PageRecord::KIND | PageRun::KIND) => {
                let lengths = |layout: &Self| match kind {
                    PageRecord::KIND => (layout.page_record_head, layout.page_range),
                    _ => (layout.page_run_head, layout.page_vec),
                };
                let ((recorded_head, recorded_element), (current_head, current_element)) =
                    (lengths(self), lengths(&Self::CURRENT));
                let Some((head, elements)) = record.split_at_checked(recorded_head) else {
                    return record;
                };
                copy_resized(head, current_head, into);
                for element in elements.chunks(recorded_element) {
                    if element.len() < recorded_element {
                        return record;
                    }
                    copy_resized(element, current_element, into);
                }
            }
            kind => {
                let Some((recorded, current)) = self.lengths(kind) else {
                    return record;
                };
                if record.len() != recorded {
                    return record;
                }
                copy_resized(record, current, into);
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
        Some((self.fixed[at], Self::CURRENT.fixed[at]))
    }
}

/// Appends `bytes` to `into`, truncated or extended with zeros to `len` bytes.
fn copy_resized(bytes: &[u8], len: usize, into: &mut Vec<u8>) {
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
    fn short_records_are_zero_filled_and_long_ones_truncated() {
        for (change, kind) in [-8_isize, 8]
            .into_iter()
            .flat_map(|change| FIXED_RECORDS.map(|record| (change, record.kind)))
        {
            let current = Layout::CURRENT;
            let recorded = Layout {
                fixed: current.fixed.map(|len| len.checked_add_signed(change).unwrap()),
                ..current
            };
            let (len, _) = recorded.lengths(kind).unwrap();
            let old = record(kind, len);
            let mut buffer = Vec::new();
            let new = recorded.translate(&old, &mut buffer);
            assert!(Record::from_bytes(new).is_ok(), "{kind:?}");
            let same = len.min(new.len());
            assert_eq!(new[32..same], old[32..same]);
            assert!(new[same..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn lengths_are_read_by_their_names_in_1_0_and_1_1() {
        let current = serde_json::to_value(Layout::CURRENT).unwrap();
        assert_eq!(
            serde_json::from_value::<Layout>(current.clone()).unwrap(),
            Layout::CURRENT
        );
        let mut old = current.clone();
        let lengths = old.as_object_mut().unwrap();
        for (new, old) in NAMES_IN_1_0.iter().chain(&NAMES_IN_1_1) {
            let length = lengths.remove(*new).unwrap();
            lengths.insert((*old).to_owned(), (length.as_u64().unwrap() + 8).into());
        }
        let read: Layout = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(read.page_vec, Layout::CURRENT.page_vec + 8);
        assert_eq!(
            read.lengths(RecordKind(7)).unwrap().0,
            Layout::CURRENT.lengths(RecordKind(7)).unwrap().0 + 8
        );
        // Version 1.0 has no page runs and no pipe snapshots. The lengths that it has are required.
        let lengths = old.as_object_mut().unwrap();
        lengths.remove("extent");
        assert_eq!(
            serde_json::from_value::<Layout>(old.clone()).unwrap().page_vec,
            Layout::CURRENT.page_vec
        );
        for name in ["call", "piece"] {
            let mut without = old.clone();
            without.as_object_mut().unwrap().remove(name);
            assert!(serde_json::from_value::<Layout>(without).is_err());
        }
    }

    #[test]
    fn each_page_range_of_a_page_record_is_resized() {
        let current = Layout::CURRENT;
        let recorded = Layout {
            page_record_head: current.page_record_head + 8,
            page_range: current.page_range - 8,
            ..current
        };
        let count = std::mem::offset_of!(PageRecord, count);
        let mut old = record(PageRecord::KIND, recorded.page_record_head + 3 * recorded.page_range);
        old[count..count + 2].copy_from_slice(&3_u16.to_ne_bytes());
        let mut buffer = Vec::new();
        let new = recorded.translate(&old, &mut buffer);
        let Ok(Record::Pages(pages)) = Record::from_bytes(new) else {
            panic!("a page record")
        };
        assert_eq!(pages.count, 3);
        let page = u64::from_ne_bytes(
            old[recorded.page_record_head + recorded.page_range..][..8]
                .try_into()
                .unwrap(),
        );
        assert_eq!(pages.ranges[1].page, page);
        assert_eq!((pages.ranges[1].offset, pages.ranges[1].len), (0, 0));
    }

    #[test]
    fn each_page_of_a_page_run_is_resized() {
        let current = Layout::CURRENT;
        let recorded = Layout {
            page_run_head: current.page_run_head + 16,
            page_vec: current.page_vec + 8,
            ..current
        };
        let count = std::mem::offset_of!(PageRun, count);
        let mut old = record(PageRun::KIND, recorded.page_run_head + 3 * recorded.page_vec);
        old[count..count + 2].copy_from_slice(&3_u16.to_ne_bytes());
        let mut buffer = Vec::new();
        let Ok(Record::Pages(pages)) = Record::from_bytes(recorded.translate(&old, &mut buffer)) else {
            panic!("a page run")
        };
        assert_eq!(pages.count, 3);
        let page = u64::from_ne_bytes(
            old[recorded.page_run_head + 2 * recorded.page_vec..][..8]
                .try_into()
                .unwrap(),
        );
        assert_eq!(pages.ranges[2].page, page);
    }

    #[test]
    fn records_of_wrong_length_are_returned_unchanged() {
        let with_call = |length| {
            let mut layout = Layout::CURRENT;
            layout.fixed[0] = length;
            layout
        };
        assert_eq!(FIXED_RECORDS[0].kind, Call::KIND);
        let recorded = with_call(100);
        let mut buffer = Vec::new();
        for len in [32, 99, 101, 900] {
            let old = record(Call::KIND, len);
            assert_eq!(recorded.translate(&old, &mut buffer), old);
        }
        assert_eq!(recorded.translate(&[1, 2], &mut buffer), [1, 2]);
        assert!(
            !with_call(32).is_valid()
                && !Layout {
                    page_range: 65_535,
                    ..recorded
                }
                .is_valid()
        );
        assert!(Layout::CURRENT.is_valid());
    }
}
