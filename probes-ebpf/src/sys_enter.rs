//! `sys_enter`: state of both endpoints before a call.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use zctrace_records::{
    Call, EndpointName, EndpointState, IoCounterKey, call_flag, endpoint_kind, io_counter_flag, nr, program,
};

use crate::endpoint::{self, EndpointNow};
use crate::in_flight::{CallInFlight, IN_FLIGHT, IO_IN_FLIGHT};
use crate::offsets;
use crate::read::{self, member};
use crate::syscall_args::{self, SyscallArgs};
use crate::zerocopy_completion::{self, MSG_ZEROCOPY};
use crate::{connection, emit, endpoint_name, ids, scope};

/// `FMODE_WRITE` (include/linux/fs.h): the file is open for writing.
pub(crate) const FMODE_WRITE: u32 = 2;
/// `O_DIRECT` of x86 (include/uapi/asm-generic/fcntl.h).
pub(crate) const O_DIRECT: u32 = 0o40000;
/// `MSG_PEEK`, `MSG_PROBE` and `MSG_TRUNC`, the flags that are part of the key of I/O counters.
pub(crate) const COUNTED_MSG_FLAGS: u32 = 0x32;

/// Scratch memory for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    args: SyscallArgs,
    now: EndpointNow,
    /// Endpoint of a call that is possibly only counted.
    endpoint: EndpointState,
    key: IoCounterKey,
    name: EndpointName,
    sender: zerocopy_completion::Sender,
    /// Initial value of entries. Never written, so it stays zero.
    entry: CallInFlight,
}

scratch!(ENTER_SCRATCH: Scratch);

/// Handles the entry of a system call.
#[inline(always)]
pub(crate) fn run(regs: u64, number: u64) {
    let number = number as u32;
    if !syscall_args::is_known(number) {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    if !scope::is_traced((pid_tgid >> 32) as u32) || scope::is_compat_call() {
        return;
    }
    let Some(scratch) = ENTER_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        syscall_args::fill(addr_of_mut!((*scratch).args), regs, number);
        if syscall_args::is_transfer(number) {
            enter_transfer(scratch, number, pid_tgid as u32);
        } else {
            enter_io(scratch, number, pid_tgid);
        }
    }
}

/// Starts a call between two descriptors, or between a descriptor and memory by page reference.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(always)]
unsafe fn enter_transfer(scratch: *mut Scratch, number: u32, tid: u32) {
    // SAFETY: access through `scratch` requires a valid pointer, which the caller guarantees.
    // `entry` points to a map value, which stays valid while the program runs.
    unsafe {
        let Some(entry) = acquire_entry(scratch, tid) else {
            return;
        };
        let call = addr_of_mut!((*entry).call);
        let args = addr_of_mut!((*scratch).args);
        if number == nr::VMSPLICE {
            let file = endpoint::file_of_fd((*args).sink.fd);
            if member::<u32>(file, &offsets::FILE_MODE) & FMODE_WRITE == 0 {
                core::ptr::swap(addr_of_mut!((*args).sink), addr_of_mut!((*args).source));
            }
        }
        init_call(call, args, number);
        capture_side(scratch, addr_of_mut!((*call).source), false);
        capture_side(scratch, addr_of_mut!((*call).sink), true);
        if number == nr::COPY_FILE_RANGE {
            (*call).source.tail_before = endpoint::lacks_splice_pipe();
        }
        if (*call).sink.kind == endpoint_kind::TCP && (*call).source.kind != endpoint_kind::PIPE {
            connection::mark_unpiped_sends((*call).sink.object);
        }
        publish(entry, args);
    }
}

