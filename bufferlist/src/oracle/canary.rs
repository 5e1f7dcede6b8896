//! The canary: a page whose first bytes can be changed after it has been moved, and the files it lives in.

use crate::endpoint::kind::{EndpointKind, fd_info};
use crate::error::{Error, ErrorKind, Result};
use memmap2::MmapMut;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{IoSliceRaw, SpliceFlags};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the page holds before and after it is changed.
const BEFORE: u8 = b'A';
const AFTER: u8 = b'B';

pub(super) const ACTION: &str = "ask the oracle";

pub(super) fn oracle_error(errno: Errno) -> Error {
    Error::from_errno(errno, ACTION)
}

/// A canary in its cage.
pub(super) enum Canary {
    /// In a file, to be changed by writing to it. The descriptor it is spliced from may be another one.
    File { file: OwnedFd, spliced: Option<OwnedFd> },
    /// In memory of ours.
    Memory(MmapMut),
}

impl Canary {
    /// A new canary of the kind, with files in `dir`.
    pub(super) fn new(kind: EndpointKind, dir: &Path) -> Result<Self> {
        let page = vec![BEFORE; rustix::param::page_size()];
        let file = match kind {
            EndpointKind::Memory => {
                let mut map = MmapMut::map_anon(page.len()).map_err(|error| Error::from_io(&error, ACTION))?;
                map.copy_from_slice(&page);
                return Ok(Self::Memory(map));
            }
            EndpointKind::File | EndpointKind::DirectFile => temporary_file(dir)?,
            // Whatever else is a source gets its page from a file of memory, which is there without a disk.
            _ => memfd()?,
        };
        rustix::io::pwrite(&file, &page, 0).map_err(oracle_error)?;
        if kind == EndpointKind::DirectFile {
            rustix::fs::fsync(&file).map_err(oracle_error)?;
            let spliced = Some(reopen_direct(&file, OFlags::RDONLY)?);
            return Ok(Self::File { file, spliced });
        }
        Ok(Self::File { file, spliced: None })
    }

    /// Puts the page into a pipe, by reference.
    pub(super) fn splice_into(&self, pipe: BorrowedFd<'_>) -> Result<()> {
        let len = rustix::param::page_size();
        let moved = match self {
            Self::File { file, spliced } => {
                let from = spliced.as_ref().unwrap_or(file);
                rustix::pipe::splice(from, Some(&mut 0), pipe, None, len, SpliceFlags::empty())
            }
            Self::Memory(map) => {
                let part = [IoSliceRaw::from_slice(map)];
                // SAFETY: the memory is a mapping of our own, which is unmapped, not recycled, when the canary is gone.
                // That it changes while the kernel holds it is what we want to see.
                unsafe { rustix::pipe::vmsplice(pipe, &part, SpliceFlags::empty()) }
            }
        };
        if moved.map_err(oracle_error)? == len {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Io, ACTION))
        }
    }

    /// Changes the page where it came from.
    pub(super) fn modify(&mut self) -> Result<()> {
        let page = vec![AFTER; rustix::param::page_size()];
        match self {
            Self::File { file, .. } => rustix::io::pwrite(file, &page, 0).map(|_| ()).map_err(oracle_error),
            Self::Memory(map) => {
                map.copy_from_slice(&page);
                Ok(())
            }
        }
    }
}

/// What the bytes at the destination say: whether they are the changed ones. `None` if they are neither.
pub(super) fn is_modified(bytes: &[u8]) -> Option<bool> {
    match bytes.first() {
        Some(&AFTER) => bytes.iter().all(|&byte| byte == AFTER).then_some(true),
        Some(&BEFORE) => bytes.iter().all(|&byte| byte == BEFORE).then_some(false),
        _ => None,
    }
}

pub(super) fn memfd() -> Result<OwnedFd> {
    rustix::fs::memfd_create("bufferlist-oracle", MemfdFlags::CLOEXEC).map_err(oracle_error)
}

/// A file in `dir` that has no name, or loses it at once where the filesystem does not know files without.
pub(super) fn temporary_file(dir: &Path) -> Result<OwnedFd> {
    /// Several threads may ask at a time.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mode = Mode::RUSR | Mode::WUSR;
    let nameless = rustix::fs::open(dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode);
    if let Ok(file) = nameless {
        return Ok(file);
    }
    let process = rustix::process::getpid().as_raw_nonzero();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = dir.join(format!(".bufferlist-oracle-{process}-{number}"));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(&name, flags, mode).map_err(oracle_error)?;
    rustix::fs::unlink(&name).map_err(oracle_error)?;
    Ok(file)
}

/// The same file, open for direct I/O.
pub(super) fn reopen_direct(file: &OwnedFd, access: OFlags) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, access | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()).map_err(oracle_error)
}

/// The filesystem of a directory, as ends name it.
pub(super) fn filesystem_of(dir: &Path) -> Result<u64> {
    Ok(fd_info(temporary_file(dir)?.as_fd())?.endpoint.domain)
}
