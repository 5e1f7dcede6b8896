//! I/O counters: plain calls, counted by file, process and system call.

use aya_ebpf::helpers::generated;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use zctrace_records::{IoCounterKey, IoCounters, io_counter_flag};

use crate::{emit, read};

/// Rows of the I/O counters.
#[map]
static IO_COUNTERS: HashMap<IoCounterKey, IoCounters> = HashMap::with_max_entries(16_384, 0);

/// Maximum number of bytes of a call that counts as small.
const SMALL: u64 = 512;

/// Adds the result of a call to its row. `program` is the number of the calling program.
#[inline(always)]
pub(crate) fn add(key: &IoCounterKey, result: i64, user_ip: u64, program: u32) {
    // SAFETY: the helper has no arguments and thus no preconditions.
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
        // BPF_NOEXIST, because another thread can insert the row at the same time.
        let _ = IO_COUNTERS.insert(key, fresh, 1);
        let Some(counters) = IO_COUNTERS.get_ptr_mut(key) else {
            emit::count_map_full(program);
            return;
        };
        counters
    };
    // SAFETY: access through `counters` requires an aligned, valid pointer. Map values are aligned
    // to 8 bytes and stay valid while the program runs. Threads of one process share a row on
    // several CPUs, so counts are added atomically. `user_ip` and `last_ns` are plain stores,
    // because the value of any thread is acceptable.
    unsafe {
        (*counters).user_ip = user_ip;
        (*counters).last_ns = now;
        if result <= 0 {
            read::atomic_add(&raw mut (*counters).failed, 1);
            return;
        }
        read::atomic_add(&raw mut (*counters).calls, 1);
        if key.op_flags & io_counter_flag::BYTES_NOT_KNOWN != 0 {
            // The result is a number of messages, for example.
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
