//! Endpoints of a call: the object behind a descriptor, and its state before and after the call.

use aya_ebpf::helpers::generated;
use core::ptr::addr_of_mut;
use zctrace_records::{EndpointState, endpoint_kind};
use zerocopy::FromZeros;

use crate::offsets;
use crate::read::{self, member};
use crate::socket;
use crate::syscall_args::{FdArg, offset_source};

/// `O_APPEND` (include/uapi/asm-generic/fcntl.h).
const O_APPEND: u32 = 0o2000;

/// Returns the address of the `struct file` of a descriptor of the current process, or 0 if there
/// is none.
#[inline(never)]
pub(crate) fn file_of_fd(fd: i32) -> u64 {
    if fd < 0 {
        return 0;
    }
    // SAFETY: the helper has no arguments and thus no preconditions.
    let task = unsafe { generated::bpf_get_current_task() };
    let files: u64 = member(task, &offsets::TASK_FILES);
    let table: u64 = member(files, &offsets::FILES_FDT);
    let max: u32 = member(table, &offsets::FDT_MAX_FDS);
    if fd as u32 >= max {
        return 0;
    }
    let slots: u64 = member(table, &offsets::FDT_FD);
    read::kernel(slots.wrapping_add(u64::from(fd as u32) * 8))
}

/// Clears an endpoint and fills in the fields that stay constant while the descriptor is open.
///
/// # Safety
///
/// `endpoint` must be valid for reads and writes.
#[inline(never)]
pub(crate) unsafe fn identify(endpoint: *mut EndpointState, fd: i32, file: u64) {
    // SAFETY: access through `endpoint` requires a valid pointer, which the caller guarantees.
    unsafe {
        init(endpoint, fd, file);
        if file == 0 {
            return;
        }
        let inode: u64 = member(file, &offsets::FILE_INODE);
        (*endpoint).f_flags = member(file, &offsets::FILE_FLAGS);
        (*endpoint).ino = member(inode, &offsets::INODE_INO);
        (*endpoint).generation = member(inode, &offsets::INODE_GENERATION);
        let sb: u64 = member(inode, &offsets::INODE_SB);
        (*endpoint).dev = member(sb, &offsets::SB_DEV);
        let mode: u16 = member(inode, &offsets::INODE_MODE);
        // S_IFMT and the file types (include/uapi/linux/stat.h).
        let kind = match mode & 0xf000 {
            0x1000 => {
                let pipe: u64 = member(inode, &offsets::INODE_PIPE);
                if pipe == 0 || pipe != member::<u64>(file, &offsets::FILE_PRIVATE) {
                    endpoint_kind::OTHER
                } else {
                    (*endpoint).object = pipe;
                    (*endpoint).generation = pipe_opens(pipe);
                    endpoint_kind::PIPE
                }
            }
            0x8000 => {
                (*endpoint).object = member(file, &offsets::FILE_MAPPING);
                endpoint_kind::FILE
            }
            0xc000 => {
                let socket: u64 = member(file, &offsets::FILE_PRIVATE);
                (*endpoint).object = member(socket, &offsets::SOCKET_SK);
                socket::identify(endpoint)
            }
            0x6000 => {
                (*endpoint).object = member(file, &offsets::FILE_MAPPING);
                endpoint_kind::BLOCK
            }
            0x2000 => {
                (*endpoint).size = member(inode, &offsets::INODE_RDEV);
                endpoint_kind::CHAR
            }
            _ => endpoint_kind::OTHER,
        };
        (*endpoint).kind = kind;
    }
}

/// Initializes an endpoint of which only descriptor and file are known.
///
/// # Safety
///
/// `endpoint` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn init(endpoint: *mut EndpointState, fd: i32, file: u64) {
    // SAFETY: writing through `endpoint` requires a valid pointer, which the caller guarantees.
    // `EndpointState` consists of integers, so zeros are a valid value.
    unsafe {
        read::zero(endpoint);
        (*endpoint).fd = fd;
        (*endpoint).file = file;
    }
}

/// Initializes an endpoint that is the caller's memory.
///
/// # Safety
///
/// `endpoint` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn set_memory(endpoint: *mut EndpointState, address: u64) {
    // SAFETY: writing through `endpoint` requires a valid pointer, which the caller guarantees.
    unsafe {
        init(endpoint, -1, 0);
        (*endpoint).kind = endpoint_kind::MEMORY;
        (*endpoint).object = address;
    }
}