/// Fills in one endpoint from the call's arguments.
///
/// # Safety
///
/// `scratch` and `endpoint` must be valid for reads and writes.
#[inline(never)]
unsafe fn capture_side(scratch: *mut Scratch, endpoint: *mut EndpointState, sink: bool) {
    // SAFETY: access through `scratch` and `endpoint` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        let args = addr_of_mut!((*scratch).args);
        let fd_arg = if sink {
            addr_of!((*args).sink)
        } else {
            addr_of!((*args).source)
        };
        let fd = (*fd_arg).fd;
        if fd < 0 && (*args).memory != 0 {
            endpoint::set_memory(endpoint, (*args).memory);
            return;
        }
        endpoint::identify(endpoint, fd, endpoint::file_of_fd(fd));
        endpoint::capture_entry(endpoint, addr_of_mut!((*scratch).now), fd_arg, sink);
        endpoint_name::emit_once(addr_of_mut!((*scratch).name), endpoint, program::SYS_ENTER);
    }
}

/// Starts a read or write. It is recorded if pages can take part, and counted otherwise.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(always)]
unsafe fn enter_io(scratch: *mut Scratch, number: u32, pid_tgid: u64) {
    // SAFETY: access through `scratch` requires a valid pointer, which the caller guarantees.
    // `entry` and `current` point to map values, which stay valid while the program runs.
    unsafe {
        let args = addr_of_mut!((*scratch).args);
        let writes = (*args).sink.fd >= 0;
        let fd = if writes { (*args).sink.fd } else { (*args).source.fd };
        let file = endpoint::file_of_fd(fd);
        if file == 0 {
            return;
        }
        let endpoint = addr_of_mut!((*scratch).endpoint);
        endpoint::identify(endpoint, fd, file);
        if writes && (*args).op_flags & MSG_ZEROCOPY != 0 {
            zerocopy_completion::track_sender(addr_of_mut!((*scratch).sender), endpoint, (pid_tgid >> 32) as u32);
        }
        let counts_messages = number == nr::SENDMMSG || number == nr::RECVMMSG;
        let is_recorded = match (*endpoint).kind {
            endpoint_kind::PIPE | endpoint_kind::UNIX_STREAM | endpoint_kind::UNIX_MESSAGES => true,
            endpoint_kind::FILE | endpoint_kind::BLOCK => (*endpoint).f_flags & O_DIRECT != 0,
            _ => (*args).op_flags & MSG_ZEROCOPY != 0,
        };
        if is_recorded && !counts_messages {
            let Some(entry) = acquire_entry(scratch, pid_tgid as u32) else {
                return;
            };
            let call = addr_of_mut!((*entry).call);
            init_call(call, args, number);
            if writes {
                endpoint::capture_entry(endpoint, addr_of_mut!((*scratch).now), addr_of!((*args).sink), true);
                endpoint::set_memory(addr_of_mut!((*call).source), (*args).memory);
                read::copy(addr_of_mut!((*call).sink), endpoint);
                if (*endpoint).kind == endpoint_kind::TCP {
                    connection::mark_unpiped_sends((*endpoint).object);
                }
            } else {
                endpoint::capture_entry(endpoint, addr_of_mut!((*scratch).now), addr_of!((*args).source), false);
                endpoint::set_memory(addr_of_mut!((*call).sink), (*args).memory);
                read::copy(addr_of_mut!((*call).source), endpoint);
            }
            endpoint_name::emit_once(addr_of_mut!((*scratch).name), endpoint, program::SYS_ENTER);
            publish(entry, args);
            return;
        }
        let key = addr_of_mut!((*scratch).key);
        read::zero(key);
        (*key).ino = (*endpoint).ino;
        (*key).tgid = (pid_tgid >> 32) as u32;
        (*key).dev = (*endpoint).dev;
        (*key).nr = number;
        (*key).op_flags = if counts_messages {
            let zerocopy = u32::from((*args).op_flags & MSG_ZEROCOPY != 0) * io_counter_flag::NO_CONTRACT;
            io_counter_flag::BYTES_NOT_KNOWN | zerocopy
        } else {
            0
        };
        if (*endpoint).kind == endpoint_kind::SOCKET && (*args).requested == 0 && writes {
            // A packet socket with a ring in shared memory sends from there
            // (net/packet/af_packet.c: `tpacket_snd()`).
            (*key).op_flags |= io_counter_flag::NOT_OF_BUFFER;
        }
        if matches!(
            (*endpoint).kind,
            endpoint_kind::FILE | endpoint_kind::BLOCK | endpoint_kind::CHAR
        ) {
            (*key).generation = (*endpoint).generation;
        }
        (*key).kind = (*endpoint).kind;
        // Data of TCP Fast Open is sent before there is a peer to name.
        (*key).reserved = u16::from((*endpoint).kind == endpoint_kind::TCP && (*endpoint).pair.destination_port == 0);
        // Only in calls on sockets do these bits mean MSG_*; preadv2 and pwritev2 have other flags.
        if !matches!(number, nr::PREADV2 | nr::PWRITEV2) {
            (*key).op_flags |= (*args).op_flags & COUNTED_MSG_FLAGS;
        }
        endpoint_name::emit_once(addr_of_mut!((*scratch).name), endpoint, program::SYS_ENTER);
        let tid = pid_tgid as u32;
        if let Some(current) = IO_IN_FLIGHT.get_ptr_mut(tid) {
            read::copy(current, key);
        } else if IO_IN_FLIGHT.insert(tid, &*key, 0).is_err() {
            emit::count_map_full(program::SYS_ENTER);
        }
    }
}

