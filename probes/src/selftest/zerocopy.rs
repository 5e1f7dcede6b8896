//! Trials of zero-copy sends. The kernel reports afterwards whether it copied, as it always does
//! over loopback.

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

use super::fixture::{self, Fixture, LEN, TIMEOUT};

/// Memory that is sent. The kernel refers to it until the completion, so it is static.
static SENT: [u8; LEN] = [9; LEN];

/// Sends once with `MSG_ZEROCOPY` and reads the completion from the error queue.
pub(super) fn send_zerocopy(_: &Fixture) -> io::Result<()> {
    let (near, mut far) = fixture::tcp_pair()?;
    send_with_flag(&near)?;
    fixture::receive_expected(&mut far, &SENT)?;
    // poll(2) reports a non-empty error queue as an error.
    wait(&near, PollFlags::empty())?;
    recv(&near, &mut [0; 1], RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT)?;
    Ok(())
}

#[allow(unsafe_code)]
fn send_with_flag(socket: &TcpStream) -> io::Result<()> {
    let on: i32 = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), (&raw const on).cast());
    // SAFETY: setsockopt requires `len` readable bytes at `value`. `value` points to `on`, which
    // lives through the call, and `len` is its size.
    if unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY, value, len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: send requires `LEN` readable bytes, which MSG_ZEROCOPY may read until the completion.
    // `SENT` has that length, is static and is never changed.
    let sent = unsafe { libc::send(fd, SENT.as_ptr().cast(), LEN, libc::MSG_ZEROCOPY) };
    if sent == LEN as isize {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits until a descriptor has one of these events or an error.
fn wait(on: impl AsFd, what: PollFlags) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: TIMEOUT.as_secs() as i64,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(&on, what)], Some(&timeout))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Sends once with `IORING_OP_SEND_ZC` and asks for a usage report (Linux 6.2).
pub(super) fn io_uring_send_zc(_: &Fixture) -> io::Result<()> {
    let (near, mut far) = fixture::tcp_pair()?;
    let mut ring = Ring::new()?;
    ring.send(&near, IoringOp::SendZc)?;
    fixture::receive_expected(&mut far, &SENT)?;
    ring.wait_for_completion(IoringCqeFlags::NOTIF)
}

/// Sends once with `IORING_OP_SEND`.
pub(super) fn io_uring_send(_: &Fixture) -> io::Result<()> {
    let (near, mut far) = fixture::tcp_pair()?;
    let mut ring = Ring::new()?;
    ring.send(&near, IoringOp::Send)?;
    fixture::receive_expected(&mut far, &SENT)?;
    ring.wait_for_completion(IoringCqeFlags::empty())
}

