//! The slots of pipes that a call took from or put in, as they lie there at its exit.
//!
//! A slot that was emptied keeps its page, and `offset + len` stays what it was, until it is used again.

use core::ptr::addr_of_mut;

use zctrace_records::{
    Call, EndpointState, PageRange, PipeSnapshot, endpoint_kind, nr, page_record_flag, program, station_kind,
};
use zerocopy::FromZeros;

use crate::endpoint::SLOT_SIZE;
use crate::page_record::{self, PageBuffer, RAW_MASK};
use crate::read;

/// Slots that are read at once.
const CHUNK: u32 = 16;
/// Slots of one end that are written at most: a ring of 4 MiB, four times what users without privileges may have.
const MAX_SLOTS: u32 = 1024;
/// Chunks in one run of the program. A program goes on by a tail call 33 times at most (`MAX_TAIL_CALL_CNT`,
/// include/linux/bpf.h), and two rings of [`MAX_SLOTS`] slots are 130 chunks, for the ring's end may cut one in two.
const CHUNKS_PER_RUN: u32 = 4;

const _: () = assert!(33 * CHUNKS_PER_RUN >= 2 * (MAX_SLOTS / CHUNK + 1));

/// Where we are in the ring of one end.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub(crate) struct Cursor {
    ring: u64,
    position: u32,
    end: u32,
    slots: u32,
    /// Which end is next: one of [`side`].
    side: u32,
    /// Records of this end so far.
    part: u32,
    reserved: u32,
}

/// Which end of a call is next.
mod side {
    pub(super) const SOURCE: u32 = 0;
    pub(super) const SINK: u32 = 1;
    pub(super) const NONE: u32 = 2;
}

/// Sets the cursor before the slots of a call.
///
/// # Safety
///
/// `cursor` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn reset(cursor: *mut Cursor) {
    // SAFETY: the caller's promise.
    unsafe { read::zero(cursor) };
}

/// Writes some of the slots of both ends, the source's first; tells whether that was all.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_slots(pages: *mut PageBuffer, cursor: *mut Cursor, call: *mut Call) -> bool {
    // SAFETY: the caller's promise.
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

/// Writes some of the slots of a pipe that was there before; tells whether that was all.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_snapshot_slots(
    pages: *mut PageBuffer,
    cursor: *mut Cursor,
    snapshot: *mut PipeSnapshot,
) -> bool {
    // SAFETY: the caller's promise.
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

/// Writes the next slots that lie one after the other.
///
/// # Safety
///
/// Both must be valid for reads and writes.
#[inline(always)]
unsafe fn emit_chunk(pages: *mut PageBuffer, cursor: *mut Cursor, program: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let count = read_slots(pages, cursor);
        let record = addr_of_mut!((*pages).record);
        (*record).part = (*cursor).part;
        (*cursor).part += 1;
        read::zero(addr_of_mut!((*record).file));
        if (*record).station == station_kind::PIPE_SOURCE {
            // Whose they are was told when they were put in.
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

/// Goes on to the next end that has slots to look at; tells whether there was one.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(never)]
unsafe fn next_pipe(pages: *mut PageBuffer, cursor: *mut Cursor, call: *mut Call) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if (*cursor).side == side::SOURCE {
            (*cursor).side = side::SINK;
            if (*call).source.kind == endpoint_kind::PIPE {
                let source = addr_of_mut!((*call).source);
                let head = ((*source).after >> 32) as u32;
                let from = (*source).before as u32;
                let mut to = (*source).after as u32;
                if (*call).nr == nr::TEE {
                    // It takes nothing out: as many slots as it put in were looked at (link_pipe, fs/splice.c).
                    let sink = addr_of_mut!((*call).sink);
                    let added = (((*sink).after >> 32) as u32).wrapping_sub(((*sink).before >> 32) as u32);
                    to = from.wrapping_add(added);
                } else if head != to {
                    // The slot at the tail may have been taken in part.
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

/// Prepares the record and the cursor for slots `[from, to)` of an end.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(never)]
unsafe fn start(pages: *mut PageBuffer, cursor: *mut Cursor, endpoint: *const EndpointState, from: u32, to: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        page_record::reset(pages);
        let slots = (*endpoint).size;
        let (mut from, mut to) = (from, to);
        if to.wrapping_sub(from) > slots {
            // The ring went round: what was there first has been written over.
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
    }
}

/// Reads the next slots that lie one after the other, and tells how many.
///
/// # Safety
///
/// Both must be valid for reads and writes.
#[inline(never)]
unsafe fn read_slots(pages: *mut PageBuffer, cursor: *mut Cursor) -> u64 {
    // SAFETY: the caller's promise.
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

/// Takes the slots that were read one after the other, each as page, offset and length, and operations; tells how many bytes
/// they hold.
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
        // SAFETY: the caller's promise; the index is below the number of slots.
        let slot = unsafe { raw_slot(pages, index) };
        each(index, slot);
        total = total.wrapping_add((slot[1] >> 32) as u32);
        index += 1;
    }
    total
}

/// Makes extents of the slots that were read; tells how many bytes they hold.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(never)]
unsafe fn fill_vecs(pages: *mut PageBuffer, count: u64) -> u32 {
    // SAFETY: the caller's promise; the index is below the number of extents.
    unsafe {
        for_each_slot(pages, count, |index, [page, offset_and_len, _]| {
            set_vec(pages, index, page, offset_and_len);
        })
    }
}

/// The same, with what there is to say of all of their pages and of how many bytes they hold; tells whether that is right for
/// each of them.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(never)]
unsafe fn describe_uniform(pages: *mut PageBuffer, count: u64) -> bool {
    // SAFETY: as above.
    unsafe {
        let [page, _, first_ops] = raw_slot(pages, 0);
        let [mapping, first_index] = page_record::read_owner(pages, page);
        let mut differences = 0;
        let total = for_each_slot(pages, count, |index, [page, offset_and_len, ops]| {
            set_vec(pages, index, page, offset_and_len);
            let [page_mapping, page_index] = page_record::read_owner(pages, page);
            differences |=
                (page_mapping ^ mapping) | (page_index ^ first_index.wrapping_add(index as u64)) | (ops ^ first_ops);
        });
        (*pages).record.total = total;
        page_record::set_owner(pages, mapping, first_index, first_ops);
        differences == 0
    }
}

/// Page, offset and length, and operations of a slot that was read.
///
/// # Safety
///
/// `pages` must be valid for reads, and `index` be below [`CHUNK`].
#[inline(always)]
unsafe fn raw_slot(pages: *mut PageBuffer, index: usize) -> [u64; 3] {
    // SAFETY: the caller's promise.
    unsafe {
        let slot = addr_of_mut!((*pages).raw)
            .cast::<u64>()
            .add(index * (SLOT_SIZE as usize / 8));
        [*slot, *slot.add(1), *slot.add(2)]
    }
}

/// Fills in an extent: a slot has its offset before its length, an extent behind it.
///
/// # Safety
///
/// `pages` must be valid for writes, and `index` be below [`CHUNK`].
#[inline(always)]
unsafe fn set_vec(pages: *mut PageBuffer, index: usize, page: u64, offset_and_len: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        let vec = page_record::vec_mut(pages, index).cast::<u64>();
        *vec = page;
        *vec.add(1) = offset_and_len.rotate_left(32);
    }
}

/// Makes pieces of the slots that were read; tells how many bytes they hold.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(never)]
unsafe fn fill_ranges(pages: *mut PageBuffer, count: u64) -> u32 {
    // SAFETY: the caller's promise; the index is below the number of pieces.
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
