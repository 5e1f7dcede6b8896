//! Decoding of records from bytes.
//!
//! Any bytes are accepted as input. Damaged ones yield an error, never a panic.

use std::boxed::Box;
use std::fmt;
use std::vec::Vec;

use zerocopy::{FromZeros, IntoBytes};

use crate::{
    HeaderError, MAPPING_NOT_READ, MAX_RANGES, PageRange, PageRecord, PageRun, PageVec, Pod, RecordHeader, RecordKind,
};

/// Reason why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The header is invalid.
    Header(HeaderError),
    /// The length does not fit the kind of record.
    Size {
        /// Kind that the header claims.
        kind: RecordKind,
        /// Length of a record of that kind, in bytes.
        expected: usize,
        /// Length of this record, in bytes.
        found: usize,
    },
    /// The record claims to hold this many page ranges, more than [`MAX_RANGES`].
    RangeCount(u16),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Size { kind, expected, found } => {
                write!(
                    f,
                    "a record of kind {} has {expected} bytes, this one has {found}",
                    kind.0
                )
            }
            Self::RangeCount(count) => write!(f, "a record claims to hold {count} page ranges"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Overwrites the start of a value with `bytes` and keeps the rest of the value.
///
/// Bytes beyond the size of the value are ignored.
fn put<T: Pod>(value: &mut T, bytes: &[u8]) {
    let len = bytes.len().min(size_of::<T>());
    value.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
}

/// Returns the bytes of a value in memory order.
pub fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    value.as_bytes()
}

/// Returns a value that starts with `bytes` and is zero after them.
pub fn value_of<T: Pod>(bytes: &[u8]) -> T {
    let mut value = T::new_zeroed();
    put(&mut value, bytes);
    value
}

/// Copies `bytes` into `value`, or returns an error if their number is not exactly the size of the
/// value.
fn copy_exact<'a, T: Pod>(value: &'a mut T, kind: RecordKind, bytes: &[u8]) -> Result<&'a T, DecodeError> {
    let expected = size_of::<T>();
    if bytes.len() != expected {
        let found = bytes.len();
        return Err(DecodeError::Size { kind, expected, found });
    }
    put(value, bytes);
    Ok(value)
}

