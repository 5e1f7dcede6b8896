//! The journal of this process: made once, found by its flag, and made anew in a child that was forked.

use super::call_sites::{self, CallSiteTable};
use super::clock::Clock;
use super::column_alloc::{self, ColumnAllocator};
use super::layout::{Capacity, Creator, Layout, NO_CALL_SITE, format, word};
use super::writer::{self, ColumnWriter};
use super::{ENV_VAR, EntryTemplate, MEMFD_NAME};
use crate::fork_generation::generation;
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
const CAPACITY: Capacity = Capacity {
    call_sites: call_sites::MAX_CALL_SITES as u32,
    records: 1 << 14,
    columns: column_alloc::MAX_COLUMNS,
    column_records: 1 << 13,
};

/// A process's journal. It lives until the process ends: other threads may be in the middle of a record.
struct Journal {
    words: &'static [AtomicU64],
    layout: Layout,
    call_sites: CallSiteTable,
    columns: ColumnAllocator,
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
static CREATED_BY: AtomicU32 = AtomicU32::new(0);

/// Whether somebody watches this process, or watched the one that it was forked from.
#[inline]
pub(super) fn watched() -> bool {
    // SAFETY: it points to `OFF`, or into a mapping that is never unmapped.
    unsafe { &*FLAG.load(Relaxed) }.load(Relaxed) != 0
}

#[inline]
pub(super) fn on_pipe_created() {
    let now = generation();
    if CREATED_BY.load(Relaxed) != now {
        create(now);
    }
}

pub(super) fn init() -> bool {
    on_pipe_created();
    current().is_some()
}

pub(super) fn has_watchers() -> bool {
    current().is_some() && watched()
}

/// The journal, if this very process made it.
fn current() -> Option<&'static Journal> {
    // SAFETY: null, or a box that was leaked.
    unsafe { JOURNAL.load(Acquire).as_ref() }.filter(|journal| journal.generation == generation())
}

#[cold]
fn create(now: u32) {
    let before = CREATED_BY.load(Relaxed);
    if before == now || CREATED_BY.compare_exchange(before, now, AcqRel, Relaxed).is_err() {
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
        let fd = sys::journal_memfd(MEMFD_NAME, CAPACITY.bytes()).ok()?;
        // SAFETY: the file is ours, and sealed against changing its size. Others may write to it, which is why it is only
        // ever used as atomics.
        let map = unsafe { MmapMut::map_mut(fd.as_raw_fd()) }.ok()?;
        let map = Box::leak(Box::new(map));
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping is aligned to a page")]
        let start = map.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: a mapping is aligned to a page, so many whole words long, and never unmapped, for it was leaked.
        let words = unsafe { std::slice::from_raw_parts(start.cast_const(), map.len() / size_of::<AtomicU64>()) };
        let writer = Creator {
            pid: rustix::process::getpid().as_raw_nonzero().get() as u32,
            created_ns: sys::monotonic_ns(),
            created_boottime_ns: sys::boottime_ns(),
            device: sys::pipe_device().unwrap_or(0),
        };
        format(words, CAPACITY, writer);
        let layout = Layout::read(words).ok()?;
        Some(Self {
            words,
            layout,
            call_sites: CallSiteTable::new(),
            columns: ColumnAllocator::new(CAPACITY.columns),
            generation,
            fd,
        })
    }
}

/// What a thread knows of itself and of its place in the journal. All that it needs for a record is here, in two lines of the
/// cache and a bit: after a system call little else is in it.
#[repr(align(64))]
struct ThreadWriter {
    /// The generation that it knows it of; another one's is out of date. None is 0.
    generation: u32,
    number: u32,
    column: Option<ColumnWriter<'static>>,
    /// The lines that asked last, for bytes to go into a pipe and out of one, and their numbers in the journal.
    last_call_sites: [Option<(&'static Location<'static>, u8)>; 2],
    clock: Clock,
    /// The column's number, if it has one.
    column_number: usize,
}

thread_local! {
    static THREAD: RefCell<ThreadWriter> = const { RefCell::new(ThreadWriter::new()) };
}

impl ThreadWriter {
    const fn new() -> Self {
        Self {
            generation: 0,
            number: 0,
            column: None,
            last_call_sites: [None; 2],
            clock: Clock::new(),
            column_number: 0,
        }
    }

    /// A thread's first record in this journal. What it has of another one is of the process that this one was forked from.
    #[cold]
    fn attach(&mut self, journal: &'static Journal) {
        self.generation = journal.generation;
        self.number = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        self.last_call_sites = [None; 2];
        let taken = journal.columns.claim();
        self.column = taken.and_then(|number| ColumnWriter::new(journal.words, &journal.layout, number));
        self.column_number = taken.unwrap_or(0);
    }

    /// The number of a line that was not the last to ask.
    #[cold]
    fn call_site_index(&mut self, journal: &Journal, template: &EntryTemplate) -> u8 {
        let number = journal
            .call_sites
            .index_of(journal.words, &journal.layout, template.caller.at);
        // One for which there is no room is counted each time.
        self.last_call_sites[usize::from(template.operation.enters_pipe())] =
            (number != NO_CALL_SITE).then_some((template.caller.at, number));
        number
    }

    #[inline]
    fn write(&mut self, generation: u32, template: &EntryTemplate, len: u64, pipe: u64, stream: u64) {
        if self.generation != generation {
            let Some(journal) = current() else {
                // The flag is that of the process that we were forked from.
                on_pipe_created();
                return;
            };
            self.attach(journal);
        }
        let time_ns = self.clock.now();
        let caller = match self.last_call_sites[usize::from(template.operation.enters_pipe())] {
            Some((at, number)) if std::ptr::eq(at, template.caller.at) => number,
            _ => current().map_or(NO_CALL_SITE, |journal| self.call_site_index(journal, template)),
        };
        let entry = Entry {
            position: 0,
            time_ns,
            segment: template.segment.get(),
            segment_offset: template.at,
            pipe_offset: stream,
            len,
            pipe,
            thread: self.number,
            caller,
            operation: template.operation,
            reason: template.reason,
            api_call: Some(template.caller.api_call),
        };
        if let Some(column) = &mut self.column {
            column.write(entry);
        } else if let Some(journal) = current() {
            writer::write_shared(journal.words, &journal.layout, entry);
        }
    }
}

impl Drop for ThreadWriter {
    fn drop(&mut self) {
        let ours = current().filter(|journal| journal.generation == self.generation);
        if let (Some(journal), Some(_)) = (ours, &self.column) {
            journal.columns.release(self.column_number);
        }
    }
}

#[inline(never)]
pub(super) fn write(template: &EntryTemplate, len: u64, pipe: u64, stream: u64) {
    let generation = generation();
    let written = THREAD.try_with(|thread| {
        let mut thread = thread.try_borrow_mut()?;
        thread.write(generation, template, len, pipe, stream);
        Ok::<_, BorrowMutError>(())
    });
    if !matches!(written, Ok(Ok(()))) {
        // The thread is ending, and has let go of its place already; or it was in the middle of a record when a signal came,
        // whose handler moves bytes. It borrows a place for this one.
        ThreadWriter::new().write(generation, template, len, pipe, stream);
    }
}

const _: () = assert!((call_sites::MAX_CALL_SITES as u64) < NO_CALL_SITE as u64);
