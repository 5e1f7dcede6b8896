//! What probes can observe, what the last selftest showed of it, and where that is remembered.
//!
//! Below both [`trace`](crate::trace), which uses no fact that failed, and [`selftest`](crate::selftest), which tries them.

pub mod cache;
mod results;

pub use self::cache::CacheKey;
pub use self::results::{Counts, Expected, Observed, SelftestResults, Trial, Verdict};

use crate::layout::offsets::ProbeGroup;

/// What is in the slots of pipes.
pub(crate) const SLOTS: &str = "pages in pipe slots";
/// What is in packets of TCP connections.
pub(crate) const PACKETS: &str = "pages in packets";
/// When these end.
pub(crate) const CLOSES: &str = "ends of connections";
/// What is in messages of UNIX sockets.
pub(crate) const MESSAGES: &str = "pages in UNIX messages";
/// What is in requests to disks.
pub(crate) const DISK: &str = "pages to and from disks";
/// What calls put in page caches.
pub(crate) const DIRTY: &str = "pages of files that become dirty";

/// What lies in pipes that were there before.
pub(crate) const EXISTING_PIPES: &str = "pages in pipes from before";
/// What the kernel itself says of sends without copies.
pub(crate) const ZEROCOPY: &str = "notices of sends without copies";
/// The same, of `io_uring`.
pub(crate) const ZEROCOPY_URING: &str = "notices of io_uring's sends";

/// What goes to TCP connections, at the level `digest`.
pub(crate) const DIGESTS: &str = "sums over pages to TCP connections";

/// A fact: one thing that probes can observe.
pub(crate) struct FactSpec {
    /// Name in reports.
    pub(crate) name: &'static str,
    /// eBPF program that observes it.
    pub(crate) program: &'static str,
    /// Kernel layout that the program needs.
    pub(crate) group: ProbeGroup,
    /// What stays unknown without it, for the report.
    pub(crate) without: &'static str,
}

/// All facts, in the order of reports.
pub(crate) const FACTS: [FactSpec; 10] = [
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
        group: ProbeGroup::ZeroCopy,
        without: "what the kernel itself says of io_uring's SEND_ZC is not counted",
    },
    FactSpec {
        name: DIGESTS,
        program: "sock_send_length",
        group: ProbeGroup::Digest,
        without: "the levels digest and counters cannot be used",
    },
];
