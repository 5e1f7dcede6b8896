//! Journals that are being read: when a process is searched for one, how its entries become events,
//! and how it is left.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bufferlist::journal::{self, Layout, Operation, Reader};

use super::file::{JournalMap, OpenError};
use super::process::{self, ThreadIds};
use zctrace_contract::journal::Entry;
use zctrace_evidence::{EventKind, JournalEvent};
use zctrace_report::format::printable;

/// Delay before a process is searched again: first and longest. A search reads one link per
/// descriptor of the process, and a program's operations must be named within a second.
const MIN_LOOKUP_DELAY: Duration = Duration::from_millis(4);
const MAX_LOOKUP_DELAY: Duration = Duration::from_millis(500);
/// Limits of one poll: number of processes to search, and the time after which no further search
/// begins. The kernel's records arrive meanwhile, and the ring buffer holds a few times as much.
const LOOKUPS_PER_POLL: usize = 16;
const LOOKUP_BUDGET: Duration = Duration::from_millis(2);
/// Limit on processes, and on thread names per process, that are remembered.
const MAX_PROCESSES: usize = 4096;

/// All journals of a trace.
#[derive(Debug, Default)]
pub(crate) struct Journals {
    /// True if journals can be found in this PID namespace; `None` until first needed.
    can_look_up: Option<bool>,
    open: HashMap<u32, OpenJournal>,
    pending: HashMap<u32, PendingLookup>,
    /// Process of the latest record. Most records come from the process of the previous one.
    latest: u32,
    events: Vec<JournalEvent>,
}

/// Process that was active and whose journal has not been found.
#[derive(Debug)]
struct PendingLookup {
    /// True if the process was active since the last search.
    active: bool,
    next: Instant,
    delay: Duration,
    reported: bool,
}

/// Journal that is being read.
#[derive(Debug)]
struct OpenJournal {
    map: JournalMap,
    stream: EntryStream,
}

/// State of reading one journal.
#[derive(Debug)]
struct EntryStream {
    pid: u32,
    reader: Reader,
    threads: ThreadIds,
    reported_lines: HashSet<u8>,
    /// Threads whose names were reported.
    reported_names: HashSet<u32>,
    lost: u64,
}

impl EntryStream {
    /// Reads new entries and appends them as events.
    fn read(&mut self, words: &[AtomicU64], events: &mut Vec<JournalEvent>) {
        let Self {
            pid,
            reader,
            threads,
            reported_lines,
            reported_names,
            lost,
        } = self;
        let pid = *pid;
        let mut entries = Vec::new();
        reader.read(words, &mut |entry| entries.push(entry));
        // Report losses first, because the lost entries may explain the ones that follow.
        let now = reader.lost().saturating_add(reader.damaged());
        if now != *lost {
            *lost = now;
            events.push(JournalEvent {
                pid,
                kind: EventKind::Lost(now),
            });
        }
        for entry in entries {
            if !reported_lines.contains(&entry.caller)
                && let Some(line) = reader.call_site(words, entry.caller)
            {
                reported_lines.insert(entry.caller);
                events.push(JournalEvent {
                    pid,
                    kind: EventKind::Line {
                        number: entry.caller,
                        file: printable(&line.file).into_owned(),
                        line: line.line,
                    },
                });
            }
            let thread = threads.global_id(entry.thread);
            if entry.operation == Operation::Peek
                && reported_names.len() < MAX_PROCESSES
                && reported_names.insert(thread)
                && let Some(name) = process::thread_name(pid, thread)
            {
                events.push(JournalEvent {
                    pid,
                    kind: EventKind::Thread { thread, name },
                });
            }
            events.push(JournalEvent {
                pid,
                kind: EventKind::Entry(Entry { thread, ..entry }),
            });
        }
    }

