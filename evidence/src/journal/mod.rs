//! Journals of programs, joined with the observations of probes: names the segment and the list of
//! the bytes in a pipe.
//!
//! A journal entry is written by the thread that made the call, after that call and before its
//! next. So its call is the latest observed call of that thread before the entry's time. Then the
//! two are compared: the same pipe (device and inode), the same direction, the same number of
//! bytes, and the same position in the pipe's stream as for all entries before. Only entries that
//! agree, or that differ in nothing but the position, give names to their bytes. No verdict uses a
//! journal.

pub(crate) mod event;
mod file_peeks;
mod process_journal;
mod report_segments;

pub(crate) use self::report_segments::FlowsOf;

use std::collections::{BTreeMap, VecDeque};

use zctrace_records::Call;

use self::process_journal::{Made, ProcessJournal};
use crate::collections::fast_map::FastMap;
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::PipeState;
use crate::journal::event::{EventKind, JournalEvent};
use crate::mirror::pipe_position::PipePosition;
use zctrace_contract::journal::Entry;
use zctrace_report::JournalAgreement;

/// Bytes that a call pushed into or popped from a pipe, at a known position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PipeTransfer {
    pid: u32,
    tid: u32,
    call_id: u64,
    entered_ns: u64,
    dev: u32,
    ino: u64,
    pipe_position: PipePosition,
    len: u64,
    puts: bool,
}

impl PipeTransfer {
    /// Creates the transfer of `len` bytes from `position` on.
    pub(crate) fn new(call: &ObservedCall, pipe: &PipeState, position: PipePosition, len: u64, puts: bool) -> Self {
        Self {
            pid: call.tgid,
            tid: call.tid,
            call_id: call.call_id,
            entered_ns: call.entered_ns,
            dev: pipe.dev,
            ino: pipe.ino,
            pipe_position: position,
            len,
            puts,
        }
    }

    fn key(&self) -> (u64, bool) {
        (self.call_id, self.puts)
    }
}

/// A call that returned.
#[derive(Clone, Copy, Debug)]
struct CompletedCall {
    exited_ns: u64,
    call_id: u64,
}

/// Calls of a thread that no entry was matched past.
#[derive(Debug, Default)]
struct Thread {
    calls: VecDeque<CompletedCall>,
    /// Time of the latest entry. Calls before it have had their entries.
    passed_ns: u64,
}

/// A range of a pipe's stream with one name.
#[derive(Clone, Copy, Debug)]
struct NamedRange {
    len: u64,
    pid: u32,
    entry: Entry,
    agrees: bool,
}

/// Names of one epoch's bytes: who pushed them, and who peeked them.
#[derive(Debug, Default)]
struct PositionIndex {
    /// Difference of the program's position and the mirror's. It is constant within an epoch unless
    /// one of the two is wrong.
    ahead: Option<u64>,
    puts: BTreeMap<u64, NamedRange>,
    takes: BTreeMap<u64, NamedRange>,
}

/// Reason why a difference between an entry and its call is no contradiction.
const LOSSY: &str = "records were lost, so that it may belong to another call";

/// Named ranges that are kept in all epochs together, the latest.
const MAX_NAMED_RANGES: usize = 1 << 17;
/// Calls on pipes that are kept for processes whose journal may still be found.
const MAX_RECENT: usize = 8192;
/// Calls and entries that wait for their counterpart; threads, and calls per thread.
const MAX_WAITING: usize = 1 << 16;
const MAX_THREADS: usize = 1 << 14;
const MAX_CALLS: usize = 4096;
/// Maximum number of journals that are followed.
const MAX_JOURNALS: usize = 4096;

/// All journals, and the names that they gave.
#[derive(Debug, Default)]
pub(crate) struct Journals {
    by_pid: BTreeMap<u32, ProcessJournal>,
    threads: FastMap<u32, Thread>,
    pipe_positions: FastMap<u32, PositionIndex>,
    /// Named ranges in the order in which they were named, so that the oldest are dropped first.
    order: VecDeque<(u32, bool, u64)>,
    /// Calls that wait for their entries, and entries that wait for their calls.
    seen: FastMap<(u64, bool), PipeTransfer>,
    said: FastMap<(u64, bool), (u32, Entry)>,
    /// Calls of processes without a journal.
    recent_calls: VecDeque<(u32, u32, CompletedCall)>,
    recent: VecDeque<PipeTransfer>,
    /// Why journals are not read, by process.
    none: BTreeMap<u32, String>,
    forgotten: bool,
    /// `true` if records of probes were lost.
    kernel_lost: bool,
}

impl Journals {
    /// Notes that records of probes were lost. Differences from now on may be due to that.
    pub(crate) fn records_lost(&mut self) {
        self.kernel_lost = true;
    }

