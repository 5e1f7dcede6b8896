//! Reorder buffer for calls that depend on a call not yet received.
//!
//! A consumer can return before its producer does, and the records come in the order of returns.

use std::collections::VecDeque;

use super::pipe_mirror::Readiness;
use crate::decode::call::ObservedCall;

/// Calls that wait at the same time.
const MAX_WAITING: usize = 256;
/// How long a call waits for another call's record, in nanoseconds. A producer that sleeps longer
/// with its work half done makes its consumer's bytes unknown.
const REORDER_TIMEOUT_NS: u64 = 200_000_000;

/// Waiting calls, the oldest first.
#[derive(Debug, Default)]
pub(super) struct ReorderBuffer {
    calls: VecDeque<ObservedCall>,
}

impl ReorderBuffer {
    pub(super) fn push(&mut self, call: ObservedCall) {
        self.calls.push_back(call);
    }

    /// Removes and returns the first call that need not wait any longer, with its readiness.
    pub(super) fn pop_first(
        &mut self,
        mut readiness: impl FnMut(&ObservedCall) -> Readiness,
    ) -> Option<(ObservedCall, Readiness)> {
        let calls = self.calls.iter().enumerate();
        let (at, readiness) = calls
            .map(|(at, call)| (at, readiness(call)))
            .find(|(_, readiness)| *readiness != Readiness::Early)?;
        Some((self.calls.remove(at)?, readiness))
    }

    /// Removes and returns the oldest call if it waited too long or too many calls wait.
    pub(super) fn pop_expired(&mut self, now_ns: u64) -> Option<ObservedCall> {
        let waited = now_ns.saturating_sub(self.calls.front()?.exited_ns);
        if self.calls.len() > MAX_WAITING || waited > REORDER_TIMEOUT_NS {
            self.calls.pop_front()
        } else {
            None
        }
    }

    /// Removes and returns the oldest call.
    pub(super) fn pop_any(&mut self) -> Option<ObservedCall> {
        self.calls.pop_front()
    }
}
