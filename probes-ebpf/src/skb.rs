//! Packets and messages (`struct sk_buff`), and records of the pages in them.

use core::ptr::{addr_of, addr_of_mut};

use zctrace_records::{MAX_RANGES, PageRange, SocketPair, page_record_flag};
use zerocopy::FromZeros;

use crate::offsets;
use crate::page_record::{self, PageBuffer, RAW_MASK, VEC_SIZE, VECS_MASK};
use crate::read::{self, member};

/// What [`packet`] and [`fragments`] write: whose it is, and between whom.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub(crate) struct SkbPages {
    /// The sender's `struct sock`.
    pub(crate) sock: u64,
    /// The call that this thread is inside.
    pub(crate) call_id: u64,
    /// Sequence number of the first byte.
    pub(crate) position: u64,
    /// The connection.
    pub(crate) pair: SocketPair,
    /// Payload bytes in all.
    pub(crate) total: u32,
    /// Of them before the fragments.
    pub(crate) linear: u32,
    /// The network device.
    pub(crate) device: u32,
    /// Bits of [`page_record_flag`].
    pub(crate) flags: u32,
    /// Not 0: nobody needs to know whose the pages are.
    pub(crate) skip_owners: u64,
    /// The next fragment.
    next_frag: u64,
    /// Fragments that are left.
    pub(crate) frags_left: u64,
}

/// `SKBFL_ZEROCOPY_ENABLE` (include/linux/skbuff.h).
const ZEROCOPY_ENABLE: u8 = 1;
/// Prepares the record of a packet or message, writes its first pieces, and tells whether there are more.
///
/// # Safety
///
/// `pages` must be valid for reads and writes, `sent` for reads.
#[inline(never)]
pub(crate) unsafe fn start(
    pages: *mut PageBuffer,
    skb_pages: *mut SkbPages,
    skb: u64,
    station_kind: u16,
    program: u32,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let shared = shared_info(skb, member(skb, &offsets::SKB_HEAD));
        page_record::reset(pages);
        let record = addr_of_mut!((*pages).record);
        (*record).call_id = (*skb_pages).call_id;
        (*record).object = (*skb_pages).sock;
        (*record).position = (*skb_pages).position;
        read::copy(addr_of_mut!((*record).pair), addr_of!((*skb_pages).pair));
        (*record).total = (*skb_pages).total;
        (*record).linear = (*skb_pages).linear;
        (*record).device = (*skb_pages).device;
        (*record).station = station_kind;
        let mut flags = (*skb_pages).flags;
        if member::<u8>(shared, &offsets::SHINFO_FLAGS) & ZEROCOPY_ENABLE != 0 {
            flags |= page_record_flag::USER_PAGES;
        }
        if member::<u64>(shared, &offsets::SHINFO_FRAG_LIST) != 0 {
            flags |= page_record_flag::FRAG_LIST;
        }
        (*record).flags = flags;
        (*skb_pages).next_frag = shared.wrapping_add(u64::from(offsets::SHINFO_FRAGS.load()));
        (*skb_pages).frags_left = u64::from(member::<u8>(shared, &offsets::SHINFO_NR_FRAGS));
        emit_frags(pages, skb_pages, program)
    }
}

/// Writes the next pieces of a packet or message, and tells whether there are more.
///
/// # Safety
///
/// Both must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_frags(pages: *mut PageBuffer, skb_pages: *mut SkbPages, program: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let record = addr_of_mut!((*pages).record);
        read::zero(addr_of_mut!((*record).file));
        let left = (*skb_pages).frags_left;
        let count = if left > MAX_RANGES as u64 {
            MAX_RANGES as u64
        } else {
            left
        };
        if (*skb_pages).skip_owners == 0 {
            read_frags(pages, (*skb_pages).next_frag, count);
            page_record::emit_ranges(pages, count, program);
        } else {
            // Fragments lie there as extents do.
            let vecs = page_record::vec_mut(pages, 0).cast();
            read::kernel_bytes::<VECS_MASK>(vecs, count * VEC_SIZE, (*skb_pages).next_frag);
            page_record::clear_owner(pages);
            page_record::emit_run(pages, count, program);
        }
        (*record).part += 1;
        (*skb_pages).next_frag = (*skb_pages).next_frag.wrapping_add(count * VEC_SIZE);
        (*skb_pages).frags_left = (*skb_pages).frags_left.wrapping_sub(count);
        (*skb_pages).frags_left != 0
    }
}

