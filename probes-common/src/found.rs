//! Pipes that were there before watching began.

use core::mem::size_of;

use crate::call::EndState;
use crate::header::{RecordHeader, RecordKind};

/// A pipe of a traced process, as it was found. Followed by nothing: the [`Station`](crate::Station) records of what lay in
/// it, of kind [`PIPE_FOUND`](crate::station_kind::PIPE_FOUND), come before it.
///
/// Nothing was stopped while it was looked at: if [`EndState::before`] and [`EndState::after`] differ, or a later call does
/// not take up where this left off, what was seen is worth nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The head. Process and thread are those of the tracer.
    pub header: RecordHeader,
    /// A number as calls have it, by which its stations name it.
    pub serial: u64,
    /// The pipe, before its slots were looked at and afterwards.
    pub end: EndState,
    /// The process that has it open.
    pub tgid: u32,
    /// How many stations there are.
    pub stations: u32,
}

impl Found {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(7);
}

const _: () = assert!(size_of::<Found>() == 32 + 8 + size_of::<EndState>() + 8);
