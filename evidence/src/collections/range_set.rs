//! A set of disjoint byte ranges.

use std::collections::BTreeMap;

/// Ranges that are kept. A set of more ranges is abandoned: it then contains nothing.
const MAX_RANGES: usize = 4096;

/// Byte ranges, joined where they touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSet {
    parts: BTreeMap<u64, u64>,
    given_up: bool,
}

impl RangeSet {
    pub(crate) fn add(&mut self, start: u64, len: u64) {
        if len == 0 || self.given_up {
            return;
        }
        let mut start = start;
        let mut end = start.saturating_add(len);
        while let Some((&at, &to)) = self.parts.range(..=end).next_back() {
            if to < start {
                break;
            }
            self.parts.remove(&at);
            start = start.min(at);
            end = end.max(to);
        }
        self.parts.insert(start, end);
        if self.parts.len() > MAX_RANGES {
            self.parts.clear();
            self.given_up = true;
        }
    }

    /// Removes a range.
    pub(crate) fn remove(&mut self, start: u64, len: u64) {
        let end = start.saturating_add(len);
        while let Some((&at, &to)) = self.parts.range(..end).next_back() {
            if to <= start {
                break;
            }
            self.parts.remove(&at);
            if to > end {
                self.parts.insert(end, to);
            }
            if at < start {
                self.parts.insert(at, start);
            }
        }
    }

    /// Returns how many bytes of a range are in the set; none if the set was abandoned.
    pub(crate) fn covered(&self, start: u64, len: u64) -> u64 {
        let end = start.saturating_add(len);
        let parts = self.parts.range(..end).rev().take_while(|(_, to)| **to > start);
        parts.map(|(&at, &to)| to.min(end) - at.max(start)).sum()
    }

    pub(crate) fn merge(&mut self, more: &Self) {
        self.given_up |= more.given_up;
        for (&start, &end) in &more.parts {
            self.add(start, end - start);
        }
    }

    /// Returns the ranges as start and end, in order; none if the set was abandoned.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.parts.iter().map(|(&start, &end)| (start, end))
    }

    /// Returns whether a non-empty set is contained in `other`. An abandoned set is neither
    /// contained nor contains anything.
    pub(crate) fn within(&self, other: &Self) -> bool {
        !self.given_up
            && !other.given_up
            && !self.parts.is_empty()
            && self.parts.iter().all(|(&start, &end)| {
                other
                    .parts
                    .range(..=start)
                    .next_back()
                    .is_some_and(|(_, &to)| to >= end)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_ranges_are_joined() {
        let mut all = RangeSet::default();
        for (start, len) in [(0, 10), (20, 10), (10, 10), (5, 3)] {
            all.add(start, len);
        }
        assert_eq!(all.parts, BTreeMap::from([(0, 30)]));
        let mut part = RangeSet::default();
        part.add(3, 20);
        assert!(part.within(&all));
        assert!(!all.within(&part));
        assert!(!RangeSet::default().within(&all), "nothing is not proof");
    }

    #[test]
    fn removing_cuts_ranges() {
        let mut some = RangeSet::default();
        some.add(0, 100);
        some.add(200, 100);
        some.remove(50, 200);
        assert_eq!(some.parts, BTreeMap::from([(0, 50), (250, 300)]));
        some.remove(10, 10);
        assert_eq!(some.parts, BTreeMap::from([(0, 10), (20, 50), (250, 300)]));
        some.remove(400, 10);
        assert_eq!(some.parts.len(), 3);
    }

    #[test]
    fn set_counts_the_bytes_it_contains() {
        let mut set = RangeSet::default();
        set.add(10, 10);
        set.add(30, 10);
        for (start, len, there) in [
            (0, 10, 0),
            (0, 11, 1),
            (15, 20, 10),
            (0, 100, 20),
            (12, 3, 3),
            (20, 10, 0),
        ] {
            assert_eq!(set.covered(start, len), there, "{start} {len}");
        }
    }

    #[test]
    fn set_of_too_many_ranges_contains_nothing() {
        let mut many = RangeSet::default();
        (0..=MAX_RANGES as u64).for_each(|at| many.add(at * 10, 1));
        let mut one = RangeSet::default();
        one.add(0, 1);
        assert!(!one.within(&many) && !many.within(&many));
    }
}
