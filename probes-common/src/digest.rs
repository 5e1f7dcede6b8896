//! Page digests of TCP connections, which replace page records at the level `digest`.
//!
//! Each byte range in a page adds `len * mix(location in memory - position in the stream)`. The
//! digest of the same pages at the same stream positions is therefore the same, however calls,
//! slots, fragments and packets divide the bytes. One digest is computed from the slots that calls
//! send, another from the fragments that packets carry.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};
use crate::page_record::FileId;
use crate::programs::program;

/// Distance of the stream positions where both digests are recorded, in bytes. A power of two.
pub const CHECKPOINT_BYTES: u64 = 1 << 20;

/// Bits of [`DigestState::flags`].
pub mod digest_flag {
    /// The digest of packets starts at the same byte as the digest of calls, which is
    /// [`DigestState::base_position`](super::DigestState::base_position).
    pub const ANCHORED: u32 = 1;
}

/// Bits of [`DigestSpan::flags`].
pub mod digest_span_flag {
    /// A call copied the bytes from the caller's memory.
    pub const FROM_MEMORY: u32 = 1;
    /// The pages belong to more than one file, or not all of them belong to a file.
    pub const MULTIPLE_FILES: u32 = 2;
}

/// Reasons why a [`DigestEvent`] is written.
pub mod digest_event_kind {
    /// A span of sent bytes has ended, at `sum.position`.
    pub const SENT: u32 = 1;
    /// Packets have carried every byte before `sum.position`.
    pub const TRANSMITTED: u32 = 2;
    /// The connection has ended, and `state` is its final state.
    pub const CLOSED: u32 = 3;
}

/// Digest of a stream up to a position.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DigestSum {
    /// Next position of the stream. Its lower half is a sequence number as in the packets.
    pub position: u64,
    /// Sum over all page ranges so far, modulo 2^64.
    pub sum: u64,
    /// Number of bytes in the sum. They are in pages of files and of processes' memory; all other
    /// bytes are in pages of the kernel.
    pub paged_bytes: u64,
}

/// Bytes that one process sent by calls with one number, from one file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DigestSpan {
    /// First position of the span. The span ends where the sent bytes end.
    pub start: u64,
    /// Bytes in pages of files and of processes' memory.
    pub paged_bytes: u64,
    /// Bytes that calls sent without copying, but from pages that belong neither to files nor to
    /// processes' memory.
    pub unowned_bytes: u64,
    /// Number of sends. The parts of one call count separately.
    pub calls: u64,
    /// Instruction pointer of the caller in the first of these calls.
    pub user_ip: u64,
    /// File of the pages; all zero if there is none, or if the pages are a process's memory.
    pub file: FileId,
    /// Process that sent the bytes.
    pub tgid: u32,
    /// System call number: one of [`nr`](crate::nr).
    pub nr: u32,
    /// Bits of [`digest_span_flag`].
    pub flags: u32,
    /// Device number of the socket's inode.
    pub socket_dev: u32,
    /// Inode number of the socket.
    pub socket_ino: u64,
}

/// Digests of a connection with the span in progress. Row of a map whose key is the address of the
/// `struct sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DigestState {
    /// Connection ID, because connections reuse the addresses of sockets.
    pub connection_id: u64,
    /// Addresses of the connection, with this socket as the sender.
    pub pair: SocketPair,
    /// Stream position where the digests start.
    pub base_position: u64,
    /// Digest of the slots that calls sent. Its `position` is 0 until the first call.
    pub sent: DigestSum,
    /// Digest of the fragments that packets carried.
    pub transmitted: DigestSum,
    /// Span of the latest calls.
    pub span: DigestSpan,
    /// Bits of [`digest_flag`].
    pub flags: u32,
    /// Ports in the order and byte order of a packet, with the source port in the lower half.
    pub ports: u32,
}

/// Event of the digests of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DigestEvent {
    /// Record header.
    pub header: RecordHeader,
    /// Address of the connection's `struct sock`.
    pub sock: u64,
    /// Kind of the event: one of [`digest_event_kind`].
    pub event: u32,
    /// Unused.
    pub reserved: u32,
    /// Digest at the position of the event.
    pub sum: DigestSum,
    /// State of the connection at the time of the event.
    pub state: DigestState,
}

impl DigestEvent {
    /// Kind of this record in its header.
    pub const KIND: RecordKind = RecordKind(6);
    /// Fields that hold kernel addresses.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[
        Address::Object(offset_of!(Self, sock)),
        Address::Object(offset_of!(Self, state.span.file.mapping)),
    ]);

    /// Returns the [`program`] that wrote the record, or `None` if it cannot be determined.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(match self.event {
            digest_event_kind::SENT => program::SOCK_SEND_LENGTH,
            digest_event_kind::TRANSMITTED => program::DIGEST_XMIT,
            digest_event_kind::CLOSED => program::DIGEST_CLOSE,
            _ => return None,
        })
    }
}

/// Returns the summand of one byte at `location`: the location's bits, spread over a word.
///
/// The function is the finalizer of splitmix64 with a secret. Different pages have equal digests
/// with a probability of 2^-64.
#[must_use]
#[inline]
pub const fn mix(location: u64, secret: u64) -> u64 {
    let mixed = (location ^ secret).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 29
}

const _: () = {
    assert!(size_of::<DigestSum>() == 24);
    assert!(size_of::<DigestSpan>() == 5 * 8 + 24 + 4 * 4 + 8);
    assert!(size_of::<DigestState>() == 8 + 40 + 8 + 2 * 24 + size_of::<DigestSpan>() + 8);
    assert!(size_of::<DigestEvent>() == 32 + 8 + 8 + 24 + size_of::<DigestState>());
};
