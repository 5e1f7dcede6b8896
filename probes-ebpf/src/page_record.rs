//! Owners of pages, and records of page ranges.

use core::mem::size_of;
use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::generated;
use zctrace_records::{
    FileId, MAPPING_NOT_READ, MAPPING_TRUNCATED, MAX_RANGES, PageRange, PageRecord, PageRun, PageVec,
};

use crate::emit;
use crate::offsets;
use crate::page::{MAPPING_FLAGS, compound_head, read_file_id};
use crate::read::{self, member};

/// Buffer for a page record, with the memory needed to fill it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PageBuffer {
    /// The page record. A [`PageRun`] occupies the same memory, because both start with the same
    /// fields.
    pub(crate) record: PageRecord,
    /// Padding behind the record, because the verifier's bound for its length is a mask and exceeds
    /// the record's size.
    slack: [u64; 20],
    /// Copy of a `struct page`.
    page_words: [u64; PAGE_WORDS],
    /// File whose mapping was read last.
    last_file: FileId,
    /// Slots, fragments or vectors in the kernel's layout, read at once.
    pub(crate) raw: [u64; RAW],
}

const _: () = {
    assert!(size_of::<PageRecord>() + 160 == emit::MAX_RECORD_SIZE as usize);
    assert!(PageRun::HEAD_SIZE + VECS_MASK as usize <= size_of::<PageRecord>());
    assert!(MAX_RANGES * size_of::<PageVec>() <= VECS_MASK as usize);
    assert!(size_of::<PageVec>() == VEC_SIZE as usize);
};

/// Number of words of a `struct page`. The loader verifies its size of 64 bytes.
const PAGE_WORDS: usize = 8;
/// Size of a `struct page`, in bytes.
const PAGE_STRUCT_SIZE: u64 = 64;
/// Number of words that [`read::kernel_bytes`] can fill with the mask [`RAW_MASK`].
const RAW: usize = 128;
/// Mask for the length of a read into [`PageBuffer::raw`], in bytes.
pub(crate) const RAW_MASK: u64 = 1023;
/// Mask for the length of a read into the page vectors of a run, in bytes. The buffer has room for
/// it, because a page record is longer than a page run.
pub(crate) const VECS_MASK: u64 = 511;

/// Size of a `bio_vec` and of a `skb_frag_t`, in bytes: page, length, offset. The loader verifies
/// the layout (include/linux/bvec.h, include/linux/skbuff.h).
pub(crate) const VEC_SIZE: u64 = 16;

/// Clears the record except its ranges, and the last file.
///
/// # Safety
///
/// `pages` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn reset(pages: *mut PageBuffer) {
    // SAFETY: writing through `pages` requires a valid pointer, which the caller guarantees.
    unsafe {
        let record = addr_of_mut!((*pages).record);
        // Includes the record header, which is filled in when the record is written.
        read::zero(record.cast::<[u8; PageRecord::HEAD_SIZE]>());
        read::zero(addr_of_mut!((*pages).last_file));
    }
}

/// Returns the record as a page run.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn as_run(pages: *mut PageBuffer) -> *mut PageRun {
    // SAFETY: the address of a field requires a valid pointer, which the caller guarantees. The
    // cast stays in bounds because a page run is shorter than a page record.
    unsafe { addr_of_mut!((*pages).record).cast() }
}

/// Returns a page vector of the run.
///
/// # Safety
///
/// `pages` must be valid for reads and writes, and `index` must be below [`MAX_RANGES`].
#[inline(always)]
pub(crate) unsafe fn vec_mut(pages: *mut PageBuffer, index: usize) -> *mut PageVec {
    // SAFETY: access through `pages` requires a valid pointer, and `add` an index in bounds. The
    // caller guarantees both.
    unsafe { addr_of_mut!((*as_run(pages)).vecs).cast::<PageVec>().add(index) }
}

/// Marks the owners of a run's pages as not read.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn clear_owner(pages: *mut PageBuffer) {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    unsafe {
        let run = as_run(pages);
        (*run).mapping = MAPPING_NOT_READ;
        read::zero(addr_of_mut!((*run).index));
        read::zero(addr_of_mut!((*run).ops));
    }
}

/// Sets the owner of a run's pages from the mapping and index of the first page, and their
/// operations.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn set_owner(pages: *mut PageBuffer, mapping: u64, index: u64, ops: u64) {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    unsafe {
        let run = as_run(pages);
        (*run).index = index;
        (*run).ops = ops;
        (*run).mapping = validate_mapping(pages, mapping);
    }
}

