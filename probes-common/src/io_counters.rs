//! Plain reads and writes, counted in the kernel: rows of a map, not records.
//!
//! Calls on pipes and on UNIX sockets are not here: they are [`Call`](crate::Call)s, because what goes through a pipe must
//! be known byte by byte. Nor are calls on files open with `O_DIRECT`, and sends with `MSG_ZEROCOPY`.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is counted apart.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct IoCounterKey {
    /// Inode number of the file or socket.
    pub ino: u64,
    /// The process.
    pub tgid: u32,
    /// Device number of its filesystem.
    pub dev: u32,
    /// One of [`nr`](crate::nr).
    pub nr: u32,
    /// `MSG_*` bits that change the meaning: `MSG_PEEK` (2) and `MSG_TRUNC` (0x20).
    pub op_flags: u32,
    /// One of [`endpoint_kind`](crate::endpoint_kind).
    pub kind: u16,
    /// Not used.
    pub reserved: [u16; 3],
}

/// What was counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct IoCounters {
    /// Bytes that the calls returned.
    pub bytes: u64,
    /// Calls that returned bytes.
    pub calls: u64,
    /// Calls that returned 0 or an error.
    pub failed: u64,
    /// Bytes of calls that moved at most 512 bytes each.
    pub small_bytes: u64,
    /// Those calls.
    pub small_calls: u64,
    /// Where in the program the latest call was made.
    pub user_ip: u64,
    /// When the first was seen, in nanoseconds of the monotonic clock.
    pub first_ns: u64,
    /// When the latest was.
    pub last_ns: u64,
}

const _: () = {
    assert!(size_of::<IoCounterKey>() == 32);
    assert!(size_of::<IoCounters>() == 64);
};
