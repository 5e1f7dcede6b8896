//! Pipes on which traced calls were made: how full they were, and the system's limits on pipes.

use serde::{Deserialize, Serialize};

/// State of one pipe after the last traced call on it, or at the start of tracing.
///
/// The pipe may no longer exist, because no probe observes when its last descriptor is closed. A
/// pipe is full when all slots are in use, even if they hold few bytes: one splice of one byte
/// takes a whole slot. In JSON `inode` and `slots` must be present.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pipe {
    /// Inode number of the pipe, as in `pipe:[90121]`.
    pub inode: u64,
    /// Slots of the pipe's ring, a power of two. This is the pipe's capacity, and the kernel
    /// charges its user one page for each slot (pipe(7)).
    pub slots: u32,
    /// Slots in use.
    #[serde(default)]
    pub used_slots: u32,
    /// Largest number of slots in use after a traced call.
    #[serde(default)]
    pub max_used_slots: u32,
    /// Bytes in the pipe; absent if not known, because a process that is not traced used the pipe
    /// or because a record is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Number of times the ring was replaced by one of another size (`F_SETPIPE_SZ`) during
    /// tracing.
    #[serde(default)]
    pub resizes: u32,
    /// Traced calls that returned bytes; 0 for a pipe that existed before tracing and was not used
    /// since.
    #[serde(default)]
    pub calls: u64,
    /// Processes that made the calls, or that had the pipe open at the start of tracing, in the
    /// initial PID namespace. Only the first few are listed.
    #[serde(default)]
    pub pids: Vec<u32>,
    /// Names of the processes, without unknown names and without duplicates.
    #[serde(default)]
    pub processes: Vec<String>,
    /// Time from the last call on this pipe to the last call on any pipe, in nanoseconds.
    #[serde(default)]
    pub idle_ns: u64,
}

impl Pipe {
    /// Creates a pipe of which only inode number and size are known.
    pub const fn new(inode: u64, slots: u32) -> Self {
        Self {
            inode,
            slots,
            used_slots: 0,
            max_used_slots: 0,
            bytes: None,
            resizes: 0,
            calls: 0,
            pids: Vec::new(),
            processes: Vec::new(),
            idle_ns: 0,
        }
    }
}

/// System limits on pipes (pipe(7)) at the start of tracing.
///
/// No file of the kernel shows how many pages all pipes of a user have. Only a new pipe shows it:
/// beyond the soft limit it has fewer than 16 slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PipeLimits {
    /// Bytes that an unprivileged process may request for one pipe (`/proc/sys/fs/pipe-max-size`).
    pub max_size: u64,
    /// Pages of all pipes of an unprivileged user beyond which new pipes are small
    /// (`pipe-user-pages-soft`); 0 means no limit.
    pub user_pages_soft: u64,
    /// Pages of all pipes of an unprivileged user beyond which the user cannot create pipes
    /// (`pipe-user-pages-hard`); 0 means no limit.
    pub user_pages_hard: u64,
}
