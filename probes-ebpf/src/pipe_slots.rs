//! Slots of pipes that a call consumed or filled, read at its exit.
//!
//! A consumed slot keeps its page until it is filled again, and its `offset + len` stays constant
//! until then.

use core::ptr::addr_of_mut;

use zctrace_records::{
    Call, EndpointState, PageRange, PipeSnapshot, endpoint_kind, nr, page_record_flag, program, station_kind,
};
use zerocopy::FromZeros;

use crate::endpoint::SLOT_SIZE;
use crate::offsets;
use crate::page_record::{self, PageBuffer, RAW_MASK};
use crate::read;

/// Number of slots that are read at once.
const CHUNK: u32 = 16;
/// Maximum number of slots of one endpoint that are recorded: a ring of 4 MiB, four times the limit
/// of unprivileged users.
const MAX_SLOTS: u32 = 1024;
/// Number of chunks in one run of the program.
///
/// A program can make at most 33 tail calls (`MAX_TAIL_CALL_CNT`, include/linux/bpf.h). Two rings
/// of [`MAX_SLOTS`] slots need up to 130 chunks, because a range can wrap around the end of its
/// ring.
const CHUNKS_PER_RUN: u32 = 4;

const _: () = assert!(33 * CHUNKS_PER_RUN >= 2 * (MAX_SLOTS / CHUNK + 1));

/// Position in the ring of one endpoint.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub(crate) struct Cursor {
    ring: u64,
    position: u32,
    end: u32,
    slots: u32,
    /// Side to process next: one of [`side`].
    side: u32,
    /// Number of records of this endpoint so far.
    part: u32,
    /// 1 if the pipe is anonymous, 0 if it can be a FIFO.
    anonymous: u32,
}

/// Sides of a call that are processed next.
mod side {
    pub(super) const SOURCE: u32 = 0;
    pub(super) const SINK: u32 = 1;
    pub(super) const NONE: u32 = 2;
}

/// Resets the cursor to the first slot of a call.
///
/// # Safety
///
/// `cursor` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn reset(cursor: *mut Cursor) {
    // SAFETY: `zero` requires a pointer that is valid for writes, which the caller guarantees, and
    // aligned, which a `Cursor` is.
    unsafe { read::zero(cursor) };
}

/// Records some of the slots of both endpoints, those of the source first. Returns whether all
/// slots are recorded.
///
/// # Safety
///
/// `pages`, `cursor` and `call` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_slots(pages: *mut PageBuffer, cursor: *mut Cursor, call: *mut Call) -> bool {
    // SAFETY: access through `pages`, `cursor` and `call` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        let mut chunk = 0;
        while chunk < CHUNKS_PER_RUN {
            if (*cursor).position == (*cursor).end && !next_pipe(pages, cursor, call) {
                return true;
            }
            emit_chunk(pages, cursor, program::SYS_EXIT);
            (*call).page_records += 1;
            chunk += 1;
        }
        (*cursor).position == (*cursor).end && (*cursor).side == side::NONE
    }
}

/// Records some of the slots of a pre-existing pipe. Returns whether all slots are recorded.
///
/// # Safety
///
/// `pages`, `cursor` and `snapshot` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_snapshot_slots(
    pages: *mut PageBuffer,
    cursor: *mut Cursor,
    snapshot: *mut PipeSnapshot,
) -> bool {
    // SAFETY: access through `pages`, `cursor` and `snapshot` requires valid pointers, which the
    // caller guarantees.
    unsafe {
        let endpoint = addr_of_mut!((*snapshot).endpoint);
        if (*cursor).side != side::NONE {
            (*cursor).side = side::NONE;
            start(
                pages,
                cursor,
                endpoint,
                (*endpoint).before as u32,
                ((*endpoint).before >> 32) as u32,
            );
            (*pages).record.station = station_kind::PIPE_SNAPSHOT;
            (*pages).record.call_id = (*snapshot).call_id;
        }
        if (*cursor).position != (*cursor).end {
            emit_chunk(pages, cursor, program::TASK_FILE);
            (*snapshot).page_records += 1;
        }
        (*cursor).position == (*cursor).end
    }
}

/// Records the next chunk of adjacent slots.
///
/// # Safety
///
/// `pages` and `cursor` must be valid for reads and writes.
#[inline(always)]
unsafe fn emit_chunk(pages: *mut PageBuffer, cursor: *mut Cursor, program: u32) {
    // SAFETY: access through `pages` and `cursor` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        let count = read_slots(pages, cursor);
        let record = addr_of_mut!((*pages).record);
        (*record).part = (*cursor).part;
        (*cursor).part += 1;
        read::zero(addr_of_mut!((*record).file));
        if (*record).station == station_kind::PIPE_SOURCE && (*cursor).anonymous == 1 {
            // The owners were read when the slots were filled, and every process that changes a
            // slot advances the positions of the ring. Only a FIFO has a second life with the same
            // positions and the same inode number: an anonymous pipe's number is used for one pipe.
            (*record).total = fill_vecs(pages, count);
            page_record::clear_owner(pages);
            page_record::emit_run(pages, count, program);
        } else if describe_uniform(pages, count) {
            page_record::emit_run(pages, count, program);
        } else {
            (*record).total = fill_ranges(pages, count);
            page_record::emit_ranges(pages, count, program);
        }
    }
}