/// Returns the thread's entry with a call ID of 0, which marks it as idle until [`publish`].
///
/// # Safety
///
/// `scratch` must be valid for reads.
#[inline(always)]
unsafe fn acquire_entry(scratch: *const Scratch, tid: u32) -> Option<*mut CallInFlight> {
    // SAFETY: access through `scratch` and `entry` requires valid pointers. The caller guarantees
    // the former, and map values stay valid while the program runs.
    unsafe {
        let entry = if let Some(entry) = IN_FLIGHT.get_ptr_mut(tid) {
            entry
        } else {
            if IN_FLIGHT.insert(tid, &(*scratch).entry, 0).is_err() {
                emit::count_map_full(program::SYS_ENTER);
                return None;
            }
            IN_FLIGHT.get_ptr_mut(tid)?
        };
        addr_of_mut!((*entry).call.call_id).write_volatile(0);
        Some(entry)
    }
}

/// Fills in all fields of a call but its endpoints and its header.
///
/// # Safety
///
/// `call` must be valid for writes, and `args` for reads.
#[inline(always)]
unsafe fn init_call(call: *mut Call, args: *const SyscallArgs, number: u32) {
    // SAFETY: access through `call` and `args` requires valid pointers, which the caller
    // guarantees. The header is filled in when the record is written, at the exit.
    unsafe {
        (*call).entered_ns = generated::bpf_ktime_get_ns();
        (*call).result = 0;
        (*call).requested = (*args).requested;
        (*call).user_ip = (*args).regs.ip;
        (*call).memory = (*args).memory;
        (*call).dirtied_bytes = 0;
        (*call).nr = number;
        (*call).op_flags = (*args).op_flags;
        (*call).flags = call_flag::ENTRY_OBSERVED;
        if (*args).contiguous != 0 {
            (*call).flags |= call_flag::CONTIGUOUS;
        }
        (*call).page_records = 0;
    }
}

/// Completes the entry, so that the thread is inside this call from now on.
///
/// # Safety
///
/// `entry` must be valid for writes, and `args` for reads.
#[inline(always)]
unsafe fn publish(entry: *mut CallInFlight, args: *const SyscallArgs) {
    // SAFETY: access through `entry` and `args` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        read::copy(addr_of_mut!((*entry).source), addr_of!((*args).source));
        read::copy(addr_of_mut!((*entry).sink), addr_of!((*args).sink));
        // The call ID is written last, because a packet that is transmitted on top of this thread
        // can read the entry at any time.
        addr_of_mut!((*entry).call.call_id).write_volatile(ids::next_call());
    }
}
