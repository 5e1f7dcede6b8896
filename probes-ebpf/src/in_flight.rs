//! Calls that threads are inside.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use zctrace_records::{Call, IoCounterKey};

use crate::syscall_args::FdArg;

/// A call that a thread is inside, if it has a number.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct CallInFlight {
    /// The record, as far as it is known.
    pub(crate) call: Call,
    /// What it asks for.
    pub(crate) source: FdArg,
    pub(crate) sink: FdArg,
}

/// Calls that threads are inside, by thread: those with a number. A thread has its entry from its first call to its end, for
/// taking it out and putting it in again would cost more than all that is done with it.
#[map]
pub(crate) static IN_FLIGHT: HashMap<u32, CallInFlight> = HashMap::with_max_entries(16_384, 0);

/// Plain calls that threads are inside, by thread: those with a kind. A thread keeps its entry here, too.
#[map]
pub(crate) static IO_IN_FLIGHT: HashMap<u32, IoCounterKey> = HashMap::with_max_entries(65_536, 0);

/// The entry of the call that a thread is inside.
#[inline(always)]
pub(crate) fn of(tid: u32) -> Option<*mut CallInFlight> {
    let entry = IN_FLIGHT.get_ptr_mut(tid)?;
    // SAFETY: a map's value is valid as long as the program runs.
    (unsafe { (*entry).call.call_id } != 0).then_some(entry)
}

/// The call that the current thread is inside, or 0.
#[inline(always)]
pub(crate) fn current_call_id() -> u64 {
    let tid = bpf_get_current_pid_tgid() as u32;
    match IN_FLIGHT.get_ptr(tid) {
        // SAFETY: a map's value is valid as long as the program runs.
        Some(entry) => unsafe { (*entry).call.call_id },
        None => 0,
    }
}

/// Forgets a thread that has ended.
#[inline(always)]
pub(crate) fn forget_thread(tid: u32) {
    let _ = IN_FLIGHT.remove(tid);
    let _ = IO_IN_FLIGHT.remove(tid);
}
