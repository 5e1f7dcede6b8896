//! Sets of stretches of a stream.

use std::collections::BTreeMap;

/// Stretches that are kept apart. A set of more is given up: it then says nothing.
const MAX_RANGES: usize = 4096;

/// Stretches of a stream, joined where they touch.
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

    /// How many of these are in the set. Of a set that was given up: none.
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

    /// The stretches, start and end, in order. Of a set that was given up: none.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.parts.iter().map(|(&start, &end)| (start, end))
    }

    /// Whether all of these are in `other`. Of a set that was given up nothing can be said: no.
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
    fn stretches_that_touch_are_one() {
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
    fn what_is_in_a_set_is_counted() {
        let mut some = RangeSet::default();
        some.add(10, 10);
        some.add(30, 10);
        for (start, len, there) in [
            (0, 10, 0),
            (0, 11, 1),
            (15, 20, 10),
            (0, 100, 20),
            (12, 3, 3),
            (20, 10, 0),
        ] {
            assert_eq!(some.covered(start, len), there, "{start} {len}");
        }
    }

    #[test]
    fn a_set_of_too_many_stretches_says_nothing() {
        let mut many = RangeSet::default();
        (0..=MAX_RANGES as u64).for_each(|at| many.add(at * 10, 1));
        let mut one = RangeSet::default();
        one.add(0, 1);
        assert!(!one.within(&many) && !many.within(&many));
    }
}
