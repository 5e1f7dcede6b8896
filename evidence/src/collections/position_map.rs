//! Ordered map from stream positions to values, stored as a deque.
//!
//! Nearly all values are added at the end and removed at the front. A tree would cost more than all
//! other work per page.

use std::collections::VecDeque;

/// Values by position, at most one per position.
#[derive(Clone, Debug)]
pub(crate) struct PositionMap<V> {
    row: VecDeque<(u64, V)>,
}

impl<V> Default for PositionMap<V> {
    fn default() -> Self {
        Self { row: VecDeque::new() }
    }
}

impl<V> PositionMap<V> {
    pub(crate) fn len(&self) -> usize {
        self.row.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    pub(crate) fn first(&self) -> Option<&(u64, V)> {
        self.row.front()
    }

    pub(crate) fn last(&self) -> Option<&(u64, V)> {
        self.row.back()
    }

    pub(crate) fn pop_first(&mut self) -> Option<(u64, V)> {
        self.row.pop_front()
    }

    /// Returns the number of entries before a position.
    pub(crate) fn before(&self, position: u64) -> usize {
        // Searches from the end in steps that double, because the wanted entry is usually among the
        // latest.
        let (mut end, mut step) = (self.row.len(), 1);
        while end > 0 {
            let start = end.saturating_sub(step);
            if self.row[start].0 < position {
                return start + 1 + self.partition(start + 1, end, position);
            }
            end = start;
            step *= 2;
        }
        0
    }

    /// Returns how many entries of `start..end` are before a position.
    fn partition(&self, start: usize, end: usize, position: u64) -> usize {
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.row[middle].0 < position {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - start
    }

    /// Returns entry `number`.
    pub(crate) fn get(&self, number: usize) -> Option<&(u64, V)> {
        self.row.get(number)
    }

    /// Returns the entries from entry `number` on, in order.
    pub(crate) fn from(&self, number: usize) -> impl Iterator<Item = &(u64, V)> {
        self.row.range(number.min(self.row.len())..)
    }

    /// Returns the entries from the last one before a position on, which is the only one before it
    /// that can overlap it.
    pub(crate) fn overlapping_from(&self, position: u64) -> impl Iterator<Item = &(u64, V)> {
        self.from(self.before(position).saturating_sub(1))
    }

    /// Returns the last entry before a position.
    pub(crate) fn last_before(&self, position: u64) -> Option<&(u64, V)> {
        self.row.get(self.before(position).checked_sub(1)?)
    }

    /// Appends a value at a position behind all others.
    #[inline]
    pub(crate) fn push(&mut self, position: u64, value: V) {
        debug_assert!(self.last().is_none_or(|(last, _)| *last < position));
        self.row.push_back((position, value));
    }

    /// Sets the value at a position.
    pub(crate) fn insert(&mut self, position: u64, value: V) {
        let number = self.before(position);
        match self.row.get_mut(number) {
            Some(have) if have.0 == position => have.1 = value,
            Some(_) => self.row.insert(number, (position, value)),
            None => self.row.push_back((position, value)),
        }
    }

    pub(crate) fn remove(&mut self, position: u64) -> Option<V> {
        let number = self.before(position);
        let there = self.row.get(number).is_some_and(|(at, _)| *at == position);
        there.then(|| self.row.remove(number)).flatten().map(|(_, value)| value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.row.iter().map(|(_, value)| value)
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.row.into_iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Behaves like a tree.
        #[test]
        fn position_map_behaves_like_an_ordered_map(steps in prop::collection::vec((0_u8..5, 0_u64..40), 0..200)) {
            let (mut places, mut tree) = (PositionMap::default(), BTreeMap::new());
            for (number, (operation, position)) in steps.into_iter().enumerate() {
                match operation {
                    0..=2 => {
                        places.insert(position, number);
                        tree.insert(position, number);
                    }
                    3 => prop_assert_eq!(places.remove(position), tree.remove(&position)),
                    _ => prop_assert_eq!(places.pop_first(), tree.pop_first()),
                }
                prop_assert_eq!(places.len(), tree.len());
                prop_assert_eq!(places.is_empty(), tree.is_empty());
                prop_assert_eq!(places.first().copied(), tree.first_key_value().map(|(k, v)| (*k, *v)));
                prop_assert_eq!(places.last().copied(), tree.last_key_value().map(|(k, v)| (*k, *v)));
                prop_assert_eq!(
                    places.last_before(position).copied(),
                    tree.range(..position).next_back().map(|(k, v)| (*k, *v))
                );
                let before = tree.range(..position).next_back();
                let wanted: Vec<_> = before.into_iter().chain(tree.range(position..)).map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(places.overlapping_from(position).copied().collect::<Vec<_>>(), wanted);
            }
            prop_assert!(places.values().eq(tree.values()));
            prop_assert!(places.into_values().eq(tree.into_values()));
        }
    }
}
