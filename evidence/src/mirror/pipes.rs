//! All pipes: their mirrors, the calls that wait for an earlier call, and the desyncs.

use zctrace_report::Report;

use super::desync::{DesyncCause, DesyncCounts};
use super::mirror_slot::{MirrorSlot, ObservedSlot};
use super::pipe_mirror::{PipeMirror, Readiness};
use super::pipe_position::PipePosition;
use super::reorder::ReorderBuffer;
use crate::collections::fast_map::FastMap;
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::{Endpoint, PipeState};
use crate::decode::pipe_event::Opened;
use crate::span::Span;

/// Pipes that are mirrored at the same time.
const MAX_PIPES: usize = 65_536;

/// Error: the mirror is desynced, so the bytes are unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Desynced;

/// The pipes of a trace, by the address of `pipe_inode_info`.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pub(super) mirrors: FastMap<u64, PipeMirror>,
    reorder: ReorderBuffer,
    desyncs: DesyncCounts,
    /// Number of the latest epoch of pipe positions.
    epoch: u32,
}

impl Pipes {
    /// Drops the content of a pipe's mirror: all of it, or that before the first slot that was
    /// pushed into an empty ring, see [`PipeMirror::drop_content`]. Counts the cause if the content
    /// was known.
    pub(crate) fn desync(&mut self, pipe: u64, cause: DesyncCause) {
        let mirror = self.mirrors.get_mut(&pipe);
        if let Some(bytes) = mirror.and_then(|mirror| mirror.drop_content(cause)) {
            self.desyncs.add(cause, bytes);
        }
    }

    /// Processes an open(2) of a FIFO by a traced process. Most precede the first call on it.
    /// Returns whether it is another pipe than before.
    pub(crate) fn opened(&mut self, pipe: u64, opened: Opened) -> bool {
        let is_other = !self.mirror_at(pipe).open_is_of_this_pipe(opened);
        if is_other {
            self.desync(pipe, DesyncCause::Reopened);
        }
        is_other
    }

    /// Desyncs the pipes among a call's endpoints.
    pub(crate) fn desync_pipes_of(&mut self, call: &ObservedCall, cause: DesyncCause) {
        for pipe in call.pipes() {
            self.desync(pipe.pipe, cause);
        }
    }

    /// Returns the mirror of a pipe, a new one if there is none.
    pub(super) fn mirror(&mut self, state: &PipeState) -> &mut PipeMirror {
        self.mirror_at(state.pipe)
    }

    fn mirror_at(&mut self, pipe: u64) -> &mut PipeMirror {
        if self.mirrors.len() >= MAX_PIPES && !self.mirrors.contains_key(&pipe) {
            let all: Vec<u64> = self.mirrors.keys().copied().collect();
            for pipe in all {
                self.desync(pipe, DesyncCause::TooManyPipes);
            }
            self.mirrors.clear();
        }
        self.mirrors.entry(pipe).or_default()
    }

    /// Returns the mirror of a pipe after the ring's identity and emptiness at the call's entry
    /// were taken into account.
    fn mirror_at_entry(&mut self, state: &PipeState, is_producer: bool) -> &mut PipeMirror {
        let is_new = self.mirror(state).is_other_ring(state);
        if is_new {
            self.desync(state.pipe, DesyncCause::RingReplaced);
        }
        if self.mirror(state).is_opened_again(state) {
            self.desync(state.pipe, DesyncCause::Reopened);
        }
        let mirror = self.mirror(state);
        if is_new {
            mirror.set_ring(state);
        }
        mirror.resync_if_empty(state, is_producer, is_new);
        mirror
    }

    /// Returns whether a call can be applied to the mirrors of its pipes now.
    pub(crate) fn readiness(&mut self, call: &ObservedCall) -> Readiness {
        let source = match &call.source {
            Endpoint::Pipe(pipe) => self.mirror_at_entry(pipe, false).pop_readiness(pipe, call.bytes),
            _ => Readiness::Ready,
        };
        let sink = match &call.sink {
            Endpoint::Pipe(pipe) => self.mirror_at_entry(pipe, true).push_readiness(pipe),
            _ => Readiness::Ready,
        };
        match (source, sink) {
            (Readiness::Impossible, _) | (_, Readiness::Impossible) => Readiness::Impossible,
            (Readiness::Early, _) | (_, Readiness::Early) => Readiness::Early,
            _ => Readiness::Ready,
        }
    }

    /// Keeps a call until the calls that it depends on are applied.
    pub(crate) fn wait(&mut self, call: ObservedCall) {
        self.reorder.push(call);
    }

