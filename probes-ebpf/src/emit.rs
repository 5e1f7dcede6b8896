//! Writing of records to the ring buffer, and counting of records that did not fit.

use core::ptr::addr_of;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use zctrace_records::{ProgramStats, RecordHeader, RecordKind, WireRecord, program};

use crate::read::opaque;

/// Ring buffer for all records. The loader sets its size.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Counts of written and lost records, by [`program`].
#[map]
static PROGRAM_STATS: PerCpuArray<ProgramStats> = PerCpuArray::with_max_entries(program::COUNT, 0);

/// `BPF_RB_NO_WAKEUP` (include/uapi/linux/bpf.h). The reader polls, because a wake-up would cost
/// more than the record.
const NO_WAKEUP: u64 = 1;

/// Upper bound of a record's length, in bytes. A map value that is passed to [`emit_prefix`] has
/// this size.
pub(crate) const MAX_RECORD_SIZE: u64 = 1024;

/// Fills in the header of a record of `len` bytes and writes the record. `program` is the number of
/// the writing program.
///
/// # Safety
///
/// `header` must be valid for reads and writes of [`MAX_RECORD_SIZE`] bytes.
#[inline(always)]
pub(crate) unsafe fn emit_prefix(header: *mut RecordHeader, len: u64, kind: RecordKind, program: u32) {
    // The verifier requires the bound immediately before the call.
    // SAFETY: `write` requires `len` valid bytes that start with a header. The caller guarantees
    // [`MAX_RECORD_SIZE`] bytes, and the mask keeps the length below that.
    unsafe { write(header, opaque(len) & (MAX_RECORD_SIZE - 1), kind, program) };
}

/// Writes a record of a fixed length.
///
/// # Safety
///
/// `record` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn emit_fixed<T: WireRecord>(record: *mut T, program: u32) {
    // SAFETY: `write` requires `len` valid bytes that start with a header. The caller guarantees
    // that `record` is valid, and every `WireRecord` starts with a header.
    unsafe { write(record.cast(), size_of::<T>() as u64, T::KIND, program) };
}

/// Fills in the header and writes `len` bytes from it on.
///
/// # Safety
///
/// These bytes must be valid for reads and writes and start with a [`RecordHeader`].
#[inline(always)]
unsafe fn write(header: *mut RecordHeader, len: u64, kind: RecordKind, program: u32) {
    // SAFETY: access through `header` requires a valid pointer, which the caller guarantees.
    // `stats` points to a map value, which stays valid while the program runs. `bpf_ringbuf_output`
    // reads `len` bytes, which the caller guarantees to be valid.
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
        // SAFETY: access through `stats` requires a valid pointer. Map values stay valid while the
        // program runs.
        unsafe { (*stats).map_full += 1 };
    }
}
