//! Table of the eBPF programs: where each is attached and which group it belongs to.
//!
//! The programs and the loader are built from this table. The object has a function with each name.
//! The loader loads, attaches and counts the programs in the table.

/// Group of programs that depend on the same members of kernel structures. If the kernel lacks a
/// member, the programs of its group are not loaded; every other group is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProbeGroup {
    /// System calls, both of their endpoints, pipes and pages. The tracer cannot work without this
    /// group.
    Calls,
    /// Packets of TCP connections.
    Packets,
    /// Messages of UNIX sockets.
    Unix,
    /// Block I/O requests.
    Bios,
    /// Page-cache pages that system calls dirty.
    Dirty,
    /// Page digests per connection, which replace records of pages.
    Digest,
    /// Zero-copy completions.
    ZeroCopy,
    /// Requests of `io_uring`.
    IoUring,
    /// Members that a kernel may be built without. Without them the kernel lacks the feature, so
    /// their absence hides nothing.
    Always,
}

/// Number of arguments that a tracepoint must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arguments {
    /// At least this number, because later kernels append arguments.
    AtLeast(usize),
    /// One of these numbers. With any other number the arguments have another meaning.
    OneOf(&'static [usize]),
}

/// Program that is attached to a raw tracepoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramSpec {
    /// Name in the object and in reports.
    pub name: &'static str,
    /// Number of the program: one of [`program`].
    pub number: u32,
    /// Group that the program belongs to.
    pub group: ProbeGroup,
    /// Tracepoint that the program is attached to.
    pub tracepoint: &'static str,
    /// Arguments that the program requires of the tracepoint.
    pub arguments: Arguments,
}

