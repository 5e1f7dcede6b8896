//! The journals that are read now: when to look for one, what to take out of it, and how to leave it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bufferlist::journal::{self, Layout, Operation, Reader};

use super::file::{Refused, Words};
use super::process::{self, Threads};
use zctrace_contract::journal::Entry;
use zctrace_evidence::{News, What};
use zctrace_report::text::printable;

/// How long to wait before a process is looked through again, at first and at most. A look costs as many links as it has
/// descriptors; and what a program does must be named within a second.
const FIRST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(500);
/// Processes that are looked through at one time, at most, and how long that may take but for the last one of them: the
/// kernel's records come meanwhile, and their ring holds a few times as much.
const AT_A_TIME: usize = 16;
const BUDGET: Duration = Duration::from_millis(2);
/// Processes that are remembered.
const MOST: usize = 4096;

/// All journals of a trace.
#[derive(Debug, Default)]
pub(crate) struct Journals {
    /// Whether processes can be found at all, once somebody has asked.
    possible: Option<bool>,
    watched: HashMap<u32, Watched>,
    wanted: HashMap<u32, Wanted>,
    /// The process of the latest record: most come from the one before.
    latest: u32,
    news: Vec<News>,
}

/// A process that does what lists do, and has no journal yet.
#[derive(Debug)]
struct Wanted {
    /// Something happened since the last look.
    stirred: bool,
    next: Instant,
    wait: Duration,
    told: bool,
}

/// A journal that is read.
#[derive(Debug)]
struct Watched {
    words: Words,
    reading: Reading,
}

/// What was read of a journal.
#[derive(Debug)]
struct Reading {
    pid: u32,
    reader: Reader,
    threads: Threads,
    lines: HashSet<u8>,
    /// Threads whose names were told.
    names: HashSet<u32>,
    lost: u64,
}

impl Reading {
    /// Takes what is new.
    fn read(&mut self, words: &[AtomicU64], news: &mut Vec<News>) {
        let Self {
            pid,
            reader,
            threads,
            lines,
            names,
            lost,
        } = self;
        let pid = *pid;
        let mut entries = Vec::new();
        reader.read(words, &mut |entry| entries.push(entry));
        // First, for what is missing may be what the entries are without.
        let now = reader.lost().saturating_add(reader.damaged());
        if now != *lost {
            *lost = now;
            news.push(News {
                pid,
                what: What::Lost(now),
            });
        }
        for entry in entries {
            if !lines.contains(&entry.caller)
                && let Some(line) = reader.call_site(words, entry.caller)
            {
                lines.insert(entry.caller);
                news.push(News {
                    pid,
                    what: What::Line {
                        number: entry.caller,
                        file: printable(&line.file).into_owned(),
                        line: line.line,
                    },
                });
            }
            let thread = threads.number(entry.thread);
            if entry.operation == Operation::Peek
                && names.len() < MOST
                && names.insert(thread)
                && let Some(name) = process::thread_name(pid, thread)
            {
                news.push(News {
                    pid,
                    what: What::Thread { thread, name },
                });
            }
            news.push(News {
                pid,
                what: What::Entry(Entry { thread, ..entry }),
            });
        }
    }

    /// Nobody writes any more: what is half written stays so.
    fn end(&mut self, words: &[AtomicU64], news: &mut Vec<News>) {
        self.read(words, news);
        let (pid, half) = (self.pid, self.reader.incomplete());
        if half > 0 {
            news.push(News {
                pid,
                what: What::Lost(self.lost.saturating_add(half)),
            });
        }
        news.push(News { pid, what: What::Ended });
    }
}

/// How a process was looked through.
enum Looked {
    Found(Box<Watched>, What),
    /// Not now; perhaps later.
    Nothing,
    /// There is one, and it is not read.
    Refused(String),
}

impl Journals {
    /// A traced process did something with a pipe, a file or a socket that was recorded.
    #[inline]
    pub(crate) fn stirred(&mut self, pid: u32) {
        if pid != self.latest {
            self.latest = pid;
            self.met(pid);
        }
    }

    fn met(&mut self, pid: u32) {
        if self.watched.contains_key(&pid) || (self.wanted.len() >= MOST && !self.wanted.contains_key(&pid)) {
            return;
        }
        let wanted = self.wanted.entry(pid).or_insert_with(|| Wanted {
            stirred: true,
            next: Instant::now(),
            wait: FIRST,
            told: false,
        });
        wanted.stirred = true;
    }

    /// A process is traced from now on: looks for its journal at once.
    pub(crate) fn joined(&mut self, pid: u32) {
        self.wanted.remove(&pid);
        self.met(pid);
        self.look();
    }

    /// A process has ended, or has become another program: the journal that it had is read to its end.
    pub(crate) fn ended(&mut self, pid: u32) {
        self.latest = 0;
        self.wanted.remove(&pid);
        if let Some(mut watched) = self.watched.remove(&pid) {
            watched.reading.end(watched.words.words(), &mut self.news);
        }
    }

    /// Reads all journals. To be called before the kernel's records are: then those of the calls that are told of are there.
    pub(crate) fn read(&mut self) {
        for watched in self.watched.values_mut() {
            watched.reading.read(watched.words.words(), &mut self.news);
        }
    }

