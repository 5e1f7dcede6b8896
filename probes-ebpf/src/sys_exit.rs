//! `sys_exit`: state of both endpoints after a call, the slots of pipes, and the record of the
//! call.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use aya_ebpf::programs::RawTracePointContext;
use zctrace_records::{
    Call, EndpointState, IoCounterKey, ProcessEvent, call_flag, endpoint_kind, io_counter_flag, nr, process_event_kind,
    program,
};

use crate::endpoint::{self, EndpointNow};
use crate::in_flight::{self, CallInFlight, IN_FLIGHT, IO_IN_FLIGHT};
use crate::page_record::PageBuffer;
use crate::pipe_slots::{self, Cursor};
use crate::read;
use crate::syscall_args::{self, SyscallArgs};
use crate::{emit, ids, io_counters, offsets, other_calls, process, scope, tail_call};

/// `MSG_TRUNC` (include/linux/socket.h).
const MSG_TRUNC: u32 = 0x20;
/// System call numbers of open(2), creat(2), openat(2) and openat2(2).
const OPEN: u32 = 2;
const CREAT: u32 = 85;
const OPENAT: u32 = 257;
const OPENAT2: u32 = 437;
/// `S_IFMT` and `S_IFIFO` (include/uapi/linux/stat.h).
const S_IFMT: u16 = 0xf000;
const S_IFIFO: u16 = 0x1000;
/// System call number of fcntl(2).
const FCNTL: u32 = 72;
/// `F_SETPIPE_SZ` (include/uapi/linux/fcntl.h).
const F_SETPIPE_SZ: u32 = 1031;
/// `__X32_SYSCALL_BIT` (arch/x86/include/uapi/asm/unistd.h).
const X32: u32 = 0x4000_0000;
/// Number of vmsplice(2) in x32; the other calls have the numbers of x86-64.
const X32_VMSPLICE: u32 = X32 + 532;

/// Scratch memory for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    args: SyscallArgs,
    now: EndpointNow,
    cursor: Cursor,
    pages: PageBuffer,
    call: Call,
    process: ProcessEvent,
}

scratch!(EXIT_SCRATCH: Scratch);

/// Handles the exit of a system call.
#[inline(always)]
pub(crate) fn run(ctx: &RawTracePointContext) {
    let (regs, result): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let number = read::kernel::<u64>(regs + syscall_args::ORIG_AX) as u32;
    let result = result as i64;
    if !syscall_args::is_known(number) {
        match number {
            FCNTL => on_setpipe_sz(regs, result),
            OPEN | CREAT | OPENAT | OPENAT2 => on_fifo_opened(result),
            // sendfile, sendfile64, splice, tee and vmsplice of i386
            // (arch/x86/entry/syscalls/syscall_32.tbl).
            187 | 239 | 313 | 315 | 316 => on_compat_exit(regs, number, result, false),
            X32_VMSPLICE => on_compat_exit(regs, number, result, true),
            _ if other_calls::is_counted(number) && scope::is_traced((bpf_get_current_pid_tgid() >> 32) as u32) => {
                // SAFETY: the tail call requires the program's own context, which `ctx` is.
                unsafe { tail_call::to(ctx, tail_call::OTHER_CALLS) };
            }
            _ if number & X32 != 0 && syscall_args::is_transfer(number & !X32) => {
                on_compat_exit(regs, number, result, true);
            }
            _ => {}
        }
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let tid = pid_tgid as u32;
    let is_transfer = syscall_args::is_transfer(number);
    if !is_transfer && let Some(key) = IO_IN_FLIGHT.get_ptr_mut(tid) {
        // SAFETY: access through `key` requires a valid pointer. Map values stay valid while the
        // program runs, and only this thread writes or removes its entry.
        unsafe {
            if (*key).kind != endpoint_kind::NONE {
                if (*key).nr == number {
                    if (*key).reserved != 0 {
                        (*key).reserved = 0;
                        other_calls::name_again(read::kernel::<u64>(regs + syscall_args::ARG1) as i32);
                    }
                    if (*key).op_flags & io_counter_flag::BYTES_NOT_KNOWN != 0 && result > 0 {
                        add_messages(&mut *key, regs, result as u64);
                        (*key).kind = endpoint_kind::NONE;
                        return;
                    }
                    let result = bounded(&*key, regs, number, result);
                    io_counters::add(&*key, result, read::kernel(regs + syscall_args::IP), program::SYS_EXIT);
                }
                (*key).kind = endpoint_kind::NONE;
                return;
            }
        }
    }
    let Some(entry) = in_flight::of(tid) else {
        if is_transfer && scope::is_traced((pid_tgid >> 32) as u32) && !scope::is_compat_call() {
            emit_exit_only(regs, number, result, 0);
        }
        return;
    };
    // SAFETY: (1) Access through `entry` requires a valid pointer. Map values stay valid while the
    // program runs, and only this thread writes or removes its entry. (2) `tail_call::to` requires
    // the program's own context, which `ctx` is.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        if (*call).nr == number {
            finish(entry, regs, result);
            if result > 0 && ((*call).source.kind == endpoint_kind::PIPE || (*call).sink.kind == endpoint_kind::PIPE) {
                // On success, the tail call does not return.
                tail_call::to(ctx, tail_call::PIPE_SLOTS);
            }
            emit::emit_fixed(call, program::SYS_EXIT);
        }
        (*call).call_id = 0;
    }
}

