//! Writing records to the ring, and counting those that did not fit.

use core::ptr::addr_of;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use zctrace_records::{RecordHeader, RecordKind};

use crate::maps::{RING, TALLIES};
use crate::read::opaque;

/// `BPF_RB_NO_WAKEUP` (include/uapi/linux/bpf.h): the reader comes by itself, a wake-up would cost more than the
/// record.
const NO_WAKEUP: u64 = 1;

/// Records are shorter than this; what lies in a map for [`record`] has this much room.
pub(crate) const ROOM: u64 = 1024;

/// Fills in the head of a record of `len` bytes and writes it; `who` is the program.
///
/// # Safety
///
/// `head` must be valid for reads and writes of [`ROOM`] bytes.
#[inline(always)]
pub(crate) unsafe fn record(head: *mut RecordHeader, len: u64, kind: RecordKind, who: u32) {
    // The verifier wants to see the bound right before the call.
    // SAFETY: the caller's promise.
    unsafe { write(head, opaque(len) & (ROOM - 1), kind, who) };
}

/// Writes a record of a fixed length from a place with just as much room.
///
/// # Safety
///
/// `value` must be valid for reads and writes, and begin with a [`RecordHeader`].
#[inline(always)]
pub(crate) unsafe fn whole<T>(value: *mut T, kind: RecordKind, who: u32) {
    // SAFETY: the caller's promise.
    unsafe { write(value.cast(), size_of::<T>() as u64, kind, who) };
}

/// Writes `len` bytes from `head` on.
///
/// # Safety
///
/// They must be valid for reads and writes, and begin with a [`RecordHeader`].
#[inline(always)]
unsafe fn write(head: *mut RecordHeader, len: u64, kind: RecordKind, who: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(tally) = TALLIES.get_ptr_mut(who) else {
            return;
        };
        let thread = bpf_get_current_pid_tgid();
        (*head).sequence = (*tally).emitted;
        (*tally).emitted += 1;
        (*head).timestamp_ns = generated::bpf_ktime_get_ns();
        (*head).tgid = (thread >> 32) as u32;
        (*head).tid = thread as u32;
        (*head).cpu = generated::bpf_get_smp_processor_id();
        (*head).kind = kind;
        (*head).len = len as u16;
        if generated::bpf_ringbuf_output(addr_of!(RING).cast_mut().cast(), head.cast(), len, NO_WAKEUP) != 0 {
            (*tally).ring_full += 1;
        }
    }
}

/// Counts an entry for which a map had no room.
#[inline(always)]
pub(crate) fn crowded(who: u32) {
    if let Some(tally) = TALLIES.get_ptr_mut(who) {
        // SAFETY: a map's value is valid as long as the program runs.
        unsafe { (*tally).map_full += 1 };
    }
}
