//! Pages of the kernel: folios, and the files that they belong to.

use zctrace_records::FileId;

use crate::offsets;
use crate::read::member;

/// `FOLIO_MAPPING_FLAGS` (include/linux/page-flags.h; `PAGE_MAPPING_FLAGS` before Linux 6.16). Set
/// for anonymous memory and other mappings that are not files.
pub(crate) const MAPPING_FLAGS: u64 = 3;

/// Returns the mapping of a page: that of a file or, with bit 0 set, that of a process's memory.
///
/// Returns 0 for pages of the kernel and of truncated files.
#[inline(always)]
pub(crate) fn mapping_of(page: u64) -> u64 {
    if page == 0 {
        return 0;
    }
    let link: u64 = member(page, &offsets::PAGE_COMPOUND);
    member(compound_head(page, link), &offsets::FOLIO_MAPPING)
}

/// Returns the head of a page's folio, from the word that links a tail page to it.
#[inline(always)]
pub(crate) fn compound_head(page: u64, link: u64) -> u64 {
    // The word of a tail page holds the address of its head or, since Linux 7.2, a mask for the
    // page's own address (_compound_head, include/linux/page-flags.h). A mask has all bits above
    // the folio's size set, and no `struct page` lies in the last 4 GiB.
    match link & 1 {
        0 => page,
        _ if link >> 32 == 0xffff_ffff => page & link,
        _ => link & !1,
    }
}

/// Returns whether an address is that of a file's `address_space`, and fills in the file's identity
/// if so.
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
    // SAFETY: writing through `file` requires a valid pointer, which the caller guarantees.
    unsafe {
        (*file).mapping = mapping;
        (*file).ino = member(inode, &offsets::INODE_INO);
        (*file).dev = member(sb, &offsets::SB_DEV);
        (*file).generation = member(inode, &offsets::INODE_GENERATION);
    }
    true
}
