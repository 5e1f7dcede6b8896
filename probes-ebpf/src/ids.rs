//! Call IDs and connection IDs.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

use crate::read;

/// Last number of each counter.
#[map]
static NEXT_IDS: Array<u64> = Array::with_max_entries(2, 0);

/// Index of the counter of call IDs.
const CALLS: u32 = 0;
/// Index of the counter of connection IDs.
const CONNECTIONS: u32 = 1;

/// Returns the next call ID.
#[inline(always)]
pub(crate) fn next_call() -> u64 {
    next(CALLS)
}

/// Returns the next connection ID.
#[inline(always)]
pub(crate) fn next_connection() -> u64 {
    next(CONNECTIONS)
}

/// Increments a counter and returns its value, from 1; 0 if the map lookup fails.
#[inline(always)]
fn next(counter: u32) -> u64 {
    let Some(value) = NEXT_IDS.get_ptr_mut(counter) else {
        return 0;
    };
    // SAFETY: `atomic_fetch_add` requires an aligned, valid word that all access is atomic to. Map
    // values are aligned to 8 bytes and stay valid while the program runs, and only this function
    // uses them.
    unsafe { read::atomic_fetch_add(value, 1) + 1 }
}
