//! Which file a page belongs to, and records of pieces of pages.

use core::mem::size_of;
use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::generated;
use zctrace_records::{FileId, MAPPING_NOT_READ, MAX_RANGES, PageRange, PageRecord, PageRun, PageVec};

use crate::emit;
use crate::offsets;
use crate::page::{MAPPING_FLAGS, compound_head, read_file_id};
use crate::read::{self, member};

/// Room for a record of pieces, and what is needed to fill it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PageBuffer {
    /// The record; where a [`PageRun`] tells all of it, that lies here, too: their heads are the same.
    pub(crate) record: PageRecord,
    /// What its length is masked to lies behind it.
    slack: [u64; 20],
    /// A `struct page`.
    page_words: [u64; PAGE_WORDS],
    /// The file whose mapping was seen last.
    last_file: FileId,
    /// Slots, fragments or vectors as the kernel has them, read at once.
    pub(crate) raw: [u64; RAW],
}

const _: () = {
    assert!(size_of::<PageRecord>() + 160 == emit::MAX_RECORD_SIZE as usize);
    assert!(PageRun::HEAD_SIZE + VECS_MASK as usize <= size_of::<PageRecord>());
    assert!(MAX_RANGES * size_of::<PageVec>() <= VECS_MASK as usize);
    assert!(size_of::<PageVec>() == VEC_SIZE as usize);
};

/// Words of a `struct page`; the user side makes sure that it has 64 bytes.
const PAGE_WORDS: usize = 8;
/// Bytes of a `struct page`.
const PAGE_STRUCT_SIZE: u64 = 64;
/// Words that [`read::kernel_bytes`] can fill with a mask of [`RAW_MASK`].
const RAW: usize = 128;
/// See [`RAW`].
pub(crate) const RAW_MASK: u64 = 1023;
/// The same of the extents of a row, behind which the rest of a station has room.
pub(crate) const VECS_MASK: u64 = 511;

/// Bytes of a `bio_vec` and of a `skb_frag_t`, which the user side makes sure of: the page, a length, an offset
/// (include/linux/bvec.h, include/linux/skbuff.h).
pub(crate) const VEC_SIZE: u64 = 16;

/// Clears the record, all but its head and pieces.
///
/// # Safety
///
/// `pages` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn reset(pages: *mut PageBuffer) {
    // SAFETY: the caller's promise.
    unsafe {
        let record = addr_of_mut!((*pages).record);
        // The head of a record is filled in when it is written.
        read::zero(record.cast::<[u8; PageRecord::HEAD_SIZE]>());
        read::zero(addr_of_mut!((*pages).last_file));
    }
}

/// The record as a row.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn as_run(pages: *mut PageBuffer) -> *mut PageRun {
    // SAFETY: the caller's promise; a row is shorter than a station.
    unsafe { addr_of_mut!((*pages).record).cast() }
}

/// An extent of the row.
///
/// # Safety
///
/// `pages` must be valid for reads and writes, and `index` be below [`MAX_RANGES`].
#[inline(always)]
pub(crate) unsafe fn vec_mut(pages: *mut PageBuffer, index: usize) -> *mut PageVec {
    // SAFETY: the caller's promise.
    unsafe { addr_of_mut!((*as_run(pages)).vecs).cast::<PageVec>().add(index) }
}

/// Says of a row that nobody looked whose its pages are.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn clear_owner(pages: *mut PageBuffer) {
    // SAFETY: the caller's promise.
    unsafe {
        let run = as_run(pages);
        (*run).mapping = MAPPING_NOT_READ;
        read::zero(addr_of_mut!((*run).index));
        read::zero(addr_of_mut!((*run).ops));
    }
}

/// Says whose the pages of a row are, whose first one has this mapping and index.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn set_owner(pages: *mut PageBuffer, mapping: u64, index: u64, ops: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        let run = as_run(pages);
        (*run).index = index;
        (*run).ops = ops;
        (*run).mapping = validate_mapping(pages, mapping);
    }
}