macro_rules! programs {
    (
        raw_tracepoints {$($(#[$doc:meta])* $id:ident = $number:literal, $name:literal, $group:ident,
            $tracepoint:literal, $arguments:expr;)*}
        iterators {$($(#[$iter_doc:meta])* $iter:ident = $iter_number:literal;)*}
    ) => {
        /// Numbers of the programs, which are indices of the map of
        /// [`ProgramStats`](crate::ProgramStats). Recordings contain them, so they never change.
        pub mod program {
            $($(#[$doc])* pub const $id: u32 = $number;)*
            $($(#[$iter_doc])* pub const $iter: u32 = $iter_number;)*
            /// Number of programs.
            pub const COUNT: u32 = [$($id,)* $($iter),*].len() as u32;

            // The numbers are unique and have no gaps.
            const _: () = assert!(0 $(| 1_u64 << $id)* $(| 1 << $iter)* == (1 << COUNT) - 1);
        }

        /// Programs in the order in which the loader attaches them. This order ensures that
        /// `sys_exit` runs only when `sys_enter` is attached, and that a process is known before it
        /// makes a call.
        pub const PROGRAMS: [ProgramSpec; [$($name),*].len()] = {
            use Arguments::{AtLeast, OneOf};
            [$(ProgramSpec {
                name: $name,
                number: $number,
                group: ProbeGroup::$group,
                tracepoint: $tracepoint,
                arguments: $arguments,
            }),*]
        };
    };
}

/// Number of arguments of `io_uring_complete` since Linux 6.15, where the last one is the address
/// of the result.
pub const CQE_BY_ADDRESS: usize = 3;
/// Number of arguments of `io_uring_complete` before Linux 6.15, where the result is passed by
/// value. Before Linux 5.19, which has no notifications, the number is smaller.
const CQE_BY_VALUE: usize = 7;

programs! {
    raw_tracepoints {
        /// Writes [`ProcessEvent`](crate::ProcessEvent), `ATTACHED`.
        TASK_RENAME = 11, "task_rename", Always, "task_rename", AtLeast(2);
        /// Writes [`ProcessEvent`](crate::ProcessEvent), `FORK`.
        SCHED_PROCESS_FORK = 8, "sched_process_fork", Always, "sched_process_fork", AtLeast(2);
        /// Writes [`ProcessEvent`](crate::ProcessEvent), `EXEC`.
        SCHED_PROCESS_EXEC = 9, "sched_process_exec", Always, "sched_process_exec", AtLeast(1);
        /// Writes [`ProcessEvent`](crate::ProcessEvent), `EXIT`.
        SCHED_PROCESS_EXIT = 10, "sched_process_exit", Always, "sched_process_exit", AtLeast(1);
        /// Writes [`ConnectionClosed`](crate::ConnectionClosed).
        INET_SOCK_SET_STATE = 3, "inet_sock_set_state", Packets, "inet_sock_set_state", AtLeast(3);
        /// Writes [`PageRecord`](crate::PageRecord) and [`PageRun`](crate::PageRun) of packets.
        NET_DEV_START_XMIT = 2, "net_dev_start_xmit", Packets, "net_dev_start_xmit", AtLeast(2);
        /// Writes [`PageRecord`](crate::PageRecord) of UNIX messages and
        /// [`ZerocopyCompletion`](crate::ZerocopyCompletion).
        CONSUME_SKB = 4, "consume_skb", Unix, "consume_skb", AtLeast(1);
        /// Writes [`PageRecord`](crate::PageRecord) of UNIX messages with `DROPPED`, and
        /// [`ZerocopyCompletion`](crate::ZerocopyCompletion).
        KFREE_SKB = 5, "kfree_skb", Unix, "kfree_skb", AtLeast(1);
        /// Writes [`PageRecord`](crate::PageRecord) of bios. Before Linux 5.11 the tracepoint has
        /// two arguments, and the first is the queue.
        BLOCK_BIO_QUEUE = 6, "block_bio_queue", Bios, "block_bio_queue", OneOf(&[1]);
        /// Writes no records.
        WRITEBACK_DIRTY_FOLIO = 7, "writeback_dirty_folio", Dirty, "writeback_dirty_folio", AtLeast(2);
        /// Writes [`DigestEvent`](crate::DigestEvent), `CLOSED`.
        DIGEST_CLOSE = 14, "digest_close", Digest, "inet_sock_set_state", AtLeast(3);
        /// Writes [`DigestEvent`](crate::DigestEvent), `TRANSMITTED`.
        DIGEST_XMIT = 13, "digest_xmit", Digest, "net_dev_start_xmit", AtLeast(2);
        /// Writes [`DigestEvent`](crate::DigestEvent), `SENT`, and
        /// [`EndpointName`](crate::EndpointName).
        SOCK_SEND_LENGTH = 12, "sock_send_length", Digest, "sock_send_length", AtLeast(3);
        /// Writes [`ZerocopyCompletion`](crate::ZerocopyCompletion) and
        /// [`EndpointName`](crate::EndpointName) with `IO_URING`.
        IO_URING_COMPLETE = 16, "io_uring_complete", IoUring,
            "io_uring_complete", OneOf(&[CQE_BY_ADDRESS, CQE_BY_VALUE]);
        /// Writes no records. Before Linux 6.3 the tracepoint has another name.
        IO_URING_SUBMIT_REQ = 17, "io_uring_submit_req", IoUring, "io_uring_submit_req", OneOf(&[1]);
        /// Writes no records.
        IO_URING_CQE_OVERFLOW = 18, "io_uring_cqe_overflow", IoUring, "io_uring_cqe_overflow", OneOf(&[5]);
        /// Writes [`EndpointName`](crate::EndpointName).
        SYS_ENTER = 0, "sys_enter", Calls, "sys_enter", AtLeast(2);
        /// Writes [`Call`](crate::Call), [`PageRecord`](crate::PageRecord) and
        /// [`PageRun`](crate::PageRun) of pipes, and [`ProcessEvent`](crate::ProcessEvent),
        /// `PIPE_RESIZED`.
        SYS_EXIT = 1, "sys_exit", Calls, "sys_exit", AtLeast(2);
    }
    iterators {
        /// Writes [`PipeSnapshot`](crate::PipeSnapshot), [`PageRecord`](crate::PageRecord) and
        /// [`PageRun`](crate::PageRun) of pre-existing pipes, and
        /// [`EndpointName`](crate::EndpointName) with `PREEXISTING`.
        TASK_FILE = 15;
    }
}

/// Program that continues the work of another one. Only tail calls reach it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailCall {
    /// Name in the object.
    pub name: &'static str,
    /// Group of the programs that call it.
    pub group: ProbeGroup,
}

/// Programs that are reached by tail calls, by their index in the map of tail calls.
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
    TailCall {
        name: "tail_other_calls",
        group: ProbeGroup::Calls,
    },
];

/// Indices of [`TAIL_CALLS`].
pub mod tail_call {
    /// Continues `sys_exit`, with the slots of pipes.
    pub const PIPE_SLOTS: u32 = 0;
    /// Continues `net_dev_start_xmit`, with the fragments of a packet.
    pub const SKB_FRAGS: u32 = 1;
    /// Continues `block_bio_queue`, with the vectors of a bio.
    pub const BIO_VECS: u32 = 2;
    /// Continues `sys_exit`, for calls that move payload in ways of their own.
    pub const OTHER_CALLS: u32 = 3;
    /// Number of tail-call programs.
    pub const COUNT: u32 = 4;
}
