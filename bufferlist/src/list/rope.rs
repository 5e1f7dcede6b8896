//! Sequence of segments, with the position of each.
//!
//! Each entry stores the position of its first byte, counted from a point that stays fixed while
//! bytes are added and removed at either end. The segment at an offset is therefore found by
//! bisection, without prefix sums that every change would invalidate.

use crate::segment::Segment;
use std::collections::VecDeque;
use std::ops::Range;

/// Position at which a rope begins: in the middle, so that it can grow by 2^63 bytes in both
/// directions.
const ORIGIN: u64 = 1 << 63;

#[derive(Clone, Debug)]
struct Entry {
    /// Position of the first byte.
    start: u64,
    segment: Segment,
}

/// Sequence of segments, none of them empty.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    entries: VecDeque<Entry>,
    start: u64,
    end: u64,
    /// Number of holes, so that a list without holes need not be searched for unfilled ones.
    holes: usize,
}

impl Rope {
    pub(crate) const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            start: ORIGIN,
            end: ORIGIN,
            holes: 0,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.end - self.start
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment> + ExactSizeIterator {
        self.entries.iter().map(|entry| &entry.segment)
    }

    /// Appends a segment, unless it is empty.
    ///
    /// # Panics
    ///
    /// Panics if the rope would be longer than 2^63 bytes, which only zeros and extents can reach,
    /// and only by mistake.
    #[inline]
    pub(crate) fn push_back(&mut self, segment: Segment) {
        let len = segment.len();
        if len == 0 {
            return;
        }
        let start = self.end;
        self.end = start.checked_add(len).expect("a list is shorter than 2^63 bytes");
        self.holes += usize::from(segment.is_unfilled());
        self.entries.push_back(Entry { start, segment });
    }

    /// Prepends a segment, unless it is empty.
    ///
    /// # Panics
    ///
    /// Panics like [`push_back`](Self::push_back).
    pub(crate) fn push_front(&mut self, segment: Segment) {
        let len = segment.len();
        if len == 0 {
            return;
        }
        let start = self.start.checked_sub(len).expect("a list is shorter than 2^63 bytes");
        self.start = start;
        self.holes += usize::from(segment.is_unfilled());
        self.entries.push_front(Entry { start, segment });
    }

    pub(crate) fn front(&self) -> Option<&Segment> {
        self.entries.front().map(|entry| &entry.segment)
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Segment> {
        self.entries.front_mut().map(|entry| &mut entry.segment)
    }

    pub(crate) fn back_mut(&mut self) -> Option<&mut Segment> {
        self.entries.back_mut().map(|entry| &mut entry.segment)
    }

    /// Records that the last segment was extended by `n` bytes.
    pub(crate) fn extend_back(&mut self, n: u64) {
        self.end += n;
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Segment> {
        let Entry { segment, .. } = self.entries.pop_front()?;
        self.start += segment.len();
        self.holes = self.holes.saturating_sub(usize::from(segment.is_unfilled()));
        Some(segment)
    }

    fn pop_back(&mut self) -> Option<Segment> {
        let Entry { segment, start } = self.entries.pop_back()?;
        self.end = start;
        self.holes = self.holes.saturating_sub(usize::from(segment.is_unfilled()));
        Some(segment)
    }

    /// Moves the entries of the shorter rope into the longer one.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if other.entries.len() > self.entries.len() {
            std::mem::swap(self, other);
            while let Some(segment) = other.pop_back() {
                self.push_front(segment);
            }
        } else {
            while let Some(segment) = other.pop_front() {
                self.push_back(segment);
            }
        }
        other.clear();
    }

    /// Returns the index of the segment that holds the byte at `offset`, and the offset in it.
    fn find(&self, offset: u64) -> (usize, u64) {
        debug_assert!(offset < self.len());
        let position = self.start + offset;
        let index = self.entries.partition_point(|entry| entry.start <= position) - 1;
        (index, position - self.entries[index].start)
    }

    /// Returns an iterator over the segments of a range, each with the part of it that is in the
    /// range.
    pub(crate) fn segments_in(&self, range: Range<u64>) -> impl Iterator<Item = (&Segment, Range<u64>)> {
        let first = if range.is_empty() {
            self.entries.len()
        } else {
            self.find(range.start).0
        };
        let (from, to) = (self.start + range.start, self.start + range.end);
        self.entries
            .range(first..)
            .take_while(move |entry| entry.start < to)
            .map(move |entry| {
                let start = from.saturating_sub(entry.start);
                let end = entry.segment.len().min(to - entry.start);
                (&entry.segment, start..end)
            })
    }

    pub(crate) fn slice(&self, range: Range<u64>) -> Self {
        let mut slice = Self::new();
        for (segment, part) in self.segments_in(range) {
            if part.start == 0 && part.end == segment.len() {
                slice.push_back(segment.clone());
            } else {
                slice.push_back(segment.part(part.start, part.end));
            }
        }
        slice
    }

    pub(crate) fn split_to(&mut self, at: u64) -> Self {
        let mut front = Self::new();
        while let Some(first) = self.front() {
            let left = at - front.len();
            if left == 0 {
                break;
            }
            if first.len() <= left {
                if let Some(segment) = self.pop_front() {
                    front.push_back(segment);
                }
            } else {
                front.push_back(first.part(0, left));
                self.advance(left);
                break;
            }
        }
        front
    }

    pub(crate) fn split_off(&mut self, at: u64) -> Self {
        let mut back = Self::new();
        while self.len() > at {
            let Some(last) = self.entries.back() else { break };
            let offset = last.start - self.start;
            if offset >= at {
                if let Some(segment) = self.pop_back() {
                    back.push_front(segment);
                }
            } else {
                back.push_front(last.segment.part(at - offset, last.segment.len()));
                self.truncate(at);
            }
        }
        back
    }

    pub(crate) fn advance(&mut self, n: u64) {
        let mut left = n;
        while left > 0 {
            let Some(entry) = self.entries.front_mut() else { return };
            let len = entry.segment.len();
            if len <= left {
                left -= len;
                self.pop_front();
            } else {
                entry.segment.advance(left);
                entry.start += left;
                self.start += left;
                left = 0;
            }
        }
    }

    pub(crate) fn truncate(&mut self, len: u64) {
        while self.len() > len {
            let Some(entry) = self.entries.back_mut() else { return };
            let offset = entry.start - self.start;
            if offset >= len {
                self.pop_back();
            } else {
                entry.segment.truncate(len - offset);
                self.end = self.start + len;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.end = self.start;
        self.holes = 0;
    }

    pub(crate) fn reserve(&mut self, segments: usize) {
        self.entries.reserve(segments);
    }

    /// Returns whether a hole is not filled. Recounts them if there may be one, because holes are
    /// filled from outside.
    pub(crate) fn has_unfilled_hole(&mut self) -> bool {
        if self.holes > 0 {
            self.holes = self.iter().filter(|segment| segment.is_unfilled()).count();
        }
        self.holes > 0
    }
}
