//! Where programs go on: a tail call has a budget of instructions of its own, and does not come back.

use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::RawTracePointContext;
use zctrace_records::tail_call::COUNT;
pub(crate) use zctrace_records::tail_call::{BIO_VECS, PIPE_SLOTS, SKB_FRAGS};

/// The programs, by number: the user side puts them in.
#[map]
static TAIL_CALLS: ProgramArray = ProgramArray::with_max_entries(COUNT, 0);

/// Goes on with a program. Comes back only if that cannot be.
///
/// # Safety
///
/// `ctx` must be the running program's context.
#[inline(always)]
pub(crate) unsafe fn to(ctx: &RawTracePointContext, number: u32) {
    // SAFETY: the caller's promise.
    unsafe { TAIL_CALLS.tail_call(ctx, number) };
}
