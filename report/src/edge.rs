//! Edges: the bytes that calls of one name moved between two stations.

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::cause::Cause;
use super::endpoint::Station;
use super::open_enum::open_enum;

open_enum! {
    /// Name of a system call. Calls that differ only in how they describe memory have one name.
    pub enum Call {
        /// splice(2).
        Splice = "splice",
        /// tee(2).
        Tee = "tee",
        /// vmsplice(2).
        Vmsplice = "vmsplice",
        /// sendfile(2). It is one edge from source to sink, which includes the inner pipe.
        Sendfile = "sendfile",
        /// `copy_file_range(2)`.
        CopyFileRange = "copy_file_range",
        /// read, readv, pread, preadv, preadv2.
        Read = "read",
        /// write, writev, pwrite, pwritev, pwritev2.
        Write = "write",
        /// send, sendto, sendmsg, sendmmsg.
        Send = "send",
        /// recv, recvfrom, recvmsg, recvmmsg.
        Recv = "recv",
        /// Request submitted through `io_uring`.
        IoUring = "io_uring",
    }
}

/// Bytes that calls of one name, made by one process, moved from one station to another.
///
/// The byte count of an edge is the sum of its calls' results, so a byte that passes two edges
/// counts in both. In JSON `call`, `from`, `to`, `bytes` and the account must be present.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Edge {
    /// Number of the flow that the edge is part of; absent if no flow was found for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// Calling process, in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of the calls.
    pub call: Call,
    /// Station at which the bytes were before the calls.
    pub from: Station,
    /// Station at which the bytes were after the calls.
    pub to: Station,
    /// Number of calls that returned bytes.
    #[serde(default)]
    pub calls: u64,
    /// Calls that failed or returned 0, and so moved nothing.
    #[serde(default)]
    pub failed_calls: u64,
    /// Sum of the calls' results in bytes: `moved + copied + unknown + excluded`.
    pub bytes: u64,
    /// Outcome of the bytes on this edge.
    #[serde(flatten)]
    pub account: Account,
    /// Reasons for copied and unknown bytes of this edge. Reasons of copies add up to at most
    /// `copied`, those of unknowns to exactly `unknown`.
    #[serde(default)]
    pub reasons: Vec<Cause>,
}

impl Edge {
    /// Creates an edge without calls.
    pub fn new(call: Call, from: Station, to: Station) -> Self {
        Self {
            flow: None,
            pid: None,
            call,
            from,
            to,
            calls: 0,
            failed_calls: 0,
            bytes: 0,
            account: Account::default(),
            reasons: Vec::new(),
        }
    }

    /// Sets the account, and `bytes` to its total.
    pub fn set_account(&mut self, account: Account) {
        self.bytes = account.total();
        self.account = account;
    }
}
