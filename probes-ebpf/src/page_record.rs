//! Which file a page belongs to, and records of pieces of pages.

use core::mem::size_of;
use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::generated;
use zctrace_records::{
    FileId, MAPPING_NOT_READ, MAX_RANGES, PageRange, PageRecord, PageRun, PageVec, SocketPair, page_record_flag,
};

use crate::emit;
use crate::offsets;
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

/// `FOLIO_MAPPING_FLAGS` (include/linux/page-flags.h, before 6.16 `PAGE_MAPPING_FLAGS`): set for anonymous memory and
/// the like.
pub(crate) const MAPPING_FLAGS: u64 = 3;
/// Words of a `struct page`; the user side makes sure that it has 64 bytes.
const PAGE_WORDS: usize = 8;
/// Bytes of a `struct page`.
const PAGE_STRUCT_SIZE: u64 = 64;
/// Words that [`read::kernel_bytes`] can fill with a mask of [`RAW_MASK`].
const RAW: usize = 128;
/// See [`RAW`].
pub(crate) const RAW_MASK: u64 = 1023;
/// The same of the extents of a row, behind which the rest of a station has room.
const VECS_MASK: u64 = 511;

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
        (*run).mapping = mapping;
        (*run).index = index;
        (*run).ops = ops;
        if mapping != 0 && mapping & MAPPING_FLAGS == 0 {
            if mapping != (*pages).last_file.mapping && !read_file_id(addr_of_mut!((*pages).last_file), mapping) {
                (*run).mapping = 0;
                return;
            }
            read::copy(addr_of_mut!((*run).file), addr_of!((*pages).last_file));
        }
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
        let within = page.wrapping_sub(head) / PAGE_STRUCT_SIZE;
        let index = page_word(pages, head, &offsets::FOLIO_INDEX).wrapping_add(within);
        [page_word(pages, head, &offsets::FOLIO_MAPPING), index]
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
        let link = read_compound_link(pages, page);
        let head = compound_head(page, link);
        if head != page {
            load_page(pages, head);
        }
        let mapping = page_word(pages, head, &offsets::FOLIO_MAPPING);
        let within = page.wrapping_sub(head) / PAGE_STRUCT_SIZE;
        // A page that was cut off its file keeps its index (mm/filemap.c, `page_cache_delete`): that tells it from a copy.
        (*range).index = page_word(pages, head, &offsets::FOLIO_INDEX).wrapping_add(within);
        if mapping == 0 {
            return;
        }
        // It is a file's if the file says so, too: in pages that are the kernel's own something else lies here.
        if mapping & MAPPING_FLAGS == 0
            && mapping != (*pages).last_file.mapping
            && !read_file_id(addr_of_mut!((*pages).last_file), mapping)
        {
            return;
        }
        (*range).mapping = mapping;
        if mapping & MAPPING_FLAGS == 0 && (*pages).record.file.mapping == 0 {
            read::copy(addr_of_mut!((*pages).record.file), addr_of!((*pages).last_file));
        }
    }
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
    if offsets::DIRECT.load() == 0 {
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
    if offsets::DIRECT.load() == 1 {
        return member(page, offset);
    }
    let index = (offset.load() as usize >> 3) & (PAGE_WORDS - 1);
    // SAFETY: the caller's promise; the index is one of the words there are.
    unsafe { *addr_of!((*pages).page_words).cast::<u64>().add(index) }
}

/// The mapping of a page: a file's or, with bit 0 set, a process's memory; 0 for pages of the kernel's own, and of files that
/// were truncated.
#[inline(always)]
pub(crate) fn mapping_of(page: u64) -> u64 {
    if page == 0 {
        return 0;
    }
    let link: u64 = member(page, &offsets::PAGE_COMPOUND);
    member(compound_head(page, link), &offsets::FOLIO_MAPPING)
}

/// The head of the page's folio, by the word that a tail page has.
#[inline(always)]
fn compound_head(page: u64, link: u64) -> u64 {
    // A tail page leads to its head: by its address, or since 7.2 by a mask for its own (_compound_head,
    // include/linux/page-flags.h). A mask is all ones above its folio's size; there are no pages in the last 4 GiB.
    match link & 1 {
        0 => page,
        _ if link >> 32 == 0xffff_ffff => page & link,
        _ => link & !1,
    }
}

/// Whether an address is that of a file's `address_space`; if so tells which.
///
/// # Safety
///
/// `file` must be valid for writes.
#[inline(never)]
pub(crate) unsafe fn read_file_id(file: *mut FileId, mapping: u64) -> bool {
    let inode: u64 = member(mapping, &offsets::MAPPING_HOST);
    if inode == 0 || member::<u64>(inode, &offsets::INODE_MAPPING) != mapping {
        return false;
    }
    let sb: u64 = member(inode, &offsets::INODE_SB);
    // SAFETY: the caller's promise.
    unsafe {
        (*file).mapping = mapping;
        (*file).ino = member(inode, &offsets::INODE_INO);
        (*file).dev = member(sb, &offsets::SB_DEV);
        (*file).generation = member(inode, &offsets::INODE_GENERATION);
    }
    true
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

/// What [`packet`] and [`fragments`] write: whose it is, and between whom.
#[repr(C)]
#[derive(Clone, Copy)]
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
pub(crate) unsafe fn start_skb(
    pages: *mut PageBuffer,
    skb_pages: *mut SkbPages,
    skb: u64,
    station_kind: u16,
    program: u32,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let head: u64 = member(skb, &offsets::SKB_HEAD);
        let end: u32 = member(skb, &offsets::SKB_END);
        let shared = head.wrapping_add(u64::from(end));
        reset(pages);
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
            emit_ranges(pages, count, program);
        } else {
            // Fragments lie there as extents do.
            let vecs = vec_mut(pages, 0).cast();
            read::kernel_bytes::<VECS_MASK>(vecs, count * VEC_SIZE, (*skb_pages).next_frag);
            clear_owner(pages);
            emit_run(pages, count, program);
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
            fill_owner(pages, range);
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
