//! System calls of the crate, one small function each.
//!
//! Tests inject faults here (`sys::fault`): a call may fail with any error or be shortened, and no
//! caller may lose a byte, leak a descriptor or keep a pipe with bytes in it. No other code of the
//! crate calls the kernel, except the oracle, which is itself a test. Functions that move data take
//! descriptors, lengths and flags; none blocks unless its descriptor is blocking.

#[cfg(feature = "__fault")]
pub mod fault;
#[cfg(not(feature = "__fault"))]
pub(crate) mod fault {
    //! Replacement of the fault injection without the tests' feature. Compiles to nothing.
    use super::Call;
    use rustix::io::Errno;

    #[inline]
    #[expect(clippy::unnecessary_wraps, reason = "it stands in for one that can refuse")]
    pub(super) fn enter(_: Call, len: usize) -> Result<usize, Errno> {
        Ok(len)
    }
}

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) type Sys<T> = Result<T, Errno>;

/// System call, for plans and logs of fault injection.
#[cfg_attr(
    not(feature = "__fault"),
    expect(unreachable_pub, reason = "only the tests' feature exports it")
)]
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// pipe2(2)
    Pipe,
    /// fcntl(2) `F_GETPIPE_SZ`
    GetPipeSize,
    /// fcntl(2) `F_SETPIPE_SZ`
    SetPipeSize,
    /// ioctl(2) `FIONREAD`
    BytesReadable,
    /// splice(2)
    Splice,
    /// tee(2)
    Tee,
    /// vmsplice(2)
    Vmsplice,
    /// sendfile(2)
    Sendfile,
    /// read(2)
    Read,
    /// pread(2)
    Pread,
    /// writev(2)
    Write,
    /// pwritev(2)
    Pwrite,
    /// sendmsg(2)
    Send,
    /// poll(2)
    Poll,
    /// open(2)
    Open,
    /// `memfd_create`(2)
    Memfd,
    /// fcntl(2) `F_GETFL`
    GetFlags,
}

/// Maximum length of a call that moves bytes. The kernel shortens longer calls at `MAX_RW_COUNT`
/// and refuses those above `SSIZE_MAX` with EINVAL (`fs/splice.c`, `fs/read_write.c`), and one long
/// call delays the caller's other work.
pub(crate) const MAX_COUNT: usize = 1 << 20;

/// Returns the size of a page, which is what one pipe slot holds of a file.
pub(crate) fn page_size() -> usize {
    // Cached, because it is needed several times per chunk, and libc searches the auxiliary vector
    // each time.
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(rustix::param::page_size)
}

/// Repeats a call that a signal interrupted before it did anything.
fn retry_on_intr<T>(mut call: impl FnMut() -> Sys<T>) -> Sys<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

pub(crate) fn pipe() -> Sys<(OwnedFd, OwnedFd)> {
    retry_on_intr(|| {
        fault::enter(Call::Pipe, 1)?;
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
    })
}

pub(crate) fn pipe_size(fd: BorrowedFd<'_>) -> Sys<usize> {
    retry_on_intr(|| {
        fault::enter(Call::GetPipeSize, 1)?;
        rustix::pipe::fcntl_getpipe_size(fd)
    })
}

pub(crate) fn set_pipe_size(fd: BorrowedFd<'_>, bytes: usize) -> Sys<usize> {
    retry_on_intr(|| {
        fault::enter(Call::SetPipeSize, 1)?;
        rustix::pipe::fcntl_setpipe_size(fd, bytes)
    })
}

/// Returns the number of bytes in a pipe.
pub(crate) fn bytes_readable(fd: BorrowedFd<'_>) -> Sys<u64> {
    retry_on_intr(|| {
        fault::enter(Call::BytesReadable, 1)?;
        rustix::io::ioctl_fionread(fd)
    })
}

/// Splices at most `len` bytes. `more` states that the next bytes follow at once, so that a socket
/// may wait for them.
pub(crate) fn splice(
    from: BorrowedFd<'_>,
    from_at: Option<&mut u64>,
    to: BorrowedFd<'_>,
    to_at: Option<&mut u64>,
    len: usize,
    more: bool,
) -> Sys<usize> {
    let mut flags = SpliceFlags::NONBLOCK;
    flags.set(SpliceFlags::MORE, more);
    let (mut from_at, mut to_at) = (from_at, to_at);
    retry_on_intr(|| {
        let len = fault::enter(Call::Splice, len)?;
        rustix::pipe::splice(from, from_at.as_deref_mut(), to, to_at.as_deref_mut(), len, flags)
    })
}

