//! The ends of a call: what lies behind a descriptor, and its state before and after.

use aya_ebpf::helpers::generated;
use core::ptr::addr_of_mut;
use zctrace_records::{EndpointState, endpoint_kind};

use crate::maps::UNIX_WATCHED;
use crate::offsets as at;
use crate::read::{self, member};
use crate::request::{Wanted, offset};
use crate::socket;

/// `O_APPEND` (include/uapi/asm-generic/fcntl.h).
const O_APPEND: u32 = 0o2000;

/// The `struct file` behind a descriptor of the current process, 0 if there is none.
#[inline(never)]
pub(crate) fn file_of(fd: i32) -> u64 {
    if fd < 0 {
        return 0;
    }
    // SAFETY: the helper takes nothing.
    let task = unsafe { generated::bpf_get_current_task() };
    let files: u64 = member(task, &at::TASK_FILES);
    let table: u64 = member(files, &at::FILES_FDT);
    let max: u32 = member(table, &at::FDT_MAX_FDS);
    if fd as u32 >= max {
        return 0;
    }
    let slots: u64 = member(table, &at::FDT_FD);
    read::at(slots.wrapping_add(u64::from(fd as u32) * 8))
}

/// Clears an end and fills in what does not change while a descriptor is open.
///
/// # Safety
///
/// `end` must be valid for reads and writes.
#[inline(never)]
pub(crate) unsafe fn identify(end: *mut EndpointState, fd: i32, file: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        clear(end, fd, file);
        if file == 0 {
            return;
        }
        let inode: u64 = member(file, &at::FILE_INODE);
        (*end).f_flags = member(file, &at::FILE_FLAGS);
        (*end).ino = member(inode, &at::INODE_INO);
        (*end).generation = member(inode, &at::INODE_GENERATION);
        let sb: u64 = member(inode, &at::INODE_SB);
        (*end).dev = member(sb, &at::SB_DEV);
        let mode: u16 = member(inode, &at::INODE_MODE);
        // S_IFMT and the kinds (include/uapi/linux/stat.h).
        let kind = match mode & 0xf000 {
            0x1000 => {
                let pipe: u64 = member(inode, &at::INODE_PIPE);
                if pipe == 0 || pipe != member::<u64>(file, &at::FILE_PRIVATE) {
                    endpoint_kind::OTHER
                } else {
                    (*end).object = pipe;
                    endpoint_kind::PIPE
                }
            }
            0x8000 => {
                (*end).object = member(file, &at::FILE_MAPPING);
                endpoint_kind::FILE
            }
            0xc000 => {
                let socket: u64 = member(file, &at::FILE_PRIVATE);
                (*end).object = member(socket, &at::SOCKET_SK);
                socket::identify(end)
            }
            0x6000 => {
                (*end).object = member(file, &at::FILE_MAPPING);
                endpoint_kind::BLOCK
            }
            0x2000 => {
                (*end).size = member(inode, &at::INODE_RDEV);
                endpoint_kind::CHAR
            }
            _ => endpoint_kind::OTHER,
        };
        (*end).kind = kind;
    }
}

/// An end of which nothing is known but its descriptor and file.
///
/// # Safety
///
/// `end` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn clear(end: *mut EndpointState, fd: i32, file: u64) {
    // SAFETY: the caller's promise; an EndState is integers.
    unsafe {
        read::zero(end);
        (*end).fd = fd;
        (*end).file = file;
    }
}

/// The caller's memory as an end.
///
/// # Safety
///
/// `end` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn memory(end: *mut EndpointState, address: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        clear(end, -1, 0);
        (*end).kind = endpoint_kind::MEMORY;
        (*end).object = address;
    }
}

/// What an end is at this moment.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Now {
    /// As [`EndpointState::before`].
    pub(crate) place: u64,
    /// As [`EndpointState::tail_before`].
    pub(crate) tail: u64,
    /// As [`EndpointState::extra`].
    pub(crate) extra: u64,
    /// A pipe's slots; otherwise as [`EndpointState::size`] was.
    pub(crate) size: u32,
    /// As [`EndpointState::last_before`].
    pub(crate) last: u32,
}

/// Reads the state of an end. `last` is the position in a pipe's ring of the slot whose length is wanted, -1 for the
/// one before the head.
///
/// # Safety
///
/// `end` must be valid for reads and writes, `now` for writes; `wanted` for reads.
#[inline(never)]
pub(crate) unsafe fn look(end: *mut EndpointState, now: *mut Now, wanted: *const Wanted, sink: bool, last: i64) {
    // SAFETY: the caller's promise.
    unsafe {
        let object = (*end).object;
        read::zero(now);
        (*now).extra = (*end).extra;
        (*now).size = (*end).size;
        match (*end).kind {
            endpoint_kind::PIPE => pipe(object, now, last),
            endpoint_kind::FILE | endpoint_kind::BLOCK => (*now).place = file_offset(end, wanted, sink),
            endpoint_kind::TCP => {
                let seq: u32 = if sink {
                    member(object, &at::TCP_WRITE_SEQ)
                } else {
                    member(object, &at::TCP_COPIED_SEQ)
                };
                (*now).place = u64::from(seq);
            }
            endpoint_kind::UNIX_STREAM | endpoint_kind::UNIX_MESSAGES => {
                (*now).place = u64::from(member::<u32>(object, &at::SK_WMEM));
                (*now).extra = member(object, &at::UNIX_PEER);
            }
            _ => {}
        }
    }
}

