//! Requests of `io_uring` as rows of the I/O counters.
//!
//! [`IoCounterKey::nr`](crate::IoCounterKey::nr) of such a row is a number of this module instead
//! of a system call number. The kernel's numbers of system calls end below 600, and those of x32
//! have bit 30.

/// First of the numbers. The number of a request is this plus its opcode.
pub const IO_URING_BASE: u32 = 0x1000;
/// Number of a completion whose request the kernel does not name.
pub const IO_URING_UNNAMED: u32 = IO_URING_BASE + 0x100;
/// Number of a completion that found no room in the completion queue.
pub const IO_URING_OVERFLOW: u32 = IO_URING_BASE + 0x101;
/// First of the numbers of requests that have no completion, or whose completion shows no bytes.
/// The number of a request is this plus its opcode. Such requests are counted when they are
/// submitted.
pub const IO_URING_SUBMITTED: u32 = IO_URING_BASE + 0x200;

/// First of the numbers of Linux AIO. The number of a request is this plus its opcode
/// (`IOCB_CMD_*`, `include/uapi/linux/aio_abi.h`).
pub const AIO_BASE: u32 = 0x1400;
/// Number of calls of `io_submit` with more requests than the eBPF program reads.
pub const AIO_REST: u32 = AIO_BASE + 0x100;
/// Number of the ioctls that put a file behind a loop device (`LOOP_SET_FD`, `LOOP_CHANGE_FD`,
/// `LOOP_CONFIGURE`, include/uapi/linux/loop.h).
pub const LOOP_DEVICE: u32 = AIO_REST + 1;

/// Bits of [`IoCounterKey::op_flags`](crate::IoCounterKey::op_flags) that are not `MSG_*`.
pub mod io_counter_flag {
    /// The results of the calls are not bytes.
    pub const BYTES_NOT_KNOWN: u32 = 0x8000_0000;
    /// The contract of the call does not say that a CPU copied the bytes: the file is open with
    /// `O_DIRECT`, or the send has `MSG_ZEROCOPY`.
    pub const NO_CONTRACT: u32 = 0x4000_0000;
    /// The file of a request of Linux AIO is open without `O_DIRECT`.
    pub const BUFFERED: u32 = 0x2000_0000;
    /// The mapping can be written, or the program can make it so with mprotect(2), because the file
    /// is open for writing.
    pub const WRITABLE: u32 = 0x0800_0000;
    /// The bytes are not in the caller's buffers: a packet socket sent them from a ring in shared
    /// memory.
    pub const NOT_OF_BUFFER: u32 = 0x1000_0000;
}

/// Opcodes of `io_uring` that move payload (`enum io_uring_op`,
/// `include/uapi/linux/io_uring.h`).
pub mod uring_op {
    /// `IORING_OP_READV`.
    pub const READV: u8 = 1;
    /// `IORING_OP_WRITEV`.
    pub const WRITEV: u8 = 2;
    /// `IORING_OP_READ_FIXED`.
    pub const READ_FIXED: u8 = 4;
    /// `IORING_OP_WRITE_FIXED`.
    pub const WRITE_FIXED: u8 = 5;
    /// `IORING_OP_SENDMSG`.
    pub const SENDMSG: u8 = 9;
    /// `IORING_OP_RECVMSG`.
    pub const RECVMSG: u8 = 10;
    /// `IORING_OP_READ`.
    pub const READ: u8 = 22;
    /// `IORING_OP_WRITE`.
    pub const WRITE: u8 = 23;
    /// `IORING_OP_SEND`.
    pub const SEND: u8 = 26;
    /// `IORING_OP_RECV`.
    pub const RECV: u8 = 27;
    /// `IORING_OP_SPLICE`.
    pub const SPLICE: u8 = 30;
    /// `IORING_OP_TEE`.
    pub const TEE: u8 = 33;
    /// `IORING_OP_URING_CMD`.
    pub const URING_CMD: u8 = 46;
    /// `IORING_OP_SEND_ZC`.
    pub const SEND_ZC: u8 = 47;
    /// `IORING_OP_SENDMSG_ZC`.
    pub const SENDMSG_ZC: u8 = 48;
    /// `IORING_OP_READ_MULTISHOT`.
    pub const READ_MULTISHOT: u8 = 49;
    /// `IORING_OP_RECV_ZC`.
    pub const RECV_ZC: u8 = 58;
    /// `IORING_OP_READV_FIXED`.
    pub const READV_FIXED: u8 = 60;
    /// `IORING_OP_WRITEV_FIXED`.
    pub const WRITEV_FIXED: u8 = 61;
    /// First opcode that Linux 6.18 does not have. Such a request may move payload.
    pub const FIRST_UNKNOWN: u8 = 63;

    /// Returns whether requests of an opcode move payload, or may do so.
    #[must_use]
    #[inline]
    pub const fn moves_payload(opcode: u8) -> bool {
        const PAYLOAD: u64 = 1 << READV
            | 1 << WRITEV
            | 1 << READ_FIXED
            | 1 << WRITE_FIXED
            | 1 << SENDMSG
            | 1 << RECVMSG
            | 1 << READ
            | 1 << WRITE
            | 1 << SEND
            | 1 << RECV
            | 1 << SPLICE
            | 1 << TEE
            | 1 << URING_CMD
            | 1 << SEND_ZC
            | 1 << SENDMSG_ZC
            | 1 << READ_MULTISHOT
            | 1 << RECV_ZC
            | 1 << READV_FIXED
            | 1 << WRITEV_FIXED;
        opcode >= FIRST_UNKNOWN || PAYLOAD >> opcode & 1 == 1
    }

    /// Returns whether the result of a request is a number of bytes.
    #[must_use]
    #[inline]
    pub const fn returns_bytes(opcode: u8) -> bool {
        opcode < FIRST_UNKNOWN && !matches!(opcode, URING_CMD | RECV_ZC)
    }

    /// Returns whether a request has `MSG_*` flags that decide what becomes of the bytes.
    #[must_use]
    #[inline]
    pub const fn has_message_flags(opcode: u8) -> bool {
        matches!(opcode, SEND | SENDMSG | RECV | RECVMSG)
    }
}
