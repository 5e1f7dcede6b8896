//! The eBPF programs: the one table of where each is attached and what it is for.
//!
//! The programs and their loader are both built from it: the object has a function of each name, the loader loads, attaches
//! and counts what is here.

/// Group of programs that depend on the same members of kernel structures. If the kernel lacks a member, the programs of
/// its group are not loaded; every other group is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProbeGroup {
    /// System calls, both of their endpoints, pipes and pages. Nothing can be shown without them.
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
    /// Members that a kernel may be built without. Without them the kernel lacks the feature, so
    /// their absence hides nothing.
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

/// A program that is attached at a raw tracepoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramSpec {
    /// Its name in the object, and in reports.
    pub name: &'static str,
    /// Its number: one of [`program`].
    pub number: u32,
    /// What it is for.
    pub group: ProbeGroup,
    /// Where it is attached.
    pub tracepoint: &'static str,
    /// What it wants there.
    pub arguments: Arguments,
}

macro_rules! programs {
    (
        raw_tracepoints {$($(#[$doc:meta])* $id:ident = $number:literal, $name:literal, $group:ident,
            $tracepoint:literal, $arguments:expr;)*}
        iterators {$($(#[$iter_doc:meta])* $iter:ident = $iter_number:literal;)*}
    ) => {
        /// Numbers of the programs: indices of the map of [`ProgramStats`](crate::ProgramStats). Recordings have them, so
        /// they never change.
        pub mod program {
            $($(#[$doc])* pub const $id: u32 = $number;)*
            $($(#[$iter_doc])* pub const $iter: u32 = $iter_number;)*
            /// How many there are.
            pub const COUNT: u32 = [$($id,)* $($iter),*].len() as u32;

            // Each number is that of one program.
            const _: () = assert!(0 $(| 1_u64 << $id)* $(| 1 << $iter)* == (1 << COUNT) - 1);
        }

        /// The programs, in the order in which they are attached: a call is told of after its entry was seen, a process
        /// before it calls.
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

/// Arguments of `io_uring_complete`: since 6.15 the last one is the address of the result, before that there was all that is
/// in it. (Before 5.19, when there were no notifications, there were fewer.)
pub const CQE_BY_ADDRESS: usize = 3;
/// See [`CQE_BY_ADDRESS`].
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
        /// Writes [`PageRecord`](crate::PageRecord) of UNIX messages, and [`ZerocopyCompletion`](crate::ZerocopyCompletion).
        CONSUME_SKB = 4, "consume_skb", Unix, "consume_skb", AtLeast(1);
        /// Writes [`PageRecord`](crate::PageRecord) of UNIX messages with `DROPPED`, and
        /// [`ZerocopyCompletion`](crate::ZerocopyCompletion).
        KFREE_SKB = 5, "kfree_skb", Unix, "kfree_skb", AtLeast(1);
        /// Writes [`PageRecord`](crate::PageRecord) of disks. Before 5.11 the queue came first: two arguments.
        BLOCK_BIO_QUEUE = 6, "block_bio_queue", Bios, "block_bio_queue", OneOf(&[1]);
        /// Writes no records.
        WRITEBACK_DIRTY_FOLIO = 7, "writeback_dirty_folio", Dirty, "writeback_dirty_folio", AtLeast(2);
        /// Writes [`DigestEvent`](crate::DigestEvent), `CLOSED`.
        DIGEST_CLOSE = 14, "digest_close", Digest, "inet_sock_set_state", AtLeast(3);
        /// Writes [`DigestEvent`](crate::DigestEvent), `TRANSMITTED`.
        DIGEST_XMIT = 13, "digest_xmit", Digest, "net_dev_start_xmit", AtLeast(2);
        /// Writes [`DigestEvent`](crate::DigestEvent), `SENT`, and [`EndpointName`](crate::EndpointName).
        SOCK_SEND_LENGTH = 12, "sock_send_length", Digest, "sock_send_length", AtLeast(3);
        /// Writes [`ZerocopyCompletion`](crate::ZerocopyCompletion).
        IO_URING_COMPLETE = 16, "io_uring_complete", ZeroCopy,
            "io_uring_complete", OneOf(&[CQE_BY_ADDRESS, CQE_BY_VALUE]);
        /// Writes [`EndpointName`](crate::EndpointName).
        SYS_ENTER = 0, "sys_enter", Calls, "sys_enter", AtLeast(2);
        /// Writes [`Call`](crate::Call), [`PageRecord`](crate::PageRecord) and [`PageRun`](crate::PageRun) of pipes
        /// and, of [`ProcessEvent`](crate::ProcessEvent), `PIPE_RESIZED`.
        SYS_EXIT = 1, "sys_exit", Calls, "sys_exit", AtLeast(2);
    }
    iterators {
        /// Writes [`PipeSnapshot`](crate::PipeSnapshot), [`PageRecord`](crate::PageRecord) of pipes that were found, and
        /// [`EndpointName`](crate::EndpointName) with `PREEXISTING`.
        TASK_FILE = 15;
    }
}

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
