//! The journals of programs, joined to what the kernel showed: which segment of which list the bytes in a pipe are.
//!
//! An entry of a journal is written by the thread that made the call, after that call and before its next. So the call is the
//! latest one that the kernel saw of that thread before the entry's time. Then the two are compared: the same pipe (device
//! and inode), the same direction, as many bytes, and the same place in the pipe's stream as for all entries before it. Only
//! what agrees, or what differs in nothing but the place, gives its bytes a name; and no verdict is ever made of it.

mod book;
mod names;
mod unpiped;

pub(crate) use self::names::FlowsOf;

use std::collections::{BTreeMap, VecDeque};

use zctrace_records::{Call, EndpointState};

use self::book::{Book, Made};
use super::lanes::Lane;
use crate::fast_map::Map;
use crate::journal_event::{News, What};
use zctrace_contract::journal::Entry;
use zctrace_report::LedgerWord;

/// What a call did with a pipe of which the stream is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage {
    pid: u32,
    tid: u32,
    serial: u64,
    entered_ns: u64,
    dev: u32,
    ino: u64,
    lane: Lane,
    len: u64,
    puts: bool,
}

impl Passage {
    /// `len` bytes went into a pipe, or out of it, from this place of its stream on.
    pub(crate) fn new(call: &Call, end: &EndpointState, lane: Lane, len: u64, puts: bool) -> Self {
        Self {
            pid: call.header.tgid,
            tid: call.header.tid,
            serial: call.call_id,
            entered_ns: call.entered_ns,
            dev: end.dev,
            ino: end.ino,
            lane,
            len,
            puts,
        }
    }

    fn key(&self) -> (u64, bool) {
        (self.serial, self.puts)
    }
}

/// A call of a thread.
#[derive(Clone, Copy, Debug)]
struct Done {
    exited_ns: u64,
    serial: u64,
}

/// Calls of a thread that no entry has passed by yet.
#[derive(Debug, Default)]
struct Thread {
    calls: VecDeque<Done>,
    /// The calls up to this time are those that entries have passed by.
    passed_ns: u64,
}

/// Stretches of a pipe with one name.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    len: u64,
    pid: u32,
    entry: Entry,
    agrees: bool,
}

/// What is known of a lane: who put what where, and who copied what out of it.
#[derive(Debug, Default)]
struct Known {
    /// What the program's count of the stream is ahead of ours. The same for all of the lane, or one of the two is wrong.
    ahead: Option<u64>,
    puts: BTreeMap<u64, Stretch>,
    takes: BTreeMap<u64, Stretch>,
}

/// Why an entry that does not agree with its call is no contradiction.
const LOSSY: &str = "records were lost, so that it may belong to another call";

/// Names of stretches that are kept, of all lanes together: the latest.
const MOST_STRETCHES: usize = 1 << 17;
/// Calls on pipes that are kept for processes whose journal may yet be found.
const MOST_RECENT: usize = 8192;
/// Calls and entries that wait for their other half, threads and their calls.
const MOST_WAITING: usize = 1 << 16;
const MOST_THREADS: usize = 1 << 14;
const MOST_CALLS: usize = 4096;
/// Journals.
const MOST_BOOKS: usize = 4096;

/// All that journals said.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    books: BTreeMap<u32, Book>,
    threads: Map<u32, Thread>,
    lanes: Map<u32, Known>,
    next_lane: u32,
    /// In the order in which they were named, so that the oldest go first.
    order: VecDeque<(u32, bool, u64)>,
    /// Calls that wait for their entries, and entries that wait for their calls.
    seen: Map<(u64, bool), Passage>,
    said: Map<(u64, bool), (u32, Entry)>,
    /// Of processes without a journal.
    recent_calls: VecDeque<(u32, u32, Done)>,
    recent: VecDeque<Passage>,
    /// Why journals are not read: by process.
    none: BTreeMap<u32, String>,
    forgotten: bool,
    /// Records of the kernel were lost.
    kernel_lost: bool,
}

impl Segments {
    /// Records of the kernel were lost: what does not agree from now on may be for that.
    pub(crate) fn kernel_lost(&mut self) {
        self.kernel_lost = true;
    }

