//! Records out of bytes, whatever these are: what is damaged is an error.

use std::boxed::Box;
use std::fmt;
use std::mem::{MaybeUninit, size_of};
use std::vec::Vec;

use crate::{
    Call, Closed, Extent, Found, HeaderError, Name, PIECES, Piece, PlainKey, PlainSum, Process, RecordHeader,
    RecordKind, Row, Station, SumRow, Sums, Told, UNTOLD, event, name_flag, program, station_flag, station_kind,
    sum_event, told_by, told_flag,
};

/// A record of the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A system call.
    Call(Box<Call>),
    /// Pages that were seen somewhere: a [`Station`], or a [`Row`] written out. Pieces beyond its count are zero.
    Station(Box<Station>),
    /// What an end is called.
    Name(Box<Name>),
    /// Something that happened to a process.
    Process(Process),
    /// A connection has ended.
    Closed(Closed),
    /// Something happened to the sums of a connection.
    Sums(Box<Sums>),
    /// A pipe that was there before.
    Found(Box<Found>),
    /// What the kernel told of a send without copy.
    Told(Box<Told>),
    /// A kind that this version does not know.
    Unknown(RecordHeader),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
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
    Pieces(u16),
}

impl fmt::Display for Damaged {
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
            Self::Pieces(count) => write!(f, "a record says it holds {count} pieces"),
        }
    }
}

