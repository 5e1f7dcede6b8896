//! Ranges of bytes, as the methods of the crate take them.

use std::ops::{Bound, Range, RangeBounds};

/// Resolves a range, with `len` for an open end.
///
/// Returns `None` if the range ends before it begins or overflows.
pub(crate) fn resolve(range: &impl RangeBounds<u64>, len: u64) -> Option<Range<u64>> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end.checked_add(1)?,
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    (start <= end).then_some(start..end)
}

/// Resolves a range that must lie within `0..len`.
///
/// # Panics
///
/// Panics if it does not, as slices do.
#[track_caller]
pub(crate) fn resolve_in_bounds(range: &impl RangeBounds<u64>, len: u64) -> Range<u64> {
    match resolve(range, len) {
        Some(range) if range.end <= len => range,
        Some(range) => panic!("range {range:?} is out of bounds of {len} bytes"),
        None => panic!("the range ends before it begins"),
    }
}