/// Fills in the owner of a range's page. `page`, `offset` and `len` must be filled in.
///
/// # Safety
///
/// `pages` must be valid for reads and writes, and `range` must point into it.
#[inline(never)]
pub(crate) unsafe fn fill_owner(pages: *mut PageBuffer, range: *mut PageRange) {
    // SAFETY: access through `pages` and `range` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        let page = (*range).page;
        read::zero(addr_of_mut!((*range).mapping));
        read::zero(addr_of_mut!((*range).index));
        if page == 0 {
            return;
        }
        let [mapping, index] = read_owner(pages, page);
        // A page that was removed from its file keeps its index (mm/filemap.c,
        // `page_cache_delete`), which distinguishes it from a copy.
        (*range).index = index;
        (*range).mapping = validate_mapping(pages, mapping);
    }
}

/// Returns mapping and index of a page, as in its folio. The mapping is not validated.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn read_owner(pages: *mut PageBuffer, page: u64) -> [u64; 2] {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    unsafe {
        let link = read_compound_link(pages, page);
        let head = compound_head(page, link);
        if head != page {
            load_page(pages, head);
        }
        let page_in_folio = page.wrapping_sub(head) / PAGE_STRUCT_SIZE;
        let index = page_word(pages, head, &offsets::FOLIO_INDEX).wrapping_add(page_in_folio);
        let mapping = page_word(pages, head, &offsets::FOLIO_MAPPING);
        let uptodate = offsets::PAGE_UPTODATE_BIT.load() & 63;
        if mapping == 0 && page_word(pages, head, &offsets::PAGE_FLAGS) >> uptodate & 1 == 1 {
            return [MAPPING_TRUNCATED, index];
        }
        [mapping, index]
    }
}

/// Returns the mapping, or 0 if it has the form of a file's mapping and is not one, because that
/// word of a kernel page has other uses. The first file of a record is stored in the record.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
unsafe fn validate_mapping(pages: *mut PageBuffer, mapping: u64) -> u64 {
    if mapping == 0 || mapping & MAPPING_FLAGS != 0 {
        return mapping;
    }
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
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

/// Selects a page and returns its link to a head. Without direct reads, the whole `struct page` is
/// copied, so that one helper call reads all of its members.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
unsafe fn read_compound_link(pages: *mut PageBuffer, page: u64) -> u64 {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    unsafe {
        load_page(pages, page);
        page_word(pages, page, &offsets::PAGE_COMPOUND)
    }
}

/// Selects a page for [`page_word`].
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
unsafe fn load_page(pages: *mut PageBuffer, page: u64) {
    if offsets::RDONLY_CAST.load() == 0 {
        // SAFETY: writing through `pages` requires a valid pointer, which the caller guarantees.
        // The helper writes 64 bytes, the size of `page_words`.
        unsafe {
            let words = addr_of_mut!((*pages).page_words);
            generated::bpf_probe_read_kernel(words.cast(), PAGE_STRUCT_SIZE as u32, page as *const _);
        }
    }
}

/// Returns a word of the selected page.
///
/// # Safety
///
/// `pages` must be valid for reads. Without direct reads, `page` must be the page that
/// [`load_page`] selected last.
#[inline(always)]
unsafe fn page_word(pages: *const PageBuffer, page: u64, offset: &offsets::Offset) -> u64 {
    if offsets::RDONLY_CAST.load() == 1 {
        return member(page, offset);
    }
    let index = (offset.load() as usize >> 3) & (PAGE_WORDS - 1);
    // SAFETY: reading through `pages` requires a valid pointer, which the caller guarantees. The
    // mask keeps the index below `PAGE_WORDS`.
    unsafe { *addr_of!((*pages).page_words).cast::<u64>().add(index) }
}

/// Writes the page record with its first `count` ranges.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_ranges(pages: *mut PageBuffer, count: u64, program: u32) {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    // `emit_prefix` requires `MAX_RECORD_SIZE` bytes, which the record and its padding have.
    unsafe {
        let record = addr_of_mut!((*pages).record);
        (*record).count = count as u16;
        let len = PageRecord::HEAD_SIZE as u64 + count * size_of::<PageRange>() as u64;
        emit::emit_prefix(record.cast(), len, PageRecord::KIND, program);
    }
}

/// Writes the page run with its first `count` page vectors.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_run(pages: *mut PageBuffer, count: u64, program: u32) {
    // SAFETY: access through `pages` requires a valid pointer, which the caller guarantees.
    // `emit_prefix` requires `MAX_RECORD_SIZE` bytes, which the record and its padding have.
    unsafe {
        let run = as_run(pages);
        (*run).count = count as u16;
        let len = PageRun::HEAD_SIZE as u64 + count * size_of::<PageVec>() as u64;
        emit::emit_prefix(run.cast(), len, PageRun::KIND, program);
    }
}
