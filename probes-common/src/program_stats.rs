//! What each program wrote and could not write: rows of a map, one per program and CPU.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The programs, as indices of the map of [`ProgramStats`].
pub mod program {
    /// `sys_enter`: writes [`EndpointName`](crate::EndpointName).
    pub const SYS_ENTER: u32 = 0;
    /// `sys_exit`: writes [`Call`](crate::Call), [`PageRecord`](crate::PageRecord) and [`PageRun`](crate::PageRun) of pipes
    /// and, of [`ProcessEvent`](crate::ProcessEvent), `PIPE_RESIZED`.
    pub const SYS_EXIT: u32 = 1;
    /// `net_dev_start_xmit`: writes [`PageRecord`](crate::PageRecord) and [`PageRun`](crate::PageRun) of packets.
    pub const NET_DEV_START_XMIT: u32 = 2;
    /// `inet_sock_set_state`: writes [`ConnectionClosed`](crate::ConnectionClosed).
    pub const INET_SOCK_SET_STATE: u32 = 3;
    /// `consume_skb`: writes [`PageRecord`](crate::PageRecord) of UNIX messages, and [`ZerocopyCompletion`](crate::ZerocopyCompletion).
    pub const CONSUME_SKB: u32 = 4;
    /// `kfree_skb`: writes [`PageRecord`](crate::PageRecord) of UNIX messages with `DROPPED`, and [`ZerocopyCompletion`](crate::ZerocopyCompletion).
    pub const KFREE_SKB: u32 = 5;
    /// `block_bio_queue`: writes [`PageRecord`](crate::PageRecord) of disks.
    pub const BLOCK_BIO_QUEUE: u32 = 6;
    /// `writeback_dirty_folio`: writes no records.
    pub const WRITEBACK_DIRTY_FOLIO: u32 = 7;
    /// `sched_process_fork`: writes [`ProcessEvent`](crate::ProcessEvent), `FORK`.
    pub const SCHED_PROCESS_FORK: u32 = 8;
    /// `sched_process_exec`: writes [`ProcessEvent`](crate::ProcessEvent), `EXEC`.
    pub const SCHED_PROCESS_EXEC: u32 = 9;
    /// `sched_process_exit`: writes [`ProcessEvent`](crate::ProcessEvent), `EXIT`.
    pub const SCHED_PROCESS_EXIT: u32 = 10;
    /// `task_rename`: writes [`ProcessEvent`](crate::ProcessEvent), `ATTACHED`.
    pub const TASK_RENAME: u32 = 11;
    /// `sock_send_length`: writes [`DigestEvent`](crate::DigestEvent), `SENT`, and [`EndpointName`](crate::EndpointName).
    pub const SOCK_SEND_LENGTH: u32 = 12;
    /// `digest_xmit`, at `net_dev_start_xmit`: writes [`DigestEvent`](crate::DigestEvent), `TRANSMITTED`.
    pub const DIGEST_XMIT: u32 = 13;
    /// `digest_close`, at `inet_sock_set_state`: writes [`DigestEvent`](crate::DigestEvent), `CLOSED`.
    pub const DIGEST_CLOSE: u32 = 14;
    /// `task_file`, an iterator: writes [`PipeSnapshot`](crate::PipeSnapshot), [`PageRecord`](crate::PageRecord) of pipes that were found, and
    /// [`EndpointName`](crate::EndpointName) with `PREEXISTING`.
    pub const TASK_FILE: u32 = 15;
    /// `io_uring_complete`: writes [`ZerocopyCompletion`](crate::ZerocopyCompletion).
    pub const IO_URING_COMPLETE: u32 = 16;
    /// How many there are.
    pub const COUNT: u32 = 17;
}

/// What one program did on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ProgramStats {
    /// Records, those included for which there was no room: the next one's
    /// [`sequence`](crate::RecordHeader::sequence).
    pub emitted: u64,
    /// Records for which the ring had no room.
    pub ring_full: u64,
    /// Entries for which a map had no room: calls, plain sums, watched sockets that are missing.
    pub map_full: u64,
}

const _: () = assert!(size_of::<ProgramStats>() == 24);
