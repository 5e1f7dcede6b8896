//! Requests of `io_uring`: bytes, counted by submitting process, opcode and endpoint.
//!
//! A completion is posted in the thread that submitted the request, in a worker of its process, or
//! in the kernel's thread that polls the submission queue. The request names the submitter, so the
//! current thread does not matter. A completion without a request is one of several of a request
//! (multishot); the kernel posts it in a thread of the submitter's process.

use core::ptr::addr_of_mut;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use zctrace_records::{
    EndpointName, EndpointState, IO_URING_BASE, IO_URING_OVERFLOW, IO_URING_SUBMITTED, IO_URING_UNNAMED, IoCounterKey,
    endpoint_kind, io_counter_flag, program, uring_op,
};

use crate::read::{self, member};
use crate::sys_enter::{COUNTED_MSG_FLAGS, O_DIRECT};
use crate::zerocopy_completion::MSG_ZEROCOPY;
use crate::{endpoint, endpoint_name, io_counters, offsets, scope};

/// `IORING_CQE_F_BUFFER` (`include/uapi/linux/io_uring.h`): the completion used a provided buffer.
/// Of the completions without a request, those that report payload have this flag.
const CQE_BUFFER: u32 = 1;
/// `REQ_F_CQE_SKIP` (`include/linux/io_uring_types.h`), which has the value of
/// `IOSQE_CQE_SKIP_SUCCESS`: a successful request has no completion.
const REQUEST_SKIPS_COMPLETION: u32 = 1 << 6;

/// `-ECANCELED` and `-EINTR` (`include/uapi/asm-generic/errno.h`). A request on a file that ended
/// so may have moved a part of its bytes before.
const CANCELED: i64 = -125;
const INTERRUPTED: i64 = -4;

/// Scratch memory for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    endpoint: EndpointState,
    key: IoCounterKey,
    name: EndpointName,
}

scratch!(URING_IO_SCRATCH: Scratch);
scratch!(URING_SUBMIT_SCRATCH: Scratch);
scratch!(URING_OVERFLOW_SCRATCH: Scratch);

/// Counts a completion with this result and these flags.
#[inline(always)]
pub(crate) fn on_complete(request: u64, result: u32, cqe_flags: u32) {
    let result = i64::from(result as i32);
    if request == 0 {
        if cqe_flags & CQE_BUFFER != 0 && result > 0 {
            let scratch = URING_IO_SCRATCH.get_ptr_mut(0);
            count_unnamed(scratch, IO_URING_UNNAMED, result, program::IO_URING_COMPLETE);
        }
        return;
    }
    let opcode: u8 = member(request, &offsets::REQUEST_OPCODE);
    if !uring_op::moves_payload(opcode) {
        return;
    }
    let tgid = submitter(request);
    if !scope::is_traced(tgid) {
        return;
    }
    let Some(scratch) = URING_IO_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        let endpoint = addr_of_mut!((*scratch).endpoint);
        let key = addr_of_mut!((*scratch).key);
        endpoint::identify(endpoint, -1, member(request, &offsets::REQUEST_FILE));
        read::zero(key);
        (*key).ino = (*endpoint).ino;
        (*key).tgid = tgid;
        (*key).dev = (*endpoint).dev;
        (*key).nr = IO_URING_BASE + u32::from(opcode);
        (*key).kind = (*endpoint).kind;
        (*key).op_flags = op_flags(request, opcode, endpoint);
        endpoint_name::emit_once(addr_of_mut!((*scratch).name), endpoint, program::IO_URING_COMPLETE);
        let is_file = (*endpoint).kind == endpoint_kind::FILE || (*endpoint).kind == endpoint_kind::BLOCK;
        let is_cut = is_file && matches!(result, CANCELED | INTERRUPTED);
        if is_cut {
            (*key).op_flags |= io_counter_flag::BYTES_NOT_KNOWN;
        }
        // Of a request whose result is not bytes, 0 means success.
        let result = if is_cut {
            1
        } else {
            result + i64::from(!uring_op::returns_bytes(opcode))
        };
        io_counters::add(&(*scratch).key, result, 0, program::IO_URING_COMPLETE);
    }
}