/// Returns a call's result, at most the size of its buffers if `MSG_TRUNC` made it the length of
/// the datagram (recv(2)).
#[inline(always)]
fn bounded(key: &IoCounterKey, regs: u64, number: u32, result: i64) -> i64 {
    if key.op_flags & MSG_TRUNC == 0 || result <= 0 {
        return result;
    }
    let Some(scratch) = EXIT_SCRATCH.get_ptr_mut(0) else {
        return result;
    };
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    let requested = unsafe {
        let args = addr_of_mut!((*scratch).args);
        syscall_args::fill(args, regs, number);
        (*args).requested as i64
    };
    if result < requested { result } else { requested }
}

/// Number of messages of one call whose lengths are read.
const MAX_MESSAGES: u64 = 64;

/// Counts the bytes of the messages that sendmmsg(2) or recvmmsg(2) moved, or the call alone if
/// there are too many of them.
#[inline(never)]
fn add_messages(key: &mut IoCounterKey, regs: u64, count: u64) {
    let list: u64 = read::kernel(regs + syscall_args::ARG2);
    let (mut bytes, mut index) = (0, 0);
    while index < MAX_MESSAGES && index < count {
        // struct mmsghdr (include/linux/socket.h): a header of 56 bytes, the length, padding.
        bytes += u64::from(read::user::<u32>(list.wrapping_add(index * 64 + 56)));
        index += 1;
    }
    // With `MSG_TRUNC` the lengths are those of the datagrams, not of what fits into the buffers.
    if count <= MAX_MESSAGES && bytes > 0 && key.op_flags & MSG_TRUNC == 0 {
        key.op_flags &= !io_counter_flag::BYTES_NOT_KNOWN;
    }
    io_counters::add(
        key,
        bytes.max(1) as i64,
        read::kernel(regs + syscall_args::IP),
        program::SYS_EXIT,
    );
}

/// Writes slots of pipes, some per run, and then the record of the call: the second half of the
/// program.
#[inline(always)]
pub(crate) fn continue_slots(ctx: &RawTracePointContext) {
    let tid = bpf_get_current_pid_tgid() as u32;
    let (Some(scratch), Some(entry)) = (EXIT_SCRATCH.get_ptr_mut(0), IN_FLIGHT.get_ptr_mut(tid)) else {
        return;
    };
    // SAFETY: (1) Access through `scratch` and `entry` requires valid pointers. Map values stay
    // valid while the program runs. Only this program has used this scratch memory on this CPU
    // since its first half, and only this thread removes its entry. (2) `tail_call::to` requires
    // the program's own context, which `ctx` is.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        if !pipe_slots::emit_slots(addr_of_mut!((*scratch).pages), addr_of_mut!((*scratch).cursor), call) {
            tail_call::to(ctx, tail_call::PIPE_SLOTS);
        }
        if (*call).source.kind == endpoint_kind::PIPE {
            // A producer that ran meanwhile has overwritten slots that this call emptied.
            let head: u32 = read::member((*call).source.object, &offsets::PIPE_HEAD);
            let filled = head.wrapping_sub(((*call).source.after >> 32) as u32);
            (*call).source.filled_late = if filled > 0xffff { 0xffff } else { filled as u16 };
        }
        emit::emit_fixed(call, program::SYS_EXIT);
        (*call).call_id = 0;
    }
}

/// Completes a call whose entry was observed.
///
/// # Safety
///
/// `entry` must be valid for reads and writes.
#[inline(always)]
unsafe fn finish(entry: *mut CallInFlight, regs: u64, result: i64) {
    let Some(scratch) = EXIT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `entry` and `scratch` requires valid pointers. The caller guarantees
    // the former. Map values stay valid while the program runs, and only this program uses this
    // scratch memory on this CPU.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        (*call).result = result;
        let number = (*call).nr;
        if (*call).memory == 0 && (number == nr::VMSPLICE || !syscall_args::is_transfer(number)) {
            let args = addr_of_mut!((*scratch).args);
            syscall_args::fill(args, regs, number);
            if (*args).memory != 0 {
                // The array of ranges was not in memory at the entry. The call has paged it in.
                (*call).memory = (*args).memory;
                (*call).requested = (*args).requested;
                if (*args).contiguous != 0 {
                    (*call).flags |= call_flag::CONTIGUOUS;
                }
            }
        }
        capture_side(scratch, entry, false);
        capture_side(scratch, entry, true);
        if number == nr::COPY_FILE_RANGE {
            (*call).source.tail_after = endpoint::lacks_splice_pipe();
        }
        pipe_slots::reset(addr_of_mut!((*scratch).cursor));
    }
}

