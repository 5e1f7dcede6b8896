//! Sockets: kinds, addresses, and the traced connections.

use core::ptr::addr_of_mut;

use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use zctrace_records::{EndpointState, SocketPair, endpoint_kind};

use crate::connection;
use crate::offsets;
use crate::read::{self, member};

/// `AF_UNIX`, `AF_INET`, `AF_INET6` (include/linux/socket.h).
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `SOCK_STREAM`, `SOCK_DGRAM` (include/linux/net.h).
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
/// `IPPROTO_TCP`, `IPPROTO_UDP` (include/uapi/linux/in.h).
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

/// UNIX sockets that traced calls used. The programs do not observe when such a socket is freed, so
/// the map evicts the least recently used entries.
#[map]
static UNIX_SOCKETS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

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
                    connection::track(endpoint);
                }
                endpoint_kind::TCP
            }
            (AF_INET | AF_INET6, SOCK_DGRAM, IPPROTO_UDP) => {
                // The peer is that of connect(2); an address of sendto(2) is not observed.
                read_pair(addr_of_mut!((*endpoint).pair), sk, family);
                endpoint_kind::UDP
            }
            _ => {
                (*endpoint).generation = u32::from(protocol);
                endpoint_kind::SOCKET
            }
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

/// Reads the addresses of a TCP or UDP socket, with this socket as the sender.
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
            let local: [u32; 4] = member(sk, &offsets::SK_V6_RCV_SADDR);
            let peer: [u32; 4] = member(sk, &offsets::SK_V6_DADDR);
            if is_mapped(&local) && is_mapped(&peer) {
                // Both sides of a connection must have one form, and the peer may be an IPv4
                // socket.
                (*pair).family = AF_INET;
                *source = local[3];
                *destination = peer[3];
            } else {
                *source.cast::<[u32; 4]>() = local;
                *destination.cast::<[u32; 4]>() = peer;
            }
        }
    }
}

/// Returns whether an IPv6 address stands for an IPv4 address, `::ffff:0:0/96` (RFC 4291).
#[inline(always)]
fn is_mapped(address: &[u32; 4]) -> bool {
    address[0] == 0 && address[1] == 0 && address[2] == 0xffff_u32.to_be()
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
