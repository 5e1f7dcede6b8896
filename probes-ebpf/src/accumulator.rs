//! Accumulation of page digests over slots and fragments.

use zctrace_records::{CHECKPOINT_BYTES, DigestSum, mix};
use zerocopy::FromZeros;

use crate::endpoint::SLOT_SIZE;
use crate::page_record::VEC_SIZE;
use crate::read::{self, member};
use crate::{offsets, page};

/// Maximum number of slots of one send: `splice_to_socket` (fs/splice.c) sends 16 slots at a time.
const MAX_SLOTS: u32 = 16;
/// Maximum number of fragments of a packet (`MAX_SKB_FRAGS`, 17 by default).
const MAX_FRAGS: u32 = 45;

/// Digest in progress, and the page ranges that were added to it.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub(crate) struct Accumulator {
    pub(crate) sum: DigestSum,
    /// Digest at the last checkpoint that was passed; its position is 0 if none was passed.
    pub(crate) checkpoint: DigestSum,
    /// Bytes to skip, because the digest already includes them.
    pub(crate) skip: u64,
    /// Mapping of the first page with one. `other_mappings` is not 0 if another page has a
    /// different mapping.
    pub(crate) mapping: u64,
    pub(crate) other_mappings: u64,
}

/// Adds the slots of a pipe to a digest, from the tail on, for `left` bytes. The call must not have
/// consumed these slots yet.
///
/// # Safety
///
/// `acc` must be valid for reads and writes.
#[inline(never)]
pub(crate) unsafe fn add_slots(acc: *mut Accumulator, pipe: u64, left: u64) {
    let tail: u32 = member(pipe, &offsets::PIPE_TAIL);
    let slots: u32 = member(pipe, &offsets::PIPE_RING_SIZE);
    let ring: u64 = member(pipe, &offsets::PIPE_BUFS);
    let mask = slots.wrapping_sub(1);
    // SAFETY: reading `*acc` requires a valid pointer, which the caller guarantees. The copy stays
    // in registers, which is faster than updating the map value.
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
    // SAFETY: writing `*acc` requires a valid pointer, which the caller guarantees.
    unsafe { *acc = local };
}

/// Adds a page range to a digest.
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
        // `struct page`s are 64 bytes each and adjacent in the order of their pages. The loader
        // verifies the size.
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

/// Advances a digest over bytes in pages that belong neither to a file nor to a process.
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

/// Adds the fragments of a packet to a digest.
///
/// # Safety
///
/// `acc` must be valid for reads and writes.
#[inline(never)]
pub(crate) unsafe fn add_frags(acc: *mut Accumulator, shared: u64) {
    let count = u32::from(member::<u8>(shared, &offsets::SHINFO_NR_FRAGS));
    let from = shared.wrapping_add(u64::from(offsets::SHINFO_FRAGS.load()));
    // SAFETY: reading `*acc` requires a valid pointer, which the caller guarantees.
    let mut local = unsafe { *acc };
    let mut index = 0;
    while index < MAX_FRAGS {
        if index >= count {
            break;
        }
        let fragment = from.wrapping_add(u64::from(index) * VEC_SIZE);
        let netmem: u64 = read::kernel(fragment);
        let [len, offset] = read::kernel::<[u32; 2]>(fragment.wrapping_add(8));
        // Bit 0 marks device memory, which has no page (NET_IOV, include/net/netmem.h).
        let page = if netmem & 1 == 1 { 0 } else { netmem };
        add_range(&mut local, page, offset, u64::from(len));
        index += 1;
    }
    // SAFETY: writing `*acc` requires a valid pointer, which the caller guarantees.
    unsafe { *acc = local };
}
