//! Pages that were seen somewhere: in a pipe's slots, a packet's fragments, a request to a disk.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// Pieces in one record, at most. A packet has 17 fragments by default (`CONFIG_MAX_SKB_FRAGS`), 45 at most; what does not
/// fit follows in further records.
pub const MAX_RANGES: usize = 18;

/// Where pieces were seen: [`PageRecord::station`].
pub mod station_kind {
    /// Slots that the call took bytes from, at its exit: `[tail before, tail after)`, and the one at the tail after if a
    /// part of it was taken. A slot that was emptied keeps its page and the end of its range.
    pub const PIPE_SOURCE: u16 = 1;
    /// Slots that the call put in: `[head before, head after)` at its exit, those included that somebody has emptied since.
    pub const PIPE_SINK: u16 = 2;
    /// A packet of a watched TCP connection, as it was given to a network device (`net_dev_start_xmit`).
    pub const PACKET: u16 = 3;
    /// A message of a watched UNIX socket, as it was consumed (`consume_skb`) or thrown away (`kfree_skb`).
    pub const UNIX: u16 = 4;
    /// A request to a disk inside a traced call (`block_bio_queue`).
    pub const BIO: u16 = 5;
    /// Slots of a pipe that was there before watching began: `[tail, head)`, see [`PipeSnapshot`](crate::PipeSnapshot).
    pub const PIPE_SNAPSHOT: u16 = 6;
}

/// Bits of [`PageRecord::flags`].
pub mod page_record_flag {
    /// There were more pieces than could be read: `total` counts them, `pieces` does not hold them.
    pub const TRUNCATED: u32 = 1;
    /// The packet holds pages of the sender's memory that a later hop may copy (`SKBFL_ZEROCOPY_ENABLE`).
    pub const USER_PAGES: u32 = 2;
    /// The packet goes to the loopback device.
    pub const LOOPBACK: u32 = 4;
    /// The packet has a list of further packets (`frag_list`) that was not read.
    pub const FRAG_LIST: u32 = 8;
    /// A bio that writes; without it one that reads.
    pub const WRITE: u32 = 16;
    /// The message was thrown away unread (`kfree_skb`).
    pub const DROPPED: u32 = 32;
}

/// Which file a page of the page cache belongs to. All zero: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct FileId {
    /// The address of the `address_space`, as [`PageRange::mapping`] has it.
    pub mapping: u64,
    /// Inode number.
    pub ino: u64,
    /// Device number of the filesystem (`s_dev`).
    pub dev: u32,
    /// `i_generation`: inode numbers are used again.
    pub generation: u32,
}

/// A run of bytes in one page, or in several that lie one after the other in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PageRange {
    /// The address of `struct page` of the page that `offset` counts from.
    pub page: u64,
    /// `folio->mapping`, its low bits included: bit 0 is set for anonymous memory. 0: a page of the kernel's own.
    /// [`MAPPING_NOT_READ`](crate::MAPPING_NOT_READ): nobody looked.
    pub mapping: u64,
    /// The index of `page` (not of its folio's head) in the mapping, in pages; for anonymous memory its address / 4096.
    pub index: u64,
    /// A slot: the address of its `pipe_buf_operations`; 0 if the slot has been emptied. Otherwise 0.
    pub ops: u64,
    /// Where the bytes start, counted from the start of `page`; may exceed 4096 in a compound page.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
}

/// Pages seen at a station.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PageRecord {
    /// The head. Packets may be sent in the context of a thread that has nothing to do with them.
    pub header: RecordHeader,
    /// The call that this thread was inside, by [`Call::call_id`](crate::Call::call_id); 0: none that is traced.
    pub call_id: u64,
    /// The address of `pipe_inode_info`; of the sender's `struct sock`; of the `block_device`.
    pub object: u64,
    /// A pipe: ring position of the first piece (a slot counter, 32 bits, wraps). A packet: sequence number of the first
    /// payload byte (32 bits, wraps). A bio: its first sector. Messages: 0.
    pub position: u64,
    /// The file of the first piece whose mapping is a file's.
    pub file: FileId,
    /// Packets: sender and receiver. Otherwise zero.
    pub pair: SocketPair,
    /// Payload bytes: of the packet or message; of the bio; of the slots in this record.
    pub total: u32,
    /// Payload bytes in the linear part of a packet or message: they come before the pieces.
    pub linear: u32,
    /// Bits of [`page_record_flag`].
    pub flags: u32,
    /// The network device's index; the disk's device number.
    pub device: u32,
    /// One of [`station_kind`].
    pub station: u16,
    /// How many pieces follow.
    pub count: u16,
    /// Number of this record among those of the same call and station, or of the same packet, from 0.
    pub part: u32,
    /// The pieces, in the order of the bytes. Only `count` of them are in the record: it ends there.
    pub ranges: [PageRange; MAX_RANGES],
}

impl PageRecord {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(2);
    /// Bytes of a record without any piece.
    pub const HEAD_SIZE: usize = size_of::<Self>() - MAX_RANGES * size_of::<PageRange>();
    /// The kernel's addresses in it.
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

    /// Which [`program`] wrote it, `None` if that cannot be known.
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
