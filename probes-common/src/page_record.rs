//! Pages that a probe observed at one station: slots of a pipe, fragments of a packet, or vectors
//! of a bio.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// Maximum number of page ranges in one record.
///
/// A packet has at most 17 fragments by default (`CONFIG_MAX_SKB_FRAGS`), and at most 45 in any
/// configuration. Ranges that do not fit follow in further records.
pub const MAX_RANGES: usize = 18;

/// Stations of page records: [`PageRecord::station`].
pub mod station_kind {
    /// Slots that the call consumed, read at its exit: `[tail before, tail after)`, and the slot at
    /// the tail after the call if the call consumed a part of it. A consumed slot keeps its page
    /// and the end of its range.
    pub const PIPE_SOURCE: u16 = 1;
    /// Slots that the call filled, read at its exit: `[head before, head after)`, including slots
    /// that another call has consumed since.
    pub const PIPE_SINK: u16 = 2;
    /// A packet of a traced TCP connection, passed to a network device (`net_dev_start_xmit`).
    pub const PACKET: u16 = 3;
    /// A message of a traced UNIX socket, consumed (`consume_skb`) or discarded (`kfree_skb`).
    pub const UNIX: u16 = 4;
    /// A bio that was queued inside a traced call (`block_bio_queue`).
    pub const BIO: u16 = 5;
    /// Slots of a pre-existing pipe: `[tail, head)`. See [`PipeSnapshot`](crate::PipeSnapshot).
    pub const PIPE_SNAPSHOT: u16 = 6;
}

/// Bits of [`PageRecord::flags`].
pub mod page_record_flag {
    /// The station has more page ranges than the program read. `total` includes the missing ones,
    /// `ranges` does not.
    pub const TRUNCATED: u32 = 1;
    /// The packet holds pages of the sender's memory that a later hop may copy
    /// (`SKBFL_ZEROCOPY_ENABLE`).
    pub const USER_PAGES: u32 = 2;
    /// The packet goes to the loopback device.
    pub const LOOPBACK: u32 = 4;
    /// The packet has a list of further packets (`frag_list`) that the program did not read.
    pub const FRAG_LIST: u32 = 8;
    /// The bio is a write. Without this bit it is a read.
    pub const WRITE: u32 = 16;
    /// The packet's device is virtual (a veth pair, a bridge, a tunnel), so that the packet may be
    /// delivered on this host.
    pub const VIRTUAL: u32 = 64;
    /// The message was discarded without being read (`kfree_skb`).
    pub const DROPPED: u32 = 32;
}

/// Identity of the file that a page-cache page belongs to; all zero means none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct FileId {
    /// Address of the `address_space`, as in [`PageRange::mapping`].
    pub mapping: u64,
    /// Inode number.
    pub ino: u64,
    /// Device number of the filesystem (`s_dev`).
    pub dev: u32,
    /// Generation of the inode (`i_generation`), because filesystems reuse inode numbers.
    pub generation: u32,
}

/// Consecutive bytes in one page, or in pages that are adjacent in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PageRange {
    /// Address of the `struct page` that `offset` is relative to.
    pub page: u64,
    /// Owner of the page: `folio->mapping` with its low bits, where bit 0 means anonymous memory; 0
    /// means a page of the kernel; [`MAPPING_NOT_READ`](crate::MAPPING_NOT_READ) means that the
    /// program did not read the owner.
    pub mapping: u64,
    /// Index of `page` in the mapping, in pages. The index is that of the page itself, not of its
    /// folio's head. For anonymous memory it is the address divided by 4096.
    pub index: u64,
    /// Pipe slot: address of its `pipe_buf_operations`, or 0 if the slot was consumed. Other
    /// stations: 0.
    pub ops: u64,
    /// Offset of the first byte from the start of `page`, in bytes. It can exceed 4096 in a
    /// compound page.
    pub offset: u32,
    /// Length, in bytes.
    pub len: u32,
}

/// Page ranges that a probe observed at one station, each with its owner.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PageRecord {
    /// Record header. The kernel may transmit a packet in the context of an unrelated thread.
    pub header: RecordHeader,
    /// Call ID of the call that the thread was inside ([`Call::call_id`](crate::Call::call_id)); 0
    /// means no traced call.
    pub call_id: u64,
    /// Address of the object: `pipe_inode_info` for a pipe, the sender's `struct sock` for a packet
    /// or message, `block_device` for a bio.
    pub object: u64,
    /// Position of the first range. Pipe: slot counter, 32 bits, wraps. Packet: sequence number of
    /// the first payload byte, 32 bits, wraps. Bio: first sector. Message: 0.
    pub position: u64,
    /// File of the first range whose mapping belongs to a file.
    pub file: FileId,
    /// Packet: sender and receiver. Other stations: zero.
    pub pair: SocketPair,
    /// Payload bytes of the packet or message, of the bio, or of the slots in this record.
    pub total: u32,
    /// Payload bytes in the linear part of a packet or message. They precede the ranges.
    pub linear: u32,
    /// Bits of [`page_record_flag`].
    pub flags: u32,
    /// Packet: index of the network device. Bio: device number of the block device.
    pub device: u32,
    /// Station: one of [`station_kind`].
    pub station: u16,
    /// Number of page ranges that follow.
    pub count: u16,
    /// Number of this record, from 0, among those of one station of a call or of one packet.
    pub part: u32,
    /// Page ranges in the order of the bytes. The record ends after the first `count` ones.
    pub ranges: [PageRange; MAX_RANGES],
}

impl PageRecord {
    /// Kind of this record in its header.
    pub const KIND: RecordKind = RecordKind(2);
    /// Length of a record without page ranges, in bytes.
    pub const HEAD_SIZE: usize = size_of::<Self>() - MAX_RANGES * size_of::<PageRange>();
    /// Fields that hold kernel addresses.
    pub const ADDRESSES: Addresses = Addresses {
        fixed: &[
            Address::Object(offset_of!(Self, object)),
            Address::Object(offset_of!(Self, file.mapping)),
        ],
        elements: Some((Self::HEAD_SIZE, size_of::<PageRange>())),
        of_element: &[
            Address::Page(offset_of!(PageRange, page)),
            Address::Mapping(offset_of!(PageRange, mapping)),
            Address::Object(offset_of!(PageRange, ops)),
        ],
    };

    /// Returns the [`program`] that wrote the record, or `None` if it cannot be determined.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(match self.station {
            station_kind::PIPE_SOURCE | station_kind::PIPE_SINK => program::SYS_EXIT,
            station_kind::PIPE_SNAPSHOT => program::TASK_FILE,
            station_kind::PACKET => program::NET_DEV_START_XMIT,
            station_kind::UNIX if self.flags & page_record_flag::DROPPED != 0 => program::KFREE_SKB,
            station_kind::UNIX => program::CONSUME_SKB,
            station_kind::BIO => program::BLOCK_BIO_QUEUE,
            _ => return None,
        })
    }
}

const _: () = {
    assert!(size_of::<FileId>() == 24);
    assert!(size_of::<PageRange>() == 40);
    assert!(PageRecord::HEAD_SIZE == 32 + 3 * 8 + 24 + 40 + 4 * 4 + 8);
    assert!(size_of::<PageRecord>() == 864);
};
