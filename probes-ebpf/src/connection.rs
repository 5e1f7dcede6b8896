//! TCP connections of traced processes: the sockets whose packets are recorded.
//!
//! Addresses and ports do not identify a connection, because two network namespaces have the same
//! ones and ports are reused. A socket is identified by the address of its `struct sock` together
//! with the sequence number of the first byte that it sends, which is random. The engine finds the
//! sender of a stream by its addresses and by the number of its first byte, which both sides have.

use core::ptr::addr_of;

use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use zctrace_records::{EndpointState, SocketPair, program};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::read::member;
use crate::scope::NO_PREALLOC;
use crate::{emit, offsets};

/// `TCP_SYN_SENT` (`include/net/tcp_states.h`).
const TCP_SYN_SENT: u8 = 2;
/// `BPF_NOEXIST` (include/uapi/linux/bpf.h): keeps an existing entry.
const NO_EXIST: u64 = 1;

/// Traced sockets, by the address of their `struct sock`.
#[map]
static CONNECTIONS: HashMap<u64, Connection> = HashMap::with_max_entries(65_536, NO_PREALLOC);

/// Streams that traced sockets receive. Packets of their senders are recorded as well, although no
/// traced call has used the sender's socket.
#[map]
static RECEIVED: HashMap<Stream, u64> = HashMap::with_max_entries(65_536, NO_PREALLOC);

/// A traced socket.
#[repr(C)]
#[derive(Clone, Copy, FromZeros, Immutable, IntoBytes)]
pub(crate) struct Connection {
    /// Addresses, with this socket as the sender.
    pub(crate) pair: SocketPair,
    /// Sequence number of the first byte that the socket sends; one less if it connected, because
    /// its SYN takes a number, too.
    pub(crate) send_first: u32,
    /// Sequence number of the first byte that the socket receives; 0 before the handshake.
    receive_first: u32,
    /// Not 0 if calls send pages to the connection that no pipe slot has shown before. Only the
    /// packets can show the owners of such pages.
    pub(crate) sends_unpiped: u64,
}

/// A stream, as its receiver knows it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stream {
    /// Addresses, with the sender first.
    pair: SocketPair,
    /// Sequence number of the first byte.
    first: u32,
    _reserved: u32,
}

/// Starts tracing the connection of a TCP socket and fills in where its streams start.
///
/// # Safety
///
/// `endpoint` must be valid for reads and writes, with its object and pair filled in.
#[inline(never)]
pub(crate) unsafe fn track(endpoint: *mut EndpointState) {
    // SAFETY: access through `endpoint` requires a valid pointer, which the caller guarantees. Map
    // values stay valid while the program runs.
    unsafe {
        let sk = (*endpoint).object;
        let pair = addr_of!((*endpoint).pair);
        if let Some(known) = CONNECTIONS.get_ptr_mut(&sk) {
            if (*known).pair == *pair {
                if (*known).receive_first == 0 {
                    (*known).receive_first = receive_first(sk);
                    expect(pair, (*known).receive_first, sk);
                }
                (*endpoint).generation = (*known).send_first;
                (*endpoint).extra = u64::from((*known).receive_first);
                return;
            }
            // The end of the last connection with this `struct sock` was missed.
            forget(sk);
        }
        let connection = Connection {
            pair: *pair,
            send_first: send_first(sk),
            receive_first: receive_first(sk),
            sends_unpiped: 0,
        };
        // Another thread can run this for the same socket. The first insertion is kept.
        if CONNECTIONS.insert(&sk, &connection, NO_EXIST).is_err() && CONNECTIONS.get_ptr(&sk).is_none() {
            emit::count_map_full(program::SYS_ENTER);
        }
        if connection.receive_first != 0 {
            expect(pair, connection.receive_first, sk);
        }
        (*endpoint).generation = connection.send_first;
        (*endpoint).extra = u64::from(connection.receive_first);
    }
}

/// Starts recording the packets that a socket receives, if their sender is on this host.
///
/// # Safety
///
/// `pair` must be valid for reads; it has the receiver first.
#[inline(always)]
unsafe fn expect(pair: *const SocketPair, first: u32, receiver: u64) {
    // SAFETY: reading through `pair` requires a valid pointer, which the caller guarantees.
    let pair = unsafe { (*pair).reversed() };
    let stream = Stream {
        pair,
        first,
        _reserved: 0,
    };
    if RECEIVED.insert(&stream, &receiver, 0).is_err() {
        emit::count_map_full(program::SYS_ENTER);
    }
}

