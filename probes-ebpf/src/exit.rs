//! `sys_exit`: what both ends of a call are after it, what lies in the pipes, and the record of the call.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use aya_ebpf::programs::RawTracePointContext;
use zctrace_records::{Call, EndpointState, ProcessEvent, call_flag, endpoint_kind, nr, process_event_kind, program};

use crate::end::{self, Now};
use crate::enter::Entry;
use crate::maps::{CALLS, CONTINUE, ENTRIES, EXIT, PLAIN_ENTRIES, next_serial, on};
use crate::pages::Pages;
use crate::read;
use crate::request::{self, Request};
use crate::ring::{self, Cursor};
use crate::{emit, plain, process, scope};

/// fcntl(2).
const FCNTL: u32 = 72;
/// `F_SETPIPE_SZ` (include/uapi/linux/fcntl.h).
const F_SETPIPE_SZ: u32 = 1031;
/// `__X32_SYSCALL_BIT` (arch/x86/include/uapi/asm/unistd.h).
const X32: u32 = 0x4000_0000;
/// The x32 number of vmsplice(2); the others are those of x86-64.
const X32_VMSPLICE: u32 = X32 + 532;

/// Room for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    request: Request,
    now: Now,
    cursor: Cursor,
    pages: Pages,
    call: Call,
    process: ProcessEvent,
}

/// The program.
#[inline(always)]
pub(crate) fn run(ctx: &RawTracePointContext) {
    let (regs, result): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let number = read::at::<u64>(regs + request::ORIG_AX) as u32;
    let result = result as i64;
    if !request::is_known(number) {
        match number {
            FCNTL => resized(regs, result),
            // sendfile, sendfile64, splice, tee and vmsplice of i386 (arch/x86/entry/syscalls/syscall_32.tbl).
            187 | 239 | 313 | 315 | 316 => foreign(regs, number, result, false),
            X32_VMSPLICE => foreign(regs, number, result, true),
            _ if number & X32 != 0 && request::is_moving(number & !X32) => foreign(regs, number, result, true),
            _ => {}
        }
        return;
    }
    let who = bpf_get_current_pid_tgid();
    let tid = who as u32;
    let moves = request::is_moving(number);
    if !moves && let Some(key) = PLAIN_ENTRIES.get_ptr_mut(tid) {
        // SAFETY: a map's value is valid as long as the program runs, and only this thread writes or removes it.
        unsafe {
            if (*key).kind != endpoint_kind::NONE {
                if (*key).nr == number {
                    plain::count(&*key, result, read::at(regs + request::IP));
                }
                (*key).kind = endpoint_kind::NONE;
                return;
            }
        }
    }
    let Some(entry) = inside(tid) else {
        if moves && scope::has((who >> 32) as u32) && !scope::is_compat() {
            unannounced(regs, number, result, 0);
        }
        return;
    };
    // SAFETY: as above; the context is this program's own.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        if (*call).nr == number {
            finish(entry, regs, result);
            if result > 0 && ((*call).source.kind == endpoint_kind::PIPE || (*call).sink.kind == endpoint_kind::PIPE) {
                // It goes on there, and does not come back.
                CONTINUE.tail_call(ctx, on::SLOTS);
            }
            emit::whole(call, Call::KIND, program::SYS_EXIT);
        }
        (*call).call_id = 0;
    }
}

/// The entry of the call that a thread is inside.
#[inline(always)]
fn inside(tid: u32) -> Option<*mut Entry> {
    let entry = ENTRIES.get_ptr_mut(tid)?;
    // SAFETY: a map's value is valid as long as the program runs.
    (unsafe { (*entry).call.call_id } != 0).then_some(entry)
}

/// The second half of the program: the slots of pipes, some at a time, then the record of the call.
#[inline(always)]
pub(crate) fn slots(ctx: &RawTracePointContext) {
    let tid = bpf_get_current_pid_tgid() as u32;
    let (Some(room), Some(entry)) = (EXIT.get_ptr_mut(0), ENTRIES.get_ptr_mut(tid)) else {
        return;
    };
    // SAFETY: the room is this program's on this CPU, since its first half, and valid as long as it runs; so is the
    // map's value, which only this thread removes.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        if !ring::some(addr_of_mut!((*room).pages), addr_of_mut!((*room).cursor), call) {
            CONTINUE.tail_call(ctx, on::SLOTS);
        }
        emit::whole(call, Call::KIND, program::SYS_EXIT);
        (*call).call_id = 0;
    }
}

