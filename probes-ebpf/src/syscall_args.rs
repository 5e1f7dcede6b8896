//! Arguments of a call, read from its registers: descriptors, offsets, memory and length.

use core::mem::size_of;
use core::ptr::addr_of_mut;

use aya_ebpf::helpers::generated;
use zctrace_records::nr;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::read;

/// `struct pt_regs` of x86-64 (arch/x86/include/asm/ptrace.h). The layout is part of the kernel's
/// ABI for user space, so it does not change.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Regs {
    callee_saved: [u64; 5],
    /// First argument of a system call of a 32-bit program.
    bx: u64,
    r11: u64,
    /// Fourth argument of a system call.
    r10: u64,
    /// Sixth argument of a system call.
    r9: u64,
    /// Fifth argument of a system call.
    r8: u64,
    ax: u64,
    /// Second argument of a system call of a 32-bit program.
    cx: u64,
    /// Third argument of a system call.
    dx: u64,
    /// Second argument of a system call.
    si: u64,
    /// First argument of a system call.
    di: u64,
    /// Number of the system call.
    orig_ax: u64,
    /// Address that the system call returns to.
    pub(crate) ip: u64,
}

/// Offset of `orig_ax` in [`Regs`].
pub(crate) const ORIG_AX: u64 = core::mem::offset_of!(Regs, orig_ax) as u64;
/// Offset of the instruction pointer in [`Regs`].
pub(crate) const IP: u64 = core::mem::offset_of!(Regs, ip) as u64;
/// Offset of the first argument in [`Regs`].
pub(crate) const ARG1: u64 = core::mem::offset_of!(Regs, di) as u64;
/// Offset of the second argument in [`Regs`].
pub(crate) const ARG2: u64 = core::mem::offset_of!(Regs, si) as u64;

/// Offsets of the first arguments of a 32-bit program in [`Regs`]; the third is at [`ARG3`], the
/// fourth at [`ARG2`] and the fifth at [`ARG1`] (`arch/x86/include/asm/syscall_wrapper.h`:
/// `SC_IA32_REGS_TO_ARGS`).
pub(crate) const COMPAT_ARG1: u64 = core::mem::offset_of!(Regs, bx) as u64;
pub(crate) const COMPAT_ARG2: u64 = core::mem::offset_of!(Regs, cx) as u64;
/// Offset of the third argument in [`Regs`].
pub(crate) const ARG3: u64 = core::mem::offset_of!(Regs, dx) as u64;
/// Offset of the fourth argument in [`Regs`].
pub(crate) const ARG4: u64 = core::mem::offset_of!(Regs, r10) as u64;
/// Offset of the fifth argument in [`Regs`].
pub(crate) const ARG5: u64 = core::mem::offset_of!(Regs, r8) as u64;

/// Sources of a file offset.
pub(crate) mod offset_source {
    /// The position of the open file: `f_pos`.
    pub(crate) const POSITION: u32 = 0;
    /// A variable in the process's memory, to which the argument points.
    pub(crate) const POINTER: u32 = 1;
    /// The argument itself.
    pub(crate) const VALUE: u32 = 2;
}

/// Descriptor of one side of a call, with its offset.
#[repr(C)]
#[derive(Clone, Copy, FromZeros, Immutable, IntoBytes)]
pub(crate) struct FdArg {
    /// Descriptor; -1 means the caller's memory.
    pub(crate) fd: i32,
    /// Source of the offset: one of [`offset_source`].
    pub(crate) offset_source: u32,
    /// Offset, or pointer to it.
    pub(crate) offset: u64,
}

/// Arguments of a call.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SyscallArgs {
    pub(crate) regs: Regs,
    pub(crate) source: FdArg,
    pub(crate) sink: FdArg,
    /// Address of the first memory range; 0 if the call has none, or if it is unknown.
    pub(crate) memory: u64,
    pub(crate) requested: u64,
    pub(crate) op_flags: u32,
    /// Not 0 if the memory is one contiguous range.
    pub(crate) contiguous: u32,
    /// Memory ranges of the call: address and length of each (`struct iovec`).
    iovec: [[u64; 2]; MAX_IOVEC],
    /// Padding, because the length of the read is masked to 511 bytes.
    slack: [[u64; 2]; MAX_IOVEC],
}

