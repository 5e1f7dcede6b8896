//! Reading of the ring buffer and of maps.

use aya::maps::{HashMap, MapData, RingBuf};
use zctrace_records::{DigestState, IoCounterKey, IoCounters};

use super::pod::Pod;

/// Passes each record in the ring buffer to `visit` and returns their number. Stops after
/// `capacity` bytes, so that it ends even if records are written as fast as they are read.
pub(super) fn drain(ring: &mut RingBuf<MapData>, capacity: u32, visit: &mut dyn FnMut(&[u8])) -> usize {
    let (mut count, mut bytes) = (0, 0);
    while let Some(record) = ring.next() {
        visit(&record);
        count += 1;
        // The kernel stores a header of 8 bytes before each record.
        bytes += record.len() as u64 + 8;
        if bytes >= u64::from(capacity) {
            break;
        }
    }
    count
}

/// Reads the I/O counters. A row that is removed meanwhile may be missing or appear twice.
pub(super) fn read_io_counters(
    map: &HashMap<MapData, Pod<IoCounterKey>, Pod<IoCounters>>,
) -> Vec<(IoCounterKey, IoCounters)> {
    map.iter().flatten().map(|(Pod(key), Pod(sum))| (key, sum)).collect()
}

/// Reads the digests. A row that is written meanwhile may mix old and new values; its two sums then
/// differ.
pub(super) fn read_digests(map: &HashMap<MapData, u64, Pod<DigestState>>) -> Vec<(u64, DigestState)> {
    map.iter().flatten().map(|(sock, Pod(row))| (sock, row)).collect()
}
