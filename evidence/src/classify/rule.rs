//! What a page at a station says of the bytes that should be in it: the rule that everything else rests on.
//!
//! Moved needs identity: the very page, or a page that says itself that it is this place of this file or this address of
//! the caller's memory. Copied needs a witness: another page at the same byte of the destination. All else is unknown.

use zctrace_contract::Reason;
use zctrace_records::PageRange;

use crate::decode::page_address::{Owner, PageAddress, owner_of, start_of};
use crate::history::Outcome;
use crate::span::Location;

/// The addresses of the kernel's `pipe_buf_operations`, as a calibration found them; 0 where it found none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PipeBufOps {
    /// `page_cache_pipe_buf_ops`: a page of a file.
    pub page_cache: u64,
    /// `anon_pipe_buf_ops`: written into the pipe.
    pub anonymous: u64,
    /// `user_page_pipe_buf_ops`: a page of a process's memory, by vmsplice(2).
    pub user: u64,
    /// `zero_pipe_buf_ops`: a hole.
    pub zero: u64,
    /// The page of zeros that stands for holes (`ZERO_PAGE`): the address of its `struct page`.
    pub zero_page: u64,
}

/// A run of bytes that was seen at a station.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Observation {
    /// Where they lie; `None` in the linear part of a packet, and where the kernel showed no page.
    pub(crate) start: Option<PageAddress>,
    pub(crate) owner: Owner,
    pub(crate) mark: SlotKind,
    pub(crate) len: u64,
}

/// What the kernel marks a run as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SlotKind {
    /// Nothing in particular.
    Plain,
    /// A page of zeros.
    Zero,
    /// A slot of the page cache: whatever has become of its mapping, nobody copied into it.
    PageCache,
    /// A slot that holds a page of a process's memory.
    User,
    /// A slot that was written into the pipe.
    Written,
    /// A slot of another kind: certainly not a page of a file's.
    OtherSlot,
    /// The linear part of a packet: not a page of its own.
    Linear,
}

impl Observation {
    /// What a piece shows. `len` is given apart: a slot that was emptied has none any more.
    #[inline]
    pub(crate) fn new(piece: &PageRange, start: Option<PageAddress>, len: u64, names: &PipeBufOps) -> Self {
        let is_zero = names.zero_page != 0 && piece.page == names.zero_page;
        let mark = match piece.ops {
            _ if is_zero => SlotKind::Zero,
            0 => SlotKind::Plain,
            ops if ops == names.page_cache => SlotKind::PageCache,
            ops if ops == names.user => SlotKind::User,
            ops if ops == names.anonymous => SlotKind::Written,
            ops if ops == names.zero => SlotKind::Zero,
            // Without a calibration no kind is known, and "another" means nothing.
            _ if names.page_cache == 0 => SlotKind::Plain,
            _ => SlotKind::OtherSlot,
        };
        // The owner counts from where the piece starts; of an emptied slot only its end has stayed.
        let owner = match (start_of(piece), start) {
            (Some(at), Some(start)) => offset_owner(owner_of(piece), start.0.wrapping_sub(at.0)),
            _ => owner_of(piece),
        };
        Self {
            start,
            owner,
            mark,
            len,
        }
    }

    /// A stretch of the linear part of a packet.
    pub(crate) fn linear(len: u64) -> Self {
        Self {
            start: None,
            owner: Owner::Kernel { position: 0 },
            mark: SlotKind::Linear,
            len,
        }
    }

    /// The bytes from `skip` on, `len` of them.
    pub(crate) fn part(self, skip: u64, len: u64) -> Self {
        Self {
            start: self.start.map(|start| start.plus(skip)),
            owner: offset_owner(self.owner, skip),
            len,
            ..self
        }
    }
}

fn offset_owner(owner: Owner, by: u64) -> Owner {
    match owner {
        Owner::File { mapping, position } => Owner::File {
            mapping,
            position: position.wrapping_add(by),
        },
        Owner::Anonymous { address } => Owner::Anonymous {
            address: address.wrapping_add(by),
        },
        Owner::Kernel { position } => Owner::Kernel {
            position: position.wrapping_add(by),
        },
        Owner::NotRead => Owner::NotRead,
    }
}

