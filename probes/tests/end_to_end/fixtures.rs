//! Building blocks of the traced programs: files, pipes, connections, memory, and plain system
//! calls on them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::JoinHandle;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

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

/// Returns a pipe with this many slots.
pub(crate) fn pipe_with_slots(slots: usize) -> Pipe {
    let pipe = pipe();
    fcntl_setpipe_size(&pipe.write, slots * 4096).expect("F_SETPIPE_SZ");
    pipe
}

/// Returns bytes in which every page differs.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 4096 * 31 + at % 251) as u8).collect()
}

pub(crate) fn file_with(path: &Path, bytes: &[u8]) -> File {
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path)
        .expect("create");
    file.write_all(bytes).expect("write");
    file.sync_all().expect("sync");
    file
}

pub(crate) fn open_direct(path: &Path) -> File {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .custom_flags(O_DIRECT)
        .open(path)
        .expect("open with O_DIRECT")
}

/// Returns a connection over loopback whose segments hold whole pages, so that a direct file can
/// accept them: 7 pages and the 12 bytes of the timestamp option.
pub(crate) fn page_sized_connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).expect("socket");
    set_maxseg(&socket);
    let std::net::SocketAddr::V4(address) = listener.local_addr().expect("address") else {
        unreachable!()
    };
    rustix::net::connect(&socket, &address).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    let near = TcpStream::from(socket);
    near.set_nodelay(true).expect("nodelay");
    (near, far)
}

fn set_maxseg(socket: &OwnedFd) {
    // rustix has no TCP_MAXSEG.
    set_int(socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, 7 * 4096 + 12);
}

/// Sets an int option of a socket.
pub(crate) fn set_int(socket: &impl AsRawFd, level: i32, option: i32, value: i32) {
    // SAFETY: setsockopt reads an int at the address, which is that of a live int, and the size is
    // its size.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// Makes one splice and returns the number of bytes.
pub(crate) fn splice_once(
    from: impl AsFd,
    at: Option<&mut u64>,
    to: impl AsFd,
    to_at: Option<&mut u64>,
    len: usize,
) -> usize {
    splice(from, at, to, to_at, len, SpliceFlags::empty()).expect("splice")
}

/// Splices until all bytes have been moved.
pub(crate) fn splice_all(
    from: &impl AsFd,
    mut at: Option<u64>,
    to: &impl AsFd,
    mut to_at: Option<u64>,
    len: usize,
) -> usize {
    let mut left = len;
    let mut calls = 0;
    while left > 0 {
        let n = splice_once(from, at.as_mut(), to, to_at.as_mut(), left);
        assert!(n > 0, "nothing more after {} bytes", len - left);
        left -= n;
        calls += 1;
    }
    calls
}

/// Sends from a file until all bytes have been sent; returns the number of calls.
pub(crate) fn sendfile_all(from: &impl AsFd, at: u64, to: &impl AsFd, len: usize) -> usize {
    let (mut at, end) = (at, at + len as u64);
    let mut calls = 0;
    while at < end {
        let left = (end - at) as usize;
        let n = rustix::fs::sendfile(to, from, Some(&mut at), left).expect("sendfile");
        assert!(n > 0, "nothing more at {at}");
        calls += 1;
    }
    calls
}

/// Moves bytes from a source through a pipe to a sink, as many at a time as the pipe holds.
pub(crate) fn splice_through(
    from: &impl AsFd,
    at: Option<u64>,
    pipe: &Pipe,
    to: &impl AsFd,
    to_at: Option<u64>,
    len: usize,
) {
    let (mut at, mut to_at) = (at, to_at);
    let mut left = len;
    while left > 0 {
        let n = splice_once(from, at.as_mut(), &pipe.write, None, left);
        assert!(n > 0, "the source has ended, {left} bytes early");
        splice_all(&pipe.read, None, to, to_at, n);
        to_at = to_at.map(|at| at + n as u64);
        left -= n;
    }
}

/// Receives this many bytes by plain reads, on a thread of its own.
pub(crate) fn receive(mut from: impl Read + Send + 'static, len: usize) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = vec![0; len];
        from.read_exact(&mut bytes).expect("receive");
        bytes
    })
}

