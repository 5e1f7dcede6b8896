//! Taking records out of the ring, and rows out of the map of plain calls.

use aya::maps::{HashMap, MapData, RingBuf};
use zctrace_records::{DigestState, IoCounterKey, IoCounters};

/// [`IoCounterKey`], as a key of a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Key(IoCounterKey);

/// [`IoCounters`], as a value of a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Sum(IoCounters);

/// [`DigestState`], as a value of a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct SumsOf(DigestState);

#[allow(unsafe_code)]
// SAFETY: integers without padding.
unsafe impl aya::Pod for SumsOf {}
#[allow(unsafe_code)]
// SAFETY: integers without padding.
unsafe impl aya::Pod for Key {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl aya::Pod for Sum {}

/// Gives all records that are in the ring to `each`; tells how many. It ends even if they are written as fast as they
/// are read: after as many bytes as the ring holds.
pub(super) fn drain(ring: &mut RingBuf<MapData>, holds: u32, each: &mut dyn FnMut(&[u8])) -> usize {
    let (mut count, mut bytes) = (0, 0);
    while let Some(record) = ring.next() {
        each(&record);
        count += 1;
        // With the header that the kernel puts before each.
        bytes += record.len() as u64 + 8;
        if bytes >= u64::from(holds) {
            break;
        }
    }
    count
}

/// The rows of the map of plain calls. A row that is removed meanwhile may be missing or twice.
pub(super) fn plain(map: &HashMap<MapData, Key, Sum>) -> Vec<(IoCounterKey, IoCounters)> {
    map.iter().flatten().map(|(Key(key), Sum(sum))| (key, sum)).collect()
}

/// The rows of the map of sums. A row that is written meanwhile may be half old, half new: then its sums differ.
pub(super) fn sums(map: &HashMap<MapData, u64, SumsOf>) -> Vec<(u64, DigestState)> {
    map.iter().flatten().map(|(sock, SumsOf(row))| (sock, row)).collect()
}
