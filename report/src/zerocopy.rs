//! Zero-copy completions: the kernel's own notifications about sends that should not copy.

use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::open_enum::open_enum;

open_enum! {
    /// Channel through which the kernel notifies the sender.
    pub enum CompletionSource {
        /// Error queue of a socket, for sends with `MSG_ZEROCOPY`
        /// (`Documentation/networking/msg_zerocopy.rst`).
        ErrorQueue = "error_queue",
        /// Completion of `io_uring` that releases a buffer (`IORING_CQE_F_NOTIF`,
        /// `io_uring_enter(2)`).
        IoUring = "io_uring",
    }
}

/// Completions of one process and one connection: the number of sends that should not copy, and of
/// those that copied after all.
///
/// Completions are not part of any account. A completion states that the kernel copied *at least a
/// part* of a send, but not which bytes. Completions are counted even if the program does not read
/// them. On loopback the kernel copies all such sends when they reach the receiver.
///
/// The kernel merges adjacent completions and keeps the result of the first one. The counts here
/// use each send's own result, unless the kernel skipped a probe
/// ([`recursion_misses`](super::Loss::recursion_misses)).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ZerocopySummary {
    /// Sending process, in the initial PID namespace.
    pub pid: u32,
    /// Name of the process; empty if not known.
    #[serde(default)]
    pub process: String,
    /// Destination of the sends; absent for `io_uring`, whose completions do not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Endpoint>,
    /// Channel of the completions.
    pub source: CompletionSource,
    /// Sends whose memory the kernel has released.
    pub sends: u64,
    /// Sends of which the kernel copied at least a part, according to its completions. They are
    /// part of `sends`.
    pub copied_sends: u64,
    /// Sends whose completions do not report copies, because the program did not request it
    /// (`IORING_SEND_ZC_REPORT_USAGE`). They are part of `sends`.
    #[serde(default)]
    pub unreported_sends: u64,
}
