//! The journal of this process: created once, located through its flag, and created again in a
//! forked child.

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

/// Capacity of the journal: seventeen megabytes. None of its pages is allocated until the journal
/// is watched, and then only those that are written to.
///
/// At 64 KiB per splice, a thread that does nothing else writes 150 entries per millisecond, and a
/// tracer that shares its CPU may run only every 50 ms. A column therefore holds eight thousand
/// records. The ring shared by the threads without a column holds twice that.
const CAPACITY: Capacity = Capacity {
    call_sites: call_sites::MAX_CALL_SITES as u32,
    records: 1 << 14,
    columns: column_alloc::MAX_COLUMNS,
    column_records: 1 << 13,
};

/// Journal of a process. Lives until the process ends, because other threads may be writing a
/// record.
struct Journal {
    words: &'static [AtomicU64],
    layout: Layout,
    call_sites: CallSiteTable,
    columns: ColumnAllocator,
    /// Generation of the process that created the journal: see [`crate::fork_generation`].
    generation: u32,
    /// The memfd. A child closes the inherited one when it creates its own.
    fd: OwnedFd,
}

static OFF: AtomicU64 = AtomicU64::new(0);
/// Watch flag of the journal. Points to [`OFF`], which is never set, while there is no journal.
static FLAG: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const OFF).cast_mut());
static JOURNAL: AtomicPtr<Journal> = AtomicPtr::new(std::ptr::null_mut());
/// Generation that has created a journal, has tried to, or is about to. 0: none.
static CREATED_BY: AtomicU32 = AtomicU32::new(0);

/// Returns whether this process, or the process that it was forked from, is watched.
#[inline]
pub(super) fn watched() -> bool {
    // SAFETY: the pointer is valid for `'static`. It points either to the static `OFF`, or into a
    // mapping that was leaked and is never unmapped.
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

/// Returns the journal if this process created it.
fn current() -> Option<&'static Journal> {
    // SAFETY: `as_ref` requires null or a pointer to a live value. `JOURNAL` is null, or points to
    // a leaked box, which is never freed.
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
        // SAFETY: `read` requires a valid value, and its copy is dropped, so `fd` must not be used
        // again. The box was leaked by the parent, so it is valid. The swap above made this thread
        // its only owner, and `current` never returns a journal of another generation, so no code
        // uses this `fd`. The rest of the box stays, because another thread may still read the
        // generation.
        drop(unsafe { std::ptr::read(&raw const (*parents).fd) });
    }
    let wish = std::env::var_os(ENV_VAR);
    if wish.as_ref().is_some_and(|wish| wish == "0") {
        return;
    }
    // Without memory or descriptors there is no journal. That is not an error.
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
        // SAFETY: a mapped file must not shrink, or access would raise SIGBUS, and must not change
        // under Rust references. The memfd is sealed to its size. Other processes may write to it,
        // so its contents are only accessed as atomics.
        let map = unsafe { MmapMut::map_mut(fd.as_raw_fd()) }.ok()?;
        let map = Box::leak(Box::new(map));
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping is aligned to a page")]
        let start = map.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: `from_raw_parts` requires aligned, initialized memory that stays valid for
        // `'static`. A mapping is aligned to a page, its size is a multiple of a word, every bit
        // pattern is a valid `AtomicU64`, and the mapping was leaked, so it is never unmapped.
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

/// Per-thread writer state. Everything needed to write an entry fits into two cache lines and a
/// bit, because the caches are cold after a system call.
#[repr(align(64))]
struct ThreadWriter {
    /// Generation that the state is valid for. 0: none.
    generation: u32,
    number: u32,
    column: Option<ColumnWriter<'static>>,
    /// Most recent call site of an operation that put bytes into a pipe, and of one that took bytes
    /// out, with their indexes in the journal.
    last_call_sites: [Option<(&'static Location<'static>, u8)>; 2],
    clock: Clock,
    /// Number of the column, if there is one.
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

    /// Prepares for the first entry of the thread in this journal. Existing state belongs to the
    /// process that this one was forked from.
    #[cold]
    fn attach(&mut self, journal: &'static Journal) {
        self.generation = journal.generation;
        self.number = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        self.last_call_sites = [None; 2];
        let claimed = journal.columns.claim();
        self.column = claimed.and_then(|number| ColumnWriter::new(journal.words, &journal.layout, number));
        self.column_number = claimed.unwrap_or(0);
    }

    /// Returns the index of a call site that is not the most recent one.
    #[cold]
    fn call_site_index(&mut self, journal: &Journal, template: &EntryTemplate) -> u8 {
        let number = journal
            .call_sites
            .index_of(journal.words, &journal.layout, template.caller.at);
        // A call site without room is not cached, so that each of its entries is counted.
        self.last_call_sites[usize::from(template.operation.enters_pipe())] =
            (number != NO_CALL_SITE).then_some((template.caller.at, number));
        number
    }

    #[inline]
    fn write(&mut self, generation: u32, template: &EntryTemplate, len: u64, pipe: u64, stream: u64) {
        if self.generation != generation {
            let Some(journal) = current() else {
                // The flag is that of the process that this one was forked from.
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
        let journal = current().filter(|journal| journal.generation == self.generation);
        if let (Some(journal), Some(_)) = (journal, &self.column) {
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
        // The thread is ending and has dropped its state, or a signal interrupted it while it was
        // writing an entry and the handler moves bytes. Temporary state is used for this entry.
        ThreadWriter::new().write(generation, template, len, pipe, stream);
    }
}

const _: () = assert!((call_sites::MAX_CALL_SITES as u64) < NO_CALL_SITE as u64);
