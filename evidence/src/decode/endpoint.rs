//! The endpoints of a call, decoded from the wire record.
//!
//! `EndpointState` has one layout for every kind of endpoint, so the meaning of its members
//! `before`, `after`, `extra` and `size` depends on the kind. Only this module interprets them. The
//! rest of the engine uses the variants of [`Endpoint`], whose members have names and units.

use std::collections::HashSet;

use zctrace_records::{EndpointState, endpoint_kind};

use super::pipe_event::Opens;
use super::socket_pair::Direction;

/// `O_DIRECT` of x86-64 (include/uapi/asm-generic/fcntl.h).
pub(crate) const O_DIRECT: u32 = 0o40_000;

/// `/dev/null` and `/dev/zero`: major 1, minors 3 and 5 (Documentation/admin-guide/devices.txt).
pub(crate) const DEV_NULL: u32 = (1 << 20) | 3;
pub(crate) const DEV_ZERO: u32 = (1 << 20) | 5;
/// Major device numbers of terminals: 4 consoles and serial lines, 5 `/dev/tty`, 136 to 143
/// pseudo-terminals.
const TERMINALS: [std::ops::RangeInclusive<u32>; 2] = [4..=5, 136..=143];
/// `IPPROTO_MPTCP` (include/uapi/linux/in.h).
pub(crate) const IPPROTO_MPTCP: u32 = 262;

/// Returns whether a character device is a terminal.
pub(crate) fn is_terminal(device: u32) -> bool {
    TERMINALS.iter().any(|majors| majors.contains(&(device >> 20)))
}

/// One side of a call, with the state that the call observed at its entry and exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Endpoint {
    /// The caller's memory.
    Memory(MemoryState),
    /// A pipe or FIFO.
    Pipe(PipeState),
    /// A file or block device whose bytes pass through the page cache.
    Buffered(FileState),
    /// A file or block device that is open with `O_DIRECT`.
    Direct(FileState),
    /// A TCP socket.
    Tcp(TcpState),
    /// A UNIX stream socket.
    UnixStream(UnixState),
    /// `/dev/null` and `/dev/zero`, which discard what is written to them (drivers/char/mem.c:
    /// `write_null()`).
    Null,
    /// A sink that copies whatever is written, sent or spliced to it: a terminal
    /// (`drivers/tty/tty_io.c`: `iterate_tty_write()`), a UNIX datagram or seqpacket socket
    /// (`net/unix/af_unix.c`: `unix_dgram_sendmsg()`), an MPTCP socket (net/mptcp/protocol.c:
    /// `mptcp_sendmsg()`, which masks `MSG_SPLICE_PAGES`).
    Copying,
    /// A UDP socket. Datagrams can carry pages of a file, and a splice out of one copies.
    Udp,
    /// An endpoint for which no rule exists.
    Other,
}

/// The caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemoryState {
    /// Address of the (first) buffer.
    pub(crate) address: u64,
    /// The call names one buffer, so byte n of the call is at `address + n`.
    pub(crate) is_contiguous: bool,
}

/// A pipe's ring at the entry and at the exit of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PipeState {
    /// Address of `pipe_inode_info`. The kernel reuses it at once for the next pipe.
    pub(crate) pipe: u64,
    pub(crate) ino: u64,
    pub(crate) dev: u32,
    /// Address of the ring (`bufs`) at the exit.
    pub(crate) ring: u64,
    /// Number of slots (`ring_size`) at the exit.
    pub(crate) slot_count: u32,
    pub(crate) opens: Opens,
    /// Slots that were filled after the exit and before the slots were read; of a source only.
    pub(crate) filled_late: u16,
    pub(crate) entry: RingState,
    pub(crate) exit: RingState,
}

/// A pipe's ring at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RingState {
    /// Slots ever filled, modulo 2^32.
    pub(crate) head: u32,
    /// Slots ever emptied, modulo 2^32.
    pub(crate) tail: u32,
    /// Where in its page the slot at the tail starts; 0 if the ring is empty.
    pub(crate) tail_offset: u32,
    /// Bytes in the slot at the tail; 0 if the ring is empty.
    pub(crate) tail_len: u64,
    /// Bytes in the slot that was before the head at the entry, which a write may append to; 0 if
    /// there was none.
    pub(crate) last_len: u32,
}

impl RingState {
    /// Returns whether the ring has no filled slot.
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Returns the number of filled slots.
    pub(crate) fn filled(&self) -> u32 {
        self.head.wrapping_sub(self.tail)
    }
}

