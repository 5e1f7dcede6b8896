//! The eBPF programs: the one table of where each is attached and what it is for.
//!
//! The programs and their loader are both built from it: the object has a function of each name, the loader loads, attaches
//! and counts what is here.

/// What programs are for. Where the kernel lacks something that one group needs, the others are loaded all the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProbeGroup {
    /// Calls, both ends of them, pipes and pages: without these nothing can be shown.
    Calls,
    /// Packets of TCP connections.
    Packets,
    /// Messages of UNIX sockets.
    Unix,
    /// Requests to disks.
    Bios,
    /// Pages of files that calls make dirty.
    Dirty,
    /// Sums over pages instead of records of them.
    Digest,
    /// What the kernel tells of sends without copies.
    ZeroCopy,
    /// What a kernel may be built without, and then does not do: its absence takes nothing away.
    Always,
}

/// How many arguments a tracepoint must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arguments {
    /// So many; what later kernels add comes behind.
    AtLeast(usize),
    /// One of these numbers; any other means something else.
    OneOf(&'static [usize]),
}

/// Where a program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// At a raw tracepoint.
    RawTracepoint(&'static str, Arguments),
    /// To an iterator that has the program's name.
    Iterator,
}

/// A program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program {
    /// Its name in the object, and in reports.
    pub name: &'static str,
    /// Its number: one of [`program`].
    pub number: u32,
    /// What it is for.
    pub group: ProbeGroup,
    /// Where it is attached.
    pub attachment: Attachment,
}

