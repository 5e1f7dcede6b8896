//! Sums over pages instead of records of them: what the level `digest` keeps of each TCP connection.
//!
//! A page's bytes add `len * mix(place in memory - place in the stream)`: however calls, slots, fragments and packets cut the
//! bytes, the sum over the same pages at the same places of the stream is the same. One sum is made of the slots that a call
//! hands to the socket, another of the fragments that packets carry.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};
use crate::page_record::FileId;
use crate::programs::program;

/// Every so many bytes of a stream both sums are written down. A power of two.
pub const CHECKPOINT_BYTES: u64 = 1 << 20;

/// Bits of [`DigestState::flags`].
pub mod digest_flag {
    /// Packets were summed up from the very byte on at which calls were: `base`.
    pub const ANCHORED: u32 = 1;
}

/// Bits of [`DigestSpan::flags`].
pub mod digest_span_flag {
    /// The bytes came out of the caller's memory, by a call that copies them.
    pub const FROM_MEMORY: u32 = 1;
    /// The pages belong to more than one file, or not all to one.
    pub const MULTIPLE_FILES: u32 = 2;
}

/// What [`DigestEvent`] is about.
pub mod digest_event_kind {
    /// A stretch of what calls handed over has ended, at `sum.position`.
    pub const SENT: u32 = 1;
    /// Packets have carried everything up to `sum.position`.
    pub const TRANSMITTED: u32 = 2;
    /// The connection has ended; `state` is the last word on it.
    pub const CLOSED: u32 = 3;
}

/// How far a stream was summed up, and to what.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DigestSum {
    /// The next byte of the stream: in the lower half as in the packets' sequence numbers.
    pub position: u64,
    /// The sum over the pages so far; it wraps.
    pub sum: u64,
    /// How many bytes are in it: those in pages of files and of processes' memory. Other bytes lie in the kernel's own pages.
    pub paged_bytes: u64,
}

/// Bytes that one process handed over by calls of one kind, from one file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DigestSpan {
    /// Its first byte in the stream; it ends where what calls handed over ends.
    pub start: u64,
    /// Bytes in pages of files and of processes' memory.
    pub paged_bytes: u64,
    /// Bytes that were handed over by calls that do not copy, in no such page.
    pub unowned_bytes: u64,
    /// Calls, pieces of one call counted each.
    pub calls: u64,
    /// Where in the program the first of them is.
    pub user_ip: u64,
    /// The file of the pages; all zero: none, or the memory of a process.
    pub file: FileId,
    /// The process.
    pub tgid: u32,
    /// One of [`nr`](crate::nr).
    pub nr: u32,
    /// Bits of [`digest_span_flag`].
    pub flags: u32,
    /// Device number of the socket's inode.
    pub socket_dev: u32,
    /// Inode number of the socket.
    pub socket_ino: u64,
}

/// A connection: the two sums, and the stretch that goes on. A row of a map, by the address of its `struct sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DigestState {
    /// Which connection it is: addresses of sockets are used again.
    pub connection_id: u64,
    /// Its addresses, with this socket as the sender.
    pub pair: SocketPair,
    /// Where in the stream summing up began.
    pub base_position: u64,
    /// By calls. `position` is 0 until the first one.
    pub sent: DigestSum,
    /// By packets.
    pub transmitted: DigestSum,
    /// What the latest calls handed over.
    pub span: DigestSpan,
    /// Bits of [`digest_flag`].
    pub flags: u32,
    /// The ports as they are in a packet: the source's in the lower half.
    pub ports: u32,
}

/// Something that happened to the sums of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DigestEvent {
    /// The head.
    pub header: RecordHeader,
    /// The address of its `struct sock`.
    pub sock: u64,
    /// One of [`digest_event_kind`].
    pub event: u32,
    /// Not used.
    pub reserved: u32,
    /// The sum at the place that the event is about.
    pub sum: DigestSum,
    /// The connection at that moment.
    pub state: DigestState,
}

impl DigestEvent {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(6);
    /// The kernel's addresses in it.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[
        Address::Object(offset_of!(Self, sock)),
        Address::Object(offset_of!(Self, state.span.file.mapping)),
    ]);

    /// Which [`program`] wrote it, `None` if that cannot be known.
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

/// The bits of `place` spread over a word: what a byte at that place adds to a sum.
///
/// The finalizer of splitmix64, with a secret: equal sums over different pages would be a matter of chance of 2^-64.
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
