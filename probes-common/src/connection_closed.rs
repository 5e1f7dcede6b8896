//! The end of a TCP connection.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// End of a traced TCP connection. Another connection can reuse its addresses afterwards.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ConnectionClosed {
    /// Record header.
    pub header: RecordHeader,
    /// Address of the connection's `struct sock`.
    pub sock: u64,
    /// Sequence number of the first byte that the socket received; 0 before the handshake.
    pub receive_first: u32,
    /// Sequence number of the first byte that the socket sent, or one less if it connected. It
    /// distinguishes this connection from others at the same `struct sock`.
    pub send_first: u32,
    /// Addresses of the connection, with this socket as the sender.
    pub pair: SocketPair,
}

impl ConnectionClosed {
    /// Kind of this record in its header.
    pub const KIND: RecordKind = RecordKind(5);
    /// Fields that hold kernel addresses.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[Address::Object(offset_of!(Self, sock))]);

    /// Returns the [`program`] that wrote the record, or `None` if it cannot be determined.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(program::INET_SOCK_SET_STATE)
    }
}

const _: () = assert!(size_of::<ConnectionClosed>() == 32 + 16 + 40);
