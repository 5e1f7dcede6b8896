//! Which connections have ended.

use core::mem::size_of;

use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};

/// A watched TCP connection has ended: its addresses may be used again by another one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

const _: () = assert!(size_of::<ConnectionClosed>() == 32 + 16 + 40);
