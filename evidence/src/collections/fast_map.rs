//! Hash map for lookups that happen at least once per record.

/// A hash map whose hash function takes a nanosecond per word; that of std takes ten. Each map of
/// each process has its own seed.
pub(crate) type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