/// Reads page vectors, no more than a record holds, and describes their pages.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(never)]
unsafe fn read_frags(pages: *mut PageBuffer, from: u64, count: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        read::kernel_bytes::<RAW_MASK>(addr_of_mut!((*pages).raw).cast(), count * VEC_SIZE, from);
        let mut index = 0;
        while index < MAX_RANGES {
            if index as u64 >= count {
                break;
            }
            let range = addr_of_mut!((*pages).record.ranges).cast::<PageRange>().add(index);
            fill_range(pages, range, index);
            page_record::fill_owner(pages, range);
            index += 1;
        }
    }
}

/// Takes piece `index` of a packet from the words that were read.
///
/// # Safety
///
/// `pages` must be valid for reads, `piece` for writes, and `index` be below [`MAX_RANGES`].
#[inline(always)]
unsafe fn fill_range(pages: *mut PageBuffer, range: *mut PageRange, index: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let words = addr_of_mut!((*pages).raw).cast::<u64>().add(index * 2);
        let netmem = *words;
        let rest = *words.add(1);
        // Bit 0 marks memory of a device, which has no page (NET_IOV, include/net/netmem.h).
        (*range).page = if netmem & 1 == 1 { 0 } else { netmem };
        (*range).ops = 0;
        (*range).len = rest as u32;
        (*range).offset = (rest >> 32) as u32;
    }
}

/// A TCP segment that holds bytes, as its packet is given to a device.
pub(crate) struct TcpSegment {
    /// The ports as they are in the packet: the source's in the lower half.
    pub(crate) ports: u32,
    /// Sequence number of the first byte.
    pub(crate) sequence: u32,
    /// Bytes of the stream.
    pub(crate) len: u64,
    /// The packet, and the start of its buffer.
    skb: u64,
    head: u64,
    /// Bytes of the packet, and of them before the stream's.
    skb_len: u32,
    headers: u64,
}

impl TcpSegment {
    /// The segment in a packet; `None` if it holds no bytes, as an acknowledgement does.
    ///
    /// Whether the packet is one of the socket that it belongs to only its ports say: inside a tunnel the transport header is
    /// another's.
    #[inline(always)]
    pub(crate) fn of(skb: u64) -> Option<Self> {
        let skb_len: u32 = member(skb, &offsets::SKB_LEN);
        let data: u64 = member(skb, &offsets::SKB_DATA);
        let head: u64 = member(skb, &offsets::SKB_HEAD);
        let transport: u16 = member(skb, &offsets::SKB_TRANSPORT);
        let start = head.wrapping_add(u64::from(transport));
        // struct tcphdr (include/uapi/linux/tcp.h): ports, sequence, acknowledgement, length of the header in words.
        let header: [u32; 4] = read::kernel(start);
        let headers = start
            .wrapping_sub(data)
            .wrapping_add(u64::from(header[3] >> 4 & 0xf) * 4);
        if headers >= u64::from(skb_len) {
            return None;
        }
        Some(Self {
            ports: header[0],
            sequence: u32::from_be(header[1]),
            len: u64::from(skb_len).wrapping_sub(headers),
            skb,
            head,
            skb_len,
            headers,
        })
    }

    /// Bytes of the stream before the fragments.
    #[inline(always)]
    pub(crate) fn linear(&self) -> u64 {
        let data_len: u32 = member(self.skb, &offsets::SKB_DATA_LEN);
        u64::from(self.skb_len.wrapping_sub(data_len)).saturating_sub(self.headers)
    }

    /// See [`shared_info`].
    #[inline(always)]
    pub(crate) fn shared_info(&self) -> u64 {
        shared_info(self.skb, self.head)
    }
}

/// The ports of a connection as its packets have them.
#[inline(always)]
pub(crate) fn ports(pair: &SocketPair) -> u32 {
    u32::from(pair.source_port.to_be()) | u32::from(pair.destination_port.to_be()) << 16
}

/// Where the fragments of a packet or message are, and what goes before them (`struct skb_shared_info`).
#[inline(always)]
fn shared_info(skb: u64, head: u64) -> u64 {
    let end: u32 = member(skb, &offsets::SKB_END);
    head.wrapping_add(u64::from(end))
}
