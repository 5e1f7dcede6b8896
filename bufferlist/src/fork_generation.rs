//! Detection of a fork.
//!
//! A child that is forked without exec inherits the parent's pipes. Both processes then use the
//! same rings, but each keeps its own ledger, and a byte that the child reads is lost to the
//! parent. Each pipe therefore carries the generation of the process that created it. A pipe of
//! another generation is never used, only closed.
//!
//! The generation is read whenever a pipe is checked out, so it must not cost a system call. It is
//! kept in a page that the kernel wipes in the child (`MADV_WIPEONFORK`, since 4.14; madvise(2)).

use memmap2::MmapMut;
use rustix::mm::{Advice, madvise};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static PAGE: OnceLock<Option<MmapMut>> = OnceLock::new();
/// Next generation to assign.
static NEXT_GENERATION: AtomicU32 = AtomicU32::new(1);

/// Returns the word at the start of the page: the generation of this process, or 0 if none has been
/// assigned since the fork.
fn generation_word() -> Option<&'static AtomicU32> {
    let page = PAGE.get_or_init(|| {
        let page = MmapMut::map_anon(size_of::<AtomicU32>()).ok()?;
        // SAFETY: MADV_WIPEONFORK requires a private anonymous mapping, which `map_anon` creates.
        // It discards the content in children, which is sound because only this module uses the
        // page, through an atomic that may hold any value.
        unsafe { madvise(page.as_ptr().cast_mut().cast(), page.len(), Advice::LinuxWipeOnFork) }.ok()?;
        Some(page)
    });
    let page = page.as_ref()?;
    // SAFETY: `from_ptr` requires an aligned pointer to memory that stays valid for `'static` and
    // is accessed only atomically. A mapping is aligned to a page and has room for the word. It
    // lives in a static that is set once, so it is never unmapped. Only this function hands out the
    // pointer, as an atomic.
    Some(unsafe { AtomicU32::from_ptr(page.as_ptr().cast_mut().cast()) })
}

/// Returns the generation of this process. A child's generation differs from its parent's.
pub(crate) fn generation() -> u32 {
    // Miri, which checks the rope for undefined behavior, supports neither the page nor forks.
    if cfg!(miri) {
        return 1;
    }
    let Some(generation_word) = generation_word() else {
        // The page is not available (a kernel before 4.14, or a refusal). The process ID costs a
        // system call but identifies the process as well.
        return rustix::process::getpid().as_raw_nonzero().get() as u32;
    };
    let known = generation_word.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // The word was wiped. Of several threads that find it so, the first assigns the generation for
    // all: none may continue with the parent's generation, nor with one that another thread is
    // about to replace. A child inherits the counter, so it never assigns a generation that its
    // parent has used.
    let new = NEXT_GENERATION.fetch_add(1, Ordering::Relaxed);
    match generation_word.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => new,
        Err(first) => first,
    }
}
