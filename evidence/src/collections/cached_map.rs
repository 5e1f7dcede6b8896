//! Insertion-ordered map that caches the last accessed row. Consecutive spans usually update the
//! same row.

use std::hash::Hash;

use crate::collections::fast_map::FastMap;

/// Rows in the order of their first access.
#[derive(Clone, Debug)]
pub(crate) struct CachedIndexMap<K, V> {
    rows: Vec<(K, V)>,
    index: FastMap<K, usize>,
    latest: usize,
}

impl<K, V> Default for CachedIndexMap<K, V> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            index: FastMap::default(),
            latest: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V: Default> CachedIndexMap<K, V> {
    /// Returns the row of a key, a new one if there is none.
    pub(crate) fn row(&mut self, key: K) -> &mut V {
        if self.rows.get(self.latest).is_none_or(|(latest, _)| *latest != key) {
            let next = self.rows.len();
            self.latest = *self.index.entry(key).or_insert(next);
            if self.latest == next {
                self.rows.push((key, V::default()));
            }
        }
        &mut self.rows[self.latest].1
    }

    /// Returns whether a key has a row.
    pub(crate) fn has(&self, key: &K) -> bool {
        self.index.contains_key(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_has_one_row_for_every_order_of_access() {
        let mut table = CachedIndexMap::<u32, u64>::default();
        for key in [7, 7, 9, 7, 9, 9, 1, 7] {
            *table.row(key) += 1;
        }
        assert_eq!(
            table.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>(),
            [(7, 4), (9, 3), (1, 1)]
        );
        assert!(table.has(&9) && !table.has(&8) && table.len() == 3);
    }
}