/// Fills in one endpoint's state after the call.
///
/// # Safety
///
/// `scratch` and `entry` must be valid for reads and writes.
#[inline(never)]
unsafe fn capture_side(scratch: *mut Scratch, entry: *mut CallInFlight, sink: bool) {
    // SAFETY: access through `scratch` and `entry` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        let call = addr_of_mut!((*entry).call);
        let (endpoint, fd_arg): (*mut EndpointState, _) = if sink {
            (addr_of_mut!((*call).sink), addr_of!((*entry).sink))
        } else {
            (addr_of_mut!((*call).source), addr_of!((*entry).source))
        };
        if (*endpoint).kind == endpoint_kind::MEMORY {
            (*endpoint).object = (*call).memory;
            return;
        }
        if (*endpoint).fd < 0 {
            // Memory of a call whose description could not be read at the entry.
            if (*call).memory != 0 {
                endpoint::set_memory(endpoint, (*call).memory);
            }
            return;
        }
        if endpoint::file_of_fd((*endpoint).fd) != (*endpoint).file {
            (*call).flags |= call_flag::FD_CHANGED;
        }
        endpoint::capture_exit(endpoint, addr_of_mut!((*scratch).now), fd_arg, sink, (*call).result);
    }
}

/// Writes a call of which only the exit was observed.
#[inline(always)]
fn emit_exit_only(regs: u64, number: u32, result: i64, flags: u32) {
    let Some(scratch) = EXIT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        let call = addr_of_mut!((*scratch).call);
        let args = addr_of_mut!((*scratch).args);
        read::zero(call);
        syscall_args::fill(args, regs, number);
        (*call).call_id = ids::next_call();
        (*call).entered_ns = 0;
        (*call).result = result;
        (*call).user_ip = (*args).regs.ip;
        (*call).nr = number;
        (*call).flags = flags;
        (*call).source.fd = -1;
        (*call).sink.fd = -1;
        if flags & call_flag::COMPAT == 0 {
            (*call).requested = (*args).requested;
            (*call).op_flags = (*args).op_flags;
            (*call).source.fd = (*args).source.fd;
            (*call).sink.fd = (*args).sink.fd;
        }
        emit::emit_fixed(call, program::SYS_EXIT);
    }
}

/// Handles a call of a 32-bit program that may move bytes. The call is recorded, but not
/// interpreted.
#[inline(always)]
fn on_compat_exit(regs: u64, number: u32, result: i64, known: bool) {
    if !known && !scope::is_compat_call() {
        return;
    }
    if scope::is_traced((bpf_get_current_pid_tgid() >> 32) as u32) {
        emit_exit_only(regs, number, result, call_flag::COMPAT);
    }
}

/// Records that a FIFO was opened: if no process had it open before, it is another pipe now.
#[inline(always)]
fn on_fifo_opened(result: i64) {
    if result < 0 || !scope::is_traced((bpf_get_current_pid_tgid() >> 32) as u32) || scope::is_compat_call() {
        return;
    }
    let file = endpoint::file_of_fd(result as i32);
    let inode: u64 = read::member(file, &offsets::FILE_INODE);
    if read::member::<u16>(inode, &offsets::INODE_MODE) & S_IFMT != S_IFIFO {
        return;
    }
    let Some(scratch) = EXIT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    let pipe: u64 = read::member(inode, &offsets::INODE_PIPE);
    let mode = read::member::<u32>(file, &offsets::FILE_MODE) & 3;
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        let task = generated::bpf_get_current_task();
        process::emit_event(
            addr_of_mut!((*scratch).process),
            process_event_kind::FIFO_OPENED + (mode << 8),
            endpoint::pipe_opens(pipe),
            pipe,
            task,
            program::SYS_EXIT,
        );
    }
}

/// Handles `F_SETPIPE_SZ`, which renumbers the slots of a pipe.
#[inline(always)]
fn on_setpipe_sz(regs: u64, result: i64) {
    if result < 0 || read::kernel::<u32>(regs + syscall_args::ARG2) != F_SETPIPE_SZ {
        return;
    }
    if !scope::is_traced((bpf_get_current_pid_tgid() >> 32) as u32) || scope::is_compat_call() {
        return;
    }
    let Some(scratch) = EXIT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        let fd = read::kernel::<u64>(regs + syscall_args::ARG1) as i32;
        let pipe: u64 = read::member(endpoint::file_of_fd(fd), &offsets::FILE_PRIVATE);
        let task = generated::bpf_get_current_task();
        process::emit_event(
            addr_of_mut!((*scratch).process),
            process_event_kind::PIPE_RESIZED,
            0,
            pipe,
            task,
            program::SYS_EXIT,
        );
    }
}