/// Bytes of a `struct pipe_buffer`; the user side makes sure that it is so, and that its members lie as here: page 0,
/// offset 8, len 12, ops 16 (`include/linux/pipe_fs_i.h`, since 5.8).
pub(crate) const SLOT: u64 = 40;

/// The state of a pipe.
///
/// # Safety
///
/// `now` must be valid for writes.
#[inline(never)]
unsafe fn pipe(pipe: u64, now: *mut Now, last: i64) {
    let head: u32 = member(pipe, &at::PIPE_HEAD);
    let tail: u32 = member(pipe, &at::PIPE_TAIL);
    let slots: u32 = member(pipe, &at::PIPE_RING_SIZE);
    let ring: u64 = member(pipe, &at::PIPE_BUFS);
    let mask = slots.wrapping_sub(1);
    // SAFETY: the caller's promise.
    unsafe {
        (*now).place = u64::from(head) << 32 | u64::from(tail);
        (*now).extra = ring;
        (*now).size = slots;
        if head != tail {
            // Offset and length, one after the other.
            let [offset, len] = read::at::<[u32; 2]>(ring.wrapping_add(u64::from(tail & mask) * SLOT + 8));
            (*now).tail = u64::from(offset) << 32 | u64::from(len);
        }
        let position = if last < 0 { head.wrapping_sub(1) } else { last as u32 };
        if last >= 0 || head != tail {
            (*now).last = read::at(ring.wrapping_add(u64::from(position & mask) * SLOT + 12));
        }
    }
}

/// The offset in a file that a call works at.
///
/// # Safety
///
/// `end` and `wanted` must be valid for reads.
#[inline(always)]
unsafe fn file_offset(end: *mut EndpointState, wanted: *const Wanted, sink: bool) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        if sink && (*end).f_flags & O_APPEND != 0 {
            let inode: u64 = member((*end).file, &at::FILE_INODE);
            return member(inode, &at::INODE_SIZE);
        }
        match (*wanted).offset {
            offset::POSITION => member((*end).file, &at::FILE_POS),
            offset::POINTER => read::user((*wanted).word),
            _ => (*wanted).word,
        }
    }
}

/// Fills in the state at the entry. A connection or UNIX socket is watched from here on.
///
/// # Safety
///
/// As [`look`].
#[inline(always)]
pub(crate) unsafe fn before(end: *mut EndpointState, now: *mut Now, wanted: *const Wanted, sink: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        look(end, now, wanted, sink, -1);
        (*end).before = (*now).place;
        (*end).extra = (*now).extra;
        (*end).tail_before = (*now).tail;
        (*end).last_before = (*now).last;
        (*end).size = (*now).size;
        if (*end).kind == endpoint_kind::UNIX_STREAM || (*end).kind == endpoint_kind::UNIX_MESSAGES {
            watch_unix(addr_of_mut!((*end).object));
            if (*end).extra != 0 {
                watch_unix(addr_of_mut!((*end).extra));
            }
        }
    }
}

/// Fills in the state at the exit.
///
/// # Safety
///
/// As [`look`].
#[inline(always)]
pub(crate) unsafe fn after(end: *mut EndpointState, now: *mut Now, wanted: *const Wanted, sink: bool, result: i64) {
    // SAFETY: the caller's promise.
    unsafe {
        // The same slot as at the entry: the one before the head of then.
        let head = (*end).before >> 32;
        let tail = (*end).before & 0xffff_ffff;
        let had = (*end).kind == endpoint_kind::PIPE && head != tail;
        let last = i64::from((head as u32).wrapping_sub(1));
        look(end, now, wanted, sink, if had { last } else { -1 });
        (*end).after = (*now).place;
        (*end).extra = (*now).extra;
        (*end).tail_after = (*now).tail;
        (*end).last_after = if had { (*now).last } else { 0 };
        (*end).size = (*now).size;
        if (*wanted).offset == offset::VALUE && result > 0 && (*end).f_flags & O_APPEND == 0 {
            (*end).after = (*end).before.wrapping_add(result as u64);
        }
    }
}

/// # Safety
///
/// `sock` must be valid for reads.
#[inline(always)]
unsafe fn watch_unix(sock: *mut u64) {
    // SAFETY: the caller's promise.
    let sock = unsafe { &*sock };
    if UNIX_WATCHED.get_ptr(sock).is_none() {
        // A table that drops the oldest has room; failing is left to the join, which then finds no message.
        let _ = UNIX_WATCHED.insert(sock, 1, 0);
    }
}
