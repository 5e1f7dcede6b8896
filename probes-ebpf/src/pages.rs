//! Which file a page belongs to, and records of pieces of pages.

use core::mem::size_of;
use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::generated;
use zctrace_records::{
    FileId, MAPPING_NOT_READ, MAX_RANGES, PageRange, PageRecord, PageRun, PageVec, SocketPair, page_record_flag,
};

use crate::emit;
use crate::offsets as at;
use crate::read::{self, member};

/// Room for a record of pieces, and what is needed to fill it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Pages {
    /// The record; where a [`PageRun`] tells all of it, that lies here, too: their heads are the same.
    pub(crate) station: PageRecord,
    /// What its length is masked to lies behind it.
    slack: [u64; 20],
    /// A `struct page`.
    page: [u64; PAGE_WORDS],
    /// The file whose mapping was seen last.
    file: FileId,
    /// Slots, fragments or vectors as the kernel has them, read at once.
    pub(crate) raw: [u64; RAW],
}

const _: () = {
    assert!(size_of::<PageRecord>() + 160 == emit::ROOM as usize);
    assert!(PageRun::HEAD_SIZE + EXTENTS_MASK as usize <= size_of::<PageRecord>());
    assert!(MAX_RANGES * size_of::<PageVec>() <= EXTENTS_MASK as usize);
    assert!(size_of::<PageVec>() == VEC as usize);
};

/// `FOLIO_MAPPING_FLAGS` (include/linux/page-flags.h, before 6.16 `PAGE_MAPPING_FLAGS`): set for anonymous memory and
/// the like.
pub(crate) const NO_FILE: u64 = 3;
/// Words of a `struct page`; the user side makes sure that it has 64 bytes.
const PAGE_WORDS: usize = 8;
/// Bytes of a `struct page`.
const PAGE: u64 = 64;
/// Words that [`read::bulk`] can fill with a mask of [`RAW_MASK`].
const RAW: usize = 128;
/// See [`RAW`].
pub(crate) const RAW_MASK: u64 = 1023;
/// The same of the extents of a row, behind which the rest of a station has room.
const EXTENTS_MASK: u64 = 511;

/// Bytes of a `bio_vec` and of a `skb_frag_t`, which the user side makes sure of: the page, a length, an offset
/// (include/linux/bvec.h, include/linux/skbuff.h).
pub(crate) const VEC: u64 = 16;

/// Clears the record, all but its head and pieces.
///
/// # Safety
///
/// `pages` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn clear(pages: *mut Pages) {
    // SAFETY: the caller's promise.
    unsafe {
        let station = addr_of_mut!((*pages).station);
        // The head of a record is filled in when it is written.
        read::zero(station.cast::<[u8; PageRecord::HEAD_SIZE]>());
        read::zero(addr_of_mut!((*pages).file));
    }
}

/// The record as a row.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn row(pages: *mut Pages) -> *mut PageRun {
    // SAFETY: the caller's promise; a row is shorter than a station.
    unsafe { addr_of_mut!((*pages).station).cast() }
}

/// An extent of the row.
///
/// # Safety
///
/// `pages` must be valid for reads and writes, and `index` be below [`MAX_RANGES`].
#[inline(always)]
pub(crate) unsafe fn extent(pages: *mut Pages, index: usize) -> *mut PageVec {
    // SAFETY: the caller's promise.
    unsafe { addr_of_mut!((*row(pages)).vecs).cast::<PageVec>().add(index) }
}

/// Says of a row that nobody looked whose its pages are.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn untold(pages: *mut Pages) {
    // SAFETY: the caller's promise.
    unsafe {
        let row = row(pages);
        (*row).mapping = MAPPING_NOT_READ;
        read::zero(addr_of_mut!((*row).index));
        read::zero(addr_of_mut!((*row).ops));
    }
}

/// Says whose the pages of a row are, whose first one has this mapping and index.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn told(pages: *mut Pages, mapping: u64, index: u64, ops: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        let row = row(pages);
        (*row).mapping = mapping;
        (*row).index = index;
        (*row).ops = ops;
        if mapping != 0 && mapping & NO_FILE == 0 {
            if mapping != (*pages).file.mapping && !is_file(addr_of_mut!((*pages).file), mapping) {
                (*row).mapping = 0;
                return;
            }
            read::copy(addr_of_mut!((*row).file), addr_of!((*pages).file));
        }
    }
}

