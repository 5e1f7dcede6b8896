//! A station in fewer bytes: where pages were, and once for all of them whose they are.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};
use crate::page_record::{FileId, MAX_RANGES, PageRecord};

/// Where bytes lie, as the kernel has it in a `bio_vec` and in a `skb_frag_t` (include/linux/bvec.h, include/linux/skbuff.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PageVec {
    /// As [`PageRange::page`](crate::PageRange::page). With bit 0 set: memory of a device, which has no page (`NET_IOV`,
    /// include/net/netmem.h).
    pub page: u64,
    /// How many bytes.
    pub len: u32,
    /// As [`PageRange::offset`](crate::PageRange::offset).
    pub offset: u32,
}

/// Pages seen at a station, told in fewer bytes than a [`PageRecord`] has. All that is told of a piece apart from its place is
/// right for every piece; a station of which that cannot be said is a [`PageRecord`].
///
/// Up to [`mapping`](Self::mapping) it is as a [`PageRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PageRun {
    /// The head.
    pub header: RecordHeader,
    /// As [`PageRecord::call_id`].
    pub call_id: u64,
    /// As [`PageRecord::object`].
    pub object: u64,
    /// As [`PageRecord::position`].
    pub position: u64,
    /// As [`PageRecord::file`].
    pub file: FileId,
    /// As [`PageRecord::pair`].
    pub pair: SocketPair,
    /// As [`PageRecord::total`].
    pub total: u32,
    /// As [`PageRecord::linear`].
    pub linear: u32,
    /// As [`PageRecord::flags`].
    pub flags: u32,
    /// As [`PageRecord::device`].
    pub device: u32,
    /// As [`PageRecord::station`].
    pub station: u16,
    /// How many extents follow.
    pub count: u16,
    /// As [`PageRecord::part`].
    pub part: u32,
    /// As [`PageRange::mapping`](crate::PageRange::mapping), of all; [`MAPPING_NOT_READ`]: nobody looked whose they are, and `index` and `ops`
    /// mean nothing.
    pub mapping: u64,
    /// As [`PageRange::index`](crate::PageRange::index), of the first one. That of each other is one more than of the one before.
    pub index: u64,
    /// As [`PageRange::ops`](crate::PageRange::ops), of all.
    pub ops: u64,
    /// In the order of the bytes. Only `count` of them are in the record: it ends there.
    pub vecs: [PageVec; MAX_RANGES],
}

/// [`PageRange::mapping`](crate::PageRange::mapping) of pages of which nobody looked whose they are. No mapping has this address.
pub const MAPPING_NOT_READ: u64 = u64::MAX;

impl PageRun {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(9);
    /// Bytes of a record without any extent.
    pub const HEAD_SIZE: usize = size_of::<Self>() - MAX_RANGES * size_of::<PageVec>();
    /// The kernel's addresses in it.
    pub const ADDRESSES: Addresses = Addresses {
        fixed: &[
            Address::Object(offset_of!(Self, object)),
            Address::Object(offset_of!(Self, file.mapping)),
            Address::Mapping(offset_of!(Self, mapping)),
            Address::Object(offset_of!(Self, ops)),
        ],
        elements: Some((Self::HEAD_SIZE, size_of::<PageVec>())),
        of_element: &[Address::Page(offset_of!(PageVec, page))],
    };
}

const _: () = {
    assert!(size_of::<PageVec>() == 16);
    assert!(PageRun::HEAD_SIZE == PageRecord::HEAD_SIZE + 24);
    assert!(offset_of!(PageRun, mapping) == PageRecord::HEAD_SIZE);
    assert!(offset_of!(PageRun, call_id) == offset_of!(PageRecord, call_id));
    assert!(offset_of!(PageRun, object) == offset_of!(PageRecord, object));
    assert!(offset_of!(PageRun, position) == offset_of!(PageRecord, position));
    assert!(offset_of!(PageRun, file) == offset_of!(PageRecord, file));
    assert!(offset_of!(PageRun, pair) == offset_of!(PageRecord, pair));
    assert!(offset_of!(PageRun, total) == offset_of!(PageRecord, total));
    assert!(offset_of!(PageRun, linear) == offset_of!(PageRecord, linear));
    assert!(offset_of!(PageRun, flags) == offset_of!(PageRecord, flags));
    assert!(offset_of!(PageRun, device) == offset_of!(PageRecord, device));
    assert!(offset_of!(PageRun, station) == offset_of!(PageRecord, station));
    assert!(offset_of!(PageRun, count) == offset_of!(PageRecord, count));
    assert!(offset_of!(PageRun, part) == offset_of!(PageRecord, part));
    assert!(size_of::<PageRun>() < size_of::<PageRecord>());
};
