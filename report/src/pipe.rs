//! Pipes that watched calls were made on: how full they were, and what can be known of the limits on them.

use serde::{Deserialize, Serialize};

/// One pipe, as the last watched call on it left it, or as it was found when watching began. It may be gone since: nobody says when the last end of a pipe is closed.
///
/// A pipe is full when its slots are, however few bytes are in them: one splice of one byte takes a whole slot.
///
/// In JSON `inode` and `slots` must be present.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pipe {
    /// Its inode number, as in `pipe:[90121]`.
    pub inode: u64,
    /// Slots of its ring, a power of two: its capacity. The kernel charges its user a page for each (pipe(7)).
    pub slots: u32,
    /// Slots in use.
    #[serde(default)]
    pub used_slots: u32,
    /// The most slots that were in use after a watched call.
    #[serde(default)]
    pub max_used_slots: u32,
    /// Bytes in it; absent if that is not known, since somebody who is not watched put in or took out, or a record is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How often its ring was exchanged for one of another size (`F_SETPIPE_SZ`) while it was watched.
    #[serde(default)]
    pub resizes: u32,
    /// Watched calls that returned bytes; 0: it was found, and nobody has used it since.
    #[serde(default)]
    pub calls: u64,
    /// The processes that made them, or that had it open when it was found, as numbered in the initial PID namespace; the first few of many.
    #[serde(default)]
    pub pids: Vec<u32>,
    /// Their names, without those that are not known and without doubles.
    #[serde(default)]
    pub processes: Vec<String>,
    /// Nanoseconds from the last call on it to the last one on any.
    #[serde(default)]
    pub idle_ns: u64,
}

impl Pipe {
    /// A pipe of which nothing is known but its size.
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

/// The system's limits on pipes (pipe(7)), as they were when watching began. How many pages a user's pipes have altogether is
/// told by no file of the kernel's: only a new pipe shows it, which has fewer slots than 16 beyond the soft limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PipeLimits {
    /// Bytes that an unprivileged process may ask for (`/proc/sys/fs/pipe-max-size`).
    pub max_size: u64,
    /// Pages of all pipes of an unprivileged user beyond which new pipes are small (`pipe-user-pages-soft`); 0 for no limit.
    pub user_pages_soft: u64,
    /// The same, beyond which there are no new pipes (`pipe-user-pages-hard`); 0 for no limit.
    pub user_pages_hard: u64,
}