impl std::error::Error for Damaged {}

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
unsafe impl Integers for Station {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for Row {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for Extent {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for Name {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for Process {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for Closed {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for Sums {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for Found {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for Told {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for PlainKey {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for PlainSum {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Integers for SumRow {}
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
fn exactly<'a, T: Integers>(value: &'a mut T, kind: RecordKind, bytes: &[u8]) -> Result<&'a T, Damaged> {
    let expected = size_of::<T>();
    if bytes.len() != expected {
        let found = bytes.len();
        return Err(Damaged::Size { kind, expected, found });
    }
    put(value, bytes);
    Ok(value)
}

/// A record that lies in its [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordRef<'a> {
    /// A system call.
    Call(&'a Call),
    /// Pages that were seen somewhere: a [`Station`], or a [`Row`] written out. Pieces beyond its count are zero.
    Station(&'a Station),
    /// What an end is called.
    Name(&'a Name),
    /// Something that happened to a process.
    Process(&'a Process),
    /// A connection has ended.
    Closed(&'a Closed),
    /// Something happened to the sums of a connection.
    Sums(&'a Sums),
    /// A pipe that was there before.
    Found(&'a Found),
    /// What the kernel told of a send without copy.
    Told(&'a Told),
    /// A kind that this version does not know.
    Unknown(RecordHeader),
}

/// Room for one record of each kind: where many are decoded, none is made anew.
#[derive(Clone, Debug)]
pub struct Decoder {
    room: Box<Room>,
}

#[derive(Clone, Debug)]
struct Room {
    call: Call,
    station: Station,
    row: Row,
    name: Name,
    process: Process,
    closed: Closed,
    sums: Sums,
    found: Found,
    told: Told,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            room: Box::new(Room {
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
    /// [`Damaged`] says what is wrong with it.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<RecordRef<'_>, Damaged> {
        let header = RecordHeader::from_bytes(bytes).map_err(Damaged::Header)?;
        let (kind, bytes) = (header.kind, &bytes[..usize::from(header.len)]);
        let room = &mut *self.room;
        Ok(match kind {
            Call::KIND => RecordRef::Call(exactly(&mut room.call, kind, bytes)?),
            Name::KIND => RecordRef::Name(exactly(&mut room.name, kind, bytes)?),
            Process::KIND => RecordRef::Process(exactly(&mut room.process, kind, bytes)?),
            Closed::KIND => RecordRef::Closed(exactly(&mut room.closed, kind, bytes)?),
            Sums::KIND => RecordRef::Sums(exactly(&mut room.sums, kind, bytes)?),
            Found::KIND => RecordRef::Found(exactly(&mut room.found, kind, bytes)?),
            Told::KIND => RecordRef::Told(exactly(&mut room.told, kind, bytes)?),
            Station::KIND => RecordRef::Station(station(&mut room.station, bytes)?),
            Row::KIND => RecordRef::Station(row(&mut room.station, &mut room.row, bytes)?),
            _ => RecordRef::Unknown(header),
        })
    }
}

fn station<'a>(room: &'a mut Station, bytes: &[u8]) -> Result<&'a Station, Damaged> {
    let had = usize::from(room.count);
    put(room, bytes);
    let count = usize::from(room.count);
    let expected = Station::HEAD + count * size_of::<Piece>();
    if count > PIECES || bytes.len() != expected {
        let damaged = if count > PIECES {
            Damaged::Pieces(room.count)
        } else {
            let (kind, found) = (Station::KIND, bytes.len());
            Damaged::Size { kind, expected, found }
        };
        *room = zero();
        return Err(damaged);
    }
    // Of the one before.
    room.pieces[count..had.max(count)].fill(Piece::default());
    Ok(room)
}

/// Writes a row out as a station.
fn row<'a>(room: &'a mut Station, row: &mut Row, bytes: &[u8]) -> Result<&'a Station, Damaged> {
    let had = usize::from(room.count).min(PIECES);
    put(row, bytes);
    let count = usize::from(row.count);
    let expected = Row::HEAD + count * size_of::<Extent>();
    if count > PIECES {
        return Err(Damaged::Pieces(row.count));
    }
    if bytes.len() != expected {
        let (kind, found) = (Row::KIND, bytes.len());
        return Err(Damaged::Size { kind, expected, found });
    }
    put(room, &bytes[..Station::HEAD]);
    let &mut Row {
        mapping, index, ops, ..
    } = row;
    let told = mapping != UNTOLD;
    let (mut index, ops) = if told { (index, ops) } else { (0, 0) };
    for (piece, extent) in room.pieces[..count].iter_mut().zip(&row.extents) {
        *piece = Piece {
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
    room.pieces[count..had.max(count)].fill(Piece::default());
    Ok(room)
}

/// The row that a station was, or could be: `None` if its pieces are not alike.
fn row_of(station: &Station) -> Option<Row> {
    let mut row: Row = zero();
    put(&mut row, &bytes_of(station)[..Station::HEAD]);
    let pieces = &station.pieces[..usize::from(station.count).min(PIECES)];
    let first = pieces.first().copied().unwrap_or_default();
    let told = first.mapping != UNTOLD;
    (row.mapping, row.index, row.ops) = (first.mapping, first.index, first.ops);
    for ((extent, piece), number) in row.extents.iter_mut().zip(pieces).zip(0..) {
        let index = if told { first.index.wrapping_add(number) } else { 0 };
        let alike = (first.mapping, index, first.ops) == (piece.mapping, piece.index, piece.ops);
        if !alike || (!told && piece.ops != 0) {
            return None;
        }
        *extent = Extent {
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
            Self::Station(station) => &station.header,
            Self::Name(name) => &name.header,
            Self::Process(process) => &process.header,
            Self::Closed(closed) => &closed.header,
            Self::Sums(sums) => &sums.header,
            Self::Found(found) => &found.header,
            Self::Told(told) => &told.header,
            Self::Unknown(header) => header,
        }
    }

    /// Which of [`program`] wrote it, `None` if that cannot be known: sequences are counted by program and CPU.
    pub fn program(&self) -> Option<u32> {
        Some(match self {
            Self::Call(_) => program::SYS_EXIT,
            // What is known of a file by its pages alone has no `struct file`.
            Self::Name(name) if name.end.file == 0 => program::SOCK_SEND_LENGTH,
            Self::Name(name) if name.flags & name_flag::FOUND != 0 => program::TASK_FILE,
            Self::Name(_) => program::SYS_ENTER,
            Self::Found(_) => program::TASK_FILE,
            Self::Told(told) => match told.by {
                told_by::IO_URING => program::IO_URING_COMPLETE,
                told_by::ERROR_QUEUE if told.flags & told_flag::DROPPED != 0 => program::KFREE_SKB,
                told_by::ERROR_QUEUE => program::CONSUME_SKB,
                _ => return None,
            },
            Self::Sums(sums) => match sums.event {
                sum_event::HANDED => program::SOCK_SEND_LENGTH,
                sum_event::CARRIED => program::SUMS_OF_PACKETS,
                sum_event::CLOSED => program::SUMS_AT_END,
                _ => return None,
            },
            Self::Closed(_) => program::INET_SOCK_SET_STATE,
            Self::Station(station) => match station.station {
                station_kind::PIPE_SOURCE | station_kind::PIPE_SINK => program::SYS_EXIT,
                station_kind::PIPE_FOUND => program::TASK_FILE,
                station_kind::PACKET => program::NET_DEV_START_XMIT,
                station_kind::UNIX if station.flags & station_flag::DROPPED != 0 => program::KFREE_SKB,
                station_kind::UNIX => program::CONSUME_SKB,
                station_kind::BIO => program::BLOCK_BIO_QUEUE,
                _ => return None,
            },
            Self::Process(process) => match process.event {
                event::FORK => program::SCHED_PROCESS_FORK,
                event::EXEC => program::SCHED_PROCESS_EXEC,
                event::EXIT => program::SCHED_PROCESS_EXIT,
                event::JOINED => program::TASK_RENAME,
                event::PIPE_RESIZED => program::SYS_EXIT,
                _ => return None,
            },
            Self::Unknown(_) => return None,
        })
    }

    /// Adds the record to `into` as the programs write it, with kind and length in its head: a station whose pieces are alike as
    /// a [`Row`]. Of a kind that is not known only the head is.
    pub fn write(self, into: &mut Vec<u8>) {
        let start = into.len();
        let mut kind = self.header().kind;
        match self {
            Self::Call(call) => into.extend_from_slice(bytes_of(call)),
            Self::Station(station) => {
                let count = usize::from(station.count).min(PIECES);
                if let Some(row) = row_of(station) {
                    kind = Row::KIND;
                    into.extend_from_slice(&bytes_of(&row)[..Row::HEAD + count * size_of::<Extent>()]);
                } else {
                    kind = Station::KIND;
                    into.extend_from_slice(&bytes_of(station)[..Station::HEAD + count * size_of::<Piece>()]);
                }
            }
            Self::Name(name) => into.extend_from_slice(bytes_of(name)),
            Self::Process(process) => into.extend_from_slice(bytes_of(process)),
            Self::Closed(closed) => into.extend_from_slice(bytes_of(closed)),
            Self::Sums(sums) => into.extend_from_slice(bytes_of(sums)),
            Self::Found(found) => into.extend_from_slice(bytes_of(found)),
            Self::Told(told) => into.extend_from_slice(bytes_of(told)),
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
            Self::Station(station) => Record::Station(Box::new(*station)),
            Self::Name(name) => Record::Name(Box::new(*name)),
            Self::Process(process) => Record::Process(*process),
            Self::Closed(closed) => Record::Closed(*closed),
            Self::Sums(sums) => Record::Sums(Box::new(*sums)),
            Self::Found(found) => Record::Found(Box::new(*found)),
            Self::Told(told) => Record::Told(Box::new(*told)),
            Self::Unknown(header) => Record::Unknown(header),
        }
    }
}

impl Record {
    /// The record at the start of `bytes`, which may go on after it. Where many are decoded, a [`Decoder`] is faster.
    ///
    /// # Errors
    ///
    /// [`Damaged`] says what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        Decoder::default().decode(bytes).map(RecordRef::to_record)
    }

    /// The same, not kept.
    pub fn as_ref(&self) -> RecordRef<'_> {
        match self {
            Self::Call(call) => RecordRef::Call(call),
            Self::Station(station) => RecordRef::Station(station),
            Self::Name(name) => RecordRef::Name(name),
            Self::Process(process) => RecordRef::Process(process),
            Self::Closed(closed) => RecordRef::Closed(closed),
            Self::Sums(sums) => RecordRef::Sums(sums),
            Self::Found(found) => RecordRef::Found(found),
            Self::Told(told) => RecordRef::Told(told),
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
                Name::KIND,
                Process::KIND,
                Closed::KIND,
                Sums::KIND,
                Found::KIND,
                Told::KIND,
                Station::KIND,
            ] {
                let right = match kind {
                    Call::KIND => size_of::<Call>(),
                    Name::KIND => size_of::<Name>(),
                    Process::KIND => size_of::<Process>(),
                    Closed::KIND => size_of::<Closed>(),
                    Sums::KIND => size_of::<Sums>(),
                    Found::KIND => size_of::<Found>(),
                    Told::KIND => size_of::<Told>(),
                    _ => Station::HEAD,
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
        let count = std::mem::offset_of!(Station, count);
        for pieces in 0..40_u16 {
            let len = Station::HEAD + 40 * usize::from(pieces);
            let mut bytes = head(Station::KIND, len);
            bytes[count..count + 2].copy_from_slice(&pieces.to_ne_bytes());
            let read = Record::from_bytes(&bytes);
            if pieces > 18 {
                assert_eq!(read, Err(Damaged::Pieces(pieces)));
            } else {
                assert!(matches!(read, Ok(Record::Station(station)) if station.count == pieces));
            }
        }
    }

    #[test]
    fn a_decoder_leaves_nothing_of_the_record_before() {
        let count = std::mem::offset_of!(Station, count);
        let of = |pieces: u16, fill: u8| {
            let mut bytes = head(Station::KIND, Station::HEAD + 40 * usize::from(pieces));
            bytes[count..count + 2].copy_from_slice(&pieces.to_ne_bytes());
            bytes[Station::HEAD..].fill(fill);
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
            count in 0..=PIECES,
            head in prop::collection::vec(any::<u8>(), Station::HEAD),
            alike in any::<bool>(),
            first in (any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()),
            odd in (0..PIECES, 0..4_u8),
            places in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u32>()), PIECES),
        ) {
            let mut station: Station = value_of(&head);
            station.header = RecordHeader::from_bytes(&super::tests::head(Station::KIND, 32)).unwrap();
            station.count = count as u16;
            let (mapping, index, ops, untold) = first;
            let (mapping, index, ops) = if untold { (UNTOLD, 0, 0) } else { (mapping, index, ops) };
            for (number, (piece, (page, offset, len))) in station.pieces.iter_mut().zip(places).take(count).enumerate() {
                let index = if untold { 0 } else { index.wrapping_add(number as u64) };
                *piece = Piece { page, mapping, index, ops, offset, len };
            }
            let other = odd.0 > 0 && odd.0 < count && odd.1 < 3;
            if !alike && other {
                let piece = &mut station.pieces[odd.0];
                match odd.1 {
                    0 => piece.mapping ^= 8,
                    1 => piece.index ^= 1,
                    _ => piece.ops ^= 1,
                }
            }
            let mut bytes = Vec::new();
            RecordRef::Station(&station).write(&mut bytes);
            let is_row = alike || !other;
            let kind = if is_row { Row::KIND } else { Station::KIND };
            let mut decoder = Decoder::default();
            let Ok(RecordRef::Station(read)) = decoder.decode(&bytes) else { panic!("a station") };
            prop_assert_eq!((read.header.kind, usize::from(read.header.len)), (kind, bytes.len()));
            let header = station.header;
            prop_assert_eq!(Station { header, ..*read }, station);
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
            let mut bytes = head(Row::KIND, 32);
            bytes.extend_from_slice(&body);
            if fits {
                bytes.resize(Row::HEAD + 16 * usize::from(says), 7);
            }
            let len = bytes.len() as u16;
            bytes[30..32].copy_from_slice(&len.to_ne_bytes());
            let count = std::mem::offset_of!(Row, count);
            if let Some(room) = bytes.get_mut(count..count + 2) {
                room.copy_from_slice(&says.to_ne_bytes());
            }
            match Record::from_bytes(&bytes) {
                Ok(Record::Station(station)) => {
                    prop_assert_eq!(station.count, says);
                    prop_assert_eq!(bytes.len(), Row::HEAD + 16 * usize::from(says));
                    let rest = &station.pieces[usize::from(says)..];
                    prop_assert!(rest.iter().all(|piece| *piece == Piece::default()));
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => prop_assert!(!fits || usize::from(says) > PIECES),
            }
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_left_to_the_reader() {
        let bytes = head(RecordKind(77), 48);
        assert!(matches!(Record::from_bytes(&bytes), Ok(Record::Unknown(header)) if header.kind == RecordKind(77)));
    }
}
