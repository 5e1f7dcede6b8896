//! A system call that moves bytes between two ends, as it was seen at its exit.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// System call numbers of x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`), of the calls that zctrace knows.
pub mod nr {
    /// read(2).
    pub const READ: u32 = 0;
    /// write(2).
    pub const WRITE: u32 = 1;
    /// pread64(2).
    pub const PREAD64: u32 = 17;
    /// pwrite64(2).
    pub const PWRITE64: u32 = 18;
    /// readv(2).
    pub const READV: u32 = 19;
    /// writev(2).
    pub const WRITEV: u32 = 20;
    /// sendfile(2).
    pub const SENDFILE: u32 = 40;
    /// sendto(2), which send(3) is too.
    pub const SENDTO: u32 = 44;
    /// recvfrom(2), which recv(3) is too.
    pub const RECVFROM: u32 = 45;
    /// sendmsg(2).
    pub const SENDMSG: u32 = 46;
    /// recvmsg(2).
    pub const RECVMSG: u32 = 47;
    /// splice(2).
    pub const SPLICE: u32 = 275;
    /// tee(2).
    pub const TEE: u32 = 276;
    /// vmsplice(2).
    pub const VMSPLICE: u32 = 278;
    /// preadv(2).
    pub const PREADV: u32 = 295;
    /// pwritev(2).
    pub const PWRITEV: u32 = 296;
    /// recvmmsg(2).
    pub const RECVMMSG: u32 = 299;
    /// sendmmsg(2).
    pub const SENDMMSG: u32 = 307;
    /// `copy_file_range(2)`.
    pub const COPY_FILE_RANGE: u32 = 326;
    /// preadv2(2).
    pub const PREADV2: u32 = 327;
    /// pwritev2(2).
    pub const PWRITEV2: u32 = 328;
}

/// What kind of thing an end is: [`EndpointState::kind`].
pub mod endpoint_kind {
    /// There is no such end, or it could not be read.
    pub const NONE: u16 = 0;
    /// The caller's own memory.
    pub const MEMORY: u16 = 1;
    /// A pipe or a FIFO.
    pub const PIPE: u16 = 2;
    /// A regular file.
    pub const FILE: u16 = 3;
    /// A TCP socket of IPv4 or IPv6.
    pub const TCP: u16 = 4;
    /// A UNIX stream socket.
    pub const UNIX_STREAM: u16 = 5;
    /// A UNIX datagram or seqpacket socket.
    pub const UNIX_MESSAGES: u16 = 6;
    /// A UDP socket.
    pub const UDP: u16 = 7;
    /// Another socket.
    pub const SOCKET: u16 = 8;
    /// A block device.
    pub const BLOCK: u16 = 9;
    /// A character device.
    pub const CHAR: u16 = 10;
    /// Something else with a file descriptor.
    pub const OTHER: u16 = 11;
}

/// Bits of [`Call::flags`].
pub mod call_flag {
    /// The entry of this very call was seen: without it nothing is known of the state before.
    pub const ENTRY_OBSERVED: u32 = 1;
    /// A descriptor meant another file at the exit than at the entry.
    pub const FD_CHANGED: u32 = 2;
    /// The caller is a 32-bit program (or x32): numbers and arguments mean something else.
    pub const COMPAT: u32 = 4;
    /// The memory is one piece: [`Call::memory`](super::Call::memory) is its address. Otherwise it is a list of pieces.
    pub const CONTIGUOUS: u32 = 8;
}

/// The addresses of a connection, as one side sees them. IPv4 addresses are in the first four bytes, the rest is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct SocketPair {
    /// The address of the side that sends.
    pub source: [u8; 16],
    /// The address of the side that receives.
    pub destination: [u8; 16],
    /// The port of the side that sends, in host order.
    pub source_port: u16,
    /// The port of the side that receives, in host order.
    pub destination_port: u16,
    /// `AF_INET` (2), `AF_INET6` (10), or 0: not known.
    pub family: u16,
    /// Not used.
    pub reserved: u16,
}

impl SocketPair {
    /// The same connection in the other direction.
    #[must_use]
    #[inline]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            family: self.family,
            reserved: 0,
        }
    }
}