/// State of an endpoint at one moment.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub(crate) struct EndpointNow {
    /// Position, as [`EndpointState::before`].
    pub(crate) position: u64,
    /// Slot at the tail, as [`EndpointState::tail_before`].
    pub(crate) tail: u64,
    /// Additional value, as [`EndpointState::extra`].
    pub(crate) extra: u64,
    /// Pipe: number of slots. Other kinds: unchanged value of [`EndpointState::size`].
    pub(crate) size: u32,
    /// Length of a slot, as [`EndpointState::last_before`].
    pub(crate) last: u32,
}

/// Returns how often a pipe was opened since it was made: for reading in the lower half, for
/// writing in the upper, each modulo 2^16. A FIFO that is opened after all of its files were closed
/// is another pipe (fs/pipe.c: `fifo_open()`).
#[inline(always)]
pub(crate) fn pipe_opens(pipe: u64) -> u32 {
    let reads: u32 = member(pipe, &offsets::PIPE_READ_OPENS);
    let writes: u32 = member(pipe, &offsets::PIPE_WRITE_OPENS);
    reads & 0xffff | writes << 16
}

/// Returns 1 if the current thread has no internal pipe, and 0 if it has one.
///
/// The kernel allocates the pipe when `copy_file_range` or `sendfile` first copies by it, and keeps
/// it until the thread exits (fs/splice.c: `splice_direct_to_actor()`). Its counters do not show
/// whether it was used, because the kernel resets them after each call.
#[inline(always)]
pub(crate) fn lacks_splice_pipe() -> u64 {
    // SAFETY: the helper has no arguments.
    let task = unsafe { generated::bpf_get_current_task() };
    u64::from(member::<u64>(task, &offsets::TASK_SPLICE_PIPE) == 0)
}

/// Reads the current state of an endpoint. `last` is the ring position of the pipe slot whose
/// length is read; -1 selects the slot before the head.
///
/// # Safety
///
/// `endpoint` must be valid for reads and writes, `now` for writes, and `fd_arg` for reads.
#[inline(never)]
pub(crate) unsafe fn read_state(
    endpoint: *mut EndpointState,
    now: *mut EndpointNow,
    fd_arg: *const FdArg,
    sink: bool,
    last: i64,
) {
    // SAFETY: access through `endpoint`, `now` and `fd_arg` requires valid pointers, which the
    // caller guarantees.
    unsafe {
        let object = (*endpoint).object;
        read::zero(now);
        (*now).extra = (*endpoint).extra;
        (*now).size = (*endpoint).size;
        match (*endpoint).kind {
            endpoint_kind::PIPE => read_pipe_state(object, now, last),
            endpoint_kind::FILE | endpoint_kind::BLOCK => (*now).position = file_offset(endpoint, fd_arg, sink),
            endpoint_kind::TCP => {
                let seq: u32 = if sink {
                    member(object, &offsets::TCP_WRITE_SEQ)
                } else {
                    member(object, &offsets::TCP_COPIED_SEQ)
                };
                (*now).position = u64::from(seq);
            }
            endpoint_kind::UNIX_STREAM | endpoint_kind::UNIX_MESSAGES => {
                (*now).position = u64::from(member::<u32>(object, &offsets::SK_WMEM));
                (*now).extra = member(object, &offsets::UNIX_PEER);
            }
            _ => {}
        }
    }
}

/// Size of a `struct pipe_buffer`, in bytes. The loader verifies the size and the offsets of the
/// members that the programs read: page 0, offset 8, len 12, ops 16 (`include/linux/pipe_fs_i.h`,
/// since Linux 5.8).
pub(crate) const SLOT_SIZE: u64 = 40;

/// Reads the current state of a pipe.
///
/// # Safety
///
/// `now` must be valid for writes.
#[inline(never)]
unsafe fn read_pipe_state(pipe: u64, now: *mut EndpointNow, last: i64) {
    let head: u32 = member(pipe, &offsets::PIPE_HEAD);
    let tail: u32 = member(pipe, &offsets::PIPE_TAIL);
    let slots: u32 = member(pipe, &offsets::PIPE_RING_SIZE);
    let ring: u64 = member(pipe, &offsets::PIPE_BUFS);
    let mask = slots.wrapping_sub(1);
    // SAFETY: writing through `now` requires a valid pointer, which the caller guarantees.
    unsafe {
        (*now).position = u64::from(head) << 32 | u64::from(tail);
        (*now).extra = ring;
        (*now).size = slots;
        if head != tail {
            // Offset and length are adjacent.
            let [offset, len] = read::kernel::<[u32; 2]>(ring.wrapping_add(u64::from(tail & mask) * SLOT_SIZE + 8));
            (*now).tail = u64::from(offset) << 32 | u64::from(len);
        }
        let position = if last < 0 { head.wrapping_sub(1) } else { last as u32 };
        if last >= 0 || head != tail {
            (*now).last = read::kernel(ring.wrapping_add(u64::from(position & mask) * SLOT_SIZE + 12));
        }
    }
}

