//! What the traced programs of these tests are made of: files, pipes, connections, and the bare calls on them.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::net::sockopt;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// `O_DIRECT` of x86-64.
const O_DIRECT: i32 = 0o40_000;

pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

pub(crate) fn pipe() -> Pipe {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    Pipe { read, write }
}

/// A pipe with so many slots.
pub(crate) fn wide_pipe(slots: usize) -> Pipe {
    let pipe = pipe();
    fcntl_setpipe_size(&pipe.write, slots * 4096).expect("F_SETPIPE_SZ");
    pipe
}

/// Bytes in which every page differs.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 4096 * 31 + at % 251) as u8).collect()
}

pub(crate) fn file_with(path: &Path, bytes: &[u8]) -> File {
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(path).expect("create");
    file.write_all(bytes).expect("write");
    file.sync_all().expect("sync");
    file
}

pub(crate) fn direct(path: &Path) -> File {
    File::options()
        .create(true)
        .write(true)
        .custom_flags(O_DIRECT)
        .open(path)
        .expect("open with O_DIRECT")
}

/// A connection over loopback whose segments hold whole pages, so that a direct file can take them: 7 pages and the 12 bytes
/// of the timestamp option.
pub(crate) fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).expect("socket");
    maxseg(&socket);
    let std::net::SocketAddr::V4(address) = listener.local_addr().expect("address") else { unreachable!() };
    rustix::net::connect(&socket, &address).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    let near = TcpStream::from(socket);
    near.set_nodelay(true).expect("nodelay");
    (near, far)
}

fn maxseg(socket: &OwnedFd) {
    // rustix has no TCP_MAXSEG: tcp(7), option 2.
    let size: libc::c_int = 7 * 4096 + 12;
    use std::os::fd::AsRawFd;
    // SAFETY: the option takes an int, which lives through the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MAXSEG,
            (&raw const size).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    assert_eq!(set, 0);
    let _ = sockopt::socket_type(socket);
}

/// One splice; how many bytes went.
pub(crate) fn once(from: impl AsFd, at: Option<&mut u64>, to: impl AsFd, to_at: Option<&mut u64>, len: usize) -> usize {
    splice(from, at, to, to_at, len, SpliceFlags::empty()).expect("splice")
}

/// Splices until all bytes went.
pub(crate) fn all(from: &impl AsFd, mut at: Option<u64>, to: &impl AsFd, mut to_at: Option<u64>, len: usize) -> usize {
    let mut left = len;
    let mut calls = 0;
    while left > 0 {
        let n = once(from, at.as_mut(), to, to_at.as_mut(), left);
        assert!(n > 0, "nothing more after {} bytes", len - left);
        left -= n;
        calls += 1;
    }
    calls
}
