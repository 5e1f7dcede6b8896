//! Which connections have ended.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// A watched TCP connection has ended: its addresses may be used again by another one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ConnectionClosed {
    /// The head.
    pub header: RecordHeader,
    /// The address of its `struct sock`.
    pub sock: u64,
    /// Which life of that address it was.
    pub connection_id: u64,
    /// The connection, with this socket as the sender.
    pub pair: SocketPair,
}

impl ConnectionClosed {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(5);
    /// The kernel's addresses in it.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[Address::Object(offset_of!(Self, sock))]);

    /// Which [`program`] wrote it, `None` if that cannot be known.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(program::INET_SOCK_SET_STATE)
    }
}

const _: () = assert!(size_of::<ConnectionClosed>() == 32 + 16 + 40);