/// Completes a call that was seen at its entry.
///
/// # Safety
///
/// `entry` must be valid for reads and writes.
#[inline(always)]
unsafe fn finish(entry: *mut Entry, regs: u64, result: i64) {
    let Some(room) = EXIT.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the caller's promise; the room is this program's on this CPU, and valid as long as it runs.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        (*call).result = result;
        let number = (*call).nr;
        if (*call).memory == 0 && (number == nr::VMSPLICE || !request::is_moving(number)) {
            let request = addr_of_mut!((*room).request);
            request::fill(request, regs, number);
            if (*request).memory != 0 {
                // What describes the memory was not in memory itself at the entry; the call has brought it there.
                (*call).memory = (*request).memory;
                (*call).requested = (*request).asked;
                if (*request).one_piece != 0 {
                    (*call).flags |= call_flag::CONTIGUOUS;
                }
            }
        }
        after(room, entry, false);
        after(room, entry, true);
        ring::begin(addr_of_mut!((*room).cursor));
    }
}

/// Fills in one end's state after the call.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(never)]
unsafe fn after(room: *mut Scratch, entry: *mut Entry, sink: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        let (end, wanted): (*mut EndpointState, _) = if sink {
            (addr_of_mut!((*call).sink), addr_of!((*entry).sink))
        } else {
            (addr_of_mut!((*call).source), addr_of!((*entry).source))
        };
        if (*end).kind == endpoint_kind::MEMORY {
            (*end).object = (*call).memory;
            return;
        }
        if (*end).fd < 0 {
            // The memory of a call that could not be read at the entry.
            if (*call).memory != 0 {
                end::memory(end, (*call).memory);
            }
            return;
        }
        if end::file_of((*end).fd) != (*end).file {
            (*call).flags |= call_flag::FD_CHANGED;
        }
        end::after(end, addr_of_mut!((*room).now), wanted, sink, (*call).result);
    }
}

/// Writes a call of which only the exit was seen.
#[inline(always)]
fn unannounced(regs: u64, number: u32, result: i64, flags: u32) {
    let Some(room) = EXIT.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the room is this program's on this CPU, and valid as long as it runs.
    unsafe {
        let call = addr_of_mut!((*room).call);
        let request = addr_of_mut!((*room).request);
        read::zero(call);
        request::fill(request, regs, number);
        (*call).call_id = next_serial(CALLS);
        (*call).entered_ns = 0;
        (*call).result = result;
        (*call).user_ip = (*request).regs.ip;
        (*call).nr = number;
        (*call).flags = flags;
        (*call).source.fd = -1;
        (*call).sink.fd = -1;
        if flags & call_flag::COMPAT == 0 {
            (*call).requested = (*request).asked;
            (*call).op_flags = (*request).op_flags;
            (*call).source.fd = (*request).source.fd;
            (*call).sink.fd = (*request).sink.fd;
        }
        emit::whole(call, Call::KIND, program::SYS_EXIT);
    }
}

/// A call of a 32-bit program whose number is that of one that moves bytes: written, not understood.
#[inline(always)]
fn foreign(regs: u64, number: u32, result: i64, known: bool) {
    if !known && !scope::is_compat() {
        return;
    }
    if scope::has((bpf_get_current_pid_tgid() >> 32) as u32) {
        unannounced(regs, number, result, call_flag::COMPAT);
    }
}

/// `F_SETPIPE_SZ` has renumbered the slots of a pipe.
#[inline(always)]
fn resized(regs: u64, result: i64) {
    if result < 0 || read::at::<u32>(regs + request::SECOND) != F_SETPIPE_SZ {
        return;
    }
    if !scope::has((bpf_get_current_pid_tgid() >> 32) as u32) || scope::is_compat() {
        return;
    }
    let Some(room) = EXIT.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the room is this program's on this CPU, and valid as long as it runs.
    unsafe {
        let fd = read::at::<u64>(regs + request::FIRST) as i32;
        let pipe: u64 = read::member(end::file_of(fd), &crate::offsets::FILE_PRIVATE);
        let task = generated::bpf_get_current_task();
        process::tell(
            addr_of_mut!((*room).process),
            process_event_kind::PIPE_RESIZED,
            0,
            pipe,
            task,
            program::SYS_EXIT,
        );
    }
}