    /// Records that a thread made a call.
    pub(crate) fn called(&mut self, call: &Call) {
        let done = CompletedCall {
            exited_ns: call.header.timestamp_ns,
            call_id: call.call_id,
        };
        let (pid, tid) = (call.header.tgid, call.header.tid);
        if self.by_pid.contains_key(&pid) {
            self.note_call(tid, done);
        } else {
            if self.recent_calls.len() >= MAX_RECENT {
                self.recent_calls.pop_front();
            }
            self.recent_calls.push_back((pid, tid, done));
        }
    }

    fn note_call(&mut self, tid: u32, done: CompletedCall) {
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&tid) {
            self.threads.clear();
            self.forgotten = true;
        }
        let calls = &mut self.threads.entry(tid).or_default().calls;
        if calls.len() >= MAX_CALLS {
            // The thread makes calls outside of the library, and its oldest calls will have no
            // entry.
            calls.pop_front();
        }
        calls.push_back(done);
    }

    /// Records that a call pushed or popped bytes.
    pub(crate) fn transferred(&mut self, seen: PipeTransfer) {
        if self.by_pid.contains_key(&seen.pid) {
            self.meet(seen);
        } else {
            if self.recent.len() >= MAX_RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(seen);
        }
    }

    fn meet(&mut self, seen: PipeTransfer) {
        if let Some((pid, entry)) = self.said.remove(&seen.key()) {
            self.join(&seen, pid, entry);
        } else {
            if self.seen.len() >= MAX_WAITING {
                self.seen.clear();
                self.forgotten = true;
            }
            self.seen.insert(seen.key(), seen);
        }
    }

    /// Processes an event of a journal.
    pub(crate) fn ingest(&mut self, event: &JournalEvent) {
        let pid = event.pid;
        match &event.kind {
            EventKind::Found {
                device,
                since_ns,
                clock,
            } => self.found(pid, ProcessJournal::new(*device, *since_ns, *clock)),
            EventKind::None(why) => {
                if self.none.len() < MAX_JOURNALS {
                    self.none.insert(pid, why.clone());
                }
            }
            EventKind::Entry(entry) => self.entry(pid, *entry),
            EventKind::Line { number, file, line } => {
                if let Some(journal) = self.by_pid.get_mut(&pid) {
                    journal.line(*number, file, *line);
                }
            }
            EventKind::Thread { thread, name } => {
                if let Some(journal) = self.by_pid.get_mut(&pid) {
                    journal.thread(*thread, name);
                }
            }
            EventKind::Lost(lost) => {
                if let Some(journal) = self.by_pid.get_mut(&pid) {
                    journal.lost = *lost;
                }
            }
            EventKind::Ended => {}
        }
    }

    fn found(&mut self, pid: u32, journal: ProcessJournal) {
        if self.by_pid.len() >= MAX_JOURNALS {
            return;
        }
        self.none.remove(&pid);
        // A process that executed another program has a new journal. Bytes that were named before
        // keep their names.
        match self.by_pid.get_mut(&pid) {
            Some(before) => before.reset(journal),
            None => drop(self.by_pid.insert(pid, journal)),
        }
        let calls = std::mem::take(&mut self.recent_calls);
        for (of, tid, done) in calls {
            if of == pid {
                self.note_call(tid, done);
            } else {
                self.recent_calls.push_back((of, tid, done));
            }
        }
        let recent = std::mem::take(&mut self.recent);
        for seen in recent {
            self.transferred(seen);
        }
    }

    /// Matches an entry with the call that it was written after.
    fn entry(&mut self, pid: u32, entry: Entry) {
        let Some(journal) = self.by_pid.get_mut(&pid) else {
            return;
        };
        if entry.time_ns < journal.since_ns {
            // The entry was written while no tracer was attached.
            return;
        }
        if entry.pipe == 0 {
            // No pipe was involved, so no call can be joined. The kernel's I/O counters have the
            // reads.
            journal.file_peeks.add(&entry);
            return;
        }
        let Some(thread) = self.threads.get_mut(&entry.thread) else {
            journal.unseen(&entry, "no call of its thread was seen");
            return;
        };
        thread.passed_ns = thread.passed_ns.max(entry.time_ns);
        let is_before = |call: &CompletedCall| call.exited_ns <= entry.time_ns;
        let before = thread.calls.iter().rposition(is_before);
        let Some(at) = before else {
            journal.unseen(&entry, "no call of its thread before it was seen");
            return;
        };
        let call_id = thread.calls[at].call_id;
        // One call can have two entries, one for each pipe. Calls before it have had theirs.
        thread.calls.drain(..at);
        let key = (call_id, entry.operation.enters_pipe());
        if let Some(seen) = self.seen.remove(&key) {
            self.join(&seen, pid, entry);
        } else if self.said.contains_key(&key) {
            journal.unseen(&entry, "its call has another entry already");
        } else {
            if self.said.len() >= MAX_WAITING {
                self.said.clear();
                self.forgotten = true;
            }
            self.said.insert(key, (pid, entry));
        }
    }

    /// Compares a call with its entry and names the bytes.
    fn join(&mut self, seen: &PipeTransfer, pid: u32, entry: Entry) {
        let lossy = self.kernel_lost;
        let Some(journal) = self.by_pid.get_mut(&pid) else {
            return;
        };
        let lossy = lossy || journal.lost > 0;
        if seen.pid != pid || (seen.dev, seen.ino) != (journal.device, entry.pipe) {
            if lossy {
                return journal.unseen(&entry, LOSSY);
            }
            journal.contradicted(
                &entry,
                format!(
                    "The program says that it used pipe {}, and the kernel saw pipe {}.",
                    entry.pipe, seen.ino
                ),
            );
            return;
        }
        let known = self.pipe_positions.entry(seen.pipe_position.epoch).or_default();
        let ahead = entry.pipe_offset.wrapping_sub(seen.pipe_position.offset);
        let differs = seen.len != entry.len || known.ahead.is_some_and(|known| known != ahead);
        if differs && lossy {
            return journal.unseen(&entry, LOSSY);
        }
        let mut agrees = true;
        if seen.len != entry.len {
            agrees = false;
            journal.contradicted(
                &entry,
                format!(
                    "The program says that {} bytes went {} pipe {}, and the kernel saw {}.",
                    entry.len,
                    into(entry),
                    entry.pipe,
                    seen.len
                ),
            );
        } else if *known.ahead.get_or_insert(ahead) != ahead {
            agrees = false;
            let expected = seen.pipe_position.offset.wrapping_add(known.ahead.unwrap_or(0));
            journal.contradicted(&entry, format!(
                "The program says that the bytes went {} pipe {} at byte {} of its stream, and the kernel saw them at byte {expected}.",
                into(entry), entry.pipe, entry.pipe_offset
            ));
        }
        journal.joined(&entry, agrees);
        let range = NamedRange {
            len: seen.len,
            pid,
            entry,
            agrees,
        };
        self.keep_named_range(seen, range);
    }

    /// Keeps the name of a transfer's bytes, and drops the oldest named range if there are too
    /// many.
    fn keep_named_range(&mut self, seen: &PipeTransfer, range: NamedRange) {
        let known = self.pipe_positions.entry(seen.pipe_position.epoch).or_default();
        let side = if seen.puts { &mut known.puts } else { &mut known.takes };
        if side.insert(seen.pipe_position.offset, range).is_none() {
            self.order
                .push_back((seen.pipe_position.epoch, seen.puts, seen.pipe_position.offset));
        }
        if self.order.len() > MAX_NAMED_RANGES
            && let Some((pipe_position, puts, at)) = self.order.pop_front()
            && let Some(known) = self.pipe_positions.get_mut(&pipe_position)
        {
            let side = if puts { &mut known.puts } else { &mut known.takes };
            side.remove(&at);
            if known.puts.is_empty() && known.takes.is_empty() {
                self.pipe_positions.remove(&pipe_position);
            }
            self.forgotten = true;
        }
    }

    /// Starts a new account of segments. Bytes in pipes keep their names.
    pub(crate) fn reset(&mut self) {
        for journal in self.by_pid.values_mut() {
            journal.made.clear();
            journal.file_peeks.clear();
        }
    }

    /// Returns the calls and bytes on pipes of a journal that it has no entry for, although it has
    /// later entries of the same thread.
    fn unaccounted(&self, pid: u32, journal: &ProcessJournal) -> (u64, u64) {
        let mut sums = (0, 0);
        for seen in self.seen.values().filter(|seen| seen.pid == pid) {
            let passed = self
                .threads
                .get(&seen.tid)
                .is_some_and(|thread| thread.passed_ns > seen.entered_ns);
            let of_the_library = self
                .pipe_positions
                .get(&seen.pipe_position.epoch)
                .is_some_and(|known| known.ahead.is_some());
            if passed && of_the_library && seen.entered_ns > journal.since_ns {
                sums.0 += 1;
                sums.1 += seen.len;
            }
        }
        sums
    }
}

fn into(entry: Entry) -> &'static str {
    if entry.operation.enters_pipe() {
        "into"
    } else {
        "out of"
    }
}

/// Returns how the journal agrees with the call.
fn word(agrees: bool) -> JournalAgreement {
    if agrees {
        JournalAgreement::Agrees
    } else {
        JournalAgreement::Disagrees
    }
}

/// Segments of one account, by number.
type AllMade = BTreeMap<u64, Made>;