/// Counts a submitted request whose completion will show nothing of its bytes.
#[inline(always)]
pub(crate) fn on_submit(request: u64) {
    let opcode: u8 = member(request, &offsets::REQUEST_OPCODE);
    let flags: u32 = member(request, &offsets::REQUEST_FLAGS);
    // The completions of RECV_ZC pass no tracepoint (`io_uring/zcrx.c: io_zcrx_queue_cqe()`).
    let is_unseen = flags & REQUEST_SKIPS_COMPLETION != 0 || opcode == uring_op::RECV_ZC;
    if !is_unseen || !uring_op::moves_payload(opcode) {
        return;
    }
    let tgid = submitter(request);
    if scope::is_traced(tgid) {
        let number = IO_URING_SUBMITTED + u32::from(opcode);
        let scratch = URING_SUBMIT_SCRATCH.get_ptr_mut(0);
        count_without_endpoint(scratch, number, tgid, 1, program::IO_URING_SUBMIT_REQ);
    }
}

/// Counts a completion that found no room in the completion queue and is queued elsewhere, which
/// passes no other tracepoint.
#[inline(always)]
pub(crate) fn on_overflow(result: u32) {
    let result = i64::from(result as i32);
    if result > 0 {
        let scratch = URING_OVERFLOW_SCRATCH.get_ptr_mut(0);
        count_unnamed(scratch, IO_URING_OVERFLOW, result, program::IO_URING_CQE_OVERFLOW);
    }
}

/// Counts a completion of the current process whose request is not known.
#[inline(always)]
fn count_unnamed(scratch: Option<*mut Scratch>, number: u32, result: i64, program: u32) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if scope::is_traced(tgid) {
        count_without_endpoint(scratch, number, tgid, result, program);
    }
}

/// Counts a request whose endpoint is not known.
#[inline(always)]
fn count_without_endpoint(scratch: Option<*mut Scratch>, number: u32, tgid: u32, result: i64, program: u32) {
    let Some(scratch) = scratch else { return };
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only the calling program uses this scratch memory on this CPU.
    unsafe {
        let key = addr_of_mut!((*scratch).key);
        read::zero(key);
        (*key).tgid = tgid;
        (*key).nr = number;
        (*key).op_flags = io_counter_flag::NO_CONTRACT;
        if number >= IO_URING_SUBMITTED {
            (*key).op_flags |= io_counter_flag::BYTES_NOT_KNOWN;
        }
        io_counters::add(&(*scratch).key, result, 0, program);
    }
}

/// Returns the process that submitted a request.
#[inline(always)]
fn submitter(request: u64) -> u32 {
    let owner: u64 = member(request, &offsets::REQUEST_SUBMITTER);
    // Since Linux 6.13 the request names the submitter's context, before the task itself.
    let task = if offsets::TCTX_TASK.load() == 0 {
        owner
    } else {
        member(owner, &offsets::TCTX_TASK)
    };
    member(task, &offsets::TASK_TGID)
}

/// Returns the flags of a request that decide what its result means.
///
/// # Safety
///
/// `endpoint` must be valid for reads.
#[inline(always)]
unsafe fn op_flags(request: u64, opcode: u8, endpoint: *const EndpointState) -> u32 {
    let mut flags = 0;
    if !uring_op::returns_bytes(opcode) {
        flags |= io_counter_flag::BYTES_NOT_KNOWN;
    }
    // SAFETY: reading through `endpoint` requires a valid pointer, which the caller guarantees.
    let (kind, f_flags) = unsafe { ((*endpoint).kind, (*endpoint).f_flags) };
    let is_file = kind == endpoint_kind::FILE || kind == endpoint_kind::BLOCK;
    if is_file && f_flags & O_DIRECT != 0 || kind == endpoint_kind::NONE {
        flags |= io_counter_flag::NO_CONTRACT;
    }
    if uring_op::has_message_flags(opcode) {
        if offsets::REQUEST_MSG_FLAGS.load() == 0 {
            return flags | io_counter_flag::NO_CONTRACT;
        }
        let data = request.wrapping_add(u64::from(offsets::REQUEST_CMD.load()));
        let message: u32 = member(data, &offsets::REQUEST_MSG_FLAGS);
        flags |= message & COUNTED_MSG_FLAGS;
        if message & MSG_ZEROCOPY != 0 {
            flags |= io_counter_flag::NO_CONTRACT;
        }
    }
    flags
}
