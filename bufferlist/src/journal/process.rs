//! The journal of this process: made once, found by its flag, and made anew in a child that was forked.

use super::callers::{self, Callers};
use super::layout::{Entry, Layout, NO_CALLER, Room, Writer, format, word};
use super::{NAME, Note, VARIABLE, ring};
use crate::pipe::generation;
use crate::sys;
use memmap2::MmapMut;
use rustix::fd::{AsRawFd, OwnedFd};
use std::cell::Cell;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

/// Sixteen thousand records, a megabyte, of which not a page exists until somebody watches. At 64 KiB in a splice a
/// program that does nothing else writes 150 a millisecond, and a tracer that shares its CPU may come only every 50 ms.
const ROOM: Room = Room {
    callers: callers::MOST as u32,
    records: 1 << 14,
};

/// A process's journal. It lives until the process ends: other threads may be in the middle of a record.
struct Journal {
    words: &'static [AtomicU64],
    layout: Layout,
    callers: Callers,
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

pub(super) fn ready() -> bool {
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
    let wish = std::env::var_os(VARIABLE);
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
        let fd = sys::journal(NAME, ROOM.bytes()).ok()?;
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
            made_since_boot_ns: sys::since_boot_ns(),
            device: sys::pipe_device().unwrap_or(0),
        };
        format(words, ROOM, writer);
        let layout = Layout::read(words).ok()?;
        Some(Self {
            words,
            layout,
            callers: Callers::new(),
            generation,
            fd,
        })
    }
}

thread_local! {
    /// Of which generation this thread is, and its number.
    static THREAD: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

fn thread(generation: u32) -> u32 {
    THREAD.with(|thread| {
        let (of, number) = thread.get();
        if of == generation {
            return number;
        }
        let number = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        thread.set((generation, number));
        number
    })
}

#[inline(never)]
pub(super) fn write(note: &Note, len: u64, pipe: u64, stream: u64) {
    let Some(journal) = own() else {
        // The flag is that of the process that we were forked from.
        with_a_pipe();
        return;
    };
    let entry = Entry {
        position: 0,
        time_ns: sys::monotonic_ns(),
        segment: note.segment.get(),
        at: note.at,
        stream,
        len,
        pipe,
        thread: thread(journal.generation),
        caller: journal.callers.number(journal.words, &journal.layout, note.caller.at),
        operation: note.operation,
        reason: note.reason,
        doing: Some(note.caller.doing),
    };
    ring::write(journal.words, &journal.layout, entry);
}

const _: () = assert!((callers::MOST as u64) < NO_CALLER as u64);