/// Fills in what is known of the piece's page: `page`, `offset` and `len` are there.
///
/// # Safety
///
/// `pages` must be valid for reads and writes, and `piece` lie in it.
#[inline(never)]
pub(crate) unsafe fn fill_owner(pages: *mut PageBuffer, range: *mut PageRange) {
    // SAFETY: the caller's promise.
    unsafe {
        let page = (*range).page;
        read::zero(addr_of_mut!((*range).mapping));
        read::zero(addr_of_mut!((*range).index));
        if page == 0 {
            return;
        }
        let [mapping, index] = read_owner(pages, page);
        // A page that was cut off its file keeps its index (mm/filemap.c, `page_cache_delete`): that tells it from a copy.
        (*range).index = index;
        (*range).mapping = validate_mapping(pages, mapping);
    }
}

/// Mapping and index of a page, as its folio has them: whether the mapping is a file's is not looked at.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn read_owner(pages: *mut PageBuffer, page: u64) -> [u64; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let link = read_compound_link(pages, page);
        let head = compound_head(page, link);
        if head != page {
            load_page(pages, head);
        }
        let page_in_folio = page.wrapping_sub(head) / PAGE_STRUCT_SIZE;
        let index = page_word(pages, head, &offsets::FOLIO_INDEX).wrapping_add(page_in_folio);
        [page_word(pages, head, &offsets::FOLIO_MAPPING), index]
    }
}

/// The mapping, or 0 if it should be a file's and is not: in pages that are the kernel's own something else lies there. The
/// first file of a record is noted in it.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
unsafe fn validate_mapping(pages: *mut PageBuffer, mapping: u64) -> u64 {
    if mapping == 0 || mapping & MAPPING_FLAGS != 0 {
        return mapping;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let file = addr_of_mut!((*pages).last_file);
        if mapping != (*file).mapping && !read_file_id(file, mapping) {
            return 0;
        }
        if (*pages).record.file.mapping == 0 {
            read::copy(addr_of_mut!((*pages).record.file), file);
        }
    }
    mapping
}

/// Begins with a page, and tells its link to a head. Without direct reads the whole `struct page` is copied: one call for all
/// of its members.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
unsafe fn read_compound_link(pages: *mut PageBuffer, page: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        load_page(pages, page);
        page_word(pages, page, &offsets::PAGE_COMPOUND)
    }
}

/// Goes on with another page.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
unsafe fn load_page(pages: *mut PageBuffer, page: u64) {
    if offsets::RDONLY_CAST.load() == 0 {
        // SAFETY: the caller's promise.
        unsafe {
            let words = addr_of_mut!((*pages).page_words);
            generated::bpf_probe_read_kernel(words.cast(), PAGE_STRUCT_SIZE as u32, page as *const _);
        }
    }
}

/// A word of the page.
///
/// # Safety
///
/// `pages` must be valid for reads; it holds the page unless there are direct reads.
#[inline(always)]
unsafe fn page_word(pages: *const PageBuffer, page: u64, offset: &offsets::Offset) -> u64 {
    if offsets::RDONLY_CAST.load() == 1 {
        return member(page, offset);
    }
    let index = (offset.load() as usize >> 3) & (PAGE_WORDS - 1);
    // SAFETY: the caller's promise; the index is one of the words there are.
    unsafe { *addr_of!((*pages).page_words).cast::<u64>().add(index) }
}

/// Writes the record with its first `count` pieces.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_ranges(pages: *mut PageBuffer, count: u64, program: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let record = addr_of_mut!((*pages).record);
        (*record).count = count as u16;
        let len = PageRecord::HEAD_SIZE as u64 + count * size_of::<PageRange>() as u64;
        emit::emit_prefix(record.cast(), len, PageRecord::KIND, program);
    }
}

/// Writes the record as a row with its first `count` extents.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_run(pages: *mut PageBuffer, count: u64, program: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let run = as_run(pages);
        (*run).count = count as u16;
        let len = PageRun::HEAD_SIZE as u64 + count * size_of::<PageVec>() as u64;
        emit::emit_prefix(run.cast(), len, PageRun::KIND, program);
    }
}
