//! The maps, by name as the user side finds them.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use zctrace_records::{DigestState, IoCounterKey, IoCounters, ProgramStats, SocketPair, program};

use crate::sys_enter::CallInFlight;
use crate::{block_io, digest, iter_task_file, process, read, sys_enter, sys_exit, tcp_packet, unix_message, zerocopy};

/// `BPF_F_NO_PREALLOC` (include/uapi/linux/bpf.h): for tables that are mostly far from full.
const NO_PREALLOC: u32 = 1;

/// All records. The user side sets its size.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// What each program wrote and lost, by [`program`].
#[map]
pub(crate) static PROGRAM_STATS: PerCpuArray<ProgramStats> = PerCpuArray::with_max_entries(program::COUNT, 0);

/// Where programs go on, by [`on`]: the user side puts them in.
#[map]
pub(crate) static TAIL_CALLS: ProgramArray = ProgramArray::with_max_entries(3, 0);

/// Indices of [`TAIL_CALLS`].
pub(crate) mod tail_call {
    /// `pipe_slots`.
    pub(crate) const SLOTS: u32 = 0;
    /// `packet_rest`.
    pub(crate) const XMIT_SCRATCH: u32 = 1;
    /// `bio_vectors`.
    pub(crate) const BIO: u32 = 2;
}

/// Processes that are traced.
#[map]
pub(crate) static TRACED: HashMap<u32, u8> = HashMap::with_max_entries(65_536, NO_PREALLOC);

/// Calls that threads are inside, by thread: those with a serial. A thread has its entry from its first call to its end, for
/// taking it out and putting it in again would cost more than all that is done with it.
#[map]
pub(crate) static IN_FLIGHT: HashMap<u32, CallInFlight> = HashMap::with_max_entries(16_384, 0);

/// Plain calls that threads are inside, by thread: those with a kind. A thread keeps its entry here, too.
#[map]
pub(crate) static IO_IN_FLIGHT: HashMap<u32, IoCounterKey> = HashMap::with_max_entries(65_536, 0);

/// Plain calls, counted.
#[map]
pub(crate) static IO_COUNTERS: HashMap<IoCounterKey, IoCounters> = HashMap::with_max_entries(16_384, 0);

/// Counters of calls and of lives of connections.
#[map]
pub(crate) static NEXT_IDS: Array<u64> = Array::with_max_entries(2, 0);

/// Directions of TCP connections that traced calls touched.
#[map]
pub(crate) static CONNECTIONS: HashMap<SocketPair, Connection> = HashMap::with_max_entries(65_536, NO_PREALLOC);

/// UNIX sockets that traced calls touched. Nothing tells when one is gone: those that were not looked at for longest
/// make room.
#[map]
pub(crate) static UNIX_SOCKETS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Who sends with `MSG_ZEROCOPY`, by the address of the socket: its notifications may come when it is long closed.
#[map]
pub(crate) static ZEROCOPY_SENDER: LruHashMap<u64, zerocopy::Sender> = LruHashMap::with_max_entries(16_384, 0);

/// Room for `iter/task_file`.
#[map]
pub(crate) static ITER_SCRATCH: Array<iter_task_file::Scratch> = Array::with_max_entries(1, 0);

/// Room for notifications: 0 those that were read, 1 those that were thrown away. (`scratch` says why there are two.)
#[map]
pub(crate) static ERRQ_SCRATCH: PerCpuArray<zerocopy::Scratch> = PerCpuArray::with_max_entries(2, 0);

/// Sums over connections that traced calls sent into, by the address of the socket.
#[map]
pub(crate) static DIGESTS: HashMap<u64, DigestState> = HashMap::with_max_entries(65_536, NO_PREALLOC);

/// Ends whose names were told.
#[map]
pub(crate) static NAMED: LruHashMap<NameKey, u8> = LruHashMap::with_max_entries(16_384, 0);

/// One direction of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    /// Which life of the address pair it is.
    pub(crate) id: u64,
    /// The socket that sends in this direction, if it is known.
    pub(crate) sock: u64,
    /// Whether calls give it pages that no slot of a pipe has shown before: only their packets can tell whose they are.
    pub(crate) sends_unpiped: u64,
}

/// The latest of them that were met on each CPU, by inode number: nearly always the answer is here.
#[map]
pub(crate) static NAME_CACHE: PerCpuArray<NameKey> = PerCpuArray::with_max_entries(NAME_CACHE_SLOTS, 0);

/// A power of two.
pub(crate) const NAME_CACHE_SLOTS: u32 = 64;

/// What tells an end from others.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct NameKey {
    /// Inode number.
    pub(crate) ino: u64,
    /// Device number.
    pub(crate) dev: u32,
    /// Generation of the inode.
    pub(crate) generation: u32,
}

macro_rules! scratch {
    ($($name:ident: $type:ty;)*) => {$(
        /// Room for one run of a program, as its stack has 512 bytes. The kernel never runs a program within itself on
        /// one CPU (`prog->active`, `kernel/trace/bpf_trace.c`); each has its own room, as another may interrupt it.
        #[map]
        pub(crate) static $name: PerCpuArray<$type> = PerCpuArray::with_max_entries(1, 0);
    )*};
}

scratch! {
    ENTER_SCRATCH: sys_enter::Scratch;
    EXIT_SCRATCH: sys_exit::Scratch;
    XMIT_SCRATCH: tcp_packet::Scratch;
    CLOSE_SCRATCH: tcp_packet::CloseScratch;
    CONSUME_SCRATCH: unix_message::Scratch;
    DROP_SCRATCH: unix_message::Scratch;
    BIO_SCRATCH: block_io::Scratch;
    FORK_SCRATCH: process::Scratch;
    EXEC_SCRATCH: process::Scratch;
    ENDTASK_SCRATCH: process::Scratch;
    RENAME_SCRATCH: process::Scratch;
    DSEND_SCRATCH: digest::Scratch;
    DXMIT_SCRATCH: digest::Scratch;
    DCLOSE_SCRATCH: digest::Scratch;
    URING_SCRATCH: zerocopy::Scratch;
}

/// Index of the calls' counter in [`NEXT_IDS`].
pub(crate) const CALL_IDS: u32 = 0;
/// Index of the connections' counter in [`NEXT_IDS`].
pub(crate) const CONNECTION_IDS: u32 = 1;

/// The next number of a counter, from 1.
#[inline(always)]
pub(crate) fn next_id(counter: u32) -> u64 {
    let Some(value) = NEXT_IDS.get_ptr_mut(counter) else {
        return 0;
    };
    // SAFETY: map values are aligned to 8 bytes and are valid as long as the program runs; all access is atomic.
    unsafe { read::atomic_fetch_add(value, 1) + 1 }
}
