//! Sockets: kinds, addresses, and the traced connections.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap};
use zctrace_records::{EndpointState, SocketPair, endpoint_kind, program};

use crate::offsets;
use crate::read::{self, member};
use crate::scope::NO_PREALLOC;
use crate::{emit, ids};

/// `AF_UNIX`, `AF_INET`, `AF_INET6` (include/linux/socket.h).
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `BPF_NOEXIST` (include/uapi/linux/bpf.h): keeps an existing entry.
const NO_EXIST: u64 = 1;
/// `SOCK_STREAM`, `SOCK_DGRAM` (include/linux/net.h).
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
/// `IPPROTO_TCP`, `IPPROTO_UDP` (include/uapi/linux/in.h).
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

/// Directions of the TCP connections that traced calls used.
#[map]
pub(crate) static CONNECTIONS: HashMap<SocketPair, Connection> = HashMap::with_max_entries(65_536, NO_PREALLOC);

/// UNIX sockets that traced calls used. The programs do not observe when such a socket is freed, so
/// the map evicts the least recently used entries.
#[map]
static UNIX_SOCKETS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// One direction of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    /// Connection ID of the address pair.
    pub(crate) id: u64,
    /// Address of the socket that sends in this direction, if it is known.
    pub(crate) sock: u64,
    /// Not 0 if calls send pages to the connection that no pipe slot has shown before. Only the
    /// packets can show the owners of such pages.
    pub(crate) sends_unpiped: u64,
}

/// Returns the kind of a socket and fills in its size and addresses. Packets of a TCP connection
/// are traced from here on.
///
/// # Safety
///
/// `endpoint` must be valid for reads and writes, with its object filled in.
#[inline(never)]
pub(crate) unsafe fn identify(endpoint: *mut EndpointState) -> u16 {
    // SAFETY: access through `endpoint` requires a valid pointer, which the caller guarantees.
    unsafe {
        let sk = (*endpoint).object;
        let family: u16 = member(sk, &offsets::SK_FAMILY);
        let kind: u16 = member(sk, &offsets::SK_TYPE);
        let protocol: u16 = member(sk, &offsets::SK_PROTOCOL);
        (*endpoint).size = u32::from(family) | u32::from(kind) << 16;
        match (family, kind, protocol) {
            (AF_UNIX, SOCK_STREAM, _) => endpoint_kind::UNIX_STREAM,
            (AF_UNIX, _, _) => endpoint_kind::UNIX_MESSAGES,
            (AF_INET | AF_INET6, SOCK_STREAM, IPPROTO_TCP) => {
                read_pair(addr_of_mut!((*endpoint).pair), sk, family);
                // A socket without a peer is listening, or is not connected yet.
                if (*endpoint).pair.destination_port != 0 {
                    (*endpoint).extra = track_connection(addr_of!((*endpoint).pair), sk);
                }
                endpoint_kind::TCP
            }
            (AF_INET | AF_INET6, SOCK_DGRAM, IPPROTO_UDP) => endpoint_kind::UDP,
            _ => endpoint_kind::SOCKET,
        }
    }
}

/// Returns the address family of a TCP socket over IPv4 or IPv6, or `None` for any other socket.
#[inline(always)]
pub(crate) fn tcp_family(sk: u64) -> Option<u16> {
    let family: u16 = member(sk, &offsets::SK_FAMILY);
    if family != AF_INET && family != AF_INET6 {
        return None;
    }
    // TCP_TIME_WAIT and TCP_NEW_SYN_RECV (include/net/tcp_states.h) are not full sockets, so the
    // further members do not exist.
    let state: u8 = member(sk, &offsets::SK_STATE);
    if state == 6 || state == 12 {
        return None;
    }
    (member::<u16>(sk, &offsets::SK_PROTOCOL) == IPPROTO_TCP).then_some(family)
}

/// Returns whether a socket is of `AF_UNIX`.
#[inline(always)]
pub(crate) fn is_unix(sk: u64) -> bool {
    member::<u16>(sk, &offsets::SK_FAMILY) == AF_UNIX
}

