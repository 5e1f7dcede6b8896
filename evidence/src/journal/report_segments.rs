//! Segments in reports: names at the stations of certificates, rows of segments, and peeks by call
//! site.

use std::collections::{BTreeMap, BTreeSet};

use zctrace_contract::LibraryReason;
use zctrace_contract::journal::Operation;

use super::{Journals, NamedRange, PositionIndex, word};
use crate::mirror::pipe_position::PipePositionSet;
use zctrace_report::{self as report, JournalAgreement, NotCovered, Peek, Segment, SegmentNames};

/// Segment numbers that a certificate lists.
const IDS: usize = 64;

/// Key of a row of peeks: process, call site, API call and reason.
type Line = (u32, u8, u8, Option<LibraryReason>);

/// The flow that each segment was delivered with, by process and segment; `None` if there are
/// several.
pub(crate) type FlowsOf = BTreeMap<(u32, u64), Option<u64>>;

impl PositionIndex {
    /// Returns the named ranges that overlap `start..end`, each with the number of bytes in common.
    fn within(side: &BTreeMap<u64, NamedRange>, start: u64, end: u64) -> impl Iterator<Item = (u64, &NamedRange)> {
        let first = side.range(..=start).next_back().map_or(start, |(&at, _)| at);
        side.range(first..end).filter_map(move |(&at, range)| {
            let from = at.max(start);
            let to = at.saturating_add(range.len).min(end);
            (from < to).then(|| (to - from, range))
        })
    }
}

impl Journals {
    /// Returns the names of `bytes` bytes at these positions; `None` if the process has no journal.
    pub(crate) fn names(&self, pipe_positions: &PipePositionSet, bytes: u64, pid: u32) -> Option<SegmentNames> {
        let mut ids: BTreeSet<(u32, u64)> = BTreeSet::new();
        let (mut named, mut agreement) = (0, JournalAgreement::Agrees);
        for (pipe_position, start, end) in pipe_positions.stretches() {
            let Some(known) = self.pipe_positions.get(&pipe_position) else {
                continue;
            };
            for (len, range) in PositionIndex::within(&known.puts, start, end) {
                named += len;
                ids.insert((range.pid, range.entry.segment));
                agreement = agreement.and(word(range.agrees));
            }
        }
        let pids: BTreeSet<u32> = ids.iter().map(|(pid, _)| *pid).collect();
        if ids.is_empty() && !self.by_pid.contains_key(&pid) {
            return None;
        }
        // A byte that was delivered twice (tee) has one name and counts twice.
        let named = named.min(bytes);
        let mut why = String::new();
        // Entries about other bytes of these segments, such as how they were sent, count as well.
        for (pid, id) in &ids {
            let made = self.by_pid.get(pid).and_then(|journal| journal.made.get(id));
            if let Some(how) = made.and_then(|made| made.contradicted.as_ref()) {
                agreement = JournalAgreement::Disagrees;
                why.clone_from(how);
                break;
            }
        }
        if agreement == JournalAgreement::Disagrees && why.is_empty() {
            "The program's account of these pipes is not what the kernel saw.".clone_into(&mut why);
        }
        if agreement == JournalAgreement::Agrees && named < bytes {
            agreement = JournalAgreement::Inconclusive;
            why = self.why_not_all(pids.first().copied().unwrap_or(pid));
        }
        Some(SegmentNames {
            bytes: named,
            count: ids.len() as u64,
            ids: ids.iter().take(IDS).map(|(_, id)| *id).collect(),
            pid: (pids.len() <= 1).then(|| pids.first().copied().unwrap_or(pid)),
            agreement,
            detail: why,
        })
    }

    /// Returns why not all bytes have a name.
    fn why_not_all(&self, pid: u32) -> String {
        let journal = self.by_pid.get(&pid);
        match journal {
            Some(journal) if journal.lost > 0 => {
                format!(
                    "The journal of pid {pid} lost {} records, which may be those of the rest.",
                    journal.lost
                )
            }
            _ if self.forgotten => {
                "There are more segments than are kept: the names of the oldest were let go.".to_owned()
            }
            Some(_) => format!(
                "The rest went through pipes before the journal of pid {pid} was read, or through pipes that are not its lists'."
            ),
            None => format!("Pid {pid} has no journal."),
        }
    }

    /// Records with which flow the segments at these positions were delivered.
    pub(crate) fn note_flow(&self, pipe_positions: &PipePositionSet, flow: u64, flows: &mut FlowsOf) {
        for (pipe_position, start, end) in pipe_positions.stretches() {
            let Some(known) = self.pipe_positions.get(&pipe_position) else {
                continue;
            };
            for (_, range) in PositionIndex::within(&known.puts, start, end) {
                flows
                    .entry((range.pid, range.entry.segment))
                    .and_modify(|known| *known = known.filter(|&known| known == flow))
                    .or_insert(Some(flow));
            }
        }
    }

    /// Returns the peeks at these positions, by call site. Bytes without a name stay in `rest`.
    pub(crate) fn peeks(&self, pipe_positions: &PipePositionSet, rest: Peek) -> Vec<Peek> {
        let mut rows: BTreeMap<Line, (Peek, Vec<NamedRange>)> = BTreeMap::new();
        let mut named = 0;
        let mut calls = 0;
        for (pipe_position, start, end) in pipe_positions.stretches() {
            let Some(known) = self.pipe_positions.get(&pipe_position) else {
                continue;
            };
            for (len, range) in PositionIndex::within(&known.takes, start, end) {
                if !matches!(range.entry.operation, Operation::Peek | Operation::Materialize) {
                    continue;
                }
                named += len;
                calls += 1;
                let doing = range.entry.api_call.map_or(0, |doing| doing as u8);
                let key = (range.pid, range.entry.caller, doing, range.entry.reason);
                let row = rows.entry(key).or_insert_with(|| (Peek::new(0, 0), Vec::new()));
                row.0.bytes += len;
                row.0.calls += 1;
                row.1.push(*range);
            }
        }
        let mut peeks: Vec<Peek> = rows
            .into_values()
            .map(|(peek, ranges)| self.peek(peek, &ranges, &rest))
            .collect();
        let left = rest.bytes.saturating_sub(named);
        if left > 0 {
            peeks.push(Peek {
                bytes: left,
                calls: rest.calls.saturating_sub(calls).max(1),
                ..rest
            });
        }
        peeks
    }

