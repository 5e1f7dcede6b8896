//! The table of eBPF programs: what each observes, and where it is attached.

use zctrace_records::program;

use crate::layout::btf::Btf;
use crate::layout::offsets::{KernelOffsets, ProbeGroup};

/// A program: its name in the object, what it is for, its number, its tracepoints with the arguments it wants of them.
pub(super) struct ProgramSpec {
    pub(super) name: &'static str,
    pub(super) group: ProbeGroup,
    pub(super) number: u32,
    pub(super) tracepoint: &'static str,
    arguments: Arguments,
}

/// What a tracepoint passes.
#[derive(Clone, Copy)]
enum Arguments {
    /// So many; what later kernels add comes behind.
    AtLeast(usize),
    /// One of these numbers; any other means something else.
    OneOf(&'static [usize]),
}

const fn spec(name: &'static str, group: ProbeGroup, number: u32, arguments: usize) -> ProgramSpec {
    ProgramSpec {
        name,
        group,
        number,
        tracepoint: name,
        arguments: Arguments::AtLeast(arguments),
    }
}

/// In the order in which they are attached: a call is told of after its entry was seen, a process before it calls.
pub(super) const PROGRAMS: &[ProgramSpec] = &[
    spec("task_rename", ProbeGroup::Always, program::TASK_RENAME, 2),
    spec("sched_process_fork", ProbeGroup::Always, program::SCHED_PROCESS_FORK, 2),
    spec("sched_process_exec", ProbeGroup::Always, program::SCHED_PROCESS_EXEC, 1),
    spec("sched_process_exit", ProbeGroup::Always, program::SCHED_PROCESS_EXIT, 1),
    spec(
        "inet_sock_set_state",
        ProbeGroup::Packets,
        program::INET_SOCK_SET_STATE,
        3,
    ),
    spec(
        "net_dev_start_xmit",
        ProbeGroup::Packets,
        program::NET_DEV_START_XMIT,
        2,
    ),
    spec("consume_skb", ProbeGroup::Unix, program::CONSUME_SKB, 1),
    spec("kfree_skb", ProbeGroup::Unix, program::KFREE_SKB, 1),
    ProgramSpec {
        // Before 5.11 the queue came first.
        arguments: Arguments::OneOf(&[1]),
        ..spec("block_bio_queue", ProbeGroup::Bios, program::BLOCK_BIO_QUEUE, 1)
    },
    spec(
        "writeback_dirty_folio",
        ProbeGroup::Dirty,
        program::WRITEBACK_DIRTY_FOLIO,
        2,
    ),
    ProgramSpec {
        tracepoint: "inet_sock_set_state",
        ..spec("digest_close", ProbeGroup::Digest, program::DIGEST_CLOSE, 3)
    },
    ProgramSpec {
        tracepoint: "net_dev_start_xmit",
        ..spec("digest_xmit", ProbeGroup::Digest, program::DIGEST_XMIT, 2)
    },
    spec("sock_send_length", ProbeGroup::Digest, program::SOCK_SEND_LENGTH, 3),
    ProgramSpec {
        arguments: Arguments::OneOf(&[CQE_BY_ADDRESS, CQE_BY_VALUE]),
        ..spec("io_uring_complete", ProbeGroup::ZeroCopy, program::IO_URING_COMPLETE, 0)
    },
    spec("sys_enter", ProbeGroup::Calls, program::SYS_ENTER, 2),
    spec("sys_exit", ProbeGroup::Calls, program::SYS_EXIT, 2),
];

/// Arguments of `io_uring_complete`: since 6.15 the last one is the address of the result, before that there was all that is in
/// it. (Before 5.19, when there were no notifications, there were fewer.)
pub(super) const CQE_BY_ADDRESS: usize = 3;
/// See [`CQE_BY_ADDRESS`].
const CQE_BY_VALUE: usize = 7;

/// Programs that others go on with: reached by tail calls only. In the order of the map of them
/// (`maps::tail_call`, probes-ebpf/src/maps.rs).
pub(super) const TAIL_CALLS: [(ProbeGroup, &str); 3] = [
    (ProbeGroup::Calls, "tail_pipe_slots"),
    (ProbeGroup::Packets, "tail_skb_frags"),
    (ProbeGroup::Bios, "tail_bio_vecs"),
];

impl ProgramSpec {
    /// Why a program cannot be had on this kernel.
    pub(super) fn unsupported_reason(&self, btf: &Btf, offsets: &KernelOffsets) -> Option<String> {
        if let Some(missing) = offsets
            .missing_for(self.group)
            .filter(|_| self.group != ProbeGroup::Always)
        {
            return Some(missing.to_string());
        }
        match btf.tracepoint_argument_count(self.tracepoint) {
            Ok(found) => {
                let (fits, wanted) = match self.arguments {
                    Arguments::AtLeast(least) => (found >= least, least.to_string()),
                    Arguments::OneOf(numbers) => {
                        let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                        (numbers.contains(&found), all.join(" or "))
                    }
                };
                let mismatch = || format!("the tracepoint {} has {found} arguments, not {wanted}", self.tracepoint);
                (!fits).then(mismatch)
            }
            Err(error) => Some(error.to_string()),
        }
    }
}