/// Maximum number of memory ranges that are summed. The memory of a call with more ranges is
/// unknown.
const MAX_IOVEC: usize = 16;

/// Descriptor that stands for the caller's memory.
const MEMORY: FdArg = FdArg {
    fd: -1,
    offset_source: offset_source::POSITION,
    offset: 0,
};

/// Returns whether zctrace traces a system call. This check runs first, for every call of every
/// process.
#[inline(always)]
pub(crate) fn is_known(number: u32) -> bool {
    const LOW: u64 = 1 << nr::READ
        | 1 << nr::WRITE
        | 1 << nr::PREAD64
        | 1 << nr::PWRITE64
        | 1 << nr::READV
        | 1 << nr::WRITEV
        | 1 << nr::SENDFILE
        | 1 << nr::SENDTO
        | 1 << nr::RECVFROM
        | 1 << nr::SENDMSG
        | 1 << nr::RECVMSG;
    const BASE: u32 = nr::SPLICE;
    const HIGH: u64 = 1 << (nr::SPLICE - BASE)
        | 1 << (nr::TEE - BASE)
        | 1 << (nr::VMSPLICE - BASE)
        | 1 << (nr::PREADV - BASE)
        | 1 << (nr::PWRITEV - BASE)
        | 1 << (nr::RECVMMSG - BASE)
        | 1 << (nr::SENDMMSG - BASE)
        | 1 << (nr::COPY_FILE_RANGE - BASE)
        | 1 << (nr::PREADV2 - BASE)
        | 1 << (nr::PWRITEV2 - BASE);
    if number < 64 {
        return LOW >> number & 1 == 1;
    }
    let high = number.wrapping_sub(BASE);
    high < 64 && HIGH >> high & 1 == 1
}

/// Returns whether a call moves bytes without the caller reading or writing them. Such a call is
/// always recorded.
#[inline(always)]
pub(crate) const fn is_transfer(number: u32) -> bool {
    matches!(
        number,
        nr::SPLICE | nr::TEE | nr::VMSPLICE | nr::SENDFILE | nr::COPY_FILE_RANGE
    )
}

/// Returns a descriptor that is used at its own file position.
#[inline(always)]
fn fd(fd: u64) -> FdArg {
    FdArg {
        fd: fd as i32,
        offset_source: offset_source::POSITION,
        offset: 0,
    }
}

/// Returns a descriptor with a pointer to an offset, which may be null.
#[inline(always)]
fn fd_with_offset_ptr(fd: u64, pointer: u64) -> FdArg {
    FdArg {
        fd: fd as i32,
        offset_source: if pointer == 0 {
            offset_source::POSITION
        } else {
            offset_source::POINTER
        },
        offset: pointer,
    }
}

/// Returns a descriptor with an offset argument, where -1 means the file position (preadv2(2)).
#[inline(always)]
fn fd_with_offset(fd: u64, value: u64) -> FdArg {
    FdArg {
        fd: fd as i32,
        offset_source: if value == u64::MAX {
            offset_source::POSITION
        } else {
            offset_source::VALUE
        },
        offset: value,
    }
}

