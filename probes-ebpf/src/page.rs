//! The kernel's pages: folios, and the files that they belong to.

use zctrace_records::FileId;

use crate::offsets;
use crate::read::member;

/// `FOLIO_MAPPING_FLAGS` (include/linux/page-flags.h, before 6.16 `PAGE_MAPPING_FLAGS`): set for anonymous memory and
/// the like.
pub(crate) const MAPPING_FLAGS: u64 = 3;

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
pub(crate) fn compound_head(page: u64, link: u64) -> u64 {
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
