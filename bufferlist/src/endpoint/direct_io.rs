//! Reads from files opened with `O_DIRECT` into memory.
//!
//! Direct I/O transfers whole blocks only, at multiples of the block size, into memory that is
//! aligned as well. Memory of an allocator seldom is aligned, and a peek seldom begins at a block
//! boundary. The whole blocks around the requested bytes are therefore read into pages.

use crate::segment::PagesMut;
use crate::sys::{self, Sys};
use bytes::Bytes;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// Alignment that every disk and filesystem accepts. Many accept less (`STATX_DIOALIGN`, statx(2)).
const BLOCK: u64 = 4096;

/// Smallest block size. A read that returns no multiple of it has reached the end of the file.
const SECTOR: usize = 512;

/// Reads at most `len` bytes at the offset `at`, as pread(2) does; none at the end of the file.
pub(crate) fn pread(fd: BorrowedFd<'_>, len: usize, at: u64) -> Sys<Bytes> {
    let start = at - at % BLOCK;
    let skip = (at - start) as usize;
    let whole_len = (skip + len).next_multiple_of(BLOCK as usize);
    let mut pages = PagesMut::new(whole_len).map_err(|_| Errno::NOMEM)?;
    let mut filled = 0;
    while filled <= skip {
        let got = sys::pread_into(fd, &mut pages.as_mut_slice()[filled..], start + filled as u64)?;
        filled += got;
        if (got == 0 || got % SECTOR != 0) && filled <= skip {
            return Ok(Bytes::new());
        }
    }
    let pages = pages.seal().map_err(|_| Errno::NOMEM)?;
    Ok(pages.slice(skip..filled.min(skip + len)).into())
}
