//! Noticing that the process was forked.
//!
//! A child that is forked without exec has the parent's pipes: the same rings, with accounts that each side keeps for
//! itself. A byte that the child takes is lost to the parent. So each pipe is stamped with the generation of the process
//! that made it, and a pipe of another generation is never used, only closed.
//!
//! The generation is asked on every checkout, so it must cost no system call: a page that the kernel wipes in the child
//! (`MADV_WIPEONFORK`, since 4.14; madvise(2)) tells whether we are still who we were.

use memmap2::MmapMut;
use rustix::mm::{Advice, madvise};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static PAGE: OnceLock<Option<MmapMut>> = OnceLock::new();
/// The generation that comes next.
static NEXT_GENERATION: AtomicU32 = AtomicU32::new(1);

/// The word at the start of the page: the generation of this process, 0 if it has not looked since it was forked.
fn generation_word() -> Option<&'static AtomicU32> {
    let page = PAGE.get_or_init(|| {
        let page = MmapMut::map_anon(size_of::<AtomicU32>()).ok()?;
        // SAFETY: the page is a private anonymous mapping that this module alone uses, and it expects to find it wiped.
        unsafe { madvise(page.as_ptr().cast_mut().cast(), page.len(), Advice::LinuxWipeOnFork) }.ok()?;
        Some(page)
    });
    let page = page.as_ref()?;
    // SAFETY: the mapping is aligned to a page, has room for the word, is never written but through this atomic, and
    // lives for ever, being in a static that is set once.
    Some(unsafe { AtomicU32::from_ptr(page.as_ptr().cast_mut().cast()) })
}

/// The generation of this process: a child's differs from its parent's.
pub(crate) fn generation() -> u32 {
    // The interpreter that checks the rope for undefined behaviour knows neither the page nor forks.
    if cfg!(miri) {
        return 1;
    }
    let Some(generation_word) = generation_word() else {
        // No such page (a kernel before 4.14, or a refusal): the process id costs a system call but is as good.
        return rustix::process::getpid().as_raw_nonzero().get() as u32;
    };
    let known = generation_word.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // Wiped. Of several threads that find it so, the first one's number counts for all: none may go on with the parent's
    // number, nor with one that another thread is about to replace. A child inherits the counter, so it never takes a
    // number that its parent has used.
    let new = NEXT_GENERATION.fetch_add(1, Ordering::Relaxed);
    match generation_word.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => new,
        Err(first) => first,
    }
}
