//! A station in fewer bytes: where pages were, and once for all of them whose they are.

use core::mem::{offset_of, size_of};

use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};
use crate::station::{FileId, PIECES, Station};

/// Where bytes lie, as the kernel has it in a `bio_vec` and in a `skb_frag_t` (include/linux/bvec.h, include/linux/skbuff.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// As [`Piece::page`](crate::Piece::page). With bit 0 set: memory of a device, which has no page (`NET_IOV`,
    /// include/net/netmem.h).
    pub page: u64,
    /// How many bytes.
    pub len: u32,
    /// As [`Piece::offset`](crate::Piece::offset).
    pub offset: u32,
}

/// Pages seen at a station, told in fewer bytes than a [`Station`] has. All that is told of a piece apart from its place is
/// right for every piece; a station of which that cannot be said is a [`Station`].
///
/// Up to [`mapping`](Self::mapping) it is as a [`Station`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The head.
    pub header: RecordHeader,
    /// As [`Station::call`].
    pub call: u64,
    /// As [`Station::object`].
    pub object: u64,
    /// As [`Station::position`].
    pub position: u64,
    /// As [`Station::file`].
    pub file: FileId,
    /// As [`Station::pair`].
    pub pair: SocketPair,
    /// As [`Station::total`].
    pub total: u32,
    /// As [`Station::linear`].
    pub linear: u32,
    /// As [`Station::flags`].
    pub flags: u32,
    /// As [`Station::device`].
    pub device: u32,
    /// As [`Station::station`].
    pub station: u16,
    /// How many extents follow.
    pub count: u16,
    /// As [`Station::part`].
    pub part: u32,
    /// As [`Piece::mapping`](crate::Piece::mapping), of all; [`UNTOLD`]: nobody looked whose they are, and `index` and `ops`
    /// mean nothing.
    pub mapping: u64,
    /// As [`Piece::index`](crate::Piece::index), of the first one. That of each other is one more than of the one before.
    pub index: u64,
    /// As [`Piece::ops`](crate::Piece::ops), of all.
    pub ops: u64,
    /// In the order of the bytes. Only `count` of them are in the record: it ends there.
    pub extents: [Extent; PIECES],
}

/// [`Piece::mapping`](crate::Piece::mapping) of pages of which nobody looked whose they are. No mapping has this address.
pub const UNTOLD: u64 = u64::MAX;

impl Row {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(9);
    /// Bytes of a record without any extent.
    pub const HEAD: usize = size_of::<Self>() - PIECES * size_of::<Extent>();
}

const _: () = {
    assert!(size_of::<Extent>() == 16);
    assert!(Row::HEAD == Station::HEAD + 24);
    assert!(offset_of!(Row, mapping) == Station::HEAD);
    assert!(offset_of!(Row, call) == offset_of!(Station, call));
    assert!(offset_of!(Row, object) == offset_of!(Station, object));
    assert!(offset_of!(Row, position) == offset_of!(Station, position));
    assert!(offset_of!(Row, file) == offset_of!(Station, file));
    assert!(offset_of!(Row, pair) == offset_of!(Station, pair));
    assert!(offset_of!(Row, total) == offset_of!(Station, total));
    assert!(offset_of!(Row, linear) == offset_of!(Station, linear));
    assert!(offset_of!(Row, flags) == offset_of!(Station, flags));
    assert!(offset_of!(Row, device) == offset_of!(Station, device));
    assert!(offset_of!(Row, station) == offset_of!(Station, station));
    assert!(offset_of!(Row, count) == offset_of!(Station, count));
    assert!(offset_of!(Row, part) == offset_of!(Station, part));
    assert!(size_of::<Row>() < size_of::<Station>());
};