    /// Removes and returns the first waiting call that can be applied. The pipes of a call that can
    /// never be applied in order are desynced.
    pub(crate) fn next_ready(&mut self) -> Option<ObservedCall> {
        let mut reorder = std::mem::take(&mut self.reorder);
        let next = reorder.pop_first(|call| self.readiness(call));
        self.reorder = reorder;
        let (call, readiness) = next?;
        if readiness == Readiness::Impossible {
            self.desync_pipes_of(&call, DesyncCause::Overlap);
        }
        Some(call)
    }

    /// Removes and returns a call that waited too long, after desyncing its pipes.
    pub(crate) fn next_expired(&mut self, now_ns: u64) -> Option<ObservedCall> {
        let call = self.reorder.pop_expired(now_ns)?;
        self.desync_pipes_of(&call, DesyncCause::MissingCall);
        Some(call)
    }

    /// Removes and returns the oldest waiting call at the end of the trace, after desyncing its
    /// pipes.
    pub(crate) fn next_at_end(&mut self) -> Option<ObservedCall> {
        let call = self.reorder.pop_any()?;
        self.desync_pipes_of(&call, DesyncCause::MissingCallAtEnd);
        Some(call)
    }

    /// Returns the position of the next byte that enters a pipe.
    pub(crate) fn write_position(&mut self, state: &PipeState) -> PipePosition {
        let mut epoch = self.epoch;
        let position = self.mirror(state).write_position(|| next_epoch(&mut epoch));
        self.epoch = epoch;
        position
    }

    /// Returns the position of the next byte that leaves a pipe.
    pub(crate) fn read_position(&mut self, state: &PipeState) -> PipePosition {
        let mut epoch = self.epoch;
        let position = self.mirror(state).read_position(|| next_epoch(&mut epoch));
        self.epoch = epoch;
        position
    }

    /// Pushes slots with their spans, see [`PipeMirror::push`].
    pub(crate) fn push(
        &mut self,
        state: &PipeState,
        appended: &[Span],
        slots: &[MirrorSlot],
        spans: &[Span],
    ) -> Result<(), Desynced> {
        let pushed = self.mirror(state).push(state, appended, slots, spans);
        self.or_desync(state, pushed)
    }

    /// Pops bytes, see [`PipeMirror::pop`].
    pub(crate) fn pop(
        &mut self,
        state: &PipeState,
        len: u64,
        ends: impl IntoIterator<Item = ObservedSlot>,
        into: &mut Vec<Span>,
    ) -> Result<(), Desynced> {
        let popped = self.mirror(state).pop(state, len, ends, into);
        self.or_desync(state, popped)
    }

    fn or_desync(&mut self, state: &PipeState, result: Result<(), Option<DesyncCause>>) -> Result<(), Desynced> {
        result.map_err(|cause| {
            if let Some(cause) = cause {
                self.desync(state.pipe, cause);
            }
            Desynced
        })
    }

    /// Adds the spans of bytes that stay in the pipe, see [`PipeMirror::peek`].
    pub(crate) fn peek(
        &mut self,
        state: &PipeState,
        len: u64,
        duplicates: impl IntoIterator<Item = ObservedSlot>,
        into: &mut Vec<Span>,
    ) -> Result<(), Desynced> {
        let is_known = self.mirror(state).peek(state, len, duplicates, into);
        is_known.then_some(()).ok_or(Desynced)
    }

    /// Removes and returns spans that must have left the ring, see
    /// [`PipeMirror::evict_overwritten`].
    pub(crate) fn evict_overwritten(&mut self, state: &PipeState) -> Vec<Span> {
        self.mirror(state).evict_overwritten()
    }

    /// Removes and returns the content of all pipes at the end of the trace.
    pub(crate) fn drain_at_end(&mut self) -> Vec<Span> {
        // Sorted, because the order of the map depends on its seed and a replay must yield the same
        // report.
        let mut pipes: Vec<u64> = self.mirrors.keys().copied().collect();
        pipes.sort_unstable();
        let mut left = Vec::new();
        for pipe in pipes {
            left.extend(
                self.mirrors
                    .get_mut(&pipe)
                    .map(PipeMirror::drain_at_end)
                    .unwrap_or_default(),
            );
            self.desync(pipe, DesyncCause::TraceEnded);
        }
        left
    }

    /// Adds the desyncs to a report.
    pub(crate) fn fill_desyncs(&self, report: &mut Report) {
        self.desyncs.fill(report);
    }

    /// Resets the counts of desyncs. The mirrors stay.
    pub(crate) fn reset(&mut self) {
        self.desyncs = DesyncCounts::default();
    }
}

/// Returns the number of a new epoch; 0 stands for none.
fn next_epoch(epoch: &mut u32) -> u32 {
    *epoch = epoch.wrapping_add(1).max(1);
    *epoch
}

#[cfg(test)]
#[path = "pipes_tests.rs"]
mod tests;
