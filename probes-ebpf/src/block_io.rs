//! Block I/O requests and dirtied page-cache pages, observed in the thread of the call that causes
//! them.

use core::ptr::addr_of_mut;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::programs::RawTracePointContext;
use zctrace_records::{MAX_RANGES, PageRange, endpoint_kind, page_record_flag, program, station_kind};

use crate::page_record::{self, PageBuffer, VEC_SIZE};
use crate::read::{self, member};
use crate::{in_flight, offsets, tail_call};

/// `OVERLAYFS_SUPER_MAGIC` (include/uapi/linux/magic.h).
const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
/// `S_IFMT` and `S_IFREG` (include/uapi/linux/stat.h).
const S_IFMT: u16 = 0xf000;
const S_IFREG: u16 = 0x8000;
/// `REQ_OP_MASK`, `REQ_OP_READ`, `REQ_OP_WRITE` (`include/linux/blk_types.h`).
const OPERATION: u32 = 0xff;
const READ: u32 = 0;
const WRITE: u32 = 1;

/// Scratch memory for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    cursor: Cursor,
    pages: PageBuffer,
}

scratch!(BIO_SCRATCH: Scratch);

/// Position in a bio.
#[repr(C)]
#[derive(Clone, Copy)]
struct Cursor {
    /// Address of the next vector.
    next: u64,
    /// Bytes of the next vector that are already done.
    done: u32,
    /// Bytes of the bio that are left.
    left: u32,
}

/// Handles a bio that is queued to a block device.
#[inline(always)]
pub(crate) fn on_bio_queue(ctx: &RawTracePointContext) {
    let bio: u64 = ctx.arg(0);
    let tid = bpf_get_current_pid_tgid() as u32;
    let Some(entry) = in_flight::of(tid) else {
        return;
    };
    // SAFETY: dereferencing `entry` requires a valid pointer. Map values stay valid while the
    // program runs.
    let call_id = unsafe { (*entry).call.call_id };
    if call_id == 0 {
        return;
    }
    let operation = member::<u32>(bio, &offsets::BIO_OPF) & OPERATION;
    if operation != READ && operation != WRITE {
        return;
    }
    let Some(scratch) = BIO_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: (1) Access through `scratch` requires a valid pointer. Map values stay valid while
    // the program runs, and only this program uses this scratch memory on this CPU. (2)
    // `tail_call::to` requires the program's own context, which `ctx` is.
    unsafe {
        let pages = addr_of_mut!((*scratch).pages);
        page_record::reset(pages);
        let disk: u64 = member(bio, &offsets::BIO_BDEV);
        let size: u32 = member(bio, &offsets::BIO_SIZE);
        let record = addr_of_mut!((*pages).record);
        (*record).call_id = call_id;
        (*record).object = disk;
        (*record).position = member(bio, &offsets::BIO_SECTOR);
        (*record).total = size;
        (*record).flags = if operation == WRITE { page_record_flag::WRITE } else { 0 };
        (*record).device = member(disk, &offsets::BDEV_DEV);
        (*record).station = station_kind::BIO;
        let vecs: u64 = member(bio, &offsets::BIO_VECS);
        let index: u32 = member(bio, &offsets::BIO_IDX);
        let cursor = addr_of_mut!((*scratch).cursor);
        (*cursor).next = vecs.wrapping_add(u64::from(index) * VEC_SIZE);
        (*cursor).done = member(bio, &offsets::BIO_DONE);
        (*cursor).left = size;
        // On success, the tail call does not return.
        tail_call::to(ctx, tail_call::BIO_VECS);
    }
}

/// Writes the vectors of a bio: the second half of the program, run once per record. A bio has up
/// to 256 vectors (`BIO_MAX_VECS`, include/linux/bio.h).
#[inline(always)]
pub(crate) fn emit_vectors(ctx: &RawTracePointContext) {
    let Some(scratch) = BIO_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: (1) Access through `scratch` requires a valid pointer. Map values stay valid while
    // the program runs, and only this program has used this scratch memory since its first half.
    // (2) `tail_call::to` requires the program's own context, which `ctx` is.
    unsafe {
        let pages = addr_of_mut!((*scratch).pages);
        let cursor = addr_of_mut!((*scratch).cursor);
        let record = addr_of_mut!((*pages).record);
        read::zero(addr_of_mut!((*record).file));
        let count = read_vectors(pages, cursor);
        if count == 0 {
            return;
        }
        page_record::emit_ranges(pages, count, program::BLOCK_BIO_QUEUE);
        (*record).part += 1;
        if (*cursor).left != 0 {
            tail_call::to(ctx, tail_call::BIO_VECS);
        }
    }
}

