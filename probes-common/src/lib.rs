//! Plain-old-data records shared by zctrace's eBPF programs and its user side.
//!
//! The kernel side fills these types in a ring buffer, the user side reads them from bytes; both are built from this one
//! source, so neither can change a layout alone. Hence the rules for whatever is added here: `#[repr(C)]`, integers
//! only, no padding (the verifier refuses uninitialised bytes, and padding would carry kernel memory out), size,
//! alignment and offsets asserted at compile time.
//!
//! | record | written at | says |
//! |---|---|---|
//! | [`Call`] | the exit of a system call that moves bytes | both ends before and after, what it returned |
//! | [`PageRecord`] | the exit of such a call, or a packet, a bio, a UNIX message under way | which pages were where |
//! | [`PageRun`] | the same, of pages that are alike | the same in fewer bytes |
//! | [`EndpointName`] | the first time that an end is met | what people call it |
//! | [`ProcessEvent`] | fork, exec, exit | who is traced |
//! | [`DigestEvent`] | every megabyte of a connection, at level `digest` | sums over the pages that went in and out |
//! | [`ConnectionClosed`] | a watched TCP connection ends | its byte stream is at an end |
//! | [`PipeSnapshot`] | watching begins | what lies in a pipe that was there before |
//! | [`ZerocopyCompletion`] | memory of a send without copy is free again | whether the kernel copied after all |
//!
//! [`IoCounterKey`] and [`IoCounters`] are no records but rows of a map: read, write, send and receive calls, which are counted
//! in the kernel. [`ProgramStats`] is one, too: what each program wrote and could not write.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "decode")]
extern crate std;

/// Expands `$expand!` with one row for each record of a fixed size: its variant in [`decode::Record`](crate::decode::Record),
/// its name in the head of a recording, and its type.
///
/// Page records have a variable length, and are not in the table.
macro_rules! for_each_record {
    ($expand:ident) => {
        $expand! {
            /// A system call.
            Call, call: Call;
            /// What an end is called.
            Name, endpoint_name: EndpointName;
            /// Something that happened to a process.
            Process, process_event: ProcessEvent;
            /// A connection has ended.
            Closed, connection_closed: ConnectionClosed;
            /// Something happened to the sums of a connection.
            Digest, digest_event: DigestEvent;
            /// A pipe that was there before.
            PipeSnapshot, pipe_snapshot: PipeSnapshot;
            /// What the kernel told of a send without copy.
            Zerocopy, zerocopy_completion: ZerocopyCompletion;
        }
    };
}

mod addresses;
mod call;
mod connection_closed;
#[cfg(feature = "decode")]
pub mod decode;
mod digest;
mod endpoint_name;
mod header;
mod io_counters;
mod kernel_members;
mod page_record;
mod page_run;
mod pipe_snapshot;
mod process_event;
mod program_stats;
mod programs;
mod rdonly_cast;
mod zerocopy_completion;

pub use addresses::{Address, Addresses, addresses};
pub use call::{Call, EndpointState, SocketPair, call_flag, endpoint_kind, nr};
pub use connection_closed::ConnectionClosed;
pub use digest::{
    CHECKPOINT_BYTES, DigestEvent, DigestSpan, DigestState, DigestSum, digest_event_kind, digest_flag,
    digest_span_flag, mix,
};
pub use endpoint_name::{COMPONENT_SIZE, EndpointName, MAX_COMPONENTS, name_flag};
pub use header::{HeaderError, RecordHeader, RecordKind};
pub use io_counters::{IoCounterKey, IoCounters};
pub use kernel_members::{FIXED_OFFSETS, FIXED_SIZES, KERNEL_MEMBERS, KernelMember};
pub use page_record::{FileId, MAX_RANGES, PageRange, PageRecord, page_record_flag, station_kind};
pub use page_run::{MAPPING_NOT_READ, PageRun, PageVec};
pub use pipe_snapshot::PipeSnapshot;
pub use process_event::{ProcessEvent, announcement, process_event_kind};
pub use program_stats::ProgramStats;
pub use programs::{
    Arguments, CQE_BY_ADDRESS, PROGRAMS, ProbeGroup, ProgramSpec, TAIL_CALLS, TailCall, program, tail_call,
};
pub use rdonly_cast::RDONLY_CAST_PLACEHOLDER;
pub use zerocopy_completion::{ZerocopyCompletion, completion_flag, completion_source};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A plain value: every bit pattern is one, and it has no padding.
pub trait Pod: Copy + FromBytes + Immutable + IntoBytes {}

impl<T: Copy + FromBytes + Immutable + IntoBytes> Pod for T {}

/// A record of a fixed size, which begins with a [`RecordHeader`].
pub trait WireRecord: Pod {
    /// What its header says it is.
    const KIND: RecordKind;
}

/// What is known of a record of a fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedRecord {
    /// Its name in the head of a recording.
    pub name: &'static str,
    /// Its kind.
    pub kind: RecordKind,
    /// How many bytes it has.
    pub size: usize,
}

macro_rules! fixed_records {
    ($($(#[$doc:meta])* $variant:ident, $name:ident: $type:ident;)*) => {
        /// The records of a fixed size. A [`PageRecord`] and a [`PageRun`] end after their last element.
        pub const FIXED_RECORDS: [FixedRecord; [$(stringify!($name)),*].len()] = [$(FixedRecord {
            name: stringify!($name),
            kind: $type::KIND,
            size: size_of::<$type>(),
        }),*];

        $(impl WireRecord for $type {
            const KIND: RecordKind = $type::KIND;
        })*
    };
}
for_each_record!(fixed_records);

// No two records have the same kind.
const _: () = {
    let mut kinds = 1_u64 << PageRecord::KIND.0 | 1 << PageRun::KIND.0;
    let mut index = 0;
    while index < FIXED_RECORDS.len() {
        let kind = 1 << FIXED_RECORDS[index].kind.0;
        assert!(kinds & kind == 0);
        kinds |= kind;
        index += 1;
    }
};
