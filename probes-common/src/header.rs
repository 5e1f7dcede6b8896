//! The header of every record: kind and length, the program's sequence number, and time, thread and
//! CPU.

use core::fmt;
use core::mem::{align_of, offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Kind of a record. Readers can skip a kind that they cannot decode.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct RecordKind(pub u16);

impl RecordKind {
    /// Kind that no program writes. A reader that finds it is reading bytes that no program filled.
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
    /// Number of the record among those of one program on one CPU, including records that found the
    /// ring buffer full. A gap means that records were lost.
    pub sequence: u64,
    /// Time in nanoseconds of the monotonic clock, for display only. Records are ordered by pipe
    /// and stream positions, not by time.
    pub timestamp_ns: u64,
    /// Process ID in the initial PID namespace.
    pub tgid: u32,
    /// Thread ID in the initial PID namespace.
    pub tid: u32,
    /// CPU that the program ran on.
    pub cpu: u32,
    /// Kind of the record.
    pub kind: RecordKind,
    /// Length of the whole record including the header, in bytes.
    pub len: u16,
}

// Changing this layout changes the meaning of recordings and of the committed eBPF object, so a
// change must be deliberate.
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

/// Reason why bytes do not start with a valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The bytes are fewer than a header has.
    Truncated {
        /// Number of available bytes.
        have: usize,
    },
    /// The record claims a length that is shorter than its header or longer than the available
    /// bytes.
    Length {
        /// Claimed length, in bytes.
        len: u16,
        /// Number of available bytes.
        have: usize,
    },
    /// The kind is [`RecordKind::NONE`], which no program writes.
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
    /// Length of a header, in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// Reads the header of the record at the start of `bytes`, in native byte order.
    ///
    /// `bytes` must contain the whole record and may continue after it, as a batch does.
    ///
    /// # Errors
    ///
    /// Returns a [`HeaderError`] if the header is damaged. Any input is accepted, and none panics.
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

    /// Returns the bytes of the header in memory order, as an eBPF program writes them. Recordings
    /// and tests without a kernel use this.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; Self::SIZE] {
        zerocopy::transmute!(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::{HeaderError, RecordHeader, RecordKind};

    /// Header whose bytes all differ, so that swapped or overlapping fields are detected.
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
        // All-zero bytes already fail the length check.
        assert_eq!(
            RecordHeader::from_bytes(&[0; 32]),
            Err(HeaderError::Length { len: 0, have: 32 })
        );
    }
}
