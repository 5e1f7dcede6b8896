//! Counts that no spans belong to.

use std::collections::HashMap;

use zctrace_records::{IoCounterKey, IoCounters};

use super::socket_peeks::SocketPeeks;
use super::zerocopy::ZerocopyCompletions;
use crate::decode::excluded::ExcludedCalls;

/// Counts of one account.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Plain reads and writes, which the kernel counted.
    pub(crate) io: HashMap<IoCounterKey, IoCounters>,
    pub(crate) zerocopy: ZerocopyCompletions,
    pub(crate) excluded: ExcludedCalls,
    /// Peeks at UNIX sockets.
    pub(crate) peeks: SocketPeeks,
}

impl Counters {
    /// Resets all counts. Completions that were counted are not counted again.
    pub(crate) fn reset(&mut self) {
        self.io.clear();
        self.zerocopy.reset();
        self.excluded = ExcludedCalls::default();
        self.peeks = SocketPeeks::default();
    }
}
