//! I/O counters: plain reads and writes, counted in the kernel in rows of a map instead of records.
//!
//! Calls on pipes and UNIX sockets are [`Call`](crate::Call) records instead, because every byte
//! that passes a pipe must be accounted for. Calls on files that are open with `O_DIRECT` and sends
//! with `MSG_ZEROCOPY` are [`Call`](crate::Call) records as well.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of an I/O counter row.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct IoCounterKey {
    /// Inode number of the file or socket.
    pub ino: u64,
    /// Process ID.
    pub tgid: u32,
    /// Device number of the inode's filesystem.
    pub dev: u32,
    /// System call number: one of [`nr`](crate::nr). For a request of `io_uring`,
    /// [`IO_URING_BASE`](crate::IO_URING_BASE) and what follows it.
    pub nr: u32,
    /// Bits of `MSG_*` that change the meaning of the result: `MSG_PEEK` (2), `MSG_PROBE` (0x10)
    /// and `MSG_TRUNC` (0x20); and bits of [`io_counter_flag`](crate::io_counter_flag).
    pub op_flags: u32,
    /// Kind of the endpoint: one of [`endpoint_kind`](crate::endpoint_kind).
    pub kind: u16,
    /// Not 0 while the endpoint has to be named when the call returns; 0 in a row.
    pub reserved: u16,
    /// Generation of the inode; 0 for sockets.
    pub generation: u32,
}

/// Counts of the calls with one key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct IoCounters {
    /// Sum of the bytes that the calls returned.
    pub bytes: u64,
    /// Number of calls that returned bytes.
    pub calls: u64,
    /// Number of calls that returned 0 or an error.
    pub failed: u64,
    /// Bytes of the calls that moved at most 512 bytes each.
    pub small_bytes: u64,
    /// Number of the calls that moved at most 512 bytes each.
    pub small_calls: u64,
    /// Instruction pointer of the caller in the latest call.
    pub user_ip: u64,
    /// Time of the first call, in nanoseconds of the monotonic clock.
    pub first_ns: u64,
    /// Time of the latest call, in nanoseconds of the monotonic clock.
    pub last_ns: u64,
}

const _: () = {
    assert!(size_of::<IoCounterKey>() == 32);
    assert!(size_of::<IoCounters>() == 64);
};
