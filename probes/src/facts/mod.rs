//! Facts: what probes can observe, with the results of the last selftest and their cache.
//!
//! This module is below both [`trace`](crate::trace), which does not use a fact that failed, and
//! [`selftest`](crate::selftest), which verifies them.

pub mod cache;
mod results;

pub use self::cache::CacheKey;
pub use self::results::{Counts, Expected, Observed, SelftestResults, Trial, Verdict};

use zctrace_records::ProbeGroup;

/// Contents of pipe slots.
pub(crate) const SLOTS: &str = "pages in pipe slots";
/// Contents of TCP packets.
pub(crate) const PACKETS: &str = "pages in packets";
/// Ends of TCP connections.
pub(crate) const CLOSES: &str = "ends of connections";
/// Contents of messages of UNIX sockets.
pub(crate) const MESSAGES: &str = "pages in UNIX messages";
/// Contents of block I/O requests.
pub(crate) const DISK: &str = "pages to and from disks";
/// Page-cache pages that system calls dirty.
pub(crate) const DIRTY: &str = "pages of files that become dirty";

/// Contents of pre-existing pipes.
pub(crate) const EXISTING_PIPES: &str = "pages in pipes from before";
/// Zero-copy completions of sockets.
pub(crate) const ZEROCOPY: &str = "notices of sends without copies";
/// Zero-copy completions of `io_uring`.
pub(crate) const ZEROCOPY_URING: &str = "notices of io_uring's sends";

/// Bytes that requests of `io_uring` move.
pub(crate) const URING_REQUESTS: &str = "requests of io_uring";

/// Digests of the pages that TCP connections send, at level `digest`.
pub(crate) const DIGESTS: &str = "sums over pages to TCP connections";

/// Description of a fact: one thing that probes can observe.
pub(crate) struct FactSpec {
    /// Name in reports.
    pub(crate) name: &'static str,
    /// eBPF program that observes it.
    pub(crate) program: &'static str,
    /// Kernel members that the program needs.
    pub(crate) group: ProbeGroup,
    /// Consequence for the report if it cannot be observed.
    pub(crate) without: &'static str,
}

/// All facts, in the order of reports.
pub(crate) const FACTS: [FactSpec; 11] = [
    FactSpec {
        name: SLOTS,
        program: "sys_exit",
        group: ProbeGroup::Calls,
        without: "nothing that goes through a pipe can be shown",
    },
    FactSpec {
        name: PACKETS,
        program: "net_dev_start_xmit",
        group: ProbeGroup::Packets,
        without: "what is sent to TCP sockets stays unknown",
    },
    FactSpec {
        name: CLOSES,
        program: "inet_sock_set_state",
        group: ProbeGroup::Packets,
        without: "connections that use the same ports again may stay unknown",
    },
    FactSpec {
        name: MESSAGES,
        program: "consume_skb",
        group: ProbeGroup::Unix,
        without: "what is sent to UNIX sockets stays unknown",
    },
    FactSpec {
        name: DISK,
        program: "block_bio_queue",
        group: ProbeGroup::Bios,
        without: "what goes to files with O_DIRECT stays unknown",
    },
    FactSpec {
        name: DIRTY,
        program: "writeback_dirty_folio",
        group: ProbeGroup::Dirty,
        without: "some copies into page caches stay unknown",
    },
    FactSpec {
        name: EXISTING_PIPES,
        program: "task_file",
        group: ProbeGroup::Calls,
        without: "what was in pipes when watching began stays unknown",
    },
    FactSpec {
        name: ZEROCOPY,
        program: "consume_skb",
        group: ProbeGroup::ZeroCopy,
        without: "what the kernel itself says of MSG_ZEROCOPY is not counted",
    },
    FactSpec {
        name: ZEROCOPY_URING,
        program: "io_uring_complete",
        group: ProbeGroup::IoUring,
        without: "what the kernel itself says of io_uring's SEND_ZC is not counted",
    },
    FactSpec {
        name: URING_REQUESTS,
        program: "io_uring_complete",
        group: ProbeGroup::IoUring,
        without: "what requests of io_uring move is not counted",
    },
    FactSpec {
        name: DIGESTS,
        program: "sock_send_length",
        group: ProbeGroup::Digest,
        without: "the levels digest and counters cannot be used",
    },
];
