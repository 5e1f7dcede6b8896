//! Calls that move payload in ways of their own, counted when they return: Linux AIO, memory of
//! other processes, zero-copy receives, clones of files, loop devices, mappings, and writes of
//! 32-bit programs.

use core::ptr::addr_of_mut;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::programs::RawTracePointContext;
use zctrace_records::{
    AIO_BASE, AIO_REST, EndpointName, EndpointState, IoCounterKey, LOOP_DEVICE, endpoint_kind, io_counter_flag, nr,
    program,
};

use crate::read::{self, member};
use crate::sys_enter::{FMODE_WRITE, O_DIRECT};
use crate::{endpoint, endpoint_name, io_counters, offsets, scope, syscall_args};

/// `IPPROTO_TCP` and `TCP_ZEROCOPY_RECEIVE` (include/uapi/linux/tcp.h).
const IPPROTO_TCP: u32 = 6;
const TCP_ZEROCOPY_RECEIVE: u32 = 35;
/// `FICLONE` and `FICLONERANGE` (include/uapi/linux/fs.h).
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;
/// `LOOP_SET_FD`, `LOOP_CHANGE_FD` and `LOOP_CONFIGURE` (include/uapi/linux/loop.h).
const LOOP_SET_FD: u32 = 0x4c00;
const LOOP_CHANGE_FD: u32 = 0x4c06;
const LOOP_CONFIGURE: u32 = 0x4c0a;
/// `MAP_SHARED` and `MAP_ANONYMOUS` (include/uapi/linux/mman.h,
/// include/uapi/asm-generic/mman-common.h).
const MAP_SHARED: u32 = 1;
const MAP_ANONYMOUS: u32 = 0x20;
/// Number of AIO requests of one call that are read. The rest are counted as calls.
const MAX_AIO: u64 = 16;

/// Scratch memory for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    endpoint: EndpointState,
    key: IoCounterKey,
    name: EndpointName,
}

scratch!(OTHER_SCRATCH: Scratch);

/// Returns whether the exit of a call is handled here.
#[inline(always)]
pub(crate) const fn is_counted(number: u32) -> bool {
    matches!(
        number,
        nr::MMAP | nr::IOCTL | nr::GETSOCKOPT | nr::IO_SUBMIT | nr::PROCESS_VM_READV | nr::PROCESS_VM_WRITEV
    ) || compat_call(number).is_some()
}

