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
// Only `decode` needs it: it views records as bytes and bytes as records.
#![deny(unsafe_code)]

#[cfg(feature = "decode")]
extern crate std;

mod call;
mod connection_closed;
#[cfg(feature = "decode")]
pub mod decode;
mod digest;
mod endpoint_name;
mod header;
mod io_counters;
mod page_record;
mod page_run;
mod pipe_snapshot;
mod process_event;
mod program_stats;
mod rdonly_cast;
mod zerocopy;

pub use call::{Call, EndpointState, SocketPair, call_flag, endpoint_kind, nr};
pub use connection_closed::ConnectionClosed;
pub use digest::{
    CHECKPOINT_BYTES, DigestEvent, DigestSpan, DigestState, DigestSum, digest_event_kind, digest_flag,
    digest_span_flag, mix,
};
pub use endpoint_name::{COMPONENT_SIZE, EndpointName, MAX_COMPONENTS, name_flag};
pub use header::{HeaderError, RecordHeader, RecordKind};
pub use io_counters::{IoCounterKey, IoCounters};
pub use page_record::{FileId, MAX_RANGES, PageRange, PageRecord, page_record_flag, station_kind};
pub use page_run::{MAPPING_NOT_READ, PageRun, PageVec};
pub use pipe_snapshot::PipeSnapshot;
pub use process_event::{ProcessEvent, announcement, process_event_kind};
pub use program_stats::{ProgramStats, program};
pub use rdonly_cast::RDONLY_CAST_PLACEHOLDER;
pub use zerocopy::{ZerocopyCompletion, completion_flag, completion_source};