/// What became of bytes that were at `place` and are now in `seen`: its first byte is their first byte.
pub(crate) fn classify(location: Location, seen: &Observation) -> Outcome {
    let doubt = Outcome::Unknown(Reason::NotObserved);
    let copied = Outcome::Copied(Reason::KernelCopies);
    if seen.mark == SlotKind::Zero {
        return Outcome::Zero;
    }
    match location {
        Location::Page(address) => match seen.start {
            Some(start) if start == address => Outcome::Identity,
            Some(_) => copied,
            None if seen.mark == SlotKind::Linear => copied,
            None => doubt,
        },
        Location::File { position, .. } => match (seen.owner, seen.mark) {
            // Another mapping at the same place: the real file under an overlay, the backing file of a passthrough.
            (Owner::File { position: at, .. }, _) if at == position && seen.start.is_some() => Outcome::Identity,
            (_, SlotKind::Linear) => copied,
            (Owner::Kernel { .. }, SlotKind::OtherSlot | SlotKind::Written) if seen.start.is_some() => copied,
            // A page that was cut off its file (truncated) keeps its place; it is no sign of a copy.
            (Owner::Kernel { position: at }, _) if at == position => doubt,
            (Owner::Kernel { .. }, SlotKind::Plain) if seen.start.is_some() => copied,
            _ => doubt,
        },
        Location::Memory(address) => match (seen.owner, seen.mark) {
            (_, SlotKind::User) => Outcome::Identity,
            (Owner::Anonymous { address: at }, _) if at == address && seen.start.is_some() => Outcome::Identity,
            (Owner::Kernel { .. }, SlotKind::Written | SlotKind::Linear) => Outcome::Copied(Reason::FromMemory),
            _ => doubt,
        },
        Location::Device => Outcome::Unknown(Reason::DirectDevice),
        Location::Remote => Outcome::Unknown(Reason::BeyondThisHost),
        Location::Unknown => doubt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_5: u64 = 0xffff_ea00_0000_0000 + 5 * 64;
    const NAMES: PipeBufOps = PipeBufOps {
        page_cache: 11,
        anonymous: 12,
        user: 13,
        zero: 14,
        zero_page: 0xffff_ea00_0000_0000 + 99 * 64,
    };

    fn seen(piece: PageRange) -> Observation {
        Observation::new(&piece, start_of(&piece), u64::from(piece.len), &NAMES)
    }

    fn page() -> PageRange {
        PageRange {
            page: PAGE_5,
            mapping: 0x1000,
            index: 3,
            offset: 100,
            len: 50,
            ops: 0,
        }
    }

    const FILE: Location = Location::File {
        mapping: 0x1000,
        position: 3 * 4096 + 100,
    };

    #[test]
    fn a_page_of_the_file_at_the_right_place_is_identity() {
        assert_eq!(classify(FILE, &seen(page())), Outcome::Identity);
        assert_eq!(classify(FILE.plus(7), &seen(page()).part(7, 3)), Outcome::Identity);
        // Under an overlay the page belongs to the real file.
        assert_eq!(
            classify(
                FILE,
                &seen(PageRange {
                    mapping: 0x2000,
                    ..page()
                })
            ),
            Outcome::Identity
        );
    }

    #[test]
    fn a_page_of_the_file_at_another_place_proves_nothing() {
        for wrong in [PageRange { index: 4, ..page() }, PageRange { offset: 101, ..page() }] {
            assert!(matches!(classify(FILE, &seen(wrong)), Outcome::Unknown(_)));
        }
    }

    #[test]
    fn a_page_of_nobody_is_a_copy_unless_it_was_cut_off_the_file() {
        let nobody = PageRange {
            mapping: 0,
            index: 0,
            ..page()
        };
        assert_eq!(classify(FILE, &seen(nobody)), Outcome::Copied(Reason::KernelCopies));
        assert!(matches!(
            classify(FILE, &seen(PageRange { mapping: 0, ..page() })),
            Outcome::Unknown(_)
        ));
        let slot = PageRange {
            ops: NAMES.page_cache,
            ..nobody
        };
        assert!(
            matches!(classify(FILE, &seen(slot)), Outcome::Unknown(_)),
            "a slot of the page cache"
        );
        assert!(
            matches!(
                classify(FILE, &seen(PageRange { page: 0, ..nobody })),
                Outcome::Unknown(_)
            ),
            "no page at all"
        );
        // A slot of another kind never was the file's, whatever its index happens to say.
        let other = PageRange {
            mapping: 0,
            ops: 99,
            ..page()
        };
        assert_eq!(classify(FILE, &seen(other)), Outcome::Copied(Reason::KernelCopies));
    }

    #[test]
    fn a_page_that_nobody_asked_of_is_known_by_its_place_alone() {
        let untold = seen(PageRange {
            mapping: zctrace_records::MAPPING_NOT_READ,
            index: 0,
            ..page()
        });
        let at = untold.start.unwrap();
        assert_eq!(classify(Location::Page(at), &untold), Outcome::Identity);
        assert_eq!(
            classify(Location::Page(at.plus(1)), &untold),
            Outcome::Copied(Reason::KernelCopies)
        );
        let there = Location::File {
            mapping: 0x1000,
            position: 100,
        };
        for location in [FILE, there, Location::Memory(100), Location::Unknown] {
            assert!(
                matches!(classify(location, &untold), Outcome::Unknown(_)),
                "{location:?}"
            );
        }
    }

    #[test]
    fn zeros_are_neither_moved_nor_copied() {
        let hole = PageRange {
            page: NAMES.zero_page,
            mapping: 0,
            ..page()
        };
        for location in [
            FILE,
            Location::Memory(7),
            Location::Unknown,
            Location::Page(start_of(&hole).unwrap()),
        ] {
            assert_eq!(classify(location, &seen(hole)), Outcome::Zero);
        }
        assert_eq!(
            classify(
                FILE,
                &seen(PageRange {
                    ops: NAMES.zero,
                    ..page()
                })
            ),
            Outcome::Zero
        );
    }

    #[test]
    fn the_callers_memory_is_known_by_its_address_or_by_the_slots_kind() {
        let anonymous = PageRange {
            mapping: 0x1001,
            ..page()
        };
        let at = 3 * 4096 + 100;
        assert_eq!(classify(Location::Memory(at), &seen(anonymous)), Outcome::Identity);
        assert!(matches!(
            classify(Location::Memory(at + 1), &seen(anonymous)),
            Outcome::Unknown(_)
        ));
        let slot = PageRange {
            ops: NAMES.user,
            ..page()
        };
        assert_eq!(classify(Location::Memory(0), &seen(slot)), Outcome::Identity);
        let written = PageRange {
            ops: NAMES.anonymous,
            mapping: 0,
            ..page()
        };
        assert_eq!(
            classify(Location::Memory(at), &seen(written)),
            Outcome::Copied(Reason::FromMemory)
        );
        // A kernel page without a mark could be a bounce buffer, or shared memory that was cut off its file.
        assert!(matches!(
            classify(Location::Memory(at), &seen(PageRange { mapping: 0, ..page() })),
            Outcome::Unknown(_)
        ));
    }

    #[test]
    fn a_known_page_is_there_or_another_is() {
        let at = start_of(&page()).unwrap();
        assert_eq!(classify(Location::Page(at), &seen(page())), Outcome::Identity);
        assert_eq!(
            classify(Location::Page(at.plus(1)), &seen(page())),
            Outcome::Copied(Reason::KernelCopies)
        );
        assert_eq!(
            classify(Location::Page(at), &Observation::linear(5)),
            Outcome::Copied(Reason::KernelCopies)
        );
        assert!(matches!(
            classify(Location::Page(at), &seen(PageRange { page: 0, ..page() })),
            Outcome::Unknown(_)
        ));
    }

    #[test]
    fn an_emptied_slot_tells_its_range_from_its_end() {
        // 50 bytes were taken from the front: what is left is the end.
        let drained = PageRange {
            offset: 150,
            len: 0,
            ..page()
        };
        let start = start_of(&page());
        assert_eq!(
            classify(FILE, &Observation::new(&drained, start, 50, &NAMES)),
            Outcome::Identity
        );
    }
}
