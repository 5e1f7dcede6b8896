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
//! | [`Station`] | the exit of such a call, or a packet, a bio, a UNIX message under way | which pages were where |
//! | [`Row`] | the same, of pages that are alike | the same in fewer bytes |
//! | [`Name`] | the first time that an end is met | what people call it |
//! | [`Process`] | fork, exec, exit | who is traced |
//! | [`Sums`] | every megabyte of a connection, at level `digest` | sums over the pages that went in and out |
//! | [`Closed`] | a watched TCP connection ends | its byte stream is at an end |
//! | [`Found`] | watching begins | what lies in a pipe that was there before |
//! | [`Told`] | memory of a send without copy is free again | whether the kernel copied after all |
//!
//! [`PlainKey`] and [`PlainSum`] are no records but rows of a map: read, write, send and receive calls, which are counted
//! in the kernel. [`Tally`] is one, too: what each program wrote and could not write.

#![no_std]
// Only `decode` needs it: it views records as bytes and bytes as records.
#![deny(unsafe_code)]

#[cfg(feature = "decode")]
extern crate std;

mod call;
#[cfg(feature = "decode")]
pub mod decode;
mod found;
mod header;
mod name;
mod plain;
mod process;
mod row;
mod station;
mod sums;
mod tally;
mod told;

pub use call::{Call, EndState, SocketPair, call_flag, end_kind, nr};
pub use found::Found;
pub use header::{HeaderError, RecordHeader, RecordKind};
pub use name::{COMPONENT, COMPONENTS, Name, name_flag};
pub use plain::{PlainKey, PlainSum};
pub use process::{CAST, Closed, Process, announcement, event};
pub use row::{Extent, Row, UNTOLD};
pub use station::{FileId, PIECES, Piece, Station, station_flag, station_kind};
pub use sums::{CHECKPOINT, Stretch, Sum, SumRow, Sums, mix, stretch_flag, sum_event, sum_flag};
pub use tally::{Tally, program};
pub use told::{Told, told_by, told_flag};