/// Ring of `io_uring` with one submission entry.
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
        // SAFETY: io_uring_setup requires that the parameters name no invalid descriptor to share
        // workers with. All flags and descriptors are 0.
        let fd = unsafe { io_uring_setup(1, &mut params) }?;
        let map = |offset: u64, len: usize| {
            // SAFETY: a shared mapping requires that no reference assumes exclusive or unchanging
            // memory. The kernel shares these pages for as long as they are mapped. Counters and
            // results are read as atomics, and the submission entry is written before the tail that
            // hands it over.
            unsafe { MmapOptions::new().offset(offset).len(len).map_mut(&fd) }
        };
        let entries = params.sq_off.array as usize + params.sq_entries as usize * 4;
        let results = params.cq_off.cqes as usize + params.cq_entries as usize * CQE_BYTES;
        Ok(Self {
            requests: map(IORING_OFF_SQES, params.sq_entries as usize * size_of::<io_uring_sqe>())?,
            entries: map(IORING_OFF_SQ_RING, entries)?,
            results: map(IORING_OFF_CQ_RING, results)?,
            params,
            fd,
        })
    }

    /// Returns the counter at an offset of the ring, in bytes.
    #[allow(unsafe_code, clippy::cast_ptr_alignment)] // The kernel aligns its counters to their size.
    fn counter(map: &MmapMut, at: u32) -> &AtomicU32 {
        assert!(
            at as usize + 4 <= map.len() && at.is_multiple_of(4),
            "a counter lies in its ring"
        );
        // SAFETY: a reference to an `AtomicU32` requires (1) aligned memory in bounds that (2)
        // lives as long as the reference and (3) is only accessed atomically. (1) was asserted, and
        // the mapping is page-aligned. (2) holds because the reference borrows the mapping. (3)
        // holds because the kernel uses atomic accesses.
        unsafe { &*map.as_ptr().add(at as usize).cast::<AtomicU32>() }
    }

    #[allow(unsafe_code)]
    fn send(&mut self, to: &TcpStream, opcode: IoringOp) -> io::Result<()> {
        let mut request = io_uring_sqe {
            opcode,
            fd: to.as_raw_fd(),
            ..io_uring_sqe::default()
        };
        if opcode == IoringOp::SendZc {
            request.ioprio.send_flags = IoringSendFlags::ZC_REPORT_USAGE;
        }
        request.addr_or_splice_off_in.addr = io_uring_ptr::new(SENT.as_ptr().cast_mut().cast());
        request.len.len = LEN as u32;
        // SAFETY: the mapping holds at least one submission entry, and the kernel reads the entry
        // only after the tail was advanced below.
        unsafe {
            self.requests
                .as_mut_ptr()
                .cast::<io_uring_sqe>()
                .write_unaligned(request);
        };
        let tail = Self::counter(&self.entries, self.params.sq_off.tail);
        // The index array is zeroed, so its only slot refers to the first entry.
        tail.store(tail.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        // SAFETY: io_uring_enter requires that the submitted entries are valid. The entry refers to
        // `SENT`, which is static, and to a socket that is open through the call.
        let submitted = unsafe { io_uring_enter(&self.fd, 1, 1, IoringEnterFlags::GETEVENTS) }?;
        if submitted == 1 {
            Ok(())
        } else {
            Err(io::Error::other("the request was not taken"))
        }
    }

    /// Takes results until one with these flags arrives.
    fn wait_for_completion(&mut self, wanted: IoringCqeFlags) -> io::Result<()> {
        loop {
            while let Some((result, flags)) = self.next() {
                if result < 0 && !flags.contains(IoringCqeFlags::NOTIF) {
                    let error = io::Error::from_raw_os_error(-result);
                    return Err(io::Error::other(format!(
                        "a send of io_uring, which for SEND_ZC is to tell (6.2): {error}"
                    )));
                }
                if flags.contains(wanted) {
                    return Ok(());
                }
            }
            wait(&self.fd, PollFlags::IN)?;
        }
    }

    /// Takes the next result, with its flags.
    fn next(&mut self) -> Option<(i32, IoringCqeFlags)> {
        let head = Self::counter(&self.results, self.params.cq_off.head);
        let tail = Self::counter(&self.results, self.params.cq_off.tail).load(Ordering::Acquire);
        let at = head.load(Ordering::Relaxed);
        if at == tail {
            return None;
        }
        let place = self.params.cq_off.cqes + (at & (self.params.cq_entries - 1)) * CQE_BYTES as u32;
        let word = |at| Self::counter(&self.results, at).load(Ordering::Relaxed);
        // `struct io_uring_cqe` (include/uapi/linux/io_uring.h) begins with 8 bytes of user data.
        let result = (
            word(place + 8).cast_signed(),
            IoringCqeFlags::from_bits_retain(word(place + 12)),
        );
        head.store(at.wrapping_add(1), Ordering::Release);
        Some(result)
    }
}

/// Bytes of a result. rustix declares a trailing array that exists only if it was requested.
const CQE_BYTES: usize = 16;

const _: () = assert!(size_of::<io_uring_cqe>() == CQE_BYTES);
