//! Snapshots of pipes that existed before tracing started.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::EndpointState;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// Snapshot of a pipe of a traced process. The [`PageRecord`](crate::PageRecord) and
/// [`PageRun`](crate::PageRun) records with its slots, of station
/// [`PIPE_SNAPSHOT`](crate::station_kind::PIPE_SNAPSHOT), precede it.
///
/// The pipe can change while the program reads it. The snapshot is invalid if
/// [`EndpointState::before`] and [`EndpointState::after`] differ, or if a later call does not
/// continue at its positions.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PipeSnapshot {
    /// Record header. Process and thread are those of the tracer.
    pub header: RecordHeader,
    /// Number from the counter of call IDs. The page records of the snapshot carry it.
    pub call_id: u64,
    /// State of the pipe before and after the program read its slots.
    pub endpoint: EndpointState,
    /// Process that has the pipe open.
    pub tgid: u32,
    /// Number of page records of the snapshot.
    pub page_records: u32,
}

impl PipeSnapshot {
    /// Kind of this record in its header.
    pub const KIND: RecordKind = RecordKind(7);
    /// Fields that hold kernel addresses.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[Address::Endpoint(offset_of!(Self, endpoint))]);

    /// Returns the [`program`] that wrote the record, or `None` if it cannot be determined.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(program::TASK_FILE)
    }
}

const _: () = assert!(size_of::<PipeSnapshot>() == 32 + 8 + size_of::<EndpointState>() + 8);
