//! Extents of new slots: the bytes of a call that each new slot of a pipe holds.
//!
//! A slot that no consumer touched shows its own range. A slot that was emptied before the producer
//! returned keeps its end, and the range follows from the bytes that were pushed.

use crate::decode::call::ObservedCall;
use crate::decode::endpoint::PipeState;
use crate::decode::page_address::{PAGE, PageAddress, end_of, page_of, start_of};
use crate::span::{Location, Span, SpanCursor, total};
use zctrace_records::PageRange;

/// Start of a slot's bytes, if it is known, and their number.
type SlotExtent = (Option<PageAddress>, u64);

/// Extents of all new slots.
pub(super) enum SlotExtents {
    /// Extents that the slots show, because no consumer has taken bytes yet.
    AsObserved,
    /// Extents derived from the ends of emptied slots.
    Derived(Vec<SlotExtent>),
}

impl SlotExtents {
    /// Returns the extent of each slot.
    pub(super) fn of(&self, slots: &[PageRange]) -> impl Iterator<Item = SlotExtent> {
        let derived = match self {
            Self::AsObserved => None,
            Self::Derived(extents) => Some(extents),
        };
        slots.iter().enumerate().map_while(move |(number, slot)| match derived {
            None => Some((start_of(slot), u64::from(slot.len))),
            Some(extents) => extents.get(number).copied(),
        })
    }
}

/// Returns whether a slot still holds bytes; its kind is cleared when it is released.
fn is_filled(slot: &PageRange) -> bool {
    slot.ops != 0
}

/// Returns how many bytes a call appended to the last slot, and the extents of the new slots.
///
/// Returns `None` if the new slots cannot be divided among the call's bytes.
pub(super) fn slot_extents(
    call: &ObservedCall,
    pipe: &PipeState,
    spans: &[Span],
    slots: &[PageRange],
) -> Option<(u64, SlotExtents)> {
    let len = total(spans);
    if slots.len() != pipe.slots_pushed() as usize {
        return None;
    }
    let observed: u64 = slots.iter().map(|slot| u64::from(slot.len)).sum();
    let is_untouched = slots.iter().all(is_filled);
    if is_untouched && observed == len {
        return Some((0, SlotExtents::AsObserved));
    }
    let last_before = pipe.entry.last_len;
    if is_untouched && observed < len {
        let appended = u64::from(pipe.exit.last_len.saturating_sub(last_before));
        if last_before > 0 && appended == len - observed {
            return Some((appended, SlotExtents::AsObserved));
        }
    }
    if call.copies_from_memory() {
        let written = extents_of_write(u64::from(last_before), len, slots);
        return written.map(|(appended, extents)| (appended, SlotExtents::Derived(extents)));
    }
    extents_from_ends(spans, slots)
        .filter(|extents| extents.iter().map(|(_, len)| len).sum::<u64>() == len)
        .map(|extents| (0, SlotExtents::Derived(extents)))
}

/// Returns the extents of slots that write(2) filled, after the bytes that it appended.
///
/// Each slot is a page filled from its start (fs/pipe.c: `pipe_write()`), the last as far as its
/// end shows.
fn extents_of_write(last_before: u64, len: u64, slots: &[PageRange]) -> Option<(u64, Vec<SlotExtent>)> {
    let mut extents: Vec<SlotExtent> = slots.iter().map(|slot| (page_of(slot), PAGE)).collect();
    if let (Some((_, last)), Some(slot)) = (extents.last_mut(), slots.last()) {
        *last = u64::from(slot.offset) + u64::from(slot.len);
        if *last == 0 || *last > PAGE {
            return None;
        }
    }
    let appended = len.checked_sub(extents.iter().map(|(_, len)| len).sum())?;
    let free = PAGE.saturating_sub(last_before);
    (appended == 0 || (last_before > 0 && appended <= free)).then_some((appended, extents))
}

/// Returns the extents of slots from which bytes were taken already.
///
/// Each slot starts where the bytes that enter it are located, and its end has stayed.
fn extents_from_ends(spans: &[Span], slots: &[PageRange]) -> Option<Vec<SlotExtent>> {
    let mut rest = SpanCursor::new(spans);
    let mut extents = Vec::with_capacity(slots.len());
    for slot in slots {
        let end = end_of(slot)?;
        let first = rest.first()?;
        let start = match first.location {
            Location::Page(address) => address,
            Location::File { position, .. } => page_of(slot)?.plus(position % PAGE),
            Location::Memory(address) => page_of(slot)?.plus(address % PAGE),
            // A single slot holds all bytes. Where it started shows only in a slot that is filled.
            _ if slots.len() == 1 => {
                let len = total(spans);
                let start = is_filled(slot).then(|| PageAddress(end.0.wrapping_sub(len)));
                return Some(vec![(start, len)]);
            }
            _ => return None,
        };
        // The last byte must be in the pages in which the bytes are known to be.
        let max = first.len;
        let len = match (end.0.checked_sub(start.0)?, first.location) {
            // A write to a file emptied the slot, which does not move the end. A slot of a file
            // holds as much as its page has (fs/splice.c: `splice_folio_into_pipe()`).
            (0, Location::File { position, .. }) => max.min(PAGE - position % PAGE),
            // Only the last slot of a file or of vmspliced memory ends inside a page. Otherwise
            // another producer's slot is among them.
            (len, Location::File { position: at, .. } | Location::Memory(at)) if len != max.min(PAGE - at % PAGE) => {
                return None;
            }
            (len, _) => len,
        };
        if len == 0 || len > max {
            return None;
        }
        rest.take(len, drop);
        extents.push((Some(start), len));
    }
    Some(extents)
}
