//! Statistics of pipes, for the report's list of pipes: who used a pipe and how full it was. No
//! verdict uses them.

use std::cmp::Reverse;

use super::pipe_mirror::PipeMirror;
use super::pipes::Pipes;
use crate::collections::fast_map::FastMap;
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::PipeState;
use crate::decode::process_names::ProcessNames;
use zctrace_report::{Pipe, Report};

/// Pipes that a report lists.
const MAX_LISTED: usize = 200;

/// Processes that are remembered per pipe.
const MAX_PROCESSES: usize = 8;

/// Usage of one pipe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    inode: u64,
    /// Address of the ring. `F_SETPIPE_SZ` replaces it.
    ring: u64,
    slots: u32,
    used: u32,
    most_used: u32,
    resized: u32,
    calls: u64,
    tgids: Vec<u32>,
    last_ns: u64,
    /// Bytes in the pipe when the trace ended.
    pub(super) left: Option<u64>,
}

impl Usage {
    /// Records a call on the pipe.
    pub(super) fn observe(&mut self, tgid: u32, now_ns: u64, state: &PipeState) {
        if self.inode != state.ino || self.slots == 0 {
            // The kernel reuses the memory of a pipe at once for the next one.
            *self = Self {
                inode: state.ino,
                ring: state.ring,
                slots: state.slot_count,
                ..Self::default()
            };
        } else if self.ring != state.ring || self.slots != state.slot_count {
            self.ring = state.ring;
            self.slots = state.slot_count;
            self.resized = self.resized.saturating_add(1);
        }
        self.used = state.exit.filled().min(state.slot_count);
        self.most_used = self.most_used.max(self.used);
        self.calls += 1;
        self.last_ns = self.last_ns.max(now_ns);
        if self.tgids.len() < MAX_PROCESSES && !self.tgids.contains(&tgid) {
            self.tgids.push(tgid);
        }
    }
}

impl Pipes {
    /// Records that a process has a pre-existing pipe open.
    pub(super) fn observe_snapshot(&mut self, state: &PipeState, tgid: u32, now_ns: u64) {
        let usage = &mut self.mirror(state).usage;
        if usage.inode != state.ino {
            usage.observe(tgid, now_ns, state);
            usage.calls = 0;
        } else if usage.calls == 0 && usage.tgids.len() < MAX_PROCESSES && !usage.tgids.contains(&tgid) {
            usage.tgids.push(tgid);
        }
    }

    /// Records a call on the pipes among its endpoints.
    pub(crate) fn observe_usage(&mut self, call: &ObservedCall) {
        for pipe in call.pipes() {
            if let Some(mirror) = self.mirrors.get_mut(&pipe.pipe) {
                mirror.usage.observe(call.tgid, call.exited_ns, pipe);
            }
        }
    }

    /// Lists the pipes that were used last in a report.
    pub(crate) fn fill_usage(&self, report: &mut Report, names: &ProcessNames) {
        fill(report, &self.mirrors, names);
    }
}

/// Lists the pipes that were used last.
fn fill(report: &mut Report, mirrors: &FastMap<u64, PipeMirror>, names: &ProcessNames) {
    let mut used: Vec<&PipeMirror> = mirrors.values().filter(|ring| ring.usage.slots > 0).collect();
    used.sort_unstable_by_key(|ring| (Reverse(ring.usage.last_ns), ring.usage.inode));
    let newest = used.first().map_or(0, |ring| ring.usage.last_ns);
    report.omitted.pipes += used.len().saturating_sub(MAX_LISTED) as u64;
    report.pipes.extend(used.into_iter().take(MAX_LISTED).map(|ring| {
        let usage = &ring.usage;
        let mut processes: Vec<String> = Vec::new();
        for name in usage.tgids.iter().filter_map(|tgid| names.get(*tgid)) {
            if !processes.contains(name) {
                processes.push(name.clone());
            }
        }
        Pipe {
            used_slots: usage.used,
            max_used_slots: usage.most_used,
            // No slot is filled by the kernel's own counters, whatever the mirror knows.
            bytes: if usage.used == 0 {
                Some(0)
            } else {
                ring.known_bytes().or(usage.left)
            },
            resizes: usage.resized,
            calls: usage.calls,
            pids: usage.tgids.clone(),
            processes,
            idle_ns: newest.saturating_sub(usage.last_ns),
            ..Pipe::new(usage.inode, usage.slots)
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::endpoint::RingState;
    use zctrace_report::{Scope, Tier};

    fn end(ino: u64, ring: u64, slot_count: u32, head: u32, tail: u32) -> PipeState {
        PipeState {
            ino,
            ring,
            slot_count,
            exit: RingState {
                head,
                tail,
                ..RingState::default()
            },
            ..PipeState::default()
        }
    }

    fn listed(mirrors: &FastMap<u64, PipeMirror>) -> Report {
        let mut report = Report::new(Tier::T0, Scope::default());
        let names = [(1, "cat".to_owned()), (2, "cat".to_owned())].into_iter().collect();
        fill(&mut report, mirrors, &names);
        report
    }

    #[test]
    fn pipe_usage_has_fill_level_processes_and_resizing() {
        let mut ring = PipeMirror::default();
        ring.usage.observe(1, 10, &end(7, 100, 16, 12, 0));
        ring.usage.observe(2, 20, &end(7, 100, 16, 12, 9));
        ring.usage.observe(3, 30, &end(7, 200, 32, 4, 0));
        let report = listed(&[(1, ring)].into_iter().collect());
        let pipe = &report.pipes[0];
        assert_eq!(
            (pipe.inode, pipe.slots, pipe.used_slots, pipe.max_used_slots),
            (7, 32, 4, 12)
        );
        assert_eq!((pipe.resizes, pipe.calls, pipe.pids.as_slice()), (1, 3, &[1, 2, 3][..]));
        assert_eq!(pipe.processes, ["cat"], "one name once, an unknown one not at all");
        assert_eq!(pipe.bytes, None, "its ring was never met");
    }

    #[test]
    fn new_pipe_at_a_reused_address_starts_with_empty_usage() {
        let mut usage = Usage::default();
        usage.observe(1, 10, &end(7, 100, 16, 16, 0));
        usage.observe(2, 20, &end(8, 100, 16, 1, 0));
        assert_eq!((usage.inode, usage.most_used, usage.resized, usage.calls), (8, 1, 0, 1));
        // Counters wrap.
        usage.observe(2, 30, &end(8, 100, 16, 2, u32::MAX));
        assert_eq!(usage.used, 3);
    }

    #[test]
    fn empty_ring_has_no_bytes_even_after_unobserved_calls() {
        let mut ring = PipeMirror::default();
        ring.usage.observe(1, 10, &end(7, 100, 16, 9, 9));
        assert_eq!(listed(&[(1, ring)].into_iter().collect()).pipes[0].bytes, Some(0));
    }

    #[test]
    fn list_of_pipes_is_bounded_and_has_the_last_used_ones() {
        let mut mirrors = FastMap::default();
        for n in 0..300_u64 {
            let mut ring = PipeMirror::default();
            ring.usage.observe(n as u32, n, &end(n + 1, 1, 16, 1, 0));
            mirrors.insert(n, ring);
        }
        let report = listed(&mirrors);
        assert_eq!((report.pipes.len(), report.omitted.pipes), (200, 100));
        assert_eq!((report.pipes[0].inode, report.pipes[0].idle_ns), (300, 0));
        assert_eq!((report.pipes[199].inode, report.pipes[199].idle_ns), (101, 199));
    }
}