/// Advances to the next endpoint that has slots to record. Returns whether there is one.
///
/// # Safety
///
/// `pages`, `cursor` and `call` must be valid for reads and writes.
#[inline(never)]
unsafe fn next_pipe(pages: *mut PageBuffer, cursor: *mut Cursor, call: *mut Call) -> bool {
    // SAFETY: access through `pages`, `cursor` and `call` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        if (*cursor).side == side::SOURCE {
            (*cursor).side = side::SINK;
            if (*call).source.kind == endpoint_kind::PIPE {
                let source = addr_of_mut!((*call).source);
                let head = ((*source).after >> 32) as u32;
                let from = (*source).before as u32;
                let mut to = (*source).after as u32;
                if (*call).nr == nr::TEE {
                    // tee(2) consumes nothing. It has read as many slots as it filled (link_pipe,
                    // fs/splice.c).
                    let sink = addr_of_mut!((*call).sink);
                    let added = (((*sink).after >> 32) as u32).wrapping_sub(((*sink).before >> 32) as u32);
                    to = from.wrapping_add(added);
                } else if head != to {
                    // The call may have consumed a part of the slot at the tail.
                    to = to.wrapping_add(1);
                }
                start(pages, cursor, source, from, to);
                (*pages).record.station = station_kind::PIPE_SOURCE;
                (*pages).record.call_id = (*call).call_id;
            }
        }
        if (*cursor).position == (*cursor).end && (*cursor).side == side::SINK {
            (*cursor).side = side::NONE;
            if (*call).sink.kind == endpoint_kind::PIPE {
                let sink = addr_of_mut!((*call).sink);
                start(
                    pages,
                    cursor,
                    sink,
                    ((*sink).before >> 32) as u32,
                    ((*sink).after >> 32) as u32,
                );
                (*pages).record.station = station_kind::PIPE_SINK;
                (*pages).record.call_id = (*call).call_id;
            }
        }
        (*cursor).position != (*cursor).end
    }
}

/// Prepares record and cursor for the slots `[from, to)` of an endpoint.
///
/// # Safety
///
/// `pages` and `cursor` must be valid for reads and writes, and `endpoint` for reads.
#[inline(never)]
unsafe fn start(pages: *mut PageBuffer, cursor: *mut Cursor, endpoint: *const EndpointState, from: u32, to: u32) {
    // SAFETY: access through `pages`, `cursor` and `endpoint` requires valid pointers, which the
    // caller guarantees.
    unsafe {
        page_record::reset(pages);
        let slots = (*endpoint).size;
        let (mut from, mut to) = (from, to);
        if to.wrapping_sub(from) > slots {
            // The ring wrapped, so the first slots have been overwritten.
            from = to.wrapping_sub(slots);
            (*pages).record.flags = page_record_flag::TRUNCATED;
        }
        if to.wrapping_sub(from) > MAX_SLOTS {
            to = from.wrapping_add(MAX_SLOTS);
            (*pages).record.flags = page_record_flag::TRUNCATED;
        }
        (*pages).record.object = (*endpoint).object;
        (*cursor).ring = (*endpoint).extra;
        (*cursor).position = from;
        (*cursor).end = to;
        (*cursor).slots = slots;
        (*cursor).part = 0;
        (*cursor).anonymous = u32::from((*endpoint).dev == offsets::PIPEFS_DEV.load());
    }
}

/// Reads the next chunk of adjacent slots and returns their number.
///
/// # Safety
///
/// `pages` and `cursor` must be valid for reads and writes.
#[inline(never)]
unsafe fn read_slots(pages: *mut PageBuffer, cursor: *mut Cursor) -> u64 {
    // SAFETY: access through `pages` and `cursor` requires valid pointers, which the caller
    // guarantees. `kernel_bytes` requires room for `RAW_MASK` bytes, which `raw` has.
    unsafe {
        let position = (*cursor).position;
        let index = position & (*cursor).slots.wrapping_sub(1);
        let mut count = (*cursor).end.wrapping_sub(position);
        let until_wrap = (*cursor).slots.wrapping_sub(index);
        if count > until_wrap {
            count = until_wrap;
        }
        if count > CHUNK {
            count = CHUNK;
        }
        if count == 0 {
            return 0;
        }
        (*pages).record.position = u64::from(position);
        (*cursor).position = position.wrapping_add(count);
        let from = (*cursor).ring.wrapping_add(u64::from(index) * SLOT_SIZE);
        read::kernel_bytes::<RAW_MASK>(addr_of_mut!((*pages).raw).cast(), u64::from(count) * SLOT_SIZE, from);
        u64::from(count)
    }
}

