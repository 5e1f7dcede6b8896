//! Numbers of calls and of connections.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

use crate::read;

/// The latest number of each counter.
#[map]
static NEXT_IDS: Array<u64> = Array::with_max_entries(2, 0);

/// Index of the calls' counter.
const CALLS: u32 = 0;
/// Index of the connections' counter.
const CONNECTIONS: u32 = 1;

/// The number of the next call.
#[inline(always)]
pub(crate) fn next_call() -> u64 {
    next(CALLS)
}

/// The number of the next connection.
#[inline(always)]
pub(crate) fn next_connection() -> u64 {
    next(CONNECTIONS)
}

/// The next number of a counter, from 1.
#[inline(always)]
fn next(counter: u32) -> u64 {
    let Some(value) = NEXT_IDS.get_ptr_mut(counter) else {
        return 0;
    };
    // SAFETY: map values are aligned to 8 bytes and are valid as long as the program runs; all access is atomic.
    unsafe { read::atomic_fetch_add(value, 1) + 1 }
}
