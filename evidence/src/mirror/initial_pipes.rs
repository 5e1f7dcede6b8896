//! Content of pipes that existed before tracing started.
//!
//! No probe observed the producers of this content, so its origin is the pipe itself. Afterwards
//! its pages are evidence like any others. A snapshot is treated as a call that filled an empty
//! ring. It stays valid only if the next call starts exactly where the snapshot ended.

use zctrace_records::PipeSnapshot;

use super::mirror_slot::MirrorSlot;
use super::pipe_position::PipePosition;
use super::pipes::Pipes;
use crate::decode::endpoint::PipeState;
use crate::decode::endpoints::EndpointId;
use crate::decode::observations::CallObservations;
use crate::decode::page_address::{page_owner, start_of};
use crate::history::Histories;
use crate::span::{Location, Span};

impl Pipes {
    /// Adopts a pipe snapshot. Its page records arrived before.
    pub(crate) fn adopt_snapshot(&mut self, snapshot: &PipeSnapshot, observations: &CallObservations) {
        let state = PipeState::of(&snapshot.endpoint);
        self.observe_snapshot(&state, snapshot.tgid, snapshot.header.timestamp_ns);
        if let Some((spans, slots)) = spans_of_snapshot(&state, snapshot, observations) {
            self.mirror(&state).adopt_snapshot(&state, spans, slots);
        }
    }
}

/// Returns the pipe's content, one span per slot; `None` if the snapshot is incomplete or the ring
/// changed while it was read.
fn spans_of_snapshot(
    state: &PipeState,
    snapshot: &PipeSnapshot,
    observations: &CallObservations,
) -> Option<(Vec<Span>, Vec<MirrorSlot>)> {
    let (before, mut after) = (state.entry, state.exit);
    if before.is_empty() {
        // An empty ring has no last slot.
        after.last_len = before.last_len;
    }
    let is_stable = before == after;
    if !is_stable {
        return None;
    }
    let (mut spans, mut slots) = (Vec::new(), Vec::new());
    let mut position = 0;
    for slot in observations.snapshot_slots(snapshot)? {
        let (start, len) = (start_of(slot)?, u64::from(slot.len));
        spans.push(Span {
            len,
            origin: EndpointId::PIPE,
            position,
            stream: 0,
            pipe_position: PipePosition::default(),
            location: Location::Page(start),
            history: Histories::START,
        });
        slots.push(MirrorSlot {
            len,
            spans: 1,
            end: Some(start.plus(len)),
            owner: page_owner(slot),
        });
        position += len;
    }
    (slots.len() as u32 == before.filled()).then_some((spans, slots))
}