/// Reads the registers of call `number` and fills in its arguments.
///
/// # Safety
///
/// `args` must be valid for writes.
#[inline(never)]
#[allow(clippy::too_many_lines)] // A table with one case for each form of arguments.
pub(crate) unsafe fn fill(args: *mut SyscallArgs, regs: u64, number: u32) {
    // SAFETY: writing through `args` requires a valid pointer, which the caller guarantees. Only
    // fields that were written before are read.
    unsafe {
        generated::bpf_probe_read_kernel(
            addr_of_mut!((*args).regs).cast(),
            size_of::<Regs>() as u32,
            regs as *const _,
        );
        let Regs {
            di,
            si,
            dx,
            r10,
            r8,
            r9,
            ..
        } = (*args).regs;
        (*args).memory = 0;
        (*args).contiguous = 0;
        (*args).op_flags = 0;
        (*args).requested = dx;
        let (mut source, mut sink) = (MEMORY, MEMORY);
        match number {
            nr::SPLICE | nr::COPY_FILE_RANGE => {
                source = fd_with_offset_ptr(di, si);
                sink = fd_with_offset_ptr(dx, r10);
                (*args).requested = r8;
                (*args).op_flags = r9 as u32;
            }
            nr::TEE => {
                source = fd(di);
                sink = fd(si);
                (*args).op_flags = r10 as u32;
            }
            nr::SENDFILE => {
                sink = fd(di);
                source = fd_with_offset_ptr(si, dx);
                (*args).requested = r10;
            }
            nr::VMSPLICE => {
                // The descriptor's open mode determines the direction, and the caller of this
                // function checks it.
                sink = fd(di);
                (*args).op_flags = r10 as u32;
                sum_iovec(args, si, dx);
            }
            nr::READ | nr::RECVFROM | nr::PREAD64 => {
                source = if number == nr::PREAD64 {
                    fd_with_offset(di, r10)
                } else {
                    fd(di)
                };
                (*args).memory = si;
                (*args).contiguous = 1;
                if number == nr::RECVFROM {
                    (*args).op_flags = r10 as u32;
                }
            }
            nr::WRITE | nr::SENDTO | nr::PWRITE64 => {
                sink = if number == nr::PWRITE64 {
                    fd_with_offset(di, r10)
                } else {
                    fd(di)
                };
                (*args).memory = si;
                (*args).contiguous = 1;
                if number == nr::SENDTO {
                    (*args).op_flags = r10 as u32;
                }
            }
            nr::READV | nr::PREADV | nr::PREADV2 => {
                source = if number == nr::READV {
                    fd(di)
                } else {
                    fd_with_offset(di, r10)
                };
                if number == nr::PREADV2 {
                    (*args).op_flags = r9 as u32;
                }
                sum_iovec(args, si, dx);
            }
            nr::WRITEV | nr::PWRITEV | nr::PWRITEV2 => {
                sink = if number == nr::WRITEV {
                    fd(di)
                } else {
                    fd_with_offset(di, r10)
                };
                if number == nr::PWRITEV2 {
                    (*args).op_flags = r9 as u32;
                }
                sum_iovec(args, si, dx);
            }
            nr::SENDMSG | nr::RECVMSG => {
                if number == nr::SENDMSG {
                    sink = fd(di);
                } else {
                    source = fd(di);
                }
                (*args).op_flags = dx as u32;
                // struct user_msghdr (include/linux/socket.h) starts with the name and its length.
                let [iov, count] = read::user::<[u64; 2]>(si.wrapping_add(16));
                sum_iovec(args, iov, count);
            }
            // recvmmsg and sendmmsg return a number of messages.
            _ => {
                if number == nr::SENDMMSG {
                    sink = fd(di);
                } else {
                    source = fd(di);
                }
                (*args).op_flags = r10 as u32;
                (*args).requested = 0;
            }
        }
        (*args).source = source;
        (*args).sink = sink;
    }
}

/// Sums the lengths of a call's memory ranges. With more than [`MAX_IOVEC`] ranges, the requested
/// length is set to 0.
///
/// # Safety
///
/// `args` must be valid for writes.
#[inline(never)]
unsafe fn sum_iovec(args: *mut SyscallArgs, iov: u64, count: u64) {
    // SAFETY: writing through `args` requires a valid pointer, which the caller guarantees. The
    // helper fills every byte of the read, with zeros if it fails, and the mask keeps its length
    // within `iovec` and `slack`.
    unsafe {
        (*args).requested = 0;
        if count > MAX_IOVEC as u64 {
            // The call is on memory, of an unknown size.
            let [first, _] = read::user::<[u64; 2]>(iov);
            (*args).memory = first;
            return;
        }
        if count == 0 {
            return;
        }
        let scratch = addr_of_mut!((*args).iovec);
        generated::bpf_probe_read_user(
            scratch.cast(),
            (read::opaque(count * 16) & 0x1ff) as u32,
            iov as *const _,
        );
        let mut requested = 0_u64;
        let mut index = 0;
        while index < MAX_IOVEC {
            if index as u64 >= count {
                break;
            }
            requested = requested.wrapping_add((*scratch)[index][1]);
            index += 1;
        }
        (*args).requested = requested;
        (*args).memory = (*scratch)[0][0];
        (*args).contiguous = u32::from(count == 1);
    }
}
