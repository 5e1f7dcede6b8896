//! Table of the eBPF programs: group, number, tracepoint and arguments of each.

use zctrace_records::program;

use crate::layout::btf::Btf;
use crate::layout::offsets::{KernelOffsets, ProbeGroup};

/// eBPF program: name in the object, group, number, tracepoint, and arguments that it expects
/// there.
pub(super) struct ProgramSpec {
    pub(super) name: &'static str,
    pub(super) group: ProbeGroup,
    pub(super) number: u32,
    pub(super) tracepoint: &'static str,
    arguments: Arguments,
}

/// Arguments that a program accepts from its tracepoint.
#[derive(Clone, Copy)]
enum Arguments {
    /// At least this number; later kernels append arguments.
    AtLeast(usize),
    /// One of these numbers; any other number has another meaning.
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

/// Programs in the order of attachment: process events first, because a process is recorded before
/// its calls; `sys_enter` before `sys_exit`, because a call is recorded only if its entry was observed.
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
        // Before 5.11 the first argument was the queue.
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

/// Number of arguments of `io_uring_complete` since 6.15, when the last one is the address of the
/// CQE. Before 5.19, which has no notifications, there were fewer.
pub(super) const CQE_BY_ADDRESS: usize = 3;
/// Number of arguments of `io_uring_complete` before 6.15, when the members of the CQE were passed.
const CQE_BY_VALUE: usize = 7;

/// Programs that are reached by tail calls only, in the order of their map (`maps::tail_call`,
/// probes-ebpf/src/maps.rs).
pub(super) const TAIL_CALLS: [(ProbeGroup, &str); 3] = [
    (ProbeGroup::Calls, "tail_pipe_slots"),
    (ProbeGroup::Packets, "tail_skb_frags"),
    (ProbeGroup::Bios, "tail_bio_vecs"),
];

impl ProgramSpec {
    /// Returns why this kernel does not support the program; `None` if it does.
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
