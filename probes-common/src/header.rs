//! The head of every record: what it is, and who wrote it, where, when and as which in a row.

use core::fmt;
use core::mem::{align_of, offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a record is about, as a number, so that a reader can skip a kind it does not know.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct RecordKind(pub u16);

impl RecordKind {
    /// No program writes this kind: who reads it looks at bytes that nobody filled.
    pub const NONE: Self = Self(0);
}

/// The first 32 bytes of every record.
///
/// ```
/// use zctrace_records::{RecordHeader, RecordKind};
///
/// let head = RecordHeader {
///     sequence: 7,
///     timestamp_ns: 1_000_000,
///     tgid: 100,
///     tid: 101,
///     cpu: 1,
///     kind: RecordKind(3),
///     len: 32,
/// };
/// assert_eq!(RecordHeader::from_bytes(&head.to_bytes()), Ok(head));
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct RecordHeader {
    /// Counts the records of one program on one CPU, those included for which there was no room: a gap is a loss.
    pub sequence: u64,
    /// Nanoseconds of the monotonic clock. For people: records are ordered by ring and stream positions, not by time.
    pub timestamp_ns: u64,
    /// The process, as the initial PID namespace numbers it.
    pub tgid: u32,
    /// The thread, as the initial PID namespace numbers it.
    pub tid: u32,
    /// The CPU on which the program ran.
    pub cpu: u32,
    /// What follows the header.
    pub kind: RecordKind,
    /// Bytes of the whole record, header included.
    pub len: u16,
}

// A change here changes what recordings and the committed eBPF object mean: it must be meant.
const _: () = {
    assert!(size_of::<RecordHeader>() == 32);
    assert!(align_of::<RecordHeader>() == 8);
    assert!(size_of::<RecordKind>() == 2);
    assert!(offset_of!(RecordHeader, sequence) == 0);
    assert!(offset_of!(RecordHeader, timestamp_ns) == 8);
    assert!(offset_of!(RecordHeader, tgid) == 16);
    assert!(offset_of!(RecordHeader, tid) == 20);
    assert!(offset_of!(RecordHeader, cpu) == 24);
    assert!(offset_of!(RecordHeader, kind) == 28);
    assert!(offset_of!(RecordHeader, len) == 30);
};

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    Truncated {
        /// How many there were.
        have: usize,
    },
    /// The record says it is shorter than its header or longer than the bytes at hand.
    Length {
        /// What it says.
        len: u16,
        /// How many bytes there were.
        have: usize,
    },
    /// The kind that no program writes.
    NoKind,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { have } => write!(f, "a record header has {} bytes, here are {have}", RecordHeader::SIZE),
            Self::Length { len, have } => write!(f, "a record says it has {len} bytes, here are {have}"),
            Self::NoKind => f.write_str("a record of kind 0, which no program writes"),
        }
    }
}

impl core::error::Error for HeaderError {}

impl RecordHeader {
    /// Bytes of a header.
    pub const SIZE: usize = size_of::<Self>();

    /// Reads the header of the record at the start of `bytes`, in this machine's byte order.
    ///
    /// `bytes` may go on after the record, as a batch does; it must hold all of it. Any bytes may be given: a damaged
    /// recording is an error, never a panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        let have = bytes.len();
        let Ok((header, _)) = Self::read_from_prefix(bytes) else {
            return Err(HeaderError::Truncated { have });
        };
        let len = usize::from(header.len);
        if len < Self::SIZE || len > have {
            return Err(HeaderError::Length { len: header.len, have });
        }
        if header.kind == RecordKind::NONE {
            return Err(HeaderError::NoKind);
        }
        Ok(header)
    }

    /// The header as it lies in memory: what a program writes, for recordings and for tests without a kernel.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; Self::SIZE] {
        zerocopy::transmute!(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::{HeaderError, RecordHeader, RecordKind};

    /// Every byte differs, so that two fields that are exchanged or overlap show.
    const HEAD: RecordHeader = RecordHeader {
        sequence: 0x0807_0605_0403_0201,
        timestamp_ns: 0x100f_0e0d_0c0b_0a09,
        tgid: 0x1413_1211,
        tid: 0x1817_1615,
        cpu: 0x1c1b_1a19,
        kind: RecordKind(0x1e1d),
        len: 32,
    };

    #[test]
    #[cfg(target_endian = "little")]
    fn memory_layout_follows_field_order_without_padding() {
        let bytes = HEAD.to_bytes();
        for (i, byte) in bytes[..30].iter().enumerate() {
            assert_eq!(usize::from(*byte), i + 1, "byte {i}");
        }
        assert_eq!(bytes[30..], [32, 0]);
    }

    #[test]
    fn reads_written_header_and_ignores_following_bytes() {
        let mut bytes = [0xff; 40];
        bytes[..32].copy_from_slice(&HEAD.to_bytes());
        assert_eq!(RecordHeader::from_bytes(&bytes), Ok(HEAD));
        let longer = RecordHeader { len: 40, ..HEAD };
        bytes[..32].copy_from_slice(&longer.to_bytes());
        assert_eq!(RecordHeader::from_bytes(&bytes), Ok(longer));
    }

    #[test]
    fn rejects_fewer_bytes_than_a_header() {
        let bytes = HEAD.to_bytes();
        for have in 0..RecordHeader::SIZE {
            assert_eq!(
                RecordHeader::from_bytes(&bytes[..have]),
                Err(HeaderError::Truncated { have })
            );
        }
    }

    #[test]
    fn rejects_impossible_lengths() {
        for len in [0, 31, 33, u16::MAX] {
            let bytes = RecordHeader { len, ..HEAD }.to_bytes();
            assert_eq!(
                RecordHeader::from_bytes(&bytes),
                Err(HeaderError::Length { len, have: 32 })
            );
        }
    }

    #[test]
    fn rejects_bytes_that_no_program_wrote() {
        let bytes = RecordHeader {
            kind: RecordKind::NONE,
            ..HEAD
        }
        .to_bytes();
        assert_eq!(RecordHeader::from_bytes(&bytes), Err(HeaderError::NoKind));
        // All zeros fail at the length already.
        assert_eq!(
            RecordHeader::from_bytes(&[0; 32]),
            Err(HeaderError::Length { len: 0, have: 32 })
        );
    }
}
