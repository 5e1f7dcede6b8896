//! Shared mapping of a journal file.
#![allow(unsafe_code)] // Maps memory that another process writes.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use memmap2::MmapMut;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, SealFlags};

/// Target of the /proc link of a journal's descriptor.
pub(super) const LINK: &[u8] = b"/memfd:bufferlist-journal (deleted)";

/// Size limit. A larger file is not a journal, and mapping it would waste address space.
const MAX_BYTES: u64 = 64 << 20;

/// `TMPFS_MAGIC` (include/uapi/linux/magic.h), the filesystem of memfds. Huge-page memfds are
/// excluded, because a reader gets SIGBUS when no huge pages are left.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Mapped journal. The traced process writes to it at any time, so it is only accessed as atomic
/// words.
#[derive(Debug)]
pub(super) struct JournalMap {
    map: MmapMut,
    /// Open file, which holds the reader's lock: see [`JournalMap::lock_shared`].
    file: File,
}

/// Reason why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// The file cannot be opened, or is gone.
    Closed,
    /// The file is not a memfd, can shrink under its readers, or has an invalid size.
    Unsafe(&'static str),
}

impl JournalMap {
    /// Maps the file behind a link in /proc.
    pub(super) fn open(link: &Path) -> Result<Self, OpenError> {
        // Open with O_PATH first, because opening a file of this name must not have side effects,
        // whatever it is.
        let found = rustix::fs::openat(CWD, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|_| OpenError::Closed)?;
        let stat = rustix::fs::fstat(&found).map_err(|_| OpenError::Closed)?;
        let on = rustix::fs::fstatfs(&found).map_err(|_| OpenError::Closed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || on.f_type != TMPFS_MAGIC {
            return Err(OpenError::Unsafe("it is no file of memory"));
        }
        let same = format!("/proc/self/fd/{}", found.as_raw_fd());
        let file = File::options()
            .read(true)
            .write(true)
            .open(same)
            .map_err(|_| OpenError::Closed)?;
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| OpenError::Unsafe("it cannot be sealed"))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(OpenError::Unsafe(
                "it is not sealed against shrinking, which would end its readers",
            ));
        }
        // Read the size after the seal, because the file can only grow from here on.
        let bytes = rustix::fs::fstat(&file).map_err(|_| OpenError::Closed)?.st_size as u64;
        if bytes == 0 || bytes > MAX_BYTES {
            return Err(OpenError::Unsafe("its size cannot be that of a journal"));
        }
        // SAFETY: a shared file mapping requires (1) that no access is out of the file's bounds and
        // (2) that no reference assumes exclusive or unchanging memory. (1) holds because the size
        // was read after the shrink seal. (2) holds because `words` exposes the memory only as
        // atomics.
        let map =
            unsafe { memmap2::MmapOptions::new().len(bytes as usize).map_mut(&file) }.map_err(|_| OpenError::Closed)?;
        Ok(Self { map, file })
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping is aligned to a page")]
        let start = self.map.as_ptr().cast::<AtomicU64>();
        // SAFETY: a slice of `AtomicU64` requires (1) aligned memory of its length, (2) that lives
        // as long as the slice, and (3) only atomic access to it. (1) holds because a mapping is
        // page-aligned and the length is rounded down to whole words. (2) holds because the slice
        // borrows `self`, which owns the mapping. (3) holds in this process because only this
        // function exposes the memory; another process writes it with atomics, and a program that
        // does not can only make the words arbitrary, which readers tolerate.
        unsafe { std::slice::from_raw_parts(start, self.map.len() / size_of::<AtomicU64>()) }
    }

    /// Takes the shared lock that marks a reader. Several readers can hold it, and the kernel
    /// releases it when a reader dies. Never blocks: an exclusive lock is held by a reader that is
    /// leaving, or by a hostile process.
    pub(super) fn lock_shared(&self) -> bool {
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockShared).is_ok()
    }

    /// Returns whether there is no other reader. None can begin until this mapping is dropped.
    pub(super) fn try_lock_exclusive(&self) -> bool {
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }
}
