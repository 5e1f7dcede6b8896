//! The journal of this process: made once, found by its flag, and made anew in a child that was forked.

use super::call_sites::{self, Callers};
use super::clock::Clock;
use super::column_alloc::{self, Columns};
use super::layout::{Layout, NO_CALLER, Room, Writer, format, word};
use super::ring::{self, Column};
use super::{ENV_VAR, MEMFD_NAME, Note};
use crate::pipe::generation;
use crate::sys;
use memmap2::MmapMut;
use rustix::fd::{AsRawFd, OwnedFd};
use std::cell::{BorrowMutError, RefCell};
use std::panic::Location;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
use zctrace_contract::journal::Entry;

/// Seventeen megabytes, of which not a page exists until somebody watches, and then only where a thread writes. At 64 KiB in a
/// splice a thread that does nothing else writes 150 records a millisecond, and a tracer that shares its CPU may come only
/// every 50 ms: a column holds eight thousand. All the threads for which there is no column have twice that.
const ROOM: Room = Room {
    callers: call_sites::MOST as u32,
    records: 1 << 14,
    columns: column_alloc::MOST,
    column_records: 1 << 13,
};

/// A process's journal. It lives until the process ends: other threads may be in the middle of a record.
struct Journal {
    words: &'static [AtomicU64],
    layout: Layout,
    callers: Callers,
    columns: Columns,
    /// Whose it is: see `pipe::fork`.
    generation: u32,
    /// A child closes the one that it inherits when it makes its own.
    fd: OwnedFd,
}

static OFF: AtomicU64 = AtomicU64::new(0);
/// The flag of the journal; one that is never set while there is none.
static FLAG: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const OFF).cast_mut());
static JOURNAL: AtomicPtr<Journal> = AtomicPtr::new(std::ptr::null_mut());
/// The generation that has made a journal, or has tried to, or is about to. None is 0.
static MADE_BY: AtomicU32 = AtomicU32::new(0);

/// Whether somebody watches this process, or watched the one that it was forked from.
#[inline]
pub(super) fn watched() -> bool {
    // SAFETY: it points to `OFF`, or into a mapping that is never unmapped.
    unsafe { &*FLAG.load(Relaxed) }.load(Relaxed) != 0
}

#[inline]
pub(super) fn with_a_pipe() {
    let now = generation();
    if MADE_BY.load(Relaxed) != now {
        make(now);
    }
}

pub(super) fn init() -> bool {
    with_a_pipe();
    own().is_some()
}

pub(super) fn has_watchers() -> bool {
    own().is_some() && watched()
}

/// The journal, if this very process made it.
fn own() -> Option<&'static Journal> {
    // SAFETY: null, or a box that was leaked.
    unsafe { JOURNAL.load(Acquire).as_ref() }.filter(|journal| journal.generation == generation())
}

#[cold]
fn make(now: u32) {
    let before = MADE_BY.load(Relaxed);
    if before == now || MADE_BY.compare_exchange(before, now, AcqRel, Relaxed).is_err() {
        return;
    }
    let parents = JOURNAL.swap(std::ptr::null_mut(), AcqRel);
    FLAG.store((&raw const OFF).cast_mut(), Release);
    if !parents.is_null() {
        // SAFETY: the box was leaked by the parent, and nobody in this process looks at its descriptor: `own` refuses it for
        // its generation. The rest of it stays: another thread may still look at the generation.
        drop(unsafe { std::ptr::read(&raw const (*parents).fd) });
    }
    let wish = std::env::var_os(ENV_VAR);
    if wish.as_ref().is_some_and(|wish| wish == "0") {
        return;
    }
    // Without memory or descriptors there is no journal, which is nobody's error.
    if let Some(journal) = Journal::new(now) {
        let flag = &journal.words[word::FLAG];
        if wish.is_some_and(|wish| wish == "record") {
            flag.store(1, Relaxed);
        }
        JOURNAL.store(Box::leak(Box::new(journal)), Release);
        FLAG.store(std::ptr::from_ref(flag).cast_mut(), Release);
    }
}

