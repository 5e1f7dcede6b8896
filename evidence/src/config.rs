//! Facts about the traced machine that the engine needs before the first record.

use std::collections::{HashMap, HashSet};

use zctrace_report::Level;

use crate::decode::observation::PipeBufOps;

/// What the evidence must be told of this machine and this run.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The kernel's marks of slots.
    pub pipe_buf_ops: PipeBufOps,
    /// Where filesystems are mounted, by device number (major in the bits above 20).
    pub mounts: HashMap<u32, String>,
    /// Filesystems, by device number, whose page cache takes a copy of whatever is written to a file without `O_DIRECT`.
    pub buffered: HashSet<u32>,
    /// Makes page numbers into names that tell nobody where the pages are. Another one for every run.
    pub hash_key: u64,
    /// How closely bytes are watched.
    pub level: Level,
}
