//! The journal of a process as a tracer reads it: its content, and when none exists.

mod common;

use bufferlist::journal::{self, Entry, Operation, Reader};
use bufferlist::{BufferList, Limits, Reason, Sink, Source, Step, Transfer};
use common::{Child, file_with, fork, pattern};
use memmap2::MmapMut;
use std::collections::HashMap;
use std::fs::{File, read_dir, read_link};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Returns the descriptors of this process whose name is that of a journal.
fn journal_links() -> Vec<PathBuf> {
    let all = read_dir("/proc/self/fd").expect("descriptors");
    let journal_links = all.map(|entry| entry.expect("a descriptor").path());
    let name = format!("/memfd:{} (deleted)", journal::MEMFD_NAME);
    journal_links
        .filter(|link| read_link(link).is_ok_and(|to| to.as_os_str() == name.as_str()))
        .collect()
}

/// A journal, mapped in the same way as a tracer maps it.
struct Mapped(MmapMut);

impl Mapped {
    fn new(link: &PathBuf) -> Self {
        let file = File::options().read(true).write(true).open(link).expect("open");
        // SAFETY: the file is sealed against shrinking, and only atomics touch it.
        Self(unsafe { MmapMut::map_mut(&file) }.expect("map"))
    }

    fn own() -> Self {
        assert!(journal::init());
        let journal_links = journal_links();
        assert_eq!(journal_links.len(), 1, "{journal_links:?}");
        Self::new(&journal_links[0])
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `from_raw_parts` requires (1) alignment, (2) `len / 8` words of memory that live
        // as long as `self`, (3) no writes except through atomics. (1) A mapping starts at a page.
        // (2) The mapping has `len` bytes and is owned by `self`. (3) Both sides access the words
        // by atomics.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() / 8) }
    }

    fn reader(&self) -> Reader {
        Reader::new_at_end(self.words()).expect("a journal")
    }

    fn read(&self, reader: &mut Reader) -> Vec<Entry> {
        let mut entries = Vec::new();
        reader.read(self.words(), &mut |entry| entries.push(entry));
        entries
    }
}

/// Moves a file through a pipe into another pipe.
fn transfer(bytes: &[u8]) {
    let (from, to) = (file_with(bytes), file_with(b""));
    Transfer::new(
        Source::file(from, ..).expect("source"),
        Sink::file(to, 0).expect("sink"),
    )
    .limits(Limits::default().chunk(16_384))
    .run()
    .expect("transfer");
}

/// Runs alone in its own process.
fn run_in_child(test: &str, body: impl FnOnce()) {
    Child::new().run(test, body);
}

#[test]
fn nothing_is_recorded_until_watched() {
    run_in_child("nothing_is_recorded_until_watched", || {
        assert!(journal_links().is_empty(), "it comes with the first pipe");
        transfer(&pattern(100_000, 1));
        let journal = Mapped::own();
        assert!(!journal::has_watchers());
        let mut reader = journal.reader();
        assert!(reader.is_complete(), "not a record was begun");
        journal::set_watched(journal.words(), true);
        assert!(journal::has_watchers());
        transfer(&pattern(100_000, 2));
        journal::set_watched(journal.words(), false);
        let entries = journal.read(&mut reader);
        transfer(&pattern(100_000, 3));
        assert!(journal.read(&mut reader).is_empty());
        let sum = |operation| {
            entries
                .iter()
                .filter(|entry| entry.operation == operation)
                .map(|entry| entry.len)
                .sum()
        };
        let (filled, drained): (u64, u64) = (sum(Operation::Fill), sum(Operation::Drain));
        assert_eq!((filled, drained), (100_000, 100_000));
        assert_eq!((reader.lost(), reader.damaged(), reader.incomplete()), (0, 0, 0));
    });
}

#[test]
fn entries_record_pipe_position_segment_thread_and_call_site() {
    run_in_child("entries_record_pipe_position_segment_thread_and_call_site", || {
        let journal = Mapped::own();
        let mut reader = journal.reader();
        journal::set_watched(journal.words(), true);
        let file = file_with(&pattern(30_000, 1));
        let mut source = Source::file(&file, ..).expect("source").threshold(0);
        let mut list = BufferList::new();
        let line = line!() + 1;
        assert!(matches!(list.splice_from(&mut source, 20_000), Ok(Step::Moved(_))));
        assert!(matches!(list.splice_from(&mut source, 10_000), Ok(Step::Moved(_))));
        let entries = journal.read(&mut reader);
        let id = list.segments().next().expect("a segment").id().get();
        let fields: Vec<_> = entries
            .iter()
            .map(|entry| {
                (
                    entry.operation,
                    entry.segment,
                    entry.segment_offset,
                    entry.pipe_offset,
                    entry.len,
                )
            })
            .collect();
        // The second range was put into the remaining slots of the first one's pipe.
        assert_eq!(
            fields,
            [
                (Operation::Fill, id, 0, 0, 20_000),
                (Operation::Fill, id, 20_000, 20_000, 10_000)
            ]
        );
        assert!(entries[0].pipe > 0 && entries[0].pipe == entries[1].pipe);
        assert_eq!(
            entries[0].thread,
            rustix::thread::gettid().as_raw_nonzero().get() as u32
        );
        let place = reader.call_site(journal.words(), entries[0].caller).expect("a line");
        assert_eq!((place.file.as_str(), place.line), (file!(), line));
        assert!(entries[0].time_ns < entries[1].time_ns);

        // A peek at the end of a window: the bytes before it are tee'd as well, and discarded.
        list.peek(15_000..15_100).expect("peek");
        let fields: Vec<_> = journal
            .read(&mut reader)
            .iter()
            .map(|entry| {
                (
                    entry.operation,
                    entry.segment,
                    entry.segment_offset,
                    entry.len,
                    entry.reason.map(Reason::code),
                )
            })
            .collect();
        assert_eq!(
            fields,
            [
                (Operation::Tee, id, 0, 15_100, None),
                (Operation::Drop, id, 0, 15_000, None),
                (Operation::Peek, id, 15_000, 100, Some("ZC31")),
            ]
        );
        // A second peek at the window is served from the cache: no system call, no entry.
        list.peek(15_000..15_100).expect("peek");
        assert!(journal.read(&mut reader).is_empty());
    });
}

