//! Zero-copy completions: the kernel's notifications about sends that should not copy.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::EndpointState;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// Sources of a completion: [`ZerocopyCompletion::source`].
pub mod completion_source {
    /// Error queue of a TCP socket (`MSG_ZEROCOPY`, `Documentation/networking/msg_zerocopy.rst`).
    /// The record is written whether or not the program reads the queue.
    pub const ERROR_QUEUE: u32 = 1;
    /// A notification of `io_uring` (`IORING_CQE_F_NOTIF`, `include/uapi/linux/io_uring.h`).
    pub const IO_URING: u32 = 2;
}

/// Bits of [`ZerocopyCompletion::flags`].
pub mod completion_flag {
    /// The kernel copied at least a part of the bytes (`SO_EE_CODE_ZEROCOPY_COPIED` or
    /// `IORING_NOTIF_USAGE_ZC_COPIED`).
    pub const COPIED: u32 = 1;
    /// The notification does not report copies, because the program did not request it
    /// (`IORING_SEND_ZC_REPORT_USAGE`).
    pub const NO_USAGE_REPORT: u32 = 2;
    /// The program never read the notification. The kernel discarded it with its socket
    /// (`kfree_skb`).
    pub const DROPPED: u32 = 4;
}

/// Notification that zero-copy sends no longer use the caller's memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ZerocopyCompletion {
    /// Record header. Its process and thread can be unrelated, because the kernel fills the error
    /// queue wherever the last reference to the memory is dropped.
    pub header: RecordHeader,
    /// State of the socket during a traced call on it. For `io_uring` the kind is
    /// [`NONE`](crate::endpoint_kind::NONE), because the socket is unknown.
    pub endpoint: EndpointState,
    /// Process ID of the sender.
    pub tgid: u32,
    /// Source of the completion: one of [`completion_source`].
    pub source: u32,
    /// Bits of [`completion_flag`].
    pub flags: u32,
    /// Number of the first completed send, counted by the socket (32 bits, wraps). For `io_uring`:
    /// 0.
    pub first: u32,
    /// Number of the last completed send, in the form of [`first`](Self::first).
    pub last: u32,
    /// Unused.
    pub reserved: u32,
}

impl ZerocopyCompletion {
    /// Kind of this record in its header.
    pub const KIND: RecordKind = RecordKind(8);
    /// Fields that hold kernel addresses.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[Address::Endpoint(offset_of!(Self, endpoint))]);

    /// Returns the [`program`] that wrote the record, or `None` if it cannot be determined.
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
