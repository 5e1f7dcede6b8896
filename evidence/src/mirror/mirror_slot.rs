//! A slot of a mirrored ring, and a slot as a consumer shows it later.

use crate::decode::page_address::PageAddress;

/// A slot of the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MirrorSlot {
    /// Bytes left in the slot.
    pub(crate) len: u64,
    /// Number of the mirror's spans in the slot.
    pub(crate) spans: usize,
    /// Address behind the last byte; `None` if it is not known. It stays when a consumer takes
    /// bytes from the front.
    pub(crate) end: Option<PageAddress>,
    /// Owner of the page, for pages of files and of processes.
    pub(crate) owner: Option<PageOwner>,
}

/// Owner of a page that is not the kernel's: the mapping, or 0 for anonymous memory, and the
/// position or address of the page.
pub(crate) type PageOwner = (u64, u64);

/// A slot that was observed when a consumer returned.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ObservedSlot {
    /// Address behind its last byte, if it is known.
    pub(crate) end: Option<PageAddress>,
    /// Owner of its page.
    pub(crate) owner: OwnerAtPop,
}

/// Owner of a page when a consumer returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum OwnerAtPop {
    /// The program did not read it.
    #[default]
    NotRead,
    /// The kernel.
    Kernel,
    /// No file any more. The page was at this position and still holds the content.
    Truncated(u64),
    /// A file or the memory of a process.
    Known(PageOwner),
}

impl MirrorSlot {
    /// Returns whether a slot whose end was observed at `end` is this one, before or after it was
    /// emptied.
    ///
    /// Most consumers advance a slot's offset while they take from it, so that its end stays.
    /// Writing to a file only sets the length to zero (fs/splice.c: `iter_file_splice_write()`):
    /// the observed end is then where the rest began.
    ///
    /// The page must still have its owner. A process that is not traced can take a page out of the
    /// pipe, and the kernel can use it again for bytes that are written into the same slot. A page
    /// that was truncated from its file meanwhile keeps its index and its content.
    pub(super) fn is_at(&self, observed: ObservedSlot) -> bool {
        if !self.has_owner_of(observed) {
            return false;
        }
        let end = observed.end;
        let Some(known) = self.end else {
            // The slot was filled and emptied inside one write, so that its page was never
            // observed.
            return true;
        };
        let start = PageAddress(known.0.wrapping_sub(self.len));
        end == Some(known) || end == Some(start)
    }

    /// Returns whether the page of a slot that was observed later can be the page of this one.
    pub(super) fn has_owner_of(&self, observed: ObservedSlot) -> bool {
        match (self.owner, observed.owner) {
            (None, _) | (_, OwnerAtPop::NotRead) => true,
            (Some(_), OwnerAtPop::Kernel) => false,
            (Some(owner), OwnerAtPop::Known(observed)) => observed == owner,
            (Some((_, position)), OwnerAtPop::Truncated(observed)) => observed == position,
        }
    }
}