    /// Reads the rest after the process has ended. Entries that are still incomplete count as lost.
    fn finish(&mut self, words: &[AtomicU64], events: &mut Vec<JournalEvent>) {
        self.read(words, events);
        let (pid, half) = (self.pid, self.reader.incomplete());
        if half > 0 {
            events.push(JournalEvent {
                pid,
                kind: EventKind::Lost(self.lost.saturating_add(half)),
            });
        }
        events.push(JournalEvent {
            pid,
            kind: EventKind::Ended,
        });
    }
}

/// Result of searching a process for its journal.
enum Lookup {
    Found(Box<OpenJournal>, EventKind),
    /// The process has no journal yet.
    NotFound,
    /// The process has a journal that cannot be read.
    Rejected(String),
}

impl Journals {
    /// Notes that a traced process made a recorded call.
    #[inline]
    pub(crate) fn on_activity(&mut self, pid: u32) {
        if pid != self.latest {
            self.latest = pid;
            self.mark_active(pid);
        }
    }

    fn mark_active(&mut self, pid: u32) {
        if self.open.contains_key(&pid) || (self.pending.len() >= MAX_PROCESSES && !self.pending.contains_key(&pid)) {
            return;
        }
        let lookup = self.pending.entry(pid).or_insert_with(|| PendingLookup {
            active: true,
            next: Instant::now(),
            delay: MIN_LOOKUP_DELAY,
            reported: false,
        });
        lookup.active = true;
    }

    /// Notes that a process is traced from now on, and searches for its journal at once.
    pub(crate) fn on_start(&mut self, pid: u32) {
        self.pending.remove(&pid);
        self.mark_active(pid);
        self.poll();
    }

    /// Notes that a process has exited or executed another program, and reads its journal to the
    /// end.
    pub(crate) fn on_exit(&mut self, pid: u32) {
        self.latest = 0;
        self.pending.remove(&pid);
        if let Some(mut journal) = self.open.remove(&pid) {
            journal.stream.finish(journal.map.words(), &mut self.events);
        }
    }

    /// Reads all journals. Call it before reading the kernel's records, so that the call of each
    /// entry is among them.
    pub(crate) fn read(&mut self) {
        for journal in self.open.values_mut() {
            journal.stream.read(journal.map.words(), &mut self.events);
        }
    }

    /// Returns the events since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<JournalEvent> {
        std::mem::take(&mut self.events)
    }

    /// Searches active processes for journals.
    pub(crate) fn poll(&mut self) {
        // Forget the latest process, so that its next record marks it active again.
        self.latest = 0;
        let now = Instant::now();
        let due = |lookup: &PendingLookup| lookup.active && lookup.next <= now;
        let due: Vec<u32> = self
            .pending
            .iter()
            .filter(|(_, lookup)| due(lookup))
            .map(|(&pid, _)| pid)
            .take(LOOKUPS_PER_POLL)
            .collect();
        for pid in due {
            if now.elapsed() > LOOKUP_BUDGET {
                break;
            }
            if !*self
                .can_look_up
                .get_or_insert_with(process::is_in_initial_pid_namespace)
            {
                self.pending.clear();
                let why = "the journals of bufferlists cannot be found from inside a container: zctrace's own /proc numbers \
                           processes otherwise than the kernel does; run it in the initial PID namespace";
                self.report_no_journal(0, why.to_owned());
                return;
            }
            match look_up(pid) {
                Lookup::Found(journal, what) => {
                    self.pending.remove(&pid);
                    self.events.push(JournalEvent { pid, kind: what });
                    self.open.insert(pid, *journal);
                }
                Lookup::NotFound => {
                    let reported = self.back_off(pid, now);
                    if !reported && process::has_disabled_journal(pid) == Some(true) {
                        self.report_no_journal(
                            pid,
                            "it has no journal, for BUFFERLIST_JOURNAL=0 is set in its environment: its segments and looks \
                             have no names here"
                                .to_owned(),
                        );
                    }
                }
                Lookup::Rejected(why) => {
                    if !self.back_off(pid, now) {
                        self.report_no_journal(pid, format!("its journal is not read: {why}"));
                    }
                }
            }
        }
    }

    /// Doubles the delay before the next search. Returns whether the absence of a journal was
    /// already reported.
    fn back_off(&mut self, pid: u32, now: Instant) -> bool {
        let Some(lookup) = self.pending.get_mut(&pid) else {
            return true;
        };
        lookup.active = false;
        lookup.next = now + lookup.delay;
        lookup.delay = (lookup.delay * 2).min(MAX_LOOKUP_DELAY);
        std::mem::replace(&mut lookup.reported, true)
    }

    fn report_no_journal(&mut self, pid: u32, why: String) {
        self.events.push(JournalEvent {
            pid,
            kind: EventKind::None(why),
        });
    }
}

