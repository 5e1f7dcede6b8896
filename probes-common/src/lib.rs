//! Plain-old-data records shared by zctrace's eBPF programs and its user space.
//!
//! The eBPF programs write these types into a ring buffer, and user space reads them from bytes.
//! Both are built from this source, so neither can change a layout alone. Every type follows these
//! rules:
//!
//! - `#[repr(C)]`, with integers only.
//! - No padding, because the verifier rejects uninitialized bytes, and padding would leak kernel
//!   memory.
//! - Size, alignment and offsets are asserted at compile time.
//!
//! | record | written at | content |
//! |---|---|---|
//! | [`Call`] | the exit of a system call that moves bytes | both endpoints before and after, and the result |
//! | [`PageRecord`] | the exit of such a call; a packet, a bio, a UNIX message | pages observed at one station |
//! | [`PageRun`] | the events of a [`PageRecord`], if the pages are uniform | the pages in fewer bytes |
//! | [`EndpointName`] | the first observation of an endpoint | its path |
//! | [`ProcessEvent`] | fork, exec, exit | changes of the traced processes |
//! | [`DigestEvent`] | each MiB of a connection at level `digest` | digests of sent and of transmitted pages |
//! | [`ConnectionClosed`] | the end of a traced TCP connection | the end of its byte stream |
//! | [`PipeSnapshot`] | the start of tracing | the slots of a pre-existing pipe |
//! | [`ZerocopyCompletion`] | the completion of a zero-copy send | whether the kernel copied after all |
//!
//! [`IoCounterKey`] and [`IoCounters`] are rows of a map instead of records. They count read,
//! write, send and receive calls in the kernel. [`ProgramStats`] is such a row as well, and counts
//! the records of each program.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "decode")]
extern crate std;

/// Expands `$expand!` with one row for each record of a fixed size: its variant in
/// `decode::Record`, its name in the header of a recording, and its type.
///
/// Page records and page runs have variable lengths and are not in the table.
macro_rules! for_each_record {
    ($expand:ident) => {
        $expand! {
            /// A system call.
            Call, call: Call;
            /// The name of an endpoint.
            Name, endpoint_name: EndpointName;
            /// An event of a traced process.
            Process, process_event: ProcessEvent;
            /// The end of a connection.
            Closed, connection_closed: ConnectionClosed;
            /// An event of the digests of a connection.
            Digest, digest_event: DigestEvent;
            /// The slots of a pre-existing pipe.
            PipeSnapshot, pipe_snapshot: PipeSnapshot;
            /// The completion of a zero-copy send.
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
mod io_uring;
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
pub use io_uring::{
    AIO_BASE, AIO_REST, IO_URING_BASE, IO_URING_OVERFLOW, IO_URING_SUBMITTED, IO_URING_UNNAMED, LOOP_DEVICE,
    io_counter_flag, uring_op,
};
pub use kernel_members::{FIXED_OFFSETS, FIXED_SIZES, KERNEL_MEMBERS, KernelMember};
pub use page_record::{FileId, MAX_RANGES, PageRange, PageRecord, page_record_flag, station_kind};
pub use page_run::{MAPPING_NOT_READ, MAPPING_TRUNCATED, PageRun, PageVec};
pub use pipe_snapshot::PipeSnapshot;
pub use process_event::{ProcessEvent, announcement, process_event_kind};
pub use program_stats::ProgramStats;
pub use programs::{
    Arguments, CQE_BY_ADDRESS, PROGRAMS, ProbeGroup, ProgramSpec, TAIL_CALLS, TailCall, program, tail_call,
};
pub use rdonly_cast::RDONLY_CAST_PLACEHOLDER;
pub use zerocopy_completion::{ZerocopyCompletion, completion_flag, completion_source};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A plain value: it has no padding, and every bit pattern is valid.
pub trait Pod: Copy + FromBytes + Immutable + IntoBytes {}

impl<T: Copy + FromBytes + Immutable + IntoBytes> Pod for T {}

/// A record of a fixed size that starts with a [`RecordHeader`].
pub trait WireRecord: Pod {
    /// Kind of this record in its header.
    const KIND: RecordKind;
}

/// Description of a record of a fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedRecord {
    /// Name in the header of a recording.
    pub name: &'static str,
    /// Kind of the record.
    pub kind: RecordKind,
    /// Length of the record, in bytes.
    pub size: usize,
}

macro_rules! fixed_records {
    ($($(#[$doc:meta])* $variant:ident, $name:ident: $type:ident;)*) => {
        /// Records of a fixed size. [`PageRecord`] and [`PageRun`] are not included, because they
        /// end after their last element.
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