/// Mapping and index of a page, as its folio has them: whether the mapping is a file's is not looked at.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn owner(pages: *mut Pages, page: u64) -> [u64; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let link = first(pages, page);
        let head = head(page, link);
        if head != page {
            again(pages, head);
        }
        let within = page.wrapping_sub(head) / PAGE;
        let index = word(pages, head, &at::FOLIO_INDEX).wrapping_add(within);
        [word(pages, head, &at::FOLIO_MAPPING), index]
    }
}

/// Fills in what is known of the piece's page: `page`, `offset` and `len` are there.
///
/// # Safety
///
/// `pages` must be valid for reads and writes, and `piece` lie in it.
#[inline(never)]
pub(crate) unsafe fn describe(pages: *mut Pages, piece: *mut PageRange) {
    // SAFETY: the caller's promise.
    unsafe {
        let page = (*piece).page;
        read::zero(addr_of_mut!((*piece).mapping));
        read::zero(addr_of_mut!((*piece).index));
        if page == 0 {
            return;
        }
        let link = first(pages, page);
        let head = head(page, link);
        if head != page {
            again(pages, head);
        }
        let mapping = word(pages, head, &at::FOLIO_MAPPING);
        let within = page.wrapping_sub(head) / PAGE;
        // A page that was cut off its file keeps its index (mm/filemap.c, `page_cache_delete`): that tells it from a copy.
        (*piece).index = word(pages, head, &at::FOLIO_INDEX).wrapping_add(within);
        if mapping == 0 {
            return;
        }
        // It is a file's if the file says so, too: in pages that are the kernel's own something else lies here.
        if mapping & NO_FILE == 0 && mapping != (*pages).file.mapping && !is_file(addr_of_mut!((*pages).file), mapping)
        {
            return;
        }
        (*piece).mapping = mapping;
        if mapping & NO_FILE == 0 && (*pages).station.file.mapping == 0 {
            read::copy(addr_of_mut!((*pages).station.file), addr_of!((*pages).file));
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
unsafe fn first(pages: *mut Pages, page: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        again(pages, page);
        word(pages, page, &at::PAGE_COMPOUND)
    }
}

/// Goes on with another page.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
unsafe fn again(pages: *mut Pages, page: u64) {
    if at::DIRECT.load() == 0 {
        // SAFETY: the caller's promise.
        unsafe {
            let words = addr_of_mut!((*pages).page);
            generated::bpf_probe_read_kernel(words.cast(), PAGE as u32, page as *const _);
        }
    }
}

/// A word of the page.
///
/// # Safety
///
/// `pages` must be valid for reads; it holds the page unless there are direct reads.
#[inline(always)]
unsafe fn word(pages: *const Pages, page: u64, offset: &at::Offset) -> u64 {
    if at::DIRECT.load() == 1 {
        return member(page, offset);
    }
    let index = (offset.load() as usize >> 3) & (PAGE_WORDS - 1);
    // SAFETY: the caller's promise; the index is one of the words there are.
    unsafe { *addr_of!((*pages).page).cast::<u64>().add(index) }
}

/// The mapping of a page: a file's or, with bit 0 set, a process's memory; 0 for pages of the kernel's own, and of files that
/// were truncated.
#[inline(always)]
pub(crate) fn mapping(page: u64) -> u64 {
    if page == 0 {
        return 0;
    }
    let link: u64 = member(page, &at::PAGE_COMPOUND);
    member(head(page, link), &at::FOLIO_MAPPING)
}

/// The head of the page's folio, by the word that a tail page has.
#[inline(always)]
fn head(page: u64, link: u64) -> u64 {
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
pub(crate) unsafe fn is_file(file: *mut FileId, mapping: u64) -> bool {
    let inode: u64 = member(mapping, &at::MAPPING_HOST);
    if inode == 0 || member::<u64>(inode, &at::INODE_MAPPING) != mapping {
        return false;
    }
    let sb: u64 = member(inode, &at::INODE_SB);
    // SAFETY: the caller's promise.
    unsafe {
        (*file).mapping = mapping;
        (*file).ino = member(inode, &at::INODE_INO);
        (*file).dev = member(sb, &at::SB_DEV);
        (*file).generation = member(inode, &at::INODE_GENERATION);
    }
    true
}

/// Writes the record with its first `count` pieces.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn write(pages: *mut Pages, count: u64, who: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let station = addr_of_mut!((*pages).station);
        (*station).count = count as u16;
        let len = PageRecord::HEAD_SIZE as u64 + count * size_of::<PageRange>() as u64;
        emit::record(station.cast(), len, PageRecord::KIND, who);
    }
}

/// Writes the record as a row with its first `count` extents.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn write_row(pages: *mut Pages, count: u64, who: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let row = row(pages);
        (*row).count = count as u16;
        let len = PageRun::HEAD_SIZE as u64 + count * size_of::<PageVec>() as u64;
        emit::record(row.cast(), len, PageRun::KIND, who);
    }
}

