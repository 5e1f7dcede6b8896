//! Packets and messages (`struct sk_buff`), and records of their pages.

use core::ptr::{addr_of, addr_of_mut};

use zctrace_records::{MAX_RANGES, PageRange, SocketPair, page_record_flag};
use zerocopy::FromZeros;

use crate::offsets;
use crate::page_record::{self, PageBuffer, RAW_MASK, VEC_SIZE, VECS_MASK};
use crate::read::{self, member};

/// Input of [`start`] and [`emit_frags`]: sender, connection and byte counts of a packet or
/// message.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub(crate) struct SkbPages {
    /// Address of the sender's `struct sock`.
    pub(crate) sock: u64,
    /// Call ID of the call that this thread is inside.
    pub(crate) call_id: u64,
    /// Sequence number of the first byte.
    pub(crate) position: u64,
    /// Addresses of the connection.
    pub(crate) pair: SocketPair,
    /// Payload bytes of the packet or message.
    pub(crate) total: u32,
    /// Payload bytes before the fragments.
    pub(crate) linear: u32,
    /// Index of the network device.
    pub(crate) device: u32,
    /// Bits of [`page_record_flag`].
    pub(crate) flags: u32,
    /// Not 0 if the owners of the pages need not be read.
    pub(crate) skip_owners: u64,
    /// Address of the next fragment.
    next_frag: u64,
    /// Number of fragments that are left.
    pub(crate) frags_left: u64,
}

/// `SKBFL_ZEROCOPY_ENABLE` (include/linux/skbuff.h).
const ZEROCOPY_ENABLE: u8 = 1;
/// Prepares the record of a packet or message and writes its first page ranges. Returns whether
/// fragments are left.
///
/// # Safety
///
/// `pages` and `skb_pages` must be valid for reads and writes.
#[inline(never)]
pub(crate) unsafe fn start(
    pages: *mut PageBuffer,
    skb_pages: *mut SkbPages,
    skb: u64,
    station_kind: u16,
    program: u32,
) -> bool {
    // SAFETY: access through `pages` and `skb_pages` requires valid pointers, which the caller
    // guarantees.
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

/// Writes the next page ranges of a packet or message. Returns whether fragments are left.
///
/// # Safety
///
/// `pages` and `skb_pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_frags(pages: *mut PageBuffer, skb_pages: *mut SkbPages, program: u32) -> bool {
    // SAFETY: access through `pages` and `skb_pages` requires valid pointers, which the caller
    // guarantees. `kernel_bytes` requires room for `VECS_MASK` bytes, which the run's page vectors
    // and the rest of the buffer have.
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
            // Fragments have the layout of page vectors.
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

/// Reads fragments, at most as many as a record holds, and fills in their owners.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(never)]
unsafe fn read_frags(pages: *mut PageBuffer, from: u64, count: u64) {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    // `kernel_bytes` requires room for `RAW_MASK` bytes, which `raw` has. `add` stays in bounds
    // because `index` is below `MAX_RANGES`.
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

/// Fills in range `index` from the words that were read.
///
/// # Safety
///
/// `pages` must be valid for reads, `range` for writes, and `index` must be below [`MAX_RANGES`].
#[inline(always)]
unsafe fn fill_range(pages: *mut PageBuffer, range: *mut PageRange, index: usize) {
    // SAFETY: access through `pages` and `range` requires valid pointers, and `add` an index in
    // bounds. The caller guarantees both.
    unsafe {
        let words = addr_of_mut!((*pages).raw).cast::<u64>().add(index * 2);
        let netmem = *words;
        let rest = *words.add(1);
        // Bit 0 marks device memory, which has no page (NET_IOV, include/net/netmem.h).
        (*range).page = if netmem & 1 == 1 { 0 } else { netmem };
        (*range).ops = 0;
        (*range).len = rest as u32;
        (*range).offset = (rest >> 32) as u32;
    }
}

/// TCP segment with payload, as its packet is passed to a network device.
pub(crate) struct TcpSegment {
    /// Ports in the order and byte order of the packet, with the source port in the lower half.
    pub(crate) ports: u32,
    /// Sequence number of the first payload byte.
    pub(crate) sequence: u32,
    /// Number of payload bytes.
    pub(crate) len: u64,
    /// Addresses of the packet and of its buffer.
    skb: u64,
    head: u64,
    /// Bytes of the packet, and the number of them before the payload.
    skb_len: u32,
    headers: u64,
}

impl TcpSegment {
    /// Reads the segment of a packet; returns `None` if it has no payload, like an acknowledgment.
    ///
    /// The caller must compare the ports, because inside a tunnel the transport header belongs to
    /// another connection than the packet's socket.
    #[inline(always)]
    pub(crate) fn of(skb: u64) -> Option<Self> {
        let skb_len: u32 = member(skb, &offsets::SKB_LEN);
        let data: u64 = member(skb, &offsets::SKB_DATA);
        let head: u64 = member(skb, &offsets::SKB_HEAD);
        let transport: u16 = member(skb, &offsets::SKB_TRANSPORT);
        let start = head.wrapping_add(u64::from(transport));
        // struct tcphdr (include/uapi/linux/tcp.h): ports, sequence number, acknowledgment number,
        // length of the header in words.
        let header: [u32; 4] = read::kernel(start);
        let headers = start
            .wrapping_sub(data)
            .wrapping_add(u64::from(header[3] >> 4 & 0xf) * 4);
        if headers >= u64::from(skb_len) {
            return None;
        }
        Some(Self {
            ports: header[0],
            // A SYN takes the number before the first byte (TCP Fast Open sends data with it).
            sequence: u32::from_be(header[1]).wrapping_add(header[3] >> 9 & 1),
            len: u64::from(skb_len).wrapping_sub(headers),
            skb,
            head,
            skb_len,
            headers,
        })
    }

    /// Returns the number of payload bytes before the fragments.
    #[inline(always)]
    pub(crate) fn linear(&self) -> u64 {
        let data_len: u32 = member(self.skb, &offsets::SKB_DATA_LEN);
        u64::from(self.skb_len.wrapping_sub(data_len)).saturating_sub(self.headers)
    }

    /// Returns the address of the packet's `struct skb_shared_info`.
    #[inline(always)]
    pub(crate) fn shared_info(&self) -> u64 {
        shared_info(self.skb, self.head)
    }
}

/// Returns the ports of a connection in the form of its packets.
#[inline(always)]
pub(crate) fn ports(pair: &SocketPair) -> u32 {
    u32::from(pair.source_port.to_be()) | u32::from(pair.destination_port.to_be()) << 16
}

/// Returns the address of a packet's `struct skb_shared_info`, which holds its fragments.
#[inline(always)]
fn shared_info(skb: u64, head: u64) -> u64 {
    let end: u32 = member(skb, &offsets::SKB_END);
    head.wrapping_add(u64::from(end))
}
