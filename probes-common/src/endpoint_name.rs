//! What people call an end, sent the first time that it is met.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::EndpointState;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// Bytes of one component of a path that are kept, its final zero included (`NAME_MAX` is 255).
pub const COMPONENT_SIZE: usize = 64;
/// Components of a path that are kept, from the last one upwards.
pub const MAX_COMPONENTS: usize = 12;

/// Bits of [`EndpointName::flags`].
pub mod name_flag {
    /// The path goes on above the last component that is here.
    pub const TRUNCATED: u32 = 1;
    /// The last component is the root of its mount.
    pub const ROOT: u32 = 2;
    /// It was open before watching began.
    pub const PREEXISTING: u32 = 4;
}

/// The name of a file, pipe or socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct EndpointName {
    /// The head.
    pub header: RecordHeader,
    /// The end, as it was at that moment.
    pub endpoint: EndpointState,
    /// How many components follow.
    pub count: u32,
    /// Bits of [`name_flag`].
    pub flags: u32,
    /// The path from its last component up: zero-terminated names of dentries.
    pub components: [[u8; COMPONENT_SIZE]; MAX_COMPONENTS],
}

impl EndpointName {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(3);
    /// The kernel's addresses in it.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[Address::Endpoint(offset_of!(Self, endpoint))]);

    /// Which [`program`] wrote it, `None` if that cannot be known.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(if self.endpoint.file == 0 {
            // What is known of a file by its pages alone has no `struct file`.
            program::SOCK_SEND_LENGTH
        } else if self.flags & name_flag::PREEXISTING != 0 {
            program::TASK_FILE
        } else {
            program::SYS_ENTER
        })
    }
}

const _: () =
    assert!(size_of::<EndpointName>() == 32 + size_of::<EndpointState>() + 8 + COMPONENT_SIZE * MAX_COMPONENTS);