/// Passes each slot that was read to `each`, as page, offset and length, and operations. Returns
/// the number of bytes in the slots.
///
/// # Safety
///
/// `pages` must be valid for reads.
#[inline(always)]
unsafe fn for_each_slot(pages: *mut PageBuffer, count: u64, mut each: impl FnMut(usize, [u64; 3])) -> u32 {
    let mut total = 0_u32;
    let mut index = 0;
    while index < CHUNK as usize {
        if index as u64 >= count {
            break;
        }
        // SAFETY: `raw_slot` requires (1) a valid pointer and (2) an index below `CHUNK`. (1) holds
        // because the caller guarantees it, (2) because of the loop's condition.
        let slot = unsafe { raw_slot(pages, index) };
        each(index, slot);
        total = total.wrapping_add((slot[1] >> 32) as u32);
        index += 1;
    }
    total
}

/// Converts the slots that were read to page vectors, and fills in the owner of the first page and
/// the number of bytes. Returns whether this owner describes every page, so that a page run is
/// correct.
///
/// Of slots that were emptied, only mappings and the indexes of files' pages count: they show
/// whether the pages are still those that were put there.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(never)]
unsafe fn describe_uniform(pages: *mut PageBuffer, count: u64) -> bool {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    // `for_each_slot` passes only indexes below `CHUNK`, which is below the number of page vectors.
    unsafe {
        let [page, _, first_ops] = raw_slot(pages, 0);
        let [mapping, first_index] = page_record::read_owner(pages, page);
        let is_source = (*pages).record.station == station_kind::PIPE_SOURCE;
        let first_ops = if is_source { 0 } else { first_ops };
        let mut differences = 0;
        let total = for_each_slot(pages, count, |index, [page, offset_and_len, ops]| {
            set_vec(pages, index, page, offset_and_len);
            let [page_mapping, page_index] = page_record::read_owner(pages, page);
            differences |= page_mapping ^ mapping;
            if !is_source {
                differences |= ops ^ first_ops;
            }
            if !is_source || mapping != 0 {
                differences |= page_index ^ first_index.wrapping_add(index as u64);
            }
        });
        (*pages).record.total = total;
        page_record::set_owner(pages, mapping, first_index, first_ops);
        differences == 0
    }
}

/// Converts the slots that were read to page vectors without owners. Returns the number of bytes in
/// the slots.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(never)]
unsafe fn fill_vecs(pages: *mut PageBuffer, count: u64) -> u32 {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    // `for_each_slot` passes only indexes below `CHUNK`, which is below the number of page vectors.
    unsafe {
        for_each_slot(pages, count, |index, [page, offset_and_len, _]| {
            set_vec(pages, index, page, offset_and_len);
        })
    }
}

/// Returns a slot that was read, as page, offset and length, and operations.
///
/// # Safety
///
/// `pages` must be valid for reads, and `index` must be below [`CHUNK`].
#[inline(always)]
unsafe fn raw_slot(pages: *mut PageBuffer, index: usize) -> [u64; 3] {
    // SAFETY: access through `pages` requires a valid pointer, and `add` an index in bounds. The
    // caller guarantees both.
    unsafe {
        let slot = addr_of_mut!((*pages).raw)
            .cast::<u64>()
            .add(index * (SLOT_SIZE as usize / 8));
        [*slot, *slot.add(1), *slot.add(2)]
    }
}

/// Fills in a page vector. A slot has its offset before its length, a page vector after it.
///
/// # Safety
///
/// `pages` must be valid for writes, and `index` must be below [`CHUNK`].
#[inline(always)]
unsafe fn set_vec(pages: *mut PageBuffer, index: usize, page: u64, offset_and_len: u64) {
    // SAFETY: access through `pages` requires a valid pointer, and `vec_mut` an index in bounds.
    // The caller guarantees both. A page vector has two words.
    unsafe {
        let vec = page_record::vec_mut(pages, index).cast::<u64>();
        *vec = page;
        *vec.add(1) = offset_and_len.rotate_left(32);
    }
}

/// Converts the slots that were read to page ranges with owners. Returns the number of bytes in the
/// slots.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(never)]
unsafe fn fill_ranges(pages: *mut PageBuffer, count: u64) -> u32 {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    // `for_each_slot` passes only indexes below `CHUNK`, which is below `MAX_RANGES`.
    unsafe {
        for_each_slot(pages, count, |index, [page, offset_and_len, ops]| {
            let range = addr_of_mut!((*pages).record.ranges).cast::<PageRange>().add(index);
            (*range).page = page;
            (*range).ops = ops;
            (*range).offset = offset_and_len as u32;
            (*range).len = (offset_and_len >> 32) as u32;
            page_record::fill_owner(pages, range);
        })
    }
}