    /// A number for a new lane.
    pub(crate) fn new_lane(&mut self) -> u32 {
        self.next_lane = self.next_lane.wrapping_add(1).max(1);
        self.next_lane
    }

    /// A thread has made a call.
    pub(crate) fn called(&mut self, call: &Call) {
        let done = Done {
            exited_ns: call.header.timestamp_ns,
            serial: call.call_id,
        };
        let (pid, tid) = (call.header.tgid, call.header.tid);
        if self.books.contains_key(&pid) {
            self.note_call(tid, done);
        } else {
            if self.recent_calls.len() >= MOST_RECENT {
                self.recent_calls.pop_front();
            }
            self.recent_calls.push_back((pid, tid, done));
        }
    }

    fn note_call(&mut self, tid: u32, done: Done) {
        if self.threads.len() >= MOST_THREADS && !self.threads.contains_key(&tid) {
            self.threads.clear();
            self.forgotten = true;
        }
        let calls = &mut self.threads.entry(tid).or_default().calls;
        if calls.len() >= MOST_CALLS {
            // A thread that does other things than the library's: what it did long ago has no entry any more.
            calls.pop_front();
        }
        calls.push_back(done);
    }

    /// A call has gone into or out of a pipe.
    pub(crate) fn seen(&mut self, seen: Passage) {
        if self.books.contains_key(&seen.pid) {
            self.meet(seen);
        } else {
            if self.recent.len() >= MOST_RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(seen);
        }
    }

    fn meet(&mut self, seen: Passage) {
        if let Some((pid, entry)) = self.said.remove(&seen.key()) {
            self.join(&seen, pid, entry);
        } else {
            if self.seen.len() >= MOST_WAITING {
                self.seen.clear();
                self.forgotten = true;
            }
            self.seen.insert(seen.key(), seen);
        }
    }

    /// Takes what a journal says.
    pub(crate) fn news(&mut self, news: &News) {
        let pid = news.pid;
        match &news.what {
            What::Found {
                device,
                since_ns,
                clock,
            } => self.found(pid, Book::new(*device, *since_ns, *clock)),
            What::None(why) => {
                if self.none.len() < MOST_BOOKS {
                    self.none.insert(pid, why.clone());
                }
            }
            What::Entry(entry) => self.entry(pid, *entry),
            What::Line { number, file, line } => {
                if let Some(book) = self.books.get_mut(&pid) {
                    book.line(*number, file, *line);
                }
            }
            What::Thread { thread, name } => {
                if let Some(book) = self.books.get_mut(&pid) {
                    book.thread(*thread, name);
                }
            }
            What::Lost(lost) => {
                if let Some(book) = self.books.get_mut(&pid) {
                    book.lost = *lost;
                }
            }
            What::Ended => {}
        }
    }

    fn found(&mut self, pid: u32, book: Book) {
        if self.books.len() >= MOST_BOOKS {
            return;
        }
        self.none.remove(&pid);
        // A process that has become another program begins anew; what it was called before stays as it was named.
        match self.books.get_mut(&pid) {
            Some(before) => before.begin_anew(book),
            None => drop(self.books.insert(pid, book)),
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
            self.seen(seen);
        }
    }

    /// An entry finds the call that it was written after.
    fn entry(&mut self, pid: u32, entry: Entry) {
        let Some(book) = self.books.get_mut(&pid) else { return };
        if entry.time_ns < book.since_ns {
            // Of a time when nobody of us watched.
            return;
        }
        if entry.pipe == 0 {
            // No pipe took part, so there is nothing to join: the kernel's own account has the reads.
            book.unpiped.add(&entry);
            return;
        }
        let Some(thread) = self.threads.get_mut(&entry.thread) else {
            book.unseen(&entry, "no call of its thread was seen");
            return;
        };
        thread.passed_ns = thread.passed_ns.max(entry.time_ns);
        let is_before = |call: &Done| call.exited_ns <= entry.time_ns;
        let before = thread.calls.iter().rposition(is_before);
        let Some(at) = before else {
            book.unseen(&entry, "no call of its thread before it was seen");
            return;
        };
        let serial = thread.calls[at].serial;
        // One call can have two entries, one for each pipe; those before it have had theirs.
        thread.calls.drain(..at);
        let key = (serial, entry.operation.enters_pipe());
        if let Some(seen) = self.seen.remove(&key) {
            self.join(&seen, pid, entry);
        } else if self.said.contains_key(&key) {
            book.unseen(&entry, "its call has another entry already");
        } else {
            if self.said.len() >= MOST_WAITING {
                self.said.clear();
                self.forgotten = true;
            }
            self.said.insert(key, (pid, entry));
        }
    }