/// Reads the addresses of a TCP socket, with this socket as the sender.
///
/// The port is `inet_sport` instead of `skc_num`, because `inet_put_port` has already cleared the
/// latter when a socket becomes closed.
///
/// # Safety
///
/// `pair` must be valid for writes and aligned to 8 bytes, as it is in all records.
#[inline(never)]
#[allow(clippy::cast_ptr_alignment)] // The caller guarantees the alignment.
pub(crate) unsafe fn read_pair(pair: *mut SocketPair, sk: u64, family: u16) {
    // SAFETY: writing through `pair` requires an aligned and valid pointer, which the caller
    // guarantees.
    unsafe {
        read::zero(pair);
        (*pair).family = family;
        (*pair).source_port = u16::from_be(member(sk, &offsets::SK_SPORT));
        (*pair).destination_port = u16::from_be(member(sk, &offsets::SK_DPORT));
        // As words, because an array of bytes would be read byte by byte.
        let source = addr_of_mut!((*pair).source).cast::<u32>();
        let destination = addr_of_mut!((*pair).destination).cast::<u32>();
        if family == AF_INET {
            *source = member(sk, &offsets::SK_RCV_SADDR);
            *destination = member(sk, &offsets::SK_DADDR);
        } else {
            *source.cast::<[u32; 4]>() = member(sk, &offsets::SK_V6_RCV_SADDR);
            *destination.cast::<[u32; 4]>() = member(sk, &offsets::SK_V6_DADDR);
        }
    }
}

/// Starts tracing both directions of a connection and returns its connection ID.
///
/// # Safety
///
/// `pair` must be valid for reads.
#[inline(never)]
unsafe fn track_connection(pair: *const SocketPair, sk: u64) -> u64 {
    // SAFETY: reading through `pair` requires a valid pointer, which the caller guarantees. `known`
    // points to a map value, which stays valid while the program runs.
    unsafe {
        if let Some(known) = CONNECTIONS.get_ptr_mut(&*pair) {
            (*known).sock = sk;
            return (*known).id;
        }
        let connection_id = ids::next_connection();
        let reverse = (*pair).reversed();
        let connection = |sock| Connection {
            id: connection_id,
            sock,
            sends_unpiped: 0,
        };
        // A thread of the other side can run this at the same time. The first insertion and its
        // later updates are kept.
        let refused = CONNECTIONS.insert(&*pair, connection(sk), NO_EXIST).is_err();
        let reverse_refused = CONNECTIONS.insert(&reverse, connection(0), NO_EXIST).is_err();
        let known = CONNECTIONS.get_ptr_mut(&*pair);
        if refused && known.is_none() || reverse_refused && CONNECTIONS.get_ptr(&reverse).is_none() {
            emit::count_map_full(program::SYS_ENTER);
        }
        let Some(known) = known else {
            return connection_id;
        };
        (*known).sock = sk;
        (*known).id
    }
}

/// Marks a connection to which a call is about to send pages that no pipe slot has shown.
///
/// # Safety
///
/// `pair` must be valid for reads.
#[inline(always)]
pub(crate) unsafe fn mark_unpiped_sends(pair: *const SocketPair) {
    // SAFETY: reading through `pair` requires a valid pointer, which the caller guarantees. `known`
    // points to a map value, which stays valid while the program runs.
    unsafe {
        if let Some(known) = CONNECTIONS.get_ptr_mut(&*pair) {
            (*known).sends_unpiped = 1;
        }
    }
}

/// Stops tracing a connection that has ended, and returns its connection ID if it was traced.
///
/// The opposite direction is kept while a local socket sends in it, because bytes which that socket
/// has not read yet belong to the same connection. That socket's own end removes the entry. Between
/// two equal addresses such a socket exists, even if no program has observed it yet.
///
/// # Safety
///
/// `pair` must be valid for reads.
#[inline(always)]
pub(crate) unsafe fn forget_connection(pair: *const SocketPair) -> Option<u64> {
    // SAFETY: reading through `pair` requires a valid pointer, which the caller guarantees. Map
    // values stay valid while the program runs.
    unsafe {
        let connection_id = (*CONNECTIONS.get_ptr(&*pair)?).id;
        let _ = CONNECTIONS.remove(&*pair);
        let reverse = (*pair).reversed();
        if let Some(opposite) = CONNECTIONS.get_ptr(&reverse)
            && (*opposite).sock == 0
            && (*pair).source != (*pair).destination
        {
            let _ = CONNECTIONS.remove(&reverse);
        }
        Some(connection_id)
    }
}

/// Starts tracing the messages of a UNIX socket.
///
/// # Safety
///
/// `sock` must be valid for reads.
#[inline(always)]
pub(crate) unsafe fn track_unix_socket(sock: *mut u64) {
    // SAFETY: the reference requires a valid pointer, which the caller guarantees.
    let sock = unsafe { &*sock };
    if UNIX_SOCKETS.get_ptr(sock).is_none() {
        // An LRU map evicts an entry instead of being full. If the insertion fails nevertheless,
        // the engine finds no message.
        let _ = UNIX_SOCKETS.insert(sock, 1, 0);
    }
}

/// Returns whether a traced call used a UNIX socket.
#[inline(always)]
pub(crate) fn is_tracked_unix_socket(sock: u64) -> bool {
    UNIX_SOCKETS.get_ptr(sock).is_some()
}