impl Journal {
    fn new(generation: u32) -> Option<Self> {
        let fd = sys::journal_memfd(MEMFD_NAME, ROOM.bytes()).ok()?;
        // SAFETY: the file is ours, and sealed against changing its size. Others may write to it, which is why it is only
        // ever used as atomics.
        let map = unsafe { MmapMut::map_mut(fd.as_raw_fd()) }.ok()?;
        let map = Box::leak(Box::new(map));
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping is aligned to a page")]
        let start = map.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: a mapping is aligned to a page, so many whole words long, and never unmapped, for it was leaked.
        let words = unsafe { std::slice::from_raw_parts(start.cast_const(), map.len() / size_of::<AtomicU64>()) };
        let writer = Writer {
            pid: rustix::process::getpid().as_raw_nonzero().get() as u32,
            made_ns: sys::monotonic_ns(),
            made_since_boot_ns: sys::boottime_ns(),
            device: sys::pipe_device().unwrap_or(0),
        };
        format(words, ROOM, writer);
        let layout = Layout::read(words).ok()?;
        Some(Self {
            words,
            layout,
            callers: Callers::new(),
            columns: Columns::new(ROOM.columns),
            generation,
            fd,
        })
    }
}

/// What a thread knows of itself and of its place in the journal. All that it needs for a record is here, in two lines of the
/// cache and a bit: after a system call little else is in it.
#[repr(align(64))]
struct Thread {
    /// The generation that it knows it of; another one's is out of date. None is 0.
    generation: u32,
    number: u32,
    column: Option<Column<'static>>,
    /// The lines that asked last, for bytes to go into a pipe and out of one, and their numbers in the journal.
    callers: [Option<(&'static Location<'static>, u8)>; 2],
    clock: Clock,
    /// The column's number, if it has one.
    taken: usize,
}

thread_local! {
    static THREAD: RefCell<Thread> = const { RefCell::new(Thread::new()) };
}

impl Thread {
    const fn new() -> Self {
        Self {
            generation: 0,
            number: 0,
            column: None,
            callers: [None; 2],
            clock: Clock::new(),
            taken: 0,
        }
    }

    /// A thread's first record in this journal. What it has of another one is of the process that this one was forked from.
    #[cold]
    fn begin(&mut self, journal: &'static Journal) {
        self.generation = journal.generation;
        self.number = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        self.callers = [None; 2];
        let taken = journal.columns.take();
        self.column = taken.and_then(|number| Column::new(journal.words, &journal.layout, number));
        self.taken = taken.unwrap_or(0);
    }

    /// The number of a line that was not the last to ask.
    #[cold]
    fn caller(&mut self, journal: &Journal, note: &Note) -> u8 {
        let number = journal.callers.number(journal.words, &journal.layout, note.caller.at);
        // One for which there is no room is counted each time.
        self.callers[usize::from(note.operation.enters_pipe())] =
            (number != NO_CALLER).then_some((note.caller.at, number));
        number
    }

    #[inline]
    fn write(&mut self, generation: u32, note: &Note, len: u64, pipe: u64, stream: u64) {
        if self.generation != generation {
            let Some(journal) = own() else {
                // The flag is that of the process that we were forked from.
                with_a_pipe();
                return;
            };
            self.begin(journal);
        }
        let time_ns = self.clock.now();
        let caller = match self.callers[usize::from(note.operation.enters_pipe())] {
            Some((at, number)) if std::ptr::eq(at, note.caller.at) => number,
            _ => own().map_or(NO_CALLER, |journal| self.caller(journal, note)),
        };
        let entry = Entry {
            position: 0,
            time_ns,
            segment: note.segment.get(),
            segment_offset: note.at,
            pipe_offset: stream,
            len,
            pipe,
            thread: self.number,
            caller,
            operation: note.operation,
            reason: note.reason,
            api_call: Some(note.caller.doing),
        };
        if let Some(column) = &mut self.column {
            column.write(entry);
        } else if let Some(journal) = own() {
            ring::write_common(journal.words, &journal.layout, entry);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let ours = own().filter(|journal| journal.generation == self.generation);
        if let (Some(journal), Some(_)) = (ours, &self.column) {
            journal.columns.give_back(self.taken);
        }
    }
}

#[inline(never)]
pub(super) fn write(note: &Note, len: u64, pipe: u64, stream: u64) {
    let generation = generation();
    let written = THREAD.try_with(|thread| {
        let mut thread = thread.try_borrow_mut()?;
        thread.write(generation, note, len, pipe, stream);
        Ok::<_, BorrowMutError>(())
    });
    if !matches!(written, Ok(Ok(()))) {
        // The thread is ending, and has let go of its place already; or it was in the middle of a record when a signal came,
        // whose handler moves bytes. It borrows a place for this one.
        Thread::new().write(generation, note, len, pipe, stream);
    }
}

const _: () = assert!((call_sites::MOST as u64) < NO_CALLER as u64);