/// Defines all items that have one case for each record of a fixed size.
macro_rules! define {
    ($($(#[$doc:meta])* $variant:ident, $name:ident: $type:ident;)*) => {
        /// A decoded record with its own storage.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Record {
            /// Pages that a probe observed at one station: a [`PageRecord`], or a [`PageRun`] in
            /// expanded form. Ranges at and after `count` are zero.
            Pages(Box<PageRecord>),
            $($(#[$doc])* $variant(Box<crate::$type>),)*
            /// A record of a kind that this version cannot decode.
            Unknown(RecordHeader),
        }

        /// A decoded record that borrows from its [`Decoder`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RecordRef<'a> {
            /// Pages that a probe observed at one station: a [`PageRecord`], or a [`PageRun`] in
            /// expanded form. Ranges at and after `count` are zero.
            Pages(&'a PageRecord),
            $($(#[$doc])* $variant(&'a crate::$type),)*
            /// A record of a kind that this version cannot decode.
            Unknown(RecordHeader),
        }

        #[derive(Clone, Debug, FromZeros)]
        struct Buffers {
            pages: PageRecord,
            run: PageRun,
            $($name: crate::$type,)*
        }

        impl Decoder {
            /// Decodes the record at the start of `bytes`, which may be longer than the record.
            ///
            /// # Errors
            ///
            /// Returns a [`DecodeError`] if the record is damaged.
            pub fn decode(&mut self, bytes: &[u8]) -> Result<RecordRef<'_>, DecodeError> {
                let header = RecordHeader::from_bytes(bytes).map_err(DecodeError::Header)?;
                let (kind, bytes) = (header.kind, &bytes[..usize::from(header.len)]);
                let buffers = &mut *self.buffers;
                Ok(match kind {
                    PageRecord::KIND => RecordRef::Pages(decode_page_record(&mut buffers.pages, bytes)?),
                    PageRun::KIND => RecordRef::Pages(expand_page_run(&mut buffers.pages, &mut buffers.run, bytes)?),
                    $(crate::$type::KIND => RecordRef::$variant(copy_exact(&mut buffers.$name, kind, bytes)?),)*
                    _ => RecordRef::Unknown(header),
                })
            }
        }

        impl RecordRef<'_> {
            /// Returns the record header.
            pub fn header(&self) -> &RecordHeader {
                match self {
                    Self::Pages(record) => &record.header,
                    $(Self::$variant(record) => &record.header,)*
                    Self::Unknown(header) => header,
                }
            }

            /// Returns the [`program`](crate::program) that wrote the record, or `None` if it
            /// cannot be determined. Sequence numbers are counted per program and CPU.
            pub fn program(&self) -> Option<u32> {
                match self {
                    Self::Pages(record) => record.program(),
                    $(Self::$variant(record) => record.program(),)*
                    Self::Unknown(_) => None,
                }
            }

            /// Appends the record to `into` in the form that the eBPF programs write, with kind and
            /// length in its header.
            ///
            /// A page record with uniform ranges is written as a [`PageRun`]. For a record of an
            /// unknown kind, only the header is written.
            pub fn write(self, into: &mut Vec<u8>) {
                let start = into.len();
                let mut kind = self.header().kind;
                match self {
                    Self::Pages(record) => kind = write_pages(record, into),
                    $(Self::$variant(record) => into.extend_from_slice(record.as_bytes()),)*
                    Self::Unknown(_) => into.resize(start + RecordHeader::SIZE, 0),
                }
                let len = into.len() - start;
                let header = RecordHeader {
                    kind,
                    len: len as u16,
                    ..*self.header()
                };
                into[start..start + RecordHeader::SIZE].copy_from_slice(header.as_bytes());
            }

            /// Copies the record into its own storage.
            pub fn to_record(self) -> Record {
                match self {
                    Self::Pages(record) => Record::Pages(Box::new(*record)),
                    $(Self::$variant(record) => Record::$variant(Box::new(*record)),)*
                    Self::Unknown(header) => Record::Unknown(header),
                }
            }
        }

        impl Record {
            /// Returns the record as a borrowed value.
            pub fn as_ref(&self) -> RecordRef<'_> {
                match self {
                    Self::Pages(record) => RecordRef::Pages(record),
                    $(Self::$variant(record) => RecordRef::$variant(record),)*
                    Self::Unknown(header) => RecordRef::Unknown(*header),
                }
            }
        }
    };
}
for_each_record!(define);

/// Decoder with one reusable buffer for each kind of record, so that decoding does not allocate.
#[derive(Clone, Debug)]
pub struct Decoder {
    buffers: Box<Buffers>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            buffers: Box::new(Buffers::new_zeroed()),
        }
    }
}

impl Record {
    /// Decodes the record at the start of `bytes`, which may be longer than the record.
    ///
    /// A [`Decoder`] is faster if many records are decoded.
    ///
    /// # Errors
    ///
    /// Returns a [`DecodeError`] if the record is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        Decoder::default().decode(bytes).map(RecordRef::to_record)
    }
}

fn decode_page_record<'a>(record: &'a mut PageRecord, bytes: &[u8]) -> Result<&'a PageRecord, DecodeError> {
    let previous = usize::from(record.count);
    put(record, bytes);
    let count = usize::from(record.count);
    let expected = PageRecord::HEAD_SIZE + count * size_of::<PageRange>();
    if count > MAX_RANGES || bytes.len() != expected {
        let error = if count > MAX_RANGES {
            DecodeError::RangeCount(record.count)
        } else {
            let (kind, found) = (PageRecord::KIND, bytes.len());
            DecodeError::Size { kind, expected, found }
        };
        *record = PageRecord::new_zeroed();
        return Err(error);
    }
    // Ranges of the previous record.
    record.ranges[count..previous.max(count)].fill(PageRange::default());
    Ok(record)
}

/// Decodes a page run and expands it into a page record.
fn expand_page_run<'a>(
    record: &'a mut PageRecord,
    run: &mut PageRun,
    bytes: &[u8],
) -> Result<&'a PageRecord, DecodeError> {
    let previous = usize::from(record.count).min(MAX_RANGES);
    put(run, bytes);
    let count = usize::from(run.count);
    let expected = PageRun::HEAD_SIZE + count * size_of::<PageVec>();
    if count > MAX_RANGES {
        return Err(DecodeError::RangeCount(run.count));
    }
    if bytes.len() != expected {
        let (kind, found) = (PageRun::KIND, bytes.len());
        return Err(DecodeError::Size { kind, expected, found });
    }
    put(record, &bytes[..PageRecord::HEAD_SIZE]);
    let &mut PageRun {
        mapping, index, ops, ..
    } = run;
    let owner_read = mapping != MAPPING_NOT_READ;
    let (mut index, ops) = if owner_read { (index, ops) } else { (0, 0) };
    for (range, vec) in record.ranges[..count].iter_mut().zip(&run.vecs) {
        *range = PageRange {
            page: vec.page,
            mapping,
            index,
            ops,
            offset: vec.offset,
            len: vec.len,
        };
        index = index.wrapping_add(u64::from(owner_read));
    }
    // Ranges of the previous record.
    record.ranges[count..previous.max(count)].fill(PageRange::default());
    Ok(record)
}

