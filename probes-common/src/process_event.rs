//! Events that change which processes are traced, or what traced processes are.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// Kinds of process events: [`ProcessEvent::event`].
pub mod process_event_kind {
    /// A traced process created another process. The header names the parent, and `child` the new
    /// process.
    pub const FORK: u32 = 1;
    /// The process executed another program.
    pub const EXEC: u32 = 2;
    /// The last thread of the process ended.
    pub const EXIT: u32 = 3;
    /// The process was attached, because it announced itself (`prctl` with a cookie) or because of
    /// its cgroup.
    pub const ATTACHED: u32 = 4;
    /// The process resized a pipe (`F_SETPIPE_SZ`), so the slots of its ring are renumbered.
    /// `detail` is the pipe's address.
    pub const PIPE_RESIZED: u32 = 5;
    /// The process opened a FIFO. `detail` is the pipe's address, and `child` has how often it was
    /// opened since it was made: for reading in the lower half, for writing in the upper. Bits 8
    /// and 9 of the kind are set if this open was for reading and for writing.
    pub const FIFO_OPENED: u32 = 6;
    /// Bits of the kind that say how a FIFO was opened.
    pub const FIFO_MODE: u32 = 3 << 8;
}

/// Returns the thread name that announces a process to the tracer with this cookie.
///
/// A thread of the process sets the name for a short time. The name has 15 characters and a
/// terminating zero, as in the kernel (`task->comm`). A cookie of 0 belongs to no tracer.
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

/// Event of a traced process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ProcessEvent {
    /// Record header.
    pub header: RecordHeader,
    /// Kind of the event: one of [`process_event_kind`].
    pub event: u32,
    /// Process ID of the created process, or 0.
    pub child: u32,
    /// Additional value, which depends on the kind of the event.
    pub detail: u64,
    /// Name of the process: that of its first thread (`group_leader->comm`), zero-terminated.
    pub comm: [u8; 16],
}

impl ProcessEvent {
    /// Kind of this record in its header.
    pub const KIND: RecordKind = RecordKind(4);
    /// Fields that hold kernel addresses.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[
        Self::pipe_if(process_event_kind::PIPE_RESIZED),
        Self::pipe_if(process_event_kind::FIFO_OPENED),
        Self::pipe_if(process_event_kind::FIFO_OPENED | 1 << 8),
        Self::pipe_if(process_event_kind::FIFO_OPENED | 2 << 8),
        Self::pipe_if(process_event_kind::FIFO_OPENED | 3 << 8),
    ]);

    const fn pipe_if(event: u32) -> Address {
        Address::ObjectIf {
            offset: offset_of!(Self, detail),
            tag: offset_of!(Self, event),
            value: event,
        }
    }

    /// Returns the [`program`] that wrote the record, or `None` if it cannot be determined.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(match self.event {
            process_event_kind::FORK => program::SCHED_PROCESS_FORK,
            process_event_kind::EXEC => program::SCHED_PROCESS_EXEC,
            process_event_kind::EXIT => program::SCHED_PROCESS_EXIT,
            process_event_kind::ATTACHED => program::TASK_RENAME,
            process_event_kind::PIPE_RESIZED => program::SYS_EXIT,
            kind if kind & !process_event_kind::FIFO_MODE == process_event_kind::FIFO_OPENED => program::SYS_EXIT,
            _ => return None,
        })
    }
}

const _: () = assert!(size_of::<ProcessEvent>() == 32 + 8 + 8 + 16);