/// Reads this many bytes, part by part, and discards them.
pub(crate) fn read_in_chunks(mut from: impl Read + Send + 'static, len: usize, part: usize) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut part = vec![0; part];
        let mut left = len;
        while left > 0 {
            left -= from.read(&mut part).expect("read");
        }
    })
}

/// Sends from a file until the queue is full; returns the number of bytes.
pub(crate) fn sendfile_until_full(source: &File, near: &TcpStream, len: usize) -> usize {
    near.set_nonblocking(true).expect("nonblocking");
    let (mut at, mut sent) = (0, 0);
    while let Ok(n) = rustix::fs::sendfile(near, source, Some(&mut at), len) {
        sent += n;
    }
    sent
}

/// Returns whole pages of memory, filled with [`pattern`]. Never unmapped, because the kernel may
/// still refer to them.
pub(crate) fn static_pages(len: usize) -> &'static mut [u8] {
    // SAFETY: an anonymous mapping at an address chosen by the kernel overlaps no other memory.
    let start = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
        .expect("mmap")
    };
    // SAFETY: the range was mapped above, readable and writable, and is never unmapped; nothing
    // else refers to it.
    let memory = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), len) };
    memory.copy_from_slice(&pattern(len));
    memory
}

/// Passes memory to a pipe by vmsplice; returns the number of bytes.
pub(crate) fn vmsplice_all(memory: &'static [u8], pipe: &Pipe) -> usize {
    // SAFETY: vmsplice requires that the memory stays valid and unchanged: it is never unmapped,
    // and nothing writes to it any more.
    unsafe { rustix::pipe::vmsplice(&pipe.write, &[IoSliceRaw::from_slice(memory)], SpliceFlags::empty()) }
        .expect("vmsplice")
}

/// Returns a memfd.
pub(crate) fn memfd(bytes: &[u8]) -> File {
    let fd = rustix::fs::memfd_create("zctrace-test", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
    let mut file = File::from(fd);
    file.write_all(bytes).expect("write");
    file
}

pub(crate) fn null() -> File {
    File::options().write(true).open("/dev/null").expect("/dev/null")
}

/// Returns a connection with the kernel's default options.
pub(crate) fn tcp_connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    (near, far)
}

/// Returns the ID of the calling thread.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: gettid takes no arguments and cannot fail.
    unsafe { libc::gettid() as u32 }
}

/// Writes to a connection until it would block; returns the number of bytes.
pub(crate) fn write_until_full(mut near: &TcpStream) -> usize {
    near.set_nonblocking(true).expect("nonblocking");
    let zeros = vec![0; 1 << 20];
    let mut filled = 0;
    loop {
        // Acknowledgments of data in flight free space again.
        let (queue, unsent) = send_queue(near);
        let before = filled;
        while let Ok(n) = near.write(&zeros) {
            filled += n;
        }
        if filled == before && queue == unsent {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    near.set_nonblocking(false).expect("blocking");
    filled
}

/// Returns the bytes in the send queue of a TCP socket: all of them, and those that were not
/// transmitted yet.
pub(crate) fn send_queue(socket: &TcpStream) -> (usize, usize) {
    // include/uapi/linux/sockios.h
    const SIOCOUTQNSD: libc::Ioctl = 0x894b;
    let ask = |request| {
        let mut bytes: libc::c_int = 0;
        // SAFETY: both requests write an int to the address that they are given, which is that of
        // `bytes`.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut bytes) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        bytes as usize
    };
    (ask(libc::TIOCOUTQ), ask(SIOCOUTQNSD))
}

/// Makes one zero-copy send(2) of memory that lives forever and is never written; returns the
/// number of bytes taken, or -1.
pub(crate) fn send_zerocopy(socket: &TcpStream, memory: &'static [u8], flags: i32) -> isize {
    let (fd, bytes) = (socket.as_raw_fd(), memory.as_ptr().cast());
    // SAFETY: send reads the memory, which is valid forever; the kernel may keep references to it,
    // and nothing writes to it.
    unsafe { libc::send(fd, bytes, memory.len(), libc::MSG_ZEROCOPY | flags) }
}
