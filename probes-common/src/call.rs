//! A system call that moves bytes between two endpoints, recorded when it returns.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::{Address, Addresses};
use crate::header::{RecordHeader, RecordKind};
use crate::programs::program;

/// System call numbers of x86-64 that zctrace traces (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub mod nr {
    /// read(2).
    pub const READ: u32 = 0;
    /// write(2).
    pub const WRITE: u32 = 1;
    /// mmap(2).
    pub const MMAP: u32 = 9;
    /// ioctl(2).
    pub const IOCTL: u32 = 16;
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
    /// sendto(2); the C library implements send(3) with it.
    pub const SENDTO: u32 = 44;
    /// recvfrom(2); the C library implements recv(3) with it.
    pub const RECVFROM: u32 = 45;
    /// sendmsg(2).
    pub const SENDMSG: u32 = 46;
    /// recvmsg(2).
    pub const RECVMSG: u32 = 47;
    /// getsockopt(2).
    pub const GETSOCKOPT: u32 = 55;
    /// `io_submit(2)`.
    pub const IO_SUBMIT: u32 = 209;
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
    /// `process_vm_readv(2)`.
    pub const PROCESS_VM_READV: u32 = 310;
    /// `process_vm_writev(2)`.
    pub const PROCESS_VM_WRITEV: u32 = 311;
    /// `copy_file_range(2)`.
    pub const COPY_FILE_RANGE: u32 = 326;
    /// preadv2(2).
    pub const PREADV2: u32 = 327;
    /// pwritev2(2).
    pub const PWRITEV2: u32 = 328;
}

/// Kinds of endpoints: [`EndpointState::kind`].
pub mod endpoint_kind {
    /// No endpoint, or one that the eBPF program could not read.
    pub const NONE: u16 = 0;
    /// The caller's memory.
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
    /// A socket of another protocol.
    pub const SOCKET: u16 = 8;
    /// A block device.
    pub const BLOCK: u16 = 9;
    /// A character device.
    pub const CHAR: u16 = 10;
    /// A file descriptor of another kind.
    pub const OTHER: u16 = 11;
}

/// Bits of [`Call::flags`].
pub mod call_flag {
    /// The eBPF program observed the entry of this call. Without this bit the state before the call
    /// is unknown.
    pub const ENTRY_OBSERVED: u32 = 1;
    /// A descriptor referred to another file at the exit than at the entry.
    pub const FD_CHANGED: u32 = 2;
    /// The caller is a 32-bit or x32 program, so call numbers and arguments have other meanings.
    pub const COMPAT: u32 = 4;
    /// The memory is one contiguous range, and [`Call::memory`](super::Call::memory) is its
    /// address. Otherwise the memory is an array of ranges (`struct iovec`).
    pub const CONTIGUOUS: u32 = 8;
}

/// Addresses of a connection, from one side's perspective. An IPv4 address occupies the first four
/// bytes, and the rest is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct SocketPair {
    /// Address of the sender.
    pub source: [u8; 16],
    /// Address of the receiver.
    pub destination: [u8; 16],
    /// Port of the sender, in host byte order.
    pub source_port: u16,
    /// Port of the receiver, in host byte order.
    pub destination_port: u16,
    /// Address family: `AF_INET` (2), `AF_INET6` (10), or 0 if unknown.
    pub family: u16,
    /// Unused.
    pub reserved: u16,
}