/// Returns the sequence number of the first byte that a socket sends, or one less.
///
/// `bytes_acked` counts what `snd_una` has advanced by since the handshake, and the SYN if this
/// side sent the first one (`net/ipv4/tcp_input.c`: `tcp_snd_una_update()`). The kernel updates one
/// after the other, so a change of the count means that they do not belong together.
#[inline(never)]
fn send_first(sk: u64) -> u32 {
    if member::<u8>(sk, &offsets::SK_STATE) == TCP_SYN_SENT {
        // Data of TCP Fast Open is about to be sent with the SYN.
        return member(sk, &offsets::TCP_WRITE_SEQ);
    }
    let mut acked: u64 = member(sk, &offsets::TCP_BYTES_ACKED);
    let mut number: u32 = member(sk, &offsets::TCP_SND_UNA);
    let again: u64 = member(sk, &offsets::TCP_BYTES_ACKED);
    if acked != again {
        acked = again;
        number = member(sk, &offsets::TCP_SND_UNA);
    }
    number.wrapping_sub(acked as u32)
}

/// Returns the sequence number of the first byte that a socket receives; 0 before the handshake.
/// (`net/ipv4/tcp_input.c`: `tcp_rcv_nxt_update()`)
#[inline(never)]
fn receive_first(sk: u64) -> u32 {
    if member::<u8>(sk, &offsets::SK_STATE) == TCP_SYN_SENT {
        return 0;
    }
    let mut received: u64 = member(sk, &offsets::TCP_BYTES_RECEIVED);
    let mut number: u32 = member(sk, &offsets::TCP_RCV_NXT);
    let again: u64 = member(sk, &offsets::TCP_BYTES_RECEIVED);
    if received != again {
        received = again;
        number = member(sk, &offsets::TCP_RCV_NXT);
    }
    number.wrapping_sub(received as u32)
}

/// Returns a traced socket.
#[inline(always)]
pub(crate) fn of(sk: u64) -> Option<*const Connection> {
    CONNECTIONS.get_ptr(&sk)
}

/// Returns the socket that sends a packet, if a traced socket receives its stream. It is traced
/// from here on.
///
/// # Safety
///
/// `pair` must be valid for reads; it has the sender first.
#[inline(never)]
pub(crate) unsafe fn track_sender(pair: *const SocketPair, sk: u64) -> Option<*const Connection> {
    // SAFETY: reading through `pair` requires a valid pointer, which the caller guarantees.
    unsafe {
        let first = send_first(sk);
        let mut stream = Stream {
            pair: *pair,
            first,
            _reserved: 0,
        };
        if RECEIVED.get_ptr(&stream).is_none() {
            stream.first = first.wrapping_add(1);
            RECEIVED.get_ptr(&stream)?;
        }
        let connection = Connection {
            pair: *pair,
            send_first: first,
            receive_first: 0,
            sends_unpiped: 1,
        };
        if CONNECTIONS.insert(&sk, &connection, NO_EXIST).is_err() && CONNECTIONS.get_ptr(&sk).is_none() {
            emit::count_map_full(program::NET_DEV_START_XMIT);
        }
        CONNECTIONS.get_ptr(&sk)
    }
}

/// Marks a socket to which a call is about to send pages that no pipe slot has shown.
#[inline(always)]
pub(crate) fn mark_unpiped_sends(sk: u64) {
    if let Some(known) = CONNECTIONS.get_ptr_mut(&sk) {
        // SAFETY: map values stay valid while the program runs.
        unsafe { (*known).sends_unpiped = 1 };
    }
}

/// Stops tracing a socket, and returns the first sequence numbers of the stream that it sent and of
/// the one that it received, if it was traced.
#[inline(always)]
pub(crate) fn forget(sk: u64) -> Option<(u32, u32)> {
    let known = CONNECTIONS.get_ptr(&sk)?;
    // SAFETY: map values stay valid while the program runs.
    let (pair, send_first, receive_first) = unsafe { ((*known).pair, (*known).send_first, (*known).receive_first) };
    let _ = CONNECTIONS.remove(&sk);
    let stream = Stream {
        pair: pair.reversed(),
        first: receive_first,
        _reserved: 0,
    };
    // Another socket may expect a stream with the same addresses and number by now.
    if let Some(receiver) = RECEIVED.get_ptr(&stream) {
        // SAFETY: map values stay valid while the program runs.
        if unsafe { *receiver } == sk {
            let _ = RECEIVED.remove(&stream);
        }
    }
    Some((send_first, receive_first))
}