/// Returns the file offset at which a call reads or writes.
///
/// # Safety
///
/// `endpoint` and `fd_arg` must be valid for reads.
#[inline(always)]
unsafe fn file_offset(endpoint: *mut EndpointState, fd_arg: *const FdArg, sink: bool) -> u64 {
    // SAFETY: reading through `endpoint` and `fd_arg` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        if sink && (*endpoint).f_flags & O_APPEND != 0 {
            let inode: u64 = member((*endpoint).file, &offsets::FILE_INODE);
            return member(inode, &offsets::INODE_SIZE);
        }
        match (*fd_arg).offset_source {
            offset_source::POSITION => member((*endpoint).file, &offsets::FILE_POS),
            offset_source::POINTER => read::user((*fd_arg).offset),
            _ => (*fd_arg).offset,
        }
    }
}

/// Fills in the state at the entry of a call. Packets of a connection and messages of a UNIX socket
/// are traced from here on.
///
/// # Safety
///
/// The preconditions of [`read_state`] apply.
#[inline(always)]
pub(crate) unsafe fn capture_entry(
    endpoint: *mut EndpointState,
    now: *mut EndpointNow,
    fd_arg: *const FdArg,
    sink: bool,
) {
    // SAFETY: access through `endpoint`, `now` and `fd_arg` requires valid pointers, which the
    // caller guarantees.
    unsafe {
        read_state(endpoint, now, fd_arg, sink, -1);
        (*endpoint).before = (*now).position;
        (*endpoint).extra = (*now).extra;
        (*endpoint).tail_before = (*now).tail;
        (*endpoint).last_before = (*now).last;
        (*endpoint).size = (*now).size;
        if (*endpoint).kind == endpoint_kind::UNIX_STREAM || (*endpoint).kind == endpoint_kind::UNIX_MESSAGES {
            socket::track_unix_socket(addr_of_mut!((*endpoint).object));
            if (*endpoint).extra != 0 {
                socket::track_unix_socket(addr_of_mut!((*endpoint).extra));
            }
        }
    }
}

/// Fills in the state at the exit of a call.
///
/// # Safety
///
/// The preconditions of [`read_state`] apply.
#[inline(always)]
pub(crate) unsafe fn capture_exit(
    endpoint: *mut EndpointState,
    now: *mut EndpointNow,
    fd_arg: *const FdArg,
    sink: bool,
    result: i64,
) {
    // SAFETY: access through `endpoint`, `now` and `fd_arg` requires valid pointers, which the
    // caller guarantees.
    unsafe {
        // Selects the slot of the entry, which was before the head at that time.
        let head = (*endpoint).before >> 32;
        let tail = (*endpoint).before & 0xffff_ffff;
        let was_filled = (*endpoint).kind == endpoint_kind::PIPE && head != tail;
        let last = i64::from((head as u32).wrapping_sub(1));
        read_state(endpoint, now, fd_arg, sink, if was_filled { last } else { -1 });
        (*endpoint).after = (*now).position;
        (*endpoint).extra = (*now).extra;
        (*endpoint).tail_after = (*now).tail;
        (*endpoint).last_after = if was_filled { (*now).last } else { 0 };
        (*endpoint).size = (*now).size;
        if result <= 0 || (*endpoint).f_flags & O_APPEND != 0 {
            return;
        }
        let is_file = (*endpoint).kind == endpoint_kind::FILE || (*endpoint).kind == endpoint_kind::BLOCK;
        match (*fd_arg).offset_source {
            offset_source::VALUE => (*endpoint).after = (*endpoint).before.wrapping_add(result as u64),
            // The kernel has written the new offset there. At the entry the program's page may have
            // been absent, and another thread may have changed the offset before the kernel read
            // it.
            offset_source::POINTER if is_file && (*endpoint).after >= result as u64 => {
                (*endpoint).before = (*endpoint).after.wrapping_sub(result as u64);
            }
            _ => {}
        }
    }
}