impl SocketPair {
    /// Returns the opposite direction of the connection.
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

/// State of one endpoint of a call, at the entry and at the exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct EndpointState {
    /// Address of the `struct file`.
    pub file: u64,
    /// Address of the object behind the descriptor: `pipe_inode_info` for a pipe, `struct sock` for
    /// a socket, the `address_space` (`f_mapping`) for a file. For memory, address of its first or
    /// only range.
    pub object: u64,
    /// Inode number.
    pub ino: u64,
    /// Position at the entry. Its meaning depends on the kind:
    ///
    /// - pipe: head in the upper half, tail in the lower half;
    /// - TCP socket: `copied_seq` for a source, `write_seq` for a sink;
    /// - UNIX socket: bytes in flight from this socket (`sk_wmem_alloc`);
    /// - file: offset at which the call reads or writes.
    pub before: u64,
    /// Position at the exit, with the meaning of [`before`](Self::before).
    pub after: u64,
    /// Pipe: address of the ring (`bufs`) at the exit. UNIX socket: address of the `struct sock` of
    /// the peer. TCP socket: sequence number of the first byte that it receives.
    pub extra: u64,
    /// Pipe: slot at the tail at the entry, with its offset in the upper half and its length in the
    /// lower half; 0 if the ring was empty.
    pub tail_before: u64,
    /// Pipe: slot at the tail at the exit, in the form of [`tail_before`](Self::tail_before).
    pub tail_after: u64,
    /// Pipe: length of the slot before the head at the entry, because a write can append to that
    /// slot; 0 if the ring was empty.
    pub last_before: u32,
    /// Length of the slot of [`last_before`](Self::last_before), at the exit.
    pub last_after: u32,
    /// Device number of the filesystem (`s_dev`) in the kernel's internal form, with the major
    /// number in the bits from 20 up.
    pub dev: u32,
    /// File or device: generation of the inode (`i_generation`). Pipe: how often it was opened for
    /// reading (lower half) and for writing (upper half) since it was made. TCP socket: sequence
    /// number of the first byte that it sends, or one less if it connected. Other socket: protocol.
    pub generation: u32,
    /// Flags of the open file (`f_flags`), such as `O_DIRECT`, `O_APPEND` and `O_NONBLOCK`.
    pub f_flags: u32,
    /// File descriptor; -1 means none.
    pub fd: i32,
    /// Pipe: number of slots (`ring_size`) at the exit. Socket: family in the lower half, type in
    /// the upper half. Character device: device number (`i_rdev`), with the major number in the
    /// bits from 20 up.
    pub size: u32,
    /// Kind of the endpoint: one of [`endpoint_kind`].
    pub kind: u16,
    /// Source pipe: number of slots that were filled between the exit and the moment at which the
    /// program had read the slots, at most 65,535. Otherwise 0.
    pub filled_late: u16,
    /// TCP: addresses of the connection, with this socket as the sender; all zero for every other
    /// kind.
    pub pair: SocketPair,
}

/// A system call, recorded at its exit.
///
/// If slots of a pipe took part, [`PageRecord`](crate::PageRecord) and [`PageRun`](crate::PageRun)
/// records with the same [`call_id`](Self::call_id) accompany it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Call {
    /// Record header.
    pub header: RecordHeader,
    /// Call ID, counted per machine from 1. Every record written inside the call carries it.
    pub call_id: u64,
    /// Time of the entry, in nanoseconds of the monotonic clock.
    pub entered_ns: u64,
    /// Result of the call: a number of bytes, or a negative error number.
    pub result: i64,
    /// Length that the caller requested, in bytes.
    pub requested: u64,
    /// Instruction pointer of the caller, which identifies the call site.
    pub user_ip: u64,
    /// Address of the caller's memory, for calls that use memory. If the memory is an array of
    /// ranges, address of the first one.
    pub memory: u64,
    /// Bytes of the sink's own folios that the calling thread dirtied inside the call.
    pub dirtied_bytes: u64,
    /// System call number: one of [`nr`].
    pub nr: u32,
    /// Flags argument of the call: `SPLICE_F_*`, `MSG_*` or `RWF_*`.
    pub op_flags: u32,
    /// Bits of [`call_flag`].
    pub flags: u32,
    /// Number of [`PageRecord`](crate::PageRecord) and [`PageRun`](crate::PageRun) records of this
    /// call. If fewer are received, the observations are incomplete.
    pub page_records: u32,
    /// Endpoint that the bytes came from.
    pub source: EndpointState,
    /// Endpoint that the bytes went to.
    pub sink: EndpointState,
}

impl Call {
    /// Kind of this record in its header.
    pub const KIND: RecordKind = RecordKind(1);
    /// Fields that hold kernel addresses.
    pub const ADDRESSES: Addresses = Addresses::fixed(&[
        Address::Endpoint(offset_of!(Self, source)),
        Address::Endpoint(offset_of!(Self, sink)),
    ]);

    /// Returns the [`program`] that wrote the record, or `None` if it cannot be determined.
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
