//! Calls whose record came before that of a call which they build on: a consumer can return before the producer does.

use std::collections::VecDeque;

use zctrace_records::{Call, nr};

use crate::collections::fast_map::FastMap;
use crate::decode::endpoints::{EndpointForm, form_of};
use crate::evidence::ObservedCall;
use crate::evidence::mirror_of;
use crate::mirror::pipe_mirror::{PipeMirror, Readiness};

/// Calls that wait at the same time.
const MAX_WAITING: usize = 256;
/// How long a call waits for another one's record. A producer that sleeps for longer with its work half done makes its
/// consumer's bytes unknown.
const REORDER_TIMEOUT_NS: u64 = 200_000_000;

/// Calls that wait, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct ReorderBuffer {
    calls: VecDeque<ObservedCall>,
}

/// Whether a call can be applied to the mirrors of its ends now.
pub(crate) fn readiness(call: &Call, mirrors: &mut FastMap<u64, PipeMirror>) -> Readiness {
    let len = call.result.max(0) as u64;
    let source = match form_of(&call.source) {
        EndpointForm::Pipe => mirror_of(mirrors, &call.source).pop_readiness(&call.source, len),
        _ => Readiness::Ready,
    };
    let sink = match form_of(&call.sink) {
        EndpointForm::Pipe => mirror_of(mirrors, &call.sink).push_readiness(&call.sink),
        _ => Readiness::Ready,
    };
    match (source, sink) {
        (Readiness::Impossible, _) | (_, Readiness::Impossible) => Readiness::Impossible,
        (Readiness::Early, _) | (_, Readiness::Early) => Readiness::Early,
        _ => Readiness::Ready,
    }
}

impl ReorderBuffer {
    pub(crate) fn push(&mut self, observed: ObservedCall) {
        self.calls.push_back(observed);
    }

    /// The first one whose turn has come. One that can never be right loses the mirrors of its ends here.
    pub(crate) fn next_ready(&mut self, mirrors: &mut FastMap<u64, PipeMirror>) -> Option<ObservedCall> {
        let (at, readiness) = self
            .calls
            .iter()
            .enumerate()
            .map(|(at, observed)| (at, readiness(&observed.call, mirrors)))
            .find(|(_, readiness)| *readiness != Readiness::Early)?;
        let observed = self.calls.remove(at)?;
        if readiness == Readiness::Impossible {
            for end in [&observed.call.source, &observed.call.sink] {
                if form_of(end) == EndpointForm::Pipe {
                    mirror_of(mirrors, end).lose();
                }
            }
        }
        Some(observed)
    }

    /// One that has waited too long, or that too many wait behind.
    pub(crate) fn pop_expired(&mut self, now_ns: u64) -> Option<ObservedCall> {
        let oldest = self.calls.front()?;
        let waited = now_ns.saturating_sub(oldest.call.header.timestamp_ns);
        if self.calls.len() > MAX_WAITING || waited > REORDER_TIMEOUT_NS {
            self.calls.pop_front()
        } else {
            None
        }
    }

    pub(crate) fn pop_any(&mut self) -> Option<ObservedCall> {
        self.calls.pop_front()
    }
}

/// Whether a call leaves what it takes where it is.
pub(crate) fn is_peek(call: &Call) -> bool {
    call.nr == nr::TEE
}
