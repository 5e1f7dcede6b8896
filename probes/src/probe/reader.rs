//! Taking records out of the ring, and rows out of the map of plain calls.

use aya::maps::{HashMap, MapData, RingBuf};
use zctrace_records::{DigestState, IoCounterKey, IoCounters};

use super::pod::Pod;

/// Gives all records that are in the ring to `each`; tells how many. It ends even if they are written as fast as they
/// are read: after as many bytes as the ring holds.
pub(super) fn drain(ring: &mut RingBuf<MapData>, capacity: u32, visit: &mut dyn FnMut(&[u8])) -> usize {
    let (mut count, mut bytes) = (0, 0);
    while let Some(record) = ring.next() {
        visit(&record);
        count += 1;
        // With the header that the kernel puts before each.
        bytes += record.len() as u64 + 8;
        if bytes >= u64::from(capacity) {
            break;
        }
    }
    count
}

/// The rows of the map of plain calls. A row that is removed meanwhile may be missing or twice.
pub(super) fn read_io_counters(
    map: &HashMap<MapData, Pod<IoCounterKey>, Pod<IoCounters>>,
) -> Vec<(IoCounterKey, IoCounters)> {
    map.iter().flatten().map(|(Pod(key), Pod(sum))| (key, sum)).collect()
}

/// The rows of the map of sums. A row that is written meanwhile may be half old, half new: then its sums differ.
pub(super) fn read_digests(map: &HashMap<MapData, u64, Pod<DigestState>>) -> Vec<(u64, DigestState)> {
    map.iter().flatten().map(|(sock, Pod(row))| (sock, row)).collect()
}
