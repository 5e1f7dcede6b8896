//! Counts of records that each program wrote or lost: rows of a map, one per program and CPU.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Counts of one program on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ProgramStats {
    /// Number of records, including those that found the ring buffer full. Equals the
    /// [`sequence`](crate::RecordHeader::sequence) of the next record.
    pub emitted: u64,
    /// Number of records that found the ring buffer full.
    pub ring_full: u64,
    /// Number of entries that found a map full, so that calls, I/O counters or traced sockets are
    /// missing.
    pub map_full: u64,
}

const _: () = assert!(size_of::<ProgramStats>() == 24);
