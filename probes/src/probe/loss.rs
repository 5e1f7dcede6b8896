//! Counts of records that the programs emitted and lost, and of runs that the kernel skipped.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::{io, mem};

use zctrace_records::ProgramStats;

/// Records emitted and lost by one program since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramLoss {
    /// Name of the program.
    pub program: &'static str,
    /// Number of the program, one of [`program`](zctrace_records::program).
    pub number: u32,
    /// Emitted records.
    pub written: u64,
    /// Records lost because the ring buffer was full.
    pub reserve_failures: u64,
    /// Entries lost because a map was full: a call in progress, an I/O counter or a tracked socket.
    pub map_full: u64,
    /// Runs that the kernel skipped because a program was already running on that CPU.
    pub recursion_misses: u64,
}

impl ProgramLoss {
    /// Adds the counts of one CPU.
    pub(super) fn add(&mut self, tally: &ProgramStats) {
        self.written += tally.emitted.saturating_sub(tally.ring_full);
        self.reserve_failures += tally.ring_full;
        self.map_full += tally.map_full;
    }

    /// Returns whether anything was lost.
    pub const fn any(&self) -> bool {
        self.reserve_failures != 0 || self.map_full != 0 || self.recursion_misses != 0
    }
}

/// `BPF_OBJ_GET_INFO_BY_FD` (include/uapi/linux/bpf.h).
const GET_INFO_BY_FD: libc::c_long = 15;
/// 64-bit words of `struct bpf_prog_info` up to `attach_btf_id`.
const PROG_INFO_WORDS: usize = 29;
/// Index of the word that holds `recursion_misses` (since 5.12).
const RECURSION_MISSES: usize = 26;

/// Members of `union bpf_attr` that the request uses.
#[repr(C)]
struct Request {
    fd: u32,
    len: u32,
    info: u64,
}

/// Returns how often the kernel skipped a program because one was already running on that CPU. aya
/// does not expose this counter.
#[allow(unsafe_code)]
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = [0_u64; PROG_INFO_WORDS];
    let mut request = Request {
        fd: program.as_raw_fd() as u32,
        len: mem::size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: BPF_OBJ_GET_INFO_BY_FD requires (1) an attribute of the given size, (2) a buffer of
    // `len` bytes at `info`. (1) holds because `request` has the layout of that part of `union
    // bpf_attr`, and its own size is passed. (2) holds because `len` is the size of `info`. Both
    // are locals that outlive the call.
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
