//! The map of what is asked once per record or more often.

/// A hash map that hashes a few words in as many nanoseconds; std's needs ten times that. Its seed is another one for each map
/// of each process.
pub(crate) type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