    /// Returns the peeks of one call site as one row.
    fn peek(&self, mut peek: Peek, ranges: &[NamedRange], rest: &Peek) -> Peek {
        let Some(first) = ranges.iter().min_by_key(|range| range.entry.time_ns) else {
            return peek;
        };
        let entry = &first.entry;
        if let Some(journal) = self.by_pid.get(&first.pid) {
            let same = |other: &NamedRange| other.entry.thread == entry.thread;
            journal.describe_peek(&mut peek, first.pid, entry, ranges.iter().all(same));
        }
        peek.method.clone_from(&rest.method);
        peek.call_site = peek.call_site.or_else(|| rest.call_site.clone());
        let same = |other: &NamedRange| other.entry.segment == entry.segment;
        if ranges.iter().all(same) {
            peek.segment = Some(entry.segment);
            let end = |range: &NamedRange| range.entry.segment_offset.saturating_add(range.entry.len);
            let from = ranges.iter().map(|range| range.entry.segment_offset).min();
            let to = ranges.iter().map(end).max();
            peek.range = from.zip(to).map(|(from, to)| (from..to).into());
        }
        peek
    }

    /// Adds rows of segments to a report, and contradictions between journals and probes.
    pub(crate) fn fill(&self, report: &mut report::Report, flows: &FlowsOf, process: &dyn Fn(u32) -> String) {
        for (&pid, journal) in &self.by_pid {
            for (&id, made) in &journal.made {
                let mut row = Segment::new(id, made.bytes);
                row.pid = Some(pid);
                row.process = process(pid);
                row.ranges = made.ranges.parts().map(|(start, end)| (start..end).into()).collect();
                row.flow = flows.get(&(pid, id)).copied().flatten();
                made.entry.operation.name().clone_into(&mut row.operation);
                row.call_site.clone_from(&made.call_site);
                row.pipe = Some(made.entry.pipe).filter(|&pipe| pipe != 0);
                (row.agreement, row.detail) = match (&made.contradicted, made.unseen) {
                    (Some(how), _) => (JournalAgreement::Disagrees, how.clone()),
                    (None, Some(why)) => (
                        JournalAgreement::Inconclusive,
                        format!("The kernel did not show all that the program says it did: {why}."),
                    ),
                    (None, None) if made.joined => (JournalAgreement::Agrees, String::new()),
                    (None, None) => (
                        JournalAgreement::Inconclusive,
                        "The kernel's record of the call has not come yet.".to_owned(),
                    ),
                };
                report.segments.push(row);
            }
            report.omitted.segments += journal.more;
            journal.file_peeks.fill(report, pid, journal);
            report.loss.journal_overruns = report.loss.journal_overruns.saturating_add(journal.lost);
            self.doubts(report, pid, &process(pid));
        }
        for (&pid, why) in &self.none {
            let of = match (pid, process(pid)) {
                (0, _) => String::new(),
                (pid, name) if name.is_empty() => format!("pid {pid}: "),
                (pid, name) => format!("{name} (pid {pid}): "),
            };
            report.coverage.not_covered.push(NotCovered {
                operation: format!("{of}{why}"),
                ..NotCovered::default()
            });
        }
    }

    /// Adds the contradictions of one process.
    fn doubts(&self, report: &mut report::Report, pid: u32, name: &str) {
        let Some(journal) = self.by_pid.get(&pid) else { return };
        let mut row = |what: String, calls: u64, bytes: Option<u64>| {
            report.coverage.not_covered.push(NotCovered {
                operation: what,
                calls: Some(calls),
                bytes,
                ..NotCovered::default()
            });
        };
        let (entries, how) = &journal.contradicted;
        if *entries > 0 {
            row(
                format!("DISAGREES: the journal of {name} (pid {pid}) and the kernel: {how}"),
                *entries,
                None,
            );
        }
        let (entries, bytes, why) = journal.unseen;
        if entries > 0 {
            row(
                format!("entries of the journal of {name} (pid {pid}) without a call: {why}"),
                entries,
                Some(bytes),
            );
        }
        let waiting = self.said.values().filter(|(of, _)| *of == pid);
        let (entries, bytes) = waiting.fold((0, 0_u64), |sums, (_, entry)| {
            (sums.0 + 1, sums.1.saturating_add(entry.len))
        });
        if entries > 0 {
            let why = "the pipe's stream was not known at that time";
            row(
                format!("entries of the journal of {name} (pid {pid}) that are not compared: {why}"),
                entries,
                Some(bytes),
            );
        }
        let (calls, bytes) = self.unaccounted(pid, journal);
        if calls > 0 {
            let why = if journal.lost > 0 {
                "it lost records, which may be theirs"
            } else {
                "it lost none: somebody else uses them, or its account is wrong"
            };
            row(
                format!("calls on pipes of the lists of {name} (pid {pid}) that its journal does not tell of: {why}"),
                calls,
                Some(bytes),
            );
        }
    }
}
