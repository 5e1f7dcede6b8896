//! Records out of bytes, whatever these are: what is damaged is an error.

use std::boxed::Box;
use std::fmt;
use std::mem::{MaybeUninit, size_of};
use std::vec::Vec;

use crate::{
    Call, ConnectionClosed, DigestEvent, DigestState, EndpointName, HeaderError, IoCounterKey, IoCounters,
    MAPPING_NOT_READ, MAX_RANGES, PageRange, PageRecord, PageRun, PageVec, PipeSnapshot, ProcessEvent, RecordHeader,
    RecordKind, ZerocopyCompletion, completion_flag, completion_source, digest_event_kind, name_flag, page_record_flag,
    process_event_kind, program, station_kind,
};

/// A record of the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A system call.
    Call(Box<Call>),
    /// Pages that were seen somewhere: a [`PageRecord`], or a [`PageRun`] written out. Pieces beyond its count are zero.
    Pages(Box<PageRecord>),
    /// What an end is called.
    Name(Box<EndpointName>),
    /// Something that happened to a process.
    Process(ProcessEvent),
    /// A connection has ended.
    Closed(ConnectionClosed),
    /// Something happened to the sums of a connection.
    Digest(Box<DigestEvent>),
    /// A pipe that was there before.
    PipeSnapshot(Box<PipeSnapshot>),
    /// What the kernel told of a send without copy.
    Zerocopy(Box<ZerocopyCompletion>),
    /// A kind that this version does not know.
    Unknown(RecordHeader),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Its head makes no sense.
    Header(HeaderError),
    /// It is not as long as a record of its kind.
    Size {
        /// What it says it is.
        kind: RecordKind,
        /// Bytes that such a record has.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// It says that it holds more pieces than any record does.
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
            Self::RangeCount(count) => write!(f, "a record says it holds {count} pieces"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Types that any bytes are a value of.
///
/// # Safety
///
/// The type must be made of integers and arrays of them only, without padding.
#[allow(unsafe_code)]
pub unsafe trait Integers: Copy {}
#[allow(unsafe_code)]
// SAFETY: probes-common allows nothing else in its records, see its documentation.
unsafe impl Integers for Call {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for PageRecord {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for PageRun {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for PageVec {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for EndpointName {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for ProcessEvent {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for ConnectionClosed {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for DigestEvent {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for PipeSnapshot {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for ZerocopyCompletion {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for IoCounterKey {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for IoCounters {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for DigestState {}
#[allow(unsafe_code)]
// SAFETY: a number.
unsafe impl Integers for u64 {}

/// Makes these bytes the first of a value; what comes after them stays. `bytes` may be longer than it, too.
#[allow(unsafe_code)]
fn put<T: Integers>(value: &mut T, bytes: &[u8]) {
    let len = bytes.len().min(size_of::<T>());
    // SAFETY: `len` bytes are within both, which do not overlap, for one is borrowed alone; any bytes are a value.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), std::ptr::from_mut(value).cast::<u8>(), len) }
}

/// The bytes of a value, as they lie in memory.
#[allow(unsafe_code)]
pub fn bytes_of<T: Integers>(value: &T) -> &[u8] {
    // SAFETY: a value has no padding, so all its bytes are written; it is borrowed as long as they are.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
}

/// The value whose first bytes these are; the rest of it is zero.
pub fn value_of<T: Integers>(bytes: &[u8]) -> T {
    let mut value = zero();
    put(&mut value, bytes);
    value
}

/// A value of zeroes.
#[allow(unsafe_code)]
fn zero<T: Integers>() -> T {
    // SAFETY: any bytes are a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Takes the value that just these bytes are.
fn copy_exact<'a, T: Integers>(value: &'a mut T, kind: RecordKind, bytes: &[u8]) -> Result<&'a T, DecodeError> {
    let expected = size_of::<T>();
    if bytes.len() != expected {
        let found = bytes.len();
        return Err(DecodeError::Size { kind, expected, found });
    }
    put(value, bytes);
    Ok(value)
}

/// A record that lies in its [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordRef<'a> {
    /// A system call.
    Call(&'a Call),
    /// Pages that were seen somewhere: a [`PageRecord`], or a [`PageRun`] written out. Pieces beyond its count are zero.
    Pages(&'a PageRecord),
    /// What an end is called.
    Name(&'a EndpointName),
    /// Something that happened to a process.
    Process(&'a ProcessEvent),
    /// A connection has ended.
    Closed(&'a ConnectionClosed),
    /// Something happened to the sums of a connection.
    Digest(&'a DigestEvent),
    /// A pipe that was there before.
    PipeSnapshot(&'a PipeSnapshot),
    /// What the kernel told of a send without copy.
    Zerocopy(&'a ZerocopyCompletion),
    /// A kind that this version does not know.
    Unknown(RecordHeader),
}

/// Room for one record of each kind: where many are decoded, none is made anew.
#[derive(Clone, Debug)]
pub struct Decoder {
    room: Box<Buffers>,
}

#[derive(Clone, Debug)]
struct Buffers {
    call: Call,
    station: PageRecord,
    row: PageRun,
    name: EndpointName,
    process: ProcessEvent,
    closed: ConnectionClosed,
    sums: DigestEvent,
    found: PipeSnapshot,
    told: ZerocopyCompletion,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            room: Box::new(Buffers {
                call: zero(),
                station: zero(),
                row: zero(),
                name: zero(),
                process: zero(),
                closed: zero(),
                sums: zero(),
                found: zero(),
                told: zero(),
            }),
        }
    }
}

impl Decoder {
    /// The record at the start of `bytes`, which may go on after it.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says what is wrong with it.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<RecordRef<'_>, DecodeError> {
        let header = RecordHeader::from_bytes(bytes).map_err(DecodeError::Header)?;
        let (kind, bytes) = (header.kind, &bytes[..usize::from(header.len)]);
        let room = &mut *self.room;
        Ok(match kind {
            Call::KIND => RecordRef::Call(copy_exact(&mut room.call, kind, bytes)?),
            EndpointName::KIND => RecordRef::Name(copy_exact(&mut room.name, kind, bytes)?),
            ProcessEvent::KIND => RecordRef::Process(copy_exact(&mut room.process, kind, bytes)?),
            ConnectionClosed::KIND => RecordRef::Closed(copy_exact(&mut room.closed, kind, bytes)?),
            DigestEvent::KIND => RecordRef::Digest(copy_exact(&mut room.sums, kind, bytes)?),
            PipeSnapshot::KIND => RecordRef::PipeSnapshot(copy_exact(&mut room.found, kind, bytes)?),
            ZerocopyCompletion::KIND => RecordRef::Zerocopy(copy_exact(&mut room.told, kind, bytes)?),
            PageRecord::KIND => RecordRef::Pages(station(&mut room.station, bytes)?),
            PageRun::KIND => RecordRef::Pages(row(&mut room.station, &mut room.row, bytes)?),
            _ => RecordRef::Unknown(header),
        })
    }
}

fn station<'a>(room: &'a mut PageRecord, bytes: &[u8]) -> Result<&'a PageRecord, DecodeError> {
    let had = usize::from(room.count);
    put(room, bytes);
    let count = usize::from(room.count);
    let expected = PageRecord::HEAD_SIZE + count * size_of::<PageRange>();
    if count > MAX_RANGES || bytes.len() != expected {
        let damaged = if count > MAX_RANGES {
            DecodeError::RangeCount(room.count)
        } else {
            let (kind, found) = (PageRecord::KIND, bytes.len());
            DecodeError::Size { kind, expected, found }
        };
        *room = zero();
        return Err(damaged);
    }
    // Of the one before.
    room.ranges[count..had.max(count)].fill(PageRange::default());
    Ok(room)
}

/// Writes a row out as a station.
fn row<'a>(room: &'a mut PageRecord, row: &mut PageRun, bytes: &[u8]) -> Result<&'a PageRecord, DecodeError> {
    let had = usize::from(room.count).min(MAX_RANGES);
    put(row, bytes);
    let count = usize::from(row.count);
    let expected = PageRun::HEAD_SIZE + count * size_of::<PageVec>();
    if count > MAX_RANGES {
        return Err(DecodeError::RangeCount(row.count));
    }
    if bytes.len() != expected {
        let (kind, found) = (PageRun::KIND, bytes.len());
        return Err(DecodeError::Size { kind, expected, found });
    }
    put(room, &bytes[..PageRecord::HEAD_SIZE]);
    let &mut PageRun {
        mapping, index, ops, ..
    } = row;
    let told = mapping != MAPPING_NOT_READ;
    let (mut index, ops) = if told { (index, ops) } else { (0, 0) };
    for (piece, extent) in room.ranges[..count].iter_mut().zip(&row.vecs) {
        *piece = PageRange {
            page: extent.page,
            mapping,
            index,
            ops,
            offset: extent.offset,
            len: extent.len,
        };
        index = index.wrapping_add(u64::from(told));
    }
    // Of the one before.
    room.ranges[count..had.max(count)].fill(PageRange::default());
    Ok(room)
}

/// The row that a station was, or could be: `None` if its pieces are not alike.
fn row_of(station: &PageRecord) -> Option<PageRun> {
    let mut row: PageRun = zero();
    put(&mut row, &bytes_of(station)[..PageRecord::HEAD_SIZE]);
    let pieces = &station.ranges[..usize::from(station.count).min(MAX_RANGES)];
    let first = pieces.first().copied().unwrap_or_default();
    let told = first.mapping != MAPPING_NOT_READ;
    (row.mapping, row.index, row.ops) = (first.mapping, first.index, first.ops);
    for ((extent, piece), number) in row.vecs.iter_mut().zip(pieces).zip(0..) {
        let index = if told { first.index.wrapping_add(number) } else { 0 };
        let alike = (first.mapping, index, first.ops) == (piece.mapping, piece.index, piece.ops);
        if !alike || (!told && piece.ops != 0) {
            return None;
        }
        *extent = PageVec {
            page: piece.page,
            len: piece.len,
            offset: piece.offset,
        };
    }
    Some(row)
}

impl RecordRef<'_> {
    /// The head.
    pub fn header(&self) -> &RecordHeader {
        match self {
            Self::Call(call) => &call.header,
            Self::Pages(station) => &station.header,
            Self::Name(name) => &name.header,
            Self::Process(process) => &process.header,
            Self::Closed(closed) => &closed.header,
            Self::Digest(sums) => &sums.header,
            Self::PipeSnapshot(found) => &found.header,
            Self::Zerocopy(told) => &told.header,
            Self::Unknown(header) => header,
        }
    }

    /// Which of [`program`] wrote it, `None` if that cannot be known: sequences are counted by program and CPU.
    pub fn program(&self) -> Option<u32> {
        Some(match self {
            Self::Call(_) => program::SYS_EXIT,
            // What is known of a file by its pages alone has no `struct file`.
            Self::Name(name) if name.endpoint.file == 0 => program::SOCK_SEND_LENGTH,
            Self::Name(name) if name.flags & name_flag::PREEXISTING != 0 => program::TASK_FILE,
            Self::Name(_) => program::SYS_ENTER,
            Self::PipeSnapshot(_) => program::TASK_FILE,
            Self::Zerocopy(told) => match told.source {
                completion_source::IO_URING => program::IO_URING_COMPLETE,
                completion_source::ERROR_QUEUE if told.flags & completion_flag::DROPPED != 0 => program::KFREE_SKB,
                completion_source::ERROR_QUEUE => program::CONSUME_SKB,
                _ => return None,
            },
            Self::Digest(sums) => match sums.event {
                digest_event_kind::SENT => program::SOCK_SEND_LENGTH,
                digest_event_kind::TRANSMITTED => program::SUMS_OF_PACKETS,
                digest_event_kind::CLOSED => program::SUMS_AT_END,
                _ => return None,
            },
            Self::Closed(_) => program::INET_SOCK_SET_STATE,
            Self::Pages(station) => match station.station {
                station_kind::PIPE_SOURCE | station_kind::PIPE_SINK => program::SYS_EXIT,
                station_kind::PIPE_SNAPSHOT => program::TASK_FILE,
                station_kind::PACKET => program::NET_DEV_START_XMIT,
                station_kind::UNIX if station.flags & page_record_flag::DROPPED != 0 => program::KFREE_SKB,
                station_kind::UNIX => program::CONSUME_SKB,
                station_kind::BIO => program::BLOCK_BIO_QUEUE,
                _ => return None,
            },
            Self::Process(process) => match process.event {
                process_event_kind::FORK => program::SCHED_PROCESS_FORK,
                process_event_kind::EXEC => program::SCHED_PROCESS_EXEC,
                process_event_kind::EXIT => program::SCHED_PROCESS_EXIT,
                process_event_kind::ATTACHED => program::TASK_RENAME,
                process_event_kind::PIPE_RESIZED => program::SYS_EXIT,
                _ => return None,
            },
            Self::Unknown(_) => return None,
        })
    }

    /// Adds the record to `into` as the programs write it, with kind and length in its head: a station whose pieces are alike as
    /// a [`PageRun`]. Of a kind that is not known only the head is.
    pub fn write(self, into: &mut Vec<u8>) {
        let start = into.len();
        let mut kind = self.header().kind;
        match self {
            Self::Call(call) => into.extend_from_slice(bytes_of(call)),
            Self::Pages(station) => {
                let count = usize::from(station.count).min(MAX_RANGES);
                if let Some(row) = row_of(station) {
                    kind = PageRun::KIND;
                    into.extend_from_slice(&bytes_of(&row)[..PageRun::HEAD_SIZE + count * size_of::<PageVec>()]);
                } else {
                    kind = PageRecord::KIND;
                    into.extend_from_slice(
                        &bytes_of(station)[..PageRecord::HEAD_SIZE + count * size_of::<PageRange>()],
                    );
                }
            }
            Self::Name(name) => into.extend_from_slice(bytes_of(name)),
            Self::Process(process) => into.extend_from_slice(bytes_of(process)),
            Self::Closed(closed) => into.extend_from_slice(bytes_of(closed)),
            Self::Digest(sums) => into.extend_from_slice(bytes_of(sums)),
            Self::PipeSnapshot(found) => into.extend_from_slice(bytes_of(found)),
            Self::Zerocopy(told) => into.extend_from_slice(bytes_of(told)),
            Self::Unknown(_) => into.resize(start + RecordHeader::SIZE, 0),
        }
        let len = into.len() - start;
        let header = RecordHeader {
            kind,
            len: len as u16,
            ..*self.header()
        };
        into[start..start + RecordHeader::SIZE].copy_from_slice(&header.to_bytes());
    }

    /// The same, kept.
    pub fn to_record(self) -> Record {
        match self {
            Self::Call(call) => Record::Call(Box::new(*call)),
            Self::Pages(station) => Record::Pages(Box::new(*station)),
            Self::Name(name) => Record::Name(Box::new(*name)),
            Self::Process(process) => Record::Process(*process),
            Self::Closed(closed) => Record::Closed(*closed),
            Self::Digest(sums) => Record::Digest(Box::new(*sums)),
            Self::PipeSnapshot(found) => Record::PipeSnapshot(Box::new(*found)),
            Self::Zerocopy(told) => Record::Zerocopy(Box::new(*told)),
            Self::Unknown(header) => Record::Unknown(header),
        }
    }
}

impl Record {
    /// The record at the start of `bytes`, which may go on after it. Where many are decoded, a [`Decoder`] is faster.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        Decoder::default().decode(bytes).map(RecordRef::to_record)
    }

    /// The same, not kept.
    pub fn as_ref(&self) -> RecordRef<'_> {
        match self {
            Self::Call(call) => RecordRef::Call(call),
            Self::Pages(station) => RecordRef::Pages(station),
            Self::Name(name) => RecordRef::Name(name),
            Self::Process(process) => RecordRef::Process(process),
            Self::Closed(closed) => RecordRef::Closed(closed),
            Self::Digest(sums) => RecordRef::Digest(sums),
            Self::PipeSnapshot(found) => RecordRef::PipeSnapshot(found),
            Self::Zerocopy(told) => RecordRef::Zerocopy(told),
            Self::Unknown(header) => RecordRef::Unknown(*header),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn every_length_but_the_right_one_is_damage() {
        for len in 32..1200 {
            for kind in [
                Call::KIND,
                EndpointName::KIND,
                ProcessEvent::KIND,
                ConnectionClosed::KIND,
                DigestEvent::KIND,
                PipeSnapshot::KIND,
                ZerocopyCompletion::KIND,
                PageRecord::KIND,
            ] {
                let right = match kind {
                    Call::KIND => size_of::<Call>(),
                    EndpointName::KIND => size_of::<EndpointName>(),
                    ProcessEvent::KIND => size_of::<ProcessEvent>(),
                    ConnectionClosed::KIND => size_of::<ConnectionClosed>(),
                    DigestEvent::KIND => size_of::<DigestEvent>(),
                    PipeSnapshot::KIND => size_of::<PipeSnapshot>(),
                    ZerocopyCompletion::KIND => size_of::<ZerocopyCompletion>(),
                    _ => PageRecord::HEAD_SIZE,
                };
                assert_eq!(
                    Record::from_bytes(&head(kind, len)).is_ok(),
                    len == right,
                    "{kind:?} {len}"
                );
            }
        }
    }

    #[test]
    fn a_station_ends_after_its_pieces() {
        let count = std::mem::offset_of!(PageRecord, count);
        for pieces in 0..40_u16 {
            let len = PageRecord::HEAD_SIZE + 40 * usize::from(pieces);
            let mut bytes = head(PageRecord::KIND, len);
            bytes[count..count + 2].copy_from_slice(&pieces.to_ne_bytes());
            let read = Record::from_bytes(&bytes);
            if pieces > 18 {
                assert_eq!(read, Err(DecodeError::RangeCount(pieces)));
            } else {
                assert!(matches!(read, Ok(Record::Pages(station)) if station.count == pieces));
            }
        }
    }

    #[test]
    fn a_decoder_leaves_nothing_of_the_record_before() {
        let count = std::mem::offset_of!(PageRecord, count);
        let of = |pieces: u16, fill: u8| {
            let mut bytes = head(PageRecord::KIND, PageRecord::HEAD_SIZE + 40 * usize::from(pieces));
            bytes[count..count + 2].copy_from_slice(&pieces.to_ne_bytes());
            bytes[PageRecord::HEAD_SIZE..].fill(fill);
            bytes
        };
        let mut decoder = Decoder::default();
        let mut damaged = of(18, 0xee);
        damaged[count] = 19;
        for bytes in [
            of(18, 0xff),
            of(2, 1),
            of(5, 2),
            damaged,
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
        /// A station is what it was after it has been written as short as it can be; its head says what it was written as.
        #[test]
        fn what_is_written_is_read(
            count in 0..=MAX_RANGES,
            head in prop::collection::vec(any::<u8>(), PageRecord::HEAD_SIZE),
            alike in any::<bool>(),
            first in (any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()),
            odd in (0..MAX_RANGES, 0..4_u8),
            places in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u32>()), MAX_RANGES),
        ) {
            let mut station: PageRecord = value_of(&head);
            station.header = RecordHeader::from_bytes(&super::tests::head(PageRecord::KIND, 32)).unwrap();
            station.count = count as u16;
            let (mapping, index, ops, untold) = first;
            let (mapping, index, ops) = if untold { (MAPPING_NOT_READ, 0, 0) } else { (mapping, index, ops) };
            for (number, (piece, (page, offset, len))) in station.ranges.iter_mut().zip(places).take(count).enumerate() {
                let index = if untold { 0 } else { index.wrapping_add(number as u64) };
                *piece = PageRange { page, mapping, index, ops, offset, len };
            }
            let other = odd.0 > 0 && odd.0 < count && odd.1 < 3;
            if !alike && other {
                let piece = &mut station.ranges[odd.0];
                match odd.1 {
                    0 => piece.mapping ^= 8,
                    1 => piece.index ^= 1,
                    _ => piece.ops ^= 1,
                }
            }
            let mut bytes = Vec::new();
            RecordRef::Pages(&station).write(&mut bytes);
            let is_row = alike || !other;
            let kind = if is_row { PageRun::KIND } else { PageRecord::KIND };
            let mut decoder = Decoder::default();
            let Ok(RecordRef::Pages(read)) = decoder.decode(&bytes) else { panic!("a station") };
            prop_assert_eq!((read.header.kind, usize::from(read.header.len)), (kind, bytes.len()));
            let header = station.header;
            prop_assert_eq!(PageRecord { header, ..*read }, station);
            // Read again: nothing of the one before is left.
            let again = decoder.decode(&bytes).map(RecordRef::to_record);
            prop_assert_eq!(again, Record::from_bytes(&bytes));
        }

        /// Any bytes are a row or damage, and a row has as many pieces as it says.
        #[test]
        fn any_bytes_are_a_row_or_damage(
            body in prop::collection::vec(any::<u8>(), 0..600),
            says in 0..24_u16,
            fits in any::<bool>(),
        ) {
            let mut bytes = head(PageRun::KIND, 32);
            bytes.extend_from_slice(&body);
            if fits {
                bytes.resize(PageRun::HEAD_SIZE + 16 * usize::from(says), 7);
            }
            let len = bytes.len() as u16;
            bytes[30..32].copy_from_slice(&len.to_ne_bytes());
            let count = std::mem::offset_of!(PageRun, count);
            if let Some(room) = bytes.get_mut(count..count + 2) {
                room.copy_from_slice(&says.to_ne_bytes());
            }
            match Record::from_bytes(&bytes) {
                Ok(Record::Pages(station)) => {
                    prop_assert_eq!(station.count, says);
                    prop_assert_eq!(bytes.len(), PageRun::HEAD_SIZE + 16 * usize::from(says));
                    let rest = &station.ranges[usize::from(says)..];
                    prop_assert!(rest.iter().all(|piece| *piece == PageRange::default()));
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => prop_assert!(!fits || usize::from(says) > MAX_RANGES),
            }
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_left_to_the_reader() {
        let bytes = head(RecordKind(77), 48);
        assert!(matches!(Record::from_bytes(&bytes), Ok(Record::Unknown(header)) if header.kind == RecordKind(77)));
    }
}
