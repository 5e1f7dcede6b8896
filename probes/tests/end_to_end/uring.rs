//! A ring of `io_uring`, by system calls alone (`include/uapi/linux/io_uring.h`).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapMut, MmapOptions};

/// Opcodes.
pub(crate) const READV: u8 = 1;
pub(crate) const READ: u8 = 22;
pub(crate) const WRITE: u8 = 23;
pub(crate) const SEND: u8 = 26;
pub(crate) const RECV: u8 = 27;
pub(crate) const SPLICE: u8 = 30;
pub(crate) const SEND_ZC: u8 = 47;

/// `IOSQE_ASYNC`: a worker carries out the request.
pub(crate) const ASYNC: u8 = 1 << 4;
/// `IOSQE_CQE_SKIP_SUCCESS`: a successful request has no completion.
pub(crate) const SKIP_SUCCESS: u8 = 1 << 6;
/// `IORING_SETUP_SQPOLL`: a thread of the kernel takes requests.
pub(crate) const SQPOLL: u32 = 1 << 1;
/// `IORING_CQE_F_NOTIF`: the completion says that the memory of a send is free again.
const NOTIFICATION: u32 = 1 << 3;

/// Words of `struct io_uring_params`: sizes, and offsets of the members of both rings.
mod word {
    pub(super) const SQ_ENTRIES: usize = 0;
    pub(super) const CQ_ENTRIES: usize = 1;
    pub(super) const FLAGS: usize = 2;
    pub(super) const SQ_TAIL: usize = 11;
    pub(super) const SQ_ARRAY: usize = 16;
    pub(super) const CQ_HEAD: usize = 20;
    pub(super) const CQ_TAIL: usize = 21;
    pub(super) const CQ_ENTRIES_AT: usize = 25;
}

/// A request: `struct io_uring_sqe`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Request {
    pub(crate) opcode: u8,
    pub(crate) flags: u8,
    pub(crate) ioprio: u16,
    pub(crate) fd: i32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) op_flags: u32,
    pub(crate) user_data: u64,
    pub(crate) buffer: u16,
    pub(crate) personality: u16,
    pub(crate) splice_fd_in: i32,
    pub(crate) rest: [u64; 2],
}

impl Request {
    /// Returns a request with memory. The memory must live until the completion.
    pub(crate) fn with_memory(opcode: u8, fd: &impl AsRawFd, address: *const u8, len: usize) -> Self {
        Self {
            opcode,
            fd: fd.as_raw_fd(),
            address: address as u64,
            len: len as u32,
            ..Self::default()
        }
    }

    /// Returns a splice between two descriptors, at the position of each.
    pub(crate) fn splice(from: &impl AsRawFd, to: &impl AsRawFd, len: usize) -> Self {
        Self {
            opcode: SPLICE,
            fd: to.as_raw_fd(),
            offset: u64::MAX,
            address: u64::MAX,
            len: len as u32,
            splice_fd_in: from.as_raw_fd(),
            ..Self::default()
        }
    }
}

/// A ring.
pub(crate) struct Ring {
    fd: OwnedFd,
    params: [u32; 30],
    requests: MmapMut,
    submissions: MmapMut,
    completions: MmapMut,
}

impl Ring {
    /// Creates a ring with flags of `IORING_SETUP_*`.
    pub(crate) fn new(flags: u32) -> Self {
        let mut params = [0_u32; 30];
        params[word::FLAGS] = flags;
        // SAFETY: the call reads and writes a `struct io_uring_params`, which has 120 bytes.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, params.as_mut_ptr()) };
        assert!(fd >= 0, "io_uring_setup: {}", std::io::Error::last_os_error());
        // SAFETY: the call returned a new descriptor, which nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let map = |offset: u64, len: usize| {
            // SAFETY: the kernel shares these pages; counters are read and written as atomics, and
            // an entry is written before the tail that hands it over.
            unsafe { MmapOptions::new().offset(offset).len(len).map_mut(&fd) }.expect("mmap of a ring")
        };
        let submissions = params[word::SQ_ARRAY] as usize + params[word::SQ_ENTRIES] as usize * 4;
        let completions = params[word::CQ_ENTRIES_AT] as usize + params[word::CQ_ENTRIES] as usize * 16;
        Self {
            requests: map(0x1000_0000, params[word::SQ_ENTRIES] as usize * size_of::<Request>()),
            submissions: map(0, submissions),
            completions: map(0x800_0000, completions),
            params,
            fd,
        }
    }

    #[allow(clippy::cast_ptr_alignment)] // The kernel aligns its counters to their size.
    fn counter(map: &MmapMut, at: usize) -> &AtomicU32 {
        assert!(
            at + 4 <= map.len() && at.is_multiple_of(4),
            "a counter lies in its ring"
        );
        // SAFETY: the address is in bounds and aligned, and the memory lives as long as the
        // mapping.
        unsafe { &*map.as_ptr().add(at).cast::<AtomicU32>() }
    }

    /// Hands over a request, and waits for `completions` completions.
    #[allow(clippy::cast_ptr_alignment)] // The entry is written unaligned.
    pub(crate) fn submit(&mut self, request: Request, completions: u32) {
        let tail = Self::counter(&self.submissions, self.params[word::SQ_TAIL] as usize);
        let at = tail.load(Ordering::Relaxed);
        let slot = at as usize % self.params[word::SQ_ENTRIES] as usize;
        // SAFETY: the slot lies in the mapping, and the kernel reads it only after the tail moved.
        unsafe {
            self.requests
                .as_mut_ptr()
                .cast::<Request>()
                .add(slot)
                .write_unaligned(request);
        };
        let array = self.params[word::SQ_ARRAY] as usize + slot * 4;
        Self::counter(&self.submissions, array).store(slot as u32, Ordering::Relaxed);
        tail.store(at.wrapping_add(1), Ordering::Release);
        // IORING_ENTER_GETEVENTS and IORING_ENTER_SQ_WAKEUP.
        let (flags, none) = (3, std::ptr::null::<u8>());
        // SAFETY: the request refers to memory and descriptors that its creator keeps.
        let entered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                1,
                completions,
                flags,
                none,
                0,
            )
        };
        assert_eq!(entered, 1, "io_uring_enter: {}", std::io::Error::last_os_error());
    }

    /// Returns the next result and its flags, if there is one.
    pub(crate) fn next(&mut self) -> Option<(i32, u32)> {
        let head = Self::counter(&self.completions, self.params[word::CQ_HEAD] as usize);
        let tail = Self::counter(&self.completions, self.params[word::CQ_TAIL] as usize).load(Ordering::Acquire);
        let at = head.load(Ordering::Relaxed);
        if at == tail {
            return None;
        }
        let slot = at as usize % self.params[word::CQ_ENTRIES] as usize;
        let place = self.params[word::CQ_ENTRIES_AT] as usize + slot * 16;
        let word = |at| Self::counter(&self.completions, at).load(Ordering::Relaxed);
        let result = (word(place + 8).cast_signed(), word(place + 12));
        head.store(at.wrapping_add(1), Ordering::Release);
        Some(result)
    }

    /// Carries out a request and returns its result, which must be a success.
    pub(crate) fn run(&mut self, request: Request) -> usize {
        self.submit(request, 1);
        loop {
            match self.next() {
                Some((_, flags)) if flags & NOTIFICATION != 0 => {}
                Some((result, _)) => {
                    assert!(result >= 0, "{}", std::io::Error::from_raw_os_error(-result));
                    return result as usize;
                }
                // A thread of the kernel has not taken the request yet.
                None => std::thread::yield_now(),
            }
        }
    }
}
