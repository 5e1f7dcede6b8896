//! System calls in progress.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use zctrace_records::{Call, IoCounterKey};

use crate::syscall_args::FdArg;

/// System call in progress of one thread. An entry with a `call_id` of 0 is idle.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct CallInFlight {
    /// Record of the call, as far as it is known.
    pub(crate) call: Call,
    /// Source and sink that the call's arguments name.
    pub(crate) source: FdArg,
    pub(crate) sink: FdArg,
}

/// System calls in progress that are recorded, by thread ID. A thread keeps its entry from its
/// first such call to its end, because removing and inserting entries would cost more than all
/// other work on them.
#[map]
pub(crate) static IN_FLIGHT: HashMap<u32, CallInFlight> = HashMap::with_max_entries(16_384, 0);

/// System calls in progress that are counted, by thread ID. An entry with the kind `NONE` is idle.
/// A thread keeps its entry until its end.
#[map]
pub(crate) static IO_IN_FLIGHT: HashMap<u32, IoCounterKey> = HashMap::with_max_entries(65_536, 0);

/// Returns the entry of a thread's recorded call in progress.
#[inline(always)]
pub(crate) fn of(tid: u32) -> Option<*mut CallInFlight> {
    let entry = IN_FLIGHT.get_ptr_mut(tid)?;
    // SAFETY: dereferencing `entry` requires a valid pointer. Map values stay valid while the
    // program runs.
    (unsafe { (*entry).call.call_id } != 0).then_some(entry)
}

/// Returns the call ID of the current thread's recorded call in progress, or 0.
#[inline(always)]
pub(crate) fn current_call_id() -> u64 {
    let tid = bpf_get_current_pid_tgid() as u32;
    match IN_FLIGHT.get_ptr(tid) {
        // SAFETY: dereferencing `entry` requires a valid pointer. Map values stay valid while the
        // program runs.
        Some(entry) => unsafe { (*entry).call.call_id },
        None => 0,
    }
}

/// Removes the entries of a thread that has ended.
#[inline(always)]
pub(crate) fn forget_thread(tid: u32) {
    let _ = IN_FLIGHT.remove(tid);
    let _ = IO_IN_FLIGHT.remove(tid);
}
