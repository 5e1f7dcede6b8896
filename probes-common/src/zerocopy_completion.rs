//! What the kernel itself told of sends that should not copy.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::EndpointState;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// Who told it: [`ZerocopyCompletion::source`].
pub mod completion_source {
    /// The error queue of a TCP socket (`MSG_ZEROCOPY`, `Documentation/networking/msg_zerocopy.rst`), whether the program reads
    /// it or not.
    pub const ERROR_QUEUE: u32 = 1;
    /// A notification of `io_uring` (`IORING_CQE_F_NOTIF`, `include/uapi/linux/io_uring.h`).
    pub const IO_URING: u32 = 2;
}

/// Bits of [`ZerocopyCompletion::flags`].
pub mod completion_flag {
    /// It copied, in part at least: `SO_EE_CODE_ZEROCOPY_COPIED`, or `IORING_NOTIF_USAGE_ZC_COPIED`.
    pub const COPIED: u32 = 1;
    /// It would not have said so: the program did not ask (`IORING_SEND_ZC_REPORT_USAGE`).
    pub const NO_USAGE_REPORT: u32 = 2;
    /// The program never read it: it went with its socket (`kfree_skb`).
    pub const DROPPED: u32 = 4;
}

/// A notification that sends without copies are done with their memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ZerocopyCompletion {
    /// The head. The error queue is filled wherever the last reference to the memory is dropped, so process and thread may be
    /// anybody's.
    pub header: RecordHeader,
    /// The socket, as it was when a traced call was made on it. `io_uring`: of kind
    /// [`NONE`](crate::endpoint_kind::NONE), for it is not known.
    pub endpoint: EndpointState,
    /// The process that sent.
    pub tgid: u32,
    /// One of [`completion_source`].
    pub source: u32,
    /// Bits of [`completion_flag`].
    pub flags: u32,
    /// The numbers of the first and the last send, as the socket counts them (32 bits, wraps). `io_uring`: 0.
    pub first: u32,
    /// See [`first`](Self::first).
    pub last: u32,
    /// Not used.
    pub reserved: u32,
}

impl ZerocopyCompletion {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(8);
    /// The kernel's addresses in it.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[Address::Endpoint(offset_of!(Self, endpoint))]);

    /// Which [`program`] wrote it, `None` if that cannot be known.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(match self.source {
            completion_source::IO_URING => program::IO_URING_COMPLETE,
            completion_source::ERROR_QUEUE if self.flags & completion_flag::DROPPED != 0 => program::KFREE_SKB,
            completion_source::ERROR_QUEUE => program::CONSUME_SKB,
            _ => return None,
        })
    }
}

const _: () = assert!(size_of::<ZerocopyCompletion>() == 32 + size_of::<EndpointState>() + 24);
