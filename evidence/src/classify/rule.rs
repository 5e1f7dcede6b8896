//! The classification rule: what an observed page proves about the bytes expected in it.
//!
//! | expected location | observation | outcome |
//! |---|---|---|
//! | any | zero page | zero |
//! | page | the same address | identity |
//! | page | another page, or the linear part of a packet | copied |
//! | file position | page-cache page of that position: of the file or, under an overlay, of any file | identity |
//! | file position, on a filesystem of A7 | kernel-owned page in a slot of another kind, or a page without slot at another index, or the linear part | copied |
//! | user address | slot of user pages that has an owner, or the anonymous page of that address | identity |
//! | user address | kernel-owned page in a written slot, or the linear part | copied |
//! | anything else | | unknown, with a reason |
//!
//! Soundness: every row that yields *identity* requires the same page at both stations. Every row
//! that yields *copied* requires a witness, that is, a different page at the same byte of the
//! destination. No other row may be added without extending the argument in `docs/evidence.md`.

use zctrace_contract::Reason;

use crate::decode::observation::{Observation, SlotKind};
use crate::decode::page_address::Owner;
use crate::history::Outcome;
use crate::span::{Copies, FilePages, Location};

/// Classifies bytes expected at `location` whose first byte was observed as the first byte of
/// `seen`.
pub(crate) fn classify(location: Location, observed: &Observation) -> Outcome {
    let doubt = Outcome::Unknown(Reason::NotObserved);
    let copied = Outcome::Copied(Reason::KernelCopies);
    if observed.slot_kind == SlotKind::Zero {
        return Outcome::Zero;
    }
    match location {
        Location::Page(address) => match observed.start {
            Some(start) if start == address => Outcome::Identity,
            Some(_) => copied,
            None if observed.slot_kind == SlotKind::Linear => copied,
            None => doubt,
        },
        Location::File {
            mapping,
            position,
            pages,
            copies,
        } => match (observed.owner, observed.slot_kind) {
            (
                Owner::File {
                    mapping: of,
                    position: at,
                },
                _,
            ) if at == position && (of == mapping || pages == FilePages::OfAnyFile) && observed.start.is_some() => {
                Outcome::Identity
            }
            // Without a page cache another page may be the file's own.
            _ if copies == Copies::NotShown => doubt,
            (_, SlotKind::Linear) => copied,
            (Owner::Kernel { .. }, SlotKind::OtherSlot | SlotKind::Written) if observed.start.is_some() => copied,
            // A page that was truncated from its file keeps its index, so it is no witness.
            (Owner::Kernel { position: at }, _) if at == position => doubt,
            (Owner::Kernel { .. }, SlotKind::Plain) if observed.start.is_some() => copied,
            _ => doubt,
        },
        Location::Memory(address) => match (observed.owner, observed.slot_kind) {
            // Memory that was only read is one page of zeros for all: the small one is found by
            // calibration, and the huge one (mm/huge_memory.c: `get_huge_zero_folio()`) has no
            // owner.
            (Owner::Kernel { .. }, SlotKind::User) => doubt,
            (_, SlotKind::User) => Outcome::Identity,
            (Owner::Anonymous { address: at }, _) if at == address && observed.start.is_some() => Outcome::Identity,
            (Owner::Kernel { .. }, SlotKind::Written | SlotKind::Linear) => Outcome::Copied(Reason::FromMemory),
            _ => doubt,
        },
        Location::Device => Outcome::Unknown(Reason::DirectDevice),
        Location::Remote => Outcome::Unknown(Reason::BeyondThisHost),
        Location::Uncertain => Outcome::Unknown(Reason::OffsetChanged),
        Location::Unknown => doubt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::observation::PipeBufOps;
    use crate::decode::page_address::start_of;
    use zctrace_records::PageRange;

    const PAGE_5: u64 = 0xffff_ea00_0000_0000 + 5 * 64;
    const NAMES: PipeBufOps = PipeBufOps {
        page_cache: 11,
        anonymous: 12,
        user: 13,
        zero: 14,
        zero_page: 0xffff_ea00_0000_0000 + 99 * 64,
    };

    fn observed(range: PageRange) -> Observation {
        Observation::new(&range, start_of(&range), u64::from(range.len), &NAMES)
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
        pages: FilePages::Own,
        copies: Copies::Shown,
    };

    #[test]
    fn page_of_the_file_at_its_position_is_identity() {
        assert_eq!(classify(FILE, &observed(page())), Outcome::Identity);
        assert_eq!(classify(FILE.plus(7), &observed(page()).part(7, 3)), Outcome::Identity);
    }

    #[test]
    fn page_of_another_file_is_identity_only_where_files_share_pages() {
        let other = observed(PageRange {
            mapping: 0x2000,
            ..page()
        });
        assert!(matches!(classify(FILE, &other), Outcome::Unknown(_)));
        // Under an overlay the page belongs to the real file.
        let overlay = Location::File {
            mapping: 0x1000,
            position: 3 * 4096 + 100,
            pages: FilePages::OfAnyFile,
            copies: Copies::Shown,
        };
        assert_eq!(classify(overlay, &other), Outcome::Identity);
    }

    #[test]
    fn page_of_the_file_at_another_position_proves_nothing() {
        for wrong in [PageRange { index: 4, ..page() }, PageRange { offset: 101, ..page() }] {
            assert!(matches!(classify(FILE, &observed(wrong)), Outcome::Unknown(_)));
        }
    }

    #[test]
    fn kernel_owned_page_is_a_copy_unless_it_was_truncated_from_the_file() {
        let kernel_owned = PageRange {
            mapping: 0,
            index: 0,
            ..page()
        };
        assert_eq!(
            classify(FILE, &observed(kernel_owned)),
            Outcome::Copied(Reason::KernelCopies)
        );
        assert!(matches!(
            classify(FILE, &observed(PageRange { mapping: 0, ..page() })),
            Outcome::Unknown(_)
        ));
        let slot = PageRange {
            ops: NAMES.page_cache,
            ..kernel_owned
        };
        assert!(
            matches!(classify(FILE, &observed(slot)), Outcome::Unknown(_)),
            "a slot of the page cache"
        );
        assert!(
            matches!(
                classify(
                    FILE,
                    &observed(PageRange {
                        page: 0,
                        ..kernel_owned
                    })
                ),
                Outcome::Unknown(_)
            ),
            "no page at all"
        );
        // A slot of another kind never held a page of the file, whatever its index is.
        let other = PageRange {
            mapping: 0,
            ops: 99,
            ..page()
        };
        assert_eq!(classify(FILE, &observed(other)), Outcome::Copied(Reason::KernelCopies));
    }

    #[test]
    fn another_page_is_no_witness_where_a_file_may_pass_pages_of_its_own() {
        let elsewhere = Location::File {
            mapping: 0x1000,
            position: 3 * 4096 + 100,
            pages: FilePages::OfAnyFile,
            copies: Copies::NotShown,
        };
        let nobody = PageRange {
            mapping: 0,
            index: 0,
            ..page()
        };
        let relay = PageRange { ops: 99, ..nobody };
        for observation in [observed(nobody), observed(relay), Observation::linear(50)] {
            assert!(
                matches!(classify(elsewhere, &observation), Outcome::Unknown(_)),
                "{observation:?}"
            );
        }
        assert_eq!(classify(elsewhere, &observed(page())), Outcome::Identity);
    }

    #[test]
    fn page_whose_owner_was_not_read_is_identified_by_its_address_only() {
        let owner_not_read = observed(PageRange {
            mapping: zctrace_records::MAPPING_NOT_READ,
            index: 0,
            ..page()
        });
        let at = owner_not_read.start.unwrap();
        assert_eq!(classify(Location::Page(at), &owner_not_read), Outcome::Identity);
        assert_eq!(
            classify(Location::Page(at.plus(1)), &owner_not_read),
            Outcome::Copied(Reason::KernelCopies)
        );
        let there = Location::File {
            mapping: 0x1000,
            position: 100,
            pages: FilePages::Own,
            copies: Copies::Shown,
        };
        for location in [FILE, there, Location::Memory(100), Location::Unknown] {
            assert!(
                matches!(classify(location, &owner_not_read), Outcome::Unknown(_)),
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
            assert_eq!(classify(location, &observed(hole)), Outcome::Zero);
        }
        assert_eq!(
            classify(
                FILE,
                &observed(PageRange {
                    ops: NAMES.zero,
                    ..page()
                })
            ),
            Outcome::Zero
        );
    }

    #[test]
    fn memory_is_identified_by_its_address_or_by_the_kind_of_slot() {
        let anonymous = PageRange {
            mapping: 0x1001,
            ..page()
        };
        let at = 3 * 4096 + 100;
        assert_eq!(classify(Location::Memory(at), &observed(anonymous)), Outcome::Identity);
        assert!(matches!(
            classify(Location::Memory(at + 1), &observed(anonymous)),
            Outcome::Unknown(_)
        ));
        let slot = PageRange {
            ops: NAMES.user,
            ..page()
        };
        assert_eq!(classify(Location::Memory(0), &observed(slot)), Outcome::Identity);
        let huge_zero_page = PageRange { mapping: 0, ..slot };
        assert_eq!(
            classify(Location::Memory(0), &observed(huge_zero_page)),
            Outcome::Unknown(Reason::NotObserved)
        );
        let written = PageRange {
            ops: NAMES.anonymous,
            mapping: 0,
            ..page()
        };
        assert_eq!(
            classify(Location::Memory(at), &observed(written)),
            Outcome::Copied(Reason::FromMemory)
        );
        // A kernel-owned page without a slot kind could be a bounce buffer, or shared memory that
        // was truncated from its file.
        assert!(matches!(
            classify(Location::Memory(at), &observed(PageRange { mapping: 0, ..page() })),
            Outcome::Unknown(_)
        ));
    }

    #[test]
    fn known_page_is_identity_and_another_page_is_a_copy() {
        let at = start_of(&page()).unwrap();
        assert_eq!(classify(Location::Page(at), &observed(page())), Outcome::Identity);
        assert_eq!(
            classify(Location::Page(at.plus(1)), &observed(page())),
            Outcome::Copied(Reason::KernelCopies)
        );
        assert_eq!(
            classify(Location::Page(at), &Observation::linear(5)),
            Outcome::Copied(Reason::KernelCopies)
        );
        assert!(matches!(
            classify(Location::Page(at), &observed(PageRange { page: 0, ..page() })),
            Outcome::Unknown(_)
        ));
    }

    #[test]
    fn range_of_an_emptied_slot_follows_from_its_end() {
        // 50 bytes were taken from the front, and the end stayed.
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
