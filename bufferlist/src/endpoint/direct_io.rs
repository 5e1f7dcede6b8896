//! Reading a part of a file that is open with `O_DIRECT` into memory.
//!
//! Direct I/O takes whole blocks only, at multiples of them, into memory that is aligned as well; memory of an allocator
//! seldom is, and what somebody looks at seldom begins at a block. So whole blocks around the part are read into pages.

use crate::segment::PagesMut;
use crate::sys::{self, Sys};
use bytes::Bytes;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// What every disk and filesystem takes; less is possible on many (`STATX_DIOALIGN`, statx(2)).
const BLOCK: u64 = 4096;

/// The least block there is: a read that is no multiple of it has met the end of the file.
const SECTOR: usize = 512;

/// As pread(2): at most `len` bytes at the offset `at`, none at the end of the file.
pub(crate) fn pread(fd: BorrowedFd<'_>, len: usize, at: u64) -> Sys<Bytes> {
    let start = at - at % BLOCK;
    let skip = (at - start) as usize;
    let whole = (skip + len).next_multiple_of(BLOCK as usize);
    let mut pages = PagesMut::new(whole).map_err(|_| Errno::NOMEM)?;
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
