//! The contenders, each of which moves a given number of bytes from one descriptor to another.

use std::io;

use bufferlist::{Limits, Pool, Sink, Source, Transfer};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::journal;

/// A way to move bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contender {
    /// `bufferlist::Transfer`.
    Transfer,
    /// `bufferlist::Transfer` with the journal's flag set, so that each of its calls is recorded.
    Journaled,
    /// Two splices and a pipe, as a C program would do it.
    Splice,
    /// read(2) and write(2) through one buffer of the size of a chunk.
    Copy,
    /// sendfile(2), from files only.
    Sendfile,
}

impl Contender {
    pub(crate) const ALL: [Self; 5] = [
        Self::Transfer,
        Self::Journaled,
        Self::Splice,
        Self::Copy,
        Self::Sendfile,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Journaled => "journaled",
            Self::Splice => "splice",
            Self::Copy => "read+write",
            Self::Sendfile => "sendfile",
        }
    }

    /// Moves `len` bytes, `chunk` at a time. With `offsets`, `from` is a file and is read from its
    /// start.
    pub(crate) fn run(
        self,
        from: BorrowedFd<'_>,
        offsets: bool,
        to: BorrowedFd<'_>,
        len: u64,
        chunk: u64,
        pool: &Pool,
    ) -> io::Result<()> {
        match self {
            Self::Transfer => transfer(from, offsets, to, len, chunk, pool),
            Self::Journaled => {
                journal::set_flag(true)?;
                let done = transfer(from, offsets, to, len, chunk, pool);
                journal::set_flag(false)?;
                done
            }
            Self::Splice => splice(from, offsets, to, len, chunk),
            Self::Copy => copy(from, offsets, to, len, chunk),
            Self::Sendfile => sendfile(from, to, len, chunk),
        }
    }
}

fn transfer(
    from: BorrowedFd<'_>,
    offsets: bool,
    to: BorrowedFd<'_>,
    len: u64,
    chunk: u64,
    pool: &Pool,
) -> io::Result<()> {
    let source = if offsets {
        Source::file(from, ..)?
    } else {
        Source::stream(from)?
    };
    let limits = Limits::default().len(len).chunk(chunk);
    let receipt = Transfer::new(source, Sink::stream(to)?)
        .pool(pool)
        .limits(limits)
        .run()?;
    assert_eq!(receipt.total(), len);
    Ok(())
}

/// Creates the pipe of the raw loop, with as many slots as a chunk has pages.
fn pipe(chunk: u64) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let chunk = usize::try_from(chunk).map_err(io::Error::other)?;
    if rustix::pipe::fcntl_getpipe_size(&write)? < chunk {
        rustix::pipe::fcntl_setpipe_size(&write, chunk)?;
    }
    Ok((read, write))
}

/// Moves bytes by the loop that `Transfer` is measured against: one pipe, two calls for each chunk.
///
/// Without `SPLICE_F_NONBLOCK`, because the sockets are blocking and an empty UNIX socket would
/// need a poll(2) with it.
fn splice(from: BorrowedFd<'_>, offsets: bool, to: BorrowedFd<'_>, len: u64, chunk: u64) -> io::Result<()> {
    let flags = SpliceFlags::MOVE;
    let (read, write) = pipe(chunk)?;
    let mut at = 0;
    let mut left = len;
    while left > 0 {
        let offset = offsets.then_some(&mut at);
        let mut full = rustix::pipe::splice(from, offset, &write, None, left.min(chunk) as usize, flags)?;
        if full == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= full as u64;
        while full > 0 {
            full -= rustix::pipe::splice(&read, None, to, None, full, flags)?;
        }
    }
    Ok(())
}

fn copy(from: BorrowedFd<'_>, offsets: bool, to: BorrowedFd<'_>, len: u64, chunk: u64) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(chunk).map_err(io::Error::other)?];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(chunk) as usize;
        let got = if offsets {
            rustix::io::pread(from, &mut buffer[..want], done)?
        } else {
            rustix::io::read(from, &mut buffer[..want])?
        };
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        done += got as u64;
        let mut sent = 0;
        while sent < got {
            sent += rustix::io::write(to, &buffer[sent..got])?;
        }
    }
    Ok(())
}

fn sendfile(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: u64, chunk: u64) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let want = (len - at).min(chunk) as usize;
        if rustix::fs::sendfile(to, from, Some(&mut at), want)? == 0 {
            return Err(Errno::NODATA.into());
        }
    }
    Ok(())
}