#[test]
fn pipe_stream_positions_have_no_gaps() {
    run_in_child("pipe_stream_positions_have_no_gaps", || {
        let journal = Mapped::own();
        let mut reader = journal.reader();
        journal::set_watched(journal.words(), true);
        let bytes = pattern(300_000, 7);
        let over = AtomicBool::new(false);
        let mut entries = Vec::new();
        std::thread::scope(|scope| {
            let movers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..20).for_each(|_| transfer(&bytes))))
                .collect();
            let reading = scope.spawn(|| {
                while !over.load(Relaxed) {
                    entries.extend(journal.read(&mut reader));
                }
                entries.extend(journal.read(&mut reader));
            });
            for mover in movers {
                mover.join().expect("a mover");
            }
            over.store(true, Relaxed);
            reading.join().expect("the reader");
        });
        assert_eq!((reader.lost(), reader.damaged(), reader.incomplete()), (0, 0, 0));
        let all: u64 = 4 * 20 * bytes.len() as u64;
        assert_eq!(entries.iter().map(|entry| entry.len).sum::<u64>(), 2 * all);
        // For each pipe and direction, each entry begins where the previous one ended.
        let mut streams: HashMap<(u64, bool), Vec<(u64, u64)>> = HashMap::new();
        for entry in &entries {
            let stream = streams.entry((entry.pipe, entry.operation.enters_pipe())).or_default();
            stream.push((entry.pipe_offset, entry.len));
        }
        for ((pipe, puts), mut stretches) in streams {
            stretches.sort_unstable();
            // An inode number is reused by a pipe of another pool: its stream starts at 0 again.
            let mut at = 0;
            for (start, len) in stretches {
                assert_eq!(start, at, "pipe {pipe}, puts: {puts}");
                at += len;
            }
        }
    });
}

#[test]
fn forked_child_writes_its_own_journal() {
    run_in_child("forked_child_writes_its_own_journal", || {
        let bytes = pattern(50_000, 1);
        transfer(&bytes);
        let parents = Mapped::own();
        let mut reader = parents.reader();
        journal::set_watched(parents.words(), true);
        let parent = std::process::id();
        let (said, status) = fork(|| {
            // No journal of its own yet: the parent's descriptor is present and its flag is set,
            // but the child writes nothing to it.
            assert_eq!(journal_links().len(), 1);
            assert!(!journal::has_watchers());
            transfer(&bytes);
            let journal_links = journal_links();
            assert_eq!(journal_links.len(), 1, "the parent's was closed: {journal_links:?}");
            let own = Mapped::new(&journal_links[0]);
            let layout = *own.reader().layout();
            assert!(layout.pid == std::process::id() && layout.pid != parent);
            let mut reader = own.reader();
            journal::set_watched(own.words(), true);
            transfer(&bytes);
            assert!(
                own.read(&mut reader)
                    .iter()
                    .any(|entry| entry.operation == Operation::Fill)
            );
            String::from("own")
        });
        assert!(status.success(), "{status}");
        assert_eq!(said, "own");
        assert!(parents.read(&mut reader).is_empty(), "nothing of the child's");
        transfer(&bytes);
        assert!(!parents.read(&mut reader).is_empty());
        assert_eq!(reader.layout().pid, parent);
    });
}

/// Runs with the environment variable set to `value`, before the first pipe.
fn environment(test: &str, value: &str, has_one: bool, begins_at_once: bool) {
    run_in_child(test, || {
        // SAFETY: this process runs nothing else yet.
        unsafe { std::env::set_var(journal::ENV_VAR, value) };
        transfer(&pattern(50_000, 1));
        assert_eq!(journal_links().len(), usize::from(has_one));
        assert_eq!(journal::init(), has_one);
        if has_one {
            assert_eq!(Mapped::own().reader().is_complete(), !begins_at_once);
        }
    });
}

#[test]
fn env_var_disables_journal() {
    environment("env_var_disables_journal", "0", false, false);
}

#[test]
fn env_var_enables_recording_from_start() {
    environment("env_var_enables_recording_from_start", "record", true, true);
}

#[test]
fn unrelated_env_values_leave_journal_idle() {
    environment("unrelated_env_values_leave_journal_idle", "yes", true, false);
}

#[test]
fn file_size_limit_disables_the_journal_safely() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    run_in_child("file_size_limit_disables_the_journal_safely", || {
        let limit = Rlimit {
            current: Some(1 << 20),
            ..getrlimit(Resource::Fsize)
        };
        setrlimit(Resource::Fsize, limit).expect("setrlimit");
        // If the journal were enlarged nevertheless, SIGXFSZ would kill this process.
        transfer(&pattern(50_000, 1));
        assert!(journal_links().is_empty() && !journal::init());
    });
}