/// Returns the page run that is equivalent to a page record, or `None` if the ranges are not
/// uniform.
fn run_of(record: &PageRecord) -> Option<PageRun> {
    let mut run = PageRun::new_zeroed();
    put(&mut run, &record.as_bytes()[..PageRecord::HEAD_SIZE]);
    let ranges = &record.ranges[..usize::from(record.count).min(MAX_RANGES)];
    let first = ranges.first().copied().unwrap_or_default();
    let owner_read = first.mapping != MAPPING_NOT_READ;
    (run.mapping, run.index, run.ops) = (first.mapping, first.index, first.ops);
    for ((vec, range), number) in run.vecs.iter_mut().zip(ranges).zip(0..) {
        let index = if owner_read {
            first.index.wrapping_add(number)
        } else {
            0
        };
        let uniform = (first.mapping, index, first.ops) == (range.mapping, range.index, range.ops);
        if !uniform || (!owner_read && range.ops != 0) {
            return None;
        }
        *vec = PageVec {
            page: range.page,
            len: range.len,
            offset: range.offset,
        };
    }
    Some(run)
}

/// Writes a page record in its shortest form and returns the kind of that form.
fn write_pages(record: &PageRecord, into: &mut Vec<u8>) -> RecordKind {
    let count = usize::from(record.count).min(MAX_RANGES);
    if let Some(run) = run_of(record) {
        into.extend_from_slice(&run.as_bytes()[..PageRun::HEAD_SIZE + count * size_of::<PageVec>()]);
        PageRun::KIND
    } else {
        into.extend_from_slice(&record.as_bytes()[..PageRecord::HEAD_SIZE + count * size_of::<PageRange>()]);
        PageRecord::KIND
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::FIXED_RECORDS;

    fn head(kind: RecordKind, len: usize) -> Vec<u8> {
        let header = RecordHeader {
            sequence: 1,
            timestamp_ns: 2,
            tgid: 3,
            tid: 4,
            cpu: 5,
            kind,
            len: len as u16,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.resize(len, 0);
        bytes
    }

    #[test]
    fn every_wrong_length_is_rejected() {
        let pages = (PageRecord::KIND, PageRecord::HEAD_SIZE);
        for len in 32..1200 {
            for (kind, right) in FIXED_RECORDS
                .map(|record| (record.kind, record.size))
                .into_iter()
                .chain([pages])
            {
                assert_eq!(
                    Record::from_bytes(&head(kind, len)).is_ok(),
                    len == right,
                    "{kind:?} {len}"
                );
            }
        }
    }

    #[test]
    fn page_record_ends_after_its_ranges() {
        let count = std::mem::offset_of!(PageRecord, count);
        for range_count in 0..40_u16 {
            let len = PageRecord::HEAD_SIZE + 40 * usize::from(range_count);
            let mut bytes = head(PageRecord::KIND, len);
            bytes[count..count + 2].copy_from_slice(&range_count.to_ne_bytes());
            let read = Record::from_bytes(&bytes);
            if range_count > 18 {
                assert_eq!(read, Err(DecodeError::RangeCount(range_count)));
            } else {
                assert!(matches!(read, Ok(Record::Pages(record)) if record.count == range_count));
            }
        }
    }

    #[test]
    fn decoder_keeps_nothing_of_the_previous_record() {
        let count = std::mem::offset_of!(PageRecord, count);
        let of = |range_count: u16, fill: u8| {
            let mut bytes = head(PageRecord::KIND, PageRecord::HEAD_SIZE + 40 * usize::from(range_count));
            bytes[count..count + 2].copy_from_slice(&range_count.to_ne_bytes());
            bytes[PageRecord::HEAD_SIZE..].fill(fill);
            bytes
        };
        let mut decoder = Decoder::default();
        let mut invalid = of(18, 0xee);
        invalid[count] = 19;
        for bytes in [
            of(18, 0xff),
            of(2, 1),
            of(5, 2),
            invalid,
            of(0, 0),
            of(17, 3),
            of(16, 4),
        ] {
            let once = Record::from_bytes(&bytes);
            let again = decoder.decode(&bytes).map(RecordRef::to_record);
            assert_eq!(once, again);
        }
    }

    proptest! {
        /// A page record survives writing in its shortest form and decoding. Its decoded header has
        /// the kind of that form.
        #[test]
        fn written_page_records_are_read_back(
            count in 0..=MAX_RANGES,
            head in prop::collection::vec(any::<u8>(), PageRecord::HEAD_SIZE),
            uniform in any::<bool>(),
            first in (any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()),
            odd in (0..MAX_RANGES, 0..4_u8),
            vecs in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u32>()), MAX_RANGES),
        ) {
            let mut record: PageRecord = value_of(&head);
            record.header = RecordHeader::from_bytes(&super::tests::head(PageRecord::KIND, 32)).unwrap();
            record.count = count as u16;
            let (mapping, index, ops, not_read) = first;
            let (mapping, index, ops) = if not_read { (MAPPING_NOT_READ, 0, 0) } else { (mapping, index, ops) };
            for (number, (range, (page, offset, len))) in record.ranges.iter_mut().zip(vecs).take(count).enumerate() {
                let index = if not_read { 0 } else { index.wrapping_add(number as u64) };
                *range = PageRange { page, mapping, index, ops, offset, len };
            }
            let other = odd.0 > 0 && odd.0 < count && odd.1 < 3;
            if !uniform && other {
                let range = &mut record.ranges[odd.0];
                match odd.1 {
                    0 => range.mapping ^= 8,
                    1 => range.index ^= 1,
                    _ => range.ops ^= 1,
                }
            }
            let mut bytes = Vec::new();
            RecordRef::Pages(&record).write(&mut bytes);
            let is_run = uniform || !other;
            let kind = if is_run { PageRun::KIND } else { PageRecord::KIND };
            let mut decoder = Decoder::default();
            let Ok(RecordRef::Pages(read)) = decoder.decode(&bytes) else { panic!("not a page record") };
            prop_assert_eq!((read.header.kind, usize::from(read.header.len)), (kind, bytes.len()));
            let header = record.header;
            prop_assert_eq!(PageRecord { header, ..*read }, record);
            // Decoding again shows that nothing of the previous record is left.
            let again = decoder.decode(&bytes).map(RecordRef::to_record);
            prop_assert_eq!(again, Record::from_bytes(&bytes));
        }

        /// Any bytes are a page run or an error, and a page run has the number of ranges that it
        /// claims.
        #[test]
        fn any_bytes_are_a_page_run_or_an_error(
            body in prop::collection::vec(any::<u8>(), 0..600),
            claimed in 0..24_u16,
            fits in any::<bool>(),
        ) {
            let mut bytes = head(PageRun::KIND, 32);
            bytes.extend_from_slice(&body);
            if fits {
                bytes.resize(PageRun::HEAD_SIZE + 16 * usize::from(claimed), 7);
            }
            let len = bytes.len() as u16;
            bytes[30..32].copy_from_slice(&len.to_ne_bytes());
            let count = std::mem::offset_of!(PageRun, count);
            if let Some(field) = bytes.get_mut(count..count + 2) {
                field.copy_from_slice(&claimed.to_ne_bytes());
            }
            match Record::from_bytes(&bytes) {
                Ok(Record::Pages(record)) => {
                    prop_assert_eq!(record.count, claimed);
                    prop_assert_eq!(bytes.len(), PageRun::HEAD_SIZE + 16 * usize::from(claimed));
                    let rest = &record.ranges[usize::from(claimed)..];
                    prop_assert!(rest.iter().all(|range| *range == PageRange::default()));
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => prop_assert!(!fits || usize::from(claimed) > MAX_RANGES),
            }
        }
    }

    #[test]
    fn unknown_kind_is_returned_as_its_header() {
        let bytes = head(RecordKind(77), 48);
        assert!(matches!(Record::from_bytes(&bytes), Ok(Record::Unknown(header)) if header.kind == RecordKind(77)));
    }
}
