//! A process that was watched, and what became of the bytes that it gave away.

use serde::{Deserialize, Serialize};

use super::account::Account;

/// One process, all its threads together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Process {
    /// Its number in the initial PID namespace.
    pub pid: u32,
    /// Its number in its own PID namespace, if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ns_pid: Option<u32>,
    /// The number of its parent in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_pid: Option<u32>,
    /// Its name, as the kernel has it (at most 15 bytes).
    #[serde(default)]
    pub name: String,
    /// Its control group, as a path below the root of the hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Number of threads that moved or copied bytes.
    #[serde(default)]
    pub threads: u32,
    /// Number of calls that returned bytes.
    #[serde(default)]
    pub calls: u64,
    /// Bytes that it gave to the last station of flows which do not end in memory: `moved + copied + unknown + excluded`.
    pub payload: u64,
    /// What became of them.
    #[serde(flatten)]
    pub account: Account,
    /// Bytes that it took into its own memory.
    #[serde(default)]
    pub into_memory: u64,
    /// Whether it was still alive when watching stopped.
    #[serde(default)]
    pub alive: bool,
}

impl Process {
    /// A process that has done nothing yet.
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

    /// Sets what became of the bytes that it gave away, and with it their number.
    pub fn set_account(&mut self, account: Account) {
        self.payload = account.total();
        self.account = account;
    }
}
