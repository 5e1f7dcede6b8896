//! Plain calls, counted by file, process and kind of call.

use aya_ebpf::helpers::generated;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use zctrace_records::{IoCounterKey, IoCounters, nr, program};

use crate::{emit, read};

/// Plain calls, counted.
#[map]
static IO_COUNTERS: HashMap<IoCounterKey, IoCounters> = HashMap::with_max_entries(16_384, 0);

/// A call that moves at most this much counts as small.
const SMALL: u64 = 512;

/// Adds a call's result to its sum.
#[inline(always)]
pub(crate) fn add(key: &IoCounterKey, result: i64, user_ip: u64) {
    // SAFETY: the helper takes nothing.
    let now = unsafe { generated::bpf_ktime_get_ns() };
    let counters = if let Some(counters) = IO_COUNTERS.get_ptr_mut(key) {
        counters
    } else {
        let fresh = IoCounters {
            bytes: 0,
            calls: 0,
            failed: 0,
            small_bytes: 0,
            small_calls: 0,
            user_ip,
            first_ns: now,
            last_ns: now,
        };
        // BPF_NOEXIST: another thread may have made it meanwhile.
        let _ = IO_COUNTERS.insert(key, fresh, 1);
        let Some(counters) = IO_COUNTERS.get_ptr_mut(key) else {
            emit::count_map_full(program::SYS_EXIT);
            return;
        };
        counters
    };
    // SAFETY: a map's value is aligned, and valid as long as the program runs. Threads of one process count in one row
    // on several CPUs, so sums are added to atomically; of the rest any thread's word will do.
    unsafe {
        (*counters).user_ip = user_ip;
        (*counters).last_ns = now;
        if result <= 0 {
            read::atomic_add(&raw mut (*counters).failed, 1);
            return;
        }
        read::atomic_add(&raw mut (*counters).calls, 1);
        if key.nr == nr::SENDMMSG || key.nr == nr::RECVMMSG {
            // Their result is a number of messages.
            return;
        }
        let bytes = result as u64;
        read::atomic_add(&raw mut (*counters).bytes, bytes);
        if bytes <= SMALL {
            read::atomic_add(&raw mut (*counters).small_calls, 1);
            read::atomic_add(&raw mut (*counters).small_bytes, bytes);
        }
    }
}
