//! The readable name of an endpoint, written once when the eBPF programs first observe it.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::EndpointState;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// Bytes kept of one path component, including its terminating zero (`NAME_MAX` is 255).
pub const COMPONENT_SIZE: usize = 64;
/// Number of path components kept, counted from the last one up.
pub const MAX_COMPONENTS: usize = 12;

/// Bits of [`EndpointName::flags`].
pub mod name_flag {
    /// The path continues above the last component in the record.
    pub const TRUNCATED: u32 = 1;
    /// The last component in the record is the root of its filesystem.
    pub const ROOT: u32 = 2;
    /// The endpoint was open before tracing started.
    pub const PREEXISTING: u32 = 4;
    /// A request of `io_uring` named the endpoint.
    pub const IO_URING: u32 = 8;
    /// The endpoint was observed at the exit of a call.
    pub const AT_EXIT: u32 = 16;
}

/// The name of a file, pipe or socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct EndpointName {
    /// Record header.
    pub header: RecordHeader,
    /// State of the endpoint when the record was written.
    pub endpoint: EndpointState,
    /// Number of components that follow.
    pub count: u32,
    /// Bits of [`name_flag`].
    pub flags: u32,
    /// Path components from the last one up, as zero-terminated dentry names.
    pub components: [[u8; COMPONENT_SIZE]; MAX_COMPONENTS],
}

impl EndpointName {
    /// Kind of this record in its header.
    pub const KIND: RecordKind = RecordKind(3);
    /// Fields that hold kernel addresses.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[Address::Endpoint(offset_of!(Self, endpoint))]);

    /// Returns the [`program`] that wrote the record, or `None` if it cannot be determined.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(if self.endpoint.file == 0 {
            // A file that was identified only by its pages has no `struct file`.
            program::SOCK_SEND_LENGTH
        } else if self.flags & name_flag::PREEXISTING != 0 {
            program::TASK_FILE
        } else if self.flags & name_flag::IO_URING != 0 {
            program::IO_URING_COMPLETE
        } else if self.flags & name_flag::AT_EXIT != 0 {
            program::SYS_EXIT
        } else {
            program::SYS_ENTER
        })
    }
}

const _: () =
    assert!(size_of::<EndpointName>() == 32 + size_of::<EndpointState>() + 8 + COMPONENT_SIZE * MAX_COMPONENTS);
