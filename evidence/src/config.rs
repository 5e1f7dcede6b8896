//! Facts about the traced machine that the engine needs before the first record.

use std::collections::{HashMap, HashSet};

use zctrace_report::Level;

use crate::decode::observation::PipeBufOps;

/// Facts about the machine and the trace that the evidence needs.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Addresses by which the kernel marks the kind of a pipe's slots.
    pub pipe_buf_ops: PipeBufOps,
    /// Mount points of filesystems, by device number (major in the bits above 20).
    pub mounts: HashMap<u32, String>,
    /// Filesystems, by device number, whose page cache receives a copy of everything that is
    /// written to a file without `O_DIRECT`.
    pub buffered: HashSet<u32>,
    /// Key that anonymizes page addresses. It differs for each trace.
    pub hash_key: u64,
    /// How closely bytes are observed.
    pub level: Level,
}