macro_rules! programs {
    ($($(#[$doc:meta])* $id:ident = $number:literal, $name:literal, $group:ident, $attachment:expr;)*) => {
        /// Numbers of the programs: indices of the map of [`ProgramStats`](crate::ProgramStats). Recordings have them, so
        /// they never change.
        pub mod program {
            $($(#[$doc])* pub const $id: u32 = $number;)*
            /// How many there are.
            pub const COUNT: u32 = [$($name),*].len() as u32;
        }

        /// The programs, in the order in which they are attached: a call is told of after its entry was seen, a process
        /// before it calls.
        pub const PROGRAMS: [Program; program::COUNT as usize] = {
            use Arguments::{AtLeast, OneOf};
            use Attachment::{Iterator, RawTracepoint};
            [$(Program {
                name: $name,
                number: $number,
                group: ProbeGroup::$group,
                attachment: $attachment,
            }),*]
        };
    };
}

/// Arguments of `io_uring_complete`: since 6.15 the last one is the address of the result, before that there was all that is
/// in it. (Before 5.19, when there were no notifications, there were fewer.)
pub const COMPLETED_AT: usize = 3;
/// See [`COMPLETED_AT`].
const COMPLETED_WITH: usize = 7;

programs! {
    /// Writes [`ProcessEvent`](crate::ProcessEvent), `ATTACHED`.
    TASK_RENAME = 11, "task_rename", Always, RawTracepoint("task_rename", AtLeast(2));
    /// Writes [`ProcessEvent`](crate::ProcessEvent), `FORK`.
    SCHED_PROCESS_FORK = 8, "sched_process_fork", Always, RawTracepoint("sched_process_fork", AtLeast(2));
    /// Writes [`ProcessEvent`](crate::ProcessEvent), `EXEC`.
    SCHED_PROCESS_EXEC = 9, "sched_process_exec", Always, RawTracepoint("sched_process_exec", AtLeast(1));
    /// Writes [`ProcessEvent`](crate::ProcessEvent), `EXIT`.
    SCHED_PROCESS_EXIT = 10, "sched_process_exit", Always, RawTracepoint("sched_process_exit", AtLeast(1));
    /// Writes [`ConnectionClosed`](crate::ConnectionClosed).
    INET_SOCK_SET_STATE = 3, "inet_sock_set_state", Packets, RawTracepoint("inet_sock_set_state", AtLeast(3));
    /// Writes [`PageRecord`](crate::PageRecord) and [`PageRun`](crate::PageRun) of packets.
    NET_DEV_START_XMIT = 2, "net_dev_start_xmit", Packets, RawTracepoint("net_dev_start_xmit", AtLeast(2));
    /// Writes [`PageRecord`](crate::PageRecord) of UNIX messages, and [`ZerocopyCompletion`](crate::ZerocopyCompletion).
    CONSUME_SKB = 4, "consume_skb", Unix, RawTracepoint("consume_skb", AtLeast(1));
    /// Writes [`PageRecord`](crate::PageRecord) of UNIX messages with `DROPPED`, and
    /// [`ZerocopyCompletion`](crate::ZerocopyCompletion).
    KFREE_SKB = 5, "kfree_skb", Unix, RawTracepoint("kfree_skb", AtLeast(1));
    /// Writes [`PageRecord`](crate::PageRecord) of disks. Before 5.11 the queue came first: two arguments.
    BLOCK_BIO_QUEUE = 6, "block_bio_queue", Bios, RawTracepoint("block_bio_queue", OneOf(&[1]));
    /// Writes no records.
    WRITEBACK_DIRTY_FOLIO = 7, "writeback_dirty_folio", Dirty, RawTracepoint("writeback_dirty_folio", AtLeast(2));
    /// Writes [`DigestEvent`](crate::DigestEvent), `CLOSED`.
    DIGEST_CLOSE = 14, "digest_close", Digest, RawTracepoint("inet_sock_set_state", AtLeast(3));
    /// Writes [`DigestEvent`](crate::DigestEvent), `TRANSMITTED`.
    DIGEST_XMIT = 13, "digest_xmit", Digest, RawTracepoint("net_dev_start_xmit", AtLeast(2));
    /// Writes [`DigestEvent`](crate::DigestEvent), `SENT`, and [`EndpointName`](crate::EndpointName).
    SOCK_SEND_LENGTH = 12, "sock_send_length", Digest, RawTracepoint("sock_send_length", AtLeast(3));
    /// Writes [`ZerocopyCompletion`](crate::ZerocopyCompletion).
    IO_URING_COMPLETE = 16, "io_uring_complete", ZeroCopy,
        RawTracepoint("io_uring_complete", OneOf(&[COMPLETED_AT, COMPLETED_WITH]));
    /// Writes [`EndpointName`](crate::EndpointName).
    SYS_ENTER = 0, "sys_enter", Calls, RawTracepoint("sys_enter", AtLeast(2));
    /// Writes [`Call`](crate::Call), [`PageRecord`](crate::PageRecord) and [`PageRun`](crate::PageRun) of pipes
    /// and, of [`ProcessEvent`](crate::ProcessEvent), `PIPE_RESIZED`.
    SYS_EXIT = 1, "sys_exit", Calls, RawTracepoint("sys_exit", AtLeast(2));
    /// Writes [`PipeSnapshot`](crate::PipeSnapshot), [`PageRecord`](crate::PageRecord) of pipes that were found, and
    /// [`EndpointName`](crate::EndpointName) with `PREEXISTING`.
    TASK_FILE = 15, "task_file", Always, Iterator;
}

// Each number is that of one program.
const _: () = {
    let mut numbers = 0_u64;
    let mut index = 0;
    while index < PROGRAMS.len() {
        numbers |= 1 << PROGRAMS[index].number;
        index += 1;
    }
    assert!(numbers == (1 << program::COUNT) - 1);
};

/// A program that others go on with: reached by tail calls only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailCall {
    /// Its name in the object.
    pub name: &'static str,
    /// The programs that go on with it.
    pub group: ProbeGroup,
}

/// Programs that others go on with, by their index in the map of them.
pub const TAIL_CALLS: [TailCall; tail_call::COUNT as usize] = [
    TailCall {
        name: "tail_pipe_slots",
        group: ProbeGroup::Calls,
    },
    TailCall {
        name: "tail_skb_frags",
        group: ProbeGroup::Packets,
    },
    TailCall {
        name: "tail_bio_vecs",
        group: ProbeGroup::Bios,
    },
];

/// Indices of [`TAIL_CALLS`].
pub mod tail_call {
    /// `sys_exit` goes on: slots of pipes.
    pub const PIPE_SLOTS: u32 = 0;
    /// `net_dev_start_xmit` goes on: fragments of a packet.
    pub const SKB_FRAGS: u32 = 1;
    /// `block_bio_queue` goes on: vectors of a request.
    pub const BIO_VECS: u32 = 2;
    /// How many there are.
    pub const COUNT: u32 = 3;
}
