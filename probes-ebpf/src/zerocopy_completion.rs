//! Zero-copy completions: the kernel's own notifications about sends that should not copy. No other
//! evidence of such sends comes from the kernel itself.
//!
//! A notification of `MSG_ZEROCOPY` is a packet without bytes in the error queue of its socket. The
//! kernel frees it when the program reads it, when the preceding notification absorbs it, or when
//! the socket is destroyed (net/core/skbuff.c, `__msg_zerocopy_callback`). Therefore every
//! notification passes `consume_skb` or `kfree_skb`, whether or not the program reads it.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use zctrace_records::{EndpointState, ZerocopyCompletion, completion_flag, completion_source, endpoint_kind, program};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::offsets;
use crate::read::{self, member};
use crate::{emit, scope};

/// `MSG_ZEROCOPY` (include/linux/socket.h).
pub(crate) const MSG_ZEROCOPY: u32 = 0x0400_0000;
/// `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED` (include/uapi/linux/errqueue.h).
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_COPIED: u8 = 1;
/// `IORING_CQE_F_NOTIF` and `IORING_NOTIF_USAGE_ZC_COPIED` (`include/uapi/linux/io_uring.h`).
const CQE_NOTIF: u32 = 8;
const USAGE_COPIED: u32 = 1 << 31;

/// Process that sends with `MSG_ZEROCOPY` on a socket.
#[repr(C)]
#[derive(Clone, Copy, FromZeros, Immutable, IntoBytes)]
pub(crate) struct Sender {
    endpoint: EndpointState,
    tgid: u32,
    reserved: u32,
}

/// Scratch memory for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    completion: ZerocopyCompletion,
}

/// Senders with `MSG_ZEROCOPY`, by the address of the socket. A notification can arrive long after
/// the socket was closed.
#[map]
static ZEROCOPY_SENDER: LruHashMap<u64, Sender> = LruHashMap::with_max_entries(16_384, 0);

/// Scratch memory for notifications: 0 for those that were read, 1 for those that were discarded.
/// `scratch` explains why there are two.
#[map]
static ERRQ_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(2, 0);

scratch!(URING_SCRATCH: Scratch);

/// Records the sender of a `MSG_ZEROCOPY` send on a TCP socket, if none is recorded.
///
/// # Safety
///
/// `sender` must be valid for writes, and `endpoint` for reads.
#[inline(always)]
pub(crate) unsafe fn track_sender(sender: *mut Sender, endpoint: *const EndpointState, tgid: u32) {
    // SAFETY: access through `sender` and `endpoint` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        let sock = (*endpoint).object;
        if (*endpoint).kind != endpoint_kind::TCP || ZEROCOPY_SENDER.get_ptr(sock).is_some() {
            return;
        }
        read::copy(addr_of_mut!((*sender).endpoint), endpoint);
        (*sender).tgid = tgid;
        (*sender).reserved = 0;
        // An LRU map evicts an entry instead of being full. A missing sender only means that its
        // notifications are not counted.
        let _ = ZEROCOPY_SENDER.insert(sock, &*sender, 0);
    }
}

/// Removes the sender of a socket whose `struct sock` now belongs to another connection.
#[inline(always)]
pub(crate) fn forget_sender(sock: u64) {
    let _ = ZEROCOPY_SENDER.remove(sock);
}

/// Handles a packet without bytes that was consumed or discarded.
#[inline(always)]
pub(crate) fn on_error_queue(skb: u64, sock: u64, dropped: bool) {
    if offsets::SKB_CB.load() == 0 || offsets::SERR_EE.load() == 0 {
        return;
    }
    let Some(sender) = ZEROCOPY_SENDER.get_ptr(sock) else {
        return;
    };
    let control = skb.wrapping_add(u64::from(offsets::SKB_CB.load()));
    // struct sock_extended_err (include/uapi/linux/errqueue.h).
    let [errno, origin_and_code, first, last] =
        read::kernel::<[u32; 4]>(control.wrapping_add(u64::from(offsets::SERR_EE.load())));
    let [origin, kind, code, pad] = origin_and_code.to_ne_bytes();
    // Without a notification, the control buffer holds the kernel's own counter (struct
    // ubuf_info_msgzc), which starts with a pointer.
    let is_notification = read::kernel::<u64>(control) == 0 && errno == 0 && kind == 0 && pad == 0;
    if !is_notification || origin != ORIGIN_ZEROCOPY || code & !CODE_COPIED != 0 {
        return;
    }
    let Some(scratch) = ERRQ_SCRATCH.get_ptr_mut(u32::from(dropped)) else {
        return;
    };
    // SAFETY: access through `scratch` and `sender` requires valid pointers. Map values stay valid
    // while the program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        let completion = addr_of_mut!((*scratch).completion);
        read::copy(addr_of_mut!((*completion).endpoint), addr_of!((*sender).endpoint));
        (*completion).tgid = (*sender).tgid;
        (*completion).source = completion_source::ERROR_QUEUE;
        (*completion).flags = if code & CODE_COPIED == 0 {
            0
        } else {
            completion_flag::COPIED
        };
        (*completion).first = first;
        (*completion).last = last;
        (*completion).reserved = 0;
        let program = if dropped {
            (*completion).flags |= completion_flag::DROPPED;
            program::KFREE_SKB
        } else {
            program::CONSUME_SKB
        };
        emit::emit_fixed(completion, program);
    }
}

/// Handles a completed `io_uring` request with this result and these flags.
#[inline(always)]
pub(crate) fn on_io_uring_complete(request: u64, result: u32, flags: u32) {
    if flags & CQE_NOTIF == 0 {
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !scope::is_traced(tgid) {
        return;
    }
    let Some(scratch) = URING_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        let completion = addr_of_mut!((*scratch).completion);
        read::zero(addr_of_mut!((*completion).endpoint));
        (*completion).endpoint.fd = -1;
        (*completion).tgid = tgid;
        (*completion).source = completion_source::IO_URING;
        (*completion).flags = 0;
        (*completion).first = 0;
        (*completion).last = 0;
        (*completion).reserved = 0;
        if result & USAGE_COPIED != 0 {
            (*completion).flags = completion_flag::COPIED;
        } else if !reports_usage(request) {
            (*completion).flags = completion_flag::NO_USAGE_REPORT;
        }
        emit::emit_fixed(completion, program::IO_URING_COMPLETE);
    }
}

/// Returns whether the program requested a report of copies (`struct io_notif_data`,
/// `io_uring/notif.h`).
#[inline(always)]
fn reports_usage(request: u64) -> bool {
    if offsets::NOTIF_REPORT.load() == 0 {
        return false;
    }
    let data = request.wrapping_add(u64::from(offsets::REQUEST_CMD.load()));
    member::<u8>(data, &offsets::NOTIF_REPORT) != 0
}
