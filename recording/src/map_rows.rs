//! Rows of eBPF maps as bytes: each key followed by its value, in their layout in memory.

use zctrace_records::Pod;
use zctrace_records::decode::{bytes_of, value_of};

/// Appends a row to `into`.
pub(super) fn put<K: Pod, V: Pod>((key, value): &(K, V), into: &mut Vec<u8>) {
    into.extend_from_slice(bytes_of(key));
    into.extend_from_slice(bytes_of(value));
}

/// Reads the rows in `bytes` into `into`, which is cleared first.
///
/// `key_len` and `value_len` are the lengths in the recording, in bytes. Returns `None` if `bytes`
/// does not end with a complete row.
pub(super) fn read<K: Pod, V: Pod>(
    bytes: &[u8],
    key_len: usize,
    value_len: usize,
    into: &mut Vec<(K, V)>,
) -> Option<()> {
    into.clear();
    let rows = bytes.chunks_exact(key_len + value_len);
    if !rows.remainder().is_empty() {
        return None;
    }
    into.extend(rows.map(|row| (value_of(&row[..key_len]), value_of(&row[key_len..]))));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zctrace_records::{IoCounterKey, IoCounters};

    #[test]
    fn round_trip_keeps_rows_and_fills_short_values_with_zeros() {
        let row = |n: u64| {
            let key = IoCounterKey {
                ino: n,
                kind: 6,
                reserved: 7,
                generation: 8,
                ..IoCounterKey::default()
            };
            let counters = IoCounters {
                bytes: u64::MAX,
                last_ns: 17,
                ..IoCounters::default()
            };
            (key, counters)
        };
        let (key_len, value_len) = (size_of::<IoCounterKey>(), size_of::<IoCounters>());
        let mut bytes = Vec::new();
        (0..3).for_each(|n| put(&row(n), &mut bytes));
        assert_eq!(bytes.len(), 3 * (key_len + value_len));
        let mut rows = Vec::new();
        assert!(read(&bytes, key_len, value_len, &mut rows).is_some());
        assert_eq!(rows, [row(0), row(1), row(2)]);
        assert!(read(&bytes[1..], key_len, value_len, &mut rows).is_none());
        assert!(read(&bytes[..key_len + value_len - 8], key_len, value_len - 8, &mut rows).is_some());
        assert_eq!((rows[0].1.bytes, rows[0].1.last_ns), (u64::MAX, 0));
    }
}
