//! An edge: the movement of bytes between two stations by calls of one name.

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::cause::Cause;
use super::endpoint::Station;
use super::open_enum::open_enum;

open_enum! {
    /// The name of a system call, or of its family where the members differ only in how memory is given.
    pub enum Call {
        /// splice(2).
        Splice = "splice",
        /// tee(2).
        Tee = "tee",
        /// vmsplice(2).
        Vmsplice = "vmsplice",
        /// sendfile(2): one edge, source to sink, its inner pipe included.
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
        /// A request of `io_uring`.
        IoUring = "io_uring",
    }
}

/// The movement of bytes from one station to another by calls of one name, by one process.
///
/// An edge counts what its calls returned, so a byte that goes over two edges is in both. In JSON `call`, `from`, `to`, `bytes`
/// and the account must be present.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Edge {
    /// The flow it is part of, by number; absent if it could not be joined to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// The calling process, as numbered in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The call.
    pub call: Call,
    /// The station before the call.
    pub from: Station,
    /// The station after it.
    pub to: Station,
    /// Number of calls that returned bytes.
    #[serde(default)]
    pub calls: u64,
    /// Calls that failed or returned 0; they moved nothing.
    #[serde(default)]
    pub failed_calls: u64,
    /// Bytes that the calls returned: `moved + copied + unknown + excluded`.
    pub bytes: u64,
    /// What became of them on this edge.
    #[serde(flatten)]
    pub account: Account,
    /// Why bytes were copied or are unknown on this edge. Copies add up to no more than `copied`; unknowns to `unknown`
    /// exactly.
    #[serde(default)]
    pub reasons: Vec<Cause>,
}

impl Edge {
    /// An empty edge.
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

    /// Sets what became of the bytes, and with it their number.
    pub fn set_account(&mut self, account: Account) {
        self.bytes = account.total();
        self.account = account;
    }
}