/// Handles the exit of one of these calls.
#[inline(always)]
pub(crate) fn on_exit(ctx: &RawTracePointContext) {
    let (regs, result): (u64, i64) = (ctx.arg(0), ctx.arg::<u64>(1) as i64);
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // Mappings return addresses, which are positive for user space.
    if result < 0 || !scope::is_traced(tgid) {
        return;
    }
    let Some(scratch) = OTHER_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    let arg = |at: u64| read::kernel::<u64>(regs + at);
    let number = read::kernel::<u64>(regs + syscall_args::ORIG_AX) as u32;
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        read::zero(addr_of_mut!((*scratch).key));
        (*scratch).key.tgid = tgid;
        (*scratch).key.nr = number;
        if scope::is_compat_call() {
            if let Some(number) = compat_call(number) {
                on_compat_exit(scratch, regs, number, result);
            }
            return;
        }
        match number {
            nr::PROCESS_VM_READV | nr::PROCESS_VM_WRITEV => {
                (*scratch).key.kind = endpoint_kind::MEMORY;
                add(scratch, result);
            }
            nr::IO_SUBMIT => on_submit(scratch, arg(syscall_args::ARG3), result as u64),
            nr::GETSOCKOPT => {
                let is_receive = arg(syscall_args::ARG2) as u32 == IPPROTO_TCP
                    && arg(syscall_args::ARG3) as u32 == TCP_ZEROCOPY_RECEIVE;
                if is_receive {
                    on_zerocopy_receive(scratch, arg(syscall_args::ARG1) as i32, arg(syscall_args::ARG4));
                }
            }
            nr::IOCTL => {
                let command = arg(syscall_args::ARG2) as u32;
                if command == FICLONE || command == FICLONERANGE {
                    on_clone(
                        scratch,
                        arg(syscall_args::ARG1) as i32,
                        command,
                        arg(syscall_args::ARG3),
                    );
                } else if matches!(command, LOOP_SET_FD | LOOP_CHANGE_FD | LOOP_CONFIGURE) {
                    on_loop_device(scratch, command, arg(syscall_args::ARG3));
                }
            }
            nr::MMAP => {
                let flags = arg(syscall_args::ARG4) as u32;
                if flags & (MAP_SHARED | MAP_ANONYMOUS) == MAP_SHARED {
                    identify(scratch, arg(syscall_args::ARG5) as i32);
                    if (*scratch).endpoint.kind == endpoint_kind::FILE {
                        add_mapping(scratch, arg(syscall_args::ARG2));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Counts a shared mapping of a file.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes, with its endpoint filled in.
#[inline(always)]
unsafe fn add_mapping(scratch: *mut Scratch, len: u64) {
    // SAFETY: the caller guarantees that `scratch` is valid.
    unsafe {
        let mode: u32 = member((*scratch).endpoint.file, &offsets::FILE_MODE);
        if mode & FMODE_WRITE != 0 {
            (*scratch).key.op_flags |= io_counter_flag::WRITABLE;
        }
        add(scratch, len as i64);
    }
}

/// Counts a file that is behind a loop device from now on: a write to the device is one to the
/// file.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(always)]
unsafe fn on_loop_device(scratch: *mut Scratch, command: u32, argument: u64) {
    // struct loop_config starts with the descriptor.
    let fd = if command == LOOP_CONFIGURE {
        read::user::<u32>(argument)
    } else {
        argument as u32
    };
    // SAFETY: the caller guarantees that `scratch` is valid.
    unsafe {
        (*scratch).key.nr = LOOP_DEVICE;
        (*scratch).key.op_flags = io_counter_flag::BYTES_NOT_KNOWN;
        identify(scratch, fd as i32);
        add(scratch, 1);
    }
}

/// Returns the call of x86-64 that a call of i386 equals, if it is counted: those that can put
/// bytes into a file or socket (`arch/x86/entry/syscalls/syscall_32.tbl`).
///
/// Calls between two descriptors are recorded (`sys_exit::on_compat_exit`). Reads, whose numbers
/// are those of frequent calls of x86-64, are not counted.
#[inline(always)]
const fn compat_call(number: u32) -> Option<u32> {
    Some(match number {
        4 => nr::WRITE,
        146 => nr::WRITEV,
        181 => nr::PWRITE64,
        334 => nr::PWRITEV,
        369 => nr::SENDTO,
        370 => nr::SENDMSG,
        192 => nr::MMAP,
        _ => return None,
    })
}

/// Counts a call of a 32-bit program.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes, with a key that has the process.
#[inline(always)]
unsafe fn on_compat_exit(scratch: *mut Scratch, regs: u64, number: u32, result: i64) {
    let arg = |at: u64| read::kernel::<u64>(regs + at) as u32;
    // SAFETY: the caller guarantees that `scratch` is valid.
    unsafe {
        (*scratch).key.nr = number;
        if number == nr::MMAP {
            if arg(syscall_args::ARG2) & (MAP_SHARED | MAP_ANONYMOUS) == MAP_SHARED {
                identify(scratch, arg(syscall_args::ARG1) as i32);
                if (*scratch).endpoint.kind == endpoint_kind::FILE {
                    add_mapping(scratch, u64::from(arg(syscall_args::COMPAT_ARG2)));
                }
            }
            return;
        }
        identify(scratch, arg(syscall_args::COMPAT_ARG1) as i32);
        let is_copy = match (*scratch).endpoint.kind {
            endpoint_kind::FILE => (*scratch).endpoint.f_flags & O_DIRECT == 0,
            // The call that takes the bytes out finds more in the pipe or socket than was recorded.
            endpoint_kind::PIPE | endpoint_kind::UNIX_STREAM | endpoint_kind::UNIX_MESSAGES => return,
            // A send can have MSG_ZEROCOPY.
            kind => kind != endpoint_kind::BLOCK && number != nr::SENDTO && number != nr::SENDMSG,
        };
        if !is_copy {
            (*scratch).key.op_flags = io_counter_flag::NO_CONTRACT;
        }
        add(scratch, result);
    }
}

/// Counts requests of Linux AIO by the bytes that they request.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(always)]
unsafe fn on_submit(scratch: *mut Scratch, list: u64, count: u64) {
    let mut index = 0;
    while index < MAX_AIO && index < count {
        let address: u64 = read::user(list.wrapping_add(index * 8));
        // SAFETY: the caller guarantees that `scratch` is valid.
        unsafe { on_aio_request(scratch, address) };
        index += 1;
    }
    if count > MAX_AIO {
        // SAFETY: the caller guarantees that `scratch` is valid.
        unsafe {
            read::zero(addr_of_mut!((*scratch).key));
            (*scratch).key.tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
            (*scratch).key.nr = AIO_REST;
            (*scratch).key.op_flags = io_counter_flag::NO_CONTRACT | io_counter_flag::BYTES_NOT_KNOWN;
            add(scratch, 1);
        }
    }
}

/// Counts one request: `struct iocb` (`include/uapi/linux/aio_abi.h`).
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(never)]
unsafe fn on_aio_request(scratch: *mut Scratch, address: u64) {
    let [operation, _, bytes] = read::user::<[u64; 3]>(address.wrapping_add(16));
    let (opcode, fd) = (operation as u32 & 0xffff, (operation >> 32) as i32);
    // IOCB_CMD_PREAD, PWRITE, PREADV and PWRITEV. The length of the last two counts ranges.
    if !matches!(opcode, 0 | 1 | 7 | 8) {
        return;
    }
    // SAFETY: the caller guarantees that `scratch` is valid.
    unsafe {
        (*scratch).key.nr = AIO_BASE + opcode;
        (*scratch).key.op_flags = io_counter_flag::NO_CONTRACT;
        if opcode >= 7 {
            (*scratch).key.op_flags |= io_counter_flag::BYTES_NOT_KNOWN;
        }
        identify(scratch, fd);
        if (*scratch).endpoint.f_flags & O_DIRECT == 0 {
            (*scratch).key.op_flags |= io_counter_flag::BUFFERED;
        }
        add(scratch, bytes as i64);
    }
}

/// Counts bytes that a receive mapped, and those that it copied: `struct tcp_zerocopy_receive`.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(always)]
unsafe fn on_zerocopy_receive(scratch: *mut Scratch, fd: i32, address: u64) {
    let mapped = read::user::<u32>(address.wrapping_add(8));
    // SAFETY: the caller guarantees that `scratch` is valid.
    unsafe {
        identify(scratch, fd);
        if mapped > 0 {
            (*scratch).key.op_flags = io_counter_flag::NO_CONTRACT;
            add(scratch, i64::from(mapped));
        }
    }
}

/// Counts bytes of a file that shares the blocks of another since the call.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(always)]
unsafe fn on_clone(scratch: *mut Scratch, fd: i32, command: u32, argument: u64) {
    // struct file_clone_range starts with the source's descriptor, its offset and the length.
    let [source, offset, len] = if command == FICLONE {
        [argument, 0, 0]
    } else {
        read::user::<[u64; 3]>(argument)
    };
    let inode: u64 = member(endpoint::file_of_fd(source as i32), &offsets::FILE_INODE);
    let size = member::<u64>(inode, &offsets::INODE_SIZE).wrapping_sub(offset);
    // SAFETY: the caller guarantees that `scratch` is valid.
    unsafe {
        identify(scratch, fd);
        add(scratch, if len == 0 { size } else { len } as i64);
    }
}

/// Writes the name of a descriptor, which the call that returns may have changed.
#[inline(always)]
pub(crate) fn name_again(fd: i32) {
    if let Some(scratch) = OTHER_SCRATCH.get_ptr_mut(0) {
        // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while
        // the program runs, and only this program uses this scratch memory on this CPU.
        unsafe { identify(scratch, fd) };
    }
}

/// Fills in the endpoint of a descriptor, and its name if it is new.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(never)]
unsafe fn identify(scratch: *mut Scratch, fd: i32) {
    // SAFETY: the caller guarantees that `scratch` is valid.
    unsafe {
        let endpoint = addr_of_mut!((*scratch).endpoint);
        endpoint::identify(endpoint, fd, endpoint::file_of_fd(fd));
        (*scratch).key.ino = (*endpoint).ino;
        (*scratch).key.dev = (*endpoint).dev;
        (*scratch).key.kind = (*endpoint).kind;
        endpoint_name::emit_once(addr_of_mut!((*scratch).name), endpoint, program::SYS_EXIT);
    }
}

/// Adds bytes to the row of the key.
///
/// # Safety
///
/// `scratch` must be valid for reads.
#[inline(never)]
unsafe fn add(scratch: *mut Scratch, bytes: i64) {
    // SAFETY: the caller guarantees that `scratch` is valid.
    io_counters::add(unsafe { &(*scratch).key }, bytes, 0, program::SYS_EXIT);
}