fn look_up(pid: u32) -> Lookup {
    let mut refused = None;
    for link in process::journal_links(pid) {
        let map = match JournalMap::open(&link) {
            Ok(map) => map,
            Err(OpenError::Closed) => continue,
            Err(OpenError::Unsafe(why)) => {
                refused = Some(why.to_owned());
                continue;
            }
        };
        let layout = match Layout::read(map.words()) {
            Ok(layout) => layout,
            Err(why) => {
                refused = Some(why.to_string());
                continue;
            }
        };
        // A forked child also holds its parent's journal.
        let Some(threads) = process::thread_ids_of_owner(pid, &layout) else {
            continue;
        };
        if !map.lock_shared() {
            refused = Some("somebody keeps it locked".to_owned());
            continue;
        }
        return start_reading(pid, map, threads);
    }
    refused.map_or(Lookup::NotFound, Lookup::Rejected)
}

/// Sets the journal's flag and reads from the end; or from the start, if the flag was already set.
fn start_reading(pid: u32, map: JournalMap, threads: ThreadIds) -> Lookup {
    let words = map.words();
    // Entries of a journal without the flag are from an earlier reader, possibly one long gone, and
    // have gaps.
    let was_watched = journal::is_watched(words);
    let reader = if was_watched {
        Reader::new_at_start(words)
    } else {
        Reader::new_at_end(words)
    };
    let Ok(reader) = reader else { return Lookup::NotFound };
    journal::set_watched(words, true);
    let layout = *reader.layout();
    let since_ns = if was_watched && reader.is_complete() {
        layout.created_ns
    } else {
        monotonic_ns()
    };
    let stream = EntryStream {
        pid,
        reader,
        threads,
        reported_lines: HashSet::new(),
        reported_names: HashSet::new(),
        lost: 0,
    };
    let device = kernel_dev(layout.device);
    Lookup::Found(
        Box::new(OpenJournal { map, stream }),
        EventKind::Found {
            device,
            since_ns,
            clock: (monotonic_ns(), unix_ms()),
        },
    )
}

/// Converts a device number of stat(2) into the kernel's form: the major number above bit 20.
fn kernel_dev(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    major << 20 | minor & 0xf_ffff
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

/// Clears the flag if this is the last reader. If all readers are killed the flag stays set, and
/// the program keeps overwriting entries until the next reader leaves in an orderly way.
impl Drop for OpenJournal {
    fn drop(&mut self) {
        if self.map.try_lock_exclusive() {
            journal::set_watched(self.map.words(), false);
        }
    }
}

/// Decodes arbitrary words as a journal.
pub(super) fn fuzz_read(words: &[AtomicU64]) -> Vec<JournalEvent> {
    let mut events = Vec::new();
    if let Ok(reader) = Reader::new_at_start(words) {
        let mut stream = EntryStream {
            pid: 1,
            reader,
            threads: ThreadIds::Identity,
            reported_lines: HashSet::new(),
            reported_names: HashSet::new(),
            lost: 0,
        };
        stream.read(words, &mut events);
        stream.finish(words, &mut events);
    }
    events
}
