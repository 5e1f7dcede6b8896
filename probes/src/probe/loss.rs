//! What the programs wrote and lost: their own counts, and the kernel's of how often it skipped them.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::{io, mem};

use zctrace_records::ProgramStats;

/// What one program wrote and lost since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramLoss {
    /// Its name.
    pub program: &'static str,
    /// Its number, one of [`program`](zctrace_records::program).
    pub number: u32,
    /// Records that it wrote.
    pub written: u64,
    /// Records for which the ring had no room.
    pub reserve_failures: u64,
    /// Entries for which a map had no room: a call, a plain sum or a watched socket is missing.
    pub map_full: u64,
    /// Times the kernel skipped it, because it was running on that CPU already.
    pub recursion_misses: u64,
}

/// [`ProgramStats`], as a row of a map.
#[repr(transparent)]
#[derive(Clone, Copy, Default)]
pub(super) struct Row(pub(super) ProgramStats);

#[allow(unsafe_code)]
// SAFETY: a Tally is integers without padding.
unsafe impl aya::Pod for Row {}

impl ProgramLoss {
    /// Adds what it did on one CPU.
    pub(super) fn add(&mut self, tally: &ProgramStats) {
        self.written += tally.emitted.saturating_sub(tally.ring_full);
        self.reserve_failures += tally.ring_full;
        self.map_full += tally.map_full;
    }

    /// Whether anything was lost.
    pub const fn any(&self) -> bool {
        self.reserve_failures != 0 || self.map_full != 0 || self.recursion_misses != 0
    }
}

/// `BPF_OBJ_GET_INFO_BY_FD` (include/uapi/linux/bpf.h).
const GET_INFO_BY_FD: libc::c_long = 15;
/// Words of `struct bpf_prog_info` up to `attach_btf_id`.
const WORDS: usize = 29;
/// The word that holds `recursion_misses` (since 5.12).
const RECURSION_MISSES: usize = 26;

/// The part of `union bpf_attr` that the request takes.
#[repr(C)]
struct Request {
    fd: u32,
    len: u32,
    info: u64,
}

/// How often the kernel skipped a program because it was running on that CPU already. aya does not tell.
#[allow(unsafe_code)]
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = [0_u64; WORDS];
    let mut request = Request {
        fd: program.as_raw_fd() as u32,
        len: mem::size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: the request is what the kernel reads, and says how much it may write and where; both live until it
    // returns.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            GET_INFO_BY_FD,
            &raw mut request,
            mem::size_of::<Request>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info[RECURSION_MISSES])
}