/// One end of a call, at its entry and at its exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct EndpointState {
    /// The address of `struct file`.
    pub file: u64,
    /// What lies behind it: the address of `pipe_inode_info`, of `struct sock`, or of the file's `address_space`
    /// (`f_mapping`). For memory the address of the (first) piece.
    pub object: u64,
    /// Inode number.
    pub ino: u64,
    /// A pipe: head in the upper half, tail in the lower, at the entry. A TCP socket: as a source `copied_seq`, as a sink
    /// `write_seq`. A UNIX socket: bytes under way from it (`sk_wmem_alloc`). A file: the offset that the call works at.
    pub before: u64,
    /// The same at the exit.
    pub after: u64,
    /// A pipe: the address of the ring (`bufs`) at the exit. A UNIX socket: the address of the peer's `struct sock`. A TCP
    /// socket: which life of the address it is, as [`ConnectionClosed::connection_id`](crate::ConnectionClosed::connection_id) says it.
    pub extra: u64,
    /// A pipe: offset in the upper half and length in the lower of the slot at the tail, at the entry (0 if the ring was
    /// empty).
    pub tail_before: u64,
    /// The same at the exit.
    pub tail_after: u64,
    /// A pipe: the length of the slot before the head, at the entry: a write may be appended to it. 0 if there was none.
    pub last_before: u32,
    /// The same slot's length at the exit.
    pub last_after: u32,
    /// Device number of the filesystem (`s_dev`), as the kernel keeps it: major in the bits above 20.
    pub dev: u32,
    /// `i_generation`.
    pub generation: u32,
    /// `f_flags`: `O_DIRECT`, `O_APPEND`, `O_NONBLOCK` and so on.
    pub f_flags: u32,
    /// The descriptor.
    pub fd: i32,
    /// A pipe: number of slots (`ring_size`) at the exit. A socket: family in the lower half, type in the upper. A character
    /// device: its number (`i_rdev`), major in the bits above 20.
    pub size: u32,
    /// One of [`endpoint_kind`].
    pub kind: u16,
    /// Not used.
    pub reserved: u16,
    /// TCP: the two addresses, with this socket as the sender. All zero for everything else.
    pub pair: SocketPair,
}

/// A call, at its exit. Followed by [`PageRecord`](crate::PageRecord) records with the same [`call_id`](Self::call_id) if slots of
/// a pipe took part.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Call {
    /// The head.
    pub header: RecordHeader,
    /// Number of the call, counted per machine from 1: what else was recorded inside it names it.
    pub call_id: u64,
    /// When it was entered, in nanoseconds of the monotonic clock.
    pub entered_ns: u64,
    /// What it returned: bytes, or an error as a negative number.
    pub result: i64,
    /// The length that was asked for.
    pub requested: u64,
    /// Where in the program it was called: the instruction pointer.
    pub user_ip: u64,
    /// For calls on memory: its address, if it is one piece.
    pub memory: u64,
    /// Bytes of the sink's own folios that became dirty inside the call, in the calling thread.
    pub dirtied_bytes: u64,
    /// One of [`nr`].
    pub nr: u32,
    /// The flags argument: `SPLICE_F_*`, `MSG_*`, `RWF_*`.
    pub op_flags: u32,
    /// Bits of [`call_flag`].
    pub flags: u32,
    /// [`PageRecord`](crate::PageRecord) records that follow for this call: with fewer the account is not whole.
    pub page_records: u32,
    /// Where the bytes came from.
    pub source: EndpointState,
    /// Where they went.
    pub sink: EndpointState,
}

impl Call {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(1);
    /// The kernel's addresses in it.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[
        Address::Endpoint(offset_of!(Self, source)),
        Address::Endpoint(offset_of!(Self, sink)),
    ]);

    /// Which [`program`] wrote it, `None` if that cannot be known.
    #[must_use]
    pub const fn program(&self) -> Option<u32> {
        Some(program::SYS_EXIT)
    }
}

const _: () = {
    assert!(size_of::<SocketPair>() == 40);
    assert!(size_of::<EndpointState>() == 8 * 8 + 8 * 4 + 40);
    assert!(size_of::<Call>() == 32 + 7 * 8 + 4 * 4 + 2 * size_of::<EndpointState>());
};
