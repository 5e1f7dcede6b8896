//! What the trials are made between: files, pipes, connections. All that waits ends after a while, so no trial hangs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{MemfdFlags, OFlags, ftruncate, memfd_create};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags, pipe_with, splice};

/// What each trial carries: few enough bytes for any pipe and any socket's buffers, and whole pages.
pub(super) const LEN: usize = 32 << 10;

/// How long a socket may wait. Nothing here waits for anything but this process, so it is for what drops packets.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes in which every page differs.
pub(super) fn pattern() -> Vec<u8> {
    (0..LEN).map(|at| (at / 4096 * 31 + at % 251) as u8).collect()
}

/// Where the trials' files are.
#[derive(Debug)]
pub(super) struct Stage {
    /// For any file.
    dir: PathBuf,
    /// A file with the pattern in its pages.
    pub(super) source: File,
    /// A pipe that was filled from it before anybody watched.
    pub(super) before: (OwnedFd, OwnedFd),
}

impl Stage {
    /// A stage in this directory. To be made before watching begins.
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        let source = unnamed(dir, OFlags::empty())?;
        source.write_all_at(&pattern(), 0)?;
        let before = pipe()?;
        fill(&source, &before.1)?;
        Ok(Self {
            dir: dir.to_owned(),
            source,
            before,
        })
    }

    /// An empty file on a filesystem that keeps its pages on a disk, which alone makes them dirty and sends requests.
    pub(super) fn file(&self, flags: OFlags) -> io::Result<File> {
        let file = match unnamed(&self.dir, flags) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                return Err(self.cannot("no O_DIRECT"));
            }
            other => other?,
        };
        // Major 0 is no device: tmpfs, NFS, FUSE, overlayfs. btrfs has it too, in front of its own devices.
        if file.metadata()?.dev() >> 8 == 0 {
            return Err(self.cannot("no block device"));
        }
        Ok(file)
    }

    fn cannot(&self, what: &str) -> io::Error {
        io::Error::other(format!(
            "{} is on a filesystem with {what}; --dir DIR names another",
            self.dir.display()
        ))
    }
}

/// Whether files of this directory are on a disk: a file is made to find out.
pub(super) fn is_on_disk(dir: &Path) -> bool {
    unnamed(dir, OFlags::DIRECT)
        .and_then(|file| file.metadata())
        .is_ok_and(|data| data.dev() >> 8 != 0)
}

/// A new file that has no name any more: nothing stays behind, however this ends.
fn unnamed(dir: &Path, flags: OFlags) -> io::Result<File> {
    let mut last = io::ErrorKind::AlreadyExists.into();
    for number in 0..100 {
        let path = dir.join(format!(".zctrace-selftest-{}-{number}", std::process::id()));
        let flags = (flags | OFlags::NOFOLLOW).bits() as i32;
        match File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(flags)
            .mode(0o600)
            .open(&path)
        {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) => {
                // A filesystem without O_DIRECT makes the file and refuses to open it. What another left is not ours.
                if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) {
                    let _ = std::fs::remove_file(&path);
                }
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(error);
                }
                last = error;
            }
        }
    }
    Err(last)
}

/// A file of memory that is all hole.
pub(super) fn hole() -> io::Result<File> {
    let file = File::from(memfd_create("zctrace-selftest", MemfdFlags::CLOEXEC)?);
    ftruncate(&file, LEN as u64)?;
    Ok(file)
}

/// A pipe: where to read, where to write.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// A UNIX connection.
pub(super) fn unix() -> io::Result<(UnixStream, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    for end in [&near, &far] {
        end.set_read_timeout(Some(PATIENCE))?;
        end.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((near, far))
}

/// Takes connections over loopback.
pub(super) fn listener() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // accept(2) waits no longer either.
    sockopt::set_socket_timeout(&listener, sockopt::Timeout::Recv, Some(PATIENCE))?;
    Ok(listener)
}

/// A connection to a listener, from this port or, if it is 0, from any.
pub(super) fn connect(listener: &TcpListener, from: u16) -> io::Result<(TcpStream, TcpStream)> {
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for which in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(&socket, which, Some(PATIENCE))?;
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    if from != 0 {
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, from))?;
    }
    net::connect(&socket, &listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    far.set_read_timeout(Some(PATIENCE))?;
    far.set_write_timeout(Some(PATIENCE))?;
    far.set_nodelay(true)?;
    Ok((TcpStream::from(socket), far))
}

/// A connection over loopback.
pub(super) fn tcp() -> io::Result<(TcpStream, TcpStream)> {
    connect(&listener()?, 0)
}

/// Has a connection end at once when it is dropped, so that its ports are free again.
pub(super) fn ends_at_once(end: &TcpStream) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(end, Some(Duration::ZERO))?)
}

/// Fills a pipe from the beginning of a file.
pub(super) fn fill(file: &File, pipe: &OwnedFd) -> io::Result<()> {
    let mut at = 0;
    while at < LEN as u64 {
        let left = LEN - at as usize;
        let n = splice(file, Some(&mut at), pipe, None, left, SpliceFlags::empty())?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Moves `LEN` bytes from one end to another; to a file from its beginning.
pub(super) fn all(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut left = LEN;
    while left > 0 {
        match splice(&from, None, &to, None, left, SpliceFlags::empty())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => left -= n,
        }
    }
    Ok(())
}

/// Puts `LEN` bytes in one pipe after the other from a socket, and from there into another.
pub(super) fn through(from: impl AsFd, pipe: &(OwnedFd, OwnedFd), to: impl AsFd) -> io::Result<()> {
    let mut left = LEN;
    while left > 0 {
        let mut inside = splice(&from, None, &pipe.1, None, left, SpliceFlags::empty())?;
        if inside == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= inside;
        while inside > 0 {
            inside -= splice(&pipe.0, None, &to, None, inside, SpliceFlags::empty())?;
        }
    }
    Ok(())
}

/// Lends memory to a pipe.
#[allow(unsafe_code)]
pub(super) fn lend(pipe: BorrowedFd<'_>, memory: &'static [u8]) -> io::Result<()> {
    let mut rest = memory;
    while !rest.is_empty() {
        // SAFETY: the memory is never written to nor given back.
        let n = unsafe { rustix::pipe::vmsplice(pipe, &[IoSliceRaw::from_slice(rest)], SpliceFlags::empty()) }?;
        rest = &rest[n..];
    }
    Ok(())
}

/// Takes what has arrived. It is what was sent: a trial that damages bytes proves nothing.
pub(super) fn receive(end: &mut impl Read, sent: &[u8]) -> io::Result<()> {
    let mut arrived = vec![0; sent.len()];
    end.read_exact(&mut arrived)?;
    if arrived == sent {
        Ok(())
    } else {
        Err(io::Error::other("what arrived is not what was sent"))
    }
}

/// Writes the pattern.
pub(super) fn write(end: &mut impl Write) -> io::Result<()> {
    end.write_all(&pattern())
}
