//! Writing records to the ring, and counting those that did not fit.

use core::ptr::addr_of;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use zctrace_records::{ProgramStats, RecordHeader, RecordKind, WireRecord, program};

use crate::read::opaque;

/// All records. The user side sets its size.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// What each program wrote and lost, by [`program`].
#[map]
static PROGRAM_STATS: PerCpuArray<ProgramStats> = PerCpuArray::with_max_entries(program::COUNT, 0);

/// `BPF_RB_NO_WAKEUP` (include/uapi/linux/bpf.h): the reader comes by itself, a wake-up would cost more than the
/// record.
const NO_WAKEUP: u64 = 1;

/// Records are shorter than this; what lies in a map for [`record`] has this much room.
pub(crate) const MAX_RECORD_SIZE: u64 = 1024;

/// Fills in the head of a record of `len` bytes and writes it; `who` is the program.
///
/// # Safety
///
/// `head` must be valid for reads and writes of [`MAX_RECORD_SIZE`] bytes.
#[inline(always)]
pub(crate) unsafe fn emit_prefix(header: *mut RecordHeader, len: u64, kind: RecordKind, program: u32) {
    // The verifier wants to see the bound right before the call.
    // SAFETY: the caller's promise.
    unsafe { write(header, opaque(len) & (MAX_RECORD_SIZE - 1), kind, program) };
}

/// Writes a record of a fixed length from a place with just as much room.
///
/// # Safety
///
/// `record` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_fixed<T: WireRecord>(record: *mut T, program: u32) {
    // SAFETY: the caller's promise.
    unsafe { write(record.cast(), size_of::<T>() as u64, T::KIND, program) };
}

/// Writes `len` bytes from `head` on.
///
/// # Safety
///
/// They must be valid for reads and writes, and begin with a [`RecordHeader`].
#[inline(always)]
unsafe fn write(header: *mut RecordHeader, len: u64, kind: RecordKind, program: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(stats) = PROGRAM_STATS.get_ptr_mut(program) else {
            return;
        };
        let thread = bpf_get_current_pid_tgid();
        (*header).sequence = (*stats).emitted;
        (*stats).emitted += 1;
        (*header).timestamp_ns = generated::bpf_ktime_get_ns();
        (*header).tgid = (thread >> 32) as u32;
        (*header).tid = thread as u32;
        (*header).cpu = generated::bpf_get_smp_processor_id();
        (*header).kind = kind;
        (*header).len = len as u16;
        if generated::bpf_ringbuf_output(addr_of!(RING).cast_mut().cast(), header.cast(), len, NO_WAKEUP) != 0 {
            (*stats).ring_full += 1;
        }
    }
}

/// Counts an entry for which a map had no room.
#[inline(always)]
pub(crate) fn count_map_full(program: u32) {
    if let Some(stats) = PROGRAM_STATS.get_ptr_mut(program) {
        // SAFETY: a map's value is valid as long as the program runs.
        unsafe { (*stats).map_full += 1 };
    }
}
