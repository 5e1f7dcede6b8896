//! Sums over pages: of slots and of fragments.

use zctrace_records::{CHECKPOINT_BYTES, DigestSum, mix};
use zerocopy::FromZeros;

use crate::endpoint::SLOT_SIZE;
use crate::page_record::VEC_SIZE;
use crate::read::{self, member};
use crate::{offsets, page};

/// Pieces of one send: `splice_to_socket` (fs/splice.c) hands over 16 slots at a time.
const MAX_SLOTS: u32 = 16;
/// Fragments of a packet, at most (`MAX_SKB_FRAGS`, 17 by default).
const MAX_FRAGS: u32 = 45;

/// Pages on their way into a sum.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub(crate) struct Accumulator {
    pub(crate) sum: DigestSum,
    /// The sum at the last checkpoint that was passed; its position is 0 if none was.
    pub(crate) checkpoint: DigestSum,
    /// Bytes to leave out: they are in the sum already.
    pub(crate) skip: u64,
    /// The mapping of the first page; whether another one had another.
    pub(crate) mapping: u64,
    pub(crate) other_mappings: u64,
}

/// Sums up the slots of a pipe from its tail on, for `left` bytes: the call has not emptied them yet.
///
/// # Safety
///
/// `walk` must be valid for reads and writes.
#[inline(never)]
pub(crate) unsafe fn add_slots(acc: *mut Accumulator, pipe: u64, left: u64) {
    let tail: u32 = member(pipe, &offsets::PIPE_TAIL);
    let slots: u32 = member(pipe, &offsets::PIPE_RING_SIZE);
    let ring: u64 = member(pipe, &offsets::PIPE_BUFS);
    let mask = slots.wrapping_sub(1);
    // SAFETY: the caller's promise. In registers it is faster than where it lies.
    let mut local = unsafe { *acc };
    let mut left = left;
    let mut index = 0;
    while index < MAX_SLOTS {
        if left == 0 || ring == 0 {
            break;
        }
        let slot = ring.wrapping_add(u64::from(tail.wrapping_add(index) & mask) * SLOT_SIZE);
        let page: u64 = read::kernel(slot);
        let [offset, len] = read::kernel::<[u32; 2]>(slot.wrapping_add(8));
        let len = if u64::from(len) > left { left } else { u64::from(len) };
        add_range(&mut local, page, offset, len);
        left = left.wrapping_sub(len);
        index += 1;
    }
    // SAFETY: the caller's promise.
    unsafe { *acc = local };
}

/// Adds a piece of a page to a sum.
#[inline(always)]
fn add_range(acc: &mut Accumulator, page: u64, offset: u32, len: u64) {
    let (mut offset, mut len) = (u64::from(offset), len);
    if acc.skip != 0 {
        let skip = if acc.skip > len { len } else { acc.skip };
        acc.skip = acc.skip.wrapping_sub(skip);
        offset = offset.wrapping_add(skip);
        len = len.wrapping_sub(skip);
    }
    let start = acc.sum.position;
    let end = start.wrapping_add(len);
    let mapping = page::mapping_of(page);
    let (mut weight, mut paged_bytes) = (0, 0);
    if mapping != 0 {
        if acc.mapping == 0 {
            acc.mapping = mapping;
        }
        acc.other_mappings |= acc.mapping ^ mapping;
        // `struct page`s lie one after the other as their pages do, 64 bytes each, which the user side makes sure of.
        let position = (page >> 6 << 12).wrapping_add(offset);
        weight = mix(position.wrapping_sub(start), offsets::DIGEST_SECRET.load());
        paged_bytes = len;
    }
    let checkpoint = end & !(CHECKPOINT_BYTES - 1);
    if checkpoint > start {
        let before = checkpoint.wrapping_sub(start);
        acc.checkpoint.position = checkpoint;
        acc.checkpoint.sum = acc.sum.sum.wrapping_add(before.wrapping_mul(weight));
        acc.checkpoint.paged_bytes = acc
            .sum
            .paged_bytes
            .wrapping_add(if paged_bytes == 0 { 0 } else { before });
    }
    acc.sum.sum = acc.sum.sum.wrapping_add(len.wrapping_mul(weight));
    acc.sum.paged_bytes = acc.sum.paged_bytes.wrapping_add(paged_bytes);
    acc.sum.position = end;
}

/// Goes on over bytes that are in no page with a name.
#[inline(always)]
pub(crate) fn skip_bytes(acc: &mut Accumulator, len: u64) {
    let start = acc.sum.position;
    let end = start.wrapping_add(len);
    let checkpoint = end & !(CHECKPOINT_BYTES - 1);
    if checkpoint > start {
        acc.checkpoint = acc.sum;
        acc.checkpoint.position = checkpoint;
    }
    acc.sum.position = end;
}

/// Sums up the fragments of a packet.
///
/// # Safety
///
/// `walk` must be valid for reads and writes.
#[inline(never)]
pub(crate) unsafe fn add_frags(acc: *mut Accumulator, shared: u64) {
    let count = u32::from(member::<u8>(shared, &offsets::SHINFO_NR_FRAGS));
    let from = shared.wrapping_add(u64::from(offsets::SHINFO_FRAGS.load()));
    // SAFETY: as in `slots`.
    let mut local = unsafe { *acc };
    let mut index = 0;
    while index < MAX_FRAGS {
        if index >= count {
            break;
        }
        let fragment = from.wrapping_add(u64::from(index) * VEC_SIZE);
        let netmem: u64 = read::kernel(fragment);
        let [len, offset] = read::kernel::<[u32; 2]>(fragment.wrapping_add(8));
        // Bit 0 marks memory of a device, which has no page (NET_IOV, include/net/netmem.h).
        let page = if netmem & 1 == 1 { 0 } else { netmem };
        add_range(&mut local, page, offset, u64::from(len));
        index += 1;
    }
    // SAFETY: the caller's promise.
    unsafe { *acc = local };
}
