//! Ledger of one pipe: the bytes in it, and the slots that they take.
//!
//! A pipe's capacity is slots, not bytes. Sixteen splices of one byte fill a pipe of sixteen slots;
//! one slot filled from a TCP socket may hold 32 KiB. The kernel reports the bytes (`FIONREAD`) and
//! whether a slot is free (`POLLOUT`), but not the number of slots in use. The ledger therefore
//! computes it from the result of each call. The number of bytes is always exact. The number of
//! slots is exact where the layout of the bytes in pages is known (files, vmspliced memory), and
//! bounded on both sides elsewhere.

use std::collections::VecDeque;

/// Layout of the bytes of one fill in slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SlotLayout {
    /// Page by page: the first slot holds the rest of the page from `offset` on, each further slot
    /// a whole page, and the last slot the remainder. The layout of files (`fs/splice.c`:
    /// `splice_folio_into_pipe()`) and of vmsplice(2).
    Paged {
        /// Offset of the first byte in its page.
        offset: u32,
    },
    /// Unknown, because the other side determined it: sockets, other pipes.
    Opaque,
}

/// Lower and upper bound of the number of slots in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SlotBounds {
    pub(crate) at_least: u64,
    pub(crate) at_most: u64,
}

/// Bytes put in by one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FillRecord {
    bytes: u64,
    /// Bytes in the first slot of a paged fill; zero for an opaque fill.
    first_slot_bytes: u64,
    /// Maximum number of slots of an opaque fill.
    max_slots: u64,
}

impl FillRecord {
    fn is_paged(&self) -> bool {
        self.first_slot_bytes > 0
    }

    /// Returns the maximum number of slots of the fill; exact for a paged fill.
    fn slots(&self, page: u64) -> u64 {
        if self.is_paged() {
            1 + (self.bytes - self.first_slot_bytes.min(self.bytes)).div_ceil(page)
        } else {
            self.max_slots
        }
    }

    /// Removes `n < bytes` bytes from the front.
    fn drain(&mut self, n: u64, page: u64) {
        debug_assert!(n < self.bytes);
        if self.is_paged() {
            self.first_slot_bytes = if n < self.first_slot_bytes {
                self.first_slot_bytes - n
            } else {
                page - (n - self.first_slot_bytes) % page
            };
            self.bytes -= n;
            self.first_slot_bytes = self.first_slot_bytes.min(self.bytes);
        } else {
            self.bytes -= n;
            // A slot holds at least one byte.
            self.max_slots = self.max_slots.min(self.bytes);
        }
    }
}

/// Ledger of one pipe.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    fills: VecDeque<FillRecord>,
    bytes: u64,
    page: u64,
}

