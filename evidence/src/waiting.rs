//! Calls whose record came before that of a call which they build on: a consumer can return before the producer does.

use std::collections::VecDeque;

use zctrace_records::{Call, nr};

use super::Whole;
use super::ends::{Form, form_of};
use super::ring::{Ring, Turn};
use super::ring_of;
use crate::fast_map::Map;

/// Calls that wait at the same time.
const MOST: usize = 256;
/// How long a call waits for another one's record. A producer that sleeps for longer with its work half done makes its
/// consumer's bytes unknown.
const PATIENCE_NS: u64 = 200_000_000;

/// Calls that wait, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    calls: VecDeque<Whole>,
}

/// Whether a call can be applied to the rings of its ends now.
pub(crate) fn turn(call: &Call, rings: &mut Map<u64, Ring>) -> Turn {
    let len = call.result.max(0) as u64;
    let source = match form_of(&call.source) {
        Form::Pipe => ring_of(rings, &call.source).turn_to_take(&call.source, len),
        _ => Turn::Now,
    };
    let sink = match form_of(&call.sink) {
        Form::Pipe => ring_of(rings, &call.sink).turn_to_put(&call.sink),
        _ => Turn::Now,
    };
    match (source, sink) {
        (Turn::Never, _) | (_, Turn::Never) => Turn::Never,
        (Turn::Later, _) | (_, Turn::Later) => Turn::Later,
        _ => Turn::Now,
    }
}

impl Waiting {
    pub(crate) fn push(&mut self, whole: Whole) {
        self.calls.push_back(whole);
    }

    /// The first one whose turn has come. One that can never be right loses the rings of its ends here.
    pub(crate) fn next_ready(&mut self, rings: &mut Map<u64, Ring>) -> Option<Whole> {
        let (at, turn) = self
            .calls
            .iter()
            .enumerate()
            .map(|(at, whole)| (at, turn(&whole.call, rings)))
            .find(|(_, turn)| *turn != Turn::Later)?;
        let whole = self.calls.remove(at)?;
        if turn == Turn::Never {
            for end in [&whole.call.source, &whole.call.sink] {
                if form_of(end) == Form::Pipe {
                    ring_of(rings, end).lose();
                }
            }
        }
        Some(whole)
    }

    /// One that has waited too long, or that too many wait behind.
    pub(crate) fn overdue(&mut self, now_ns: u64) -> Option<Whole> {
        let oldest = self.calls.front()?;
        let waited = now_ns.saturating_sub(oldest.call.header.timestamp_ns);
        if self.calls.len() > MOST || waited > PATIENCE_NS {
            self.calls.pop_front()
        } else {
            None
        }
    }

    pub(crate) fn take_any(&mut self) -> Option<Whole> {
        self.calls.pop_front()
    }
}

/// Whether a call leaves what it takes where it is.
pub(crate) fn only_looks(call: &Call) -> bool {
    call.nr == nr::TEE
}
