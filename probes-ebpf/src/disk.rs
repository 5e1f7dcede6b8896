//! What a call does to a disk and to the page cache, in its own thread.

use core::ptr::addr_of_mut;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::programs::RawTracePointContext;
use zctrace_records::{MAX_RANGES, PageRange, endpoint_kind, page_record_flag, program, station_kind};

use crate::maps::{CONTINUE, DISK, ENTRIES, on};
use crate::offsets as at;
use crate::pages::{self, Pages, VEC};
use crate::read::{self, member};

/// `REQ_OP_MASK`, `REQ_OP_READ`, `REQ_OP_WRITE` (`include/linux/blk_types.h`).
const OPERATION: u32 = 0xff;
const READ: u32 = 0;
const WRITE: u32 = 1;

/// Room for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    cursor: Cursor,
    pages: Pages,
}

/// Where we are in a bio.
#[repr(C)]
#[derive(Clone, Copy)]
struct Cursor {
    /// The next vector.
    next: u64,
    /// Bytes of it that are done already.
    done: u32,
    /// Bytes of the bio that are left.
    left: u32,
}

/// A bio goes to a disk's queue.
#[inline(always)]
pub(crate) fn queued(ctx: &RawTracePointContext) {
    let bio: u64 = ctx.arg(0);
    let tid = bpf_get_current_pid_tgid() as u32;
    let Some(entry) = ENTRIES.get_ptr(tid) else {
        return;
    };
    // SAFETY: a map's value is valid as long as the program runs.
    let serial = unsafe { (*entry).call.call_id };
    if serial == 0 {
        return;
    }
    let operation = member::<u32>(bio, &at::BIO_OPF) & OPERATION;
    if operation != READ && operation != WRITE {
        return;
    }
    let Some(room) = DISK.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: map values are valid as long as the program runs; the room is this program's on this CPU. The context is
    // its own.
    unsafe {
        let pages = addr_of_mut!((*room).pages);
        pages::clear(pages);
        let disk: u64 = member(bio, &at::BIO_BDEV);
        let size: u32 = member(bio, &at::BIO_SIZE);
        let station = addr_of_mut!((*pages).station);
        (*station).call_id = serial;
        (*station).object = disk;
        (*station).position = member(bio, &at::BIO_SECTOR);
        (*station).total = size;
        (*station).flags = if operation == WRITE { page_record_flag::WRITE } else { 0 };
        (*station).device = member(disk, &at::BDEV_DEV);
        (*station).station = station_kind::BIO;
        let vecs: u64 = member(bio, &at::BIO_VECS);
        let index: u32 = member(bio, &at::BIO_IDX);
        let cursor = addr_of_mut!((*room).cursor);
        (*cursor).next = vecs.wrapping_add(u64::from(index) * VEC);
        (*cursor).done = member(bio, &at::BIO_DONE);
        (*cursor).left = size;
        // It goes on there, and does not come back.
        CONTINUE.tail_call(ctx, on::BIO);
    }
}

/// The second half of the program, run once for each record: a bio has up to 256 vectors (`BIO_MAX_VECS`,
/// include/linux/bio.h).
#[inline(always)]
pub(crate) fn vectors(ctx: &RawTracePointContext) {
    let Some(room) = DISK.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as above; the room is this program's since its first half.
    unsafe {
        let pages = addr_of_mut!((*room).pages);
        let cursor = addr_of_mut!((*room).cursor);
        let station = addr_of_mut!((*pages).station);
        read::zero(addr_of_mut!((*station).file));
        let count = take(pages, cursor);
        if count == 0 {
            return;
        }
        pages::write(pages, count, program::BLOCK_BIO_QUEUE);
        (*station).part += 1;
        if (*cursor).left != 0 {
            CONTINUE.tail_call(ctx, on::BIO);
        }
    }
}

/// Makes pieces of the next vectors, as many as a record holds and the bio has; tells how many.
///
/// # Safety
///
/// Both must be valid for reads and writes.
#[inline(never)]
unsafe fn take(pages: *mut Pages, cursor: *mut Cursor) -> u64 {
    // SAFETY: the caller's promise; the index is below the number of pieces and of vectors.
    unsafe {
        let mut index = 0;
        while index < MAX_RANGES {
            let left = (*cursor).left;
            if left == 0 {
                break;
            }
            let [page, extent]: [u64; 2] = read::at((*cursor).next);
            let done = (*cursor).done;
            let len = (extent as u32).wrapping_sub(done);
            if page == 0 || len == 0 {
                // Not a bio with vectors of its own.
                (*cursor).left = 0;
                break;
            }
            let piece = addr_of_mut!((*pages).station.ranges).cast::<PageRange>().add(index);
            (*piece).page = page;
            (*piece).ops = 0;
            (*piece).offset = ((extent >> 32) as u32).wrapping_add(done);
            (*piece).len = if len < left { len } else { left };
            (*cursor).left = left - (*piece).len;
            (*cursor).next = (*cursor).next.wrapping_add(VEC);
            (*cursor).done = 0;
            pages::describe(pages, piece);
            index += 1;
        }
        index as u64
    }
}

/// Pages of a file become dirty: counted, if they are those of the file that this thread's call writes to.
#[inline(always)]
pub(crate) fn dirtied(folio: u64, mapping: u64) {
    let tid = bpf_get_current_pid_tgid() as u32;
    let Some(entry) = ENTRIES.get_ptr_mut(tid) else {
        return;
    };
    // SAFETY: a map's value is valid as long as the program runs; only this thread writes to it.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        if (*call).call_id == 0 || (*call).sink.kind != endpoint_kind::FILE || (*call).sink.object != mapping {
            return;
        }
        let flags: u64 = read::at(folio);
        let large = flags >> (at::PAGE_HEAD_BIT.load() & 63) & 1 == 1;
        let pages = if large {
            member::<u32>(folio, &at::FOLIO_NR_PAGES)
        } else {
            1
        };
        (*call).dirtied_bytes += u64::from(pages) << 12;
    }
}