pub(crate) fn tee(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> Sys<usize> {
    retry_on_intr(|| {
        let len = fault::enter(Call::Tee, len)?;
        rustix::pipe::tee(from, to, len, SpliceFlags::NONBLOCK)
    })
}

/// Puts memory into a pipe by reference.
///
/// # Safety
///
/// While the kernel holds the pages under `memory`, which is unbounded in time, they must neither
/// change nor be reused by an allocator: they must be unmapped, never recycled.
pub(crate) unsafe fn vmsplice(to: BorrowedFd<'_>, memory: &[u8]) -> Sys<usize> {
    retry_on_intr(|| {
        let len = fault::enter(Call::Vmsplice, memory.len())?;
        let part = [IoSliceRaw::from_slice(&memory[..len])];
        // SAFETY: `to` is the write end of a pipe, so the kernel only reads the memory and takes
        // references to its pages. The pages neither change nor are reused while it holds them,
        // which the caller guarantees (see `# Safety`).
        unsafe { rustix::pipe::vmsplice(to, &part, SpliceFlags::NONBLOCK) }
    })
}

pub(crate) fn sendfile(to: BorrowedFd<'_>, from: BorrowedFd<'_>, at: &mut u64, len: usize) -> Sys<usize> {
    retry_on_intr(|| {
        let len = fault::enter(Call::Sendfile, len)?;
        rustix::fs::sendfile(to, from, Some(&mut *at), len)
    })
}

/// Lets `call` fill at most `len` bytes of the spare capacity of `into`, and keeps the bytes that
/// it filled.
fn read_to_spare(
    into: &mut Vec<u8>,
    len: usize,
    call: impl FnOnce(&mut [MaybeUninit<u8>]) -> Sys<usize>,
) -> Sys<usize> {
    let held = into.len();
    into.reserve(len);
    let filled = call(&mut into.spare_capacity_mut()[..len])?;
    assert!(filled <= len, "the kernel wrote no more than it was asked for");
    // SAFETY: `set_len` requires initialized elements within the capacity. `call` returned that it
    // initialized `filled` bytes after `held`, and `filled <= len` was asserted. The capacity is at
    // least `held + len` because of the reservation above.
    unsafe { into.set_len(held + filled) };
    Ok(filled)
}

/// Reads at most `len` bytes and appends them to `into`.
pub(crate) fn read(fd: BorrowedFd<'_>, into: &mut Vec<u8>, len: usize) -> Sys<usize> {
    retry_on_intr(|| {
        let len = fault::enter(Call::Read, len)?;
        read_to_spare(into, len, |spare| Ok(rustix::io::read(fd, spare)?.0.len()))
    })
}

/// Reads at most `len` bytes at an offset of a file and appends them to `into`.
pub(crate) fn pread(fd: BorrowedFd<'_>, into: &mut Vec<u8>, len: usize, at: u64) -> Sys<usize> {
    retry_on_intr(|| {
        let len = fault::enter(Call::Pread, len)?;
        read_to_spare(into, len, |spare| Ok(rustix::io::pread(fd, spare, at)?.0.len()))
    })
}

/// Reads at an offset of a file into `into`.
pub(crate) fn pread_into(fd: BorrowedFd<'_>, into: &mut [u8], at: u64) -> Sys<usize> {
    retry_on_intr(|| {
        let len = fault::enter(Call::Pread, into.len())?;
        rustix::io::pread(fd, &mut into[..len], at)
    })
}

/// Returns the first `len` bytes of `parts`, for a call that fault injection shortens.
fn prefix<'a>(parts: &'a [IoSlice<'_>], len: usize) -> Vec<IoSlice<'a>> {
    let mut left = len;
    let mut short = Vec::new();
    for part in parts {
        let take = part.len().min(left);
        if take > 0 {
            short.push(IoSlice::new(&part[..take]));
        }
        left -= take;
    }
    short
}

/// Passes `parts`, or as much of them as fault injection allows, to `call`.
fn gather(name: Call, parts: &[IoSlice<'_>], mut call: impl FnMut(&[IoSlice<'_>]) -> Sys<usize>) -> Sys<usize> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    retry_on_intr(|| {
        let len = fault::enter(name, total)?;
        if len == total {
            call(parts)
        } else {
            call(&prefix(parts, len))
        }
    })
}