    /// A call and its entry: the same pipe, as many bytes, the same place?
    fn join(&mut self, seen: &Passage, pid: u32, entry: Entry) {
        let lossy = self.kernel_lost;
        let Some(book) = self.books.get_mut(&pid) else { return };
        let lossy = lossy || book.lost > 0;
        if seen.pid != pid || (seen.dev, seen.ino) != (book.device, entry.pipe) {
            if lossy {
                return book.unseen(&entry, LOSSY);
            }
            book.contradicted(
                &entry,
                format!(
                    "The program says that it used pipe {}, and the kernel saw pipe {}.",
                    entry.pipe, seen.ino
                ),
            );
            return;
        }
        let known = self.lanes.entry(seen.lane.number).or_default();
        let ahead = entry.pipe_offset.wrapping_sub(seen.lane.at);
        let differs = seen.len != entry.len || known.ahead.is_some_and(|known| known != ahead);
        if differs && lossy {
            return book.unseen(&entry, LOSSY);
        }
        let mut agrees = true;
        if seen.len != entry.len {
            agrees = false;
            book.contradicted(
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
            let expected = seen.lane.at.wrapping_add(known.ahead.unwrap_or(0));
            book.contradicted(&entry, format!(
                "The program says that the bytes went {} pipe {} at byte {} of its stream, and the kernel saw them at byte {expected}.",
                into(entry), entry.pipe, entry.pipe_offset
            ));
        }
        book.joined(&entry, agrees);
        let stretch = Stretch {
            len: seen.len,
            pid,
            entry,
            agrees,
        };
        let side = if seen.puts { &mut known.puts } else { &mut known.takes };
        if side.insert(seen.lane.at, stretch).is_none() {
            self.order.push_back((seen.lane.number, seen.puts, seen.lane.at));
        }
        if self.order.len() > MOST_STRETCHES
            && let Some((lane, puts, at)) = self.order.pop_front()
            && let Some(known) = self.lanes.get_mut(&lane)
        {
            let side = if puts { &mut known.puts } else { &mut known.takes };
            side.remove(&at);
            if known.puts.is_empty() && known.takes.is_empty() {
                self.lanes.remove(&lane);
            }
            self.forgotten = true;
        }
    }

    /// A new account: segments are told of from here on. What lies in pipes keeps its names.
    pub(crate) fn begin_anew(&mut self) {
        for book in self.books.values_mut() {
            book.made.clear();
            book.unpiped.clear();
        }
    }

    /// Calls on pipes of a journal that it does not tell of, though it tells of later ones of the same thread.
    fn unaccounted(&self, pid: u32, book: &Book) -> (u64, u64) {
        let mut sums = (0, 0);
        for seen in self.seen.values().filter(|seen| seen.pid == pid) {
            let passed = self
                .threads
                .get(&seen.tid)
                .is_some_and(|thread| thread.passed_ns > seen.entered_ns);
            let of_the_library = self
                .lanes
                .get(&seen.lane.number)
                .is_some_and(|known| known.ahead.is_some());
            if passed && of_the_library && seen.entered_ns > book.since_ns {
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

/// Why a name is not certain, if it is not.
fn word(agrees: bool) -> LedgerWord {
    if agrees {
        LedgerWord::Agrees
    } else {
        LedgerWord::Disagrees
    }
}

/// What was made of a segment in this account.
type AllMade = BTreeMap<u64, Made>;
