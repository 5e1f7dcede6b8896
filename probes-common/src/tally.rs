//! What each program wrote and could not write: rows of a map, one per program and CPU.

use core::mem::size_of;

/// The programs, as indices of the map of [`Tally`].
pub mod program {
    /// `sys_enter`: writes [`Name`](crate::Name).
    pub const SYS_ENTER: u32 = 0;
    /// `sys_exit`: writes [`Call`](crate::Call), [`Station`](crate::Station) and [`Row`](crate::Row) of pipes
    /// and, of [`Process`](crate::Process), `PIPE_RESIZED`.
    pub const SYS_EXIT: u32 = 1;
    /// `net_dev_start_xmit`: writes [`Station`](crate::Station) and [`Row`](crate::Row) of packets.
    pub const NET_DEV_START_XMIT: u32 = 2;
    /// `inet_sock_set_state`: writes [`Closed`](crate::Closed).
    pub const INET_SOCK_SET_STATE: u32 = 3;
    /// `consume_skb`: writes [`Station`](crate::Station) of UNIX messages, and [`Told`](crate::Told).
    pub const CONSUME_SKB: u32 = 4;
    /// `kfree_skb`: writes [`Station`](crate::Station) of UNIX messages with `DROPPED`, and [`Told`](crate::Told).
    pub const KFREE_SKB: u32 = 5;
    /// `block_bio_queue`: writes [`Station`](crate::Station) of disks.
    pub const BLOCK_BIO_QUEUE: u32 = 6;
    /// `writeback_dirty_folio`: writes no records.
    pub const WRITEBACK_DIRTY_FOLIO: u32 = 7;
    /// `sched_process_fork`: writes [`Process`](crate::Process), `FORK`.
    pub const SCHED_PROCESS_FORK: u32 = 8;
    /// `sched_process_exec`: writes [`Process`](crate::Process), `EXEC`.
    pub const SCHED_PROCESS_EXEC: u32 = 9;
    /// `sched_process_exit`: writes [`Process`](crate::Process), `EXIT`.
    pub const SCHED_PROCESS_EXIT: u32 = 10;
    /// `task_rename`: writes [`Process`](crate::Process), `JOINED`.
    pub const TASK_RENAME: u32 = 11;
    /// `sock_send_length`: writes [`Sums`](crate::Sums), `HANDED`, and [`Name`](crate::Name).
    pub const SOCK_SEND_LENGTH: u32 = 12;
    /// `sums_of_packets`, at `net_dev_start_xmit`: writes [`Sums`](crate::Sums), `CARRIED`.
    pub const SUMS_OF_PACKETS: u32 = 13;
    /// `sums_at_end`, at `inet_sock_set_state`: writes [`Sums`](crate::Sums), `CLOSED`.
    pub const SUMS_AT_END: u32 = 14;
    /// `task_file`, an iterator: writes [`Found`](crate::Found), [`Station`](crate::Station) of pipes that were found, and
    /// [`Name`](crate::Name) with `FOUND`.
    pub const TASK_FILE: u32 = 15;
    /// `io_uring_complete`: writes [`Told`](crate::Told).
    pub const IO_URING_COMPLETE: u32 = 16;
    /// How many there are.
    pub const COUNT: u32 = 17;
}

/// What one program did on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records, those included for which there was no room: the next one's
    /// [`sequence`](crate::RecordHeader::sequence).
    pub records: u64,
    /// Records for which the ring had no room.
    pub lost: u64,
    /// Entries for which a map had no room: calls, plain sums, watched sockets that are missing.
    pub crowded: u64,
}

const _: () = assert!(size_of::<Tally>() == 24);
