//! Addresses of a connection in one notation, whichever socket family shows them.

use zctrace_records::SocketPair;

/// `AF_INET` and `AF_INET6` (include/linux/socket.h).
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// First twelve bytes of an IPv4-mapped IPv6 address, `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// One direction of a TCP connection, by the socket that sends in it.
///
/// Addresses and ports are no identity: two network namespaces have the same ones, and a connection
/// that is reset and made again has them twice. A socket is one while it lives, and its initial
/// sequence number is random (`net/core/secure_seq.c`: `secure_tcp_seq_and_ts_off()`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Direction {
    /// Address of the sender's `struct sock`; 0 if only the receiver is known.
    pub(crate) sock: u64,
    /// Sequence number of the first byte, or one less if the sender connected: its SYN takes a
    /// number, too. 0 in recordings of versions that did not record it.
    pub(crate) first: u32,
    /// Canonical addresses, with the sender first.
    pub(crate) pair: SocketPair,
}

impl Direction {
    /// Returns the direction in which a socket sends. `pair` has this socket first.
    pub(crate) fn new(sock: u64, first: u32, pair: SocketPair) -> Self {
        Self {
            sock,
            first,
            pair: canonical(pair),
        }
    }

    /// Returns whether a socket that receives from `first` on is the receiver of this direction,
    /// apart from the addresses.
    pub(crate) fn starts_at(&self, first: u32) -> bool {
        self.first == first || self.first.wrapping_add(1) == first
    }
}

/// Returns a connection's addresses with IPv4-mapped IPv6 addresses as IPv4.
///
/// A server that listens on `[::]` shows mapped addresses, and its IPv4 peer shows the others
/// (`net/ipv6/tcp_ipv6.c`: `tcp_v6_mapped_child_init()`). Both are one connection.
pub(crate) fn canonical(pair: SocketPair) -> SocketPair {
    let mapped = |address: [u8; 16]| address[..12] == MAPPED;
    if pair.family != AF_INET6 || !mapped(pair.source) || !mapped(pair.destination) {
        return pair;
    }
    let ipv4 = |address: [u8; 16]| {
        let mut short = [0; 16];
        short[..4].copy_from_slice(&address[12..]);
        short
    };
    SocketPair {
        source: ipv4(pair.source),
        destination: ipv4(pair.destination),
        family: AF_INET,
        ..pair
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(family: u16, source: [u8; 16], destination: [u8; 16]) -> SocketPair {
        SocketPair {
            source,
            destination,
            source_port: 1000,
            destination_port: 80,
            family,
            reserved: 0,
        }
    }

    #[test]
    fn mapped_addresses_become_ipv4_and_others_stay() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        let mut short = [0; 16];
        short[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(canonical(pair(AF_INET6, mapped, mapped)), pair(AF_INET, short, short));
        let local = std::net::Ipv6Addr::LOCALHOST.octets();
        for unchanged in [
            pair(AF_INET6, local, local),
            pair(AF_INET6, local, mapped),
            pair(AF_INET, short, short),
            SocketPair::default(),
        ] {
            assert_eq!(canonical(unchanged), unchanged);
        }
    }
}
