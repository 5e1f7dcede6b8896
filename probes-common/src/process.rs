//! Who is traced, and which connections have ended.

use core::mem::size_of;

use crate::call::SocketPair;
use crate::header::{RecordHeader, RecordKind};

/// What happened to a process: [`Process::event`].
pub mod event {
    /// A traced process made another: the header has the maker, `child` the new one.
    pub const FORK: u32 = 1;
    /// It became another program.
    pub const EXEC: u32 = 2;
    /// Its last thread ended.
    pub const EXIT: u32 = 3;
    /// It was added because it announced itself (`prctl` with a cookie), or by its cgroup.
    pub const JOINED: u32 = 4;
    /// It changed the size of a pipe (`F_SETPIPE_SZ`): positions in its ring start anew. `detail` is the pipe's address.
    pub const PIPE_RESIZED: u32 = 5;
}

/// The name that a thread takes for a moment to announce its process to the tracer with this cookie: 15 characters and a zero,
/// as the kernel keeps them (`task->comm`). A cookie of 0 is nobody's.
#[must_use]
pub const fn announcement(cookie: u64) -> [u8; 16] {
    const LETTERS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-";
    let mut name = *b"zct:\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut at = 4;
    let mut left = cookie;
    while at < 15 {
        name[at] = LETTERS[(left & 63) as usize];
        left >>= 6;
        at += 1;
    }
    name
}

/// Where the object calls `bpf_rdonly_cast`, before it is loaded: a helper's number that no kernel has. The user side puts
/// the kernel's own number of that function there.
pub const CAST: usize = 0x7a63_0001;

/// Something that happened to a traced process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The head.
    pub header: RecordHeader,
    /// One of [`event`].
    pub event: u32,
    /// The process that was made, or 0.
    pub child: u32,
    /// What else there is to say.
    pub detail: u64,
    /// `task->comm`, zero-terminated.
    pub comm: [u8; 16],
}

impl Process {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(4);
}

/// A watched TCP connection has ended: its addresses may be used again by another one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The head.
    pub header: RecordHeader,
    /// The address of its `struct sock`.
    pub sock: u64,
    /// Which life of that address it was.
    pub life: u64,
    /// The connection, with this socket as the sender.
    pub pair: SocketPair,
}

impl Closed {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(5);
}

const _: () = {
    assert!(size_of::<Process>() == 32 + 8 + 8 + 16);
    assert!(size_of::<Closed>() == 32 + 16 + 40);
};
