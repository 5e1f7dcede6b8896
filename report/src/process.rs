//! Traced processes, with the outcome of the bytes that each one sent.

use serde::{Deserialize, Serialize};

use super::account::Account;

/// One process with all its threads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Process {
    /// Process ID in the initial PID namespace.
    pub pid: u32,
    /// Process ID in the process's own PID namespace, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ns_pid: Option<u32>,
    /// Process ID of the parent, in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_pid: Option<u32>,
    /// Name of the process in the kernel (at most 15 bytes).
    #[serde(default)]
    pub name: String,
    /// Control group, as a path below the root of the hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Number of threads that moved or copied bytes.
    #[serde(default)]
    pub threads: u32,
    /// Number of calls that returned bytes.
    #[serde(default)]
    pub calls: u64,
    /// Bytes that the process sent to the last station of flows that do not end in memory: `moved +
    /// copied + unknown + excluded`.
    pub payload: u64,
    /// Outcome of the sent bytes.
    #[serde(flatten)]
    pub account: Account,
    /// Bytes that the process read into its own memory.
    #[serde(default)]
    pub into_memory: u64,
    /// True if the process was alive when tracing stopped.
    #[serde(default)]
    pub alive: bool,
}

impl Process {
    /// Creates a process without calls.
    pub fn new(pid: u32, name: impl Into<String>) -> Self {
        Self {
            pid,
            ns_pid: None,
            parent_pid: None,
            name: name.into(),
            cgroup: None,
            threads: 0,
            calls: 0,
            payload: 0,
            account: Account::default(),
            into_memory: 0,
            alive: false,
        }
    }

    /// Sets the account of the sent bytes, and `payload` to its total.
    pub fn set_account(&mut self, account: Account) {
        self.payload = account.total();
        self.account = account;
    }
}
