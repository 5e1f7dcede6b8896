//! What each program wrote and could not write: rows of a map, one per program and CPU.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What one program did on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ProgramStats {
    /// Records, those included for which there was no room: the next one's
    /// [`sequence`](crate::RecordHeader::sequence).
    pub emitted: u64,
    /// Records for which the ring had no room.
    pub ring_full: u64,
    /// Entries for which a map had no room: calls, plain sums, watched sockets that are missing.
    pub map_full: u64,
}

const _: () = assert!(size_of::<ProgramStats>() == 24);
