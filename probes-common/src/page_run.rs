//! The compact form of a page record: one location per range, and one owner for all ranges.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};
use crate::page_record::{FileId, MAX_RANGES, PageRecord};

/// Location of bytes in memory, in the layout of `bio_vec` and `skb_frag_t` (include/linux/bvec.h,
/// include/linux/skbuff.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PageVec {
    /// Page address, as [`PageRange::page`](crate::PageRange::page). Bit 0 marks device memory,
    /// which has no page (`NET_IOV`, include/net/netmem.h).
    pub page: u64,
    /// Length, in bytes.
    pub len: u32,
    /// Offset in the page, as [`PageRange::offset`](crate::PageRange::offset).
    pub offset: u32,
}

/// Page ranges that a probe observed at one station, in fewer bytes than a [`PageRecord`].
///
/// One owner describes every range. A station whose ranges have different owners is written as a
/// [`PageRecord`]. The layout before [`mapping`](Self::mapping) is that of a [`PageRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PageRun {
    /// Record header.
    pub header: RecordHeader,
    /// Call ID, as [`PageRecord::call_id`].
    pub call_id: u64,
    /// Address of the object, as [`PageRecord::object`].
    pub object: u64,
    /// Position of the first range, as [`PageRecord::position`].
    pub position: u64,
    /// File of the pages, as [`PageRecord::file`].
    pub file: FileId,
    /// Sender and receiver, as [`PageRecord::pair`].
    pub pair: SocketPair,
    /// Payload bytes, as [`PageRecord::total`].
    pub total: u32,
    /// Payload bytes in the linear part, as [`PageRecord::linear`].
    pub linear: u32,
    /// Flags, as [`PageRecord::flags`].
    pub flags: u32,
    /// Device, as [`PageRecord::device`].
    pub device: u32,
    /// Station, as [`PageRecord::station`].
    pub station: u16,
    /// Number of page vectors that follow.
    pub count: u16,
    /// Number of this record, as [`PageRecord::part`].
    pub part: u32,
    /// Mapping of every page, as [`PageRange::mapping`](crate::PageRange::mapping).
    /// [`MAPPING_NOT_READ`] means that the program did not read the owners, and that `index` and
    /// `ops` have no meaning.
    pub mapping: u64,
    /// Index of the first page, as [`PageRange::index`](crate::PageRange::index). The index of each
    /// further page is one more than that of the page before it.
    pub index: u64,
    /// Operations of every slot, as [`PageRange::ops`](crate::PageRange::ops).
    pub ops: u64,
    /// Page vectors in the order of the bytes. The record ends after the first `count` ones.
    pub vecs: [PageVec; MAX_RANGES],
}

/// [`PageRange::mapping`](crate::PageRange::mapping) of pages whose owner the program did not read.
/// No mapping has this address.
pub const MAPPING_NOT_READ: u64 = u64::MAX;
/// [`PageRange::mapping`](crate::PageRange::mapping) of a page without a mapping that holds the
/// content of a file or of a process all the same (`PG_uptodate`): it was truncated from the file
/// while something held it. The allocator clears the flag, so the page was not reused.
pub const MAPPING_TRUNCATED: u64 = 2;

impl PageRun {
    /// Kind of this record in its header.
    pub const KIND: RecordKind = RecordKind(9);
    /// Length of a record without page vectors, in bytes.
    pub const HEAD_SIZE: usize = size_of::<Self>() - MAX_RANGES * size_of::<PageVec>();
    /// Fields that hold kernel addresses.
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
