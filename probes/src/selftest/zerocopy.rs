//! Sends that should not copy, of which the kernel tells afterwards whether they did. Over loopback they always do.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapMut, MmapOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io_uring::{
    IORING_OFF_CQ_RING, IORING_OFF_SQ_RING, IORING_OFF_SQES, IoringCqeFlags, IoringEnterFlags, IoringOp,
    IoringSendFlags, io_uring_cqe, io_uring_enter, io_uring_params, io_uring_ptr, io_uring_setup, io_uring_sqe,
};
use rustix::net::{RecvFlags, recv};

use super::ends::{self, LEN, PATIENCE, Stage};

/// Memory that is lent: it is not given back before the kernel has said so, and there is one for all time.
static LENT: [u8; LEN] = [9; LEN];

/// One send(2) with `MSG_ZEROCOPY`, whose notice is read from the error queue.
pub(super) fn by_send(_: &Stage) -> io::Result<()> {
    let (near, mut far) = ends::tcp()?;
    lend_to(&near)?;
    ends::receive(&mut far, &LENT)?;
    // An error queue that is not empty is an error for poll(2).
    wait(&near, PollFlags::empty())?;
    recv(&near, &mut [0; 1], RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT)?;
    Ok(())
}

#[allow(unsafe_code)]
fn lend_to(socket: &TcpStream) -> io::Result<()> {
    let on: i32 = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), (&raw const on).cast());
    // SAFETY: the value is as long as is said.
    if unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY, value, len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the memory is never written to nor given back.
    let sent = unsafe { libc::send(fd, LENT.as_ptr().cast(), LEN, libc::MSG_ZEROCOPY) };
    if sent == LEN as isize {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits until a descriptor has something to tell.
fn wait(on: impl AsFd, what: PollFlags) -> io::Result<()> {
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(&on, what)], Some(&patience))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// One `IORING_OP_SEND_ZC` that asks to be told (Linux 6.2).
pub(super) fn by_io_uring(_: &Stage) -> io::Result<()> {
    let (near, mut far) = ends::tcp()?;
    let mut ring = Ring::new()?;
    ring.send(&near)?;
    ends::receive(&mut far, &LENT)?;
    ring.wait_for_notice()
}

/// An `io_uring` of one request.
struct Ring {
    fd: OwnedFd,
    params: io_uring_params,
    requests: MmapMut,
    entries: MmapMut,
    results: MmapMut,
}

impl Ring {
    #[allow(unsafe_code)]
    fn new() -> io::Result<Self> {
        let mut params = io_uring_params::default();
        // SAFETY: no queue of workers is attached to.
        let fd = unsafe { io_uring_setup(1, &mut params) }?;
        let map = |offset: u64, len: usize| {
            // SAFETY: memory of the ring's own, which lives as long as it is mapped; the kernel's part of it is read by atomics
            // and after they said that it is written.
            unsafe { MmapOptions::new().offset(offset).len(len).map_mut(&fd) }
        };
        let entries = params.sq_off.array as usize + params.sq_entries as usize * 4;
        let results = params.cq_off.cqes as usize + params.cq_entries as usize * RESULT;
        Ok(Self {
            requests: map(IORING_OFF_SQES, params.sq_entries as usize * size_of::<io_uring_sqe>())?,
            entries: map(IORING_OFF_SQ_RING, entries)?,
            results: map(IORING_OFF_CQ_RING, results)?,
            params,
            fd,
        })
    }

    /// A counter of the ring, `at` so many bytes.
    #[allow(unsafe_code, clippy::cast_ptr_alignment)] // The kernel's counters are aligned to their size.
    fn counter(map: &MmapMut, at: u32) -> &AtomicU32 {
        assert!(
            at as usize + 4 <= map.len() && at.is_multiple_of(4),
            "a counter lies in its ring"
        );
        // SAFETY: it was just asserted; the kernel writes it by atomics, too.
        unsafe { &*map.as_ptr().add(at as usize).cast::<AtomicU32>() }
    }

    #[allow(unsafe_code)]
    fn send(&mut self, to: &TcpStream) -> io::Result<()> {
        let mut request = io_uring_sqe {
            opcode: IoringOp::SendZc,
            fd: to.as_raw_fd(),
            ..io_uring_sqe::default()
        };
        request.ioprio.send_flags = IoringSendFlags::ZC_REPORT_USAGE;
        request.addr_or_splice_off_in.addr = io_uring_ptr::new(LENT.as_ptr().cast_mut().cast());
        request.len.len = LEN as u32;
        // SAFETY: the first request's place, which the kernel reads when it is told to.
        unsafe {
            self.requests
                .as_mut_ptr()
                .cast::<io_uring_sqe>()
                .write_unaligned(request);
        };
        let tail = Self::counter(&self.entries, self.params.sq_off.tail);
        // The list of requests is all zeros: its only entry is the first one.
        tail.store(tail.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        // SAFETY: the memory that is sent is never given back.
        let submitted = unsafe { io_uring_enter(&self.fd, 1, 1, IoringEnterFlags::GETEVENTS) }?;
        if submitted == 1 {
            Ok(())
        } else {
            Err(io::Error::other("the request was not taken"))
        }
    }

    /// Takes results until the notice has come.
    fn wait_for_notice(&mut self) -> io::Result<()> {
        loop {
            while let Some((result, flags)) = self.next() {
                if flags.contains(IoringCqeFlags::NOTIF) {
                    return Ok(());
                }
                if result < 0 {
                    let error = io::Error::from_raw_os_error(-result);
                    return Err(io::Error::other(format!(
                        "IORING_OP_SEND_ZC, which is to tell (6.2): {error}"
                    )));
                }
            }
            wait(&self.fd, PollFlags::IN)?;
        }
    }

    /// The next result and its flags.
    fn next(&mut self) -> Option<(i32, IoringCqeFlags)> {
        let head = Self::counter(&self.results, self.params.cq_off.head);
        let tail = Self::counter(&self.results, self.params.cq_off.tail).load(Ordering::Acquire);
        let at = head.load(Ordering::Relaxed);
        if at == tail {
            return None;
        }
        let place = self.params.cq_off.cqes + (at & (self.params.cq_entries - 1)) * RESULT as u32;
        let word = |at| Self::counter(&self.results, at).load(Ordering::Relaxed);
        // struct io_uring_cqe (include/uapi/linux/io_uring.h): 8 bytes of the user's come first.
        let result = (
            word(place + 8).cast_signed(),
            IoringCqeFlags::from_bits_retain(word(place + 12)),
        );
        head.store(at.wrapping_add(1), Ordering::Release);
        Some(result)
    }
}

/// Bytes of a result: the rest of what rustix declares is there only if it was asked for.
const RESULT: usize = 16;

const _: () = assert!(size_of::<io_uring_cqe>() == RESULT);