/// What [`packet`] and [`fragments`] write: whose it is, and between whom.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    /// The sender's `struct sock`.
    pub(crate) sock: u64,
    /// The call that this thread is inside.
    pub(crate) call: u64,
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
    pub(crate) untold: u64,
    /// The next fragment.
    next: u64,
    /// Fragments that are left.
    pub(crate) left: u64,
}

/// `SKBFL_ZEROCOPY_ENABLE` (include/linux/skbuff.h).
const ZEROCOPY_ENABLE: u8 = 1;
/// Prepares the record of a packet or message, writes its first pieces, and tells whether there are more.
///
/// # Safety
///
/// `pages` must be valid for reads and writes, `sent` for reads.
#[inline(never)]
pub(crate) unsafe fn packet(pages: *mut Pages, sent: *mut Sent, skb: u64, station_kind: u16, who: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let head: u64 = member(skb, &at::SKB_HEAD);
        let end: u32 = member(skb, &at::SKB_END);
        let shared = head.wrapping_add(u64::from(end));
        clear(pages);
        let station = addr_of_mut!((*pages).station);
        (*station).call_id = (*sent).call;
        (*station).object = (*sent).sock;
        (*station).position = (*sent).position;
        read::copy(addr_of_mut!((*station).pair), addr_of!((*sent).pair));
        (*station).total = (*sent).total;
        (*station).linear = (*sent).linear;
        (*station).device = (*sent).device;
        (*station).station = station_kind;
        let mut flags = (*sent).flags;
        if member::<u8>(shared, &at::SHINFO_FLAGS) & ZEROCOPY_ENABLE != 0 {
            flags |= page_record_flag::USER_PAGES;
        }
        if member::<u64>(shared, &at::SHINFO_FRAG_LIST) != 0 {
            flags |= page_record_flag::FRAG_LIST;
        }
        (*station).flags = flags;
        (*sent).next = shared.wrapping_add(u64::from(at::SHINFO_FRAGS.load()));
        (*sent).left = u64::from(member::<u8>(shared, &at::SHINFO_NR_FRAGS));
        fragments(pages, sent, who)
    }
}

/// Writes the next pieces of a packet or message, and tells whether there are more.
///
/// # Safety
///
/// Both must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn fragments(pages: *mut Pages, sent: *mut Sent, who: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let station = addr_of_mut!((*pages).station);
        read::zero(addr_of_mut!((*station).file));
        let left = (*sent).left;
        let count = if left > MAX_RANGES as u64 {
            MAX_RANGES as u64
        } else {
            left
        };
        if (*sent).untold == 0 {
            vectors(pages, (*sent).next, count);
            write(pages, count, who);
        } else {
            // Fragments lie there as extents do.
            let extents = extent(pages, 0).cast();
            read::bulk::<EXTENTS_MASK>(extents, count * VEC, (*sent).next);
            untold(pages);
            write_row(pages, count, who);
        }
        (*station).part += 1;
        (*sent).next = (*sent).next.wrapping_add(count * VEC);
        (*sent).left = (*sent).left.wrapping_sub(count);
        (*sent).left != 0
    }
}

/// Reads page vectors, no more than a record holds, and describes their pages.
///
/// # Safety
///
/// `pages` must be valid for reads and writes.
#[inline(never)]
unsafe fn vectors(pages: *mut Pages, from: u64, count: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        read::bulk::<RAW_MASK>(addr_of_mut!((*pages).raw).cast(), count * VEC, from);
        let mut index = 0;
        while index < MAX_RANGES {
            if index as u64 >= count {
                break;
            }
            let piece = addr_of_mut!((*pages).station.ranges).cast::<PageRange>().add(index);
            fragment(pages, piece, index);
            describe(pages, piece);
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
unsafe fn fragment(pages: *mut Pages, piece: *mut PageRange, index: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let words = addr_of_mut!((*pages).raw).cast::<u64>().add(index * 2);
        let netmem = *words;
        let rest = *words.add(1);
        // Bit 0 marks memory of a device, which has no page (NET_IOV, include/net/netmem.h).
        (*piece).page = if netmem & 1 == 1 { 0 } else { netmem };
        (*piece).ops = 0;
        (*piece).len = rest as u32;
        (*piece).offset = (rest >> 32) as u32;
    }
}