/// Reads the next vectors into page ranges, as many as a record holds and the bio has. Returns
/// their number.
///
/// # Safety
///
/// `pages` and `cursor` must be valid for reads and writes.
#[inline(never)]
unsafe fn read_vectors(pages: *mut PageBuffer, cursor: *mut Cursor) -> u64 {
    // SAFETY: access through `pages` and `cursor` requires valid pointers, which the caller
    // guarantees. `add(index)` stays in bounds because `index` is below `MAX_RANGES`.
    unsafe {
        let mut index = 0;
        while index < MAX_RANGES {
            let left = (*cursor).left;
            if left == 0 {
                break;
            }
            let [page, len_and_offset]: [u64; 2] = read::kernel((*cursor).next);
            let done = (*cursor).done;
            let len = (len_and_offset as u32).wrapping_sub(done);
            if page == 0 || len == 0 {
                // This bio has no vectors of its own.
                (*cursor).left = 0;
                break;
            }
            let range = addr_of_mut!((*pages).record.ranges).cast::<PageRange>().add(index);
            (*range).page = page;
            (*range).ops = 0;
            (*range).offset = ((len_and_offset >> 32) as u32).wrapping_add(done);
            (*range).len = if len < left { len } else { left };
            (*cursor).left = left - (*range).len;
            (*cursor).next = (*cursor).next.wrapping_add(VEC_SIZE);
            (*cursor).done = 0;
            page_record::fill_owner(pages, range);
            index += 1;
        }
        index as u64
    }
}

/// Returns whether a mapping can be that of the file which holds the bytes of an overlay file: the
/// overlay writes to it in the same thread and at the same offset (fs/overlayfs/file.c:
/// `ovl_write_iter()`), and its own mapping stays empty.
#[inline(always)]
fn is_under_overlay(file: u64, mapping: u64) -> bool {
    let inode: u64 = member(file, &offsets::FILE_INODE);
    let sb: u64 = member(inode, &offsets::INODE_SB);
    if member::<u64>(sb, &offsets::SB_MAGIC) != OVERLAYFS_SUPER_MAGIC {
        return false;
    }
    let host: u64 = member(mapping, &offsets::MAPPING_HOST);
    member::<u16>(host, &offsets::INODE_MODE) & S_IFMT == S_IFREG
}

/// Counts dirtied page-cache pages, if they belong to the file that this thread's call writes to.
#[inline(always)]
pub(crate) fn on_folio_dirtied(folio: u64, mapping: u64) {
    let tid = bpf_get_current_pid_tgid() as u32;
    let Some(entry) = in_flight::of(tid) else {
        return;
    };
    // SAFETY: access through `entry` requires a valid pointer. Map values stay valid while the
    // program runs, and only this thread writes to its entry.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        if (*call).call_id == 0 || (*call).sink.kind != endpoint_kind::FILE {
            return;
        }
        if (*call).sink.object != mapping && !is_under_overlay((*call).sink.file, mapping) {
            return;
        }
        let flags: u64 = read::kernel(folio);
        let large = flags >> (offsets::PAGE_HEAD_BIT.load() & 63) & 1 == 1;
        let pages = if large {
            member::<u32>(folio, &offsets::FOLIO_NR_PAGES)
        } else {
            1
        };
        // A filesystem can dirty other parts of the file, such as the end that it fills with zeros
        // before it writes behind it (fs/xfs/xfs_file.c: `xfs_file_write_checks()`).
        let first = member::<u64>(folio, &offsets::FOLIO_INDEX) << 12;
        let last = first.wrapping_add(u64::from(pages) << 12);
        let (start, requested) = ((*call).sink.before, (*call).requested);
        let end = if requested == 0 {
            u64::MAX
        } else {
            start.saturating_add(requested)
        };
        let from = if first > start { first } else { start };
        let to = if last < end { last } else { end };
        if from < to {
            (*call).dirtied_bytes += to.wrapping_sub(from);
        }
    }
}
