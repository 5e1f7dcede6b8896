//! Plain-old-data records shared by zctrace's eBPF programs and its user side.
//!
//! The kernel side fills these types in a ring buffer, the user side reads them from bytes; both are built from this one
//! source, so neither can change a layout alone. Hence the rules for whatever is added here: `#[repr(C)]`, integers
//! only, no padding (the verifier refuses uninitialised bytes, and padding would carry kernel memory out), size,
//! alignment and offsets asserted at compile time.
//!
//! The kinds of records come with the programs that write them. What is here is the head they all share.

#![no_std]
#![forbid(unsafe_code)]

mod header;

pub use header::{HeaderError, RecordHeader, RecordKind};
