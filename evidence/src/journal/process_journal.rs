//! The journal of one process.

use std::collections::{BTreeMap, HashMap};

use zctrace_contract::LibraryReason;
use zctrace_contract::journal::Operation;

use super::AllMade;
use super::file_peeks::FilePeeks;
use crate::collections::range_set::RangeSet;
use zctrace_contract::journal::Entry;
use zctrace_report::{CallSite, Peek};

/// Segments of one process and account, the first.
const MAX_MADE: usize = 1 << 16;
/// Names of threads.
const MAX_NAMES: usize = 4096;

/// The journal of one process, and the segments that it named.
#[derive(Debug)]
pub(crate) struct ProcessJournal {
    /// Device number of the filesystem of its pipes.
    pub(crate) device: u32,
    /// The journal is complete from this time on, in nanoseconds of the monotonic clock.
    pub(crate) since_ns: u64,
    /// One moment by the monotonic clock, in nanoseconds, and in milliseconds since 1970.
    clock: (u64, u64),
    /// Entries that were overwritten or could not be decoded.
    pub(crate) lost: u64,
    pub(crate) made: AllMade,
    /// Segments that were not kept because there were too many.
    pub(crate) more: u64,
    /// Peeks at files, without a pipe.
    pub(crate) file_peeks: FilePeeks,
    lines: HashMap<u8, CallSite>,
    threads: HashMap<u32, String>,
    /// Entries whose call was not observed: number, bytes, and the reason of the latest.
    pub(crate) unseen: (u64, u64, &'static str),
    /// Entries that contradict their call: number, and how the first does.
    pub(crate) contradicted: (u64, String),
}

/// A segment of one account.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) entry: Entry,
    pub(crate) bytes: u64,
    pub(crate) ranges: RangeSet,
    pub(crate) call_site: Option<CallSite>,
    /// An entry of the segment agrees with its call.
    pub(crate) joined: bool,
    /// How an entry of the segment contradicts its call.
    pub(crate) contradicted: Option<String>,
    pub(crate) unseen: Option<&'static str>,
}

impl ProcessJournal {
    pub(crate) fn new(device: u32, since_ns: u64, clock: (u64, u64)) -> Self {
        Self {
            device,
            since_ns,
            clock,
            lost: 0,
            made: BTreeMap::new(),
            more: 0,
            file_peeks: FilePeeks::default(),
            lines: HashMap::new(),
            threads: HashMap::new(),
            unseen: (0, 0, ""),
            contradicted: (0, String::new()),
        }
    }

    /// Replaces the journal, because the process executed another program.
    pub(crate) fn reset(&mut self, with: Self) {
        let lost = self.lost;
        *self = with;
        self.lost = lost;
    }

    pub(crate) fn line(&mut self, number: u8, file: &str, line: u32) {
        self.lines.insert(
            number,
            CallSite {
                file: file.to_owned(),
                line,
                ..CallSite::default()
            },
        );
    }

    pub(crate) fn call_site(&self, entry: &Entry) -> Option<CallSite> {
        self.lines.get(&entry.caller).cloned()
    }

    pub(crate) fn thread(&mut self, thread: u32, name: &str) {
        if self.threads.len() < MAX_NAMES {
            self.threads.insert(thread, name.to_owned());
        }
    }

    pub(crate) fn thread_name(&self, entry: &Entry) -> String {
        self.threads.get(&entry.thread).cloned().unwrap_or_default()
    }

    /// Describes a peek by `entry`, the first of its row. Bytes are not set.
    pub(crate) fn describe_peek(&self, peek: &mut Peek, pid: u32, entry: &Entry, is_one_thread: bool) {
        peek.pid = Some(pid);
        peek.code = entry.reason.unwrap_or(LibraryReason::Peeked).into();
        let doing = entry.api_call.map_or("", |doing| doing.name());
        doing.clone_into(&mut peek.operation);
        peek.call_site = self.call_site(entry);
        peek.first_unix_ms = Some(self.unix_ms(entry));
        if is_one_thread {
            peek.thread = self.thread_name(entry);
        }
    }

    /// Returns when an entry was written, in milliseconds since 1970.
    pub(crate) fn unix_ms(&self, entry: &Entry) -> u64 {
        let (monotonic_ns, unix_ms) = self.clock;
        let before = monotonic_ns.saturating_sub(entry.time_ns) / 1_000_000;
        let after = entry.time_ns.saturating_sub(monotonic_ns) / 1_000_000;
        unix_ms.saturating_sub(before).saturating_add(after)
    }

    /// Returns the segment of an entry, a new one if it is the first of the account.
    fn segment(&mut self, entry: &Entry) -> Option<&mut Made> {
        if self.made.len() >= MAX_MADE && !self.made.contains_key(&entry.segment) {
            self.more += 1;
            return None;
        }
        let call_site = self.call_site(entry);
        let made = self.made.entry(entry.segment).or_insert_with(|| Made {
            entry: *entry,
            bytes: 0,
            ranges: RangeSet::default(),
            call_site,
            joined: false,
            contradicted: None,
            unseen: None,
        });
        Some(made)
    }

    /// Records that an entry was joined with its call.
    pub(crate) fn joined(&mut self, entry: &Entry, agrees: bool) {
        let call_site = self.call_site(entry);
        let Some(made) = self.segment(entry) else { return };
        made.joined |= agrees;
        if matches!(entry.operation, Operation::Fill | Operation::Vmsplice) {
            if made.bytes == 0 {
                (made.entry, made.call_site) = (*entry, call_site);
            }
            made.bytes = made.bytes.saturating_add(entry.len);
            made.ranges.add(entry.segment_offset, entry.len);
        }
    }

    /// Records that an entry contradicts its call.
    pub(crate) fn contradicted(&mut self, entry: &Entry, how: String) {
        self.contradicted.0 += 1;
        if self.contradicted.1.is_empty() {
            self.contradicted.1.clone_from(&how);
        }
        if let Some(made) = self.segment(entry) {
            made.contradicted.get_or_insert(how);
        }
    }

    /// Records that the call of an entry was not observed.
    pub(crate) fn unseen(&mut self, entry: &Entry, why: &'static str) {
        self.unseen.0 += 1;
        self.unseen.1 = self.unseen.1.saturating_add(entry.len);
        self.unseen.2 = why;
        if let Some(made) = self.segment(entry) {
            made.unseen.get_or_insert(why);
        }
    }
}
