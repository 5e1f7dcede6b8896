//! Page addresses: the location of each byte of physical memory as one number.

use zctrace_records::{MAPPING_NOT_READ, MAPPING_TRUNCATED, PageRange};

/// Size of `struct page` in bytes on every kernel that zctrace supports
/// (`CONFIG_HAVE_ALIGNED_STRUCT_PAGE`, x86-64). The kernel keeps them in one array
/// (`CONFIG_SPARSEMEM_VMEMMAP`), so neighbors in the array are neighbors in memory.
const PAGE_STRUCT: u64 = 64;
/// Size of a page in bytes.
pub(crate) const PAGE: u64 = 4096;

/// Location of a byte in physical memory, up to a constant that is fixed for the trace. Two
/// stations that show the same address for a byte show the same byte of the same page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PageAddress(pub(crate) u64);

impl PageAddress {
    pub(crate) fn plus(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// Returns the offset in the page.
    pub(crate) fn in_page(self) -> u64 {
        self.0 % PAGE
    }
}

/// Returns the address of a range's first byte; `None` if the kernel showed no page (device
/// memory), or something that cannot be one.
pub(crate) fn start_of(range: &PageRange) -> Option<PageAddress> {
    page_of(range).map(|page| page.plus(u64::from(range.offset)))
}

/// Returns the address of the page that a range's offset counts from.
pub(crate) fn page_of(range: &PageRange) -> Option<PageAddress> {
    (range.page != 0 && range.page.is_multiple_of(PAGE_STRUCT))
        .then(|| PageAddress((range.page / PAGE_STRUCT).wrapping_mul(PAGE)))
}

/// Returns the address behind the last byte of a page range; `None` if it shows no page.
///
/// The end of a pipe's slot stays when bytes are taken from its front, except by writes to files.
pub(crate) fn end_of(range: &PageRange) -> Option<PageAddress> {
    start_of(range).map(|start| start.plus(u64::from(range.len)))
}

/// Owner of a page, as the kernel shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// The page cache: mapping of the file, and position of the first byte in it.
    File { mapping: u64, position: u64 },
    /// Anonymous memory of a process: address of the first byte.
    Anonymous { address: u64 },
    /// The kernel, or no owner because the page was truncated from its file. `position` is computed
    /// from the index, which a truncated page keeps (mm/filemap.c: `page_cache_delete()`).
    Kernel { position: u64 },
    /// The program did not read the owner, so it is no evidence of anything.
    NotRead,
}

/// Low bits of `folio->mapping` (include/linux/page-flags.h): 1 anonymous, 2 movable, 3 KSM.
const ANONYMOUS: u64 = 1;
const LOW_BITS: u64 = 3;

/// Returns the owner of a range's page.
pub(crate) fn owner_of(range: &PageRange) -> Owner {
    let position = range.index.wrapping_mul(PAGE).wrapping_add(u64::from(range.offset));
    match range.mapping & LOW_BITS {
        _ if range.mapping == MAPPING_NOT_READ => Owner::NotRead,
        0 if range.mapping != 0 => Owner::File {
            mapping: range.mapping,
            position,
        },
        ANONYMOUS => Owner::Anonymous { address: position },
        _ => Owner::Kernel { position },
    }
}

/// Returns the position or address of a page that was truncated from its file, or unmapped, and was
/// not reused since; `None` for any other page.
pub(crate) fn truncated_at(range: &PageRange) -> Option<u64> {
    (range.mapping == MAPPING_TRUNCATED).then(|| range.index.wrapping_mul(PAGE))
}

/// Returns the mapping, or 0 for anonymous memory, and the position or address of a range's page;
/// `None` for a page of the kernel.
pub(crate) fn page_owner(range: &PageRange) -> Option<(u64, u64)> {
    let page = PageRange { offset: 0, ..*range };
    match owner_of(&page) {
        Owner::File { mapping, position } => Some((mapping, position)),
        Owner::Anonymous { address } => Some((0, address)),
        Owner::Kernel { .. } | Owner::NotRead => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_struct_pages_are_adjacent_in_memory() {
        let range = |page: u64, offset| PageRange {
            page: 0xffff_ea00_0000_0000 + page * 64,
            offset,
            ..PageRange::default()
        };
        assert_eq!(start_of(&range(7, 4096)), start_of(&range(8, 0)));
        assert_ne!(start_of(&range(7, 0)), start_of(&range(8, 0)));
        assert_eq!(start_of(&range(7, 5)).unwrap().in_page(), 5);
        assert_eq!(
            start_of(&PageRange {
                page: 65,
                ..PageRange::default()
            }),
            None,
            "not a page"
        );
        assert_eq!(start_of(&PageRange::default()), None);
    }

    #[test]
    fn low_bits_of_the_mapping_select_the_owner() {
        let of = |mapping| {
            owner_of(&PageRange {
                mapping,
                index: 2,
                offset: 10,
                ..PageRange::default()
            })
        };
        assert_eq!(
            of(0x1000),
            Owner::File {
                mapping: 0x1000,
                position: 8202
            }
        );
        assert_eq!(of(0x1001), Owner::Anonymous { address: 8202 });
        assert_eq!(of(0x1002), Owner::Kernel { position: 8202 });
        assert_eq!(of(0x1003), Owner::Kernel { position: 8202 });
        assert_eq!(of(0), Owner::Kernel { position: 8202 });
        assert_eq!(of(MAPPING_NOT_READ), Owner::NotRead);
    }
}
