//! Pipes that were there before watching began.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::EndpointState;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// A pipe of a traced process, as it was found. Followed by nothing: the [`PageRecord`](crate::PageRecord) records of what lay in
/// it, of kind [`PIPE_SNAPSHOT`](crate::station_kind::PIPE_SNAPSHOT), come before it.
///
/// Nothing was stopped while it was looked at: if [`EndpointState::before`] and [`EndpointState::after`] differ, or a later call does
/// not take up where this left off, what was seen is worth nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PipeSnapshot {
    /// The head. Process and thread are those of the tracer.
    pub header: RecordHeader,
    /// A number as calls have it, by which its stations name it.
    pub call_id: u64,
    /// The pipe, before its slots were looked at and afterwards.
    pub endpoint: EndpointState,
    /// The process that has it open.
    pub tgid: u32,
    /// How many stations there are.
    pub page_records: u32,
}

impl PipeSnapshot {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(7);
    /// The kernel's addresses in it.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[Address::Endpoint(offset_of!(Self, endpoint))]);

    /// Which [`program`] wrote it, `None` if that cannot be known.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(program::TASK_FILE)
    }
}

const _: () = assert!(size_of::<PipeSnapshot>() == 32 + 8 + size_of::<EndpointState>() + 8);