pub(crate) fn write(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> Sys<usize> {
    gather(Call::Write, parts, |parts| rustix::io::writev(fd, parts))
}

pub(crate) fn pwrite(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>], at: u64) -> Sys<usize> {
    gather(Call::Pwrite, parts, |parts| rustix::io::pwritev(fd, parts, at))
}

/// Sends on a socket, without a signal if the peer has closed. `more` has the same meaning as for
/// [`splice`].
pub(crate) fn send(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>], more: bool) -> Sys<usize> {
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, more);
    gather(Call::Send, parts, |parts| {
        rustix::net::sendmsg(fd, parts, &mut SendAncillaryBuffer::default(), flags)
    })
}

/// Condition that poll(2) waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// Bytes, or the end of the stream.
    In,
    /// Room for bytes, or an error that makes writing impossible.
    Out,
}

/// Waits until `fd` is ready, or for `limit` (forever if `None`), and returns whether it is. May
/// return `false` early, for example after a signal; the caller then tries again.
pub(crate) fn wait(fd: BorrowedFd<'_>, what: Wait, limit: Option<Duration>) -> Sys<bool> {
    match fault::enter(Call::Poll, 1) {
        Err(Errno::INTR) => return Ok(false),
        other => other?,
    };
    let flags = match what {
        Wait::In => PollFlags::IN,
        Wait::Out => PollFlags::OUT,
    };
    let mut fds = [PollFd::new(&fd, flags)];
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    match rustix::event::poll(&mut fds, limit.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn open(path: &str) -> Sys<OwnedFd> {
    retry_on_intr(|| {
        fault::enter(Call::Open, 1)?;
        rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
    })
}

/// Creates a memfd that no other code can reach, and that may be sealed.
pub(crate) fn memfd(name: &str) -> Sys<OwnedFd> {
    retry_on_intr(|| {
        fault::enter(Call::Memfd, 1)?;
        rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
    })
}

/// Creates the memfd of the journal, sealed to its size.
///
/// Not subject to fault injection, as are the clocks and numbers below: it is created once per
/// process, by the first pipe, and without it only the journal is missing.
#[cfg(not(model))]
pub(crate) fn journal_memfd(name: &str, bytes: u64) -> Sys<OwnedFd> {
    let fd = retry_on_intr(|| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))?;
    // A file size above `RLIMIT_FSIZE` (`ulimit -f`) would deliver SIGXFSZ, which kills the process
    // (setrlimit(2)). There is then no journal.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < bytes) {
        return Err(rustix::io::Errno::FBIG);
    }
    retry_on_intr(|| rustix::fs::ftruncate(&fd, bytes))?;
    let seals = rustix::fs::SealFlags::SHRINK | rustix::fs::SealFlags::GROW | rustix::fs::SealFlags::SEAL;
    retry_on_intr(|| rustix::fs::fcntl_add_seals(&fd, seals))?;
    Ok(fd)
}

/// Returns the filesystem that all pipes belong to (`st_dev`).
#[cfg(not(model))]
pub(crate) fn pipe_device() -> Sys<u64> {
    let (read, _) = retry_on_intr(|| rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
    Ok(stat(read.as_fd())?.st_dev)
}

/// Returns the nanoseconds of `CLOCK_MONOTONIC`, through the vDSO and without a system call.
#[cfg(not(model))]
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(rustix::time::ClockId::Monotonic)
}

/// Returns the nanoseconds of `CLOCK_BOOTTIME`.
#[cfg(not(model))]
pub(crate) fn boottime_ns() -> u64 {
    nanoseconds(rustix::time::ClockId::Boottime)
}

#[cfg(not(model))]
fn nanoseconds(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

/// Returns the flags of the open file. They change when any holder of the open file sets them.
pub(crate) fn flags(fd: BorrowedFd<'_>) -> Sys<OFlags> {
    retry_on_intr(|| {
        fault::enter(Call::GetFlags, 1)?;
        rustix::fs::fcntl_getfl(fd)
    })
}

pub(crate) fn stat(fd: BorrowedFd<'_>) -> Sys<Stat> {
    retry_on_intr(|| rustix::fs::fstat(fd))
}
