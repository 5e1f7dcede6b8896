//! Who is traced.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// What happened to a process: [`ProcessEvent::event`].
pub mod process_event_kind {
    /// A traced process made another: the header has the maker, `child` the new one.
    pub const FORK: u32 = 1;
    /// It became another program.
    pub const EXEC: u32 = 2;
    /// Its last thread ended.
    pub const EXIT: u32 = 3;
    /// It was added because it announced itself (`prctl` with a cookie), or by its cgroup.
    pub const ATTACHED: u32 = 4;
    /// It changed the size of a pipe (`F_SETPIPE_SZ`): positions in its ring start anew. `detail` is the pipe's address.
    pub const PIPE_RESIZED: u32 = 5;
}

/// The name that a thread takes for a moment to announce its process to the tracer with this cookie: 15 characters and a zero,
/// as the kernel keeps them (`task->comm`). A cookie of 0 is nobody's.
#[must_use]
pub const fn announcement(cookie: u64) -> [u8; 16] {
    const DIGITS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-";
    let mut name = *b"zct:\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut index = 4;
    let mut rest = cookie;
    while index < 15 {
        name[index] = DIGITS[(rest & 63) as usize];
        rest >>= 6;
        index += 1;
    }
    name
}

/// Something that happened to a traced process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ProcessEvent {
    /// The head.
    pub header: RecordHeader,
    /// One of [`process_event_kind`].
    pub event: u32,
    /// The process that was made, or 0.
    pub child: u32,
    /// What else there is to say.
    pub detail: u64,
    /// `task->comm`, zero-terminated.
    pub comm: [u8; 16],
}

impl ProcessEvent {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(4);
    /// The kernel's addresses in it.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[Address::ObjectIf {
        offset: offset_of!(Self, detail),
        tag: offset_of!(Self, event),
        value: process_event_kind::PIPE_RESIZED,
    }]);

    /// Which [`program`] wrote it, `None` if that cannot be known.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(match self.event {
            process_event_kind::FORK => program::SCHED_PROCESS_FORK,
            process_event_kind::EXEC => program::SCHED_PROCESS_EXEC,
            process_event_kind::EXIT => program::SCHED_PROCESS_EXIT,
            process_event_kind::ATTACHED => program::TASK_RENAME,
            process_event_kind::PIPE_RESIZED => program::SYS_EXIT,
            _ => return None,
        })
    }
}

const _: () = assert!(size_of::<ProcessEvent>() == 32 + 8 + 8 + 16);
