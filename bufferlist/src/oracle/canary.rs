//! The canary: a page whose contents can be modified after it has been moved, and the file or
//! memory that holds it.

use crate::endpoint::kind::{EndpointKind, fd_info};
use crate::error::{Error, ErrorKind, Result};
use memmap2::MmapMut;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{IoSliceRaw, SpliceFlags};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Contents of the page before and after it is modified.
const BEFORE: u8 = b'A';
const AFTER: u8 = b'B';

pub(super) const ACTION: &str = "run an experiment";

pub(super) fn oracle_error(errno: Errno) -> Error {
    Error::from_errno(errno, ACTION)
}

/// A canary and its storage.
pub(super) enum Canary {
    /// In a file, which is modified by writing to it. The page may be spliced from another
    /// descriptor.
    File { file: OwnedFd, spliced: Option<OwnedFd> },
    /// In memory of this process.
    Memory(MmapMut),
}

impl Canary {
    /// Creates a canary for a source of this kind, with files in `dir`.
    pub(super) fn new(kind: EndpointKind, dir: &Path) -> Result<Self> {
        let page = vec![BEFORE; rustix::param::page_size()];
        let file = match kind {
            EndpointKind::Memory => {
                let mut map = MmapMut::map_anon(page.len()).map_err(|error| Error::from_io(&error, ACTION))?;
                map.copy_from_slice(&page);
                return Ok(Self::Memory(map));
            }
            EndpointKind::File | EndpointKind::DirectFile => temporary_file(dir)?,
            // Any other source receives its page from a memfd, which needs no disk.
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

    /// Puts the page into a pipe by reference.
    pub(super) fn splice_into(&self, pipe: BorrowedFd<'_>) -> Result<()> {
        let len = rustix::param::page_size();
        let moved = match self {
            Self::File { file, spliced } => {
                let from = spliced.as_ref().unwrap_or(file);
                rustix::pipe::splice(from, Some(&mut 0), pipe, None, len, SpliceFlags::empty())
            }
            Self::Memory(map) => {
                let part = [IoSliceRaw::from_slice(map)];
                // SAFETY: the kernel only reads the memory, and takes references to its pages. The
                // mapping is unmapped when the canary is dropped, so the pages are not reused while
                // the kernel holds them. They do change meanwhile, by writes of this process, and
                // nothing but the experiment reads them.
                unsafe { rustix::pipe::vmsplice(pipe, &part, SpliceFlags::empty()) }
            }
        };
        if moved.map_err(oracle_error)? == len {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Io, ACTION))
        }
    }

    /// Modifies the page at its source.
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

/// Returns whether the bytes at the destination are the modified ones. `None` if they are neither
/// the original nor the modified ones.
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

/// Creates a file in `dir` without a name. If the filesystem does not support that, the name is
/// removed at once.
pub(super) fn temporary_file(dir: &Path) -> Result<OwnedFd> {
    /// Distinguishes the files of concurrent experiments.
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

/// Opens the same file for direct I/O.
pub(super) fn reopen_direct(file: &OwnedFd, access: OFlags) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, access | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()).map_err(oracle_error)
}

/// Returns the filesystem of a directory, as the domain of an endpoint.
pub(super) fn filesystem_of(dir: &Path) -> Result<u64> {
    Ok(fd_info(temporary_file(dir)?.as_fd())?.endpoint.domain)
}
