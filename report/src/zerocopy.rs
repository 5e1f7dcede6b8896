//! What the kernel itself said of sends that should not copy.

use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::open_enum::open_enum;

open_enum! {
    /// How the kernel says it.
    pub enum CompletionSource {
        /// The error queue of a socket, for sends with `MSG_ZEROCOPY` (`Documentation/networking/msg_zerocopy.rst`).
        ErrorQueue = "error_queue",
        /// A completion of `io_uring` that says a buffer is free again (`IORING_CQE_F_NOTIF`, `io_uring_enter(2)`).
        IoUring = "io_uring",
    }
}

/// The kernel's own notices, of one process and one connection: how many sends that should not copy did so after all.
///
/// They are facts beside the account, never part of it: a notice says of a send that it was copied *in part at least*, not
/// which bytes. A program that does not read them is told of here all the same. On loopback all are copied, when they reach the
/// receiver's side.
///
/// The kernel joins notices that lie side by side and keeps the first one's word; here each send is counted by its own, unless
/// the kernel skipped a probe ([`recursion_misses`](super::Loss::recursion_misses)).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ZerocopySummary {
    /// The process that sent, as numbered in the initial PID namespace.
    pub pid: u32,
    /// Its name; empty if not known.
    #[serde(default)]
    pub process: String,
    /// Where it sent to; absent for `io_uring`, whose notices do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Endpoint>,
    /// How the kernel said it.
    pub source: CompletionSource,
    /// Sends whose memory is free again.
    pub sends: u64,
    /// Those of them that the kernel says it copied, in part at least.
    pub copied_sends: u64,
    /// Those of them of which it would not have said so: the program did not ask (`IORING_SEND_ZC_REPORT_USAGE`).
    #[serde(default)]
    pub unreported_sends: u64,
}
