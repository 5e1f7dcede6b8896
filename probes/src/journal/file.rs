//! The file of a journal, in this process's memory.
#![allow(unsafe_code)] // A mapping.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use memmap2::MmapMut;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, SealFlags};

/// What the link of a journal's descriptor in /proc says.
pub(super) const LINK: &[u8] = b"/memfd:bufferlist-journal (deleted)";

/// A larger one is no journal of ours, and maps more than it is worth.
const MOST_BYTES: u64 = 64 << 20;

/// `TMPFS_MAGIC` (include/uapi/linux/magic.h): what files of memory are on. Not so those of huge pages, which can end a reader
/// by SIGBUS when there are none left.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A journal's memory. Its process writes to it all the time, so it is words that are read one by one.
#[derive(Debug)]
pub(super) struct Words {
    map: MmapMut,
    /// Holds the lock that says that somebody watches: see [`Words::lock`].
    file: File,
}

/// Why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It cannot be opened, or it is gone.
    Closed,
    /// It is no file of memory, or may shrink under its readers, or is of no good size.
    Unsafe(&'static str),
}

impl Words {
    /// Maps the file behind a link in /proc.
    pub(super) fn open(link: &Path) -> Result<Self, Refused> {
        // First without opening it: whatever has this name, opening it must do nothing.
        let found = rustix::fs::openat(CWD, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|_| Refused::Closed)?;
        let stat = rustix::fs::fstat(&found).map_err(|_| Refused::Closed)?;
        let on = rustix::fs::fstatfs(&found).map_err(|_| Refused::Closed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || on.f_type != TMPFS_MAGIC {
            return Err(Refused::Unsafe("it is no file of memory"));
        }
        let same = format!("/proc/self/fd/{}", found.as_raw_fd());
        let file = File::options()
            .read(true)
            .write(true)
            .open(same)
            .map_err(|_| Refused::Closed)?;
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| Refused::Unsafe("it cannot be sealed"))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(Refused::Unsafe(
                "it is not sealed against shrinking, which would end its readers",
            ));
        }
        // After the seal was seen: from here on it can only grow.
        let bytes = rustix::fs::fstat(&file).map_err(|_| Refused::Closed)?.st_size as u64;
        if bytes == 0 || bytes > MOST_BYTES {
            return Err(Refused::Unsafe("its size cannot be that of a journal"));
        }
        // SAFETY: the file cannot shrink, so touching the mapping is no SIGBUS. Others write to it while it is mapped, which
        // is why it is only ever given out as atomics.
        let map =
            unsafe { memmap2::MmapOptions::new().len(bytes as usize).map_mut(&file) }.map_err(|_| Refused::Closed)?;
        Ok(Self { map, file })
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping is aligned to a page")]
        let start = self.map.as_ptr().cast::<AtomicU64>();
        // SAFETY: aligned, so many whole words long, and mapped writable for as long as `self` lives; all access to it, here
        // and in its own process, is by atomics.
        unsafe { std::slice::from_raw_parts(start, self.map.len() / size_of::<AtomicU64>()) }
    }

    /// Takes the lock of those who watch, which several can hold at once and which the kernel lets go of when they die, in
    /// whatever way. Never waits: whoever holds it against us is a watcher that is just leaving, or makes fun of us.
    pub(super) fn lock(&self) -> bool {
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockShared).is_ok()
    }

    /// Whether nobody else watches now, nor can begin to until this is dropped.
    pub(super) fn is_last(&self) -> bool {
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }
}