impl Ledger {
    pub(crate) fn new(page: u64) -> Self {
        Self {
            fills: VecDeque::new(),
            bytes: 0,
            page,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Records `bytes` that one call has put into a pipe with at most `free` free slots.
    #[inline]
    pub(crate) fn fill(&mut self, bytes: u64, layout: SlotLayout, free: u64) {
        debug_assert!(bytes > 0);
        let record = match layout {
            SlotLayout::Paged { offset } => {
                let first_slot_bytes = (self.page - u64::from(offset) % self.page).min(bytes);
                FillRecord {
                    bytes,
                    first_slot_bytes,
                    max_slots: 0,
                }
            }
            SlotLayout::Opaque => FillRecord {
                bytes,
                first_slot_bytes: 0,
                max_slots: bytes.min(free.max(1)),
            },
        };
        self.bytes += bytes;
        self.fills.push_back(record);
    }

    /// Records that `n` bytes have left from the front.
    ///
    /// # Panics
    ///
    /// Panics if the ledger holds fewer than `n` bytes. The ledger and the kernel then disagree,
    /// and the pipe's state is unknown.
    #[inline]
    pub(crate) fn drain(&mut self, n: u64) {
        assert!(n <= self.bytes, "{n} bytes left a pipe that held {}", self.bytes);
        self.bytes -= n;
        let mut left = n;
        while left > 0 {
            let Some(record) = self.fills.front_mut() else {
                unreachable!("the runs add up to the bytes")
            };
            if record.bytes <= left {
                left -= record.bytes;
                self.fills.pop_front();
            } else {
                record.drain(left, self.page);
                left = 0;
            }
        }
    }

    /// Returns the ledger of another pipe that received the first `n` bytes, by tee(2) or
    /// splice(2).
    pub(crate) fn prefix(&self, n: u64) -> Self {
        let mut other = Self::new(self.page);
        let mut left = n;
        for record in &self.fills {
            if left == 0 {
                break;
            }
            let bytes = record.bytes.min(left);
            left -= bytes;
            other.bytes += bytes;
            other.fills.push_back(FillRecord {
                bytes,
                first_slot_bytes: record.first_slot_bytes.min(bytes),
                max_slots: record.max_slots.min(bytes),
            });
        }
        other
    }

    /// Returns the bounds of the number of slots in use.
    ///
    /// The lower bound allows for kernels that put bytes of one page from two calls into one slot
    /// (up to 6.4).
    pub(crate) fn slots(&self) -> SlotBounds {
        let mut slots = SlotBounds::default();
        for record in &self.fills {
            let max_slots = record.slots(self.page);
            slots.at_most += max_slots;
            slots.at_least += if record.is_paged() { max_slots - 1 } else { 0 };
        }
        if !self.is_empty() {
            slots.at_least += 1;
        }
        slots
    }

    /// Returns whether every byte lies in whole pages, from the first byte of a page on, so that
    /// direct I/O accepts them.
    pub(crate) fn is_aligned(&self) -> bool {
        self.fills.iter().all(|record| {
            record.is_paged() && record.first_slot_bytes == self.page.min(record.bytes) && record.bytes % self.page == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn slots(ledger: &Ledger) -> (u64, u64) {
        let slots = ledger.slots();
        (slots.at_least, slots.at_most)
    }

    #[test]
    fn unaligned_fill_of_64_kib_takes_seventeen_slots() {
        let mut ledger = Ledger::new(PAGE);
        ledger.fill(65_536, SlotLayout::Paged { offset: 100 }, 32);
        assert_eq!(slots(&ledger), (17, 17));
        ledger.drain(3_996);
        assert_eq!(slots(&ledger), (16, 16));
        ledger.drain(1);
        assert_eq!(slots(&ledger), (16, 16), "a partly drained slot stays occupied");
        ledger.drain(4_095);
        assert_eq!(slots(&ledger), (15, 15));
        ledger.drain(ledger.bytes());
        assert!(ledger.is_empty());
        assert_eq!(slots(&ledger), (0, 0));
    }

    #[test]
    fn opaque_fills_have_lower_and_upper_slot_bounds() {
        let mut ledger = Ledger::new(PAGE);
        ledger.fill(262_144, SlotLayout::Opaque, 16);
        assert_eq!(
            slots(&ledger),
            (1, 16),
            "overfilled: more bytes than the ring has pages for"
        );
        ledger.drain(262_141);
        assert_eq!(slots(&ledger), (1, 3));
    }

    #[test]
    fn prefix_has_the_slots_of_a_tee() {
        let mut ledger = Ledger::new(PAGE);
        ledger.fill(10, SlotLayout::Paged { offset: 0 }, 16);
        ledger.fill(8_192, SlotLayout::Paged { offset: 4_000 }, 15);
        let tee = ledger.prefix(10 + 96 + 1);
        assert_eq!((tee.bytes(), tee.slots().at_most), (107, 3));
        assert_eq!(ledger.bytes(), 8_202, "the source keeps its bytes");
    }

    #[test]
    #[should_panic(expected = "left a pipe that held")]
    fn draining_more_than_was_filled_panics() {
        let mut ledger = Ledger::new(PAGE);
        ledger.fill(5, SlotLayout::Opaque, 16);
        ledger.drain(6);
    }

    #[test]
    fn only_whole_pages_are_aligned() {
        let mut ledger = Ledger::new(PAGE);
        ledger.fill(8_192, SlotLayout::Paged { offset: 0 }, 16);
        assert!(ledger.is_aligned());
        ledger.drain(100);
        assert!(!ledger.is_aligned());
        let mut socket = Ledger::new(PAGE);
        socket.fill(8_192, SlotLayout::Opaque, 16);
        assert!(!socket.is_aligned());
    }
}