    /// What is new since the last time.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Looks for the journals of processes that have stirred.
    pub(crate) fn look(&mut self) {
        // Whoever stirs again is met again.
        self.latest = 0;
        let now = Instant::now();
        let due = |wanted: &Wanted| wanted.stirred && wanted.next <= now;
        let due: Vec<u32> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| due(wanted))
            .map(|(&pid, _)| pid)
            .take(AT_A_TIME)
            .collect();
        for pid in due {
            if now.elapsed() > BUDGET {
                break;
            }
            if !*self.possible.get_or_insert_with(process::numbers_are_the_kernels) {
                self.wanted.clear();
                let why = "the journals of bufferlists cannot be found from inside a container: zctrace's own /proc numbers \
                           processes otherwise than the kernel does; run it in the initial PID namespace";
                self.tell_none(0, why.to_owned());
                return;
            }
            match look_through(pid) {
                Looked::Found(watched, what) => {
                    self.wanted.remove(&pid);
                    self.news.push(News { pid, what });
                    self.watched.insert(pid, *watched);
                }
                Looked::Nothing => {
                    let told = self.wait_longer(pid, now);
                    if !told && process::has_turned_it_off(pid) == Some(true) {
                        self.tell_none(
                            pid,
                            "it has no journal, for BUFFERLIST_JOURNAL=0 is set in its environment: its segments and looks \
                             have no names here"
                                .to_owned(),
                        );
                    }
                }
                Looked::Refused(why) => {
                    if !self.wait_longer(pid, now) {
                        self.tell_none(pid, format!("its journal is not read: {why}"));
                    }
                }
            }
        }
    }

    /// Looks again later, twice as long as the last time. Whether it was told already why there is none.
    fn wait_longer(&mut self, pid: u32, now: Instant) -> bool {
        let Some(wanted) = self.wanted.get_mut(&pid) else {
            return true;
        };
        wanted.stirred = false;
        wanted.next = now + wanted.wait;
        wanted.wait = (wanted.wait * 2).min(LONGEST);
        std::mem::replace(&mut wanted.told, true)
    }

    fn tell_none(&mut self, pid: u32, why: String) {
        self.news.push(News {
            pid,
            what: What::None(why),
        });
    }
}

fn look_through(pid: u32) -> Looked {
    let mut refused = None;
    for link in process::links(pid) {
        let words = match Words::open(&link) {
            Ok(words) => words,
            Err(Refused::Closed) => continue,
            Err(Refused::Unsafe(why)) => {
                refused = Some(why.to_owned());
                continue;
            }
        };
        let layout = match Layout::read(words.words()) {
            Ok(layout) => layout,
            Err(why) => {
                refused = Some(why.to_string());
                continue;
            }
        };
        // A child that was forked has its parent's open, too.
        let Some(threads) = process::owns(pid, &layout) else {
            continue;
        };
        if !words.lock() {
            refused = Some("somebody keeps it locked".to_owned());
            continue;
        }
        return begin(pid, words, threads);
    }
    refused.map_or(Looked::Nothing, Looked::Refused)
}

/// Sets the flag and reads from here on; or from the start, if the program has written all along.
fn begin(pid: u32, words: Words, threads: Threads) -> Looked {
    let all = words.words();
    // Where nobody has watched so far, what is there is of another time, with gaps: it may be of a watcher long gone.
    let was_watched = journal::is_watched(all);
    let reader = if was_watched {
        Reader::new_at_start(all)
    } else {
        Reader::new_at_end(all)
    };
    let Ok(reader) = reader else { return Looked::Nothing };
    journal::set_watched(all, true);
    let layout = *reader.layout();
    let since_ns = if was_watched && reader.is_complete() {
        layout.created_ns
    } else {
        monotonic_ns()
    };
    let reading = Reading {
        pid,
        reader,
        threads,
        lines: HashSet::new(),
        names: HashSet::new(),
        lost: 0,
    };
    let device = kernels_number(layout.device);
    Looked::Found(
        Box::new(Watched { words, reading }),
        What::Found {
            device,
            since_ns,
            clock: (monotonic_ns(), unix_ms()),
        },
    )
}

/// The kernel's own number of a device, from the one that stat(2) gives: major in the bits above 20.
fn kernels_number(device: u64) -> u32 {
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

/// The last one to leave clears the flag. If all are killed it stays set, and the program goes on overwriting what nobody
/// reads until somebody watches again and leaves in order.
impl Drop for Watched {
    fn drop(&mut self) {
        if self.words.is_last() {
            journal::set_watched(self.words.words(), false);
        }
    }
}

/// Everything that is done with the words of a journal, whatever they are.
pub(super) fn digest(words: &[AtomicU64]) -> Vec<News> {
    let mut news = Vec::new();
    if let Ok(reader) = Reader::new_at_start(words) {
        let mut reading = Reading {
            pid: 1,
            reader,
            threads: Threads::Same,
            lines: HashSet::new(),
            names: HashSet::new(),
            lost: 0,
        };
        reading.read(words, &mut news);
        reading.end(words, &mut news);
    }
    news
}