impl PipeState {
    /// Decodes a pipe's state.
    pub(crate) fn of(state: &EndpointState) -> Self {
        // Head and tail share a word, and so do offset and length of the slot at the tail.
        let ring = |counters: u64, tail_slot: u64, last_len| RingState {
            head: (counters >> 32) as u32,
            tail: counters as u32,
            tail_offset: (tail_slot >> 32) as u32,
            tail_len: tail_slot & 0xffff_ffff,
            last_len,
        };
        Self {
            pipe: state.object,
            ino: state.ino,
            dev: state.dev,
            ring: state.extra,
            slot_count: state.size,
            opens: Opens::of(state.generation),
            filled_late: state.filled_late,
            entry: ring(state.before, state.tail_before, state.last_before),
            exit: ring(state.after, state.tail_after, state.last_after),
        }
    }

    /// Returns what distinguishes this ring from others at the same address: the inode, the address
    /// of the ring and its size. Resizing replaces the ring (`F_SETPIPE_SZ`).
    pub(crate) fn identity(&self) -> (u64, u64, u32) {
        (self.ino, self.ring, self.slot_count)
    }

    /// Returns the number of slots that were filled during the call, by whichever producer.
    pub(crate) fn slots_pushed(&self) -> u32 {
        self.exit.head.wrapping_sub(self.entry.head)
    }

    /// Returns the number of slots that were emptied during the call, by whichever consumer.
    pub(crate) fn slots_popped(&self) -> u32 {
        self.exit.tail.wrapping_sub(self.entry.tail)
    }

    /// Returns whether the slot at ring position `at` was overwritten before the exit could read
    /// it, because the head went once around the ring.
    pub(crate) fn is_overwritten(&self, at: u32) -> bool {
        let filled = self.exit.head.wrapping_sub(at);
        let late = u32::from(self.filled_late);
        // A producer writes a slot before it counts it.
        filled > self.slot_count || (late > 0 && filled.saturating_add(late) >= self.slot_count)
    }
}

/// A file or block device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileState {
    /// Address of the `address_space` (`f_mapping`).
    pub(crate) mapping: u64,
    /// Offset at which the call starts.
    pub(crate) offset: u64,
    /// Offset at the exit of the call; 0 if it was not recorded.
    pub(crate) exit_offset: u64,
    /// Device number of the filesystem.
    pub(crate) dev: u32,
    /// A block device.
    pub(crate) is_block: bool,
}

impl FileState {
    /// Returns whether the call's bytes are those from [`offset`](Self::offset) on.
    ///
    /// Threads that share an open file can change its offset between the entry of a call and the
    /// moment at which the kernel reads it. The offset at the exit then disagrees with the result.
    pub(crate) fn is_offset_exact(&self, len: u64) -> bool {
        self.exit_offset == 0 || self.exit_offset == self.offset.wrapping_add(len)
    }
}

/// A TCP socket and the sequence number that the call moved: `write_seq` of a sink, `copied_seq`
/// of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TcpState {
    /// Connection, with this socket as the sender.
    pub(crate) direction: Direction,
    /// Sequence number of the first byte that the socket receives; 0 if it was not recorded.
    pub(crate) receive_first: u32,
    pub(crate) entry_sequence: u32,
    pub(crate) exit_sequence: u32,
}

impl TcpState {
    /// Returns by how much the sequence number grew during the call.
    pub(crate) fn advance(&self) -> u32 {
        self.exit_sequence.wrapping_sub(self.entry_sequence)
    }
}

/// A UNIX stream socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UnixState {
    /// Address of the `struct sock`.
    pub(crate) sock: u64,
    /// Address of the peer's `struct sock`; 0 if there is none.
    pub(crate) peer: u64,
    /// Inode number, which distinguishes sockets that had the same address.
    pub(crate) ino: u64,
    /// `sk_wmem_alloc` at the entry: memory of unread messages, plus one.
    pub(crate) wmem_at_entry: u64,
}

