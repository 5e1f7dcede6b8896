//! Files, pipes and connections that the trials use. Every wait has a timeout, so no trial hangs.

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

/// Bytes per trial: whole pages, and few enough for any pipe and any socket buffer.
pub(super) const LEN: usize = 32 << 10;

/// Timeout of socket operations. They wait only for this process, so it expires only if packets are
/// dropped.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns bytes that differ in every page.
pub(super) fn pattern() -> Vec<u8> {
    (0..LEN).map(|at| (at / 4096 * 31 + at % 251) as u8).collect()
}

/// Files and pipes that the trials share.
#[derive(Debug)]
pub(super) struct Fixture {
    /// Directory of the files.
    dir: PathBuf,
    /// File that contains the pattern.
    pub(super) source: File,
    /// Pipe that was filled from `source` before tracing started.
    pub(super) existing_pipe: (OwnedFd, OwnedFd),
}

impl Fixture {
    /// Creates the fixture in a directory. Must be called before tracing starts.
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        let source = unlinked_file(dir, OFlags::empty())?;
        source.write_all_at(&pattern(), 0)?;
        let existing_pipe = pipe()?;
        fill_pipe(&source, &existing_pipe.1)?;
        Ok(Self {
            dir: dir.to_owned(),
            source,
            existing_pipe,
        })
    }

    /// Creates an empty file on a filesystem with a block device. Only such a filesystem dirties
    /// pages and sends block I/O requests.
    pub(super) fn sink_file(&self, flags: OFlags) -> io::Result<File> {
        let file = match unlinked_file(&self.dir, flags) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                return Err(self.unsuitable("no O_DIRECT"));
            }
            other => other?,
        };
        // Major number 0 is not a block device: tmpfs, NFS, FUSE, overlayfs. btrfs also has it, in
        // front of its devices.
        if file.metadata()?.dev() >> 8 == 0 {
            return Err(self.unsuitable("no block device"));
        }
        Ok(file)
    }

    fn unsuitable(&self, what: &str) -> io::Error {
        io::Error::other(format!(
            "{} is on a filesystem with {what}; --dir DIR names another",
            self.dir.display()
        ))
    }
}

/// Returns whether files of this directory are on a block device, by creating one.
pub(super) fn is_on_disk(dir: &Path) -> bool {
    unlinked_file(dir, OFlags::DIRECT)
        .and_then(|file| file.metadata())
        .is_ok_and(|data| data.dev() >> 8 != 0)
}

/// Creates a file and unlinks it, so that nothing is left behind however the process ends.
fn unlinked_file(dir: &Path, flags: OFlags) -> io::Result<File> {
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
                // A filesystem without O_DIRECT creates the file and then refuses to open it. A
                // file that existed before is not ours to remove.
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

/// Creates a memfd that consists of a hole.
pub(super) fn hole_file() -> io::Result<File> {
    let file = File::from(memfd_create("zctrace-selftest", MemfdFlags::CLOEXEC)?);
    ftruncate(&file, LEN as u64)?;
    Ok(file)
}

/// Creates a pipe, as (read end, write end).
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// Creates a connected pair of UNIX sockets.
pub(super) fn unix_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    for end in [&near, &far] {
        end.set_read_timeout(Some(TIMEOUT))?;
        end.set_write_timeout(Some(TIMEOUT))?;
    }
    Ok((near, far))
}

/// Listens on loopback.
pub(super) fn listener() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // The timeout also applies to accept(2).
    sockopt::set_socket_timeout(&listener, sockopt::Timeout::Recv, Some(TIMEOUT))?;
    Ok(listener)
}

/// Connects to a listener from a port; 0 for any port.
pub(super) fn connect(listener: &TcpListener, from: u16) -> io::Result<(TcpStream, TcpStream)> {
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for which in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(&socket, which, Some(TIMEOUT))?;
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    if from != 0 {
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, from))?;
    }
    net::connect(&socket, &listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    far.set_read_timeout(Some(TIMEOUT))?;
    far.set_write_timeout(Some(TIMEOUT))?;
    far.set_nodelay(true)?;
    Ok((TcpStream::from(socket), far))
}

/// Creates a TCP connection over loopback.
pub(super) fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    connect(&listener()?, 0)
}

/// Makes a connection end with a reset when it is dropped, so that its ports are free at once.
pub(super) fn reset_on_close(end: &TcpStream) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(end, Some(Duration::ZERO))?)
}

/// Splices from the start of a file into a pipe.
pub(super) fn fill_pipe(file: &File, pipe: &OwnedFd) -> io::Result<()> {
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

/// Splices `LEN` bytes between two descriptors; into a file, from its current position.
pub(super) fn splice_all(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut left = LEN;
    while left > 0 {
        match splice(&from, None, &to, None, left, SpliceFlags::empty())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => left -= n,
        }
    }
    Ok(())
}

/// Splices `LEN` bytes from a socket through a pipe to another socket.
pub(super) fn splice_through(from: impl AsFd, pipe: &(OwnedFd, OwnedFd), to: impl AsFd) -> io::Result<()> {
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

/// Vmsplices memory into a pipe.
#[allow(unsafe_code)]
pub(super) fn vmsplice_all(pipe: BorrowedFd<'_>, memory: &'static [u8]) -> io::Result<()> {
    let mut rest = memory;
    while !rest.is_empty() {
        // SAFETY: vmsplice requires that the memory stays mapped and unchanged while the pipe
        // refers to its pages. Both hold because the memory is `'static` and immutable.
        let n = unsafe { rustix::pipe::vmsplice(pipe, &[IoSliceRaw::from_slice(rest)], SpliceFlags::empty()) }?;
        rest = &rest[n..];
    }
    Ok(())
}

/// Receives bytes and checks that they are those that were sent, because a trial that damages bytes
/// proves nothing.
pub(super) fn receive_expected(end: &mut impl Read, sent: &[u8]) -> io::Result<()> {
    let mut arrived = vec![0; sent.len()];
    end.read_exact(&mut arrived)?;
    if arrived == sent {
        Ok(())
    } else {
        Err(io::Error::other("what arrived is not what was sent"))
    }
}

/// Writes the pattern.
pub(super) fn write_pattern(end: &mut impl Write) -> io::Result<()> {
    end.write_all(&pattern())
}
