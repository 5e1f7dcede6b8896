//! Tail calls between the programs. A tail-called program has its own instruction budget and does
//! not return to the caller.

use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::RawTracePointContext;
use zctrace_records::tail_call::COUNT;
pub(crate) use zctrace_records::tail_call::{BIO_VECS, OTHER_CALLS, PIPE_SLOTS, SKB_FRAGS};

/// Tail-called programs, by number. The loader inserts them.
#[map]
static TAIL_CALLS: ProgramArray = ProgramArray::with_max_entries(COUNT, 0);

/// Continues with another program. Returns only if the tail call fails.
///
/// # Safety
///
/// `ctx` must be the running program's context.
#[inline(always)]
pub(crate) unsafe fn to(ctx: &RawTracePointContext, number: u32) {
    // SAFETY: the tail call requires the running program's context, which the caller guarantees.
    unsafe { TAIL_CALLS.tail_call(ctx, number) };
}