impl Endpoint {
    /// Decodes one side of a call. `memory` is the call's buffer, for the side that is memory.
    pub(crate) fn of(state: &EndpointState, memory: MemoryState) -> Self {
        let file = || FileState {
            mapping: state.object,
            offset: state.before,
            exit_offset: state.after,
            dev: state.dev,
            is_block: state.kind == endpoint_kind::BLOCK,
        };
        match state.kind {
            endpoint_kind::MEMORY => Self::Memory(memory),
            endpoint_kind::PIPE => Self::Pipe(PipeState::of(state)),
            endpoint_kind::FILE | endpoint_kind::BLOCK if state.f_flags & O_DIRECT != 0 => Self::Direct(file()),
            endpoint_kind::FILE | endpoint_kind::BLOCK => Self::Buffered(file()),
            endpoint_kind::TCP => Self::Tcp(TcpState {
                direction: Direction::new(state.object, state.generation, state.pair),
                // Recordings of earlier versions have something else there.
                receive_first: if state.generation == 0 { 0 } else { state.extra as u32 },
                entry_sequence: state.before as u32,
                exit_sequence: state.after as u32,
            }),
            endpoint_kind::UNIX_STREAM => Self::UnixStream(UnixState {
                sock: state.object,
                peer: state.extra,
                ino: state.ino,
                wmem_at_entry: state.before,
            }),
            endpoint_kind::CHAR if matches!(state.size, DEV_NULL | DEV_ZERO) => Self::Null,
            endpoint_kind::CHAR if is_terminal(state.size) => Self::Copying,
            endpoint_kind::UNIX_MESSAGES => Self::Copying,
            endpoint_kind::UDP => Self::Udp,
            // The programs put the protocol of such sockets there.
            endpoint_kind::SOCKET if state.generation == IPPROTO_MPTCP => Self::Copying,
            _ => Self::Other,
        }
    }

    /// Returns a file that is open with `O_DIRECT` as one that is not, if its filesystem uses the
    /// page cache all the same.
    pub(crate) fn as_it_behaves(self, no_direct_io: &HashSet<u32>) -> Self {
        match self {
            Self::Direct(file) if no_direct_io.contains(&file.dev) => Self::Buffered(file),
            other => other,
        }
    }

    /// Returns the pipe's state if the endpoint is a pipe.
    pub(crate) fn as_pipe(&self) -> Option<&PipeState> {
        match self {
            Self::Pipe(pipe) => Some(pipe),
            _ => None,
        }
    }

    /// Returns whether the endpoint is the caller's memory.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: MemoryState = MemoryState {
        address: 7,
        is_contiguous: true,
    };

    #[test]
    fn pipe_state_is_decoded_to_counters_and_lengths() {
        let endpoint = Endpoint::of(
            &EndpointState {
                kind: endpoint_kind::PIPE,
                before: 5 << 32 | 3,
                after: 2 << 32 | u64::from(u32::MAX),
                tail_before: (100 << 32) + 40,
                last_before: 9,
                extra: 77,
                size: 16,
                ..EndpointState::default()
            },
            MEMORY,
        );
        let pipe = endpoint.as_pipe().expect("it is one");
        assert_eq!((pipe.entry.head, pipe.entry.tail, pipe.entry.tail_len), (5, 3, 40));
        assert_eq!((pipe.entry.last_len, pipe.ring, pipe.slot_count), (9, 77, 16));
        assert_eq!(pipe.exit.filled(), 3, "counters wrap");
    }

    #[test]
    fn open_flags_and_device_number_select_the_variant() {
        let of = |kind, f_flags, size| {
            Endpoint::of(
                &EndpointState {
                    kind,
                    f_flags,
                    size,
                    ..EndpointState::default()
                },
                MEMORY,
            )
        };
        assert!(matches!(of(endpoint_kind::FILE, 0, 0), Endpoint::Buffered(_)));
        assert!(matches!(of(endpoint_kind::BLOCK, O_DIRECT, 0), Endpoint::Direct(_)));
        let direct = of(endpoint_kind::FILE, O_DIRECT, 0);
        assert_eq!(direct.as_it_behaves(&HashSet::new()), direct);
        assert!(matches!(
            direct.as_it_behaves(&HashSet::from([0])),
            Endpoint::Buffered(_)
        ));
        assert_eq!(of(endpoint_kind::CHAR, 0, DEV_NULL), Endpoint::Null);
        assert_eq!(of(endpoint_kind::CHAR, 0, DEV_ZERO), Endpoint::Null);
        assert_eq!(of(endpoint_kind::CHAR, 0, 5 << 20), Endpoint::Copying, "a terminal");
        assert_eq!(of(endpoint_kind::CHAR, 0, 10 << 20), Endpoint::Other);
        assert_eq!(of(endpoint_kind::UNIX_MESSAGES, 0, 0), Endpoint::Copying);
        assert_eq!(of(endpoint_kind::MEMORY, 0, 0), Endpoint::Memory(MEMORY));
    }
}
